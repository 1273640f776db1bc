"""Rules that compare an image document with facts of its arrays; no array is opened here.

`check_array_readings` has the rules LM-11, LM-14 and LM-25 of lamella's own: another number of channels than the array
has, levels at different positions, and levels whose scales do not fit their lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.catalogue import own_finding
from lamella.spec.rules.raw_json import (
    array_axes,
    axis_kind,
    axis_names,
    datasets,
    describe,
    is_sizeless,
    level_scale,
    multiscales,
    numbers,
    objects,
    ome_object,
    omero_channels,
)
from lamella.spec.rules.version_traits import LABEL_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


@dataclass(frozen=True)
class ArrayFacts:
    """The facts of an array that the rules need."""

    shape: tuple[int, ...]
    """Lengths per axis, in the order of the axes."""
    dtype: str
    """Name of the data type without byte order, such as ``"uint16"``."""
    dimension_names: tuple[str | None, ...] | None = None
    """Names stored with the array (Zarr v3), None if there are none."""
    separator: str = "/"
    """Separator of its chunk keys, ``"/"`` or ``"."``."""
    zarr_format: int = 3


@dataclass(frozen=True)
class ParentImage:
    """The image that a label image belongs to: its attributes as stored, and its arrays by dataset path."""

    attributes: JSON
    arrays: Mapping[str, ArrayFacts]


def check_image_arrays(
    ome: JSONObject, at: Location, arrays: Mapping[str, ArrayFacts], context: RuleContext
) -> Iterator[Finding]:
    """Compare each multiscale with its arrays."""
    for index, multiscale in multiscales(ome):
        where = (*at, "multiscales", index, "datasets")
        axes = array_axes(multiscale, context.traits)
        levels: list[tuple[Location, ArrayFacts]] = []
        for number, dataset in datasets(multiscale):
            path = dataset.get("path")
            if not isinstance(path, str):
                continue
            spot = (*where, number, "path")
            if path not in arrays:
                yield context.finding(
                    "MS-04",
                    spot,
                    f"there is no array {describe(path)}",
                    "write the array, or remove the dataset",
                )
                continue
            levels.append((spot, arrays[path]))
            yield from _check_storage(arrays[path], spot, context)
            if axes is not None:
                yield from _check_dimensions(arrays[path], axes, spot, context)
        yield from _check_levels(levels, context)
        if axes is not None:
            yield from _check_sizeless_axes(multiscale, where, axes, arrays, context)


def _check_sizeless_axes(
    multiscale: JSONObject,
    at: Location,
    axes: list[JSON],
    arrays: Mapping[str, ArrayFacts],
    context: RuleContext,
) -> Iterator[Finding]:
    """Check that the channel axis of a lower level is scaled as that of the first where it is as long (CT-06)."""
    known = [
        (number, scale, arrays[path].shape)
        for number, dataset in datasets(multiscale)
        if isinstance(path := dataset.get("path"), str)
        and path in arrays
        and (scale := level_scale(dataset)) is not None
        and len(scale) == len(axes) == len(arrays[path].shape)
    ]
    if not known or known[0][0] != 0:
        return
    for axis, description in enumerate(axes):
        if not is_sizeless(description):
            continue
        for number, scale, shape in known[1:]:
            if shape[axis] == known[0][2][axis] and scale[axis] != known[0][1][axis]:
                yield context.finding(
                    "CT-06",
                    (*at, number),
                    f"the channel axis is scaled by {describe(scale[axis])}, and not downsampled",
                    "write 1.0: channels have no size",
                )


def _check_storage(facts: ArrayFacts, at: Location, context: RuleContext) -> Iterator[Finding]:
    expected = context.traits.zarr_format
    if facts.zarr_format != expected:
        rule = {2: "ST-01", 3: "ST-02"}[expected]
        yield context.finding(
            rule, at, f"the array is Zarr v{facts.zarr_format}", f"store it as Zarr v{expected}"
        )
    separator = context.traits.chunk_separator
    if separator is not None and facts.separator != separator:
        yield context.finding(
            "ST-04", at, f"the chunk keys are separated by {describe(facts.separator)}", f"use '{separator}'"
        )


def _check_dimensions(
    facts: ArrayFacts, axes: list[JSON], at: Location, context: RuleContext
) -> Iterator[Finding]:
    if len(facts.shape) != len(axes):
        yield context.finding(
            "AX-05",
            at,
            f"the array has {len(facts.shape)} dimensions, there are {len(axes)} axes",
            "describe each dimension once",
        )
        return
    names = axis_names(axes)
    if names is None:
        return
    stored = facts.dimension_names
    if stored is None:
        yield context.finding("ST-05", at, "the array has no dimension_names", f"write {describe(names)}")
    elif list(stored) == names:
        return
    elif None not in stored and sorted(map(str, stored)) == sorted(names):
        yield context.finding(
            "AX-12",
            at,
            f"the dimensions of the array are {describe(list(stored))}, the axes {describe(names)}",
            "put the axes in the order of the dimensions",
        )
    else:
        yield context.finding(
            "ST-05", at, f"dimension_names are {describe(list(stored))}", f"write {describe(names)}"
        )


def _check_levels(levels: list[tuple[Location, ArrayFacts]], context: RuleContext) -> Iterator[Finding]:
    if not levels:
        return
    first = levels[0][1]
    for at, facts in levels:
        if len(facts.shape) != len(first.shape):
            yield context.finding(
                "MS-06",
                at,
                f"the array has {len(facts.shape)} dimensions, the first level {len(first.shape)}",
                "give all levels the same dimensions",
            )
        elif len(facts.shape) > 5:
            yield context.finding(
                "MS-06", at, f"the array has {len(facts.shape)} dimensions", "use at most 5"
            )
        if facts.dtype != first.dtype:
            yield context.finding(
                "MS-07",
                at,
                f"the array is {facts.dtype}, the first level {first.dtype}",
                "give all levels the same data type",
            )
    for (_, finer), (at, coarser) in pairwise(levels):
        if len(finer.shape) == len(coarser.shape) and math.prod(coarser.shape) > math.prod(finer.shape):
            yield context.finding(
                "MS-05",
                at,
                f"shape {describe(list(coarser.shape))} follows {describe(list(finer.shape))}",
                "list the levels from the finest to the coarsest",
            )


def check_label_arrays(
    ome: JSONObject,
    at: Location,
    arrays: Mapping[str, ArrayFacts],
    parent: ParentImage | None,
    context: RuleContext,
) -> Iterator[Finding]:
    """Compare a label image with its arrays and its image (LB-03 to LB-05, LB-14, LB-15)."""
    entries = list(multiscales(ome))
    if not entries:
        yield context.finding(
            "LB-03", at, "the label image has no multiscales", "describe it as an image, too"
        )
        return
    for index, multiscale in entries:
        where = (*at, "multiscales", index, "datasets")
        for number, dataset in datasets(multiscale):
            path = dataset.get("path")
            facts = arrays.get(path) if isinstance(path, str) else None
            if facts is not None and facts.dtype not in LABEL_DTYPES:
                yield context.finding(
                    "LB-05",
                    (*where, number, "path"),
                    f"the array is {facts.dtype}",
                    "store labels as integers",
                )
    if parent is not None:
        index, multiscale = entries[0]
        yield from _check_parent(multiscale, (*at, "multiscales", index), arrays, parent, context)


def _check_parent(
    multiscale: JSONObject,
    at: Location,
    arrays: Mapping[str, ArrayFacts],
    parent: ParentImage,
    context: RuleContext,
) -> Iterator[Finding]:
    entries = list(multiscales(ome_object(parent.attributes, context.traits)))
    if not entries:
        yield context.finding(
            "LB-15", at, "the parent of the label image has no multiscales", "put labels in an image"
        )
        return
    image = entries[0][1]
    levels, expected = datasets(multiscale), datasets(image)
    if len(levels) != len(expected):
        yield context.finding(
            "LB-04",
            (*at, "datasets") if "datasets" in multiscale else at,
            f"the label image has {len(levels)} levels, its image {len(expected)}",
            "write as many levels",
        )
    axes = [array_axes(entry, context.traits) for entry in (multiscale, image)]
    names = [axis_names(found) if found else None for found in axes]
    for (number, level), (_, dataset) in zip(levels, expected, strict=False):
        label = _lengths(level, arrays, names[0])
        size = _lengths(dataset, parent.arrays, names[1])
        for name, length in label.items():
            if name in size and length not in (size[name], 1):
                yield context.finding(
                    "LB-14",
                    (*at, "datasets", number, "path"),
                    f"axis {describe(name)} is {length} long, {size[name]} in the image",
                    "give it the length of the image, or 1",
                )


def _lengths(
    dataset: JSONObject, arrays: Mapping[str, ArrayFacts], names: list[str] | None
) -> dict[str, int]:
    path = dataset.get("path")
    facts = arrays.get(path) if isinstance(path, str) else None
    if facts is None or names is None or len(names) != len(facts.shape):
        return {}
    return dict(zip(names, facts.shape, strict=True))


class Extent(NamedTuple):
    """Pixel size and offset of one level along each axis."""

    scale: list[float]
    offset: list[float]


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
    channels = omero_channels(ome)
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
            if _ends_elsewhere(whole, finest.shape[axis], extent, facts.shape[axis], axis):
                yield own_finding(
                    "LM-25",
                    context.node,
                    f"along {names[axis]} the level {describe(path)} covers "
                    f"{_interval(extent, facts.shape[axis], axis)}, and {describe(first)} "
                    f"{_interval(whole, finest.shape[axis], axis)}",
                    "correct the scale of the wrong level, or compute the levels again",
                    at=(*at, number),
                )
                break


def _extent(dataset: JSONObject, axes: int) -> Extent | None:
    """Return scale and offset of a level; None unless a scale is stated, in plain numbers, one per axis."""
    scale, offset, is_stated = [1.0] * axes, [0.0] * axes, False
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
                is_stated = True
                scale = [a * b for a, b in zip(scale, values, strict=True)]
                offset = [a * b for a, b in zip(offset, values, strict=True)]
            else:
                offset = [a + b for a, b in zip(offset, values, strict=True)]
    return Extent(scale, offset) if is_stated else None


def _is_apart(finest: Extent, length: int, extent: Extent, count: int, axis: int) -> bool:
    """Return whether two levels have no point in common along an axis."""
    fine, coarse = finest.scale[axis], extent.scale[axis]
    if fine <= 0 or coarse <= 0:
        return False
    start, end = _ends(finest, length, axis)
    other, other_end = _ends(extent, count, axis)
    return min(end, other_end) <= max(start, other)


def _ends_elsewhere(finest: Extent, length: int, extent: Extent, count: int, axis: int) -> bool:
    """Return whether a level begins or ends more than two of its voxels away from the first.

    Levels of odd lengths, and levels without the translation of half a voxel, are nearer than that.
    """
    fine, coarse = finest.scale[axis], extent.scale[axis]
    if fine <= 0 or coarse <= 0:
        return False
    apart = zip(_ends(finest, length, axis), _ends(extent, count, axis), strict=True)
    return any(abs(one - other) > 2 * max(coarse, fine) for one, other in apart)


def _ends(extent: Extent, length: int, axis: int) -> tuple[float, float]:
    """Return the coordinates of the outer borders of the first and the last voxel."""
    start = extent.offset[axis] - extent.scale[axis] / 2
    return start, start + extent.scale[axis] * length


def _interval(extent: Extent, length: int, axis: int) -> str:
    start, end = _ends(extent, length, axis)
    return f"{start:g} to {end:g}"
