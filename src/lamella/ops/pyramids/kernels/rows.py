"""List which rows of a block each row of the downsampled block bins.

Imported only to compile, because it imports numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.ops.pyramids.kernels.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def bin_rows(
    shape: NDArray[np.int64], factors: NDArray[np.int64], starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    """Fill `starts` and `rows`: output row ``o`` bins ``rows[starts[o]:starts[o + 1]]``, in C order."""
    filled = 0
    starts[0] = 0
    for o in range(len(starts) - 1):
        rows[filled] = 0
        count = 1
        block = o  # its index among the blocks of the remaining axes
        stride = 1
        for axis in range(len(shape) - 1, -1, -1):
            length = shape[axis]
            blocks = (length + factors[axis] - 1) // factors[axis]
            first = (block % blocks) * factors[axis]
            extent = min(factors[axis], length - first)
            block //= blocks
            for i in range(extent - 1, -1, -1):
                for r in range(count):
                    rows[filled + i * count + r] = rows[filled + r] + (first + i) * stride
            count *= extent
            stride *= length
        filled += count
        starts[o + 1] = filled
