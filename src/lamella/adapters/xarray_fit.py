"""The time axis of an image from its timepoints: start, step and index of each, whatever the order in which they came.

A grid that follows from writes alone (a movable one) is a function of the set of times that were written: the largest
step that meets all of them exactly, at least a tenth of the smallest gap between them; else the largest step within a
twentieth of which all of them lie. Pure arithmetic on numbers.

Layer: adapters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lamella.adapters.xarray_grid import (
    FINEST,
    JITTER,
    MOST_EMPTY,
    NOISE,
    Placement,
    TimeGrid,
    regular_step,
    rounded,
)
from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Fit: TypeAlias = "tuple[float, float, NDArray[np.int64]]"
"""Start, step, and the index of each time."""


def first_grid(values: NDArray[np.float64], dim: str, stated: float | None) -> Placement:
    """Place the first timepoints of a new array: one at each step, in ascending order.

    >>> first_grid(np.array([3.0]), "t", None).grid
    TimeGrid(start=3.0, step=1.0, length=1, known=False, movable=True, times=None)
    >>> first_grid(np.array([0.0, 60, 121, 180, 241]), "t", None).grid.step
    60.0
    """
    count = len(values)
    if count == 1 or not (np.diff(values) > 0).all():
        step = regular_step(values, dim, stated)
        grid = TimeGrid(float(values[0]), step or 1.0, count, step is not None, movable=True)
        return Placement(grid, tuple(range(count)))
    fit = _fit(values, stated)
    if fit is None or not np.array_equal(fit[2], np.arange(count)):
        regular_step(values, dim, stated)  # says which coordinate is off
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} is not evenly spaced; give the nominal times with assign_coords({dim}=...)."
        )
    return _placement(TimeGrid(fit[0], fit[1], count, movable=True), {}, fit, values, values, dim)


def place(grid: TimeGrid, values: NDArray[np.float64], dim: str, stated: float | None = None) -> Placement:
    """Place timepoints on the grid of an array that exists.

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
    >>> place(TimeGrid(1.0, 1.0, 2, movable=True), np.array([0.0]), "t").shift
    1
    >>> place(TimeGrid(0.0, 2.0, 3), np.array([1.0]), "t")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The coordinate 1 of dim 't' does not lie on the timepoints of the image, ...
    """
    offsets = (values - grid.start) / grid.step
    indices = np.rint(offsets).astype(np.int64)
    off = float(np.abs(offsets - indices).max(initial=0))
    is_on = grid.known and off <= (NOISE if grid.movable else JITTER) and not indices.min(initial=0) < 0
    if is_on and (not grid.movable or (grid.times is None and _is_run(indices, grid.length))):
        return _on_grid(grid, indices, values, off, dim)
    if not grid.movable:
        raise _not_on_grid(grid, values, offsets, indices, dim)
    return _refitted(grid, values, indices if grid.known else None, dim, stated)


def _is_run(indices: NDArray[np.int64], length: int) -> bool:
    """Whether new timepoints leave none between them and those that are there unwritten."""
    new = np.unique(indices[indices >= length])
    return not new.size or bool(new[-1] - length + 1 == new.size)


def _on_grid(
    grid: TimeGrid, indices: NDArray[np.int64], values: NDArray[np.float64], off: float, dim: str
) -> Placement:
    """Place timepoints without a change of start and step."""
    length = max(grid.length, int(indices.max(initial=-1)) + 1)
    _check_indices(grid, indices, length, values, dim)
    times = grid.times
    if off > NOISE or times is not None:
        times = {**(times or {}), **dict(zip(indices.tolist(), values.tolist(), strict=True))}
    found = replace(grid, length=length, times=times)
    return Placement(found, tuple(indices.tolist()), off=off if off > NOISE else 0.0)


def _refitted(
    grid: TimeGrid,
    values: NDArray[np.float64],
    nearest: NDArray[np.int64] | None,
    dim: str,
    stated: float | None,
) -> Placement:
    """Place timepoints where start and step follow from all that were written."""
    old, values = grid.known_times, values.copy()
    if len(np.unique(values)) < len(values):
        _refuse_twice(grid, values, dim)
    for i, value in enumerate(values.tolist()):
        # What lies within a twentieth of a step that is there is that timepoint, written again.
        same = int(nearest[i]) if nearest is not None else 0
        if same in old and abs(value - old[same]) <= (JITTER * grid.step if grid.known else 0):
            values[i] = old[same] = min(value, old[same])  # whichever came first
    known = np.unique([*old.values(), *values.tolist()])
    if len(known) == 1:
        return Placement(grid, (0,) * len(values))
    fit = _fit(known, stated, grid.step if grid.known else None)
    if fit is None:
        raise _not_together(grid, values, known, dim)
    return _placement(grid, old, fit, known, values, dim)


def _placement(
    grid: TimeGrid,
    old: dict[int, float],
    fit: Fit,
    known: NDArray[np.float64],
    values: NDArray[np.float64],
    dim: str,
) -> Placement:
    start, step, places = fit
    index = dict(zip(known.tolist(), places.tolist(), strict=True))
    length = int(places[-1]) + 1
    factor, shift = _affine([(i, index[value]) for i, value in sorted(old.items())], grid, values, dim)
    length = max(length, (grid.length - 1) * factor + shift + 1 if old else 0)
    if length - grid.length - len(values) > MOST_EMPTY:
        raise _too_empty(step, start, values, dim)
    indices = np.array([index[value] for value in values.tolist()])
    if len(np.unique(indices)) < len(indices):
        _refuse_twice(grid, values, dim)
    off = np.abs(known - (start + step * places)) / step
    is_regular = off.max() <= NOISE and len(known) == length
    times = None if is_regular else {i: value for value, i in index.items()}
    own = np.abs(values - (start + step * indices)).max() / step
    return Placement(
        TimeGrid(start, step, length, movable=True, times=times),
        tuple(indices.tolist()),
        factor,
        shift,
        float(own) if own > NOISE else 0.0,
    )


def _affine(
    moves: list[tuple[int, int]], grid: TimeGrid, values: NDArray[np.float64], dim: str
) -> tuple[int, int]:
    """Return factor and shift of a move of stored timepoints from old to new indices."""
    if not moves:
        return 1, 0
    (first, to), (last, end) = moves[0], moves[-1]
    factor = max(1, round((end - to) / (last - first))) if last > first else 1
    shift = to - first * factor
    if any(new != old * factor + shift for old, new in moves) or shift < 0:
        raise _not_together(grid, values, values, dim)
    return factor, shift


# ---- start and step of a set of times --------------------------------------------------------------


def _fit(times: NDArray[np.float64], stated: float | None, current: float | None = None) -> Fit | None:
    """Find start, step and indices of two or more ascending times; None where no step meets them.

    A step that is stated, or the present one, is kept as far as it meets them: differences of floats are not exact.
    """
    gaps = np.diff(times)
    smallest = float(gaps.min())
    for step in (stated, current):
        if step is not None and smallest >= (1 - 2 * JITTER) * step:
            fit = _on_step(times, step, np.rint((times - times[0]) / step), NOISE)
            if fit is not None:
                return fit
    exact = _exact(times, gaps, smallest)
    if exact is None and stated is not None and smallest >= (1 - 2 * JITTER) * stated:
        exact = _on_step(times, stated, np.rint((times - times[0]) / stated), JITTER)
    return exact or _jittered(times, gaps, smallest, current)


def _exact(times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float) -> Fit | None:
    """Cut the smallest gap into as few parts as meet all times."""
    for parts in range(1, FINEST + 1):
        counts = np.rint(gaps * (parts / smallest))
        places = np.concatenate([[0.0], np.cumsum(counts)])
        step = float(times[-1] - times[0]) / places[-1]
        if np.abs(times - (times[0] + step * places)).max() <= NOISE * step:
            largest = float(np.abs(times).max())
            return float(times[0]), rounded(step, largest, int(places[-1])), places.astype(np.int64)
    return None


def _jittered(
    times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float, current: float | None
) -> Fit | None:
    """Find the largest step that all times lie near to; of those that do, the one of the fewest digits.

    Parts of the smallest gap are looked at too, since timepoints between others may be written later.
    """
    for parts, most in ((1, JITTER), (2, JITTER / 2), (3, JITTER / 2)):
        places = _counted(gaps, smallest / parts)
        slope = float(times[-1] - times[0]) / float(places[-1])
        if _on_step(times, slope, places, most) is not None:
            return next(
                fit for step in _shorter(slope) if (fit := _on_step(times, step, places, most)) is not None
            )
    if current is None:
        return None
    # Far from even, but all of them near to the steps that are there.
    places = np.rint((times - times[0]) / current)
    steps = (*_shorter(float(times[-1] - times[0]) / max(1.0, float(places[-1]))), current)
    fits = (_on_step(times, step, places, JITTER) for step in steps)
    return next((fit for fit in fits if fit is not None), None)


def _counted(gaps: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Count the steps to each time, from the shortest gap to the longest: each makes the step more exact."""
    counts, total, number = np.zeros(len(gaps)), 0.0, 0.0
    for place in np.argsort(gaps, kind="stable"):
        counts[place] = max(1.0, np.rint(gaps[place] / step))
        total, number = total + gaps[place], number + counts[place]
        step = total / number
    return np.concatenate([[0.0], np.cumsum(counts)])


