"""Prepare data for item assignment: cast and broadcast as numpy does, and raise where the dtype cannot represent them.

numpy wraps integers (70000 becomes 4464 in uint16), converts NaN to an arbitrary integer, and finite floats to infinity
where the dtype is narrower; these are errors here. Fractions are truncated and floats rounded, as in numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, clause, counted
from lamella.store.pixels.selection import Selection

if TYPE_CHECKING:
    from lamella.types import Array, Shape


def check_out(out: Array, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Raise where an ``out=`` array does not fit exactly."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        passed = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InvalidArgumentError(f"The array out= is a writable array of {dtype} {shape}, not {passed}.")


def check_unmasked(data: object, where: str = "the new array") -> None:
    """Raise for a masked array with masked values: their stored values mean nothing."""
    if type(data).__module__.startswith("numpy.ma"):
        masked = int(np.count_nonzero(data.mask))  # type: ignore[attr-defined]
        if masked:
            raise InvalidArgumentError(
                f"Cannot write to {where}: the data have {counted(masked, 'masked value')}, and a store has no masks. "
                "Fill them first, such as by data.filled(0)."
            )


def is_lazy(data: object, dtype: np.dtype[Any]) -> bool:
    """Whether data should be read block by block while writing to an array of a dtype.

    True for dask, zarr, h5py and similar arrays, and for memory maps that need a cast.
    """
    if isinstance(data, np.memmap):
        return data.ndim > 0 and data.dtype != dtype
    if isinstance(data, np.ndarray | np.generic | list | tuple | int | float) or _is_in_memory(data):
        return False
    try:
        return len(data.shape) > 0 and np.dtype(data.dtype).kind in "biufc"  # type: ignore[attr-defined]
    except (AttributeError, TypeError):  # not an array, or a dtype of another library, which numpy casts
        return False


def _is_in_memory(data: object) -> bool:
    """Whether an array-like object that is not a numpy array has its values in memory."""
    inner = getattr(getattr(data, "variable", None), "_data", None)  # of xarray
    names = ("__array_interface__", "iloc")  # the second of columns of pandas
    return (
        isinstance(inner, np.ndarray)
        or any(hasattr(data, name) for name in names)
        or not hasattr(data, "__getitem__")
    )


def cast(data: object, selection: Selection, dtype: np.dtype[Any], where: str) -> Array:
    """Return data cast to a dtype and broadcast to a selection's shape; `where` names the array in messages."""
    array = cast_for(data, dtype, where, selection)
    shape = selection.result_shape
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise InvalidArgumentError(
            f"Cannot write to array {where}: data of shape {array.shape} does not fit a selection of shape {shape}."
        ) from error


