"""Read arrays as dask arrays, and write blocks of dask arrays, in any thread, process or machine.

A task of dask contains the location of an array (`ArrayReader`, `ArrayWriter`), which a worker opens again.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, TooLargeError, clause
from lamella.spec.axes import space_axes
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.assignment import ValueRangeError, check_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array
    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.regions import Region
    from lamella.types import Shape

BLOCK_BYTES = 64 * 2**20
"""Maximum raw size of a block of several shards that are neighbours along z, y and x."""

SMALL_BLOCK_BYTES = 8 * 2**20
"""Maximum raw size of a block of several times or channels: reading one time point reads its whole block."""

MAX_BLOCKS = 10_000_000
"""Maximum number of blocks of a dask array: its list of blocks would need gigabytes."""


def dask_array(image: ImageArray) -> dask.array.Array:
    """Return a dask array of an array; no pixel is read yet. See :meth:`ImageArray.dask_array`.

    Two calls on an unchanged array return equal dask arrays, so that dask shares their tasks. Raise TooLargeError for
    more than ten million blocks.
    """
    import dask.array
    from dask.tokenize import tokenize

    reader = ArrayReader.of(image)
    documents, path = reader.stored.documents, reader.stored.path
    block = tuple(max(1, length) for length in block_shape(image))
    count = prod(-(-length // size) for length, size in zip(image.shape, block, strict=True))
    if count > MAX_BLOCKS:
        raise TooLargeError(
            f"{image!r} of {documents.location(path)} would be {count} blocks of {block}, and a dask array of more "
            f"than {MAX_BLOCKS} cannot be handled. Read regions of it, or rechunk it; its document may be damaged."
        )
    image.warn_unfinished()
    # Stores in memory share one name; their identity distinguishes them.
    store = getattr(documents.storage, "store", None)
    identity = (
        documents.storage.name,
        id(store) if store is not None else None,
        path,
        documents.array_stamp(path),
    )
    token = tokenize(identity, image.shape, image.dtype.str, block)
    return dask.array.from_array(
        reader,
        chunks=block,
        name=f"lamella-{token}",
        asarray=True,
        fancy=False,
        inline_array=True,  # the reader is small; as a task of its own it would have to be sent to each worker first
        meta=np.empty((0,) * image.ndim, image.dtype),
    )


def block_shape(image: ImageArray) -> Shape:
    """Return the shape of the regions in which an array is best read or written: whole shards, or chunks.

    A block has as many neighbouring shards along z, y and x as fit into 64 MiB, and several times and channels only if
    it stays below 8 MiB: (1, 1, 16, 1024, 1024) for uint16 chunks of (1, 1, 1, 1024, 1024) and 16 planes. Without axes,
    all dimensions but the last three count as times and channels.
    """
    axes = image.axes
    space = space_axes(axes) if axes and len(axes) == image.ndim else tuple(range(image.ndim))[-3:]
    other_axes = [axis for axis in range(image.ndim) if axis not in space]
    unit = image.write_unit
    block = [min(size, max(1, length)) for size, length in zip(unit, image.shape, strict=True)]
    for axes_to_join, max_bytes in ((space, BLOCK_BYTES), (other_axes, SMALL_BLOCK_BYTES)):
        for axis in reversed(axes_to_join):
            count = max_bytes // (prod(block) * image.dtype.itemsize)
            if count >= 2:
                block[axis] = min(unit[axis] * count, max(1, image.shape[axis]))
    return tuple(block)


class ArrayReader:
    """Reads an array by numpy-style indices; pickles as the array's location, with the shape when it was opened."""

    def __init__(self, stored: StoredArray, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.stored = stored
        self.shape = shape
        self.dtype = dtype

    @classmethod
    def of(cls, image: ImageArray) -> ArrayReader:
        """Return the reader of an array."""
        return cls(StoredArray(image.node_path.store_handle.documents, image.path), image.shape, image.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self.stored.read(index)


class ArrayWriter:
    """Writes regions of a source into an array; pickles as the array's location.

    ``indices`` has for each axis the index in the array of each index of the source, ascending, such as (0, 2, 3); None
    if they are equal. ``exact`` refuses values that the array's data type would change, such as fractions in integers.
    """

    def __init__(
        self, stored: StoredArray, indices: Sequence[Sequence[int] | None], exact: bool = False
    ) -> None:
        self.stored = stored
        self.indices = tuple(indices)
        self.exact = exact

    def __reduce__(self) -> tuple[object, ...]:
        storage = self.stored.documents.storage
        if type(storage.zarr_store()).__name__ == "MemoryStore":
            raise InvalidArgumentError(
                f"Cannot write {self.stored.path!r} of {storage.name} from other processes: it is in the memory of "
                "this one. Compute with threads, or write to a folder."
            )
        return type(self), (self.stored, self.indices, self.exact)

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        runs = [_runs(span, indices) for span, indices in zip(region, self.indices, strict=True)]
        for run in product(*runs):
            target = tuple(array_span for _, array_span in run)
            pixels = block[tuple(block_span for block_span, _ in run)]
            if self.exact:
                self._check(target, pixels)
            self.stored.write(target, pixels)

    def _check(self, target: Region, pixels: NDArray[Any]) -> None:
        try:
            check_exact(pixels, self.stored.meta.dtype)
        except ValueRangeError as error:
            spans = ", ".join(f"{span.start}:{span.stop}" for span in target)
            location = self.stored.documents.location(self.stored.path)
            raise InvalidArgumentError(
                f"Cannot write to region [{spans}] of array {location}: {clause(error)}. "
                "Convert the data with astype() if that is what you want."
            ) from error


def _runs(span: slice, indices: Sequence[int] | None) -> list[tuple[slice, slice]]:
    """Split a span of the source into runs of neighbours in the array, as (span of the block, span of the array).

    Source indices 1, 2, 3 are written to the array's indices 2, 3 and 7, in two runs:

    >>> _runs(slice(1, 4), (0, 2, 3, 7))
    [(slice(0, 2, None), slice(2, 4, None)), (slice(2, 3, None), slice(7, 8, None))]
    """
    if indices is None:
        return [(slice(0, span.stop - span.start), span)]
    if isinstance(indices, range):
        start = indices.start + span.start
        return [(slice(0, span.stop - span.start), slice(start, start + span.stop - span.start))]
    targets = indices[span.start : span.stop]
    starts = [
        number for number, target in enumerate(targets) if number == 0 or target != targets[number - 1] + 1
    ]
    return [
        (slice(start, stop), slice(targets[start], targets[stop - 1] + 1))
        for start, stop in zip(starts, [*starts[1:], len(targets)], strict=True)
    ]
