"""Frames: image documents that differ only in numbers and names share the result of the rules.

The positions of a plate differ in their scales, translations, contrast limits and names, but not in axes, levels and
channels. A document without the former is its frame. The rules run once per frame, with placeholder numbers. A few
comparisons check that the numbers of a document break no rule themselves; if they are not sufficient, there is no
frame, and all rules run.
"""

from __future__ import annotations

import marshal
import math
from typing import TYPE_CHECKING, Any

from lamella.spec.rules.axes import axis_kind
from lamella.spec.rules.raw_json import array_axes, intrinsic_system
from lamella.spec.rules.version_traits import VERSION_TRAITS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.spec.rules.finding import Finding
    from lamella.spec.rules.version_traits import VersionTraits
    from lamella.types import JSONObject

_MOST = 256
_MOST_ARRAYS = 64
_NUMBERS = frozenset([int, float])
_WINDOW = ("start", "end", "min", "max")
_TOLERANCE = 1 - 1e-6

_frames: dict[tuple[str, bytes], Frame] = {}


class Frame:
    """The frame of image documents, with the findings that they share.

    Attributes
    ----------
    findings
        Of the document alone.
    arrays
        Findings with the first array that was read, by the array's description; see `keep`.
    """

    __slots__ = ("_axes", "_channels", "_system", "arrays", "findings")

    def __init__(
        self, findings: tuple[Finding, ...], axes: int, channels: tuple[int, ...], system: str | None
    ) -> None:
        self.findings = findings
        self.arrays: dict[Any, Any] = {}
        self._axes = axes
        self._channels = channels
        self._system = system

    def keep(self, key: Hashable, findings: Any) -> None:
        """Cache the findings with an array."""
        if len(self.arrays) >= _MOST_ARRAYS:
            self.arrays.clear()
        self.arrays[key] = findings

    def fits(self, datasets: list[JSONObject]) -> bool:
        """Return whether the transformations of all levels are plain, and break no rule."""
        before = 0.0
        for level, dataset in enumerate(datasets):
            scale = self._scale(dataset)
            if scale is None or (not level and any(scale[index] != 1 for index in self._channels)):
                return False
            pixel = math.prod(scale)
            if pixel < before * _TOLERANCE:
                return False
            before = pixel
        return True

    def _scale(self, dataset: JSONObject) -> list[float] | None:
        """Return the scale of a level with one scale, optionally followed by one translation."""
        steps = dataset["coordinateTransformations"]
        if self._system is not None:
            step = steps[0]
            if len(steps) != 1 or step.get("input") != {"path": dataset["path"]}:
                return None
            if step.get("output") != {"name": self._system} or len(step) != 4:
                return None
            steps = step["transformations"] if step["type"] == "sequence" else steps
            extra = 0 if step["type"] == "sequence" else 2
        else:
            extra = 0
        if not 1 <= len(steps) <= 2 - bool(extra):
            return None
        for step, kind in zip(steps, ("scale", "translation"), strict=False):
            if step["type"] != kind or len(step) != 2 + extra or not self._is_vector(step[kind]):
                return None
        scale: list[float] = steps[0]["scale"]
        return scale if min(scale) > 0 else None

    def _is_vector(self, values: list[float]) -> bool:
        return (
            len(values) == self._axes
            and _NUMBERS.issuperset(map(type, values))
            and math.isfinite(sum(values))
        )


def frame_of(
    attributes: JSONObject, version: str, check: Callable[[JSONObject], tuple[Finding, ...]]
) -> Frame | None:
    """Return the frame of an image document; None if its numbers matter, so that all rules must run.

    ``check`` runs all rules on attributes.
    """
    traits = VERSION_TRAITS[version]
    try:
        ome = attributes[str(traits.wrapper[0])] if traits.wrapper else attributes
        (image,) = ome["multiscales"]
        datasets = image["datasets"]
        bare, channels = _bare(ome, image, datasets)
        system = intrinsic_system(image) if traits.coordinate_systems else None
        key = version, marshal.dumps((bare, channels, system), 2)
        frame = _frames.get(key)
        if frame is None:
            frame = _new_frame(ome, image, system, traits, check)
            if frame is None:
                return None
            if len(_frames) >= _MOST:
                _frames.clear()
            _frames[key] = frame
        return frame if frame.fits(datasets) else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None  # not the usual form


def _bare(
    ome: JSONObject, image: JSONObject, datasets: list[JSONObject]
) -> tuple[JSONObject, list[Any] | None]:
    """Return a document without the values that differ between positions."""
    bare = dict(image)
    bare["datasets"] = [
        [name for name in item.items() if name[0] != "coordinateTransformations"] for item in datasets
    ]
    if bare.get("name").__class__ is str:
        bare["name"] = ""
    bare[""] = "version" in ome, ome.get("version")
    if "omero" not in ome:
        return bare, None
    channels = []
    for channel in ome["omero"]["channels"]:
        window = channel.get("window")
        numbers = [window[key] for key in _WINDOW] if window else [math.inf]
        is_plain = _NUMBERS.issuperset(map(type, numbers)) and math.isfinite(sum(numbers))
        channels.append(channel | {"window": True} if is_plain else channel)
    return bare, channels


def _new_frame(
    ome: JSONObject,
    image: JSONObject,
    system: str | None,
    traits: VersionTraits,
    check: Callable[[JSONObject], tuple[Finding, ...]],
) -> Frame | None:
    axes = array_axes(image, traits)
    if axes is None or "coordinateTransformations" in image:
        return None
    levels = []
    for number, dataset in enumerate(image["datasets"]):
        scale = [1.0 if axis_kind(axis) == "channel" else 2.0**number for axis in axes]
        step: JSONObject = {"type": "scale", "scale": scale}
        if system is not None:
            step |= {"input": {"path": dataset["path"]}, "output": {"name": system}}
        levels.append(dataset | {"coordinateTransformations": [step]})
    neutral = ome | {"multiscales": [image | {"datasets": levels}]}
    findings = check({str(traits.wrapper[0]): neutral} if traits.wrapper else neutral)
    channels = tuple(number for number, axis in enumerate(axes) if axis_kind(axis) == "channel")
    return Frame(findings, len(axes), channels, system)
