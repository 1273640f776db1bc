"""Find frames that a killed stream stored after it wrote its last record, by their chunks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from lamella.store.keys import join
from lamella.store.shard_index import NO_CHUNK, IndexForm, decode_index

if TYPE_CHECKING:
    import numpy as np

    from lamella.ops.streaming.order import FrameOrder
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.types import Shape


def stored_frames(array: StoredArray, order: FrameOrder, recorded: int) -> int:
    """Return the number of frames stored without a gap; within a chunk of several frames the record decides."""
    meta = array.meta
    if any(meta.chunks[axis] > 1 for axis in order.axes) or (
        meta.shards is not None and IndexForm.of(meta) is None
    ):
        return recorded
    indexes: dict[Shape, np.ndarray | None] = {}
    count = recorded
    while order.total is None or count < order.total:
        if not all(_is_stored(array, meta, chunk, indexes) for chunk in _chunks(meta, order, count)):
            return count
        count += 1
    return count


def _chunks(meta: ArrayMeta, order: FrameOrder, number: int) -> product[tuple[int, ...]]:
    index_of_axis = dict(zip(order.axes, order.index_of(number), strict=True))
    return product(
        *(
            (index_of_axis[axis],) if axis in index_of_axis else range(-(-n // c))
            for axis, (n, c) in enumerate(zip(meta.shape, meta.chunks, strict=True))
        )
    )


def _is_stored(
    array: StoredArray, meta: ArrayMeta, chunk: Shape, indexes: dict[Shape, np.ndarray | None]
) -> bool:
    file_index = tuple(k * c // f for k, c, f in zip(chunk, meta.chunks, meta.files, strict=True))
    storage, key = array.documents.storage, join(array.path, meta.chunk_key(file_index))
    form = IndexForm.of(meta)
    if form is None:
        return storage.size(key) is not None
    if file_index not in indexes:
        indexes.clear()  # frames arrive in order: the shard before is finished
        data = storage.read_range(key, -form.size if form.at_end else 0, form.size)
        indexes[file_index] = None if data is None else decode_index(data, form, key)
    index = indexes[file_index]
    number = 0
    for k, p, n in zip(chunk, file_index, form.chunks, strict=True):
        number = number * n + k - p * n
    return index is not None and int(index[number, 0]) != NO_CHUNK
