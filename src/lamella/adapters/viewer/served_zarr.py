"""Serve a channel or a label image as an OME-Zarr image without compression, whatever its store is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.viewer.answers import UnknownRequestError
from lamella.errors import LamellaError
from lamella.ops.display.planes import PlaneAxes
from lamella.ops.display.preview import channel_keys
from lamella.ops.view.level_arrays import LevelArray, drawable_levels, layer_dimensions
from lamella.spec.axes import SPACE_UNITS, TIME_UNITS
from lamella.spec.colors import label_color
from lamella.spec.units import unit_ratio
from lamella.store.metadata.array_creation import new_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.nodes.labels import LabelImage
    from lamella.nodes.position import Position
    from lamella.spec.axes import AxisMeta
    from lamella.types import JSONObject

_MIN_VOXELS, MAX_VOXELS = 1 << 16, 1 << 20
"""Minimum and maximum number of voxels of a served chunk."""

_UNIT_NAMES = {"m": "meter", "s": "second", "": None}


@dataclass(frozen=True)
class ServedLevel:
    """A level as it is served, with the axes T, others, Z, Y, X; ``chunks`` is the shape of the served chunks."""

    array: LevelArray
    chunks: tuple[int, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class ServedImage:
    """A channel or a label image: names and units of its axes, its levels, and the stored colours of labels."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    levels: list[ServedLevel]
    dtype: np.dtype[Any]
    colors: dict[int, tuple[int, ...]] | None = None

    def group(self) -> JSONObject:
        """Return the document of the image."""
        axes = [
            {
                "name": name,
                "type": {"s": "time", "m": "space"}.get(unit, "other"),
                **({"unit": _UNIT_NAMES[unit]} if unit else {}),
            }
            for name, unit in zip(self.names, self.units, strict=True)
        ]
        datasets = [
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.scale)},
                    {"type": "translation", "translation": list(level.translation)},
                ],
            }
            for number, level in enumerate(self.levels)
        ]
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def array(self, level: ServedLevel) -> JSONObject:
        """Return the document of a level."""
        meta = new_array(
            level.array.shape,
            self.dtype,
            zarr_format=3,
            chunks=level.chunks,
            compressor="none",
            dimension_names=self.names,
        )
        return meta.to_document()

    def read(self, level: ServedLevel, index: Sequence[int]) -> NDArray[Any]:
        """Read a chunk by its index, padded with zeros beyond the end of the level."""
        sizes, shape = level.chunks, level.array.shape
        if len(index) != len(shape) or any(
            number * size >= length for number, size, length in zip(index, sizes, shape, strict=True)
        ):
            raise UnknownRequestError("There is no such chunk.")
        region = tuple(
            slice(number * size, (number + 1) * size) for number, size in zip(index, sizes, strict=True)
        )
        pixels = level.array[region]
        pixels = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
        chunk = np.zeros(sizes, self.dtype)
        chunk[tuple(slice(length) for length in pixels.shape)] = pixels
        return chunk


def served_channel(position: Position, name: str, dtype: np.dtype[Any]) -> ServedImage:
    """Return a channel of an image, by its name in the scene."""
    axes = PlaneAxes.of(position.axes, position.data.ndim)
    index = {key: number for number, key in enumerate(channel_keys(position))}[name]
    fixed = {} if axes.channel is None else {axes.channel: index}
    return _served_image(position, axes, fixed, dtype, {})


def served_label(label: LabelImage, image: Position) -> ServedImage:
    """Return a label image; axes without a unit get that of the image, so that both are drawn at one position."""
    axes = PlaneAxes.of(label.axes, label.data.ndim)
    fixed = {} if axes.channel is None else {axes.channel: 0}
    dtype = np.dtype("uint64" if label.data.dtype.itemsize > 4 else "uint32")
    units = {axis.name: axis.unit for axis in image.axes if axis.unit}
    return _served_image(label, axes, fixed, dtype, units, dict(label.colors))


