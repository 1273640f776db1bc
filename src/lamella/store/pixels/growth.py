"""Grow an array: write the new pixels first, and publish the larger shape last, under the lock of the shape.

A killed process leaves pixels beyond the shape, which readers never see. They are cleared before a shape grows over
them: in an array of shape (4,) with chunks of 3, a killed `append` of four values leaves two of them in chunk 1 and two
in chunk 2. A later growth to (7,) sets the two in chunk 1 to the fill value, and deletes chunk 2.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.keys import join
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.stored_chunks import count_listings, iter_stored_files
from lamella.store.pixels.stored_files import ChunkLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Shape


@contextmanager
def growing(
    array: StoredArray, shape_after: Callable[[Shape], Shape], *, is_overwritten: bool = False
) -> Iterator[StoredArray]:
    """Grow an array on exit of the ``with`` block, which writes the new pixels; an exception leaves the old shape.

    ``shape_after`` returns the new shape for the present one, under the lock. ``is_overwritten`` promises that the
    block writes every new voxel, so that nothing is cleared before. Yields the array with its new shape. Several
    workers may write to it if no two of them write to the same file.
    """
    with array.shape_lock():
        meta = array.refresh()
        new_shape = tuple(map(max, meta.shape, shape_after(meta.shape)))
        if new_shape == meta.shape:
            yield array
            return
        storage = array.documents.storage
        with ExitStack() as locks:
            # A file on the edge has pixels inside the present shape and beyond it. A writer that knows only the present
            # shape would replace the whole file and so delete the new pixels. The locks make it wait for the new shape.
            names = chunk_grid.lock_names(_edge_files(meta, new_shape))
            for name in names:
                locks.enter_context(storage.lock(join(array.path, name)))
            larger = array.with_future_shape(new_shape, frozenset(names))
            with _publishing(array, meta.shape, new_shape):
                if not is_overwritten:
                    clear_beyond(larger, meta, new_shape)
                yield larger
        array.refresh()


@contextmanager
def _publishing(array: StoredArray, old_shape: Shape, new_shape: Shape) -> Iterator[None]:
    """Publish a shape after the ``with`` block, or before it in a store that accepts no chunks beyond the shape.

    Such a store (icechunk) shows nothing to others before a commit. An error in the block restores the old shape.
    """
    # Change only the shape: another writer may edit the attributes meanwhile.
    if not array.documents.storage.chunks_need_array:
        yield
        array.documents.put_shape(array.path, new_shape)
        return
    array.documents.put_shape(array.path, new_shape)
    try:
        yield
    except BaseException:
        array.documents.put_shape(array.path, old_shape)
        raise


def clear_beyond(array: StoredArray, meta: ArrayMeta, new_shape: Shape) -> None:
    """Clear the pixels of a growth: those in `new_shape` that are not in the shape of `meta`.

    `array` is a handle with the new shape.
    """
    grown = meta.with_shape(new_shape)
    for region in _delete_outside(array, grown, list(_stored_beyond(array, meta, grown)), meta.shape):
        clear_region(array, meta, region)


def clear_cropped(array: StoredArray, meta: ArrayMeta, new_shape: Shape) -> None:
    """Clear the pixels that are cropped when an array shrinks to `new_shape`; the caller then publishes the shape."""
    lookup = ChunkLookup(array)
    files = iter_stored_files(array.documents.storage, array.path, meta)
    for region in _delete_outside(array, meta, files, new_shape):
        for cleared_region in (
            [region] if meta.shards is None else _stored_chunk_regions(array, lookup, meta, region)
        ):
            array.write(cleared_region, meta.fill_value)


def _stored_chunk_regions(
    array: StoredArray, lookup: ChunkLookup, meta: ArrayMeta, region: tuple[slice, ...]
) -> list[tuple[slice, ...]]:
    """Return the parts of a region of one shard whose chunks are stored; the other chunks are not written."""
    file_index = tuple(
        axis_slice.start // file_length for axis_slice, file_length in zip(region, meta.files, strict=True)
    )
    array.documents.storage.check_file(join(array.path, meta.chunk_key(file_index)))
    try:
        chunks = _chunk_regions(meta, region)
        return _join_regions([chunk for chunk in chunks if lookup.is_stored(_chunk_index(meta, chunk))])
    except DamagedDataError:  # the write raises it too, and names the array and the file
        return [region]


def _join_regions(regions: list[tuple[slice, ...]]) -> list[tuple[slice, ...]]:
    """Join adjacent regions, which are in C order: fewer writes, each of which copies the other chunks of the shard."""
    for axis in reversed(range(len(regions[0]) if regions else 0)):
        joined: list[tuple[slice, ...]] = []
        last_by_bounds: dict[tuple[int, ...], int] = {}
        for region in regions:
            other_bounds = tuple(
                bound
                for axis_slice in (*region[:axis], *region[axis + 1 :])
                for bound in (axis_slice.start, axis_slice.stop)
            )
            adjacent = last_by_bounds.get(other_bounds)
            if adjacent is not None and joined[adjacent][axis].stop == region[axis].start:
                span = slice(joined[adjacent][axis].start, region[axis].stop, 1)
                joined[adjacent] = (*region[:axis], span, *region[axis + 1 :])
            else:
                last_by_bounds[other_bounds] = len(joined)
                joined.append(region)
        regions = joined
    return regions


def _delete_outside(
    array: StoredArray, meta: ArrayMeta, files: Iterable[Shape], shape: Shape
) -> Iterator[tuple[slice, ...]]:
    """Delete the files that lie outside a shape; yield the regions outside it of the files across its edge."""
    for file_index in files:
        region = meta.file_region(file_index)
        if any(axis_slice.start >= length for axis_slice, length in zip(region, shape, strict=True)):
            array.documents.storage.delete(join(array.path, meta.chunk_key(file_index)))
            continue
        for axis, length in enumerate(shape):
            if length < region[axis].stop:
                yield (*region[:axis], slice(length, region[axis].stop, 1), *region[axis + 1 :])


def clear_region(array: StoredArray, meta: ArrayMeta, region: tuple[slice, ...]) -> None:
    """Write the fill value to the chunks of a region that have other values; `array` may have a larger shape."""
    fill_value = np.asarray(meta.fill_value, meta.dtype)
    for chunk_region in _chunk_regions(meta, region):
        try:
            is_filled = np.array_equal(
                values := array.read(chunk_region),
                np.broadcast_to(fill_value, values.shape),
                equal_nan=meta.dtype.kind in "fc",
            )
        except DamagedDataError:
            if any(
                axis_slice.start % chunk_length
                for axis_slice, chunk_length in zip(chunk_region, meta.chunks, strict=True)
            ):
                continue  # a chunk on the edge: keep it, so that reading its visible voxels still reports the damage
            is_filled = False
        if not is_filled:
            array.write(chunk_region, fill_value)


def _chunk_regions(meta: ArrayMeta, region: tuple[slice, ...]) -> Iterator[tuple[slice, ...]]:
    """Split a region at chunk boundaries."""
    spans = (
        _split_at_chunks(axis_slice, chunk_length)
        for axis_slice, chunk_length in zip(region, meta.chunks, strict=True)
    )
    return itertools.product(*spans)


def _chunk_index(meta: ArrayMeta, region: tuple[slice, ...]) -> Shape:
    return tuple(
        axis_slice.start // chunk_length for axis_slice, chunk_length in zip(region, meta.chunks, strict=True)
    )


def _split_at_chunks(span: slice, length: int) -> Iterator[slice]:
    start = span.start
    while start < span.stop:
        stop = min(span.stop, (start // length + 1) * length)
        yield slice(start, stop, 1)
        start = stop


def _edge_files(meta: ArrayMeta, new: Shape) -> list[Shape] | None:
    """Return the indexes of files with voxels in the old shape and in the growth; None for more than 32."""
    index_ranges = [
        [
            (length // file_length,) if other_axis == axis else range(file_count)
            for other_axis, (length, file_length, file_count) in enumerate(
                zip(meta.shape, meta.files, meta.grid, strict=True)
            )
        ]
        for axis, (old_length, new_length, file_length) in enumerate(
            zip(meta.shape, new, meta.files, strict=True)
        )
        if new_length > old_length and old_length % file_length
    ]
    if sum(prod(map(len, ranges)) for ranges in index_ranges) > chunk_grid.LOCKS_PER_ARRAY:
        return None
    return sorted({index for ranges in index_ranges for index in itertools.product(*ranges)})


def _stored_beyond(array: StoredArray, meta: ArrayMeta, grown: ArrayMeta) -> Iterator[Shape]:
    """Yield the stored files in the growth, by requesting or listing them, whichever needs fewer requests."""
    storage = array.documents.storage
    # Along each axis, the index of the first file with new voxels; an index past the last file if the axis does not
    # grow.
    first_new = tuple(
        old_length // file_length if new_length > old_length else file_count
        for old_length, new_length, file_length, file_count in zip(
            meta.shape, grown.shape, meta.files, grown.grid, strict=True
        )
    )
    index_ranges = [
        [*map(range, first_new[:axis]), range(start, grown.grid[axis]), *map(range, grown.grid[axis + 1 :])]
        for axis, start in enumerate(first_new)
    ]
    requests = sum(prod(map(len, ranges)) for ranges in index_ranges)
    if not storage.can_list or requests <= count_listings(storage, grown, first_new):
        for index in itertools.chain.from_iterable(itertools.product(*ranges) for ranges in index_ranges):
            if storage.size(join(array.path, meta.chunk_key(index))) is not None:
                yield index
        return
    for index in iter_stored_files(storage, array.path, grown, first_new):
        if all(number < file_count for number, file_count in zip(index, grown.grid, strict=True)):
            yield index
