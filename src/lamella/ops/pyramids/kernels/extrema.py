"""Kernels of the smallest and the largest voxel of each block.

Imported only to compile, because it imports numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ops.pyramids.kernels.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Pixels = NDArray[Any]


@kernel
def _pick(best: Any, voxel: Any, largest: int) -> Any:
    """Return the smaller or the larger of two voxels; NaN if one is NaN."""
    better = voxel > best if largest else voxel < best
    return voxel if better or np.isnan(voxel) else best


@kernel
def extremum(source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, largest: int) -> None:
    """Write the smallest voxel of each block, or with ``largest`` the largest; NaN if the block contains one.

    A bin is the voxels of a row that belong to one block: ``factor`` voxels, or fewer at the end of the row.
    """
    length = source.shape[1]
    full_bins = length // factor
    for out_row in range(out.shape[0]):
        target = out[out_row]
        row = source[rows[starts[out_row]]]
        for x in range(len(target)):
            target[x] = row[x * factor]
        for list_index in range(starts[out_row], starts[out_row + 1]):
            row = source[rows[list_index]]
            if factor == 1:
                for x in range(full_bins):
                    target[x] = _pick(target[x], row[x], largest)
            elif factor == 2:
                for x in range(full_bins):
                    target[x] = _pick(_pick(target[x], row[2 * x], largest), row[2 * x + 1], largest)
            else:
                for x in range(full_bins):
                    for column in range(x * factor, (x + 1) * factor):
                        target[x] = _pick(target[x], row[column], largest)
            for column in range(full_bins * factor, length):
                target[full_bins] = _pick(target[full_bins], row[column], largest)