def _served_image(
    node: Position,
    axes: PlaneAxes,
    fixed: dict[int, int],
    dtype: np.dtype[Any],
    units: dict[str, str],
    colors: dict[int, Any] | None = None,
) -> ServedImage:
    ndim = node.data.ndim
    dimensions = layer_dimensions(axes, ndim, fixed)
    metas = [node.axes[axis + len(node.axes) - ndim] for axis in dimensions]
    factors, symbols = zip(*(_si_unit(meta.unit or units.get(meta.name)) for meta in metas), strict=True)
    plane = {axes.z, axes.y, axes.x}
    levels = []
    for source in drawable_levels(node):
        array = LevelArray(source, dimensions, fixed)
        sides = [source.chunks[axis] if axis in plane else 1 for axis in dimensions]
        scale, translation = _scale_and_translation(
            node, source.path.removeprefix(node.path).lstrip("/"), dimensions, ndim
        )
        if scale is None:
            finest = node.data.shape
            scale, translation = (
                [finest[axis] / source.shape[axis] for axis in dimensions],
                [(finest[axis] / source.shape[axis] - 1) / 2 for axis in dimensions],
            )
        levels.append(
            ServedLevel(
                array,
                _chunk_shape(sides, array.shape),
                tuple(size * factor for size, factor in zip(scale, factors, strict=True)),
                tuple(shift * factor for shift, factor in zip(translation, factors, strict=True)),
            )
        )
    return ServedImage(_axis_names(metas), symbols, levels, dtype, colors)


def _axis_names(metas: Sequence[AxisMeta]) -> tuple[str, ...]:
    """Return names that neuroglancer accepts: letters and digits, each once."""
    plain = ["".join(letter if letter.isalnum() else "_" for letter in meta.name) or "_" for meta in metas]
    return tuple(different_names(plain, separator="_"))


def different_names(names: Sequence[str], *, separator: str = " ") -> list[str]:
    """Return the names, with a number where a name occurs again.

    >>> different_names(["cells", "DAPI", "cells"]), different_names(["cells", "cells 2", "cells"])
    (['cells', 'DAPI', 'cells 2'], ['cells', 'cells 2', 'cells 3'])
    """
    different: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in different:
            count += 1
            candidate = f"{name}{separator}{count}"
        different.append(candidate)
    return different


def _scale_and_translation(
    node: Position, path: str, dimensions: Sequence[int], ndim: int
) -> tuple[list[float] | None, list[float]]:
    """Return scale and translation of a level; None for a scale that cannot be drawn, such as 0 or infinity."""
    try:
        scale, translation = node.get_effective_scale(path), node.get_effective_translation(path)
    except LamellaError:
        return None, []
    offset = len(scale) - ndim
    sizes = [float(scale[axis + offset]) for axis in dimensions]
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        return None, []
    return sizes, [float(translation[axis + offset]) for axis in dimensions]


def _si_unit(unit: str | None) -> tuple[float, str]:
    """Return a unit as a multiple of metre or second, or (1, "").

    >>> _si_unit("micrometer"), _si_unit("hour"), _si_unit(None)
    ((1e-06, 'm'), (3600.0, 's'), (1.0, ''))
    """
    if unit in SPACE_UNITS:
        return unit_ratio(unit, "meter"), "m"
    return (unit_ratio(unit, "second"), "s") if unit in TIME_UNITS else (1.0, "")


def _chunk_shape(stored_chunks: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of served chunks: those of the stored ones, halved or doubled to 2**16 to 2**20 voxels.

    >>> _chunk_shape((1, 1, 2048, 2048), (5, 40, 9000, 9000)), _chunk_shape((1, 16, 16, 16), (1, 40, 300, 20))
    ((1, 1, 1024, 1024), (1, 40, 128, 20))
    """
    sides = [min(side, length) for side, length in zip(stored_chunks, shape, strict=True)]
    while math.prod(sides) > MAX_VOXELS:
        longest = sides.index(max(sides))
        sides[longest] = -(-sides[longest] // 2)
    # Only Z, Y and X, the last three axes, grow: a chunk has one index along T and other axes.
    growing = [axis for axis in range(max(0, len(sides) - 3), len(sides)) if stored_chunks[axis] > 1]
    while math.prod(sides) < _MIN_VOXELS and any(sides[axis] < shape[axis] for axis in growing):
        shortest = min((axis for axis in growing if sides[axis] < shape[axis]), key=lambda axis: sides[axis])
        sides[shortest] = min(2 * sides[shortest], shape[shortest])
    return tuple(sides)


def packed_colors(ids: NDArray[Any], colors: dict[int, tuple[int, ...]]) -> NDArray[np.uint32]:
    """Return 2**24 plus red, green and blue of each id, 0 for the background."""
    numbers, inverse = np.unique(ids, return_inverse=True)
    packed = [
        0 if number == 0 else 1 << 24 | color[0] << 16 | color[1] << 8 | color[2]
        for number, color in ((int(number), color_of(int(number), colors)) for number in numbers)
    ]
    return np.array(packed, np.uint32)[inverse].reshape(ids.shape)


def color_of(number: int, colors: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the stored colour of a label; without one, the colour that lamella draws it in."""
    color = colors.get(number)
    return label_color(number) if color is None or len(color) < 3 else color
