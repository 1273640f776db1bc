"""Rules that compare an image document with facts of its arrays; no array is opened here.

`check_array_readings` has the rules LM-11, LM-14 and LM-25 of lamella's own: another number of channels than the array
has, levels at different positions, and levels whose scales do not fit their lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, NamedTuple

from lamella.spec.rules.value import (
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
    from collections.abc import Mapping

    from lamella.spec.rules.value import Findings, Value
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


class ImageLevels(NamedTuple):
    """A multiscale as the rules here see it."""

    multiscale: Value
    axes: list[JSON] | None
    """Axes of the arrays; None if they cannot be read."""
    datasets: list[Value]
    existing: list[tuple[Value, ArrayFacts]]
    """The datasets whose arrays exist, with the facts of the arrays."""


def image_levels(ome: Value, arrays: Mapping[str, ArrayFacts]) -> list[ImageLevels]:
    """Return the multiscales of an image with their arrays."""
    images = []
    for multiscale in ome.objects("multiscales"):
        listed = multiscale.objects("datasets")
        existing = [
            (dataset, arrays[path])
            for dataset in listed
            if isinstance(path := dataset.raw.get("path"), str) and path in arrays
        ]
        images.append(ImageLevels(multiscale, array_axes(multiscale.raw, ome.traits), listed, existing))
    return images


def check_image_arrays(images: list[ImageLevels], arrays: Mapping[str, ArrayFacts]) -> Findings:
    """Compare each multiscale with its arrays."""
    for _, axes, listed, existing in images:
        for dataset in listed:
            path = dataset.raw.get("path")
            if not isinstance(path, str):
                continue
            if path not in arrays:
                found = f"there is no array {describe(path)}"
                yield dataset.finding("MS-04", found, "write the array, or remove the dataset", "path")
                continue
            yield from _check_storage(dataset, arrays[path])
            if axes is not None:
                yield from _check_dimensions(dataset, arrays[path], axes)
        yield from _check_levels(existing)
        if axes is not None and len(existing) > 1:
            yield from _check_sizeless_axes(existing, axes)


def _check_sizeless_axes(levels: list[tuple[Value, ArrayFacts]], axes: list[JSON]) -> Findings:
    """Check that a channel axis that is not downsampled has the scale of level 0 in all levels (CT-06)."""
    scaled = [
        (dataset, scale, facts.shape)
        for dataset, facts in levels
        if (scale := level_scale(dataset.raw)) is not None and len(scale) == len(axes) == len(facts.shape)
    ]
    if not scaled or scaled[0][0].at[-1] != 0:
        return
    _, first_scale, first_shape = scaled[0]
    for axis, description in enumerate(axes):
        if not is_sizeless(description):
            continue
        for dataset, scale, shape in scaled[1:]:
            if shape[axis] == first_shape[axis] and scale[axis] != first_scale[axis]:
                found = f"the channel axis is scaled by {describe(scale[axis])}, and not downsampled"
                yield dataset.finding("CT-06", found, "write 1.0: channels have no size")


def _check_storage(dataset: Value, facts: ArrayFacts) -> Findings:
    expected, separator = dataset.traits.zarr_format, dataset.traits.chunk_separator
    if facts.zarr_format != expected:
        rule = {2: "ST-01", 3: "ST-02"}[expected]
        found = f"the array is Zarr v{facts.zarr_format}"
        yield dataset.finding(rule, found, f"store it as Zarr v{expected}", "path")
    if separator is not None and facts.separator != separator:
        found = f"the chunk keys are separated by {describe(facts.separator)}"
        yield dataset.finding("ST-04", found, f"use '{separator}'", "path")


def _check_dimensions(dataset: Value, facts: ArrayFacts, axes: list[JSON]) -> Findings:
    if len(facts.shape) != len(axes):
        found = f"the array has {len(facts.shape)} dimensions, there are {len(axes)} axes"
        yield dataset.finding("AX-05", found, "describe each dimension once", "path")
        return
    names = axis_names(axes)
    if names is None:
        return
    stored = facts.dimension_names
    if stored is not None and list(stored) == names:
        return
    remedy = f"write {describe(names)}"
    if stored is None:
        yield dataset.finding("ST-05", "the array has no dimension_names", remedy, "path")
    elif None not in stored and sorted(map(str, stored)) == sorted(names):
        found = f"the dimensions of the array are {describe(list(stored))}, the axes {describe(names)}"
        yield dataset.finding("AX-12", found, "put the axes in the order of the dimensions", "path")
    else:
        yield dataset.finding("ST-05", f"dimension_names are {describe(list(stored))}", remedy, "path")


def _check_levels(levels: list[tuple[Value, ArrayFacts]]) -> Findings:
    for dataset, facts in levels:
        first, count = levels[0][1], len(facts.shape)
        if count != len(first.shape):
            found = f"the array has {count} dimensions, the first level {len(first.shape)}"
            yield dataset.finding("MS-06", found, "give all levels the same dimensions", "path")
        elif count > 5:
            yield dataset.finding("MS-06", f"the array has {count} dimensions", "use at most 5", "path")
        if facts.dtype != first.dtype:
            found = f"the array is {facts.dtype}, the first level {first.dtype}"
            yield dataset.finding("MS-07", found, "give all levels the same data type", "path")
    for (_, finer), (dataset, coarser) in pairwise(levels):
        if len(finer.shape) == len(coarser.shape) and math.prod(coarser.shape) > math.prod(finer.shape):
            found = f"shape {describe(list(coarser.shape))} follows {describe(list(finer.shape))}"
            yield dataset.finding("MS-05", found, "list the levels from the finest to the coarsest", "path")


def check_label_arrays(
    ome: Value, images: list[ImageLevels], arrays: Mapping[str, ArrayFacts], parent: ParentImage | None
) -> Findings:
    """Compare a label image with its arrays and its image (LB-03 to LB-05, LB-14, LB-15)."""
    if not images:
        yield ome.finding("LB-03", "the label image has no multiscales", "describe it as an image, too")
        return
    for image in images:
        for dataset, facts in image.existing:
            if facts.dtype not in LABEL_DTYPES:
                yield dataset.finding(
                    "LB-05", f"the array is {facts.dtype}", "store labels as integers", "path"
                )
    if parent is not None:
        yield from _check_parent(images[0], arrays, parent)


def _check_parent(label: ImageLevels, arrays: Mapping[str, ArrayFacts], parent: ParentImage) -> Findings:
    multiscale, levels = label.multiscale, label.datasets
    image = next((entry for _, entry in multiscales(ome_object(parent.attributes, multiscale.traits))), None)
    if image is None:
        found = "the parent of the label image has no multiscales"
        yield multiscale.finding("LB-15", found, "put labels in an image")
        return
    expected = datasets(image)
    if len(levels) != len(expected):
        found = f"the label image has {len(levels)} levels, its image {len(expected)}"
        where = ("datasets",) if "datasets" in multiscale.raw else ()
        yield multiscale.finding("LB-04", found, "write as many levels", *where)
    image_axes = array_axes(image, multiscale.traits)
    for level, (_, dataset) in zip(levels, expected, strict=False):
        image_lengths = _lengths(dataset, parent.arrays, image_axes)
        for name, length in _lengths(level.raw, arrays, label.axes).items():
            if name in image_lengths and length not in (image_lengths[name], 1):
                found = f"axis {describe(name)} is {length} long, {image_lengths[name]} in the image"
                yield level.finding("LB-14", found, "give it the length of the image, or 1", "path")


def _lengths(
    dataset: JSONObject, arrays: Mapping[str, ArrayFacts], axes: list[JSON] | None
) -> dict[str, int]:
    """Return the lengths of an array by axis name; empty if the array or its axes cannot be read."""
    path = dataset.get("path")
    facts = arrays.get(path) if isinstance(path, str) else None
    names = axis_names(axes) if axes else None
    if facts is None or names is None or len(names) != len(facts.shape):
        return {}
    return dict(zip(names, facts.shape, strict=True))


class Extent(NamedTuple):
    """Pixel size and offset of one level along each axis."""

    scale: list[float]
    offset: list[float]

    def ends(self, length: int, axis: int) -> tuple[float, float]:
        """Return the coordinates of the outer borders of the first and the last voxel."""
        start = self.offset[axis] - self.scale[axis] / 2
        return start, start + self.scale[axis] * length


def check_array_readings(ome: Value, images: list[ImageLevels]) -> Findings:
    """Check the number of channels, and that the levels of an image show the same field of view."""
    axes, levels = (images[0].axes, images[0].existing) if images else (None, [])
    if axes is None:
        return
    yield from _check_channels(ome, axes, levels)
    if len(levels) > 1:
        yield from _check_coverage(axes, levels)


def _check_channels(ome: Value, axes: list[JSON], levels: list[tuple[Value, ArrayFacts]]) -> Findings:
    channels = omero_channels(ome.raw)
    if channels is None or not levels:
        return
    dataset, facts = levels[0]
    index = _channel_index(axes)
    if index is None:
        count = min(len(channels), 1)
    else:
        index -= len(axes) - len(facts.shape)
        if not 0 <= index < len(facts.shape):
            return
        count = facts.shape[index]
    if count != len(channels):
        has = f"the array {describe(dataset.raw['path'])} has {count}"
        text = "the image has no channel axis" if index is None else has
        found = f"{len(channels)} channels are named, {text}"
        yield ome.finding("LM-11", found, "name each channel once", "omero", "channels")


def _channel_index(axes: list[JSON]) -> int | None:
    """Return the index of the channel axis: by type, else by name, as a reader finds it."""
    typed = (number for number, axis in enumerate(axes) if axis_kind(axis) == "channel")
    named = (
        number
        for number, axis in enumerate(axes)
        if isinstance(axis, dict) and str(axis.get("name")).lower() == "c" and "type" not in axis
    )
    return next(chain(typed, named), None)


def _check_coverage(axes: list[JSON], levels: list[tuple[Value, ArrayFacts]]) -> Findings:
    names = axis_names(axes) or [str(number) for number in range(len(axes))]
    space = [number for number, axis in enumerate(axes) if axis_kind(axis) == "space"]
    placed = [
        (dataset, facts.shape, extent)
        for dataset, facts in levels
        if len(facts.shape) == len(axes) and (extent := _extent(dataset.raw, len(axes))) is not None
    ]
    if not placed or placed[0][0].at[-1] != 0:
        return
    finest, finest_shape, finest_extent = placed[0]
    first = describe(finest.raw["path"])
    for dataset, shape, extent in placed[1:]:
        path = describe(dataset.raw["path"])
        for axis in space:
            start, stop = finest_extent.ends(finest_shape[axis], axis)
            level_start, level_stop = extent.ends(shape[axis], axis)
            sizes = finest_extent.scale[axis], extent.scale[axis]
            if min(sizes) <= 0:
                continue
            if min(stop, level_stop) <= max(start, level_start):
                found = f"the level {path} lies outside of {first} along {names[axis]}"
                remedy = "correct scale and translation, or compute the levels again"
                yield dataset.finding("LM-14", found, remedy)
                break
            # Levels of odd lengths, and levels without the translation of half a voxel, are nearer than two voxels.
            if max(abs(start - level_start), abs(stop - level_stop)) > 2 * max(sizes):
                found = (
                    f"along {names[axis]} the level {path} covers {level_start:g} to {level_stop:g}, "
                    f"and {first} {start:g} to {stop:g}"
                )
                remedy = "correct the scale of the wrong level, or compute the levels again"
                yield dataset.finding("LM-25", found, remedy)
                break


def _extent(dataset: JSONObject, axes: int) -> Extent | None:
    """Return scale and offset of a level; None unless a scale is stated, in plain numbers, one per axis."""
    scale, offset, is_stated = [1.0] * axes, [0.0] * axes, False
    for _, entry in objects(dataset.get("coordinateTransformations")):
        inner = [item for _, item in objects(entry.get("transformations"))]
        for transformation in inner or [entry]:
            kind = transformation.get("type")
            if kind not in ("scale", "translation"):
                continue
            values = numbers(transformation.get(kind))
            if values is None or len(values) != axes:
                return None
            if kind == "scale":
                is_stated = True
                scale = [size * factor for size, factor in zip(scale, values, strict=True)]
                offset = [shift * factor for shift, factor in zip(offset, values, strict=True)]
            else:
                offset = [shift + number for shift, number in zip(offset, values, strict=True)]
    return Extent(scale, offset) if is_stated else None
