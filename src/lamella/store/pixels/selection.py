"""Convert numpy indices to selections, which engines read and write.

An index is a tuple of *items*: integers, slices, ``...``, index arrays and masks. A `Selection` has one slice with a
positive step, or one index array, per axis. An engine reads it as a *block*, which `Selection.finish` flips, transposes
and reshapes to the result of numpy: ``[0, ::-1]`` of shape (2, 3) selects 0:1 and 0:3, a block of (1, 3) whose axis 1
is flipped to a result of shape (3,).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InvalidArgumentError, OutOfBoundsError, clause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import Array, Shape

Indices: TypeAlias = NDArray[np.intp]
Index: TypeAlias = Any
"""Any numpy index."""


@dataclass(frozen=True)
class Selection:
    """The values that an engine reads or writes, and the conversion to the result."""

    axes: tuple[slice | Indices, ...]
    """One per axis. Slices have 0 <= start <= stop and step >= 1; 1-D arrays select along their axis."""
    is_paired: bool
    """Whether `axes` are 1-D arrays that pair up to points."""
    shape: Shape
    """Shape of the engine's block."""
    flips: tuple[int, ...]
    """Axes of the block that the result reverses."""
    order: tuple[int, ...] | None
    """Axes of the block in the order of the result, before the reshape; None for the same order."""
    result_shape: Shape
    """Shape of the caller's array."""

    @property
    def is_region(self) -> bool:
        """Whether this is a region: slices of step 1 only."""
        return not self.is_paired and all(isinstance(axis, slice) and axis.step == 1 for axis in self.axes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected."""
        return 0 in self.shape

    @property
    def bounds(self) -> tuple[Shape, Shape] | None:
        """Start and stop of the smallest region around the selection; None where it is empty."""
        if self.is_empty:
            return None
        first = (axis.start if isinstance(axis, slice) else int(axis.min()) for axis in self.axes)
        last = (axis.stop if isinstance(axis, slice) else int(axis.max()) + 1 for axis in self.axes)
        return tuple(first), tuple(last)

    def fits(self, shape: Shape) -> bool:
        """Whether the selection lies in an array of a shape."""
        last = (axis.stop if isinstance(axis, slice) else int(axis.max(initial=-1)) + 1 for axis in self.axes)
        return all(stop <= length for stop, length in zip(last, shape, strict=True))

    def finish(self, block: Array) -> Array:
        """Convert a block to the result; a view."""
        if self.flips:
            block = np.flip(block, self.flips)
        if self.order is not None:
            block = block.transpose(self.order)
        return block.reshape(self.result_shape)

    def prepare(self, data: Array) -> Array:
        """Convert data of the result's shape to a block; a view where numpy can."""
        ordered_shape = self.shape if self.order is None else tuple(self.shape[axis] for axis in self.order)
        block = data.reshape(ordered_shape)
        if self.order is not None:
            block = block.transpose(np.argsort(self.order))
        return np.flip(block, self.flips) if self.flips else block


def basic_or_fancy(index: Index, shape: Shape) -> Selection:
    """Parse an index as numpy does; ``None`` (a new axis) raises `InvalidArgumentError`."""
    if (
        isinstance(index, tuple)
        and len(index) == len(shape)
        and all(
            isinstance(item, slice)
            and item.step is None
            and type(item.start) is type(item.stop) is int
            and 0 <= item.start < item.stop <= length
            for item, length in zip(index, shape, strict=True)
        )
    ):
        return as_selection(index)
    items = _expand(index, shape)
    if not any(isinstance(item, np.ndarray) for item in items):
        return _select_each_axis(items, shape)
    picked_axes = [axis for axis, item in enumerate(items) if not isinstance(item, slice)]
    array_axes = [axis for axis in picked_axes if isinstance(items[axis], np.ndarray)]
    if len(array_axes) == 1 and items[array_axes[0]].ndim == 1:
        return _one_index_array(items, shape, array_axes[0], _are_adjacent(index, picked_axes))
    return _paired_arrays(items, shape, picked_axes, _are_adjacent(index, picked_axes))


def orthogonal(index: Index, shape: Shape) -> Selection:
    """Parse an index whose 1-D arrays and masks each select along their own axis."""
    return _select_each_axis(_expand(index, shape), shape)


def _select_each_axis(items: list[Any], shape: Shape) -> Selection:
    """Return the selection of one item per axis, each of which selects along its own axis."""
    axes: list[slice | Indices] = []
    flips: list[int] = []
    result_shape: list[int] = []
    block_shape: list[int] = []
    for axis, (item, length) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, np.ndarray):
            if item.ndim != 1:
                raise InvalidArgumentError(
                    f"An orthogonal index has 1-D arrays, not one of shape {item.shape} for axis {axis}."
                )
            axes.append(_non_negative(item, axis, length))
            count = len(item)
        elif isinstance(item, int):
            if not -length <= item < length:
                raise OutOfBoundsError(
                    f"The index {item} is out of bounds for axis {axis} with size {length}."
                )
            axes.append(slice(item % length, item % length + 1, 1))
            count = 1
        else:
            axis_slice, count, flipped = _forward_slice(item, axis, length)
            axes.append(axis_slice)
            if flipped:
                flips.append(axis)
        block_shape.append(count)
        if isinstance(item, slice | np.ndarray):
            result_shape.append(count)
    return Selection(tuple(axes), False, tuple(block_shape), tuple(flips), None, tuple(result_shape))


