"""Compute which chunks of which files a selection touches, and where their values lie in the block.

A *block* is the array of values of a selection. In a 1-D array of 9 pixels in chunks of 2 and shards of 4, the
selection 1:6 touches file 0 (1:2 of its chunk 0, all of chunk 1) and file 1 (all of chunk 0).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lamella.store import chunk_grid
from lamella.store.selection import crossed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.selection import Indices, Selection
    from lamella.types import Shape

NumpyIndex: TypeAlias = tuple[Any, ...]


class Part(NamedTuple):
    """The values of one chunk that a selection touches.

    Attributes
    ----------
    number
        Number of the chunk in its file, in C order.
    inside
        Index of the values in the chunk.
    where
        Index of the values in the block.
    is_whole
        Whether these are all values of the chunk that lie in the array, in order.
    """

    number: int
    inside: NumpyIndex
    where: NumpyIndex
    is_whole: bool


#: Along one axis: a chunk's summand of `Part.number`, then `inside`, `where` and `is_whole`.
_AxisPart: TypeAlias = tuple[int, Any, Any, bool]


def parts_by_file(meta: ArrayMeta, selection: Selection) -> Iterator[tuple[Shape, list[Part]]]:
    """Yield the index of each file that a selection touches, with the parts of its chunks.

    >>> from lamella.store.array_meta import ArrayMeta
    >>> from lamella.store.selection import basic_or_fancy
    >>> meta = ArrayMeta((9,), np.dtype("u1"), (2,), (4,))
    >>> for file_index, parts in parts_by_file(meta, basic_or_fancy(slice(1, 6), (9,))):
    ...     print(file_index, [(part.number, part.inside, part.is_whole) for part in parts])
    (0,) [(0, (slice(1, 2, 1),), False), (1, (slice(0, 2, 1),), True)]
    (1,) [(0, (slice(0, 2, 1),), True)]
    """
    grid = tuple(f // c for f, c in zip(meta.files, meta.chunks, strict=True))
    strides = [1] * len(grid)
    for axis in range(len(grid) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * grid[axis]
    if selection.paired:
        yield from _paired(selection, meta.chunks, grid, strides)
        return
    axes = [_of_axis(meta, axis, item, grid[axis], strides[axis]) for axis, item in enumerate(selection.axes)]
    is_plain = all(isinstance(axis, slice) for axis in selection.axes)
    for files in itertools.product(*axes):
        parts = []
        for chosen in itertools.product(*[axis_file[1] for axis_file in files]):
            numbers, inside, where, whole = zip(*chosen, strict=True) if chosen else ((), (), (), ())
            if not is_plain:
                inside, where = crossed(inside), crossed(where)
            parts.append(Part(sum(numbers), inside, where, all(whole)))
        yield tuple([axis_file[0] for axis_file in files]), parts


def _of_axis(
    meta: ArrayMeta, axis: int, item: slice | Indices, per_file: int, stride: int
) -> list[tuple[int, list[_AxisPart]]]:
    """Return the files along one axis with the chunks in each."""
    chunk, length = meta.chunks[axis], meta.shape[axis]
    files: list[tuple[int, list[_AxisPart]]] = []
    for k, axis_item, where in chunk_grid.axis_parts(item, chunk):
        start = k * chunk
        if isinstance(axis_item, slice):
            inside: Any = slice(axis_item.start - start, axis_item.stop - start, axis_item.step)
            is_whole = axis_item.step == 1 and inside.stop - inside.start == min(chunk, length - start)
        else:
            inside, is_whole = axis_item - start, False
        file, number = divmod(k, per_file)
        if not files or files[-1][0] != file:
            files.append((file, []))
        files[-1][1].append((number * stride, inside, where, is_whole))
    return files


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
        inside = tuple(axis[chosen] - k * c for axis, k, c in zip(points, chunk_index, chunks, strict=True))
        parts.append(Part(number, inside, (chosen,), False))
    if current is not None:
        yield current, parts
