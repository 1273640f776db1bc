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
def _pick(best: Any, value: Any, largest: int) -> Any:
    """Return the smaller or the larger of two voxels; NaN if one is NaN."""
    better = value > best if largest else value < best
    return value if better or np.isnan(value) else best


@kernel
def extremum(source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, largest: int) -> None:
    """Write the smallest or `largest` voxel of each block; NaN where the block has one."""
    length = source.shape[1]
    full = length // factor
    for o in range(out.shape[0]):
        target = out[o]
        row = source[rows[starts[o]]]
        for j in range(len(target)):
            target[j] = row[j * factor]
        for r in range(starts[o], starts[o + 1]):
            row = source[rows[r]]
            if factor == 1:
                for j in range(full):
                    target[j] = _pick(target[j], row[j], largest)
            elif factor == 2:
                for j in range(full):
                    target[j] = _pick(_pick(target[j], row[2 * j], largest), row[2 * j + 1], largest)
            else:
                for j in range(full):
                    for x in range(j * factor, (j + 1) * factor):
                        target[j] = _pick(target[j], row[x], largest)
            for x in range(full * factor, length):
                target[full] = _pick(target[full], row[x], largest)
