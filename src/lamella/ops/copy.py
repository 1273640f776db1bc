"""Write pixels from any array-like into an array, block by block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.regions import Region, regions
from lamella.store.assignment import cast_data, is_lazy

if TYPE_CHECKING:
    from types import EllipsisType

    from numpy.typing import DTypeLike, NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.types import Shape


@dataclass(frozen=True)
class Source:
    """Pixels of a numpy or lazy array that are read by region; ``kind`` is another dtype to read."""

    data: Any
    in_memory: bool
    kind: np.dtype[Any] | None = None

    @property
    def shape(self) -> Shape:
        """Length of each axis."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of a voxel."""
        own: np.dtype[Any] = np.dtype(self.data.dtype)
        return self.kind or own

    def cast(self, dtype: DTypeLike) -> Source:
        """Return the same pixels in another data type; nothing is read yet."""
        return replace(self, kind=np.dtype(dtype))

    def read(self, region: Region | EllipsisType = ...) -> NDArray[Any]:
        """Return the pixels of a region in memory; of the whole array by default."""
        return cast_data(
            self.data[region], self.dtype
        )  # blocks may be of another type than the source states


def as_source(data: Any) -> Source:
    """Wrap any array-like as a source, without reading; raise InvalidArgumentError if it is not an array of numbers.

    Accepts a numpy array or memory map, a dask, xarray or zarr array, an `ImageArray`, a nested list, and any object
    with ``shape``, ``dtype`` and numpy-style indexing.

    >>> as_source([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if isinstance(data, np.memmap) or is_lazy(data, np.dtype(bool)):
        return Source(data, in_memory=False)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise InvalidArgumentError(f"An image needs an array of numbers: {error}") from error
    if array.dtype == object or array.dtype.kind in "USV":
        raise InvalidArgumentError(
            f"An image needs an array of numbers; got {type(data).__name__} of {array.dtype}."
        )
    return Source(array, in_memory=True)


def write_array(array: ImageArray, source: Source, workers: Workers = THREADS) -> None:
    """Write a whole array from a source of the same shape, one shard (or chunk) at a time."""
    if source.in_memory:
        array[...] = source.read()
        return

    def copy(region: Region) -> None:
        array[region] = source.read(region)

    run(copy, regions(array.shape, array.write_unit), workers)
