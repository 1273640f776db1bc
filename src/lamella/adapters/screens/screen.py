"""A screen: the planes that an instrument's index lists, each with its well, field, channel, z, t and stage position.

The parsers of the indexes create it; ``source`` arranges its planes by field.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.errors import SourceError, counted, first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.ops.conversion.source import Objective, SourceChannel

_MICROMETRES = {"m": 1e6, "mm": 1e3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "nm": 1e-3}


@dataclass(frozen=True, slots=True)
class ScreenPlane:
    """One image file of an index, with the index's numbers of channel, z and t."""

    file: str
    row: str
    column: str
    field: str
    channel: int
    z: int
    t: int
    x: float | None = None
    y: float | None = None
    height: float | None = None
    """``x``, ``y`` and ``height``: stage position in micrometres, with y pointing down the image."""
    seconds: float | None = None
    """Time since the start of the measurement."""

    @property
    def path(self) -> str:
        """Path of the position in the plate."""
        return f"{self.row}/{self.column}/{self.field}"

    @property
    def index(self) -> str:
        """The well, field and plane for messages: "B03 field 1, channel 2, z 1, t 1"."""
        return f"{self.row}{self.column} field {self.field}, channel {self.channel}, z {self.z}, t {self.t}"


@dataclass(frozen=True)
class Screen:
    """All planes of a plate."""

    name: str
    origin: str
    """The index or folder, for messages."""
    index_files: tuple[str, ...]
    planes: tuple[ScreenPlane, ...]
    channels: Mapping[int, SourceChannel]
    pixel_size: tuple[float, float] | None = None
    """(y, x) in micrometres."""
    plane_shape: tuple[int, int] | None = None
    """(y, x) in pixels."""
    date: str | None = None
    """Start of the measurement in ISO 8601."""
    objective: Objective | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Planes that the index expects and that have no file, as texts: "B03 field 1, channel 2"."""
    originals: tuple[tuple[str, str], ...] = ()
    """Other original metadata: the name to store it by, and its text."""


@dataclass(frozen=True)
class ScreenField:
    """One field of a well: its planes by index (t, c, z) in the grid of the whole screen."""

    path: str
    planes: Mapping[tuple[int, int, int], ScreenPlane]
    times: tuple[float | None, ...] = ()
    """Seconds of each t since the start of the measurement."""

    @property
    def first(self) -> ScreenPlane:
        """The plane with the smallest index."""
        return self.planes[min(self.planes)]


@dataclass(frozen=True)
class ScreenGrid:
    """The fields of a screen and what they share: the numbers of t, channels and z, and the steps along z and t."""

    fields: tuple[ScreenField, ...]
    times: tuple[int, ...]
    channels: tuple[int, ...]
    heights: tuple[int, ...]
    z_step: float | None = None
    time_step: float | None = None
    gaps: tuple[str, ...] = ()
    """Planes that a field lacks and other fields have, as texts for messages."""

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Length of t, c and z."""
        return len(self.times), len(self.channels), len(self.heights)


def arrange(screen: Screen) -> ScreenGrid:
    """Arrange the planes of a screen by field; raise SourceError for planes that are listed twice."""
    if not screen.planes:
        raise SourceError(f"{screen.origin} lists no image.")
    times, channels, heights = (
        tuple(sorted({getattr(plane, name) for plane in screen.planes})) for name in ("t", "channel", "z")
    )
    t_index, channel_index, z_index = (
        {number: index for index, number in enumerate(numbers)} for numbers in (times, channels, heights)
    )
    by_path: dict[str, dict[tuple[int, int, int], ScreenPlane]] = {}
    duplicates: list[tuple[ScreenPlane, ScreenPlane]] = []
    for plane in screen.planes:
        planes = by_path.setdefault(plane.path, {})
        index = t_index[plane.t], channel_index[plane.channel], z_index[plane.z]
        other = planes.setdefault(index, plane)
        if other is not plane:
            duplicates.append((other, plane))
    if duplicates:
        texts = [
            f"{plane.index} in {os.path.basename(plane.file)} and {os.path.basename(other.file)}"
            for plane, other in duplicates
        ]
        raise SourceError(
            f"{screen.origin} lists {counted(len(duplicates), 'plane')} twice: {first_of(texts, separator='; ')}."
        )
    fields = tuple(
        ScreenField(path, planes, _frame_times(planes, len(times))) for path, planes in by_path.items()
    )
    return ScreenGrid(
        fields,
        times,
        channels,
        heights,
        z_step=_step(_heights(fields)),
        time_step=_step([list(field.times) for field in fields]),
        gaps=tuple(_gaps(fields, times, channels, heights)),
    )


