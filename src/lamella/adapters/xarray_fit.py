"""Compute the time axis of an image from its timepoints: start, step and index of each, in any order of writing.

A grid is movable if it follows from writes alone. Its step is the largest one that all written times are multiples of,
and at least a tenth of the smallest gap; if there is none, the largest one from whose multiples no time differs by more
than a twentieth of it (`fit_steps`). The times 0, 60 and 30 have start 0, step 30, and indices 0, 2 and 1.
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

    ``stated`` is the step of the grid from which the coordinates come, if known. Raise InvalidArgumentError for a
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
    is_on_grid = grid.known and off <= (NOISE if grid.movable else JITTER) and not indices.min(initial=0) < 0
    if is_on_grid and (not grid.movable or (grid.times is None and _is_run(indices, grid.length))):
        return _on_grid(grid, indices, values, off, dim)
    if not grid.movable:
        raise _not_on_grid(grid, values, offsets, indices, dim)
    return _refitted(grid, values, indices if grid.known else None, dim, stated)


def _is_run(indices: NDArray[np.int64], length: int) -> bool:
    """Return whether new timepoints follow the existing ones without gaps."""
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
            times[index] = min(value, old.get(index, value))  # the earlier of the two
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
            values[i] = old[index] = min(value, old[index])  # the earlier of the two
    written = np.unique([*old.values(), *values.tolist()])
    if len(written) == 1:
        return Placement(grid, (0,) * len(values))
    fit = fit_steps(written, stated, grid.step if grid.known else None)
    if fit is None:
        raise _no_common_step(grid, values, written, dim)
    return replace(_placement(grid, old, fit, written, values, dim), joined=tuple(joined))


def _placement(
    grid: TimeGrid,
    old: dict[int, float],
    fit: Fit,
    written: NDArray[np.float64],
    values: NDArray[np.float64],
    dim: str,
) -> Placement:
    start, step, time_indices = fit
    index = dict(zip(written.tolist(), time_indices.tolist(), strict=True))
    length = int(time_indices[-1]) + 1
    moves = {i: index[value] for i, value in old.items()}
    factor, shift = _affine(sorted(moves.items()))
    if factor:
        length = max(length, (grid.length - 1) * factor + shift + 1 if old else 0)
    indices = np.array([index[value] for value in values.tolist()])
    _check_indices(grid, indices, values, dim, length, start, step)
    off = np.abs(written - (start + step * time_indices)) / step
    is_regular = off.max() <= NOISE and len(written) == length
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


def _no_common_step(
    grid: TimeGrid, values: NDArray[np.float64], written: NDArray[np.float64], dim: str
) -> InvalidArgumentError:
    gap = float(np.diff(written).min()) if len(written) > 1 else grid.step
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

_MAX_JITTERED_STEPS = 3
"""Maximum number of steps in the smallest gap of jittered times, in which times are missing: any times fit more."""
_MAX_TRIED = 64
"""Maximum number of steps from the first to the last time for which all steps are tried; else steps are counted."""


def fit_steps(times: NDArray[np.float64], stated: float | None, current: float | None = None) -> Fit | None:
    """Return start, step and indices of times (at least two, ascending); None if no step fits.

    The result does not depend on the order of writing. ``stated`` and ``current`` are steps that are returned if they
    fit: differences of floats are not exact.


    >>> fit_steps(np.array([0.0, 61, 121, 180, 301]), None)
    (0.0, 60.0, array([0, 1, 2, 3, 5]))
    """
    gaps = np.diff(times)
    smallest = float(gaps.min())
    for step in (stated, current):
        if step is not None and smallest >= (1 - 2 * JITTER) * step:
            indices = np.rint((times - times[0]) / step)
            if _is_near(times, float(times[0]), step, indices, NOISE):
                return float(times[0]), step, indices.astype(np.int64)
    exact = _exact(times, gaps, smallest)
    if exact is None and stated is not None and smallest >= (1 - 2 * JITTER) * stated:
        indices = np.rint((times - times[0]) / stated)
        if _is_near(times, float(times[0]), stated, indices, JITTER):
            return float(times[0]), stated, indices.astype(np.int64)
    return exact or _jittered(times, gaps, smallest, current)


def _exact(times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float) -> Fit | None:
    """Divide the smallest gap into the fewest steps of which all times are multiples; None if there are too many."""
    for steps_per_gap in range(1, MAX_STEPS_PER_GAP + 1):
        counts = np.rint(gaps * (steps_per_gap / smallest))
        indices = np.concatenate([[0.0], np.cumsum(counts)])
        step = float(times[-1] - times[0]) / indices[-1]
        if np.abs(times - (times[0] + step * indices)).max() <= NOISE * step:
            largest = float(np.abs(times).max())
            return float(times[0]), rounded(step, largest, int(indices[-1])), indices.astype(np.int64)
    return None


def _jittered(
    times: NDArray[np.float64], gaps: NDArray[np.float64], smallest: float, current: float | None
) -> Fit | None:
    """Return the largest step with all times near its multiples; of equally good steps, the one of the fewest digits.

    The smallest gap may have several steps, since timepoints between others may be written later.
    """
    for steps_per_gap in range(1, _MAX_JITTERED_STEPS + 1):
        for indices in (_counted(gaps, smallest / steps_per_gap), *_tried(times, smallest, steps_per_gap)):
            fit = _line(times, indices)
            if fit is not None:
                return fit
    # The times are far from even, but all are near multiples of the current step.
    return None if current is None else _line(times, np.rint((times - times[0]) / current))


def _counted(gaps: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the index of each time by counting steps, first in short gaps: each makes the step more exact."""
    counts, total, number = np.zeros(len(gaps)), 0.0, 0.0
    for gap in np.argsort(gaps, kind="stable"):
        counts[gap] = max(1.0, np.rint(gaps[gap] / step))
        total, number = total + gaps[gap], number + counts[gap]
        step = total / number
    return np.concatenate([[0.0], np.cumsum(counts)])


