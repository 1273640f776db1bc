"""Which chunks of which files a selection meets: where each part lies in its chunk, and where in the block.

Pure arithmetic.
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

Place: TypeAlias = tuple[Any, ...]
"""An index of numpy."""


class Part(NamedTuple):
    """What a selection meets of one chunk.

    Attributes
    ----------
    number
        Of the chunk in its file, in C order.
    inside
        Index of the values in the chunk.
    where
        Index of the values in the block of the selection.
    is_whole
        Whether these are all values of the chunk that lie in the array, in their order.
    """

    number: int
    inside: Place
    where: Place
    is_whole: bool


#: Of one axis: what a chunk adds to its number, and what `Part` says of it.
_AxisPart: TypeAlias = tuple[int, Any, Any, bool]


def parts_by_file(meta: ArrayMeta, selection: Selection) -> Iterator[tuple[Shape, list[Part]]]:
    """Yield the place of each file that a selection meets in the grid of files, and its parts there.

    Examples
    --------
    >>> from lamella.store.array_meta import ArrayMeta
    >>> from lamella.store.selection import basic_or_fancy
    >>> meta = ArrayMeta((9,), np.dtype("u1"), (2,), (4,))
    >>> for place, parts in parts_by_file(meta, basic_or_fancy(slice(1, 6), (9,))):
    ...     print(place, [(part.number, part.inside, part.is_whole) for part in parts])
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
        for chosen in itertools.product(*[one[1] for one in files]):
            numbers, inside, where, whole = zip(*chosen, strict=True) if chosen else ((), (), (), ())
            if not is_plain:
                inside, where = crossed(inside), crossed(where)
            parts.append(Part(sum(numbers), inside, where, all(whole)))
        yield tuple([one[0] for one in files]), parts


def _of_axis(
    meta: ArrayMeta, axis: int, item: slice | Indices, per_file: int, stride: int
) -> list[tuple[int, list[_AxisPart]]]:
    """Return the files along one axis, and the chunks in each."""
    chunk, length = meta.chunks[axis], meta.shape[axis]
    files: list[tuple[int, list[_AxisPart]]] = []
    for k, one, where in chunk_grid.axis_parts(item, chunk):
        start = k * chunk
        if isinstance(one, slice):
            inside: Any = slice(one.start - start, one.stop - start, one.step)
            is_whole = one.step == 1 and inside.stop - inside.start == min(chunk, length - start)
        else:
            inside, is_whole = one - start, False
        file, number = divmod(k, per_file)
        if not files or files[-1][0] != file:
            files.append((file, []))
        files[-1][1].append((number * stride, inside, where, is_whole))
    return files


def _paired(
    selection: Selection, chunks: Shape, grid: Shape, strides: list[int]
) -> Iterator[tuple[Shape, list[Part]]]:
    points = [np.asarray(axis) for axis in selection.axes]
    places = [axis // c for axis, c in zip(points, chunks, strict=True)]
    if not points or not points[0].size:
        return
    keys = [axis // n for axis, n in zip(places, grid, strict=True)] + places
    order = np.lexsort(keys[::-1])
    changes = np.zeros(len(order), bool)
    for axis in places:
        changes[1:] |= np.diff(axis[order]) != 0
    found: list[Part] = []
    current: Shape | None = None
    for chosen in np.split(order, np.flatnonzero(changes)):
        place = [int(axis[chosen[0]]) for axis in places]
        file = tuple(k // n for k, n in zip(place, grid, strict=True))
        if file != current:
            if current is not None:
                yield current, found
            current, found = file, []
        number = sum(k % n * stride for k, n, stride in zip(place, grid, strides, strict=True))
        inside = tuple(axis[chosen] - k * c for axis, k, c in zip(points, place, chunks, strict=True))
        found.append(Part(number, inside, (chosen,), False))
    if current is not None:
        yield current, found
