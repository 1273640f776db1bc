"""Coordinates as regular grids: what a labelled array's coordinates say of scale, translation and index.

Pure arithmetic on numbers. OME-NGFF knows an axis by a scale and a translation only, so coordinates have to lie on a
regular grid; "on" means within a hundredth of a step (`TOLERANCE`), for times within a twentieth (`JITTER`). Where
timepoints go on a time axis is in `xarray_fit`.

Layer: adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

TOLERANCE = 0.01
"""How far from its place on a regular grid a coordinate may lie, in steps of the grid."""

JITTER = 0.05
"""How far from its step of the time axis a timepoint may lie, in steps: its real time is stored beside."""

FINEST = 10
"""Most parts into which the smallest gap between timepoints is cut to meet all of them."""

NOISE = 1e-4
"""What counts as no distance at all, in steps: differences of floats are not exact."""

MOST_EMPTY = 1_000_000
"""Timepoints that a write may leave empty."""


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
    return rounded(step, float(np.abs(values).max()), count - 1)


def rounded(step: float, largest: float, parts: int = 1) -> float:
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
    times : mapping of int to float, optional
        Real time of timepoints by index, where one lies off its step or some were not written. Of a movable grid all
        that were written.
    """

    start: float
    step: float
    length: int
    known: bool = True
    movable: bool = False
    times: Mapping[int, float] | None = None

    @property
    def known_times(self) -> dict[int, float]:
        """Real time of each timepoint that was written, by index."""
        if self.times is not None:
            return dict(self.times)
        return {i: self.start + self.step * i for i in range(self.length)}

    def time_of(self, index: int) -> float:
        """Return when a timepoint was taken; where its step is where nothing else is known."""
        return (self.times or {}).get(index, self.start + self.step * index)


@dataclass(frozen=True)
class Joined:
    """A coordinate that lies near to a timepoint of another time.

    Attributes
    ----------
    index : int
        Of the timepoint, in the array as it is.
    time : float
        The coordinate.
    known : float
        The time of the timepoint so far.
    """

    index: int
    time: float
    known: float


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
    moves : mapping of int to int, optional
        Where each timepoint that was written belongs afterwards, if no factor and shift say it.
    off : float
        How far the farthest of the coordinates lies off its step, in steps; 0 for what is but noise.
    joined : tuple of Joined
        Coordinates that lie near to a timepoint of another time: it is the same one only if it holds nothing yet of
        the channels that are written.
    """

    grid: TimeGrid
    indices: tuple[int, ...]
    factor: int = 1
    shift: int = 0
    moves: Mapping[int, int] | None = None
    off: float = 0.0
    joined: tuple[Joined, ...] = ()

    @property
    def is_moved(self) -> bool:
        """Whether timepoints that are stored belong at other indices afterwards."""
        return self.moves is not None or (self.factor, self.shift) != (1, 0)

    def moved(self, index: int) -> int | None:
        """Return the index of a stored timepoint afterwards; None for one that was never written and has none."""
        return index * self.factor + self.shift if self.moves is None else self.moves.get(index)
