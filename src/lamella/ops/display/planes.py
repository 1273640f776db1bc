"""Find the axes of a plane, choose a sufficient level, and read a plane of an image in bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, MetadataError, OutOfBoundsError, StorageError
from lamella.ops.display.render import block_mean
from lamella.ops.regions import INDEX_TOLERANCE
from lamella.spec.axes import axis_kind, channel_axis, space_axes, time_axis
from lamella.spec.geometry import voxel_steps
from lamella.spec.stale_levels import read_stale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.spec.axes import AxisMeta
    from lamella.types import Shape

BAND_PIXELS = 1 << 24
"""Approximate number of pixels of a band: a plane that is shrunk is read band by band."""


@dataclass(frozen=True)
class PlaneAxes:
    """The dimensions of an array, found by axis type, then by lower-cased name.

    Other dimensions (an angle, a second channel axis) are shown at their first index.
    """

    y: int
    x: int
    z: int | None = None
    channel: int | None = None
    time: int | None = None

    @classmethod
    def of(cls, axes: Sequence[AxisMeta], ndim: int, where: object = "the image") -> PlaneAxes:
        """Find the axes of an array, whose last dimension is the last of ``axes``.

        Raise MetadataError if the axes have no plane.
        """
        array_axes = list(axes)[max(0, len(axes) - ndim) :]
        offset = ndim - len(array_axes)
        space = space_axes(array_axes)
        names = [axis.name.lower() for axis in array_axes]
        if {"y", "x"} <= {names[index] for index in space}:
            y, x = (next(index for index in space if names[index] == name) for name in "yx")
        else:
            plane = (
                space
                if len(space) >= 2
                else [i for i, axis in enumerate(array_axes) if axis_kind(axis) is None]
            )
            if len(plane) < 2:
                raise MetadataError(
                    f"The axes of {where} ({', '.join(names) or 'none'}) have no plane: two axes of space are needed."
                )
            y, x = plane[-2:]
        other_space = [index for index in space if index not in (y, x)]
        z = next(
            (index for index in other_space if names[index] == "z"), other_space[-1] if other_space else None
        )
        channel, time = channel_axis(array_axes), time_axis(array_axes)
        return cls(
            y + offset, x + offset, *(None if axis is None else axis + offset for axis in (z, channel, time))
        )

    def height(self, shape: Shape) -> int:
        """Return the length of the Y axis."""
        return shape[self.y]

    def width(self, shape: Shape) -> int:
        """Return the length of the X axis."""
        return shape[self.x]

    def longer_side(self, shape: Shape) -> int:
        """Return the larger of the lengths of Y and X."""
        return max(shape[self.y], shape[self.x])


def current_levels(position: Position) -> list[str]:
    """Return the paths of all levels, finest first; only the finest if the others are stale. Empty without arrays."""
    paths = position.dataset_paths  # reads the document
    return paths[:1] if shows_old_pixels(position) else paths


def shows_old_pixels(position: Position) -> bool:
    """Return whether the lower levels were stale when the document was last read."""
    return bool(read_stale(position.document.last_attributes))


def coarsest_sufficient_level(position: Position, min_side: float) -> tuple[str, ImageArray]:
    """Return the coarsest readable level with at least ``min_side`` pixels along its larger side, else the finest.

    Stale and damaged levels are skipped. Raise StorageError for a level that the service or system does not return.
    """
    for path in reversed(current_levels(position)[1:]):
        try:
            array = position.open_level(path)
            if (
                PlaneAxes.of(position.axes, array.ndim, position.node_path).longer_side(array.shape)
                >= min_side
            ):
                return path, array
        except StorageError:
            raise
        except LamellaError:
            continue
    return (position.dataset_paths or [""])[0], position.data


def plane_index(
    axes: PlaneAxes,
    finest_shape: Shape,
    shape: Shape,
    z: int | None,
    t: int | None,
    where: object = "the image",
) -> dict[int, int]:
    """Choose the index along every dimension except Y and X; 0 for the channel.

    ``finest_shape`` and ``shape`` are the shapes of level 0 and of the level to read; ``z`` and ``t`` are indices in
    level 0, by default the middle of Z and the first time.

    >>> axes = PlaneAxes(y=1, x=2, z=0)
    >>> [plane_index(axes, (9, 64, 64), (3, 16, 16), z, None)[0] for z in range(9)]
    [0, 0, 0, 0, 1, 1, 1, 1, 2]
    """
    middle = None if axes.z is None else finest_shape[axes.z] // 2
    requests = ((axes.z, "z", middle if z is None else z), (axes.time, "t", t))
    indices = {axis: 0 for axis in range(len(shape)) if axis not in (axes.y, axes.x)}
    for axis, name, index in requests:
        if index is None:
            continue
        length = 1 if axis is None else finest_shape[axis]
        if not 0 <= index < length:
            raise OutOfBoundsError(
                f"There is no {name}={index}: {where} has {length} along {name}, counted from 0."
            )
        if axis is not None:
            (step,) = voxel_steps((length,), (shape[axis],))
            indices[axis] = min(math.floor(index / step + INDEX_TOLERANCE), shape[axis] - 1)
    return indices


def read_plane(
    array: ImageArray,
    axes: PlaneAxes,
    indices: dict[int, int],
    size: int,
    *,
    ids: bool = False,
    maximum: bool = False,
    region: tuple[slice, slice] | None = None,
) -> NDArray[Any]:
    """Read one plane (Y, X), reduced by a whole factor if its larger side has at least twice ``size`` pixels.

    The plane is read in bands, so that one level of a whole slide needs no more memory than a small image. A reduced
    plane is the mean of blocks in float64; with ``ids`` it has the middle pixel of each block, so that label ids stay
    ids. ``maximum`` returns the maximum over Z. ``region`` is along Y and X, in pixels of the array.
    """
    rows, columns = region or (slice(0, axes.height(array.shape)), slice(0, axes.width(array.shape)))
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if not height or not width:
        raise InvalidArgumentError(f"{array!r} has no pixels to show.")
    factor = max(1, max(height, width) // size)
    band_height = height if factor == 1 else _band_height(array.chunks[axes.y], width, factor)
    bands = []
    for start in range(rows.start, rows.stop, band_height):
        index: dict[int, int | slice] = {
            **indices,
            axes.y: slice(start, min(start + band_height, rows.stop)),
            axes.x: columns,
        }
        band = (
            _projection(array, axes, index) if maximum and axes.z is not None else _read_region(array, index)
        )
        band = band if axes.y < axes.x else band.T
        bands.append(_middle_pixels(band, factor) if ids else block_mean(band, factor))
    return bands[0] if len(bands) == 1 else np.concatenate(bands)


def _read_region(array: ImageArray, index: dict[int, int | slice]) -> NDArray[Any]:
    return np.asarray(array[tuple(index[axis] for axis in range(array.ndim))])


def _projection(array: ImageArray, axes: PlaneAxes, index: dict[int, int | slice]) -> NDArray[Any]:
    """Return the maximum over Z of a band, read in portions of whole chunks along Z."""
    assert axes.z is not None
    portions = range(0, array.shape[axes.z], array.chunks[axes.z])
    z_in_block = sum(axis < axes.z for axis in (axes.y, axes.x))  # only Y, X and Z are left
    highest: NDArray[Any] | None = None
    for start in portions:
        block = _read_region(
            array, {**index, axes.z: slice(start, min(start + portions.step, array.shape[axes.z]))}
        )
        block = np.abs(block) if block.dtype.kind == "c" else block
        plane = block.max(axis=z_in_block)
        highest = plane if highest is None else np.maximum(highest, plane)
    assert highest is not None
    return highest


def _middle_pixels(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the middle pixel of each block."""
    rows, columns = (
        np.minimum(np.arange(0, length, factor) + factor // 2, length - 1) for length in plane.shape
    )
    pixels: NDArray[Any] = plane[rows[:, None], columns]
    return pixels


def _band_height(chunk: int, width: int, factor: int) -> int:
    """Return the number of rows of a band: whole chunks and whole blocks, with about BAND_PIXELS pixels."""
    rows = max(chunk, BAND_PIXELS // width, 1)
    unit = math.lcm(chunk, factor)
    return rows // unit * unit or factor * math.ceil(rows / factor)


def pixel_aspect(position: Position, level: str, axes: PlaneAxes, ndim: int) -> float:
    """Return the height of a pixel divided by its width; 1 if metadata are missing, inconsistent or beyond 1:20."""
    try:
        scale = position.get_effective_scale(level)
    except LamellaError:
        return 1.0
    return aspect_of(scale, position.axes, axes, ndim)


def aspect_of(scale: Sequence[float], image_axes: Sequence[AxisMeta], axes: PlaneAxes, ndim: int) -> float:
    """Return the height of a pixel divided by its width, by the scale of all axes of its image."""
    offset = len(image_axes) - ndim
    y, x = axes.y + offset, axes.x + offset
    if min(y, x) < 0 or image_axes[y].unit != image_axes[x].unit:
        return 1.0
    height, width = scale[y], scale[x]
    if not (math.isfinite(height) and math.isfinite(width)) or min(height, width) <= 0:
        return 1.0
    ratio = height / width
    return ratio if 0.05 <= ratio <= 20 else 1.0
