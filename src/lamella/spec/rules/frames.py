"""What image documents have in common that differ in numbers and names only: the rules run once for all of them.

The positions of a plate differ in their scales, translations, contrast limits and names; axes, levels and channels are
those of all others. What is left of a document without these is its frame: the rules run once for a frame, with other
numbers in the places of its own. That the numbers of one document break no rule themselves is checked by a few
comparisons; where these do not suffice, there is no frame, and all rules run.

Layer: spec.
"""

from __future__ import annotations

import marshal
import math
from typing import TYPE_CHECKING, Any

from lamella.spec.rules.axes import axis_kind
from lamella.spec.rules.dialect import DIALECTS
from lamella.spec.rules.outline import array_axes, intrinsic_system

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from lamella.spec.rules.dialect import Dialect
    from lamella.spec.rules.finding import Finding
    from lamella.types import JSONObject

_MOST = 256
_MOST_ARRAYS = 64
_NUMBERS = frozenset([int, float])
_WINDOW = ("start", "end", "min", "max")
_TOLERANCE = 1 - 1e-6

_known: dict[tuple[str, bytes], Frame] = {}


class Frame:
    """The frame of image documents, with what the rules find in each of them.

    Attributes
    ----------
    findings
        Of the document alone.
    arrays
        What is found with the first array that was read, by whatever describes it; see `keep`.
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

    def keep(self, key: Hashable, found: Any) -> None:
        """Keep what was found with an array."""
        if len(self.arrays) >= _MOST_ARRAYS:
            self.arrays.clear()
        self.arrays[key] = found

    def fits(self, datasets: list[JSONObject]) -> bool:
        """Whether the transformations of all levels are plain, and break no rule."""
        before = 0.0
        for place, dataset in enumerate(datasets):
            scale = self._scale(dataset)
            if scale is None or (not place and any(scale[index] != 1 for index in self._channels)):
                return False
            pixel = math.prod(scale)
            if pixel < before * _TOLERANCE:
                return False
            before = pixel
        return True

    def _scale(self, dataset: JSONObject) -> list[float] | None:
        """Return the scale of a level that has one scale, and maybe one translation after it."""
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
    """Return the frame of an image document; None where its numbers matter, and all rules must run.

    Parameters
    ----------
    attributes
        As stored.
    version
        Of the document.
    check
        Runs all rules on attributes.
    """
    dialect = DIALECTS[version]
    try:
        ome = attributes[str(dialect.wrapper[0])] if dialect.wrapper else attributes
        (image,) = ome["multiscales"]
        datasets = image["datasets"]
        bare, channels = _bare(ome, image, datasets)
        system = intrinsic_system(image) if dialect.coordinate_systems else None
        key = version, marshal.dumps((bare, channels, system), 2)
        frame = _known.get(key)
        if frame is None:
            frame = _new_frame(ome, image, system, dialect, check)
            if frame is None:
                return None
            if len(_known) >= _MOST:
                _known.clear()
            _known[key] = frame
        return frame if frame.fits(datasets) else None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None  # not the usual form


def _bare(
    ome: JSONObject, image: JSONObject, datasets: list[JSONObject]
) -> tuple[JSONObject, list[Any] | None]:
    """Return a document without what differs between positions."""
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
    dialect: Dialect,
    check: Callable[[JSONObject], tuple[Finding, ...]],
) -> Frame | None:
    axes = array_axes(image, dialect)
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
    findings = check({str(dialect.wrapper[0]): neutral} if dialect.wrapper else neutral)
    channels = tuple(number for number, axis in enumerate(axes) if axis_kind(axis) == "channel")
    return Frame(findings, len(axes), channels, system)
