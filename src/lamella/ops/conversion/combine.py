"""Combine several sources to one image: files with one channel, z or t each, or the files of a folder in order.

A member is one source within a combined image. Its index is its position along the combined axes: {"c": 1, "z": 4}.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING

from lamella.errors import SourceError, first_of
from lamella.ops.conversion.source import (
    LEGAL_ORDER,
    ImageDescription,
    SourceChannel,
    channels_of,
    read_into,
    read_planes,
)
from lamella.ops.last_used import LastUsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lamella.ops.conversion.source import PlaneSource
    from lamella.types import Array

_OPEN_SOURCES = 16
"""Maximum number of open members of one image."""


@dataclass(frozen=True)
class Member:
    """A source and its index along each axis that distinguishes the members; messages call it ``origin``."""

    source: PlaneSource
    index: dict[str, int]
    origin: str


class CombinedSource:
    """One image made of several sources.

    All ``members`` have an index along the same axes; ``lengths`` are the lengths of these. ``axes`` are further axes
    that the image must have, for example "c"; ``channels`` describe a combined axis "c". Raise SourceError for members
    of different shape or type, and for an axis along which members are combined and have several planes themselves.
    """

    def __init__(
        self,
        members: Sequence[Member],
        lengths: Mapping[str, int],
        *,
        axes: str = "",
        name: str,
        channels: Sequence[SourceChannel] | None = None,
    ) -> None:
        self._combined_axes = "".join(axis for axis in LEGAL_ORDER if axis in lengths)
        self._check_same_kind(members)
        self._members = {
            tuple(member.index[axis] for axis in self._combined_axes): member.source for member in members
        }
        self._first = members[0].source
        self.description = self._describe(members, lengths, axes, name, channels)
        self._open = self._no_open_members()

    def __getstate__(self) -> dict[str, object]:
        return {name: attribute for name, attribute in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open = self._no_open_members()

    @staticmethod
    def _no_open_members() -> LastUsed[int, PlaneSource]:
        # A thread that still reads a member opens it again: closing is always safe.
        return LastUsed(_OPEN_SOURCES, close=lambda source: source.close())

    @property
    def missing(self) -> int:
        """Number of indices along the combined axes without a source; their pixels are zeros."""
        return math.prod(self.description.length(axis) for axis in self._combined_axes) - len(self._members)

    def gaps(self) -> Iterator[str]:
        """Describe the indices without a source: "channel GFP, z 1, t 0"."""
        for key in product(*(range(self.description.length(axis)) for axis in self._combined_axes)):
            if key not in self._members:
                yield self._name_index(key)

    def _name_index(self, key: tuple[int, ...]) -> str:
        channels = self.description.channels
        return ", ".join(
            f"channel {channels[index].label}" if axis == "c" and index < len(channels) else f"{axis} {index}"
            for axis, index in sorted(zip(self._combined_axes, key, strict=True))
        )

    @property
    def files_by_index(self) -> list[tuple[tuple[int, ...], object]]:
        """The index of each member along the combined axes, with its files (for a combined member, with theirs)."""
        return [
            (key, source.files_by_index if isinstance(source, CombinedSource) else source.description.files)
            for key, source in self._members.items()
        ]

    @property
    def titles(self) -> set[str]:
        """Names of the image in its files."""
        titles: set[str] = set()
        for source in self._members.values():
            titles |= source.titles if isinstance(source, CombinedSource) else {source.description.title}
        return titles

    @property
    def notes_by_file(self) -> Iterator[tuple[str, str]]:
        """Notes of all members, each with its file, and notes on sizes in which they differ from the first."""
        first = self._first.description
        for axis, size in first.scale.items():
            sizes = [source.description.scale.get(axis, size) for source in self._members.values()]
            if max(sizes) > 1.001 * min(sizes):
                yield (
                    first.where,
                    f"its size along {axis}, {size:g}, is used for the whole image, whose files state {min(sizes):g} "
                    f"to {max(sizes):g}",
                )
        if "c" not in self._combined_axes and self.description.channels == first.channels:
            yield from self._notes_of_channels()
        for source in self._members.values():
            description = source.description
            if isinstance(source, CombinedSource):
                yield from source.notes_by_file
            else:
                notes = (*description.axis_notes, *description.notes)
                yield from ((description.where, note) for note in notes)

    def _notes_of_channels(self) -> Iterator[tuple[str, str]]:
        """Note the first member with other names of channels than the image has; one without names has no others."""
        first = self._first.description
        names = [channel.label for channel in first.channels]
        for source in self._members.values():
            others = [channel.label for channel in source.description.channels]
            if not any(others) or others == names:
                continue
            where, listed = (
                source.description.where,
                ", ".join(name or "one without a name" for name in others),
            )
            yield (
                first.where,
                f"its channels, {', '.join(name or 'one without a name' for name in names)}, name those of the whole "
                f"image, although {where} has {listed}"
                if any(names)
                else f"it does not name its channels, so the names in {where}, {listed}, were not used",
            )
            return

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it: see `PlaneSource.read_plane`."""
        source, member_index = self._member(index)
        return None if source is None else source.read_plane(member_index, rows)

    def read_into(self, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Read rows of one plane into an array: see `DirectSource.read_into`."""
        source, member_index = self._member(index)
        return source is not None and read_into(source, member_index, rows, out)

    def read_planes(self, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
        """Read planes of one member, which may decode them together: see `SampleSource.read_planes`."""
        members = [self._member(index) for index in indices]
        source = members[0][0]
        if source is None or any(other is not source for other, _ in members):
            return [self.read_plane(index, rows) for index in indices]
        return read_planes(source, [member_index for _, member_index in members], rows)

    def _member(self, index: tuple[int, ...]) -> tuple[PlaneSource | None, tuple[int, ...]]:
        """Return the member with a plane, and the plane's index in it."""
        index_by_axis = dict(zip(self.description.axes, index, strict=False))
        source = self._members.get(tuple(index_by_axis[axis] for axis in self._combined_axes))
        if source is not None:
            self._open.put(id(source), source)
        outer_axes = self._first.description.axes[:-2]
        return source, tuple(0 if axis in self._combined_axes else index_by_axis[axis] for axis in outer_axes)

    def close(self) -> None:
        """Close the files of all members."""
        self._open.clear()

    def _check_same_kind(self, members: Sequence[Member]) -> None:
        first = members[0]
        expected = first.source.description
        for member in members:
            description = member.source.description
            if (description.axes, description.shape, description.dtype) != (
                expected.axes,
                expected.shape,
                expected.dtype,
            ):
                raise SourceError(
                    f"{member.origin} is {_shape_text(description)}, but {first.origin} of the same image is "
                    f"{_shape_text(expected)}: the files of one image must have one shape and one type."
                )
            for axis in self._combined_axes:
                if description.length(axis) > 1:
                    raise SourceError(
                        f"{member.origin} has {description.length(axis)} planes along {axis} itself, so it cannot be "
                        f"one step along {axis} of an image. Name only files of one plane along {axis}."
                    )

    def _describe(
        self,
        members: Sequence[Member],
        lengths: Mapping[str, int],
        axes: str,
        name: str,
        channels: Sequence[SourceChannel] | None,
    ) -> ImageDescription:
        first = members[0].source.description
        all_axes = "".join(axis for axis in LEGAL_ORDER if axis in {*first.axes, *lengths, *axes})
        files = tuple(dict.fromkeys(file for member in members for file in member.source.description.files))
        notes = dict.fromkeys(note for member in members for note in member.source.description.notes)
        return replace(
            first,
            name=name,
            files=files,
            axes=all_axes,
            shape=tuple(lengths.get(axis, first.length(axis)) for axis in all_axes),
            channels=tuple(channels) if channels is not None else first.channels,
            notes=tuple(notes),
        )


def _shape_text(description: ImageDescription) -> str:
    shape = " x ".join(map(str, description.shape))
    return f"{description.axes} {shape} {description.dtype}"


def number_axis(numbers: Iterable[int]) -> dict[int, int]:
    """Return the index of each number along an axis: the numbers are on an even grid, from the smallest on.

    The step of the grid is the greatest common divisor of the differences: 1, 3, 5 are three neighbours, and 1, 2, 4
    leave a gap at 3. If there were more gaps than planes, as for times of day, all numbers become neighbours.

    >>> number_axis([5, 1, 3]), number_axis([1, 2, 4])
    ({1: 0, 3: 1, 5: 2}, {1: 0, 2: 1, 4: 3})
    >>> number_axis([93000, 93517, 101214])
    {93000: 0, 93517: 1, 101214: 2}
    """
    ordered = sorted(set(numbers))
    step = math.gcd(*(number - ordered[0] for number in ordered)) or 1
    if (ordered[-1] - ordered[0]) // step + 1 > 2 * len(ordered):
        return {number: index for index, number in enumerate(ordered)}
    return {number: (number - ordered[0]) // step for number in ordered}


def notes_of_skipped(axis: str, numbers: Iterable[int]) -> list[str]:
    """Return a note on numbers that no file has, while the files before and after them become neighbours.

    There is none for an even step (0, 5, 10), and none for numbers that do not count, such as the wavelengths 405, 488,
    561 or times of a clock: no two of them are one step apart.

    >>> notes_of_skipped("t", [0, 1, 10])
    ['no file has the numbers 2 to 9 along t: the planes before and after them are neighbours in the image']
    """
    ordered = sorted(set(numbers))
    step = math.gcd(*(number - ordered[0] for number in ordered))
    ranges = [(before + step, after - step) for before, after in pairwise(ordered) if after - before > step]
    if not ranges or len(ranges) == len(ordered) - 1:
        return []
    listed = first_of([str(first) if first == last else f"{first} to {last}" for first, last in ranges])
    word = "number" if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else "numbers"
    return [
        f"no file has the {word} {listed} along {axis}: the planes before and after them are neighbours in the image"
    ]


def stack_sources(
    sources: Sequence[tuple[str, PlaneSource]], name: str, axis: str = ""
) -> tuple[CombinedSource, str]:
    """Stack files in order along ``axis``, by default along z, or along t if they are z-stacks; return the axis too."""
    first = sources[0][1].description
    free_axis = next((candidate for candidate in axis or "zt" if first.length(candidate) == 1), None)
    if free_axis is None:
        raise SourceError(
            f"{sources[0][0]} and the other files of {name} have {axis or 'z and t'} already, so they cannot be "
            "stacked: place them in a plate with --well-regex or --map."
        )
    members = [Member(source, {free_axis: index}, origin) for index, (origin, source) in enumerate(sources)]
    channels = [channel for _, source in sources for channel in channels_of(source.description)]
    stack = CombinedSource(
        members,
        {free_axis: len(members)},
        name=os.path.basename(name),
        channels=channels if free_axis == "c" else None,
    )
    return stack, free_axis
