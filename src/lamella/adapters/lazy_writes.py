"""Write lazy data, such as a dask array, block by block, with few blocks in memory at a time.

A block is a region of whole shards (or chunks) of the array, so no two blocks share a file: data written to columns 3
to 10 of an array with blocks of 4 columns are split at 4 and 8. After an error the region of the write is marked as
unfinished (`lamella.nodes.level_writes`).
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.dask import ArrayWriter, block_shape
from lamella.errors import InvalidArgumentError
from lamella.nodes.image_array import ImageArray
from lamella.nodes.level_writes import marked_unless_finished
from lamella.ops.array_writes import reads_from
from lamella.ops.execution import run
from lamella.store.files.temporary_files import temporary_name
from lamella.store.metadata.array_creation import new_array
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.growth import growing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.regions import Region
    from lamella.spec.stale_levels import Bounds
    from lamella.store.pixels.selection import Selection
    from lamella.types import Shape


def write_lazy(array: ImageArray, selection: Selection, data: Any) -> None:
    """Write lazy data to a region of an array, broadcast as in numpy.

    Raise InvalidArgumentError for a shape that does not fit, before writing, and for a block with a value that the
    array cannot store.
    """
    bounds = selection.bounds
    source = _Broadcast.to_selection(data, selection, str(array.node_path))
    if bounds is None:
        return
    if reads_from(data, array.node_path):
        with computed_in_temporary_array(array, source) as computed:
            _write_bounds(array, bounds, _Broadcast(computed, computed.shape, computed.shape))
        return
    _write_bounds(array, bounds, source)


def append_lazy(array: ImageArray, data: Any, axis: int) -> Shape:
    """Append lazy data along an axis; the new shape is written when all data are stored."""
    stored = StoredArray(array.node_path.store_handle.documents, array.path)
    stored.appended_shape(data.shape, axis)
    axis %= array.ndim

    def grow(old: Shape) -> Shape:
        return (*old[:axis], old[axis] + data.shape[axis], *old[axis + 1 :])

    source = _Broadcast(data, data.shape, tuple(data.shape))
    with growing(stored, grow, is_overwritten=True) as larger:
        shape = larger.meta.shape
        start = shape[axis] - data.shape[axis]
        indices = [range(start, shape[axis]) if other == axis else None for other in range(array.ndim)]
        write_blocks(array, larger, source, indices)
    return shape


def _write_bounds(array: ImageArray, bounds: Bounds, source: _Broadcast) -> None:
    stored = StoredArray(array.node_path.store_handle.documents, array.path)
    indices = [range(start, stop) if start else None for start, stop in zip(*bounds, strict=True)]
    with array.recording_write(lambda: bounds), marked_unless_finished(array, bounds):
        write_blocks(array, stored, source, indices)
    array.region_written(bounds)


@contextmanager
def computed_in_temporary_array(array: ImageArray, data: Any) -> Iterator[ImageArray]:
    """Compute data that read an array into a temporary array beside it, and yield that; delete it at the end."""
    documents = array.node_path.store_handle.documents
    temporary = array.node_path.parent.child(temporary_name(".tmp"))
    meta = new_array(
        data.shape,
        data.dtype,
        zarr_format=documents.format,
        chunks=[max(1, min(unit, length)) for unit, length in zip(array.write_unit, data.shape, strict=True)],
    )
    documents.put_array(temporary.path, meta, is_new=True)
    try:
        computed = ImageArray(temporary)
        write_blocks(computed, StoredArray(documents, temporary.path), data, [None] * len(data.shape))
        yield computed
    finally:
        documents.delete(temporary.path)


def write_blocks(
    array: ImageArray,
    stored: StoredArray,
    data: Any,
    indices: Sequence[Sequence[int] | None],
    *,
    exact: bool = False,
) -> None:
    """Write lazy data, with as many axes as the array, block by block.

    ``stored`` is the same array, with its future shape if it grows. ``indices`` has for each axis the index in the
    array of each index of the data, or None if they are equal. ``exact`` refuses values that the array would change.
    """
    writer = ArrayWriter(stored, indices, exact)
    lengths = _block_lengths(data.shape, indices, block_shape(array))
    lazy = data.dask() if isinstance(data, _Broadcast) else _dask_or_none(data)
    if lazy is not None:
        import dask.array

        # Each shard lies in one block, so no two tasks write to it.
        dask.array.store([lazy.rechunk(lengths)], [writer], lock=False)
        return

    def write(region: Region) -> None:
        writer[region] = np.asarray(data[region])

    run(write, _split_regions(lengths))


def bounding_region(shape: Shape, indices: Sequence[Sequence[int] | None]) -> Bounds | None:
    """Return the smallest region of an array that contains the written indices; None if nothing is written.

    ``indices`` has the written indices of each axis, or None for the whole axis.
    """
    spans = [
        (0, length) if written is None else (min(written, default=0), max(written, default=-1) + 1)
        for length, written in zip(shape, indices, strict=True)
    ]
    if any(start >= stop for start, stop in spans):
        return None
    return tuple(start for start, _ in spans), tuple(stop for _, stop in spans)


class _Broadcast:
    """Lazy data that are broadcast to the region to which they are written.

    For ``array[3, :, :] = row`` with a row of 5 columns and an array of 4 rows, ``data_shape`` is (4, 5), and
    ``region_shape``, which also has the axes of integer indices, is (1, 4, 5).
    """

    def __init__(self, source: Any, data_shape: Shape, region_shape: Shape) -> None:
        self._source, self._data_shape, self.shape = source, data_shape, region_shape
        self.dtype = np.dtype(source.dtype)

    @classmethod
    def to_selection(cls, data: Any, selection: Selection, array_name: str) -> _Broadcast:
        """Broadcast data to a selection; raise InvalidArgumentError if they do not fit."""
        shape, selected = tuple(map(int, data.shape)), selection.result_shape
        extra = max(0, len(shape) - len(selected))
        try:
            fits = set(shape[:extra]) <= {1} and np.broadcast_shapes(shape[extra:], selected) == selected
        except ValueError:
            fits = False
        if not fits:
            raise InvalidArgumentError(
                f"Cannot write to array {array_name}: data of shape {shape} does not fit a selection of shape "
                f"{selected}."
            )
        return cls(data[(0,) * extra] if extra else data, selected, selection.shape)

    def dask(self) -> Any:
        """Return the data as a dask array; None for data of other libraries."""
        source = _dask_or_none(self._source)
        if source is None:
            return None
        import dask.array

        if source.shape != self._data_shape:
            source = dask.array.broadcast_to(source, self._data_shape)
        return source[tuple(None if axis is None else slice(None) for axis in self._axes())]

    def __getitem__(self, region: Region) -> Any:
        spans = [span for span, axis in zip(region, self._axes(), strict=True) if axis is not None]
        source_shape = tuple(self._source.shape)
        source_region = [
            slice(0, 1) if length == 1 else span
            for span, length in zip(spans[len(spans) - len(source_shape) :], source_shape, strict=True)
        ]
        lengths = [span.stop - span.start for span in spans]
        block = np.broadcast_to(np.asarray(self._source[tuple(source_region)]), lengths)
        return block.reshape([span.stop - span.start for span in region])

    def _axes(self) -> list[int | None]:
        """Return for each axis of the region the axis of the data; None for an axis of an integer index.

        In the example of the class, the region (1, 4, 5) has the axes [None, 0, 1] of the data (4, 5).
        """
        axes: list[int | None] = []
        axis = 0
        for length in self.shape:
            has_axis = axis < len(self._data_shape) and self._data_shape[axis] == length
            axes.append(axis if has_axis else None)
            axis += has_axis
        return axes


def _dask_or_none(data: Any) -> Any:
    """Return a dask array, or that in an xarray object; None for other data. Neither library is imported."""
    inner = getattr(getattr(data, "variable", data), "_data", data)
    return inner if hasattr(inner, "__dask_graph__") and hasattr(inner, "rechunk") else None


def _block_lengths(
    shape: Shape, indices: Sequence[Sequence[int] | None], block: Shape
) -> tuple[tuple[int, ...], ...]:
    """Split data along each axis where the array's blocks end; return the lengths along each axis.

    Rows 0, 3 and 4 of an array with blocks of 2 rows are in blocks 0, 1 and 2, so the three rows are split:

    >>> _block_lengths((3, 5), [(0, 3, 4), None], (2, 4))
    ((1, 1, 1), (4, 1))
    """
    lengths = []
    for length, written, size in zip(shape, indices, block, strict=True):
        blocks = [index // size for index in (range(length) if written is None else written)]
        ends = [index for index in range(1, length) if blocks[index] != blocks[index - 1]]
        lengths.append(tuple(stop - start for start, stop in zip([0, *ends], [*ends, length], strict=True)))
    return tuple(lengths)


def _split_regions(lengths: tuple[tuple[int, ...], ...]) -> Iterator[Region]:
    """Yield the regions of data that are split into these lengths along each axis."""
    spans = [
        [
            slice(stop - length, stop)
            for stop, length in zip(accumulate(axis_lengths), axis_lengths, strict=True)
        ]
        for axis_lengths in lengths
    ]
    return product(*spans)
