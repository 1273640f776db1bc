"""Kernels that sort each block: the median and the mode. Imported only to compile, because it imports numba.

Blocks of 2x2 and 2x2x2 go through a sorting network without branches, which LLVM turns into vector instructions over
neighbouring blocks; blocks of another size are collected and sorted one by one. Both compute the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.extending import overload

from lamella.ops.pyramids.kernels.jit import kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    Pixels = NDArray[Any]
    Four = tuple[Any, Any, Any, Any]
    Eight = tuple[Any, Any, Any, Any, Any, Any, Any, Any]


@kernel
def _low(a: Any, b: Any) -> Any:
    return a if a < b else b


@kernel
def _high(a: Any, b: Any) -> Any:
    return b if a < b else a


@kernel
def _sort4(a: Any, b: Any, c: Any, d: Any) -> Four:
    """Sort by five comparisons: the network of Knuth, The Art of Computer Programming 3, 5.3.4."""
    a, b, c, d = _low(a, b), _high(a, b), _low(c, d), _high(c, d)
    a, c, b, d = _low(a, c), _high(a, c), _low(b, d), _high(b, d)
    b, c = _low(b, c), _high(b, c)
    return a, b, c, d


@kernel
def _sort8(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Eight:
    """Sort by nineteen comparisons, the fewest possible: sort both halves, then merge them (Batcher)."""
    a, b, c, d = _sort4(a, b, c, d)
    e, f, g, h = _sort4(e, f, g, h)
    a, e, b, f = _low(a, e), _high(a, e), _low(b, f), _high(b, f)
    c, g, d, h = _low(c, g), _high(c, g), _low(d, h), _high(d, h)
    c, e, d, f = _low(c, e), _high(c, e), _low(d, f), _high(d, f)
    b, c, d, e, f, g = _low(b, c), _high(b, c), _low(d, e), _high(d, e), _low(f, g), _high(f, g)
    return a, b, c, d, e, f, g, h


def _middle(a: Any, b: Any, nan: bool) -> Any:
    """Return the mean of two voxels in their own dtype, half to even for integers; NaN where `nan` (floats only)."""
    raise TypeError(f"Only kernels compute the middle of {a} and {b}, {nan}.")


def _choose_middle(a: Any, b: Any, nan: Any) -> Callable[..., Any]:
    """Return the code that numba calls in place of `_middle`: no sum may overflow."""
    del b, nan

    def of_floats(a: Any, b: Any, nan: Any) -> Any:  # annotated as above: numba compares them
        total = a + b
        half = total * 0.5 if abs(total) != np.inf else a * 0.5 + b * 0.5
        return np.nan if nan else half + 0.0  # never -0.0: sorting does not distinguish the two

    def of_integers(a: Any, b: Any, nan: Any) -> Any:
        floor = (a & b) + ((a ^ b) >> 1)
        return floor + ((a ^ b) & floor & 1)

    return of_floats if isinstance(a, types.Float) else of_integers


overload(_middle)(_choose_middle)


@kernel
def _prefer_if_equal(best: Any, a: Any, b: Any) -> Any:
    """Return a voxel that equals another one of the sorted voxels, else the best one so far."""
    return a if a == b else best


@kernel
def _mode4(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return the mode of four sorted voxels: compare runs of two, the first run last, then runs of three or four."""
    best = _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(a, c, d), b, c), a, b)
    return _prefer_if_equal(_prefer_if_equal(best, b, d), a, c)


