"""Which files of an array a write touches, and which of them it covers whole. Pure arithmetic.

A file is a chunk, or a shard where the array has shards. A file whose part inside the array is covered whole
is written without reading what was there; a file covered in part must be read, changed and written while no
other writer does the same.
"""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lamella.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.selection import Indices
    from lamella.types import Array, Shape

#: partial: some files are covered in part. inside: all files are covered whole, and lie in the array whole.
#: ragged: all files are covered as far as the array reaches, and reach beyond it.
Kind = Literal["partial", "inside", "ragged"]


#: Lock files per array. Writers of two files wait for each other needlessly in one case of this many; a
#: write of more partly covered files than this takes them all.
LOCKS = 32


@dataclass(frozen=True)
class Piece:
    """A box of a write, in coordinates of the array, whose files are alike."""

    kind: Kind
    box: tuple[slice, ...]


def pieces(meta: ArrayMeta, box: tuple[slice, ...]) -> list[Piece]:
    """Cut a box so that files that it covers whole stand apart from the others.

    Examples
    --------
    >>> from lamella.store.array_meta import ArrayMeta
    >>> meta = ArrayMeta((9,), np.dtype("u1"), (4,))
    >>> found = pieces(meta, (slice(3, 9, 1),))
    >>> [(p.kind, p.box[0].start, p.box[0].stop) for p in found]
    [('partial', 3, 4), ('inside', 4, 8), ('ragged', 8, 9)]
    """
    per_axis = [_segments(meta, axis, one) for axis, one in enumerate(box)]
    found = [
        Piece(_worst([kind for kind, _ in parts]), tuple(one for _, one in parts))
        for parts in itertools.product(*per_axis)
    ]
    if any(piece.kind != "partial" for piece in found):
        return found
    return [Piece("partial", box)]


