"""Choices that the specification leaves to a reader: rules LM-11 to LM-14 of lamella's own.

Two channels of one name, a level that is listed twice, a second multiscale, levels at different positions: the document
is valid, and each reader decides what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.axes import axis_kind
from lamella.spec.rules.catalogue import own_finding
from lamella.spec.rules.raw_json import (
    array_axes,
    axis_names,
    datasets,
    describe,
    multiscales,
    numbers,
    objects,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lamella.spec.rules.arrays import ArrayFacts
    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


class Extent(NamedTuple):
    """Pixel size and offset of one level along each axis."""

    scale: list[float]
    offset: list[float]


def check_readings(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the choices that a reader of one image document must make."""
    entries = ome.get("multiscales")
    if isinstance(entries, list) and len(entries) > 1:
        yield own_finding(
            "LM-12",
            context.node,
            f"there are {len(entries)} multiscales",
            "keep one, and store the others as images of their own",
            at=(*at, "multiscales", 1),
        )
    for index, multiscale in multiscales(ome):
        yield from _check_paths(multiscale, (*at, "multiscales", index, "datasets"), context)
    yield from _check_labels(ome, at, context)


def _check_paths(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, dataset in datasets(multiscale):
        path = dataset.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            yield own_finding(
                "LM-13",
                context.node,
                f"the level {describe(path)} is listed twice",
                "list it once",
                at=(*at, index, "path"),
            )
        seen.add(path)


def _channels(ome: JSONObject) -> list[JSONObject] | None:
    omero = ome.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    return [channel for _, channel in objects(listed)] if isinstance(listed, list) else None


def _check_labels(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, channel in enumerate(_channels(ome) or []):
        label = channel.get("label")
        if label is None:
            yield own_finding(
                "LM-11",
                context.node,
                "the channel has no name",
                "write a label",
                at=(*at, "omero", "channels", index),
            )
        if isinstance(label, str) and label in seen:
            yield own_finding(
                "LM-11",
                context.node,
                f"two channels are named {describe(label)}",
                "name each differently",
                at=(*at, "omero", "channels", index, "label"),
            )
        if isinstance(label, str):
            seen.add(label)


def check_array_readings(
    ome: JSONObject, at: Location, arrays: Mapping[str, ArrayFacts], context: RuleContext
) -> Iterator[Finding]:
    """Check the number of channels, and that the levels of an image show the same field of view."""
    entries = list(multiscales(ome))
    if not entries:
        return
    index, multiscale = entries[0]
    axes = array_axes(multiscale, context.traits)
    if axes is None:
        return
    levels = [
        (number, path, arrays[path])
        for number, dataset in datasets(multiscale)
        if isinstance(path := dataset.get("path"), str) and path in arrays
    ]
    yield from _check_channels(ome, at, axes, levels[:1], context)
    yield from _check_coverage(multiscale, (*at, "multiscales", index, "datasets"), axes, levels, context)


def _check_channels(
    ome: JSONObject,
    at: Location,
    axes: list[JSON],
    levels: list[tuple[int, str, ArrayFacts]],
    context: RuleContext,
) -> Iterator[Finding]:
    channels = _channels(ome)
    if channels is None or not levels:
        return
    _, path, facts = levels[0]
    index = _channel_index(axes)
    if index is None:
        count, text = min(len(channels), 1), "the image has no channel axis"
    else:
        index -= len(axes) - len(facts.shape)
        if not 0 <= index < len(facts.shape):
            return
        count = facts.shape[index]
        text = f"the array {describe(path)} has {count}"
    if count != len(channels):
        yield own_finding(
            "LM-11",
            context.node,
            f"{len(channels)} channels are named, {text}",
            "name each channel once",
            at=(*at, "omero", "channels"),
        )


def _channel_index(axes: list[JSON]) -> int | None:
    """Return the index of the channel axis: by type, else by name, as a reader finds it."""
    typed = [number for number, axis in enumerate(axes) if axis_kind(axis) == "channel"]
    named = [
        number
        for number, axis in enumerate(axes)
        if isinstance(axis, dict) and str(axis.get("name")).lower() == "c" and "type" not in axis
    ]
    return next(iter(typed or named), None)


def _check_coverage(
    multiscale: JSONObject,
    at: Location,
    axes: list[JSON],
    levels: list[tuple[int, str, ArrayFacts]],
    context: RuleContext,
) -> Iterator[Finding]:
    names = axis_names(axes) or [str(number) for number in range(len(axes))]
    space = [number for number, axis in enumerate(axes) if axis_kind(axis) == "space"]
    by_number = dict(datasets(multiscale))
    known = [
        (number, path, facts, extent)
        for number, path, facts in levels
        if len(facts.shape) == len(axes) and (extent := _extent(by_number[number], len(axes))) is not None
    ]
    if not known or known[0][0] != 0:
        return
    _, first, finest, whole = known[0]
    for number, path, facts, extent in known[1:]:
        for axis in space:
            if _is_apart(whole, finest.shape[axis], extent, facts.shape[axis], axis):
                yield own_finding(
                    "LM-14",
                    context.node,
                    f"the level {describe(path)} lies outside of {describe(first)} along {names[axis]}",
                    "correct scale and translation, or compute the levels again",
                    at=(*at, number),
                )
                break


def _is_apart(finest: Extent, length: int, extent: Extent, count: int, axis: int) -> bool:
    """Return whether two levels have no point in common along an axis."""
    fine, coarse = finest.scale[axis], extent.scale[axis]
    if fine <= 0 or coarse <= 0:
        return False
    start, other = finest.offset[axis] - fine / 2, extent.offset[axis] - coarse / 2
    return min(start + fine * length, other + coarse * count) <= max(start, other)


def _extent(dataset: JSONObject, axes: int) -> Extent | None:
    """Return scale and offset of a level; None unless they are plain numbers, one per axis."""
    scale, offset = [1.0] * axes, [0.0] * axes
    for _, entry in objects(dataset.get("coordinateTransformations")):
        inner = [item for _, item in objects(entry.get("transformations"))]
        for part in inner or [entry]:
            kind = part.get("type")
            if kind not in ("scale", "translation"):
                continue
            values = numbers(part.get(kind))
            if values is None or len(values) != axes:
                return None
            if kind == "scale":
                scale = [a * b for a, b in zip(scale, values, strict=True)]
                offset = [a * b for a, b in zip(offset, values, strict=True)]
            else:
                offset = [a + b for a, b in zip(offset, values, strict=True)]
    return Extent(scale, offset)
