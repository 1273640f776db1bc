"""How an array is cut: default chunks, automatic chunks and shards. Pure arithmetic on shapes.

Layer: store.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.types import Shape

#: No chunk above this many raw bytes by our own choice: blosc stops at 2 GiB, and memory sooner.
LARGEST_CHUNK = 512 << 20
#: Raw size of an automatic inner chunk: what one random crop has to decode.
_CHUNK_GOAL = 1 << 20
#: Raw size of an automatic shard: the unit of a file, and of memory for one writer.
_SHARD_GOAL = 256 << 20


def default_chunks(shape: Shape, itemsize: int) -> Shape:
    """Chunks where the caller named none: the last three axes whole, 1 before.

    Above 512 MiB the first of the three axes is split into equal parts, then the second.

    Parameters
    ----------
    shape : tuple of int
        Lengths per axis; an axis of length 0 gets chunks of 1.
    itemsize : int
        Bytes per value.

    Examples
    --------
    >>> default_chunks((10, 3, 40, 2048, 2048), 2)
    (1, 1, 40, 2048, 2048)
    >>> default_chunks((1, 1, 400, 2048, 2048), 2)
    (1, 1, 58, 2048, 2048)
    """
    chunks = [1] * max(0, len(shape) - 3) + [max(1, n) for n in shape[-3:]]
    for axis in range(max(0, len(shape) - 3), len(shape)):
        rest = math.prod(chunks) // chunks[axis] * itemsize
        if rest * chunks[axis] > LARGEST_CHUNK:
            chunks[axis] = _equal_parts(chunks[axis], max(1, LARGEST_CHUNK // rest))
    return tuple(chunks)


def auto_layout(shape: Shape, itemsize: int, sharded: bool) -> tuple[Shape, Shape | None]:
    """Choose inner chunks near 1 MiB raw and shards up to 256 MiB, fitted to the array's edge.

    Both span the last three axes only, so that times and channels can be written side by side. Cuts are equal
    parts, so that the last chunk and shard of an axis are hardly smaller than the others.

    Parameters
    ----------
    shape : tuple of int
        Lengths per axis.
    itemsize : int
        Bytes per value.
    sharded : bool
        Whether the format has shards; without them the second result is None.

    Returns
    -------
    chunks : tuple of int
        The inner chunks.
    shards : tuple of int or None
        Whole multiples of the chunks; None where one chunk holds all that a shard would.

    Examples
    --------
    >>> auto_layout((4, 2, 32, 1024, 1024), 2, True)
    ((1, 1, 8, 256, 256), (1, 1, 32, 1024, 1024))
    >>> auto_layout((512, 512), 2, True)
    ((512, 512), None)
    """
    lead, core = tuple(1 for _ in shape[:-3]), tuple(max(1, n) for n in shape[-3:])
    chunks = _near_cube(core, itemsize)
    shards = _shards(core, chunks, itemsize)
    if not sharded or shards == chunks:
        return lead + chunks, None
    return lead + chunks, lead + shards


def _near_cube(core: Shape, itemsize: int) -> Shape:
    """Cut the last three axes into near 1 MiB: tiles of 256 first, then depth, then wider tiles."""
    goal = max(1, _CHUNK_GOAL // itemsize)
    plane = [min(n, 256) for n in core[-2:]]
    depth = [min(n, max(1, goal // math.prod(plane))) for n in core[:-2]]
    chunks = [_equal_parts(n, limit) for n, limit in zip(core[:-2], depth, strict=True)] + plane
    for axis in (len(chunks) - 1, len(chunks) - 2) * 16:
        if axis >= 0 and chunks[axis] < core[axis] and math.prod(chunks) * 2 <= goal:
            chunks[axis] = min(core[axis], chunks[axis] * 2)
    return tuple(_equal_parts(n, c) for n, c in zip(core, chunks, strict=True))


def _shards(core: Shape, chunks: Shape, itemsize: int) -> Shape:
    """Take as many whole chunks per axis as 256 MiB allow, the last axis first."""
    counts = [1] * len(core)
    size = math.prod(chunks) * itemsize
    for axis in reversed(range(len(core))):
        whole = math.ceil(core[axis] / chunks[axis])
        counts[axis] = _equal_parts(whole, max(1, _SHARD_GOAL // size))
        size *= counts[axis]
    return tuple(c * n for c, n in zip(chunks, counts, strict=True))


def _equal_parts(length: int, limit: int) -> int:
    """Return the part length when `length` is cut into the fewest equal parts of at most `limit`.

    Even parts where that costs no further cut, so that pyramids halve them without a seam.
    """
    if length <= limit:
        return length
    part = math.ceil(length / math.ceil(length / limit))
    return part + 1 if part % 2 and part + 1 <= limit else part
