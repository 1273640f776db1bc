"""Indices of numpy turned into what engines read and write.

An index (integers, slices with any step, ellipsis, integer arrays, boolean masks) becomes a `Selection`:
slices with positive steps, or index arrays, plus how the engine's block is turned into the result that numpy
would give. Three readings of an index: `basic_or_fancy` as ``numpy.ndarray.__getitem__``, `orthogonal` (each
array picks along its own axis), `points` (arrays pair up). Pure arithmetic; no I/O.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InvalidArgumentError, OutOfBoundsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import Array, Shape

Indices: TypeAlias = NDArray[np.intp]
Index: TypeAlias = Any
"""Whatever stands between the brackets."""


@dataclass(frozen=True)
class Selection:
    """What an engine reads or writes, and how that becomes the result.

    Attributes
    ----------
    axes : tuple of slice or ndarray
        One per axis of the array. Slices have 0 <= start <= stop and step >= 1. With `paired`, every entry
        is a 1-D array and they pair up; otherwise 1-D arrays pick along their own axis.
    paired : bool
        Whether the arrays pair up to points.
    shape : tuple of int
        Of the block that an engine gives and takes.
    flips : tuple of int
        Axes of the block that the result shows backwards.
    order : tuple of int or None
        How the block's axes are reordered, before the reshape.
    result : tuple of int
        Shape of what the caller gets or gives.
    """

    axes: tuple[slice | Indices, ...]
    paired: bool
    shape: Shape
    flips: tuple[int, ...]
    order: tuple[int, ...] | None
    result: Shape

    @property
    def is_box(self) -> bool:
        """Whether this is a dense box: slices of step 1 only."""
        return not self.paired and all(isinstance(a, slice) and a.step == 1 for a in self.axes)

    @property
    def is_plain(self) -> bool:
        """Whether the block is the result but for axes of length 1, so that it can be read in place."""
        return not self.flips and self.order is None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected."""
        return 0 in self.shape

    @property
    def bounds(self) -> tuple[Shape, Shape] | None:
        """Start and stop of the smallest box around what is selected; None for nothing."""
        if self.is_empty:
            return None
        first = (axis.start if isinstance(axis, slice) else int(axis.min()) for axis in self.axes)
        last = (axis.stop if isinstance(axis, slice) else int(axis.max()) + 1 for axis in self.axes)
        return tuple(first), tuple(last)

    def fits(self, shape: Shape) -> bool:
        """Whether an array of a shape has all that is selected."""
        last = (axis.stop if isinstance(axis, slice) else int(axis.max(initial=-1)) + 1 for axis in self.axes)
        return all(stop <= n for stop, n in zip(last, shape, strict=True))

    def finish(self, block: Array) -> Array:
        """Turn an engine's block into the result; a view."""
        if self.flips:
            block = np.flip(block, self.flips)
        if self.order is not None:
            block = block.transpose(self.order)
        return block.reshape(self.result)

    def prepare(self, data: Array) -> Array:
        """Turn data of the result's shape into an engine's block; a view where numpy can."""
        inner = self.shape if self.order is None else tuple(self.shape[a] for a in self.order)
        block = data.reshape(inner)
        if self.order is not None:
            block = block.transpose(np.argsort(self.order))
        return np.flip(block, self.flips) if self.flips else block


def basic_or_fancy(index: Index, shape: Shape) -> Selection:
    """Read an index as numpy does.

    Raises
    ------
    OutOfBoundsError
        The index does not fit the shape.
    InvalidArgumentError
        The index adds an axis (``None``), which a stored array cannot.

    Examples
    --------
    >>> basic_or_fancy((0, slice(None, None, -1)), (2, 3)).result
    (3,)
    """
    items = _expand(index, shape)
    if not any(isinstance(item, np.ndarray) for item in items):
        return _basic(items, shape)
    pickers = [axis for axis, item in enumerate(items) if not isinstance(item, slice)]
    arrays = [axis for axis in pickers if isinstance(items[axis], np.ndarray)]
    if len(arrays) == 1 and items[arrays[0]].ndim == 1:
        return _one_array(items, shape, arrays[0], _side_by_side(index, pickers))
    return _fancy(items, shape, pickers, _side_by_side(index, pickers))


def orthogonal(index: Index, shape: Shape) -> Selection:
    """Read an index so that each 1-D array or mask picks along its own axis.

    Raises
    ------
    OutOfBoundsError, InvalidArgumentError
        As `basic_or_fancy`; also for arrays of more than one axis.

    Examples
    --------
    >>> orthogonal(([0, 2], [True, False, True]), (4, 3)).result
    (2, 2)
    """
    items = _expand(index, shape)
    axes: list[slice | Indices] = []
    flips: list[int] = []
    result: list[int] = []
    for axis, (item, n) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, np.ndarray):
            if item.ndim != 1:
                raise InvalidArgumentError(
                    f"an orthogonal index takes 1-D arrays, found one of shape {item.shape} for axis {axis}"
                )
            axes.append(_bounded(item, axis, n))
            result.append(len(item))
            continue
        one, flipped = _slice(item, axis, n)
        axes.append(one)
        if flipped:
            flips.append(axis)
        if isinstance(item, slice):
            result.append(_length(one))
    block = tuple(len(a) if isinstance(a, np.ndarray) else _length(a) for a in axes)
    return Selection(tuple(axes), False, block, tuple(flips), None, tuple(result))