def _shorter(step: float) -> Iterator[float]:
    """Yield a number with ever more digits, at last itself."""
    yield from (float(f"{step:.{digits}g}") for digits in range(1, 16))
    yield step


def _on_step(
    times: NDArray[np.float64], step: float, places: NDArray[np.float64], tolerance: float
) -> Fit | None:
    """Return the fit of a step that starts at the first time; None where others are too far from theirs."""
    if not step > 0 or not (np.diff(places) >= 1).all():
        return None
    if np.abs(times - times[0] - step * places).max() > tolerance * step * (1 + 1e-9):
        return None
    return float(times[0]), step, places.astype(np.int64)


# ---- refusals --------------------------------------------------------------------------------------


def _not_on_grid(
    grid: TimeGrid,
    values: NDArray[np.float64],
    offsets: NDArray[np.float64],
    indices: NDArray[np.int64],
    dim: str,
) -> InvalidArgumentError:
    if indices.min() < 0 and np.abs(offsets - indices).max() <= JITTER:
        return InvalidArgumentError(
            f"The coordinate {values.min():g} of dim {dim!r} lies before the first timepoint of the image, "
            f"{grid.start:g}. Its translation stays as it was given; write to a new image, or set another."
        )
    worst = values[int(np.abs(offsets - np.rint(offsets)).argmax())]
    return InvalidArgumentError(
        f"The coordinate {worst:g} of dim {dim!r} does not lie on the timepoints of the image, which start at "
        f"{grid.start:g} and are {grid.step:g} apart. Give the nominal times with assign_coords({dim}=...), or make "
        "the image with create_zeros and the scale you want before writing to it."
    )