def points(index: Index, shape: Shape) -> Selection:
    """Parse an index of one array per axis that pair up to points, or one mask of the array's shape."""
    items = _expand(index, shape)
    if not shape:
        return _select_each_axis(items, shape)
    if any(isinstance(item, slice) for item in items):
        raise OutOfBoundsError(f"A point index needs one array per axis of the shape {shape}, not {index!r}.")
    if all(isinstance(item, int) for item in items):
        items[0] = np.array([items[0]])  # one point is an array of length 1, as in zarr-python
    return _paired_arrays(items, shape, list(range(len(shape))), is_adjacent=True)


# ---- one item per axis ----------------------------------------------------------------------------


def crossed(axes: Sequence[slice | Indices]) -> tuple[Any, ...]:
    """Return a numpy index whose slices and arrays each select along their own axis."""
    return np.ix_(
        *(np.arange(axis.start, axis.stop, axis.step) if isinstance(axis, slice) else axis for axis in axes)
    )


def _expand(index: Index, shape: Shape) -> list[Any]:
    """Parse an index to one int, slice or integer array per axis: expand the ellipsis and the masks."""
    items: list[Any] = [
        item if isinstance(item, slice) or item is Ellipsis or item.__class__ is int else _parse_item(item)
        for item in (index if isinstance(index, tuple) else (index,))
    ]
    ellipses = [position for position, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise OutOfBoundsError("An index can only have a single ellipsis ('...').")
    masks = [item for item in items if isinstance(item, np.ndarray) and item.dtype == bool]
    axis_count = len(items) - len(ellipses) + sum(mask.ndim - 1 for mask in masks)
    if axis_count > len(shape):
        raise OutOfBoundsError(f"There are too many indices: {axis_count} for an array of the shape {shape}.")
    missing = [slice(None)] * (len(shape) - axis_count)
    if ellipses:
        items[ellipses[0] : ellipses[0] + 1] = missing
    else:
        items += missing
    if not masks:
        return items
    expanded: list[Any] = []
    for item in items:
        is_mask = isinstance(item, np.ndarray) and item.dtype == bool
        expanded += _indices_of_mask(item, shape, len(expanded)) if is_mask else [item]
    return expanded


def _parse_item(item: Any) -> Any:
    """Parse an item of an index other than slices and ellipses: an int, or an array of integers or booleans."""
    if item is None:
        raise InvalidArgumentError(
            "An index of a stored array cannot add axes: None (numpy.newaxis) is not allowed."
        )
    if isinstance(item, bool | np.bool_):
        raise OutOfBoundsError(
            f"{item!r} is not an index: a boolean mask needs the shape of the axes it covers."
        )
    if not isinstance(item, np.ndarray | list | tuple | range) and hasattr(item, "__index__"):
        return operator.index(item)
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise OutOfBoundsError(f"{item!r} is not an index: {clause(error)}.") from error
    if array.dtype == bool and array.ndim:
        return array
    if array.size == 0 and not isinstance(item, np.ndarray):
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise OutOfBoundsError(
            f"{item!r} is not an index: whole numbers, slices, '...', arrays of whole numbers and masks are."
        )
    return int(array) if array.ndim == 0 else array.astype(np.intp)


def _indices_of_mask(mask: NDArray[np.bool_], shape: Shape, axis: int) -> list[Any]:
    """Return the index arrays of the true elements of a mask, whose first axis is `axis` of the array."""
    covered = shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise OutOfBoundsError(
            f"A boolean mask of shape {mask.shape} does not match axes of shape {covered}."
        )
    return list(np.nonzero(mask))


# ---- kinds of selections --------------------------------------------------------------------------


def _are_adjacent(index: Index, picked_axes: list[int]) -> bool:
    """Whether all integers and arrays of an index are adjacent: numpy then keeps the position of their axes.

    `picked_axes` are their axes. An ellipsis between them separates them, even where it stands for no axes.
    """
    items = index if isinstance(index, tuple) else (index,)
    position = next((position for position, item in enumerate(items) if item is Ellipsis), len(items))
    before_and_after = (items[:position], items[position + 1 :])
    is_separated = all(any(not isinstance(item, slice) for item in side) for side in before_and_after)
    return not is_separated and picked_axes == list(range(picked_axes[0], picked_axes[-1] + 1))


def _one_index_array(items: list[Any], shape: Shape, array_axis: int, is_adjacent: bool) -> Selection:
    """Return the selection of one 1-D array besides slices and integers.

    It is that of `orthogonal`; but where slices separate the integers from the array, numpy moves the axis of the array
    to the front.
    """
    orthogonal_selection = _select_each_axis(items, shape)
    result_axes = [axis for axis, item in enumerate(items) if isinstance(item, slice) or axis == array_axis]
    integer_axes = [axis for axis in range(len(shape)) if axis not in result_axes]
    if is_adjacent:
        return orthogonal_selection
    order = (array_axis, *(axis for axis in result_axes if axis != array_axis), *integer_axes)
    result_shape = tuple(orthogonal_selection.shape[axis] for axis in order[: len(result_axes)])
    return Selection(
        orthogonal_selection.axes,
        False,
        orthogonal_selection.shape,
        orthogonal_selection.flips,
        order,
        result_shape,
    )


def _paired_arrays(items: list[Any], shape: Shape, picked_axes: list[int], is_adjacent: bool) -> Selection:
    """Return the selection of arrays that pair up: every element of the result becomes a point, also along slices.

    The arrays (and integers) are those of `picked_axes`. Their common axes come where the first of them was if
    `is_adjacent`, else first, as in numpy.
    """
    arrays = [np.asarray(items[axis]) for axis in picked_axes]
    try:
        paired_shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError as error:
        raise OutOfBoundsError(
            f"Index arrays of shapes {', '.join(str(array.shape) for array in arrays)} do not pair up."
        ) from error
    for position, axis in enumerate(picked_axes):
        # numpy checks arrays only if they select something.
        if 0 not in paired_shape or isinstance(items[axis], int):
            arrays[position] = _non_negative(arrays[position], axis, shape[axis])
    axes_before = [
        axis
        for axis in range(len(shape))
        if axis not in picked_axes and is_adjacent and axis < picked_axes[0]
    ]
    axes_after = [axis for axis in range(len(shape)) if axis not in picked_axes and axis not in axes_before]
    ranges = {axis: np.arange(*items[axis].indices(shape[axis])) for axis in (*axes_before, *axes_after)}
    result_shape = (
        *(len(ranges[axis]) for axis in axes_before),
        *paired_shape,
        *(len(ranges[axis]) for axis in axes_after),
    )
    coordinates: list[Any] = [None] * len(shape)
    for position, axis in enumerate((*axes_before, *axes_after)):
        result_axis = position if axis in axes_before else position + len(paired_shape)
        coordinates[axis] = ranges[axis].reshape(
            [-1 if other == result_axis else 1 for other in range(len(result_shape))]
        )
    for axis, array in zip(picked_axes, arrays, strict=True):
        new_axes = (1,) * (len(paired_shape) - array.ndim)
        coordinates[axis] = array.reshape(
            (1,) * len(axes_before) + new_axes + array.shape + (1,) * len(axes_after)
        )
    point_axes = tuple(np.broadcast_to(coordinate, result_shape).reshape(-1) for coordinate in coordinates)
    return Selection(point_axes, True, (math.prod(result_shape),), (), None, result_shape)


def _forward_slice(item: slice, axis: int, length: int) -> tuple[slice, int, bool]:
    """Return the slice with a positive step that selects the same, its count, and whether `item` counts backwards."""
    try:
        start, stop, step = item.indices(length)
    except ValueError as error:
        raise InvalidArgumentError(f"The step of {item} along axis {axis} cannot be zero.") from error
    except TypeError as error:
        raise OutOfBoundsError(f"The {item} along axis {axis} needs whole numbers or None.") from error
    count = len(range(start, stop, step))
    if count == 0:
        return slice(0, 0, 1), 0, False
    if count == 1:
        return slice(start, start + 1, 1), 1, False
    last = start + (count - 1) * step
    if step > 0:
        return slice(start, last + 1, step), count, False
    return slice(last, start + 1, -step), count, True


def _non_negative(indices: Indices, axis: int, length: int) -> Indices:
    """Count negative indices from the end of an axis, as numpy does; raise where one is out of bounds."""
    if indices.size and (indices.min() < -length or indices.max() >= length):
        wrong = indices[(indices < -length) | (indices >= length)].flat[0]
        raise OutOfBoundsError(f"The index {wrong} is out of bounds for axis {axis} with size {length}.")
    return np.where(indices < 0, indices + length, indices).astype(np.intp, copy=False)


def as_selection(region: tuple[slice, ...]) -> Selection:
    """Return the selection of a region."""
    axes = tuple([slice(axis_slice.start, axis_slice.stop, 1) for axis_slice in region])
    shape = tuple([axis_slice.stop - axis_slice.start for axis_slice in region])
    return Selection(axes, False, shape, (), None, shape)