def files_of(meta: ArrayMeta, box: tuple[slice, ...]) -> Iterator[Shape]:
    """Places in the grid of the files that a box touches."""
    return itertools.product(
        *(range(one.start // f, -(-one.stop // f)) for one, f in zip(box, meta.files, strict=True))
    )


def places_of(meta: ArrayMeta, selection: Selection) -> Iterable[Shape]:
    """Places in the grid of the files that a selection meets.

    Examples
    --------
    >>> from lamella.store.array_meta import ArrayMeta
    >>> from lamella.store.selection import basic_or_fancy, points
    >>> meta = ArrayMeta((9, 9), np.dtype("u1"), (4, 4))
    >>> list(places_of(meta, basic_or_fancy((slice(3, 5), [0, 8]), meta.shape)))
    [(0, 0), (0, 2), (1, 0), (1, 2)]
    >>> sorted(places_of(meta, points(([3, 8, 2], [0, 8, 1]), meta.shape)))
    [(0, 0), (2, 2)]
    """
    if selection.is_box:
        return files_of(meta, selection.axes)  # type: ignore[arg-type]
    if selection.paired:
        return set(
            zip(
                *(
                    (np.asarray(axis) // f).tolist()
                    for axis, f in zip(selection.axes, meta.files, strict=True)
                ),
                strict=True,
            )
        )
    return itertools.product(
        *(
            range(axis.start // f, -(-axis.stop // f))
            if isinstance(axis, slice)
            else np.unique(np.asarray(axis) // f).tolist()
            for axis, f in zip(selection.axes, meta.files, strict=True)
        )
    )


def batches(meta: ArrayMeta, box: tuple[slice, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a box between files into boxes of at most `most` raw bytes, or of one file where that is larger.

    Examples
    --------
    >>> from lamella.store.array_meta import ArrayMeta
    >>> meta = ArrayMeta((9,), np.dtype("u1"), (4,))
    >>> list(batches(meta, (slice(0, 9, 1),), 4))
    [(slice(0, 4, 1),), (slice(4, 8, 1),), (slice(8, 9, 1),)]
    """
    size = math.prod(one.stop - one.start for one in box) * meta.dtype.itemsize
    counts = [-(-one.stop // f) - one.start // f for one, f in zip(box, meta.files, strict=True)]
    if size <= most or max(counts, default=1) == 1:
        yield box
        return
    axis = next(axis for axis, count in enumerate(counts) if count > 1)
    one, f = box[axis], meta.files[axis]
    cut = (one.start // f + counts[axis] // 2) * f
    for half in (slice(one.start, cut, 1), slice(cut, one.stop, 1)):
        yield from batches(meta, (*box[:axis], half, *box[axis + 1 :]), most)


def by_file(meta: ArrayMeta, selection: Selection, block: Array) -> Iterator[tuple[Shape, Selection, Array]]:
    """Split a write by file: the file's place in the grid, its part of the selection, and of the block."""
    if selection.paired:
        places = np.stack([np.asarray(axis) // f for axis, f in zip(selection.axes, meta.files, strict=True)])
        for place in np.unique(places, axis=1).T:
            chosen = np.flatnonzero((places == place[:, None]).all(axis=0))
            points = tuple(np.asarray(axis)[chosen] for axis in selection.axes)
            count = (len(chosen),)
            yield tuple(place.tolist()), Selection(points, True, count, (), None, count), block[chosen]
        return
    for parts in itertools.product(
        *(list(axis_parts(a, f)) for a, f in zip(selection.axes, meta.files, strict=True))
    ):
        part = block
        for axis, (_, _, where) in enumerate(parts):
            part = part[(slice(None),) * axis + (where,)]
        chosen_axes = tuple(item for _, item, _ in parts)
        yield (
            tuple(k for k, _, _ in parts),
            Selection(chosen_axes, False, part.shape, (), None, part.shape),
            part,
        )


def axis_parts(item: slice | Indices, f: int) -> Iterator[tuple[int, slice | Indices, slice | Indices]]:
    """Split one axis of a selection by file: the file's number, its positions, and where they are in the block."""
    if not isinstance(item, slice):
        numbers = item // f
        for k in np.unique(numbers).tolist():
            where = np.flatnonzero(numbers == k)
            yield k, item[where], where
        return
    for k in range(item.start // f, -(-item.stop // f)):
        first = max(0, -(-(k * f - item.start) // item.step))
        end = -(-(min((k + 1) * f, item.stop) - item.start) // item.step)
        if first < end:
            start = item.start + first * item.step
            yield k, slice(start, start + (end - 1 - first) * item.step + 1, item.step), slice(first, end)


def unfilled_files(meta: ArrayMeta, selection: Selection, most: int) -> list[Shape] | None:
    """Places of the files that a write does not fill to their last pixel; None when there are more than `most`.

    A file on the array's edge is never filled: the array may grow into the rest of it.
    """
    if selection.paired:
        places = np.stack([np.asarray(axis) // f for axis, f in zip(selection.axes, meta.files, strict=True)])
        unique = np.unique(places, axis=1).T
        return None if len(unique) > most else [tuple(place) for place in unique.tolist()]
    spans = [_spans(axis, f) for axis, f in zip(selection.axes, meta.files, strict=True)]
    touched, filled = [span[0] for span in spans], [span[1] for span in spans]
    if math.prod(map(len, touched)) - math.prod(map(len, filled)) > most:
        return None
    return list(_not_filled(touched, filled))


def _spans(item: slice | Indices, f: int) -> tuple[Sequence[int], range]:
    """Files along one axis that are touched, and those among them that are filled."""
    if not isinstance(item, slice):
        return np.unique(item // f).tolist(), range(0)
    touched = range(item.start // f, -(-item.stop // f))
    return touched, range(-(-item.start // f), item.stop // f) if item.step == 1 else range(0)


def _not_filled(touched: Sequence[Sequence[int]], filled: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """Places of the touched files that some axis does not fill; steps over the others unseen."""
    if not touched:
        return
    rest_has_some = any(len(t) > len(f) for t, f in zip(touched[1:], filled[1:], strict=True))
    for k in touched[0]:
        if k not in filled[0]:
            for tail in itertools.product(*touched[1:]):
                yield (k, *tail)
        elif rest_has_some:
            for tail in _not_filled(touched[1:], filled[1:]):
                yield (k, *tail)


def _segments(meta: ArrayMeta, axis: int, one: slice) -> list[tuple[Kind, slice]]:
    f, n, last = meta.files[axis], meta.shape[axis], meta.grid[axis]
    first_whole, end_whole = -(-one.start // f), last if one.stop == n else one.stop // f
    if first_whole >= end_whole:
        return [("partial", one)]
    ragged = end_whole == last and n < last * f
    cuts: list[tuple[Kind, int, int]] = [
        ("partial", one.start, first_whole * f),
        ("inside", first_whole * f, (last - 1) * f if ragged else min(end_whole * f, n)),
    ]
    if ragged:
        cuts.append(("ragged", (last - 1) * f, n))
    elif end_whole * f < one.stop:
        cuts.append(("partial", end_whole * f, one.stop))
    return [(kind, slice(start, stop, 1)) for kind, start, stop in cuts if start < stop]


def _worst(kinds: list[Kind]) -> Kind:
    if "partial" in kinds:
        return "partial"
    return "ragged" if "ragged" in kinds else "inside"


def lock_names(files: Collection[Shape] | None) -> list[str]:
    """Names of the locks of files by their places, all of an array's for None; in the order to take them.

    In one order, so that two writers cannot wait for each other. The names do not depend on the array's shape, so that
    they are the same for who is about to change it.

    Examples
    --------
    >>> lock_names([]), lock_names([(7,), (8,)]), len(lock_names(None))
    ([], ['chunks-2', 'chunks-19'], 32)
    """
    slots = (
        set(range(LOCKS))
        if files is None
        else {zlib.crc32(b".".join(b"%d" % k for k in place)) % LOCKS for place in files}
    )
    return [f"chunks-{slot}" for slot in sorted(slots)]


def number_of(place: Sequence[int], grid: Shape) -> int:
    """Return the number of a place, counted through its grid with the last axis fastest."""
    number = 0
    for k, n in zip(place, grid, strict=True):
        number = number * n + k
    return number
