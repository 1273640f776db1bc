"""Kernels of the mean: exact sums of integers, float64 sums of floats in C order. Imported only to compile.

Each kernel computes the rows of ``out``. Row ``i`` is the mean of the rows ``rows[starts[i]:starts[i + 1]]`` of
``source``, and in these of each ``factor`` neighbouring voxels, a bin. Factors of two along two and three axes (2 and 4
rows) have loops of their own, which LLVM turns into vector instructions; all loops compute the same bits.
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
def _half_to_even(total: int, count: int) -> int:
    """Return ``total / count`` rounded half to even. The floor division leaves a remainder in [0, count)."""
    quotient = total // count
    twice = 2 * (total - quotient * count)
    if twice > count or (twice == count and quotient & 1):
        quotient += 1
    return quotient


@kernel
def mean_integers(
    source: Pixels,
    starts: Rows,
    rows: Rows,
    factor: int,
    out: Pixels,
    sums: NDArray[np.int64],
    sum_dtype: Pixels,
) -> None:
    """Write the mean of integers of up to 32 bits.

    ``sums`` has one 64-bit sum per voxel of an output row; ``sum_dtype`` is an empty array whose dtype contains the sum
    of eight voxels: 32 bits for 8- and 16-bit voxels, of which a processor adds twice as many at a time as of 64 bits.
    """
    to_sum = sum_dtype.dtype.type
    pairs = source.shape[1] // 2
    for out_row in range(out.shape[0]):
        target = out[out_row]
        list_start, list_end = starts[out_row], starts[out_row + 1]
        computed = 0
        if factor == 2 and list_end - list_start == 4:
            row_a, row_b = source[rows[list_start]], source[rows[list_start + 1]]
            row_c, row_d = source[rows[list_start + 2]], source[rows[list_start + 3]]
            for x in range(pairs):
                left = to_sum(
                    to_sum(to_sum(row_a[2 * x]) + to_sum(row_b[2 * x]))
                    + to_sum(to_sum(row_c[2 * x]) + to_sum(row_d[2 * x]))
                )
                right = to_sum(
                    to_sum(to_sum(row_a[2 * x + 1]) + to_sum(row_b[2 * x + 1]))
                    + to_sum(to_sum(row_c[2 * x + 1]) + to_sum(row_d[2 * x + 1]))
                )
                total = to_sum(left + right)
                odd = to_sum(to_sum(total >> 3) & 1)
                target[x] = to_sum(to_sum(total + to_sum(3 + odd)) >> 3)
            computed = pairs
        elif factor == 2 and list_end - list_start == 2:
            row_a, row_b = source[rows[list_start]], source[rows[list_start + 1]]
            for x in range(pairs):
                total = to_sum(
                    to_sum(to_sum(row_a[2 * x]) + to_sum(row_b[2 * x]))
                    + to_sum(to_sum(row_a[2 * x + 1]) + to_sum(row_b[2 * x + 1]))
                )
                odd = to_sum(to_sum(total >> 2) & 1)
                target[x] = to_sum(to_sum(total + to_sum(1 + odd)) >> 2)
            computed = pairs
        _mean_remaining(source, rows[list_start:list_end], factor, target, sums, computed)


@kernel
def _divide(sums: Rows, begin: int, end: int, count: int, target: Pixels) -> None:
    """Round ``sums / count`` into `target`, by shifts where `count` is a power of two: they vectorise."""
    shift = 0
    while count >> shift > 1:
        shift += 1
    if shift and count == 1 << shift:
        below_half = (count >> 1) - 1
        for x in range(begin, end):
            target[x] = (sums[x] + below_half + ((sums[x] >> shift) & 1)) >> shift
    else:
        for x in range(begin, end):
            target[x] = _half_to_even(sums[x], count)


@kernel
def _mean_remaining(
    source: Pixels, rows: Rows, factor: int, target: Pixels, sums: Rows, computed: int
) -> None:
    """Compute the voxels of one output row after the first ``computed`` ones, for any factor and number of rows."""
    length = source.shape[1]
    full_bins = length // factor
    for x in range(computed, len(target)):
        sums[x] = 0
    for row_number in rows:
        row = source[row_number]
        if factor == 1:
            for x in range(computed, full_bins):
                sums[x] += np.int64(row[x])
        elif factor == 2:
            for x in range(computed, full_bins):
                sums[x] += np.int64(row[2 * x]) + np.int64(row[2 * x + 1])
        else:
            for x in range(computed, full_bins):
                for offset in range(factor):
                    sums[x] += np.int64(row[x * factor + offset])
        for column in range(full_bins * factor, length):
            sums[full_bins] += np.int64(row[column])
    _divide(sums, computed, full_bins, len(rows) * factor, target)
    if full_bins < len(target):
        target[full_bins] = _half_to_even(sums[full_bins], len(rows) * (length - full_bins * factor))


@kernel
def mean_int64(
    source: NDArray[np.int64],
    starts: Rows,
    rows: Rows,
    factor: int,
    out: NDArray[np.int64],
    high: Rows,
    low: Rows,
    sign_bit: int,
) -> None:
    """Write the mean of 64-bit integers, whose sum does not fit 64 bits: upper and lower halves have separate sums.

    ``sign_bit`` is 0 for signed voxels. For unsigned ones, which are read as signed, it is the highest bit: flipping it
    subtracts 2**63, an even number, so that halves still round to even. Exact for blocks below 2**30 voxels.
    """
    length = source.shape[1]
    for out_row in range(out.shape[0]):
        list_start, list_end = starts[out_row], starts[out_row + 1]
        high[:] = 0
        low[:] = 0
        for list_index in range(list_start, list_end):
            for column in range(length):
                voxel = source[rows[list_index], column] ^ sign_bit
                high[column // factor] += voxel >> 32
                low[column // factor] += voxel & 0xFFFFFFFF
        for x in range(out.shape[1]):
            count = (list_end - list_start) * min(factor, length - x * factor)
            quotient = high[x] // count
            remainder = ((high[x] - quotient * count) << 32) + low[x]
            # The quotient's lower half may exceed 32 bits by the carry of `low`: the addition corrects it.
            whole = (quotient << 32) + remainder // count
            twice = 2 * (remainder % count)
            if twice > count or (twice == count and whole & 1):
                whole += 1
            out[out_row, x] = whole ^ sign_bit


@kernel
def mean_float32(
    source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, sums: NDArray[np.float64]
) -> None:
    """Write the mean of float32: summed in float64 in C order of the block, rounded to float32 once."""
    length = source.shape[1]
    full_bins = length // factor
    for out_row in range(out.shape[0]):
        target = out[out_row]
        list_start, list_end = starts[out_row], starts[out_row + 1]
        computed = 0
        if factor == 2 and list_end - list_start == 4:
            row_a, row_b = source[rows[list_start]], source[rows[list_start + 1]]
            row_c, row_d = source[rows[list_start + 2]], source[rows[list_start + 3]]
            for x in range(full_bins):
                total = np.float64(row_a[2 * x]) + np.float64(row_a[2 * x + 1])
                total = total + np.float64(row_b[2 * x]) + np.float64(row_b[2 * x + 1])
                total = total + np.float64(row_c[2 * x]) + np.float64(row_c[2 * x + 1])
                total = total + np.float64(row_d[2 * x]) + np.float64(row_d[2 * x + 1])
                target[x] = total * 0.125 if not np.isnan(total) else np.nan
            computed = full_bins
        elif factor == 2 and list_end - list_start == 2:
            row_a, row_b = source[rows[list_start]], source[rows[list_start + 1]]
            for x in range(full_bins):
                total = np.float64(row_a[2 * x]) + np.float64(row_a[2 * x + 1])
                total = total + np.float64(row_b[2 * x]) + np.float64(row_b[2 * x + 1])
                target[x] = total * 0.25 if not np.isnan(total) else np.nan
            computed = full_bins
        if computed < len(target):
            sums[computed:] = -0.0  # the neutral element: 0.0 + -0.0 would lose the sign of a block of -0.0
            for list_index in range(list_start, list_end):
                row = source[rows[list_index]]
                for x in range(computed, len(target)):
                    for column in range(x * factor, min((x + 1) * factor, length)):
                        sums[x] += np.float64(row[column])
            for x in range(computed, len(target)):
                mean = sums[x] / ((list_end - list_start) * min(factor, length - x * factor))
                target[x] = mean if not np.isnan(mean) else np.nan


@kernel
def mean_float64(
    source: NDArray[np.float64],
    starts: Rows,
    rows: Rows,
    factor: int,
    out: NDArray[np.float64],
    sums: NDArray[np.float64],
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
) -> None:
    """Write the mean of float64: summed in C order of the block, limited to its lowest and its highest voxel.

    Without limits the mean of eight times 0.1 is 0.09999999999999999, and the mean of large voxels is infinite.
    """
    length = source.shape[1]
    for out_row in range(out.shape[0]):
        list_start, list_end = starts[out_row], starts[out_row + 1]
        sums[:] = -0.0
        lowest[:] = np.inf
        highest[:] = -np.inf
        for list_index in range(list_start, list_end):
            row = source[rows[list_index]]
            for x in range(out.shape[1]):
                for column in range(x * factor, min((x + 1) * factor, length)):
                    voxel = row[column]
                    sums[x] += voxel
                    lowest[x] = voxel if voxel < lowest[x] else lowest[x]
                    highest[x] = voxel if voxel > highest[x] else highest[x]
        for x in range(out.shape[1]):
            mean = sums[x] / ((list_end - list_start) * min(factor, length - x * factor))
            mean = lowest[x] if mean < lowest[x] else mean
            mean = highest[x] if mean > highest[x] else mean
            out[out_row, x] = mean if not np.isnan(mean) else np.nan
