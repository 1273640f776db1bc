"""Describe coordinates as regular grids: scale, translation and index.

OME-NGFF stores a scale and a translation for each axis, so coordinates must be on a regular grid: within a hundredth of
a step (`TOLERANCE`), times within a twentieth (`JITTER`). With a start of 0 and a step of 60, the time 61.5 is
timepoint 1, off by 0.025 steps. `xarray_fit` assigns timepoints to indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.spec.units import LARGEST_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TOLERANCE = 0.01
"""Maximum distance of a coordinate from a regular grid, in steps."""

JITTER = 0.05
"""Maximum distance of a timepoint from the grid, in steps; its real time is stored in addition."""

MAX_STEPS_PER_GAP = 10
"""Maximum number of steps in the smallest gap between timepoints."""

NOISE = 1e-4
"""Maximum distance, in steps, that counts as zero: differences of floats are not exact."""

MAX_EMPTY = 1_000_000
"""Maximum number of timepoints that a write may leave empty."""


def checked_values(values: NDArray[Any], dim: str) -> NDArray[np.float64]:
    """Return coordinates as floats; raise InvalidArgumentError for dates, texts, and numbers that are not finite."""
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} must have one number per index, in the unit of the axis; found "
            f"{values.dtype} of shape {values.shape}. Convert it, for example with assign_coords({dim}=...)."
        )
    numbers = values.astype(np.float64)
    if not (np.abs(numbers) <= LARGEST_SIZE).all():
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} contains values that are not finite numbers up to {LARGEST_SIZE:g}."
        )
    return numbers


def regular_step(values: NDArray[np.float64], dim: str, stated: float | None = None) -> float | None:
    """Return the step of coordinates, above 0; None for a single coordinate without a stated step.

    ``stated`` is the step of the grid from which the coordinates come, if known; it is returned if it fits, since
    differences of floats are not exact. Raise InvalidArgumentError for coordinates that do not ascend or are not
    regular.
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
    indices = np.arange(count)
    distances = np.abs(values - (values[0] + step * indices))
    if distances.max() > TOLERANCE * step:
        worst = int(distances.argmax())
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} is not evenly spaced: index {worst} lies at {values[worst]:g}, but even "
            f"steps of {step:g} would put it at {values[0] + step * worst:g}. An OME-NGFF axis has one scale; "
            f"resample the data, or give the nominal values with assign_coords({dim}=...)."
        )
    if stated is not None and abs(step - stated) * (count - 1) <= TOLERANCE * stated:
        return stated
    return rounded(step, float(np.abs(values).max()), count - 1)


def rounded(step: float, largest: float, count: int = 1) -> float:
    """Return the shortest decimal within the float error of a step: 0.1 for 0.09999999999999964.

    The step is the difference of two coordinates of at most ``largest``, divided by ``count``.
    """
    noise = 4 * float(np.finfo(np.float64).eps) * max(largest, step) / count
    shorter = (float(f"{step:.{digits}g}") for digits in range(1, 16))
    return next((short for short in shorter if abs(short - step) <= noise), step)


@dataclass(frozen=True)
class TimeGrid:
    """The timepoints of an array."""

    start: float
    """Coordinate of the first timepoint."""
    step: float
    length: int
    known: bool = True
    """Whether the step was stated or measured; a single timepoint has step 1 until a second one exists."""
    movable: bool = False
    """Whether start and step follow from written timepoints, not from a user, so that writes may change them."""
    times: Mapping[int, float] | None = None
    """Real times by index, if one is off its step or some were not written; of a movable grid, all written times."""

    @property
    def known_times(self) -> dict[int, float]:
        """Real time of each written timepoint, by index."""
        if self.times is not None:
            return dict(self.times)
        return {i: self.start + self.step * i for i in range(self.length)}

    def time_of(self, index: int) -> float:
        """Return the real time of a timepoint; the time of its step if unknown."""
        return (self.times or {}).get(index, self.start + self.step * index)


@dataclass(frozen=True)
class Joined:
    """A coordinate (``time``) near a timepoint whose stored time (``known``) differs."""

    index: int
    time: float
    known: float


@dataclass(frozen=True)
class Placement:
    """The indices of timepoints in an array, and the grid after the write, on which stored timepoints keep their times.

    A timepoint stored at index ``i`` moves to ``i * factor + shift``, or to ``moves[i]``.
    """

    grid: TimeGrid
    indices: tuple[int, ...]
    factor: int = 1
    shift: int = 0
    moves: Mapping[int, int] | None = None
    off: float = 0.0
    """Largest distance of a coordinate from its step, in steps; 0 for noise."""
    joined: tuple[Joined, ...] = ()
    """Coordinates near a timepoint of another time: they join it only if it has no voxels yet of their channels."""

    @property
    def is_moved(self) -> bool:
        """Whether stored timepoints move to other indices."""
        return self.moves is not None or (self.factor, self.shift) != (1, 0)

    def moved(self, index: int) -> int | None:
        """Return the new index of a stored timepoint; None for one that was never written."""
        return index * self.factor + self.shift if self.moves is None else self.moves.get(index)
