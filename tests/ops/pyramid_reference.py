"""What a level is by definition: Python integers and fractions, one voxel at a time, slow and plain."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np

METHODS = ("mean", "median", "mode", "min", "max", "stride")
DTYPES = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
KERNELS = tuple(
    (name, method)
    for turn, name in enumerate(DTYPES)
    for number, method in enumerate(METHODS)
    if method == "mean" or name in ("u2", "f4") or (turn + number) % 3 == 0
)
"""Each method for the data types of microscopes, the mean of each type, of the others a third: compiling takes long."""
NAN = float("nan")


def reference(block, factors, method):
    """One level: a voxel for each block of voxels, whole or cut by the edge."""
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    reduce = {"b": of_integers, "i": of_integers, "u": of_integers, "f": of_floats}[block.dtype.kind]
    for index in itertools.product(*map(range, out.shape)):
        box = tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))
        voxels = block[box].ravel()
        out[index] = voxels[0] if method == "stride" else reduce(voxels.tolist(), method, block.dtype)
    return out


def of_integers(voxels, method, dtype):
    """Reduce whole numbers, False and True among them."""
    ranked = sorted(map(int, voxels))
    if method == "mode":
        return Counter(ranked).most_common(1)[0][0]  # of equal counts the first met: the smallest
    middle = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return {
        "min": ranked[0],
        "max": ranked[-1],
        "mean": round(Fraction(sum(ranked), len(ranked))),  # Python rounds half to even
        "median": round(Fraction(sum(middle), 2)),
    }[method]


def of_floats(voxels, method, dtype):
    """Reduce floating-point numbers, NaN and infinities among them; they are added in the order of the array."""
    numbers = [v for v in voxels if not np.isnan(v)]
    if method == "mode":
        counts = Counter(v + 0.0 for v in sorted(numbers))
        best, count = counts.most_common(1)[0] if counts else (NAN, 0)
        return NAN if len(voxels) - len(numbers) > count else best
    if len(numbers) < len(voxels):
        return NAN
    if method == "median":
        ranked = sorted(voxels)
        low, high = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
        if np.isinf(low) or np.isinf(high):
            return low + high
        middle = (Fraction(low) + Fraction(high)) / 2
        return np.array(float(middle)).astype(dtype) + dtype.type(0)
    if method != "mean":
        return min(voxels) if method == "min" else max(voxels)  # of equal ones the first
    total = voxels[0]
    for voxel in voxels[1:]:
        total += voxel
    mean = total / len(voxels)
    return mean if np.isnan(mean) else min(max(mean, min(voxels)), max(voxels))


def assert_same_bits(found, expected):
    """Compare two arrays with the sign of zero; NaN is NaN."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":  # the sign of zero
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


def values_of(dtype, rng, shape):
    """Voxels that tie, voxels at the ends of the dtype, and anything between."""
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        special = [0.0, -0.0, 1.0, -1.5, 0.1, info.max, info.min, info.tiny, info.smallest_subnormal]
        special += [NAN, np.inf, -np.inf][: rng.integers(0, 4)]
        drawn = rng.choice(np.array(special, dtype), shape), rng.normal(size=shape).astype(dtype)
    else:
        info = np.iinfo(dtype)
        special = [info.min, info.min + 1, info.max - 1, info.max, 0, 1, 2, 3]
        drawn = (
            rng.choice(np.array(special, dtype), shape),
            rng.integers(info.min, info.max, shape, dtype, endpoint=True),
        )
    few = rng.choice(drawn[1].ravel()[:3], shape)
    return np.array(
        np.choose(rng.integers(0, 3) if rng.random() < 0.7 else rng.integers(0, 3, shape), (*drawn, few))
    )