def cast_for(data: object, dtype: np.dtype[Any], where: str, selection: Selection | None = None) -> Array:
    """Return data cast to the dtype of an array, in its own shape."""
    check_unmasked(data, f"array {where}")
    try:
        return cast_data(data, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        reason = (
            clause(error) if isinstance(error, ValueRangeError) else f"the data do not fit {dtype} ({error})"
        )
        raise InvalidArgumentError(
            f"Cannot write to {_describe_region(selection)}array {where}: {reason}. Clip, rescale or convert the data "
            "first, or create an array of another data type."
        ) from error


def _describe_region(selection: Selection | None) -> str:
    """Return words that name the region of a selection, for a message."""
    bounds = None if selection is None else selection.bounds
    if not bounds or not bounds[0]:
        return ""
    return f"region [{', '.join(f'{start}:{stop}' for start, stop in zip(*bounds, strict=True))}] of "


def drop_duplicate_points(selection: Selection, block: Array) -> tuple[Selection, Array]:
    """Drop all but the last of points that an index contains twice, which numpy keeps: engines write in any order."""
    if all(isinstance(axis, slice) for axis in selection.axes):
        return selection, block
    if selection.is_paired:
        stacked = np.stack([np.asarray(axis) for axis in selection.axes])
        _, first_positions = np.unique(stacked[:, ::-1], axis=1, return_index=True)
        last_positions = np.sort(stacked.shape[1] - 1 - first_positions)
        if len(last_positions) == stacked.shape[1]:
            return selection, block
        axes = tuple(np.asarray(axis)[last_positions] for axis in selection.axes)
        return Selection(axes, True, (len(last_positions),), (), None, (len(last_positions),)), block[
            last_positions
        ]
    axes_list = list(selection.axes)
    for axis_number, axis in enumerate(axes_list):
        if isinstance(axis, slice):
            continue
        _, first_positions = np.unique(axis[::-1], return_index=True)
        last_positions = np.sort(len(axis) - 1 - first_positions)
        if len(last_positions) < len(axis):
            axes_list[axis_number] = axis[last_positions]
            block = np.take(block, last_positions, axis=axis_number)
    return Selection(tuple(axes_list), False, block.shape, (), None, block.shape), block


#: Number of values that are checked and cast together, so that they are still in the processor's cache.
_BATCH_VALUES = 2**17


class ValueRangeError(InvalidArgumentError):
    """The dtype of the array cannot represent a value of the data."""


def cast_data(data: object, dtype: np.dtype[Any]) -> Array:
    """Cast numbers, lists or arrays to a dtype; see `cast_values`."""
    values = np.asarray(data)
    is_python = not hasattr(data, "__array__")
    if values.dtype == object:
        is_python, data = True, values.tolist()
        values = np.array(data)
    may_be_rounded = is_python and values.dtype.kind == "f" and dtype.itemsize == 8
    if dtype.kind in "iu" and (values.dtype == object or may_be_rounded):
        return _exact_integers(data, values, dtype)
    if values.dtype == object and dtype.kind in "fc":
        values = values.astype(np.result_type(dtype, np.float64))  # large Python integers
    return cast_values(values, dtype)


def cast_values(values: Array, dtype: np.dtype[Any]) -> Array:
    """Cast values to a dtype; return the same array where it has that dtype already."""
    if values.dtype == dtype:
        return values
    if values.dtype.kind in "mM" and dtype.kind in "biufc":
        if np.isnat(values).any():
            raise ValueRangeError(f"The data ({values.dtype}) have NaT, which {dtype} cannot represent.")
        values = values.astype(np.int64)
    if np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype, copy=False)
    if values.dtype.kind == "c" and dtype.kind in "biuf":
        values = _real_part(values, dtype)
    if values.size <= _BATCH_VALUES or not values.flags.c_contiguous:
        check_values(values, dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(dtype)
    cast_array = np.empty(values.shape, dtype)
    source, target = values.reshape(-1), cast_array.reshape(-1)
    for start in range(0, values.size, _BATCH_VALUES):
        batch = source[start : start + _BATCH_VALUES]
        check_values(batch, dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            target[start : start + _BATCH_VALUES] = batch
    return cast_array


def check_exact(values: Array, dtype: np.dtype[Any]) -> None:
    """Raise where a dtype changes values, other than by rounding floats to narrower floats."""
    cast_array = cast_values(values, dtype)
    if np.can_cast(values.dtype, dtype, "safe") or (
        values.dtype.kind in "fc" and values.dtype.kind == dtype.kind
    ):
        return
    changed = cast_array.astype(values.dtype) != values
    if changed.any():
        index = tuple(int(number) for number in np.argwhere(changed)[0])
        raise ValueRangeError(
            f"The data ({values.dtype}) have {values[index]}, which {dtype} would store as {cast_array[index]}."
        )


def check_values(values: Array, dtype: np.dtype[Any]) -> None:
    """Raise where a dtype cannot represent values; free where it can represent all values of their dtype."""
    if not values.size or np.can_cast(values.dtype, dtype, "safe"):
        return
    if values.dtype.kind == "c":
        real_dtype = np.empty((), dtype).real.dtype
        check_values(values.real, real_dtype)
        check_values(values.imag, real_dtype)
    elif dtype.kind in "iu" and values.dtype.kind in "iuf":
        _check_integers(values, dtype)
    elif dtype.kind in "fc" and values.dtype.kind in "iuf":
        _check_floats(values, dtype)
    elif dtype.kind == "b" and values.dtype.kind == "f" and np.isnan(values.min()):
        raise ValueRangeError(f"The data ({values.dtype}) have nan, and bool is True or False.")


def _check_integers(values: Array, dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    for value in (values.min(), values.max()):  # either is NaN where there is a NaN
        if not np.isfinite(value) or not limits.min <= int(value) <= limits.max:
            raise _out_of_range(values, value, dtype, limits.min, limits.max)


def _exact_integers(data: object, values: Array, dtype: np.dtype[Any]) -> Array:
    """Return Python numbers as integers one by one: numpy converts ``[0, 2**64 - 1]`` to floats."""
    if values.dtype != object and not np.isfinite(values).all():
        _check_integers(values, dtype)
    limits, integers = np.iinfo(dtype), [int(number) for number in np.array(data, dtype=object).flat]
    for value in (min(integers, default=0), max(integers, default=0)):
        if not limits.min <= value <= limits.max:
            raise _out_of_range(values, value, dtype, limits.min, limits.max)
    return np.array(integers, dtype).reshape(values.shape)


def _check_floats(values: Array, dtype: np.dtype[Any]) -> None:
    extremes = np.array([values.min(), values.max()])
    with np.errstate(over="ignore"):
        if np.isfinite(extremes).all():
            unrepresentable = extremes[~np.isfinite(extremes.astype(dtype))]
        else:  # infinity and NaN are representable; check the finite values
            unrepresentable = values[np.isfinite(values) & ~np.isfinite(values.astype(dtype))]
    if unrepresentable.size:
        limit = np.finfo(dtype).max
        raise _out_of_range(values, unrepresentable.flat[0], dtype, -limit, limit)


def _real_part(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.imag.any():
        raise ValueRangeError(
            f"The data ({values.dtype}) have numbers with an imaginary part, and {dtype} has none."
        )
    return values.real


def _out_of_range(
    values: Array, value: Any, dtype: np.dtype[Any], lowest: object, highest: object
) -> ValueRangeError:
    return ValueRangeError(
        f"The data ({values.dtype}) have {value}, and the range of {dtype} is {lowest} to {highest}."
    )
