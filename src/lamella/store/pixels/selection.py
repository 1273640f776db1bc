"""Convert numpy indices to selections, which engines read and write.

A `Selection` has one slice with a positive step, or one index array, per axis. An engine reads it as a *block*, which
`Selection.finish` flips, transposes and reshapes to the result of numpy: ``[0, ::-1]`` of shape (2, 3) selects 0:1 and
0:3, a block of (1, 3) whose axis 1 is flipped to a result of shape (3,).
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
    paired: bool
    """Whether `axes` are 1-D arrays that pair up to points."""
    shape: Shape
    """Shape of the engine's block."""
    flips: tuple[int, ...]
    """Axes of the block that the result reverses."""
    order: tuple[int, ...] | None
    """Order of the block's axes before the reshape."""
    result_shape: Shape
    """Shape of the caller's array."""

    @property
    def is_region(self) -> bool:
        """Whether this is a region: slices of step 1 only."""
        return not self.paired and all(isinstance(a, slice) and a.step == 1 for a in self.axes)

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
        return all(stop <= n for stop, n in zip(last, shape, strict=True))

    def finish(self, block: Array) -> Array:
        """Convert a block to the result; a view."""
        if self.flips:
            block = np.flip(block, self.flips)
        if self.order is not None:
            block = block.transpose(self.order)
        return block.reshape(self.result_shape)

    def prepare(self, data: Array) -> Array:
        """Convert data of the result's shape to a block; a view where numpy can."""
        inner = self.shape if self.order is None else tuple(self.shape[a] for a in self.order)
        block = data.reshape(inner)
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
            and 0 <= item.start < item.stop <= n
            for item, n in zip(index, shape, strict=True)
        )
    ):
        return as_selection(index)
    items = _expand(index, shape)
    if not any(isinstance(item, np.ndarray) for item in items):
        return _along_axes(items, shape)
    pickers = [axis for axis, item in enumerate(items) if not isinstance(item, slice)]
    arrays = [axis for axis in pickers if isinstance(items[axis], np.ndarray)]
    if len(arrays) == 1 and items[arrays[0]].ndim == 1:
        return _one_array(items, shape, arrays[0], _side_by_side(index, pickers))
    return _fancy(items, shape, pickers, _side_by_side(index, pickers))


def orthogonal(index: Index, shape: Shape) -> Selection:
    """Parse an index whose 1-D arrays and masks each select along their own axis."""
    return _along_axes(_expand(index, shape), shape)


def _along_axes(items: list[Any], shape: Shape) -> Selection:
    """Select along each axis by its own item."""
    axes: list[slice | Indices] = []
    flips: list[int] = []
    result: list[int] = []
    block: list[int] = []
    for axis, (item, n) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, np.ndarray):
            if item.ndim != 1:
                raise InvalidArgumentError(
                    f"An orthogonal index has 1-D arrays, not one of shape {item.shape} for axis {axis}."
                )
            axes.append(_bounded(item, axis, n))
            length = len(item)
        elif isinstance(item, int):
            if not -n <= item < n:
                raise OutOfBoundsError(f"The index {item} is out of bounds for axis {axis} with size {n}.")
            axes.append(slice(item % n, item % n + 1, 1))
            length = 1
        else:
            axis_slice, length, flipped = _slice(item, axis, n)
            axes.append(axis_slice)
            if flipped:
                flips.append(axis)
        block.append(length)
        if isinstance(item, slice | np.ndarray):
            result.append(length)
    return Selection(tuple(axes), False, tuple(block), tuple(flips), None, tuple(result))


def points(index: Index, shape: Shape) -> Selection:
    """Parse an index of one array per axis that pair up to points, or one mask of the array's shape."""
    items = _expand(index, shape)
    if not shape:
        return _along_axes(items, shape)
    if any(isinstance(item, slice) for item in items):
        raise OutOfBoundsError(f"A point index needs one array per axis of the shape {shape}, not {index!r}.")
    return _fancy(items, shape, list(range(len(shape))), together=True)


# ---- one item per axis ----------------------------------------------------------------------------


def crossed(axes: Sequence[slice | Indices]) -> tuple[Any, ...]:
    """Return a numpy index whose slices and arrays each select along their own axis."""
    return np.ix_(*(np.arange(a.start, a.stop, a.step) if isinstance(a, slice) else a for a in axes))


