"""Find frames that a killed stream stored after it wrote its last record, by their chunks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from lamella.store.chunk_lookup import ChunkLookup
from lamella.store.shard_index import IndexForm

if TYPE_CHECKING:
    from lamella.ops.streaming.order import FrameOrder
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray


def stored_frames(array: StoredArray, order: FrameOrder, recorded: int) -> int:
    """Return the number of frames stored without a gap; within a chunk of several frames the record decides."""
    meta = array.meta
    if any(meta.chunks[axis] > 1 for axis in order.axes) or (
        meta.shards is not None and IndexForm.of(meta) is None
    ):
        return recorded
    chunks = ChunkLookup(array)
    count = recorded
    while order.total is None or count < order.total:
        if not all(chunks.is_stored(chunk) for chunk in _chunks(meta, order, count)):
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
