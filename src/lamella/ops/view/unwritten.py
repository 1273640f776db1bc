"""Find pixels of a plane whose chunks are not stored.

They read as the fill value, but stored pixels can have this value too. So the function looks up the files of those
chunks that show nothing but the fill value.
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
    outer_index: dict[int, int | slice],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    plane: NDArray[Any],
) -> NDArray[np.bool_]:
    """Return which pixels of a plane (rows, columns) are not written.

    ``outer_index`` has the indices along all dimensions except Y and X.
    """
    is_missing = np.zeros((rows.size, columns.size), bool)
    fill = np.asarray(meta.fill_value, meta.dtype)[()]
    if meta.dtype.kind in "fc" and np.isnan(fill):
        is_fill = np.isnan(plane)
    else:
        is_fill = plane == (np.abs(fill) if meta.dtype.kind == "c" else fill)
    if not is_fill.any():
        return is_missing
    chunks, shape = meta.chunks, meta.shape
    chunk_lookup = ChunkLookup(array.stored)
    outer_chunks = [
        range(-(-shape[axis] // chunks[axis]))
        if isinstance(index, slice)
        else range(index // chunks[axis], index // chunks[axis] + 1)
        for axis, index in sorted(outer_index.items())
    ]
    outer_axes = sorted(outer_index)
    for row, row_span in _runs(rows // chunks[axes.y]):
        for column, column_span in _runs(columns // chunks[axes.x]):
            if not is_fill[row_span, column_span].all():
                continue
            is_missing[row_span, column_span] = not any(
                chunk_lookup.is_stored(
                    _chunk(dict(zip(outer_axes, index, strict=True)), axes, row, column, len(shape))
                )
                for index in product(*outer_chunks)
            )
    return is_missing


def _chunk(outer_index: dict[int, int], axes: PlaneAxes, row: int, column: int, ndim: int) -> tuple[int, ...]:
    indices = {**outer_index, axes.y: row, axes.x: column}
    return tuple(indices[axis] for axis in range(ndim))


def _runs(chunk_indices: NDArray[np.intp]) -> Iterator[tuple[int, slice]]:
    """Yield each run of equal chunk indices, with its span.

    >>> import numpy as np
    >>> list(_runs(np.array([0, 0, 1, 1, 1])))
    [(0, slice(0, 2, None)), (1, slice(2, 5, None))]
    """
    starts = np.flatnonzero(np.diff(chunk_indices, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], chunk_indices.size], strict=True):
        yield int(chunk_indices[start]), slice(int(start), int(stop))