def _gaps(
    fields: Sequence[ScreenField], times: Sequence[int], channels: Sequence[int], heights: Sequence[int]
) -> Iterable[str]:
    """List the planes that a field lacks although other fields have them in the same channel."""
    expected = sorted({index for field in fields for index in field.planes})
    for field in fields:
        for t, c, z in expected:
            if (t, c, z) not in field.planes:
                row, column, name = field.path.split("/")
                yield f"{row}{column} field {name}, channel {channels[c]}, z {heights[z]}, t {times[t]}"


def _frame_times(planes: Mapping[tuple[int, int, int], ScreenPlane], count: int) -> tuple[float | None, ...]:
    """Return the earliest time of each frame."""
    seconds: list[list[float]] = [[] for _ in range(count)]
    for (t, _, _), plane in planes.items():
        if plane.seconds is not None:
            seconds[t].append(plane.seconds)
    return tuple(min(frame, default=None) for frame in seconds)


def _heights(fields: Sequence[ScreenField]) -> list[list[float | None]]:
    """Return the heights along each z-stack."""
    stacks: dict[tuple[str, int, int], dict[int, float | None]] = {}
    for field in fields:
        for (t, c, z), plane in field.planes.items():
            stacks.setdefault((field.path, t, c), {})[z] = plane.height
    return [[stack.get(z) for z in range(max(stack) + 1)] for stack in stacks.values()]


def _step(lines: Iterable[Sequence[float | None]]) -> float | None:
    """Return the usual distance of neighbours in lines of heights or times; None without neighbours, or if it is 0.

    That is the most frequent distance if more than half of all are equal to it, otherwise the median.
    """
    steps = Counter(
        round(after - before, 6)
        for line in lines
        for before, after in pairwise(line)
        if before is not None and after is not None
    )
    if not steps:
        return None
    step, count = steps.most_common(1)[0]
    if len(steps) > 1 and 2 * count <= steps.total():
        step = round(median(steps.elements()), 6)
    return abs(step) or None


def micrometres(length: float | None, unit: str | None) -> float | None:
    """Convert a length in a unit of an index to micrometres; None for an unknown unit.

    >>> micrometres(5.97976e-07, "m"), micrometres(1.3672, "um"), micrometres(1, "furlong")
    (0.597976, 1.3672, None)
    """
    factor = _MICROMETRES.get((unit or "").strip().lower())
    return None if length is None or factor is None else round(length * factor, 9)


def yx_or_none(numbers: Iterable[float | None]) -> tuple[float, float] | None:
    """Return two numbers as (y, x); None if one of them is missing or 0."""
    y, x = numbers
    return (y, x) if y and x else None


def plane_shape(values: Mapping[str, str], *keys: str) -> tuple[int, int] | None:
    """Return the height and width of the images in pixels from two keys; None if the index lacks them."""
    lengths = yx_or_none(parse_number(values.get(key)) for key in keys)
    return None if lengths is None else (int(lengths[0]), int(lengths[1]))


def whole_number(index: str, file: str, values: Mapping[str, str], key: str, default: str = "") -> int:
    """Return a whole number from the attributes of a file in an index; raise SourceError for any other text."""
    text = values.get(key, default)
    try:
        return int(text)
    except ValueError:
        raise SourceError(f"{index} lists {file} with {key} {text!r}, which is not a whole number.") from None


def seconds_between(start: str | None, moment: str | None) -> float | None:
    """Return the seconds from one time in ISO 8601 to another; None if one is missing or unreadable."""
    try:
        difference = datetime.fromisoformat(moment or "") - datetime.fromisoformat(start or "")
    except (ValueError, TypeError):
        return None
    return difference.total_seconds()


def file_beside(index: str, name: str) -> str:
    """Return the path of a file that an index names; raise SourceError unless it is in the index's folder or below."""
    names = name.replace("\\", "/").split("/")
    if not name.strip() or ".." in names or not names[0] or ":" in names[0]:
        raise SourceError(f"{index} names the image {name!r}, which is not beside it.")
    return os.path.join(os.path.dirname(index), *names)
