"""Find pixels of a plane whose chunks are not stored: they read as the fill value, as stored pixels may too.

Only chunks that show nothing but the fill value are looked up.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.store.pixels.stored_files import ChunkLookup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.display.planes import PlaneAxes
    from lamella.store.metadata.array_meta import ArrayMeta


def unwritten(
    array: ImageArray,
    meta: ArrayMeta,
    axes: PlaneAxes,
    cut: dict[int, int | slice],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    plane: NDArray[Any],
) -> NDArray[np.bool_]:
    """Return which pixels of a plane (rows, columns) are not written; ``cut`` has the indices of other dimensions."""
    missing = np.zeros((rows.size, columns.size), bool)
    fill = np.asarray(meta.fill_value, meta.dtype)[()]
    if meta.dtype.kind in "fc" and np.isnan(fill):
        empty = np.isnan(plane)
    else:
        empty = plane == (np.abs(fill) if meta.dtype.kind == "c" else fill)
    if not empty.any():
        return missing
    chunks, shape = meta.chunks, meta.shape
    stored = ChunkLookup(array.stored)
    others = [
        range(-(-shape[axis] // chunks[axis]))
        if isinstance(index, slice)
        else range(index // chunks[axis], index // chunks[axis] + 1)
        for axis, index in sorted(cut.items())
    ]
    names = sorted(cut)
    for row, row_span in _runs(rows // chunks[axes.y]):
        for column, column_span in _runs(columns // chunks[axes.x]):
            if not empty[row_span, column_span].all():
                continue
            missing[row_span, column_span] = not any(
                stored.is_stored(_chunk(dict(zip(names, index, strict=True)), axes, row, column, len(shape)))
                for index in product(*others)
            )
    return missing


def _chunk(others: dict[int, int], axes: PlaneAxes, row: int, column: int, ndim: int) -> tuple[int, ...]:
    indices = {**others, axes.y: row, axes.x: column}
    return tuple(indices[axis] for axis in range(ndim))


def _runs(chunk_of: NDArray[np.intp]) -> Iterator[tuple[int, slice]]:
    """Yield each run of equal chunk indices, with its span.

    >>> import numpy as np
    >>> list(_runs(np.array([0, 0, 1, 1, 1])))
    [(0, slice(0, 2, None)), (1, slice(2, 5, None))]
    """
    starts = np.flatnonzero(np.diff(chunk_of, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], chunk_of.size], strict=True):
        yield int(chunk_of[start]), slice(int(start), int(stop))
