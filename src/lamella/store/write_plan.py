"""Writing a box with an engine that reads every file before it writes it: those covered whole are written apart."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from lamella.store import chunk_grid
from lamella.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.types import Array

#: Files by their keys below the array.
Files = dict[str, bytes]

#: Raw bytes that are encoded before they are written.
_BATCH_BYTES = 64 << 20


def write_box(
    meta: ArrayMeta,
    selection: Selection,
    block: Array,
    *,
    change: Callable[[Selection, Array], None],
    encode: Callable[[Selection, Array], Files],
    store: Callable[[Files], None],
) -> None:
    """Write a block to a selection that is a box.

    Parameters
    ----------
    meta, selection, block
        What is written, and where.
    change
        Writes to files that are covered in part.
    encode
        Returns the files that contain a block and nothing else.
    store
        Replaces these files.
    """
    box = tuple(one for one in selection.axes if isinstance(one, slice))
    origin = [one.start for one in box]
    for piece in chunk_grid.pieces(meta, box):
        part = block[_shifted(piece.box, origin)]
        if piece.kind == "partial":
            change(as_selection(piece.box), part)
            continue
        first = [one.start for one in piece.box]
        boxes = list(chunk_grid.batches(meta, piece.box, _BATCH_BYTES))
        encoded = (encode(as_selection(one), part[_shifted(one, first)]) for one in boxes)
        if len(boxes) == 1:
            store(next(encoded))
        else:
            _store_while_encoding(encoded, store)


def _store_while_encoding(encoded: Iterator[Files], store: Callable[[Files], None]) -> None:
    """Write one batch while the next is encoded; two batches at most are in memory."""
    with ThreadPoolExecutor(1, "lamella-write") as writer:
        written: Future[None] | None = None
        for files in encoded:
            if written is not None:
                written.result()
            written = writer.submit(store, files)
        if written is not None:
            written.result()


def as_selection(box: tuple[slice, ...]) -> Selection:
    """Return the selection of a box."""
    shape = tuple(one.stop - one.start for one in box)
    return Selection(box, False, shape, (), None, shape)


def _shifted(box: tuple[slice, ...], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(one.start - o, one.stop - o) for one, o in zip(box, origin, strict=True))
