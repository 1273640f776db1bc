"""Coordinates as regular grids: what a labelled array's coordinates say of scale, translation and index.

Pure arithmetic on numbers. OME-NGFF knows an axis by a scale and a translation only, so coordinates have to lie on a
regular grid; "on" means within a hundredth of a step (`TOLERANCE`).

Layer: adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 0.01
"""How far from its place on a regular grid a coordinate may lie, in steps of the grid."""

MOST_PARTS = 1000
"""Most parts into which a step of a time axis is cut to meet a timepoint between two others."""

_EXACT = 1e-5
_MOST_EMPTY = 1_000_000


def checked_values(values: NDArray[Any], dim: str) -> NDArray[np.float64]:
    """Return coordinates as floats.

    Raises
    ------
    InvalidArgumentError
        They are no finite numbers: dates, texts, NaN.
    """
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} must hold one number per index, in the unit of the axis; found "
            f"{values.dtype} of shape {values.shape}. Convert it, for example with assign_coords({dim}=...)."
        )
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InvalidArgumentError(f"The coordinate of dim {dim!r} holds values that are not finite numbers.")
    return numbers


def regular_step(values: NDArray[np.float64], dim: str, stated: float | None = None) -> float | None:
    """Find the step of coordinates.

    Parameters
    ----------
    values : ndarray of float64
        At least one.
    dim : str
        Name of the dim, for messages.
    stated : float, optional
        Step of the grid that the coordinates were made from, if known: kept where it fits, since differences of
        floats are not exact.

    Returns
    -------
    float or None
        The step, above 0; None for a single coordinate without a stated step.

    Raises
    ------
    InvalidArgumentError
        They don't ascend, or are not regular within a hundredth of a step.

    Examples
    --------
    >>> regular_step(5 + 0.1 * np.arange(4), "x")
    0.1
    >>> regular_step(np.array([0.0, 1.0, 3.0]), "t")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The coordinate of dim 't' is not evenly spaced: ...
    """
    count = len(values)
    if count < 2:
        return stated
    step = float(values[-1] - values[0]) / (count - 1)
    if not step > 0:
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} must ascend; it goes from {values[0]:g} to {values[-1]:g}. "
            f"Sort the data with sortby({dim!r})."
        )
    places = np.arange(count)
    off = np.abs(values - (values[0] + step * places))
    if off.max() > TOLERANCE * step:
        worst = int(off.argmax())
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} is not evenly spaced: index {worst} lies at {values[worst]:g}, but even "
            f"steps of {step:g} would put it at {values[0] + step * worst:g}. An OME-NGFF axis has one scale; "
            f"resample the data, or give the nominal values with assign_coords({dim}=...)."
        )
    if stated is not None and abs(step - stated) * (count - 1) <= TOLERANCE * stated:
        return stated
    return _rounded(step, float(np.abs(values).max()), count - 1)


def _rounded(step: float, largest: float, parts: int = 1) -> float:
    """Drop the noise that differences of floats carry: 0.09999999999999964 becomes 0.1.

    The shortest decimal that is as near to the difference of two coordinates, cut into parts, as floats can tell.
    """
    noise = 4 * float(np.finfo(np.float64).eps) * max(largest, step) / parts
    shorter = (float(f"{step:.{digits}g}") for digits in range(1, 16))
    return next((short for short in shorter if abs(short - step) <= noise), step)


@dataclass(frozen=True)
class TimeGrid:
    """The timepoints of an array.

    Attributes
    ----------
    start : float
        Coordinate of the first.
    step : float
        Between two.
    length : int
        How many.
    known : bool
        Whether somebody said or measured the step; that of a lone timepoint is 1 until a second one tells.
    movable : bool
        Whether start and step follow from the timepoints written so far, and not from a user: only then may the grid
        be extended to earlier timepoints or made finer.
    """

    start: float
    step: float
    length: int
    known: bool = True
    movable: bool = False


@dataclass(frozen=True)
class Placement:
    """Where timepoints go in an array.

    Attributes
    ----------
    grid : TimeGrid
        The grid afterwards. Each stored timepoint keeps its coordinate.
    indices : tuple of int
        Index of each coordinate in it.
    factor, shift : int
        A timepoint stored at index ``i`` belongs at ``i * factor + shift`` afterwards.
    """

    grid: TimeGrid
    indices: tuple[int, ...]
    factor: int = 1
    shift: int = 0


def first_grid(values: NDArray[np.float64], dim: str, stated: float | None) -> Placement:
    """Place the first timepoints of a new array.

    >>> first_grid(np.array([3.0]), "t", None).grid
    TimeGrid(start=3.0, step=1.0, length=1, known=False, movable=True)
    """
    step = regular_step(values, dim, stated)
    grid = TimeGrid(
        float(values[0]), 1.0 if step is None else step, len(values), step is not None, movable=True
    )
    return Placement(grid, tuple(range(len(values))))


def place(grid: TimeGrid, values: NDArray[np.float64], dim: str, stated: float | None = None) -> Placement:
    """Place timepoints on the grid of an array that exists.

    The grid afterwards does not depend on the order in which timepoints came: it starts at the earliest, and its step
    is the largest one that meets them all.

    Parameters
    ----------
    grid : TimeGrid
        Of the array.
    values : ndarray of float64
        Coordinates, in any order.
    dim : str
        Name of the dim, for messages.
    stated : float, optional
        Step of the grid that the coordinates were made from, if known.

    Raises
    ------
    InvalidArgumentError
        A coordinate does not lie on the grid, or twice at one index.

    Examples
    --------
    >>> one = TimeGrid(0.0, 1.0, 1, known=False, movable=True)
    >>> place(one, np.array([30.0]), "t").grid.step
    30.0
    >>> place(TimeGrid(1.0, 1.0, 2, movable=True), np.array([0.0]), "t")
    Placement(grid=TimeGrid(start=0.0, step=1.0, length=3, known=True, movable=True), indices=(0,), factor=1, shift=1)
    >>> place(TimeGrid(0.0, 2.0, 3), np.array([1.0]), "t")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The coordinate 1 of dim 't' does not lie on the timepoints of the image, ...
    """
    grid = _with_known_step(grid, values, stated)
    offsets = (values - grid.start) / grid.step
    factor = 1
    if np.abs(offsets - np.rint(offsets)).max(initial=0) > TOLERANCE:
        factor = _finer(grid, offsets, values, dim)
        step = _rounded(grid.step / factor, max(abs(grid.start), float(np.abs(values).max())), factor)
        grid = replace(grid, step=step, length=(grid.length - 1) * factor + 1)
        offsets = offsets * factor
    indices = np.rint(offsets).astype(np.int64)
    shift = max(0, -int(indices.min(initial=0)))
    if shift and not grid.movable:
        raise InvalidArgumentError(
            f"The coordinate {values.min():g} of dim {dim!r} lies before the first timepoint of the image, "
            f"{grid.start:g}. Its translation stays as it was given; write to a new image, or set another."
        )
    length = max(grid.length, int(indices.max(initial=-1)) + 1) + shift
    _check_indices(grid, indices, length, values, dim)
    start = grid.start - shift * grid.step
    earliest = float(values.min(initial=np.inf))
    if shift and abs(earliest - start) <= 1e-6 * grid.step:
        start = earliest
    grid = replace(grid, start=start, length=length)
    return Placement(grid, tuple(int(i) + shift for i in indices), factor, shift)


def _with_known_step(grid: TimeGrid, values: NDArray[np.float64], stated: float | None) -> TimeGrid:
    if grid.known or not grid.movable:
        return grid
    points = np.unique(np.append(values, grid.start))
    gaps = np.diff(points)
    gaps = gaps[gaps > 1e-9 * np.abs(points).max()]
    if stated is not None:
        return replace(grid, step=stated, known=True)
    if not gaps.size:
        return grid
    return replace(grid, step=_rounded(float(gaps.min()), float(np.abs(points).max())), known=True)


def _finer(grid: TimeGrid, offsets: NDArray[np.float64], values: NDArray[np.float64], dim: str) -> int:
    """Find into how many parts the step has to be cut so that all coordinates lie on the grid."""
    factor = 1
    if grid.movable:
        for offset in offsets:
            factor = int(np.lcm(factor, Fraction(float(offset)).limit_denominator(MOST_PARTS).denominator))
        scaled = offsets * factor
        if factor <= MOST_PARTS and np.abs(scaled - np.rint(scaled)).max() <= _EXACT:
            return factor
    worst = values[int(np.abs(offsets - np.rint(offsets)).argmax())]
    raise InvalidArgumentError(
        f"The coordinate {worst:g} of dim {dim!r} does not lie on the timepoints of the image, which start at "
        f"{grid.start:g} and are {grid.step:g} apart. Give the nominal times with assign_coords({dim}=...), or make "
        "the image with create_zeros and the scale you want before writing to it."
    )


def _check_indices(
    grid: TimeGrid, indices: NDArray[np.int64], length: int, values: NDArray[np.float64], dim: str
) -> None:
    if len(np.unique(indices)) < len(indices):
        raise InvalidArgumentError(
            f"The coordinates {', '.join(f'{v:g}' for v in values[:10])} of dim {dim!r} name a timepoint twice: the "
            f"timepoints of the image are {grid.step:g} apart."
        )
    if length - grid.length - len(indices) > _MOST_EMPTY:
        raise InvalidArgumentError(
            f"The coordinates of dim {dim!r} reach from {values.min():g} to {values.max():g}; with timepoints "
            f"{grid.step:g} apart from {grid.start:g} on, more than {_MOST_EMPTY} would be empty."
        )
