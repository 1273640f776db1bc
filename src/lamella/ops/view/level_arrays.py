"""Arrays that are read when a viewer draws them: one channel of each level of an image."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, StorageError
from lamella.ops.display.planes import current_levels
from lamella.ops.regions import expand_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.display.planes import PlaneAxes
    from lamella.types import Shape


class LazyArray(ABC):
    """An array with shape and dtype, whose values are read by basic indexing: integers, slices, an ellipsis."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        entries = expand_index(index, self.ndim)
        return self._read(
            tuple(entry if isinstance(entry, slice) else operator.index(entry) for entry in entries)
        )

    @abstractmethod
    def _read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read the values at one integer or slice for each dimension."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"


class LevelArray(LazyArray):
    """One channel of a level: the ``dimensions`` of the level in this order, at ``fixed`` indices of the others."""

    def __init__(self, array: ImageArray, dimensions: Sequence[int], fixed: dict[int, int]) -> None:
        self._array, self._dimensions, self._fixed = array, tuple(dimensions), fixed
        self.shape = tuple(array.shape[dimension] for dimension in dimensions)
        self.dtype = array.dtype

    def _read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        index_by_axis: dict[int, int | slice] = {
            **self._fixed,
            **dict(zip(self._dimensions, index, strict=True)),
        }
        values = np.asarray(self._array[tuple(index_by_axis[axis] for axis in range(self._array.ndim))])
        read_axes = [axis for axis in self._dimensions if isinstance(index_by_axis[axis], slice)]
        sorted_axes = sorted(read_axes)
        return values.transpose([sorted_axes.index(axis) for axis in read_axes])


def drawable_levels(position: Position) -> list[ImageArray]:
    """Return the levels that other viewers can draw: readable, not stale, and none larger than the one before."""
    levels = [position.data]
    for path in current_levels(position)[1:]:
        try:
            array = position.open_level(path)
        except StorageError:
            raise
        except LamellaError:
            continue
        before = levels[-1].shape
        if len(before) == array.ndim and array.shape != before and not np.greater(array.shape, before).any():
            levels.append(array)
    return levels


def layer_dimensions(axes: PlaneAxes, ndim: int, fixed: Mapping[int, int]) -> list[int]:
    """Return the dimensions of a level, except the fixed ones, in the order T, others, Z, Y, X."""
    last_axes = [axis for axis in (axes.z, axes.y, axes.x) if axis is not None]
    first_axes = [] if axes.time is None else [axes.time]
    other_axes = [axis for axis in range(ndim) if axis not in (*first_axes, *last_axes, *fixed)]
    return [*first_axes, *other_axes, *last_axes]
