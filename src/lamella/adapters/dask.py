"""An array as a dask array, and dask blocks into an array: the pixels by region, in any thread, process or machine.

What dask's tasks carry is where an array is (`ArrayReader`, `ArrayWriter`), never an open engine: a worker opens the
array by its location. How labelled arrays are read and written is in the ``xarray_`` modules.

Layer: adapters. Imports dask on first use and never touches its configuration.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, TooLargeError
from lamella.spec.axes import space_axes
from lamella.store.arrays import StoredArray
from lamella.store.value_range import ValueRangeError, check_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array
    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.regions import Region
    from lamella.types import Shape

BLOCK_BYTES = 64 * 2**20
"""Raw size that the blocks of a dask array come near to, along the axes of space."""

SMALL_BLOCK_BYTES = 8 * 2**20
"""Raw size up to which a block also spans times and channels: who reads one timepoint has to read its block."""


MOST_BLOCKS = 10_000_000
"""A dask array is a list of its blocks: more than this take gigabytes before anything is read."""


def dask_array(image: ImageArray) -> dask.array.Array:
    """Return a dask array of an array; no pixel is read yet.

    Blocks are whole shards (chunks, where there are no shards), or several side by side: up to 64 MiB along the axes of
    space, and across times and channels only while a block is below 8 MiB. The tasks carry the location of the array,
    so they run under any scheduler: threads, processes, distributed.

    Parameters
    ----------
    image : ImageArray
        The array. It may be closed before the blocks are computed.

    Returns
    -------
    dask.array.Array
        Of the same shape, axis order and dtype. Equal for two calls on the same array, so that dask shares their
        tasks; different when the array's document was changed between them.

    Raises
    ------
    TooLargeError
        The array would have more than ten million blocks (a MemoryError).

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> position = lamella.open_ome_zarr(
    ...     tempfile.mkdtemp() + "/a.zarr", layout="fov", mode="w", channel_names=["GFP"], version="0.5")
    >>> image = position.create_image("0", np.ones((2, 1, 4, 64, 64), "uint16"), chunks=(1, 1, 1, 32, 32))
    >>> lazy = dask_array(image)
    >>> lazy.chunksize, int(lazy.sum().compute())
    ((2, 1, 4, 64, 64), 32768)
    """
    import dask.array
    from dask.tokenize import tokenize

    reader = ArrayReader.of(image)
    documents, path = reader.stored.documents, reader.stored.path
    blocks = tuple(max(1, n) for n in block_shape(image))
    count = prod(-(-n // b) for n, b in zip(image.shape, blocks, strict=True))
    if count > MOST_BLOCKS:
        raise TooLargeError(
            f"{image!r} of {documents.location(path)} would be {count} blocks of {blocks}, and a dask array of more "
            f"than {MOST_BLOCKS} cannot be handled. Read regions of it, or rechunk it; its document may be damaged."
        )
    image.warn_unfinished()
    # A store in memory has no name that is its own: its identity tells it from others as long as it lives.
    store = getattr(documents.storage, "store", None)
    place = (
        documents.storage.name,
        id(store) if store is not None else None,
        path,
        documents.array_stamp(path),
    )
    token = tokenize(place, image.shape, image.dtype.str, blocks)
    # Inlined, since a reader is small and a task of its own would have to travel to each worker first.
    return dask.array.from_array(
        reader,
        chunks=blocks,
        name=f"lamella-{token}",
        asarray=True,
        fancy=False,
        inline_array=True,
        meta=np.empty((0,) * image.ndim, image.dtype),
    )


def block_shape(image: ImageArray) -> Shape:
    """Return the shape of the boxes in which an array is best read or written: multiples of its shards or chunks.

    Parameters
    ----------
    image : ImageArray
        An array; without axes all but its last three are taken for times and channels.

    Returns
    -------
    tuple of int
        At most the array's shape.
    """
    axes = image.axes
    space = space_axes(axes) if axes and len(axes) == image.ndim else tuple(range(image.ndim))[-3:]
    rest = [axis for axis in range(image.ndim) if axis not in space]
    unit = image.write_unit
    block = [min(n, max(1, length)) for n, length in zip(unit, image.shape, strict=True)]
    for axes_to_join, most in ((space, BLOCK_BYTES), (rest, SMALL_BLOCK_BYTES)):
        for axis in reversed(axes_to_join):
            times = most // (prod(block) * image.dtype.itemsize)
            if times >= 2:
                block[axis] = min(unit[axis] * times, max(1, image.shape[axis]))
    return tuple(block)


class ArrayReader:
    """A stored array as something to index; pickles as the array's location.

    Parameters
    ----------
    stored : StoredArray
        The array. A worker of another process opens it again.
    shape, dtype
        As the array's document says now: what dask or xarray hold stays true if the array grows.
    """

    def __init__(self, stored: StoredArray, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.stored = stored
        self.shape = shape
        self.dtype = dtype

    @classmethod
    def of(cls, image: ImageArray) -> ArrayReader:
        """Make the reader of an array."""
        return cls(StoredArray(image.node_path.store_handle.documents, image.path), image.shape, image.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return self.stored.read(index)


class ArrayWriter:
    """Boxes of a source into an array, with the indices along some axes looked up; pickles as a location.

    Parameters
    ----------
    stored : StoredArray
        The array. A worker of another process opens it again.
    indices : sequence of (tuple of int or None)
        Per axis the index in the array of each index of the source, ascending; None where they are the same.
    exact : bool
        Refuse values that the array's data type would change, as fractions in integers, and not only those that it
        cannot hold.
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
        runs = [_runs(span, where) for span, where in zip(region, self.indices, strict=True)]
        for pieces in product(*runs):
            where, part = tuple(target for _, target in pieces), block[tuple(source for source, _ in pieces)]
            if self.exact:
                self._check(where, part)
            self.stored.write(where, part)

    def _check(self, where: Region, part: NDArray[Any]) -> None:
        try:
            check_exact(part, self.stored.meta.dtype)
        except ValueRangeError as error:
            spans = ", ".join(f"{span.start}:{span.stop}" for span in where)
            location = self.stored.documents.location(self.stored.path)
            raise InvalidArgumentError(
                f"Cannot write to region [{spans}] of array {location}: {error}. "
                "Convert the data with astype() if that is what you want."
            ) from error


def _runs(span: slice, where: Sequence[int] | None) -> list[tuple[slice, slice]]:
    """Cut a span of the source into pieces that lie side by side in the array, as (piece of the block, target).

    >>> _runs(slice(1, 4), (0, 2, 3, 7))
    [(slice(0, 2, None), slice(2, 4, None)), (slice(2, 3, None), slice(7, 8, None))]
    """
    if where is None:
        return [(slice(0, span.stop - span.start), span)]
    if isinstance(where, range):
        start = where.start + span.start
        return [(slice(0, span.stop - span.start), slice(start, start + span.stop - span.start))]
    targets = where[span.start : span.stop]
    starts = [i for i, target in enumerate(targets) if i == 0 or target != targets[i - 1] + 1]
    return [
        (slice(start, stop), slice(targets[start], targets[stop - 1] + 1))
        for start, stop in zip(starts, [*starts[1:], len(targets)], strict=True)
    ]
