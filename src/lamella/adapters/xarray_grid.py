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


def regular_step(values: NDArray[np.float64], dim: str, exact_step: float | None = None) -> float | None:
    """Return the step of coordinates, above 0; None for a single coordinate without an exact step.

    ``exact_step`` is the step that `to_xarray` stored with the coordinates, if any; it is returned if it fits, because
    differences of floats are not exact. Raise InvalidArgumentError for coordinates that do not ascend or are not
    regular.
    """
    count = len(values)
    if count < 2:
        return exact_step
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
    if exact_step is not None and abs(step - exact_step) * (count - 1) <= TOLERANCE * exact_step:
        return exact_step
    return rounded(step, float(np.abs(values).max()), count - 1)


def rounded(step: float, largest: float, count: int = 1) -> float:
    """Return the shortest decimal within the float error of a step: 0.1 for 0.09999999999999964.

    The step is the difference of two coordinates of at most ``largest``, divided by ``count``.
    """
    noise = 4 * float(np.finfo(np.float64).eps) * max(largest, step) / count
    shorter = (float(f"{step:.{digits}g}") for digits in range(1, 16))
    return next((decimal for decimal in shorter if abs(decimal - step) <= noise), step)


@dataclass(frozen=True)
class TimeGrid:
    """The timepoints of an array."""

    start: float
    """Coordinate of the first timepoint."""
    step: float
    length: int
    has_step: bool = True
    """False for a single timepoint without a stated step: ``step`` is 1 until a second timepoint is written."""
    is_movable: bool = False
    """Whether start and step were computed from written timepoints, so that a write may change them."""
    times: Mapping[int, float] | None = None
    """Real times by index; None if all timepoints were written and all are on their steps."""

    @property
    def written_times_by_index(self) -> dict[int, float]:
        """Real time of each written timepoint, by index."""
        if self.times is not None:
            return dict(self.times)
        return {index: self.start + self.step * index for index in range(self.length)}

    def time_of(self, index: int) -> float:
        """Return the real time of a timepoint; without one, start and step times index."""
        return (self.times or {}).get(index, self.start + self.step * index)


@dataclass(frozen=True)
class JoinedTime:
    """A written coordinate, ``time``, that is so near to a timepoint that it becomes that timepoint.

    With a step of 60, the coordinate 60.4 joins timepoint 1, whose stored time is 60.
    """

    index: int
    time: float
    stored_time: float


@dataclass(frozen=True)
class Placement:
    """The indices of written timepoints in an array, and the grid of the array after the write.

    Stored timepoints keep their times, so they may move to other indices: from ``index`` to
    ``index * factor + shift``, or to ``moves[index]``. If 30 is written to the times 0 and 60, the step becomes 30, and
    60 moves from index 1 to 2: factor 2, shift 0.
    """

    grid: TimeGrid
    indices: tuple[int, ...]
    factor: int = 1
    shift: int = 0
    moves: Mapping[int, int] | None = None
    off: float = 0.0
    """Largest distance of a coordinate from its step, in steps; 0 for noise."""
    joined: tuple[JoinedTime, ...] = ()
    """Coordinates that join a timepoint of another time; allowed if it has no voxels of their channels yet."""

    @property
    def is_moved(self) -> bool:
        """Whether stored timepoints move to other indices."""
        return self.moves is not None or (self.factor, self.shift) != (1, 0)

    def moved(self, index: int) -> int | None:
        """Return the new index of a stored timepoint; None for one that was never written."""
        return index * self.factor + self.shift if self.moves is None else self.moves.get(index)