def _tried(times: NDArray[np.float64], smallest: float, steps_per_gap: int) -> Iterator[NDArray[np.float64]]:
    """Yield the indices of few times for every step of which the smallest gap may have some number."""
    # Either end of the gap may be off by a twentieth of a step.
    longest, shortest = smallest / (steps_per_gap - 2 * JITTER), smallest / (steps_per_gap + 2 * JITTER)
    most = (times[-1] - times[0]) / shortest
    if most > _MAX_TRIED:
        return
    steps = np.geomspace(longest, shortest, int(np.ceil(most * np.log(longest / shortest) / 0.02)) + 2)
    indices = np.rint((times - times[0]) / steps[:, None])
    _, firsts = np.unique(indices, axis=0, return_index=True)
    for first in np.sort(firsts):
        yield indices[first]


def _line(times: NDArray[np.float64], indices: NDArray[np.float64]) -> Fit | None:
    """Return start and step for times with given indices; None if some times are too far off."""
    if not (np.diff(indices) >= 1).all():
        return None
    slope = float(times[-1] - times[0]) / float(indices[-1])
    # The start is the first time if all times fit; the step has as few digits as possible.
    if _is_near(times, float(times[0]), slope, indices):
        start = float(times[0])
        step = next(step for step in _shorter(slope) if _is_near(times, start, step, indices))
        return start, step, indices.astype(np.int64)
    slope = _flattest(times, indices, slope)
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


def _flattest(times: NDArray[np.float64], indices: NDArray[np.float64], slope: float) -> float:
    """Return the step with the smallest spread of times, by ternary search: the spread is convex."""
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
    offsets = times - step * indices
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
    indices: NDArray[np.float64],
    tolerance: float = JITTER,
) -> bool:
    """Return whether all times are near the steps of their indices, and the indices ascend."""
    if not step > 0 or not (np.diff(indices) >= 1).all():
        return False
    return bool(np.abs(times - start - step * indices).max() <= tolerance * step * (1 + 1e-6))
