"""Compute the time axis of an image from its timepoints: start, step and index of each, in any order of writing.

The times 0, 60 and 30 have start 0, step 30, and indices 0, 2 and 1. A grid is movable if start and step were computed
from written times, not set by a user: a write may then change them.

The step is the largest number that divides all written times, counted from the first time; it is at least a tenth of
the smallest gap. If there is no such step, it is the largest one with all times near multiples, off by at most
a twentieth of a step: 60 for 0, 61, 121 and 180 (`fit_steps`).
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
    JoinedTime,
    Placement,
    TimeGrid,
    regular_step,
    rounded,
)
from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def first_grid(new_times: NDArray[np.float64], dim: str, exact_step: float | None) -> Placement:
    """Compute the grid of the first timepoints of a new array, which ascend in even steps.

    >>> first_grid(np.array([3.0]), "t", None).grid
    TimeGrid(start=3.0, step=1.0, length=1, has_step=False, is_movable=True, times=None)
    >>> first_grid(np.array([0.0, 60, 121, 180, 241]), "t", None).grid.step
    60.0
    """
    count = len(new_times)
    if count == 1 or not (np.diff(new_times) > 0).all():
        step = regular_step(new_times, dim, exact_step)
        grid = TimeGrid(float(new_times[0]), step or 1.0, count, step is not None, is_movable=True)
        return Placement(grid, tuple(range(count)))
    fit = fit_steps(new_times, exact_step)
    if fit is None or not np.array_equal(fit[2], np.arange(count)):
        regular_step(new_times, dim, exact_step)  # raises with the coordinate that is off
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} is not evenly spaced; give the nominal times with assign_coords({dim}=...)."
        )
    return _place_by_fit(TimeGrid(fit[0], fit[1], count, is_movable=True), {}, fit, new_times, new_times, dim)


def place(
    grid: TimeGrid, new_times: NDArray[np.float64], dim: str, exact_step: float | None = None
) -> Placement:
    """Assign written times, in any order, to indices of an existing array; a movable grid may change.

    ``exact_step`` is the step that `to_xarray` stored with the coordinates, if any. Raise InvalidArgumentError for a
    coordinate off the grid, or for two at one index.

    >>> one = TimeGrid(0.0, 1.0, 1, has_step=False, is_movable=True)
    >>> place(one, np.array([30.0]), "t").grid.step
    30.0
    >>> place(TimeGrid(1.0, 1.0, 2, is_movable=True), np.array([0.0]), "t").shift
    1
    >>> place(TimeGrid(0.0, 2.0, 3), np.array([1.0]), "t")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The coordinate 1 of dim 't' does not lie on the timepoints of the image, ...
    """
    offsets = (new_times - grid.start) / grid.step
    indices = np.rint(offsets).astype(np.int64)
    off = float(np.abs(offsets - indices).max(initial=0))
    is_on_grid = (
        grid.has_step and off <= (NOISE if grid.is_movable else JITTER) and not indices.min(initial=0) < 0
    )
    if is_on_grid and (not grid.is_movable or (grid.times is None and _continues(indices, grid.length))):
        return _place_on_grid(grid, indices, new_times, off, dim)
    if not grid.is_movable:
        raise _not_on_grid(grid, new_times, offsets, indices, dim)
    return _refit(grid, new_times, indices if grid.has_step else None, dim, exact_step)


def _continues(indices: NDArray[np.int64], length: int) -> bool:
    """Return whether the indices of new timepoints continue the existing ones without gaps."""
    new = np.unique(indices[indices >= length])
    return not new.size or bool(new[-1] - length + 1 == new.size)


def _place_on_grid(
    grid: TimeGrid, indices: NDArray[np.int64], new_times: NDArray[np.float64], off: float, dim: str
) -> Placement:
    """Place timepoints on a grid whose start and step do not change."""
    length = max(grid.length, int(indices.max(initial=-1)) + 1)
    _check_indices(grid, indices, new_times, dim, length, grid.start, grid.step)
    times = grid.times
    if off > NOISE or times is not None:
        times, old = dict(times or {}), times or {}
        for index, time in zip(indices.tolist(), new_times.tolist(), strict=True):
            times[index] = min(time, old.get(index, time))  # the earlier of the two
    joined = tuple(
        JoinedTime(index, time, grid.time_of(index))
        for index, time in zip(indices.tolist(), new_times.tolist(), strict=True)
        if index < grid.length and abs(time - grid.time_of(index)) > NOISE * grid.step
    )
    new_grid = replace(grid, length=length, times=times)
    return Placement(new_grid, tuple(indices.tolist()), off=off if off > NOISE else 0.0, joined=joined)


def _refit(
    grid: TimeGrid,
    new_times: NDArray[np.float64],
    nearest: NDArray[np.int64] | None,
    dim: str,
    exact_step: float | None,
) -> Placement:
    """Place timepoints on a new grid, whose start and step are computed from all stored and written times."""
    old, new_times = grid.written_times_by_index, new_times.copy()
    if len(np.unique(new_times)) < len(new_times):
        _raise_duplicate(grid, new_times, dim)
    joined = []
    for number, time in enumerate(new_times.tolist()):
        # A time within a twentieth of a step of a stored timepoint is that timepoint: rewritten, or other channels.
        index = int(nearest[number]) if nearest is not None else 0
        if index not in old:
            continue
        distance = abs(time - old[index])
        if distance <= (NOISE * grid.step if grid.has_step else 0):
            new_times[number] = old[index]
        elif (
            grid.has_step and min(distance, abs(time - grid.start - grid.step * index)) <= JITTER * grid.step
        ):
            joined.append(JoinedTime(index, time, old[index]))
            new_times[number] = old[index] = min(time, old[index])  # the earlier of the two
    written = np.unique([*old.values(), *new_times.tolist()])
    if len(written) == 1:
        return Placement(grid, (0,) * len(new_times))
    fit = fit_steps(written, exact_step, grid.step if grid.has_step else None)
    if fit is None:
        raise _no_common_step(grid, new_times, written, dim)
    return replace(_place_by_fit(grid, old, fit, written, new_times, dim), joined=tuple(joined))


def _place_by_fit(
    grid: TimeGrid,
    old: dict[int, float],
    fit: Fit,
    written: NDArray[np.float64],
    new_times: NDArray[np.float64],
    dim: str,
) -> Placement:
    """Place timepoints on the grid of a fit; ``old`` are stored times by index, ``written`` those and the new ones."""
    start, step, time_indices = fit
    index_of = dict(zip(written.tolist(), time_indices.tolist(), strict=True))
    length = int(time_indices[-1]) + 1
    moves = {old_index: index_of[time] for old_index, time in old.items()}
    factor, shift = _factor_and_shift(sorted(moves.items()))
    if factor:
        length = max(length, (grid.length - 1) * factor + shift + 1 if old else 0)
    indices = np.array([index_of[time] for time in new_times.tolist()])
    _check_indices(grid, indices, new_times, dim, length, start, step)
    off = np.abs(written - (start + step * time_indices)) / step
    is_regular = off.max() <= NOISE and len(written) == length
    times = None if is_regular else {index: time for time, index in index_of.items()}
    farthest = np.abs(new_times - (start + step * indices)).max() / step
    return Placement(
        TimeGrid(start, step, length, is_movable=True, times=times),
        tuple(indices.tolist()),
        factor or 1,
        shift,
        None if factor else moves,
        float(farthest) if farthest > NOISE else 0.0,
    )


def _factor_and_shift(moves: list[tuple[int, int]]) -> tuple[int, int]:
    """Return factor and shift that lead from old to new indices of stored timepoints; (0, 0) if none do."""
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
    new_times: NDArray[np.float64],
    offsets: NDArray[np.float64],
    indices: NDArray[np.int64],
    dim: str,
) -> InvalidArgumentError:
    if indices.min() < 0 and np.abs(offsets - indices).max() <= JITTER:
        return InvalidArgumentError(
            f"The coordinate {new_times.min():g} of dim {dim!r} lies before the first timepoint of the image, "
            f"{grid.start:g}. Its translation stays as it is; write to a new image, or set another."
        )
    worst = new_times[int(np.abs(offsets - np.rint(offsets)).argmax())]
    return InvalidArgumentError(
        f"The coordinate {worst:g} of dim {dim!r} does not lie on the timepoints of the image, which start at "
        f"{grid.start:g} and are {grid.step:g} apart. Give the nominal times with assign_coords({dim}=...), or make "
        "the image with create_zeros and the scale you want before writing to it."
    )


def _no_common_step(
    grid: TimeGrid, new_times: NDArray[np.float64], written: NDArray[np.float64], dim: str
) -> InvalidArgumentError:
    gap = float(np.diff(written).min()) if len(written) > 1 else grid.step
    return InvalidArgumentError(
        f"The coordinate {', '.join(f'{time:g}' for time in new_times[:5])} of dim {dim!r} does not lie on the "
        f"timepoints of the image, which start at {grid.start:g} and are {grid.step:g} apart: a step that meets all of "
        f"them would be below a tenth of the smallest gap between two, {gap:g}. Give the nominal times with "
        f"assign_coords({dim}=...), or make the image with create_zeros and the scale you want before writing to it."
    )


def _raise_duplicate(grid: TimeGrid, new_times: NDArray[np.float64], dim: str) -> None:
    raise InvalidArgumentError(
        f"The coordinates {', '.join(f'{time:g}' for time in new_times[:10])} of dim {dim!r} name a timepoint twice: "
        f"the timepoints of the image are {grid.step:g} apart."
    )


def _check_indices(
    grid: TimeGrid,
    indices: NDArray[np.int64],
    new_times: NDArray[np.float64],
    dim: str,
    length: int,
    start: float,
    step: float,
) -> None:
    """Raise for two coordinates at one index, and for too many empty timepoints in an array that grows to a length."""
    if length - grid.length - len(indices) > MAX_EMPTY:
        raise InvalidArgumentError(
            f"The coordinates of dim {dim!r} reach from {new_times.min():g} to {new_times.max():g}; with timepoints "
            f"{step:g} apart from {start:g} on, more than {MAX_EMPTY} would be empty."
        )
    if len(np.unique(indices)) < len(indices):
        _raise_duplicate(grid, new_times, dim)


Fit: TypeAlias = "tuple[float, float, NDArray[np.int64]]"
"""Start, step, and the index of each time."""

_MAX_JITTERED_STEPS = 3
"""Maximum number of steps in the smallest gap of jittered times; with more, any times would fit."""

_MAX_TRIED = 64
"""Maximum number of steps from the first to the last time for which all possible step lengths are tried."""


def fit_steps(
    times: NDArray[np.float64], exact_step: float | None, current: float | None = None
) -> Fit | None:
    """Return start, step and indices of times (at least two, ascending); None if no step fits.

    The result does not depend on the order of writing. ``exact_step`` and ``current`` are steps that are returned if
    they fit, because differences of floats are not exact.

    >>> fit_steps(np.array([0.0, 61, 121, 180, 301]), None)
    (0.0, 60.0, array([0, 1, 2, 3, 5]))
    """
    gaps = np.diff(times)
    smallest = float(gaps.min())
    for step in (exact_step, current):
        if step is not None and smallest >= (1 - 2 * JITTER) * step:
            indices = np.rint((times - times[0]) / step)
            if _is_near(times, float(times[0]), step, indices, NOISE):
                return float(times[0]), step, indices.astype(np.int64)
    exact = _fit_exactly(times, gaps, smallest)
    if exact is None and exact_step is not None and smallest >= (1 - 2 * JITTER) * exact_step:
        indices = np.rint((times - times[0]) / exact_step)
        if _is_near(times, float(times[0]), exact_step, indices, JITTER):
            return float(times[0]), exact_step, indices.astype(np.int64)
    return exact or _fit_jittered(times, gaps, smallest, current)


def _fit_exactly(times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float) -> Fit | None:
    """Divide the smallest gap into the fewest steps that divide all times too; None if there is no such number."""
    for steps_per_gap in range(1, MAX_STEPS_PER_GAP + 1):
        counts = np.rint(gaps * (steps_per_gap / smallest))
        indices = np.concatenate([[0.0], np.cumsum(counts)])
        step = float(times[-1] - times[0]) / indices[-1]
        if np.abs(times - (times[0] + step * indices)).max() <= NOISE * step:
            largest = float(np.abs(times).max())
            return float(times[0]), rounded(step, largest, int(indices[-1])), indices.astype(np.int64)
    return None


def _fit_jittered(
    times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float, current: float | None
) -> Fit | None:
    """Return the largest step with all times near its multiples; of equally good steps, the one with the fewest digits.

    The smallest gap may be several steps, because timepoints in it may be written later.
    """
    for steps_per_gap in range(1, _MAX_JITTERED_STEPS + 1):
        for indices in (
            _count_steps(gaps, smallest / steps_per_gap),
            *_try_steps(times, smallest, steps_per_gap),
        ):
            fit = _fit_line(times, indices)
            if fit is not None:
                return fit
    # The times are far from even, but all are near multiples of the current step.
    return None if current is None else _fit_line(times, np.rint((times - times[0]) / current))


def _count_steps(gaps: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the index of each time by counting the steps in each gap, the shortest first.

    After each gap the step is the mean of all steps so far, which is more exact for the longer gaps.
    """
    counts, total_time, total_steps = np.zeros(len(gaps)), 0.0, 0.0
    for gap in np.argsort(gaps, kind="stable"):
        counts[gap] = max(1.0, np.rint(gaps[gap] / step))
        total_time, total_steps = total_time + gaps[gap], total_steps + counts[gap]
        step = total_time / total_steps
    return np.concatenate([[0.0], np.cumsum(counts)])


