"""Kernels of the mean: exact sums of integers, float64 sums of floats in C order. Imported only to compile.

Each kernel bins the rows of `source` that are listed for an output row (see ``rows``), and `factor` neighbours along a
row. Two and four full rows binned by two (2x2 and 2x2x2) have loops of their own, which LLVM turns into vector
instructions; all loops compute the same bits.
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
    source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, sums: NDArray[np.int64], wide: Pixels
) -> None:
    """Write the mean of integers of up to 32 bits.

    `sums` has one 64-bit sum per voxel of an output row; `wide` is an empty array whose dtype contains the sum
    of eight voxels (32 bits for 8- and 16-bit voxels: twice the vector width of 64).
    """
    cast = wide.dtype.type
    length = source.shape[1]
    pairs = length // 2
    for o in range(out.shape[0]):
        target = out[o]
        first, last = starts[o], starts[o + 1]
        done = 0
        if factor == 2 and last - first == 4:
            a, b = source[rows[first]], source[rows[first + 1]]
            c, d = source[rows[first + 2]], source[rows[first + 3]]
            for j in range(pairs):
                left = cast(cast(cast(a[2 * j]) + cast(b[2 * j])) + cast(cast(c[2 * j]) + cast(d[2 * j])))
                right = cast(
                    cast(cast(a[2 * j + 1]) + cast(b[2 * j + 1]))
                    + cast(cast(c[2 * j + 1]) + cast(d[2 * j + 1]))
                )
                total = cast(left + right)
                odd = cast(cast(total >> 3) & 1)
                target[j] = cast(cast(total + cast(3 + odd)) >> 3)
            done = pairs
        elif factor == 2 and last - first == 2:
            a, b = source[rows[first]], source[rows[first + 1]]
            for j in range(pairs):
                total = cast(
                    cast(cast(a[2 * j]) + cast(b[2 * j])) + cast(cast(a[2 * j + 1]) + cast(b[2 * j + 1]))
                )
                odd = cast(cast(total >> 2) & 1)
                target[j] = cast(cast(total + cast(1 + odd)) >> 2)
            done = pairs
        _mean_remaining(source, rows[first:last], factor, target, sums, done)


@kernel
def _divide(sums: Rows, begin: int, end: int, count: int, target: Pixels) -> None:
    """Round ``sums / count`` into `target`, by shifts where `count` is a power of two: they vectorise."""
    shift = 0
    while count >> shift > 1:
        shift += 1
    if shift and count == 1 << shift:
        below_half = (count >> 1) - 1
        for j in range(begin, end):
            target[j] = (sums[j] + below_half + ((sums[j] >> shift) & 1)) >> shift
    else:
        for j in range(begin, end):
            target[j] = _half_to_even(sums[j], count)


@kernel
def _mean_remaining(source: Pixels, rows: Rows, factor: int, target: Pixels, sums: Rows, done: int) -> None:
    """Bin the voxels of one output row from `done` on, for any factor and number of rows."""
    length = source.shape[1]
    full = length // factor
    for j in range(done, len(target)):
        sums[j] = 0
    for r in rows:
        row = source[r]
        if factor == 1:
            for j in range(done, full):
                sums[j] += np.int64(row[j])
        elif factor == 2:
            for j in range(done, full):
                sums[j] += np.int64(row[2 * j]) + np.int64(row[2 * j + 1])
        else:
            for j in range(done, full):
                for k in range(factor):
                    sums[j] += np.int64(row[j * factor + k])
        for x in range(full * factor, length):
            sums[full] += np.int64(row[x])
    _divide(sums, done, full, len(rows) * factor, target)
    if full < len(target):
        target[full] = _half_to_even(sums[full], len(rows) * (length - full * factor))


@kernel
def mean_int64(
    source: NDArray[np.int64],
    starts: Rows,
    rows: Rows,
    factor: int,
    out: NDArray[np.int64],
    high: Rows,
    low: Rows,
    flip: int,
) -> None:
    """Write the mean of 64-bit integers, whose sum does not fit 64 bits: upper and lower halves have separate sums.

    `flip` is the sign bit for unsigned voxels seen as signed: exclusive or with it subtracts 2**63, an even
    number, so that halves still round to even. Exact for blocks below 2**30 voxels.
    """
    length = source.shape[1]
    for o in range(out.shape[0]):
        first, last = starts[o], starts[o + 1]
        high[:] = 0
        low[:] = 0
        for r in range(first, last):
            for x in range(length):
                value = source[rows[r], x] ^ flip
                high[x // factor] += value >> 32
                low[x // factor] += value & 0xFFFFFFFF
        for j in range(out.shape[1]):
            count = (last - first) * min(factor, length - j * factor)
            quotient = high[j] // count
            remainder = ((high[j] - quotient * count) << 32) + low[j]
            # The quotient's lower half may exceed 32 bits by the carry of `low`: the addition corrects it.
            whole = (quotient << 32) + remainder // count
            twice = 2 * (remainder % count)
            if twice > count or (twice == count and whole & 1):
                whole += 1
            out[o, j] = whole ^ flip


@kernel
def mean_float32(
    source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, sums: NDArray[np.float64]
) -> None:
    """Write the mean of float32: summed in float64 in C order of the block, rounded to float32 once."""
    length = source.shape[1]
    full = length // factor
    for o in range(out.shape[0]):
        target = out[o]
        first, last = starts[o], starts[o + 1]
        done = 0
        if factor == 2 and last - first == 4:
            a, b = source[rows[first]], source[rows[first + 1]]
            c, d = source[rows[first + 2]], source[rows[first + 3]]
            for j in range(full):
                total = np.float64(a[2 * j]) + np.float64(a[2 * j + 1])
                total = total + np.float64(b[2 * j]) + np.float64(b[2 * j + 1])
                total = total + np.float64(c[2 * j]) + np.float64(c[2 * j + 1])
                total = total + np.float64(d[2 * j]) + np.float64(d[2 * j + 1])
                target[j] = total * 0.125 if not np.isnan(total) else np.nan
            done = full
        elif factor == 2 and last - first == 2:
            a, b = source[rows[first]], source[rows[first + 1]]
            for j in range(full):
                total = np.float64(a[2 * j]) + np.float64(a[2 * j + 1])
                total = total + np.float64(b[2 * j]) + np.float64(b[2 * j + 1])
                target[j] = total * 0.25 if not np.isnan(total) else np.nan
            done = full
        if done < len(target):
            sums[done:] = -0.0  # the neutral element: 0.0 + -0.0 would lose the sign of a block of -0.0
            for r in range(first, last):
                row = source[rows[r]]
                for j in range(done, len(target)):
                    for x in range(j * factor, min((j + 1) * factor, length)):
                        sums[j] += np.float64(row[x])
            for j in range(done, len(target)):
                mean = sums[j] / ((last - first) * min(factor, length - j * factor))
                target[j] = mean if not np.isnan(mean) else np.nan


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
    for o in range(out.shape[0]):
        first, last = starts[o], starts[o + 1]
        sums[:] = -0.0
        lowest[:] = np.inf
        highest[:] = -np.inf
        for r in range(first, last):
            row = source[rows[r]]
            for j in range(out.shape[1]):
                for x in range(j * factor, min((j + 1) * factor, length)):
                    value = row[x]
                    sums[j] += value
                    lowest[j] = value if value < lowest[j] else lowest[j]
                    highest[j] = value if value > highest[j] else highest[j]
        for j in range(out.shape[1]):
            mean = sums[j] / ((last - first) * min(factor, length - j * factor))
            mean = lowest[j] if mean < lowest[j] else mean
            mean = highest[j] if mean > highest[j] else mean
            out[o, j] = mean if not np.isnan(mean) else np.nan
