"""Prepare data for item assignment as numpy does: cast, broadcast, and drop duplicate points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.store.selection import Selection
from lamella.store.value_range import ValueRangeError, cast_data

if TYPE_CHECKING:
    from lamella.types import Array, Shape


def check_out(out: Array, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Raise where an ``out=`` array does not fit exactly."""
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InvalidArgumentError(f"out= must be a writable array of {dtype} {shape}, found {found}")


def is_lazy(data: object, dtype: np.dtype[Any]) -> bool:
    """Return whether data should be read block by block while writing to an array of a dtype.

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
    """Return whether an object other than a numpy array has its values in memory."""
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
    shape = selection.result
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
    try:
        return cast_data(data, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        reason = error if isinstance(error, ValueRangeError) else f"the data do not fit {dtype} ({error})"
        raise InvalidArgumentError(
            f"Cannot write to {_region(selection)}array {where}: {reason}. Clip, rescale or convert the data first, "
            "or create an array of another data type."
        ) from error


def _region(selection: Selection | None) -> str:
    """Return words that name the region of a selection, for a message."""
    bounds = None if selection is None else selection.bounds
    if not bounds or not bounds[0]:
        return ""
    return f"region [{', '.join(f'{a}:{b}' for a, b in zip(*bounds, strict=True))}] of "


def drop_duplicate_points(selection: Selection, block: Array) -> tuple[Selection, Array]:
    """Drop all but the last of the points that an index names twice, as numpy does; engines write in any order."""
    if all(isinstance(axis, slice) for axis in selection.axes):
        return selection, block
    if selection.paired:
        stacked = np.stack([np.asarray(axis) for axis in selection.axes])
        _, first = np.unique(stacked[:, ::-1], axis=1, return_index=True)
        keep = np.sort(stacked.shape[1] - 1 - first)
        if len(keep) == stacked.shape[1]:
            return selection, block
        axes = tuple(np.asarray(axis)[keep] for axis in selection.axes)
        return Selection(axes, True, (len(keep),), (), None, (len(keep),)), block[keep]
    axes_list = list(selection.axes)
    for axis_number, axis in enumerate(axes_list):
        if isinstance(axis, slice):
            continue
        _, first = np.unique(axis[::-1], return_index=True)
        keep = np.sort(len(axis) - 1 - first)
        if len(keep) < len(axis):
            axes_list[axis_number] = axis[keep]
            block = np.take(block, keep, axis=axis_number)
    return Selection(tuple(axes_list), False, block.shape, (), None, block.shape), block
