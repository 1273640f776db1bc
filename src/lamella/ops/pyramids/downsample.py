"""Downsample one block of pixels in memory, by kernels that the first call loads or compiles (``kernels/README.md``).

Splitting an array into blocks aligned to the factors never changes a bit of the result, so callers may read and write
regions in any order, on any number of workers.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from lamella.errors import InvalidArgumentError, counted
from lamella.ops.pyramids.kernels.machine_code import Constant, Kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.types import Array, Shape

Method: TypeAlias = Literal["mean", "median", "mode", "min", "max", "stride"]
"""The methods that reduce a block of voxels to one: see `downsample`."""

_METHODS = get_args(Method)

_BIN_ROWS = Kernel("rows", "bin_rows")
_MEAN_INTEGERS = Kernel("mean", "mean_integers")
_MEAN_INT64 = Kernel("mean", "mean_int64")
_MEAN_FLOAT32 = Kernel("mean", "mean_float32")
_MEAN_FLOAT64 = Kernel("mean", "mean_float64")
_MEDIAN = Kernel("rank", "median")
_MODE = Kernel("rank", "mode")
_EXTREMUM = Kernel("extrema", "extremum")

_MAX_AXES = 6
# Limit of one block: the exact sum of more 64-bit integers would not fit into the kernel's two halves.
_MAX_VOXELS = 2**30
_MAX_CACHED_ROWS = 2**14  # longer lists of rows are not cached: 128 KiB


def downsampled_shape(shape: Sequence[int], factors: Sequence[int]) -> Shape:
    """Return the shape of a level: ``ceil(length / factor)`` per axis, so (5, 7) by 2 becomes (3, 4)."""
    return tuple(-(-length // factor) for length, factor in zip(shape, factors, strict=True))


def downsample(block: Array, factors: Sequence[int], method: Method = "mean") -> Array:
    """Reduce `block` by whole factors, one for each of its 1 to 6 axes: bool, integers or floats of up to 64 bits.

    The result has the dtype of `block` and the shape of `downsampled_shape`. Each of its voxels is computed from a
    block of `factors` voxels: at the far edges from those inside the array, without padding. The kernel runs without
    the GIL.

    - ``mean``: the exact mean, rounded half to even for integers and bool (a tie of bool is False). Floats are summed
      in float64, in C order of the block; NaN propagates. The result is never outside the range of the block's voxels.
    - ``median``: the middle voxel; of an even number the mean of the two in the middle, rounded half to even for
      integers and bool. NaN propagates; -0.0 becomes 0.0.
    - ``mode``: the most frequent value, and of several the smallest: always a value of the block, so label images keep
      their ids. All NaN are one value, above all numbers; -0.0 becomes 0.0.
    - ``min``, ``max``: NaN propagates. Of 0.0 and -0.0 the first in C order is returned.
    - ``stride``: the first voxel of the block.
    """
    block = np.asarray(block)
    try:
        numbers = tuple(map(operator.index, factors))
    except TypeError as error:
        raise InvalidArgumentError(
            f"factors={factors!r} are not whole numbers: pass one per axis."
        ) from error
    if method not in _METHODS:
        raise InvalidArgumentError(
            f"method={method!r} is not a way to downsample: use one of {', '.join(_METHODS)}."
        )
    plan = _plan(block.shape, block.dtype, numbers, method)
    out = np.empty(plan.shape, plan.dtype)
    if block.size == 0:
        return out
    if method == "stride":
        out[...] = block[tuple(slice(None, None, factor) for factor in plan.factors)]
    elif plan.shape == block.shape and plan.dtype.kind != "f":
        out[...] = block
    elif plan.dtype.kind == "f":
        with np.errstate(all="ignore"):  # NaN of any kind is data here
            _run_on_rows(block, plan, out)
    else:
        _run_on_rows(block, plan, out)
    return out


@dataclass(frozen=True)
class _Rows:
    """The rows of the block that each row of the result is computed from.

    Row ``i`` of the result is computed from the rows ``rows[starts[i]:starts[i + 1]]`` of the block.
    """

    starts: Constant
    rows: Constant
    factor: int
    """Factor along rows."""
    max_voxels: int
    """Maximum number of voxels that one voxel of the result is computed from."""


@dataclass(frozen=True)
class _Plan:
    """How blocks of one shape and dtype are reduced."""

    factors: Shape
    """Factors, limited to the length of their axes."""
    method: Method
    shape: Shape
    """Shape of the result."""
    dtype: np.dtype[Any]
    kernel_dtype: np.dtype[Any]
    """Dtype in which the kernels compute."""
    merged_shape: Shape
    """Shape of the block after neighbouring axes of factor 1 are merged to one axis."""
    merged_factors: Shape
    """Factors of the merged axes."""
    rows: _Rows | None
    """None if there are more than `_MAX_CACHED_ROWS`: then each call lists them."""


@lru_cache(maxsize=32)
def _plan(shape: Shape, dtype: np.dtype[Any], factors: Shape, method: Method) -> _Plan:
    """Check the arguments and plan the computation. Cached, because the next block usually has the same shape."""
    factors = _checked_factors(shape, dtype, factors)
    native = dtype.newbyteorder("=")
    wider_types = {"b1": "u1", "f2": "f8" if method in ("mean", "median") else "f4"}
    kernel_dtype = np.dtype(wider_types.get(native.str[1:], native))
    merged_shape, merged_factors = _merged(shape, factors)
    is_small = 0 < math.prod(merged_shape[:-1]) <= _MAX_CACHED_ROWS and method != "stride"
    rows = _rows(merged_shape, merged_factors) if is_small else None
    return _Plan(
        factors,
        method,
        downsampled_shape(shape, factors),
        native,
        kernel_dtype,
        merged_shape,
        merged_factors,
        rows,
    )


def _checked_factors(shape: Shape, dtype: np.dtype[Any], factors: Shape) -> Shape:
    """Return the factors, limited to the length of their axes; raise for unusable ones."""
    if not 1 <= len(shape) <= _MAX_AXES:
        raise InvalidArgumentError(
            f"An array of {counted(len(shape), 'axis', 'axes')} cannot be downsampled: give 1 to {_MAX_AXES}."
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise InvalidArgumentError(
            f"{dtype} voxels cannot be downsampled: bool, integers and floats of up to 64 bits can."
        )
    if len(factors) != len(shape) or min(factors) < 1:
        raise InvalidArgumentError(
            f"factors={factors} does not fit an array of shape {shape}: give one of at least 1 for each axis."
        )
    factors = tuple(min(factor, max(length, 1)) for length, factor in zip(shape, factors, strict=True))
    if math.prod(factors) > _MAX_VOXELS:
        raise InvalidArgumentError(f"factors={factors} makes blocks above 2**30 voxels: use smaller ones.")
    return factors


def _merged(shape: Shape, factors: Shape) -> tuple[Shape, Shape]:
    """Merge neighbouring axes of factor 1, for fewer and longer rows; return the new shape and factors."""
    merged_shape, merged_factors = [shape[0]], [factors[0]]
    for length, factor in zip(shape[1:], factors[1:], strict=True):
        if factor == 1 == merged_factors[-1]:
            merged_shape[-1] *= length
        else:
            merged_shape.append(length)
            merged_factors.append(factor)
    return tuple(merged_shape), tuple(merged_factors)


def _rows(shape: Shape, factors: Shape) -> _Rows:
    """List the rows of a block that each row of the result is computed from."""
    starts = np.empty(math.prod(downsampled_shape(shape[:-1], factors[:-1])) + 1, np.int64)
    rows = np.empty(math.prod(shape[:-1]), np.int64)
    _BIN_ROWS(np.array(shape[:-1], np.int64), np.array(factors[:-1], np.int64), starts, rows)
    return _Rows(Constant(starts), Constant(rows), factors[-1], int(np.diff(starts).max()) * factors[-1])


def _run_on_rows(block: Array, plan: _Plan, out: Array) -> None:
    """Convert a block to the dtype and rows of the kernels, and write their result to ``out``, a new array."""
    if not (block.flags.c_contiguous and block.flags.aligned and block.dtype.isnative):
        block = np.require(block, plan.dtype, ["C", "A"])
    is_bool = plan.dtype.kind == "b"
    # float16 is computed in the wider type: it has no arithmetic of its own.
    source = block.view(np.uint8) if is_bool else block.astype(plan.kernel_dtype, copy=False)
    is_direct = plan.kernel_dtype == plan.dtype or is_bool
    target = out.view(plan.kernel_dtype) if is_direct else np.empty(out.shape, plan.kernel_dtype)
    length = plan.merged_shape[-1]
    source = source.reshape(-1, length)
    source.flags.writeable = False  # always: numba compiles a second kernel for writeable arrays
    rows = plan.rows or _rows(plan.merged_shape, plan.merged_factors)
    _reduce(plan.method, source, rows, target.reshape(-1, -(-length // plan.merged_factors[-1])))
    if not is_direct:
        out[...] = target


#: Empty arrays with the dtype of sums: one for voxels of up to 16 bits, one for wider voxels.
_SUM_DTYPES = Constant(np.empty(0, np.int32)), Constant(np.empty(0, np.int64))


def _reduce(method: Method, source: NDArray[Any], rows: _Rows, target: NDArray[Any]) -> None:
    """Run the kernel of a method: read rows of ``source``, and write ``target``."""
    row_lists, dtype, width = (rows.starts, rows.rows, rows.factor), source.dtype, target.shape[1]
    if method in ("min", "max"):
        _EXTREMUM(source, *row_lists, target, int(method == "max"))
    elif method == "mode" and dtype.kind == "f":
        keys, modes = _sortable_integers(source), np.empty(target.shape, f"i{dtype.itemsize}")
        _MODE(keys, *row_lists, modes, np.empty(rows.max_voxels, keys.dtype))
        target[...] = _reversed_if_negative(modes).view(dtype)
    elif method != "mean":
        kernel = _MEDIAN if method == "median" else _MODE
        kernel(source, *row_lists, target, np.empty(rows.max_voxels, dtype))
    elif dtype == np.float32:
        _MEAN_FLOAT32(source, *row_lists, target, np.empty(width))
    elif dtype == np.float64:
        _MEAN_FLOAT64(source, *row_lists, target, np.empty(width), np.empty(width), np.empty(width))
    elif dtype.itemsize == 8:
        sign_bit = -(2**63) if dtype.kind == "u" else 0
        halves = np.empty(width, np.int64), np.empty(width, np.int64)
        _MEAN_INT64(source.view(np.int64), *row_lists, target.view(np.int64), *halves, sign_bit)
    else:
        _MEAN_INTEGERS(source, *row_lists, target, np.empty(width, np.int64), _SUM_DTYPES[dtype.itemsize > 2])


def _sortable_integers(source: NDArray[Any]) -> Array:
    """Return integers in the order of the floats: all NaN have the largest key, and 0.0 and -0.0 the same one."""
    normalized: NDArray[Any] = source + 0.0  # -0.0 becomes 0.0; stays float32
    normalized[np.isnan(normalized)] = np.nan
    keys = _reversed_if_negative(normalized.view(f"i{source.dtype.itemsize}"))
    keys.flags.writeable = False
    return keys


def _reversed_if_negative(bits: NDArray[Any]) -> NDArray[Any]:
    """Convert bits of floats to integers in the same order, or back: negative ones are reversed."""
    integers: NDArray[Any] = bits ^ ((bits >> (8 * bits.itemsize - 1)) & np.iinfo(bits.dtype).max)
    return integers
