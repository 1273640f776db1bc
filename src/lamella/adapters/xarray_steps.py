"""Find start and step of a set of times, most of which deviate slightly from an even step.

The result depends on the set alone, so that the order of writing makes no difference: the times 0, 61, 121, 180 and 301
are steps 0, 1, 2, 3 and 5 of 60. Pure arithmetic on numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lamella.adapters.xarray_grid import FINEST, JITTER, NOISE, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Fit: TypeAlias = "tuple[float, float, NDArray[np.int64]]"
"""Start, step, and the index of each time."""

_MOST_PARTS = 3
"""Maximum number of steps in the smallest gap of jittered times (a time of the film is missing in it): with more steps
any times would fit."""

_MOST_TRIED = 64
"""Maximum number of steps from the first to the last time for which all steps are tried; else steps are counted."""


def fit_steps(times: NDArray[np.float64], stated: float | None, current: float | None = None) -> Fit | None:
    """Return start, step and indices of times (at least two, ascending); None if no step fits.

    ``stated`` and ``current`` are steps that are returned if they fit: differences of floats are not exact.

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
    """Return the largest step with all times near to it; of equally good steps, the one of the fewest digits.

    Parts of the smallest gap are tried too, since timepoints between others may be written later.
    """
    for parts in range(1, _MOST_PARTS + 1):
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
    if most > _MOST_TRIED:
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
