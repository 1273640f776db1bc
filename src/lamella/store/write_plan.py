"""Write a region with an engine that reads every file before writing it: files covered whole are encoded separately."""

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

#: Limit of raw bytes that are encoded before they are written.
_BATCH_BYTES = 64 << 20


def write_region(
    meta: ArrayMeta,
    selection: Selection,
    block: Array,
    *,
    change: Callable[[Selection, Array], None],
    encode: Callable[[Selection, Array], Files],
    store: Callable[[Files], None],
) -> None:
    """Write a block to a selection that is a region.

    Parameters
    ----------
    change
        Writes to files that are covered in part.
    encode
        Returns the encoded files that a block fills whole.
    store
        Replaces files.
    """
    region = tuple(axis_slice for axis_slice in selection.axes if isinstance(axis_slice, slice))
    origin = [axis_slice.start for axis_slice in region]
    for part in chunk_grid.split_region(meta, region):
        part_block = block[_shifted(part.region, origin)]
        if part.kind == "partial":
            change(as_selection(part.region), part_block)
            continue
        first = [axis_slice.start for axis_slice in part.region]
        batches = list(chunk_grid.batches(meta, part.region, _BATCH_BYTES))
        encoded = (encode(as_selection(batch), part_block[_shifted(batch, first)]) for batch in batches)
        if len(batches) == 1:
            store(next(encoded))
        else:
            _store_while_encoding(encoded, store)


def _store_while_encoding(encoded: Iterator[Files], store: Callable[[Files], None]) -> None:
    """Write one batch while the next is encoded; two batches are in memory at most."""
    with ThreadPoolExecutor(1, "lamella-write") as writer:
        written: Future[None] | None = None
        for files in encoded:
            if written is not None:
                written.result()
            written = writer.submit(store, files)
        if written is not None:
            written.result()


def as_selection(region: tuple[slice, ...]) -> Selection:
    """Return the selection of a region."""
    shape = tuple(axis_slice.stop - axis_slice.start for axis_slice in region)
    return Selection(region, False, shape, (), None, shape)


def _shifted(region: tuple[slice, ...], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(
        slice(axis_slice.start - o, axis_slice.stop - o) for axis_slice, o in zip(region, origin, strict=True)
    )
