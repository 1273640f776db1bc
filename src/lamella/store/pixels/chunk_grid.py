"""Compute which chunks and files of an array a selection touches. Pure arithmetic.

A file is a shard, or a chunk where there are no shards; its index counts files per axis. The *block* is the array of
values of a selection. A write *covers* a file if it writes all pixels of the file that lie inside the array, so that
the old file is not read; it *fills* the file if the whole file also lies inside the array, so that no lock is needed.
In a 1-D array of 9 pixels in files of 4, a write to 3:9 writes file 0 in part (3:4), fills file 1 (4:8), and covers
file 2 (8:9).
"""

from __future__ import annotations

import itertools
import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lamella.store.pixels.selection import Selection, crossed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.selection import Indices
    from lamella.types import Array, Shape

#: Lock files per array. Two writers of different files share a lock in 1 of 32 cases; a write that does not fill more
#: than 32 of its files acquires all locks.
LOCKS_PER_ARRAY = 32


def files_of(meta: ArrayMeta, region: tuple[slice, ...]) -> Iterator[Shape]:
    """Yield the indexes of the files that a region touches."""
    return itertools.product(
        *(
            range(axis_slice.start // file_length, -(-axis_slice.stop // file_length))
            for axis_slice, file_length in zip(region, meta.files, strict=True)
        )
    )


def split_by_file(
    meta: ArrayMeta, selection: Selection, block: Array
) -> Iterator[tuple[Shape, Selection, Array]]:
    """Split a write by file; yield the file index, with the selection and the block inside that file."""
    if selection.is_paired:
        file_indexes = _files_of_points(meta, selection)
        for file_index in np.unique(file_indexes, axis=1).T:
            in_file = np.flatnonzero((file_indexes == file_index[:, None]).all(axis=0))
            points = tuple(np.asarray(axis)[in_file] for axis in selection.axes)
            shape = (len(in_file),)
            yield tuple(file_index.tolist()), Selection(points, True, shape, (), None, shape), block[in_file]
        return
    for axis_cells in itertools.product(*split_axes(selection.axes, meta.files)):
        file_block = block
        for axis, (_, _, in_block) in enumerate(axis_cells):
            file_block = file_block[(slice(None),) * axis + (in_block,)]
        file_axes = tuple(axis_selection for _, axis_selection, _ in axis_cells)
        yield (
            tuple(number for number, _, _ in axis_cells),
            Selection(file_axes, False, file_block.shape, (), None, file_block.shape),
            file_block,
        )


def _files_of_points(meta: ArrayMeta, selection: Selection) -> Indices:
    """Return the file indexes of all points: one row per axis, one column per point."""
    return np.stack(
        [
            np.asarray(indices) // file_length
            for indices, file_length in zip(selection.axes, meta.files, strict=True)
        ]
    )


#: Along one axis: the number of a cell (a file or chunk), then the indices of its values in the array and in the block.
_Cell: TypeAlias = "tuple[int, slice | Indices, slice | Indices]"


def split_axes(axes: Sequence[slice | Indices], lengths: Sequence[int]) -> list[list[_Cell]]:
    """Split each axis of a selection into the cells of a grid, whose lengths along the axes are `lengths`.

    A slice 3:9 and cells of 4 return the cells 0 (3:4, in the block 0:1), 1 (4:8, 1:5) and 2 (8:9, 5:6).
    """
    return [
        _split_slice(axis_selection, cell_length)
        if isinstance(axis_selection, slice)
        else _split_indices(axis_selection, cell_length)
        for axis_selection, cell_length in zip(axes, lengths, strict=True)
    ]


def _split_slice(along_axis: slice, length: int) -> list[_Cell]:
    """Split a slice at the multiples of a length."""
    cells: list[_Cell] = []
    start, stop, step = along_axis.start, along_axis.stop, along_axis.step
    for number in range(start // length, -(-stop // length)):
        # The first selected index in the cell, and the first one after it, counted in the block.
        first = max(0, -(-(number * length - start) // step))
        end = -(-(min((number + 1) * length, stop) - start) // step)
        if first < end:
            in_array = slice(start + first * step, start + (end - 1) * step + 1, step)
            cells.append((number, in_array, slice(first, end)))
    return cells


def _split_indices(indices: Indices, length: int) -> list[_Cell]:
    """Split an index array at the multiples of a length."""
    numbers = indices // length
    cells: list[_Cell] = []
    for number in np.unique(numbers).tolist():
        in_block = np.flatnonzero(numbers == number)
        cells.append((number, indices[in_block], in_block))
    return cells


def unfilled_files(meta: ArrayMeta, selection: Selection, limit: int) -> list[Shape] | None:
    """Return the indexes of the files that a write does not fill; None when there are more than `limit`.

    A file across the array's edge never counts as filled: the array may grow into the rest of it.
    """
    if selection.is_paired:
        file_indexes = _files_of_points(meta, selection)
        unique = np.unique(file_indexes, axis=1).T
        return None if len(unique) > limit else [tuple(index) for index in unique.tolist()]
    touched, filled = _touched_and_filled(selection.axes, meta.files)
    if math.prod(map(len, touched)) - math.prod(map(len, filled)) > limit:
        return None
    return list(_not_filled(touched, filled))


def _touched_and_filled(
    axes: Sequence[slice | Indices], file_lengths: Shape
) -> tuple[list[Sequence[int]], list[range]]:
    """Return the numbers of the touched files along each axis, and the range of the filled ones among them."""
    touched: list[Sequence[int]] = []
    filled: list[range] = []
    for axis_selection, file_length in zip(axes, file_lengths, strict=True):
        if isinstance(axis_selection, slice):
            touched.append(range(axis_selection.start // file_length, -(-axis_selection.stop // file_length)))
            filled.append(
                range(-(-axis_selection.start // file_length), axis_selection.stop // file_length)
                if axis_selection.step == 1
                else range(0)
            )
        else:
            touched.append(np.unique(axis_selection // file_length).tolist())
            filled.append(range(0))
    return touched, filled


def _not_filled(touched: Sequence[Sequence[int]], filled: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """Yield the indexes of the touched files that are not filled along every axis."""
    if not touched:
        return
    later_axes_differ = any(
        len(touched_axis) > len(filled_axis)
        for touched_axis, filled_axis in zip(touched[1:], filled[1:], strict=True)
    )
    for number in touched[0]:
        if number not in filled[0]:
            for tail in itertools.product(*touched[1:]):
                yield (number, *tail)
        elif later_axes_differ:
            for tail in _not_filled(touched[1:], filled[1:]):
                yield (number, *tail)


def lock_names(files: Collection[Shape] | None) -> list[str]:
    """Return the names of the locks of files, or of all locks for None, sorted so that two writers never deadlock.

    The names do not depend on the array's shape, which another writer may be changing.
    """
    numbers = (
        set(range(LOCKS_PER_ARRAY))
        if files is None
        else {zlib.crc32(b".".join(b"%d" % number for number in index)) % LOCKS_PER_ARRAY for index in files}
    )
    return [f"chunks-{number}" for number in sorted(numbers)]


def flat_number(index: Sequence[int], grid: Shape) -> int:
    """Return the number of a cell of a grid in C order: 5 for the index (1, 2) in a grid of (2, 3)."""
    number = 0
    for cell, cell_count in zip(index, grid, strict=True):
        number = number * cell_count + cell
    return number


NumpyIndex: TypeAlias = tuple[Any, ...]


class ChunkPart(NamedTuple):
    """The values of one chunk that a selection touches: where they are in the chunk, and where in the block."""

    number: int
    """Number of the chunk in its file, in C order."""
    in_chunk: NumpyIndex
    """Index of the values in the chunk."""
    in_block: NumpyIndex
    """Index of the values in the block."""
    is_whole: bool
    """Whether these are all values of the chunk that lie in the array, in order."""


#: Along one axis: what a chunk adds to `ChunkPart.number`, then `in_chunk`, `in_block` and `is_whole`.
_AxisPart: TypeAlias = tuple[int, Any, Any, bool]


def chunks_by_file(meta: ArrayMeta, selection: Selection) -> Iterator[tuple[Shape, list[ChunkPart]]]:
    """Yield the index of each file that a selection touches, with the parts of its chunks that are touched."""
    file_grid = meta.chunks_per_file
    strides = [1] * len(file_grid)
    for axis in range(len(file_grid) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * file_grid[axis]
    if selection.is_paired:
        yield from _chunks_of_points(selection, meta.chunks, file_grid, strides)
        return
    has_only_slices = all(isinstance(axis, slice) for axis in selection.axes)
    for axis_files in itertools.product(*_axis_files(meta, selection.axes, strides)):
        parts = []
        for axis_parts in itertools.product(*[axis_file[1] for axis_file in axis_files]):
            number_parts, in_chunk, in_block, are_whole = (
                zip(*axis_parts, strict=True) if axis_parts else ((), (), (), ())
            )
            if not has_only_slices:
                in_chunk, in_block = crossed(in_chunk), crossed(in_block)
            parts.append(ChunkPart(sum(number_parts), in_chunk, in_block, all(are_whole)))
        yield tuple([axis_file[0] for axis_file in axis_files]), parts


def _axis_files(
    meta: ArrayMeta, axes: Sequence[slice | Indices], strides: Sequence[int]
) -> list[list[tuple[int, list[_AxisPart]]]]:
    """Return, for each axis, the numbers of the touched files with the parts of their chunks along that axis."""
    axis_files = []
    lengths = zip(meta.shape, meta.chunks, meta.chunks_per_file, strides, strict=True)
    for cells, (length, chunk_length, chunks_per_file, stride) in zip(
        split_axes(axes, meta.chunks), lengths, strict=True
    ):
        files: list[tuple[int, list[_AxisPart]]] = []
        for chunk_number, axis_selection, in_block in cells:
            start = chunk_number * chunk_length
            if isinstance(axis_selection, slice):
                in_chunk: Any = slice(
                    axis_selection.start - start, axis_selection.stop - start, axis_selection.step
                )
                is_whole = axis_selection.step == 1 and in_chunk.stop - in_chunk.start == min(
                    chunk_length, length - start
                )
            else:
                in_chunk, is_whole = axis_selection - start, False
            file_number, number_in_file = divmod(chunk_number, chunks_per_file)
            if not files or files[-1][0] != file_number:
                files.append((file_number, []))
            files[-1][1].append((number_in_file * stride, in_chunk, in_block, is_whole))
        axis_files.append(files)
    return axis_files


def _chunks_of_points(
    selection: Selection, chunk_shape: Shape, file_grid: Shape, strides: list[int]
) -> Iterator[tuple[Shape, list[ChunkPart]]]:
    """Sort the points of a selection by file and chunk, and yield the same as `chunks_by_file`."""
    points = [np.asarray(indices) for indices in selection.axes]
    chunk_indexes = [
        indices // chunk_length for indices, chunk_length in zip(points, chunk_shape, strict=True)
    ]
    if not points or not points[0].size:
        return
    sort_keys = [
        indices // chunks_per_file for indices, chunks_per_file in zip(chunk_indexes, file_grid, strict=True)
    ] + chunk_indexes
    order = np.lexsort(sort_keys[::-1])
    is_new_chunk = np.zeros(len(order), bool)
    for indices in chunk_indexes:
        is_new_chunk[1:] |= np.diff(indices[order]) != 0
    parts: list[ChunkPart] = []
    current_file: Shape | None = None
    for point_numbers in np.split(order, np.flatnonzero(is_new_chunk)):
        chunk_index = [int(indices[point_numbers[0]]) for indices in chunk_indexes]
        file_index = tuple(
            chunk_number // chunks_per_file
            for chunk_number, chunks_per_file in zip(chunk_index, file_grid, strict=True)
        )
        if file_index != current_file:
            if current_file is not None:
                yield current_file, parts
            current_file, parts = file_index, []
        number = sum(
            chunk_number % chunks_per_file * stride
            for chunk_number, chunks_per_file, stride in zip(chunk_index, file_grid, strides, strict=True)
        )
        in_chunk = tuple(
            indices[point_numbers] - chunk_number * chunk_length
            for indices, chunk_number, chunk_length in zip(points, chunk_index, chunk_shape, strict=True)
        )
        parts.append(ChunkPart(number, in_chunk, (point_numbers,), False))
    if current_file is not None:
        yield current_file, parts