def points(index: Index, shape: Shape) -> Selection:
    """Read an index of arrays that pair up, one per axis, or one boolean mask of the array's shape.

    Raises
    ------
    OutOfBoundsError
        Not one array per axis, or a point beyond the shape.

    Examples
    --------
    >>> points(([0, 1], [2, 2]), (2, 3)).result
    (2,)
    """
    items = _expand(index, shape)
    if not shape:
        return _basic(items, shape)
    if any(isinstance(item, slice) for item in items):
        raise OutOfBoundsError(f"a point index needs one array per axis of shape {shape}, found {index!r}")
    return _fancy(items, shape, list(range(len(shape))), together=True)


# ---- the index as one item per axis ---------------------------------------------------------------


def crossed(axes: Sequence[slice | Indices]) -> tuple[Any, ...]:
    """Return an index of numpy by which slices and arrays pick along their own axes.

    >>> np.arange(12).reshape(3, 4)[crossed((slice(0, 2, 1), np.array([0, 3])))].tolist()
    [[0, 3], [4, 7]]
    """
    return np.ix_(*(np.arange(a.start, a.stop, a.step) if isinstance(a, slice) else a for a in axes))


def _expand(index: Index, shape: Shape) -> list[Any]:
    """Return one int, slice or integer array per axis."""
    given = list(index) if isinstance(index, tuple) else [index]
    items: list[Any] = []
    ellipsis = None
    for item in given:
        if item is Ellipsis:
            if ellipsis is not None:
                raise OutOfBoundsError("an index can only have a single ellipsis ('...')")
            ellipsis = len(items)
        else:
            items.extend(_items(item, shape, _axis_of(items, ellipsis, shape, given)))
    missing = len(shape) - len(items)
    if missing < 0:
        raise OutOfBoundsError(
            f"too many indices: {len(items)} for an array of {len(shape)} axes, shape {shape}"
        )
    at = len(items) if ellipsis is None else ellipsis
    return [*items[:at], *[slice(None)] * missing, *items[at:]]


def _axis_of(items: list[Any], ellipsis: int | None, shape: Shape, given: Sequence[Any]) -> int | None:
    """Axis that the next item begins at; None when masks after an ellipsis make it depend on the rest."""
    if ellipsis is None:
        return len(items)
    rest = given[next(i for i, g in enumerate(given) if g is Ellipsis) + 1 :]
    width = sum(_width(item) for item in rest)
    return len(shape) - width + (len(items) - ellipsis)


def _width(item: Any) -> int:
    """Return the number of axes that an item takes up."""
    if isinstance(item, slice | int | np.integer) or item is None or item is Ellipsis:
        return 1
    array = np.asarray(item)
    return array.ndim if array.dtype == bool and array.ndim else 1


def _items(item: Any, shape: Shape, axis: int | None) -> list[Any]:
    if item is None:
        raise InvalidArgumentError(
            "an index of a stored array cannot add axes: None (numpy.newaxis) is not allowed"
        )
    if isinstance(item, slice):
        return [item]
    if isinstance(item, bool | np.bool_):
        raise OutOfBoundsError(
            f"{item!r} is not an index: a boolean mask needs the shape of the axes it covers"
        )
    if not isinstance(item, np.ndarray | list | tuple | range) and hasattr(item, "__index__"):
        return [operator.index(item)]
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise OutOfBoundsError(f"{item!r} is not an index") from error
    if array.dtype == bool and array.ndim:
        return _mask(array, shape, axis)
    if array.size == 0 and not isinstance(item, np.ndarray):
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise OutOfBoundsError(
            f"{item!r} is not an index: whole numbers, slices, '...', arrays of whole numbers and masks are"
        )
    return [int(array)] if array.ndim == 0 else [array.astype(np.intp)]


def _mask(mask: NDArray[np.bool_], shape: Shape, axis: int | None) -> list[Any]:
    covered = shape[axis : axis + mask.ndim] if axis is not None and axis >= 0 else ()
    if mask.shape != tuple(covered):
        raise OutOfBoundsError(
            f"a boolean mask of shape {mask.shape} does not match axes of shape {tuple(covered)}"
        )
    return list(np.nonzero(mask))


# ---- kinds of selections --------------------------------------------------------------------------


