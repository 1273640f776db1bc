"""Findings that many image documents share, so that the rules do not run for each of them.

The 384 positions of a plate have image documents that differ only in scales, translations, contrast limits and names.
Such documents have one `DocumentForm`, the document without these values, and share the findings of the rules, which
run once for the form, with placeholder numbers. For the numbers of each document a few comparisons suffice; if they do
not, the document has no form, and all rules run.
"""

from __future__ import annotations

import marshal
import math
from typing import TYPE_CHECKING, Any

from lamella.spec.rules.check import document_findings
from lamella.spec.rules.value import array_axes, axis_kind, intrinsic_system
from lamella.spec.rules.version_traits import VERSION_TRAITS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from lamella.spec.rules.finding import Finding
    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSONObject

_MAX_FORMS = 256
_MAX_ARRAYS = 64
_NUMBERS = frozenset([int, float])
_WINDOW = ("start", "end", "min", "max")
_TOLERANCE = 1 - 1e-6

_forms: dict[tuple[str, bytes], DocumentForm] = {}


class DocumentForm:
    """The form of image documents: findings of the documents, and those of an array by the array's description."""

    __slots__ = ("_channel_axes", "_ndim", "_system", "array_findings", "findings")

    def __init__(
        self, findings: tuple[Finding, ...], ndim: int, channel_axes: tuple[int, ...], system: str | None
    ) -> None:
        self.findings = findings
        self.array_findings: dict[Any, Any] = {}
        self._ndim = ndim
        self._channel_axes = channel_axes
        self._system = system

    def store_array_findings(self, key: Hashable, findings: Any) -> None:
        """Cache the findings of an array."""
        if len(self.array_findings) >= _MAX_ARRAYS:
            self.array_findings.clear()
        self.array_findings[key] = findings

    def fits(self, datasets: list[JSONObject]) -> bool:
        """Return whether the numbers of all levels are in the usual places, and break no rule."""
        finer_size = 0.0
        for level, dataset in enumerate(datasets):
            scale = self._scale(dataset)
            if scale is None or (level == 0 and any(scale[axis] != 1 for axis in self._channel_axes)):
                return False
            size = math.prod(scale)
            if size < finer_size * _TOLERANCE:
                return False
            finer_size = size
        return True

    def _scale(self, dataset: JSONObject) -> list[float] | None:
        """Return the scale of a level with one scale, optionally followed by one translation."""
        steps = dataset["coordinateTransformations"]
        key_count, max_steps = 2, 2
        if self._system is not None:
            (step,) = steps
            ends = step["input"], step["output"]
            if ends != ({"path": dataset["path"]}, {"name": self._system}) or len(step) != 4:
                return None
            if step["type"] == "sequence":
                steps = step["transformations"]
            else:
                key_count, max_steps = 4, 1
        if not 1 <= len(steps) <= max_steps:
            return None
        for step, kind in zip(steps, ("scale", "translation"), strict=False):
            if step["type"] != kind or len(step) != key_count or not self._is_vector(step[kind]):
                return None
        scale: list[float] = steps[0]["scale"]
        return scale if min(scale) > 0 else None

    def _is_vector(self, values: list[float]) -> bool:
        return (
            len(values) == self._ndim
            and _NUMBERS.issuperset(map(type, values))
            and math.isfinite(sum(values))
        )


def image_form(attributes: JSONObject, version: str) -> DocumentForm | None:
    """Return the form of an image document, with the findings of all documents of this form.

    None without a form: the document is unusual, or breaks a rule by its numbers.
    """
    if version not in VERSION_TRAITS:
        return None
    traits = VERSION_TRAITS[version]
    try:
        ome = attributes[str(traits.wrapper[0])] if traits.wrapper else attributes
        (image,) = ome["multiscales"]
        datasets = image["datasets"]
        system = intrinsic_system(image) if traits.coordinate_systems else None
        key = version, marshal.dumps((*_without_numbers(ome, image, datasets), system), 2)
        form = _forms.get(key)
        if form is None:
            form = _new_form(ome, image, system, traits)
            if form is None:
                return None
            if len(_forms) >= _MAX_FORMS:
                _forms.clear()
            _forms[key] = form
        return form if form.fits(datasets) else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None  # not the usual form


def _without_numbers(
    ome: JSONObject, image: JSONObject, datasets: list[JSONObject]
) -> tuple[JSONObject, list[Any] | None]:
    """Return the image and the channels of a document without the values that differ between positions."""
    form = dict(image)
    form["datasets"] = [
        [item for item in dataset.items() if item[0] != "coordinateTransformations"] for dataset in datasets
    ]
    if form.get("name").__class__ is str:
        form["name"] = ""
    form[""] = "version" in ome, ome.get("version")
    if "omero" not in ome:
        return form, None
    channels = []
    for channel in ome["omero"]["channels"]:
        window = channel.get("window")
        numbers = [window[key] for key in _WINDOW] if window else [math.inf]
        is_plain = _NUMBERS.issuperset(map(type, numbers)) and math.isfinite(sum(numbers))
        channels.append(channel | {"window": True} if is_plain else channel)
    return form, channels


def _new_form(
    ome: JSONObject, image: JSONObject, system: str | None, traits: VersionTraits
) -> DocumentForm | None:
    """Run the rules on a document with placeholder numbers; None if it has transformations besides those of levels."""
    axes = array_axes(image, traits)
    if axes is None or "coordinateTransformations" in image:
        return None
    levels = []
    for level, dataset in enumerate(image["datasets"]):
        scale = [1.0 if axis_kind(axis) == "channel" else 2.0**level for axis in axes]
        step: JSONObject = {"type": "scale", "scale": scale}
        if system is not None:
            step |= {"input": {"path": dataset["path"]}, "output": {"name": system}}
        levels.append(dataset | {"coordinateTransformations": [step]})
    document = ome | {"multiscales": [image | {"datasets": levels}]}
    attributes = {str(traits.wrapper[0]): document} if traits.wrapper else document
    findings = document_findings(("image",), attributes, traits.name)
    channel_axes = tuple(index for index, axis in enumerate(axes) if axis_kind(axis) == "channel")
    return DocumentForm(findings, len(axes), channel_axes, system)