@kernel
def _mode8(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Return the mode of eight sorted voxels: compare runs of two, then three, then four or more."""
    best = _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(_prefer_if_equal(a, g, h), f, g), e, f), d, e)
    best = _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(best, c, d), b, c), a, b)
    best = _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(best, f, h), e, g), d, f)
    best = _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(best, c, e), b, d), a, c)
    best = _prefer_if_equal(_prefer_if_equal(best, e, h), d, g)
    return _prefer_if_equal(_prefer_if_equal(_prefer_if_equal(best, c, f), b, e), a, d)


@kernel
def _collect_sorted(source: Pixels, rows: Rows, start: int, stop: int, block: Pixels) -> int:
    """Sort the voxels of one block into ``block`` (NaN last), and return their number."""
    count = 0
    all_equal = True
    for row_number in rows:
        for column in range(start, stop):
            block[count] = source[row_number, column]
            all_equal = all_equal and block[count] == block[0]
            count += 1
    if all_equal:
        return count
    gap = 1
    while gap < count // 9:  # Shell's sort: plain insertion for the small blocks of pyramids
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            value = block[i]
            j = i - gap
            while j >= 0 and (value < block[j] or (np.isnan(block[j]) and not np.isnan(value))):
                block[j + gap] = block[j]
                j -= gap
            block[j + gap] = value
        gap //= 3
    return count


@kernel
def median(source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, block: Pixels) -> None:
    """Write the median, NaN where the block has one; `block` has room for the voxels of one block."""
    length = source.shape[1]
    for out_row in range(out.shape[0]):
        target = out[out_row]
        list_start, list_end = starts[out_row], starts[out_row + 1]
        computed = 0
        if factor == 2 and list_end - list_start == 4:
            a, b = source[rows[list_start]], source[rows[list_start + 1]]
            c, d = source[rows[list_start + 2]], source[rows[list_start + 3]]
            computed = length // 2
            for x in range(computed):
                p, q, r, s = a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1]
                t, u, v, w = c[2 * x], c[2 * x + 1], d[2 * x], d[2 * x + 1]
                has_nan = np.isnan(p) | np.isnan(q) | np.isnan(r) | np.isnan(s)
                has_nan = has_nan | np.isnan(t) | np.isnan(u) | np.isnan(v) | np.isnan(w)
                ranked = _sort8(p, q, r, s, t, u, v, w)
                target[x] = _middle(ranked[3], ranked[4], has_nan)
        elif factor == 2 and list_end - list_start == 2:
            a, b = source[rows[list_start]], source[rows[list_start + 1]]
            computed = length // 2
            for x in range(computed):
                p, q, r, s = a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1]
                has_nan = np.isnan(p) | np.isnan(q) | np.isnan(r) | np.isnan(s)
                ranked4 = _sort4(p, q, r, s)
                target[x] = _middle(ranked4[1], ranked4[2], has_nan)
        for x in range(computed, len(target)):
            count = _collect_sorted(
                source, rows[list_start:list_end], x * factor, min((x + 1) * factor, length), block
            )
            target[x] = _middle(block[(count - 1) // 2], block[count // 2], np.isnan(block[count - 1]))


@kernel
def mode(source: Pixels, starts: Rows, rows: Rows, factor: int, out: Pixels, block: Pixels) -> None:
    """Write the most frequent voxel of integers, the smallest of several; `block` has room for one block."""
    length = source.shape[1]
    for out_row in range(out.shape[0]):
        target = out[out_row]
        list_start, list_end = starts[out_row], starts[out_row + 1]
        computed = 0
        if factor == 2 and list_end - list_start == 4:
            a, b = source[rows[list_start]], source[rows[list_start + 1]]
            c, d = source[rows[list_start + 2]], source[rows[list_start + 3]]
            computed = length // 2
            for x in range(computed):
                p, q, r, s = a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1]
                t, u, v, w = c[2 * x], c[2 * x + 1], d[2 * x], d[2 * x + 1]
                p, q, r, s, t, u, v, w = _sort8(p, q, r, s, t, u, v, w)
                target[x] = _mode8(p, q, r, s, t, u, v, w)
        elif factor == 2 and list_end - list_start == 2:
            a, b = source[rows[list_start]], source[rows[list_start + 1]]
            computed = length // 2
            for x in range(computed):
                p, q, r, s = _sort4(a[2 * x], a[2 * x + 1], b[2 * x], b[2 * x + 1])
                target[x] = _mode4(p, q, r, s)
        for x in range(computed, len(target)):
            count = _collect_sorted(
                source, rows[list_start:list_end], x * factor, min((x + 1) * factor, length), block
            )
            target[x] = _longest_run(block, count)


@kernel
def _longest_run(block: Pixels, count: int) -> Any:
    """Return the first of the longest runs in sorted voxels."""
    best = block[0]
    longest = 0
    begin = 0
    for i in range(1, count + 1):
        if i == count or block[i] != block[begin]:
            if i - begin > longest:
                longest = i - begin
                best = block[begin]
            begin = i
    return best