def _try_steps(
    times: NDArray[np.float64], smallest: float, steps_per_gap: int
) -> Iterator[NDArray[np.float64]]:
    """Yield the possible indices of few times for ``steps_per_gap`` steps in the smallest gap, longest step first."""
    # Either end of the gap may be off by a twentieth of a step.
    longest, shortest = smallest / (steps_per_gap - 2 * JITTER), smallest / (steps_per_gap + 2 * JITTER)
    max_steps = (times[-1] - times[0]) / shortest
    if max_steps > _MAX_TRIED:
        return
    steps = np.geomspace(longest, shortest, int(np.ceil(max_steps * np.log(longest / shortest) / 0.02)) + 2)
    indices = np.rint((times - times[0]) / steps[:, None])
    _, firsts = np.unique(indices, axis=0, return_index=True)
    for first in np.sort(firsts):
        yield indices[first]


def _fit_line(times: NDArray[np.float64], indices: NDArray[np.float64]) -> Fit | None:
    """Return the fit of times to these indices; None if a time is off by more than a twentieth of a step."""
    if not (np.diff(indices) >= 1).all():
        return None
    slope = float(times[-1] - times[0]) / float(indices[-1])
    # If the first time is a start with which all times fit, only the step is rounded to as few digits as possible.
    if _is_near(times, float(times[0]), slope, indices):
        start = float(times[0])
        step = next(step for step in _shorter(slope) if _is_near(times, start, step, indices))
        return start, step, indices.astype(np.int64)
    slope = _step_of_least_spread(times, indices, slope)
    if not slope > 0 or _spread(times, indices, slope) / 2 > JITTER * slope * (1 + 1e-6):
        return None
    step = next(
        step for step in _shorter(slope)
        if step == slope or _spread(times, indices, step) / 2 <= JITTER * step * (1 + 1e-6)
    )  # fmt: skip
    offsets = times - step * indices
    middle = float(offsets.max() + offsets.min()) / 2
    starts = (float(times[0]), *_shorter(middle))
    start = next((start for start in starts if _is_near(times, start, step, indices)), middle)
    return start, step, indices.astype(np.int64)


