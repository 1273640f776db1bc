"""The state of one array by time and channel, from counts of the stored chunks.

A slot is all chunks with one index along the time axis and one along the channel axis: with chunks of (2, 1, 1, 64,
64), slot (3, 0) is frames 6 and 7 of channel 0. Only slots with stored chunks have counts, so that an array of 2^60
chunks needs no memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.ops.streaming.record import StreamRecord
    from lamella.spec.stale_levels import Unfinished
    from lamella.store.pixels.stored_files import StoredFile
    from lamella.types import JSONObject, Shape

State: TypeAlias = Literal["written", "partly", "missing", "damaged", "unread"]
"""State of a set of chunks: all stored, some stored, none stored, at least one damaged, or not readable."""

_MAX_FAULTS = 1000
"""Maximum number of damaged files that are listed for one array; all are counted."""


@dataclass(frozen=True)
class FileFinding:
    """A damaged file or node, by its key; ``unread`` if a service or the system refused to read it."""

    key: str
    found: str
    unread: bool = False


@dataclass(repr=False)
class ArrayStatus:
    """The state of one array. True if nothing is damaged.

    Attributes
    ----------
    path
        Path of the array in the store.
    shape, chunks
        Shape of the array and of its chunks, in the order of its axes.
    time, channel
        Indices of these axes; None if the image has none.
    files, bytes
        Number and total size of the stored files.
    faults
        Damaged files, at most a thousand.
    problem
        Why the state of the array is unknown; empty if it is known.
    unread
        Whether a service or the system refused to read the array.
    stream
        The record of a stream about written and skipped frames; None if no stream wrote the array.
    unfinished
        Regions that a write did not complete, with the reason; they count as partly written.

    Examples
    --------
    >>> level = position.status().levels[0]
    >>> level.path, level.state, level.stored, level.expected
    ('A/1/0/0', 'written', 2, 2)
    """

    path: str
    shape: Shape = ()
    chunks: Shape = ()
    time: int | None = None
    channel: int | None = None
    files: int = 0
    bytes: int = 0
    faults: list[FileFinding] = field(default_factory=list)
    problem: str = ""
    unread: bool = False
    stream: StreamRecord | None = None
    unfinished: tuple[Unfinished, ...] = ()
    _present: Counter[tuple[int, int]] = field(default_factory=Counter, repr=False)
    _damaged: Counter[tuple[int, int]] = field(default_factory=Counter, repr=False)

    def __repr__(self) -> str:
        return f"<ArrayStatus {self.path}: {self.state}, {self.stored} of {counted(self.expected, 'chunk')}>"

    def __bool__(self) -> bool:
        return self.state not in ("damaged", "unread")

    @property
    def expected(self) -> int:
        """Number of chunks of the whole array."""
        return prod(self._grid)

    @property
    def stored(self) -> int:
        """Number of stored chunks, including damaged ones."""
        return self._present.total()

    @property
    def damaged(self) -> int:
        """Number of damaged chunks."""
        return self._damaged.total()

    @property
    def state(self) -> State:
        """State of the whole array."""
        if self.unread:
            return "unread"
        if self.problem or self.damaged:
            return "damaged"
        state = _state(self.stored, 0, self.expected)
        return "partly" if self.unfinished and state == "written" else state

    def at(self, time: int = 0, channel: int = 0) -> State:
        """Return the state of one time and channel.

        Raises
        ------
        IndexError
            The array has no such time or channel.

        Examples
        --------
        >>> position.status().levels[0].at(time=0, channel=1)
        'written'
        """
        slot = self._slot(time, channel)
        return _state(self._present[slot], self._damaged[slot], self._chunks_per_slot)

    def runs(self) -> Iterator[tuple[range, range, State]]:
        """Yield the ranges of times and channels with equal state, by channel and time; together they cover the array.

        Examples
        --------
        >>> list(position.status().levels[0].runs())
        [(range(0, 1), range(0, 2), 'written')]
        """
        for (first, last), times in self._channel_runs():
            for state, start, stop in times:
                yield range(start, stop), range(first, last), state

    def to_dict(self) -> JSONObject:
        """Return the status as JSON values.

        Examples
        --------
        >>> position.status().levels[0].to_dict()["state"]
        'written'
        """
        return {
            "path": self.path,
            "state": self.state,
            "problem": self.problem or None,
            "stored_chunks": self.stored,
            "damaged_chunks": self.damaged,
            "expected_chunks": self.expected,
            "files": self.files,
            "bytes": self.bytes,
            "parts": [
                {
                    "times": [times.start, times.stop],
                    "channels": [channels.start, channels.stop],
                    "state": state,
                }
                for times, channels, state in ([] if self.problem else self.runs())
            ],
            "dropped_frames": [] if self.stream is None else [[*run] for run in self.stream.skipped],
            "unfinished": [str(region) for region in self.unfinished],
            "faults": [{"file": fault.key, "found": fault.found} for fault in self.faults],
        }

    # -- chunks by time and channel -----------------------------------------------------------------------------

    @property
    def _grid(self) -> Shape:
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def _chunks_per_slot(self) -> int:
        return prod(count for axis, count in enumerate(self._grid) if axis not in (self.time, self.channel))

    def _lengths(self, axis: int | None) -> tuple[int, int]:
        return (1, 1) if axis is None else (self.shape[axis], self.chunks[axis])

    def _slot(self, time: int, channel: int) -> tuple[int, int]:
        indices = []
        for name, index, axis in (("time", time, self.time), ("channel", channel, self.channel)):
            length, chunk = self._lengths(axis)
            if not 0 <= index < length:
                raise IndexError(f"{self.path!r} has no {name} {index}: there are {length}.")
            indices.append(index // chunk)
        return indices[0], indices[1]

    def _channel_runs(self) -> Iterator[tuple[tuple[int, int], list[tuple[State, int, int]]]]:
        """Yield start and stop of channels with equal states, and these states by time."""
        length, chunk = self._lengths(self.channel)
        borders = _borders((channel for _, channel in self._present), -(-length // chunk))
        rows = [(start, stop, self._time_runs(start)) for start, stop in pairwise(borders)]
        for times, group in groupby(rows, key=lambda row: row[2]):
            equal_rows = list(group)
            yield (equal_rows[0][0] * chunk, min(equal_rows[-1][1] * chunk, length)), times

    def _time_runs(self, channel: int) -> list[tuple[State, int, int]]:
        """Return the states of a channel chunk, each with start and stop of its times."""
        length, chunk = self._lengths(self.time)
        times = (time for time, other_channel in self._present if other_channel == channel)
        runs: list[tuple[State, int, int]] = []
        for first, last in pairwise(_borders(times, -(-length // chunk))):
            slot = first, channel
            state = _state(self._present[slot], self._damaged[slot], self._chunks_per_slot)
            start = runs.pop()[1] if runs and runs[-1][0] == state else first * chunk
            runs.append((state, start, min(last * chunk, length)))
        return runs

    def _add(self, file: StoredFile) -> None:
        """Count the chunks of a file by time and channel."""
        self.files += 1
        self.bytes += file.size
        if file.reason and len(self.faults) < _MAX_FAULTS:
            self.faults.append(FileFinding(f"{self.path}/{file.key}" if self.path else file.key, file.reason))
        chunks_per_file = file.present.shape
        first = [index * count for index, count in zip(file.file_index, chunks_per_file, strict=True)]
        inside = tuple(slice(0, count - start) for count, start in zip(self._grid, first, strict=True))
        other_axes = tuple(axis for axis in range(len(self.shape)) if axis not in (self.time, self.channel))
        for counter, chunks in ((self._present, file.present), (self._damaged, file.damaged)):
            counts = chunks[inside].sum(axis=other_axes, keepdims=True)
            for index in zip(*np.nonzero(counts), strict=True):
                time, channel = (
                    0 if axis is None else first[axis] + int(index[axis])
                    for axis in (self.time, self.channel)
                )
                counter[time, channel] += int(counts[index])


def _borders(indices: Iterable[int], count: int) -> list[int]:
    """Return the borders that split a range of ``count`` indices so that each of the passed indices is alone."""
    return sorted({0, count} | {border for index in indices for border in (index, index + 1)})


def _state(stored: int, damaged: int, expected: int) -> State:
    if damaged:
        return "damaged"
    if stored == 0 and expected:
        return "missing"
    return "written" if stored >= expected else "partly"
