"""Compute the index of each frame in the array from its number. Pure arithmetic.

With the order "tc" and two channels, frame 5 is at time 2 and channel 1.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import Shape

Key: TypeAlias = tuple[int, ...]
"""Grid index of a chunk or shard along the axes over which frames arrive."""


@dataclass(frozen=True)
class FrameOrder:
    """The order of the frames of one array.

    ``names`` are the lower-case axes over which frames arrive, the last one fastest, and ``axes`` their numbers in the
    array. ``lengths`` has the number of frames along each; None for an unknown length, of the first axis only.
    ``channels`` are indices of the channels in the array, in the order of arrival; None without such an axis.

    >>> order = FrameOrder(("t", "c"), (0, 1), (None, 2), (1, 0))
    >>> order.index_of(0), order.index_of(5), order.number((2, 1))
    ((0, 1), (2, 0), 5)
    """

    names: tuple[str, ...]
    axes: tuple[int, ...]
    lengths: tuple[int | None, ...]
    channels: tuple[int, ...] | None = None

    @property
    def grows(self) -> bool:
        """Whether the number of frames is unknown."""
        return bool(self.lengths) and self.lengths[0] is None

    @property
    def total(self) -> int | None:
        """Number of frames, None if unknown."""
        return None if self.grows else math.prod(self._fixed_lengths)

    @property
    def _fixed_lengths(self) -> tuple[int, ...]:
        return tuple(length for length in self.lengths if length is not None)

    @property
    def per_step(self) -> int:
        """Number of frames of one step along the first axis: 6 for "tcz" with 2 channels and 3 planes."""
        return math.prod(self._fixed_lengths if self.grows else self._fixed_lengths[1:])

    def steps(self, number: int) -> tuple[int, ...]:
        """Return how many steps along each axis come before a frame; channels are counted in order of arrival."""
        reversed_steps = []
        for length in reversed(self.lengths[1:]):
            assert length is not None  # only the first is unknown
            number, step = divmod(number, length)
            reversed_steps.append(step)
        return (*([number] if self.lengths else []), *reversed(reversed_steps))

    def index_of(self, number: int) -> tuple[int, ...]:
        """Return the index of a frame in the array, along `axes`."""
        return tuple(
            self.channels[step] if name == "c" and self.channels is not None else step
            for name, step in zip(self.names, self.steps(number), strict=True)
        )

    def number(self, steps: tuple[int, ...]) -> int:
        """Return the number of a frame from its steps."""
        number = 0
        for step, length in zip(steps, self.lengths, strict=True):
            number = number * (length or 0) + step
        return number

    def key_of(self, spans: Shape, frame_index: tuple[int, ...]) -> Key:
        """Return the grid index of a frame's chunks or files; ``spans`` are the lengths of a chunk or file."""
        return tuple(index // spans[axis] for index, axis in zip(frame_index, self.axes, strict=True))

    def frames_in(self, spans: Shape, key: Key) -> Iterator[int]:
        """Yield the numbers of the frames in one chunk or file; ``spans`` are its lengths.

        >>> list(FrameOrder(("t", "c"), (0, 1), (None, 2)).frames_in((2, 1, 1, 8, 8), (1, 0)))
        [4, 6]
        """
        per_axis = []
        for name, axis, index, length in zip(self.names, self.axes, key, self.lengths, strict=True):
            indices = range(index * spans[axis], (index + 1) * spans[axis])
            if name == "c" and self.channels is not None:
                per_axis.append([step for step, channel in enumerate(self.channels) if channel in indices])
            else:
                per_axis.append([step for step in indices if length is None or step < length])
        return (self.number(steps) for steps in itertools.product(*per_axis))

    def count_in(self, spans: Shape, key: Key) -> int:
        """Return the number of frames in a chunk or file."""
        count = 1
        for name, axis, index, length in zip(self.names, self.axes, key, self.lengths, strict=True):
            start, stop = index * spans[axis], (index + 1) * spans[axis]
            if name == "c" and self.channels is not None:
                count *= sum(start <= channel < stop for channel in self.channels)
            else:
                count *= (stop if length is None else min(stop, length)) - start
        return count