def _expand(index: Index, shape: Shape) -> list[Any]:
    """Return one int, slice or integer array per axis."""
    items: list[Any] = [
        item if isinstance(item, slice) or item is Ellipsis or item.__class__ is int else _item(item)
        for item in (index if isinstance(index, tuple) else (index,))
    ]
    ellipses = [number for number, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise OutOfBoundsError("An index can only have a single ellipsis ('...').")
    masks = [item for item in items if isinstance(item, np.ndarray) and item.dtype == bool]
    width = len(items) - len(ellipses) + sum(mask.ndim - 1 for mask in masks)
    if width > len(shape):
        raise OutOfBoundsError(f"There are too many indices: {width} for an array of the shape {shape}.")
    missing = [slice(None)] * (len(shape) - width)
    if ellipses:
        items[ellipses[0] : ellipses[0] + 1] = missing
    else:
        items += missing
    if not masks:
        return items
    expanded: list[Any] = []
    for item in items:
        is_mask = isinstance(item, np.ndarray) and item.dtype == bool
        expanded += _mask(item, shape, len(expanded)) if is_mask else [item]
    return expanded


def _item(item: Any) -> Any:
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


def _mask(mask: NDArray[np.bool_], shape: Shape, axis: int) -> list[Any]:
    covered = shape[axis : axis + mask.ndim]
    if mask.shape != covered:
        raise OutOfBoundsError(
            f"A boolean mask of shape {mask.shape} does not match axes of shape {covered}."
        )
    return list(np.nonzero(mask))


# ---- kinds of selections --------------------------------------------------------------------------


def _side_by_side(index: Index, pickers: list[int]) -> bool:
    """Whether integers and arrays are adjacent; an ellipsis between them separates them, even one of no axes."""
    raw_items = index if isinstance(index, tuple) else (index,)
    at = next((number for number, item in enumerate(raw_items) if item is Ellipsis), len(raw_items))
    separated = all(
        any(not isinstance(item, slice) for item in side) for side in (raw_items[:at], raw_items[at + 1 :])
    )
    return not separated and pickers == list(range(pickers[0], pickers[-1] + 1))


def _one_array(items: list[Any], shape: Shape, array_axis: int, together: bool) -> Selection:
    """Parse one 1-D array with integers: orthogonal, apart from the position of the array's axis in numpy."""
    plain = _along_axes(items, shape)
    result_axes = [axis for axis, item in enumerate(items) if isinstance(item, slice) or axis == array_axis]
    integer_axes = [axis for axis in range(len(shape)) if axis not in result_axes]
    if together:
        return plain  # the integers are adjacent to the array, so its axis keeps its position
    order = (array_axis, *(axis for axis in result_axes if axis != array_axis), *integer_axes)
    result = tuple(plain.shape[axis] for axis in order[: len(result_axes)])
    return Selection(plain.axes, False, plain.shape, plain.flips, order, result)


def _fancy(items: list[Any], shape: Shape, pickers: list[int], together: bool) -> Selection:
    """Parse arrays that pair up: every element becomes a point, also those of slices."""
    arrays = [np.asarray(items[axis]) for axis in pickers]
    try:
        paired = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError as error:
        raise OutOfBoundsError(
            f"Index arrays of shapes {', '.join(str(a.shape) for a in arrays)} do not pair up."
        ) from error
    for number, axis in enumerate(pickers):
        if 0 not in paired or isinstance(items[axis], int):  # of arrays, numpy checks only those that select
            arrays[number] = _bounded(arrays[number], axis, shape[axis])
    before = [axis for axis in range(len(shape)) if axis not in pickers and together and axis < pickers[0]]
    after = [axis for axis in range(len(shape)) if axis not in pickers and axis not in before]
    ranges = {axis: np.arange(*items[axis].indices(shape[axis])) for axis in (*before, *after)}
    result = (*(len(ranges[a]) for a in before), *paired, *(len(ranges[a]) for a in after))
    coordinates: list[Any] = [None] * len(shape)
    for number, axis in enumerate((*before, *after)):
        at = number if axis in before else number + len(paired)
        coordinates[axis] = ranges[axis].reshape([-1 if d == at else 1 for d in range(len(result))])
    for axis, array in zip(pickers, arrays, strict=True):
        lead = (1,) * (len(paired) - array.ndim)
        coordinates[axis] = array.reshape((1,) * len(before) + lead + array.shape + (1,) * len(after))
    flat = tuple(np.broadcast_to(c, result).reshape(-1) for c in coordinates)
    return Selection(flat, True, (math.prod(result),), (), None, result)


def _slice(item: slice, axis: int, n: int) -> tuple[slice, int, bool]:
    """Return a slice with a positive step, its length, and whether the item counts backwards."""
    try:
        start, stop, step = item.indices(n)
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


def _bounded(indices: Indices, axis: int, n: int) -> Indices:
    if indices.size and (indices.min() < -n or indices.max() >= n):
        wrong = indices[(indices < -n) | (indices >= n)].flat[0]
        raise OutOfBoundsError(f"The index {wrong} is out of bounds for axis {axis} with size {n}.")
    return np.where(indices < 0, indices + n, indices).astype(np.intp, copy=False)


def as_selection(region: tuple[slice, ...]) -> Selection:
    """Return the selection of a region."""
    axes = tuple([slice(axis_slice.start, axis_slice.stop, 1) for axis_slice in region])
    shape = tuple([axis_slice.stop - axis_slice.start for axis_slice in region])
    return Selection(axes, False, shape, (), None, shape)
