"""Compute the time axis of an image from its timepoints: start, step and index of each, in any order of writing.

A grid is movable if it follows from writes alone: then its step is the largest that meets all written times exactly, at
least a tenth of the smallest gap; else the largest one from whose multiples no time is further than a twentieth of it
(`fit_steps`). The times 0, 60 and 30 have the start 0, the step 30, and the indices 0, 2 and 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lamella.adapters.xarray_grid import (
    JITTER,
    MAX_EMPTY,
    MAX_STEPS_PER_GAP,
    NOISE,
    Joined,
    Placement,
    TimeGrid,
    regular_step,
    rounded,
)
from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


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
    fit = fit_steps(values, stated)
    if fit is None or not np.array_equal(fit[2], np.arange(count)):
        regular_step(values, dim, stated)  # names the coordinate that is off
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} is not evenly spaced; give the nominal times with assign_coords({dim}=...)."
        )
    return _placement(TimeGrid(fit[0], fit[1], count, movable=True), {}, fit, values, values, dim)


def place(grid: TimeGrid, values: NDArray[np.float64], dim: str, stated: float | None = None) -> Placement:
    """Place timepoints (coordinates in any order) on the grid of an existing array.

    ``stated`` is the step of the grid from which the coordinates were made, if known. Raise InvalidArgumentError for a
    coordinate off the grid, or twice at one index.

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
    """Return whether new timepoints leave no unwritten ones between them and the existing ones."""
    new = np.unique(indices[indices >= length])
    return not new.size or bool(new[-1] - length + 1 == new.size)


def _on_grid(
    grid: TimeGrid, indices: NDArray[np.int64], values: NDArray[np.float64], off: float, dim: str
) -> Placement:
    """Place timepoints without a change of start and step."""
    length = max(grid.length, int(indices.max(initial=-1)) + 1)
    _check_indices(grid, indices, values, dim, length, grid.start, grid.step)
    times = grid.times
    if off > NOISE or times is not None:
        times, old = dict(times or {}), times or {}
        for index, value in zip(indices.tolist(), values.tolist(), strict=True):
            times[index] = min(value, old.get(index, value))  # whichever came first
    joined = tuple(
        Joined(index, value, grid.time_of(index))
        for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        if index < grid.length and abs(value - grid.time_of(index)) > NOISE * grid.step
    )
    new_grid = replace(grid, length=length, times=times)
    return Placement(new_grid, tuple(indices.tolist()), off=off if off > NOISE else 0.0, joined=joined)


def _refitted(
    grid: TimeGrid,
    values: NDArray[np.float64],
    nearest: NDArray[np.int64] | None,
    dim: str,
    stated: float | None,
) -> Placement:
    """Place timepoints on a grid whose start and step follow from all written times."""
    old, values = grid.known_times, values.copy()
    if len(np.unique(values)) < len(values):
        _refuse_twice(grid, values, dim)
    joined = []
    for i, value in enumerate(values.tolist()):
        # A time within a twentieth of a step of an existing timepoint is that timepoint: rewritten, or other channels.
        index = int(nearest[i]) if nearest is not None else 0
        if index not in old:
            continue
        apart = abs(value - old[index])
        if apart <= (NOISE * grid.step if grid.known else 0):
            values[i] = old[index]
        elif grid.known and min(apart, abs(value - grid.start - grid.step * index)) <= JITTER * grid.step:
            joined.append(Joined(index, value, old[index]))
            values[i] = old[index] = min(value, old[index])  # whichever came first
    known = np.unique([*old.values(), *values.tolist()])
    if len(known) == 1:
        return Placement(grid, (0,) * len(values))
    fit = fit_steps(known, stated, grid.step if grid.known else None)
    if fit is None:
        raise _not_together(grid, values, known, dim)
    return replace(_placement(grid, old, fit, known, values, dim), joined=tuple(joined))


