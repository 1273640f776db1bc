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
    """Fill ``starts`` and ``rows``: output row ``i`` is computed from ``rows[starts[i]:starts[i + 1]]``, in C order."""
    end_of_list = 0
    starts[0] = 0
    for out_row in range(len(starts) - 1):
        rows[end_of_list] = 0
        listed = 1
        block_index = out_row  # index of the block among those of the axes that are not done yet
        stride = 1
        for axis in range(len(shape) - 1, -1, -1):
            length = shape[axis]
            block_count = (length + factors[axis] - 1) // factors[axis]
            start = (block_index % block_count) * factors[axis]
            extent = min(factors[axis], length - start)
            block_index //= block_count
            for offset in range(extent - 1, -1, -1):
                for index in range(listed):
                    rows[end_of_list + offset * listed + index] = (
                        rows[end_of_list + index] + (start + offset) * stride
                    )
            listed *= extent
            stride *= length
        end_of_list += listed
        starts[out_row + 1] = end_of_list