def _not_together(
    grid: TimeGrid, values: NDArray[np.float64], known: NDArray[np.float64], dim: str
) -> InvalidArgumentError:
    gap = float(np.diff(known).min()) if len(known) > 1 else grid.step
    return InvalidArgumentError(
        f"The coordinate {', '.join(f'{v:g}' for v in values[:5])} of dim {dim!r} does not lie on the timepoints of "
        f"the image, which start at {grid.start:g} and are {grid.step:g} apart: a step that meets all of them would "
        f"be below a tenth of the smallest gap between two, {gap:g}. Give the nominal times with "
        f"assign_coords({dim}=...), or make the image with create_zeros and the scale you want before writing to it."
    )


def _refuse_twice(grid: TimeGrid, values: NDArray[np.float64], dim: str) -> None:
    raise InvalidArgumentError(
        f"The coordinates {', '.join(f'{v:g}' for v in values[:10])} of dim {dim!r} name a timepoint twice: the "
        f"timepoints of the image are {grid.step:g} apart."
    )


def _too_empty(step: float, start: float, values: NDArray[np.float64], dim: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The coordinates of dim {dim!r} reach from {values.min():g} to {values.max():g}; with timepoints "
        f"{step:g} apart from {start:g} on, more than {MOST_EMPTY} would be empty."
    )


def _check_indices(
    grid: TimeGrid, indices: NDArray[np.int64], length: int, values: NDArray[np.float64], dim: str
) -> None:
    if len(np.unique(indices)) < len(indices):
        _refuse_twice(grid, values, dim)
    if length - grid.length - len(indices) > MOST_EMPTY:
        raise _too_empty(grid.step, grid.start, values, dim)