def _placement(
    grid: TimeGrid,
    old: dict[int, float],
    fit: Fit,
    known: NDArray[np.float64],
    values: NDArray[np.float64],
    dim: str,
) -> Placement:
    start, step, time_indices = fit
    index = dict(zip(known.tolist(), time_indices.tolist(), strict=True))
    length = int(time_indices[-1]) + 1
    moves = {i: index[value] for i, value in old.items()}
    factor, shift = _affine(sorted(moves.items()))
    if factor:
        length = max(length, (grid.length - 1) * factor + shift + 1 if old else 0)
    indices = np.array([index[value] for value in values.tolist()])
    _check_indices(grid, indices, values, dim, length, start, step)
    off = np.abs(known - (start + step * time_indices)) / step
    is_regular = off.max() <= NOISE and len(known) == length
    times = None if is_regular else {i: value for value, i in index.items()}
    farthest = np.abs(values - (start + step * indices)).max() / step
    return Placement(
        TimeGrid(start, step, length, movable=True, times=times),
        tuple(indices.tolist()),
        factor or 1,
        shift,
        None if factor else moves,
        float(farthest) if farthest > NOISE else 0.0,
    )


def _affine(moves: list[tuple[int, int]]) -> tuple[int, int]:
    """Return factor and shift of a move of stored timepoints from old to new indices; factor 0 without a move."""
    if not moves:
        return 1, 0
    (first, new_first), (last, new_last) = moves[0], moves[-1]
    factor = max(1, round((new_last - new_first) / (last - first))) if last > first else 1
    shift = new_first - first * factor
    if any(new != old * factor + shift for old, new in moves) or shift < 0:
        return 0, 0
    return factor, shift


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
            f"{grid.start:g}. Its translation stays as it is; write to a new image, or set another."
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


def _check_indices(
    grid: TimeGrid,
    indices: NDArray[np.int64],
    values: NDArray[np.float64],
    dim: str,
    length: int,
    start: float,
    step: float,
) -> None:
    """Raise for two coordinates at one index, and for too many empty timepoints in an array that grows to a length."""
    if length - grid.length - len(indices) > MAX_EMPTY:
        raise InvalidArgumentError(
            f"The coordinates of dim {dim!r} reach from {values.min():g} to {values.max():g}; with timepoints "
            f"{step:g} apart from {start:g} on, more than {MAX_EMPTY} would be empty."
        )
    if len(np.unique(indices)) < len(indices):
        _refuse_twice(grid, values, dim)


Fit: TypeAlias = "tuple[float, float, NDArray[np.int64]]"
"""Start, step, and the index of each time."""

_MAX_PARTS = 3
"""Maximum number of steps in the smallest gap of jittered times (a time of the film is missing in it): with more steps
any times would fit."""

_MAX_TRIED = 64
"""Maximum number of steps from the first to the last time for which all steps are tried; else steps are counted."""


def fit_steps(times: NDArray[np.float64], stated: float | None, current: float | None = None) -> Fit | None:
    """Return start, step and indices of times (at least two, ascending); None if no step fits.

    Most times may deviate slightly from an even step. The result depends on the set alone, so that the order of writing
    makes no difference. ``stated`` and ``current`` are steps that are returned if they fit: differences of floats are
    not exact.

    >>> fit_steps(np.array([0.0, 61, 121, 180, 301]), None)
    (0.0, 60.0, array([0, 1, 2, 3, 5]))
    """
    gaps = np.diff(times)
    smallest = float(gaps.min())
    for step in (stated, current):
        if step is not None and smallest >= (1 - 2 * JITTER) * step:
            places = np.rint((times - times[0]) / step)
            if _is_near(times, float(times[0]), step, places, NOISE):
                return float(times[0]), step, places.astype(np.int64)
    exact = _exact(times, gaps, smallest)
    if exact is None and stated is not None and smallest >= (1 - 2 * JITTER) * stated:
        places = np.rint((times - times[0]) / stated)
        if _is_near(times, float(times[0]), stated, places, JITTER):
            return float(times[0]), stated, places.astype(np.int64)
    return exact or _jittered(times, gaps, smallest, current)


