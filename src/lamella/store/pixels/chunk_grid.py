"""Compute which chunks and files of an array a selection touches. Pure arithmetic.

A file is a shard, or a chunk where there are no shards; its index counts files per axis. The *block* is the array of
values of a selection. A write *covers* a file if it writes all of its pixels inside the array, so that the old file is
not read; it *fills* the file if that also ends inside the array, so that no lock is needed. In a 1-D array of 9 pixels
in files of 4, a write to 3:9 writes file 0 in part (3:4), fills file 1 (4:8), and covers file 2 (8:9).
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

#: Lock files per array. Two writers of different files share a lock in 1 of 32 cases; a write of more partly covered
#: files than this acquires all locks.
LOCKS_PER_ARRAY = 32


def files_of(meta: ArrayMeta, region: tuple[slice, ...]) -> Iterator[Shape]:
    """Yield the indexes of the files that a region touches."""
    return itertools.product(
        *(
            range(axis_slice.start // f, -(-axis_slice.stop // f))
            for axis_slice, f in zip(region, meta.files, strict=True)
        )
    )


def split_by_file(
    meta: ArrayMeta, selection: Selection, block: Array
) -> Iterator[tuple[Shape, Selection, Array]]:
    """Split a write by file; yield the file index, and the parts of the selection and the block in that file."""
    if selection.paired:
        file_indexes = _files_of_points(meta, selection)
        for file_index in np.unique(file_indexes, axis=1).T:
            chosen = np.flatnonzero((file_indexes == file_index[:, None]).all(axis=0))
            points = tuple(np.asarray(axis)[chosen] for axis in selection.axes)
            count = (len(chosen),)
            yield tuple(file_index.tolist()), Selection(points, True, count, (), None, count), block[chosen]
        return
    for parts in itertools.product(*split_axes(selection.axes, meta.files)):
        part = block
        for axis, (_, _, in_block) in enumerate(parts):
            part = part[(slice(None),) * axis + (in_block,)]
        chosen_axes = tuple(item for _, item, _ in parts)
        yield (
            tuple(k for k, _, _ in parts),
            Selection(chosen_axes, False, part.shape, (), None, part.shape),
            part,
        )


def _files_of_points(meta: ArrayMeta, selection: Selection) -> Indices:
    """Return the file index of each point, as columns."""
    return np.stack([np.asarray(axis) // f for axis, f in zip(selection.axes, meta.files, strict=True)])


#: The number of a cell (a file or chunk) along one axis, and the indices of its values in the array and in the block.
_Cell: TypeAlias = "tuple[int, slice | Indices, slice | Indices]"


def split_axes(axes: Sequence[slice | Indices], lengths: Sequence[int]) -> list[list[_Cell]]:
    """Split each axis of a selection into the cells of a grid."""
    axis_cells = []
    for item, n in zip(axes, lengths, strict=True):
        cells: list[_Cell] = []
        if isinstance(item, slice):
            for k in range(item.start // n, -(-item.stop // n)):
                first = max(0, -(-(k * n - item.start) // item.step))
                end = -(-(min((k + 1) * n, item.stop) - item.start) // item.step)
                if first < end:
                    start = item.start + first * item.step
                    stop = start + (end - 1 - first) * item.step + 1
                    cells.append((k, slice(start, stop, item.step), slice(first, end)))
        else:
            numbers = item // n
            for k in np.unique(numbers).tolist():
                in_block = np.flatnonzero(numbers == k)
                cells.append((k, item[in_block], in_block))
        axis_cells.append(cells)
    return axis_cells


def unfilled_files(meta: ArrayMeta, selection: Selection, limit: int) -> list[Shape] | None:
    """Return the indexes of the files that a write does not fill; None when there are more than `limit`.

    A file across the array's edge never counts as filled: the array may grow into the rest of it.
    """
    if selection.paired:
        file_indexes = _files_of_points(meta, selection)
        unique = np.unique(file_indexes, axis=1).T
        return None if len(unique) > limit else [tuple(index) for index in unique.tolist()]
    touched, filled = _spans(selection.axes, meta.files)
    if math.prod(map(len, touched)) - math.prod(map(len, filled)) > limit:
        return None
    return list(_not_filled(touched, filled))


def _spans(axes: Sequence[slice | Indices], files: Shape) -> tuple[list[Sequence[int]], list[range]]:
    """Return the files along each axis that are touched, and the range of those that are filled."""
    touched: list[Sequence[int]] = []
    filled: list[range] = []
    for item, f in zip(axes, files, strict=True):
        if isinstance(item, slice):
            touched.append(range(item.start // f, -(-item.stop // f)))
            filled.append(range(-(-item.start // f), item.stop // f) if item.step == 1 else range(0))
        else:
            touched.append(np.unique(item // f).tolist())
            filled.append(range(0))
    return touched, filled


def _not_filled(touched: Sequence[Sequence[int]], filled: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """Yield the touched files that are not filled along some axis."""
    if not touched:
        return
    later_axes_differ = any(len(t) > len(f) for t, f in zip(touched[1:], filled[1:], strict=True))
    for k in touched[0]:
        if k not in filled[0]:
            for tail in itertools.product(*touched[1:]):
                yield (k, *tail)
        elif later_axes_differ:
            for tail in _not_filled(touched[1:], filled[1:]):
                yield (k, *tail)


def lock_names(files: Collection[Shape] | None) -> list[str]:
    """Return the names of the locks of files, all of them for None, in an order by which two writers never deadlock.

    The names do not depend on the array's shape, which another writer may be changing.
    """
    slots = (
        set(range(LOCKS_PER_ARRAY))
        if files is None
        else {zlib.crc32(b".".join(b"%d" % k for k in index)) % LOCKS_PER_ARRAY for index in files}
    )
    return [f"chunks-{slot}" for slot in sorted(slots)]


def flat_number(index: Sequence[int], grid: Shape) -> int:
    """Return the position of an index in C order through a grid."""
    number = 0
    for k, n in zip(index, grid, strict=True):
        number = number * n + k
    return number


NumpyIndex: TypeAlias = tuple[Any, ...]


class Part(NamedTuple):
    """The values of one chunk that a selection touches."""

    number: int
    """Number of the chunk in its file, in C order."""
    in_chunk: NumpyIndex
    """Index of the values in the chunk."""
    in_block: NumpyIndex
    """Index of the values in the block."""
    is_whole: bool
    """Whether these are all values of the chunk that lie in the array, in order."""


#: Along one axis: a chunk's summand of `Part.number`, then `in_chunk`, `in_block` and `is_whole`.
_AxisPart: TypeAlias = tuple[int, Any, Any, bool]


def chunks_by_file(meta: ArrayMeta, selection: Selection) -> Iterator[tuple[Shape, list[Part]]]:
    """Yield the index of each file that a selection touches, with the parts of its chunks."""
    grid = meta.chunks_per_file
    strides = [1] * len(grid)
    for axis in range(len(grid) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * grid[axis]
    if selection.paired:
        yield from _paired(selection, meta.chunks, grid, strides)
        return
    is_plain = all(isinstance(axis, slice) for axis in selection.axes)
    for files in itertools.product(*_axis_files(meta, selection.axes, strides)):
        parts = []
        for chosen in itertools.product(*[axis_file[1] for axis_file in files]):
            numbers, in_chunk, in_block, whole = zip(*chosen, strict=True) if chosen else ((), (), (), ())
            if not is_plain:
                in_chunk, in_block = crossed(in_chunk), crossed(in_block)
            parts.append(Part(sum(numbers), in_chunk, in_block, all(whole)))
        yield tuple([axis_file[0] for axis_file in files]), parts


def _axis_files(
    meta: ArrayMeta, axes: Sequence[slice | Indices], strides: Sequence[int]
) -> list[list[tuple[int, list[_AxisPart]]]]:
    """Return the files along each axis with the chunks in each."""
    axis_files = []
    lengths = zip(meta.shape, meta.chunks, meta.chunks_per_file, strides, strict=True)
    for cells, (length, chunk, per_file, stride) in zip(split_axes(axes, meta.chunks), lengths, strict=True):
        files: list[tuple[int, list[_AxisPart]]] = []
        for k, item, in_block in cells:
            start = k * chunk
            if isinstance(item, slice):
                in_chunk: Any = slice(item.start - start, item.stop - start, item.step)
                is_whole = item.step == 1 and in_chunk.stop - in_chunk.start == min(chunk, length - start)
            else:
                in_chunk, is_whole = item - start, False
            file, number = divmod(k, per_file)
            if not files or files[-1][0] != file:
                files.append((file, []))
            files[-1][1].append((number * stride, in_chunk, in_block, is_whole))
        axis_files.append(files)
    return axis_files


def _paired(
    selection: Selection, chunks: Shape, grid: Shape, strides: list[int]
) -> Iterator[tuple[Shape, list[Part]]]:
    points = [np.asarray(axis) for axis in selection.axes]
    chunk_indexes = [axis // c for axis, c in zip(points, chunks, strict=True)]
    if not points or not points[0].size:
        return
    keys = [axis // n for axis, n in zip(chunk_indexes, grid, strict=True)] + chunk_indexes
    order = np.lexsort(keys[::-1])
    changes = np.zeros(len(order), bool)
    for axis in chunk_indexes:
        changes[1:] |= np.diff(axis[order]) != 0
    parts: list[Part] = []
    current: Shape | None = None
    for chosen in np.split(order, np.flatnonzero(changes)):
        chunk_index = [int(axis[chosen[0]]) for axis in chunk_indexes]
        file = tuple(k // n for k, n in zip(chunk_index, grid, strict=True))
        if file != current:
            if current is not None:
                yield current, parts
            current, parts = file, []
        number = sum(k % n * stride for k, n, stride in zip(chunk_index, grid, strides, strict=True))
        in_chunk = tuple(axis[chosen] - k * c for axis, k, c in zip(points, chunk_index, chunks, strict=True))
        parts.append(Part(number, in_chunk, (chosen,), False))
    if current is not None:
        yield current, parts