def _basic(items: list[Any], shape: Shape) -> Selection:
    axes: list[slice | Indices] = []
    flips: list[int] = []
    result: list[int] = []
    block: list[int] = []
    for axis, (item, n) in enumerate(zip(items, shape, strict=True)):
        one, flipped = _slice(item, axis, n)
        axes.append(one)
        block.append(_length(one))
        if flipped:
            flips.append(axis)
        if isinstance(item, slice):
            result.append(block[-1])
    return Selection(tuple(axes), False, tuple(block), tuple(flips), None, tuple(result))


def _side_by_side(index: Index, pickers: list[int]) -> bool:
    """Whether the integers and arrays stand together; an ellipsis between them parts them, even one of no axes."""
    given = index if isinstance(index, tuple) else (index,)
    at = next((place for place, item in enumerate(given) if item is Ellipsis), len(given))
    parted = all(any(not isinstance(item, slice) for item in side) for side in (given[:at], given[at + 1 :]))
    return not parted and pickers == list(range(pickers[0], pickers[-1] + 1))


def _one_array(items: list[Any], shape: Shape, array_axis: int, together: bool) -> Selection:
    """Read one 1-D array with integers beside it: orthogonal, but for where numpy puts the array's axis."""
    plain = orthogonal(tuple(items), shape)
    kept = [axis for axis, item in enumerate(items) if isinstance(item, slice) or axis == array_axis]
    dropped = [axis for axis in range(len(shape)) if axis not in kept]
    if together:
        return plain  # the integers stand beside the array: its axis stays in its place
    order = (array_axis, *(axis for axis in kept if axis != array_axis), *dropped)
    result = tuple(plain.shape[axis] for axis in order[: len(kept)])
    return Selection(plain.axes, False, plain.shape, plain.flips, order, result)


def _fancy(items: list[Any], shape: Shape, pickers: list[int], together: bool) -> Selection:
    """Arrays that pair up: every element becomes a point, the slices' positions included."""
    arrays = [np.asarray(items[axis]) for axis in pickers]
    try:
        paired = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError as error:
        raise OutOfBoundsError(
            f"index arrays of shapes {', '.join(str(a.shape) for a in arrays)} do not pair up"
        ) from error
    for place, axis in enumerate(pickers):
        if 0 not in paired or isinstance(items[axis], int):  # of arrays, numpy checks only those that select
            arrays[place] = _bounded(arrays[place], axis, shape[axis])
    before = [axis for axis in range(len(shape)) if axis not in pickers and together and axis < pickers[0]]
    after = [axis for axis in range(len(shape)) if axis not in pickers and axis not in before]
    ranges = {axis: np.arange(*items[axis].indices(shape[axis])) for axis in (*before, *after)}
    result = (*(len(ranges[a]) for a in before), *paired, *(len(ranges[a]) for a in after))
    coordinates: list[Any] = [None] * len(shape)
    for place, axis in enumerate((*before, *after)):
        at = place if axis in before else place + len(paired)
        coordinates[axis] = ranges[axis].reshape([-1 if d == at else 1 for d in range(len(result))])
    for axis, array in zip(pickers, arrays, strict=True):
        lead = (1,) * (len(paired) - array.ndim)
        coordinates[axis] = array.reshape((1,) * len(before) + lead + array.shape + (1,) * len(after))
    flat = tuple(np.broadcast_to(c, result).reshape(-1) for c in coordinates)
    return Selection(flat, True, (math.prod(result),), (), None, result)


def _slice(item: Any, axis: int, n: int) -> tuple[slice, bool]:
    """Return a slice with a positive step, and whether the item counts backwards."""
    if not isinstance(item, slice):
        place = item + n if item < 0 else item
        if not 0 <= place < n:
            raise OutOfBoundsError(f"index {item} is out of bounds for axis {axis} with size {n}")
        return slice(place, place + 1, 1), False
    try:
        start, stop, step = item.indices(n)
    except ValueError as error:
        raise InvalidArgumentError(f"slice {item} of axis {axis}: the step cannot be zero") from error
    except TypeError as error:
        raise OutOfBoundsError(f"slice {item} of axis {axis} needs whole numbers or None") from error
    count = len(range(start, stop, step))
    if count == 0:
        return slice(0, 0, 1), False
    last = start + (count - 1) * step
    if count == 1:
        return slice(start, start + 1, 1), False
    return (slice(start, last + 1, step), False) if step > 0 else (slice(last, start + 1, -step), True)


def _bounded(indices: Indices, axis: int, n: int) -> Indices:
    if indices.size and (indices.min() < -n or indices.max() >= n):
        wrong = indices[(indices < -n) | (indices >= n)].flat[0]
        raise OutOfBoundsError(f"index {wrong} is out of bounds for axis {axis} with size {n}")
    return np.where(indices < 0, indices + n, indices).astype(np.intp, copy=False)


def _length(one: slice) -> int:
    return len(range(one.start, one.stop, one.step))