def _exact(times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float) -> Fit | None:
    """Divide the smallest gap into as few parts as meet all times."""
    for parts in range(1, MAX_STEPS_PER_GAP + 1):
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
    """Return the largest step with all times near to it; of equally good steps, the one of the fewest digits.

    Parts of the smallest gap are tried too, since timepoints between others may be written later.
    """
    for parts in range(1, _MAX_PARTS + 1):
        for places in (_counted(gaps, smallest / parts), *_tried(times, smallest, parts)):
            fit = _line(times, places)
            if fit is not None:
                return fit
    # The times are far from even, but all are near to the current steps.
    return None if current is None else _line(times, np.rint((times - times[0]) / current))


def _counted(gaps: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Count the steps to each time, from the shortest gap to the longest: each makes the step more exact."""
    counts, total, number = np.zeros(len(gaps)), 0.0, 0.0
    for place in np.argsort(gaps, kind="stable"):
        counts[place] = max(1.0, np.rint(gaps[place] / step))
        total, number = total + gaps[place], number + counts[place]
        step = total / number
    return np.concatenate([[0.0], np.cumsum(counts)])


def _tried(times: NDArray[np.float64], smallest: float, parts: int) -> Iterator[NDArray[np.float64]]:
    """Yield the step numbers of few times for every step into which the smallest gap may be divided."""
    # Either end of the gap may be off by a twentieth of a step.
    longest, shortest = smallest / (parts - 2 * JITTER), smallest / (parts + 2 * JITTER)
    most = (times[-1] - times[0]) / shortest
    if most > _MAX_TRIED:
        return
    steps = np.geomspace(longest, shortest, int(np.ceil(most * np.log(longest / shortest) / 0.02)) + 2)
    places = np.rint((times - times[0]) / steps[:, None])
    _, firsts = np.unique(places, axis=0, return_index=True)
    for first in np.sort(firsts):
        yield places[first]


def _line(times: NDArray[np.float64], places: NDArray[np.float64]) -> Fit | None:
    """Return start and step of a line through times with given step numbers; None if some are too far off."""
    if not (np.diff(places) >= 1).all():
        return None
    slope = float(times[-1] - times[0]) / float(places[-1])
    # The first time is the start if that is near enough to all; the step has as few digits as possible.
    if _is_near(times, float(times[0]), slope, places):
        start = float(times[0])
        step = next(step for step in _shorter(slope) if _is_near(times, start, step, places))
        return start, step, places.astype(np.int64)
    slope = _flattest(times, places, slope)
    if not slope > 0 or _spread(times, places, slope) / 2 > JITTER * slope * (1 + 1e-6):
        return None
    step = next(
        step for step in _shorter(slope)
        if step == slope or _spread(times, places, step) / 2 <= JITTER * step * (1 + 1e-6)
    )  # fmt: skip
    offsets = times - step * places
    middle = float(offsets.max() + offsets.min()) / 2
    starts = (float(times[0]), *_shorter(middle))
    start = next((start for start in starts if _is_near(times, start, step, places)), middle)
    return start, step, places.astype(np.int64)


def _flattest(times: NDArray[np.float64], places: NDArray[np.float64], slope: float) -> float:
    """Return the step that minimises the largest distance of times from their step numbers (the spread is convex)."""
    reach = 8 * JITTER / float(places[-1])
    low, high = slope * (1 - reach), slope * (1 + reach)
    for _ in range(60):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _spread(times, places, left) <= _spread(times, places, right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _spread(times: NDArray[np.float64], places: NDArray[np.float64], step: float) -> float:
    offsets = times - step * places
    return float(offsets.max() - offsets.min())


def _shorter(number: float) -> Iterator[float]:
    """Yield a number rounded to ever more digits, then the number itself."""
    clean = float(f"{number:.12g}")  # otherwise the noise of floats decides how a half is rounded
    yield from (float(f"{clean:.{digits}g}") for digits in range(1, 12))
    yield from (float(f"{number:.{digits}g}") for digits in range(12, 16))
    yield number


def _is_near(
    times: NDArray[np.float64],
    start: float,
    step: float,
    places: NDArray[np.float64],
    tolerance: float = JITTER,
) -> bool:
    """Return whether all times are near their own steps, and no two share a step."""
    if not step > 0 or not (np.diff(places) >= 1).all():
        return False
    return bool(np.abs(times - start - step * places).max() <= tolerance * step * (1 + 1e-6))