def _step_of_least_spread(times: NDArray[np.float64], indices: NDArray[np.float64], slope: float) -> float:
    """Return the step with the smallest `_spread`, which is convex, by ternary search."""
    reach = 8 * JITTER / float(indices[-1])
    low, high = slope * (1 - reach), slope * (1 + reach)
    for _ in range(60):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _spread(times, indices, left) <= _spread(times, indices, right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _spread(times: NDArray[np.float64], indices: NDArray[np.float64], step: float) -> float:
    """Return the difference between the largest and the smallest offset of times from multiples of a step."""
    offsets = times - step * indices
    return float(offsets.max() - offsets.min())


def _shorter(number: float) -> Iterator[float]:
    """Yield a number rounded to 1, 2, 3, ... digits, then the number itself."""
    clean = float(f"{number:.12g}")  # otherwise float errors decide whether a half is rounded up or down
    yield from (float(f"{clean:.{digits}g}") for digits in range(1, 12))
    yield from (float(f"{number:.{digits}g}") for digits in range(12, 16))
    yield number


def _is_near(
    times: NDArray[np.float64],
    start: float,
    step: float,
    indices: NDArray[np.float64],
    tolerance: float = JITTER,
) -> bool:
    """Return whether all times are within ``tolerance`` steps of their indices, and the indices ascend."""
    if not step > 0 or not (np.diff(indices) >= 1).all():
        return False
    return bool(np.abs(times - start - step * indices).max() <= tolerance * step * (1 + 1e-6))
