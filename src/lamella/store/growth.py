"""Growing an array: the pixels are written first, and the longer shape last, under the lock of the array's shape.

A process that is killed in between leaves files, or values in the files on the edge, beyond the shape. Readers stop at
the shape and never see them. They are cleared here before a shape grows over them: in an array of shape (4,) with
chunks of 3, a killed `append` of four values leaves two of them in chunk 1 and two in chunk 2. A later growth to
(7,) fills the two in chunk 1 with the fill value and deletes chunk 2.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store import chunk_grid
from lamella.store.keys import join
from lamella.store.stored_chunks import listings, stored_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.types import Shape


@contextmanager
def growing(
    array: StoredArray, grow: Callable[[Shape], Shape], *, is_overwritten: bool = False
) -> Iterator[StoredArray]:
    """Make an array larger, with the pixels that are written inside the ``with`` block already in their place.

    An exception inside the block leaves the shape as it was.

    Parameters
    ----------
    array
        The array.
    grow
        Return the new shape for the present one. Called under the lock; a length that is smaller than the present one
        does not shrink the array.
    is_overwritten
        The block writes every voxel between the two shapes, so that nothing needs to be cleared before.

    Yields
    ------
    StoredArray
        The array with its new shape, for writing. It can be pickled and used by several workers, each of which writes
        to files of its own. It must not be used after the block.
    """
    with array.shape_lock():
        meta = array.refresh()
        new = tuple(map(max, meta.shape, grow(meta.shape)))
        if new == meta.shape:
            yield array
            return
        storage = array.documents.storage
        with ExitStack() as held:
            # An ordinary writer replaces a file on the edge as far as the present shape reaches. It has to wait until
            # the new shape is published, or it would drop what is written beyond.
            names = chunk_grid.lock_names(_edge_files(meta, new))
            for name in names:
                held.enter_context(storage.lock(join(array.path, name)))
            larger = array.reaching(new, frozenset(names))
            if not is_overwritten:
                clear_beyond(larger, meta, new)
            yield larger
            # Attributes may have been edited meanwhile: only the shape is ours.
            array.documents.put_shape(array.path, new)
        array.refresh()


def clear_beyond(array: StoredArray, meta: ArrayMeta, new: Shape) -> None:
    """Remove what lies beyond the shape of `meta` and inside a larger one, in the store.

    Parameters
    ----------
    array
        The array as it will be, which `StoredArray.reaching` returns.
    meta
        Its document as it is.
    new
        The larger shape.
    """
    grown = meta.with_shape(new)
    for place in list(_stored_beyond(array, meta, grown)):
        box = grown.file_box(place)
        if any(one.start >= n for one, n in zip(box, meta.shape, strict=True)):
            array.documents.storage.delete(join(array.path, meta.chunk_key(place)))
            continue
        for axis, n in enumerate(meta.shape):
            if n < box[axis].stop:
                clear_box(array, meta, (*box[:axis], slice(n, box[axis].stop, 1), *box[axis + 1 :]))


def clear_box(array: StoredArray, meta: ArrayMeta, box: tuple[slice, ...]) -> None:
    """Write the fill value where a box holds anything else, chunk by chunk; arguments as for `clear_beyond`."""
    empty = np.asarray(meta.fill_value, meta.dtype)
    spans = (_cut(one, c) for one, c in zip(box, meta.chunks, strict=True))
    for part in itertools.product(*spans):
        try:
            is_empty = np.array_equal(
                found := array.read(part),
                np.broadcast_to(empty, found.shape),
                equal_nan=meta.dtype.kind in "fc",
            )
        except DamagedDataError:
            if any(one.start % c for one, c in zip(part, meta.chunks, strict=True)):
                continue  # visible voxels of the chunk are damaged too: who reads them is told
            is_empty = False
        if not is_empty:
            array.write(part, empty)


def _cut(span: slice, length: int) -> Iterator[slice]:
    """Cut a span where chunks end."""
    start = span.start
    while start < span.stop:
        stop = min(span.stop, (start // length + 1) * length)
        yield slice(start, stop, 1)
        start = stop


def _edge_files(meta: ArrayMeta, new: Shape) -> list[Shape] | None:
    """Places of the files that hold voxels inside the shape and between it and a larger one; None for many."""
    slabs = [
        [
            (n // f,) if at == axis else range(k)
            for at, (n, f, k) in enumerate(zip(meta.shape, meta.files, meta.grid, strict=True))
        ]
        for axis, (n, m, f) in enumerate(zip(meta.shape, new, meta.files, strict=True))
        if m > n and n % f
    ]
    if sum(prod(map(len, slab)) for slab in slabs) > chunk_grid.LOCKS:
        return None
    return sorted({place for slab in slabs for place in itertools.product(*slab)})


def _stored_beyond(array: StoredArray, meta: ArrayMeta, grown: ArrayMeta) -> Iterator[Shape]:
    """Yield the stored files that reach into the growth: by asking for each, or by listing, whichever asks less."""
    storage = array.documents.storage
    # Along each axis the first file that holds something of the growth; none does where the axis does not grow.
    first = tuple(
        n // f if m > n else k
        for n, m, f, k in zip(meta.shape, grown.shape, meta.files, grown.grid, strict=True)
    )
    slabs = [
        [*map(range, first[:axis]), range(start, grown.grid[axis]), *map(range, grown.grid[axis + 1 :])]
        for axis, start in enumerate(first)
    ]
    asked = sum(prod(map(len, slab)) for slab in slabs)
    if not storage.can_list or asked <= listings(storage, grown, first):
        for place in itertools.chain.from_iterable(itertools.product(*slab) for slab in slabs):
            if storage.size(join(array.path, meta.chunk_key(place))) is not None:
                yield place
        return
    for place in stored_places(storage, array.path, grown, first):
        if all(k < n for k, n in zip(place, grown.grid, strict=True)):
            yield place
