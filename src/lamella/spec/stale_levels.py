"""Two records of regions that are not up to date: stale levels of an image, and unfinished writes of an array.

``{"stale_levels": {"writers": [], "regions": [[[0, 0], [4, 8]]]}}`` in an image: level 0 changed from (0, 0) to before
(4, 8) after the lower levels were computed. A process that writes is one of the writers until it records its regions.
Both records are in lamella's own key, which other readers ignore; docs/design.md has an example of each. Pure functions
on attributes.
"""

from __future__ import annotations

import itertools
import operator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.spec.own_key import own_record, with_own_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamella.types import JSONObject

Bounds: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Start and stop of a region, in voxels."""

_KEY = "stale_levels"
_MAX_REGIONS = 32
_MAX_WRITERS = 64
MAX_REGIONS_OF_LEVEL = 64
"""Maximum number of recorded unfinished regions of one level."""
_MANY = "many"
"""Name in place of all writers if there are too many of them, or if the record is unreadable: all is stale."""


@dataclass(frozen=True)
class PyramidJob:
    """The progress of computing all levels."""

    writer: str
    """Name of the process, one of the writers."""
    digest: str
    """Digest of the method and of the arrays."""
    since: int | None
    """Time of the file system when it began, in nanoseconds; None if the store has no times."""
    unfinished: tuple[tuple[Bounds, ...], ...]
    """For each lower level, the regions of level 0 that are unfinished."""

    def to_json(self) -> JSONObject:
        """Return the same as JSON values, with regions merged to at most 64 for each level."""
        unfinished = []
        for regions in self.unfinished:
            merged: tuple[Bounds, ...] = ()
            for region in regions:
                merged = add_region(merged, region, MAX_REGIONS_OF_LEVEL)
            unfinished.append(_regions_json(merged))
        return {"writer": self.writer, "work": self.digest, "since": self.since, "rest": unfinished}


@dataclass(frozen=True)
class StaleLevels:
    """The changes of level 0 that the lower levels do not show yet."""

    writers: tuple[str, ...] = ()
    """Names of processes that have not recorded their regions yet."""
    regions: tuple[Bounds, ...] = ()
    """Recorded regions."""
    job: PyramidJob | None = None
    """Progress of the computation of all levels; None if no computation runs, or it has just begun."""
    unlisted: tuple[str, ...] = ()
    """Paths of unfinished levels that the image does not list yet."""
    unwritten: tuple[tuple[str, tuple[Bounds, ...]], ...] = ()
    """Paths of levels that were created empty, each with its unwritten regions."""

    def __bool__(self) -> bool:
        return bool(self.writers or self.regions or self.unlisted or self.unwritten)

    def has_writer(self, writer: str) -> bool:
        """Return whether a writer has not recorded its regions yet."""
        return writer in self.writers or _MANY in self.writers

    def with_writer(self, writer: str) -> StaleLevels:
        """Add a writer, whose regions are unknown until `without_writer`."""
        if self.has_writer(writer):
            return self
        if len(self.writers) >= _MAX_WRITERS:
            # Only computing the whole pyramid removes this name.
            return replace(self, writers=(_MANY,), job=None)
        return replace(self, writers=(*self.writers, writer))

    def without_writer(self, writer: str, written: Iterable[Bounds]) -> StaleLevels:
        """Replace the name of a writer by its regions.

        >>> StaleLevels(("a", "b")).without_writer("a", [((0,), (4,))])
        StaleLevels(writers=('b',), regions=(((0,), (4,)),), job=None, unlisted=(), unwritten=())
        """
        regions = self.regions
        for region in written:
            regions = add_region(regions, region)
        job = None if self.job is None or self.job.writer == writer else self.job
        writers = tuple(name for name in self.writers if name != writer)
        return replace(self, writers=writers, regions=regions, job=job)

    def without(self, region: Bounds) -> StaleLevels:
        """Subtract a region.

        >>> StaleLevels(regions=(((0, 0), (4, 9)),)).without(((1, 0), (4, 9))).regions
        (((0, 0), (1, 9)),)
        """
        return replace(self, regions=subtract_region(self.regions, region))

    def without_channel(self, axis: int, index: int, level: str | None = None) -> StaleLevels:
        """Return the record after an index of the channel axis was deleted in level 0, or in the lower ``level``.

        >>> StaleLevels(regions=(((0, 0), (3, 4)), ((1, 0), (2, 4)), ((2, 0), (3, 4)))).without_channel(0, 1).regions
        (((0, 0), (2, 4)),)
        """
        if level is not None:
            return self.with_unwritten(level, _without_index(self.unwritten_of(level), axis, index))
        regions: tuple[Bounds, ...] = ()
        for region in _without_index(self.regions, axis, index):
            regions = add_region(regions, region)
        return replace(self, regions=regions, job=None)

    def unwritten_of(self, level: str) -> tuple[Bounds, ...]:
        """Return the unwritten regions of a level."""
        return dict(self.unwritten).get(level, ())

    def with_unwritten(self, level: str, regions: Sequence[Bounds]) -> StaleLevels:
        """Set the unwritten regions of a level; without any, the level is removed.

        >>> StaleLevels().with_unwritten("1", [((0,), (4,))]).with_unwritten("1", [])
        StaleLevels(writers=(), regions=(), job=None, unlisted=(), unwritten=())
        """
        by_level = {**dict(self.unwritten), level: tuple(regions)}
        return replace(self, unwritten=tuple(item for item in by_level.items() if item[1]))


def read_stale(attributes: JSONObject) -> StaleLevels:
    """Read the record from the attributes of an image; an unreadable one means that everything may be stale.

    >>> read_stale({"lamella": {"stale_levels": {"writers": [], "regions": [[[0, 0], [4, 8]]]}}})
    StaleLevels(writers=(), regions=(((0, 0), (4, 8)),), job=None, unlisted=(), unwritten=())
    >>> bool(read_stale({}))
    False
    """
    record = own_record(attributes, _KEY)
    if record is None:
        return StaleLevels()
    try:
        writers = tuple(str(name) for name in record["writers"])
        regions = _read_regions(record["regions"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return StaleLevels((_MANY,))
    unlisted = record.get("unlisted")
    paths = tuple(path for path in unlisted if isinstance(path, str)) if isinstance(unlisted, list) else ()
    job, unwritten = _read_job(record.get("making")), _read_unwritten(record.get("unwritten"))
    return StaleLevels(writers, regions, job, paths, unwritten)


def _read_unwritten(stored: Any) -> tuple[tuple[str, tuple[Bounds, ...]], ...]:
    """Read the unwritten regions of levels, without unreadable ones: no write could remove them."""
    if not isinstance(stored, dict):
        return ()
    by_level = {}
    for level, regions in stored.items():
        with suppress(TypeError, ValueError, OverflowError):
            by_level[level] = _read_regions(regions)
    return tuple(by_level.items())


def _read_job(stored: Any) -> PyramidJob | None:
    """Read the progress of computing all levels; None if it is unreadable, so that all is computed again."""
    try:
        return PyramidJob(
            str(stored["writer"]),
            str(stored["work"]),
            None if stored["since"] is None else int(stored["since"]),
            tuple(_read_regions(regions) for regions in stored["rest"]),
        )
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _read_regions(stored: Any) -> tuple[Bounds, ...]:
    return tuple(_read_region(start, stop) for start, stop in stored)


def _read_region(start: Any, stop: Any) -> Bounds:
    """Return a stored region; raise ValueError if start and stop have different lengths."""
    region = tuple(map(int, start)), tuple(map(int, stop))
    if len(region[0]) != len(region[1]):
        raise ValueError(f"start {start} and stop {stop} of a region")
    return region


def with_stale(attributes: JSONObject, stale: StaleLevels) -> JSONObject:
    """Return attributes with a record; an empty record is removed.

    >>> with_stale({"ome": {}, "lamella": {"stale_levels": {}}}, StaleLevels())
    {'ome': {}}
    """
    if not stale:
        return with_own_record(attributes, _KEY, None)
    record: JSONObject = {"writers": list(stale.writers), "regions": _regions_json(stale.regions)}
    if stale.job is not None:
        record["making"] = stale.job.to_json()
    if stale.unlisted:
        record["unlisted"] = list(stale.unlisted)
    if stale.unwritten:
        record["unwritten"] = {level: _regions_json(regions) for level, regions in stale.unwritten}
    return with_own_record(attributes, _KEY, record)


def _regions_json(regions: Iterable[Bounds]) -> list[list[list[int]]]:
    return [[list(start), list(stop)] for start, stop in regions]


def _without_index(regions: Sequence[Bounds], axis: int, index: int) -> list[Bounds]:
    """Return regions of an array after an index of an axis was deleted, without regions of only this index."""
    moved = []
    for start, stop in regions:
        first = start[axis] - (start[axis] > index)
        last = stop[axis] - (stop[axis] > index)
        if first < last:
            moved.append(
                ((*start[:axis], first, *start[axis + 1 :]), (*stop[:axis], last, *stop[axis + 1 :]))
            )
    return moved


def add_region(
    regions: Sequence[Bounds], region: Bounds, max_regions: int = _MAX_REGIONS
) -> tuple[Bounds, ...]:
    """Add a region to a list: merged with adjacent regions, or with the nearest if there are ``max_regions`` already.

    >>> add_region([((0, 0), (1, 9))], ((1, 0), (2, 9)))
    (((0, 0), (2, 9)),)
    """
    remaining: list[Bounds] = []
    for other in regions:
        if len(other[0]) != len(region[0]) or _contains(other, region):
            # The region is in the list already; or it has another number of axes, which only a new pyramid can correct.
            return tuple(regions)
        if not _contains(region, other):
            remaining.append(other)
    for number, other in enumerate(remaining):
        if _are_adjacent(other, region):
            return add_region(
                remaining[:number] + remaining[number + 1 :], _enclosing(other, region), max_regions
            )
    if len(remaining) < max_regions:
        return (*remaining, region)
    nearest = min(
        range(len(remaining)),
        key=lambda number: _size(_enclosing(remaining[number], region)) - _size(remaining[number]),
    )
    return add_region(
        remaining[:nearest] + remaining[nearest + 1 :], _enclosing(remaining[nearest], region), max_regions
    )


def subtract_region(
    regions: Sequence[Bounds], region: Bounds, max_regions: int = _MAX_REGIONS
) -> tuple[Bounds, ...]:
    """Subtract a region from a list; the result has at most ``max_regions`` regions.

    >>> subtract_region([((0,), (9,))], ((3,), (5,)))
    (((0,), (3,)), ((5,), (9,)))
    """
    pieces_of = [(other, _subtract(other, region)) for other in regions]
    remaining = tuple(other for other, pieces in pieces_of if pieces == [other])
    for other, pieces in pieces_of:
        for piece in pieces if pieces != [other] else ():
            remaining = add_region(remaining, piece, max_regions)
    return remaining


def intersect_regions(
    first: Sequence[Bounds], second: Sequence[Bounds], max_regions: int = _MAX_REGIONS
) -> tuple[Bounds, ...]:
    """Return the intersections of two lists, as at most ``max_regions`` regions.

    >>> intersect_regions([((0,), (4,)), ((6,), (9,))], [((2,), (7,))])
    (((2,), (4,)), ((6,), (7,)))
    """
    common: tuple[Bounds, ...] = ()
    for (start, stop), (other_start, other_stop) in itertools.product(first, second):
        if len(start) == len(other_start):
            low, high = tuple(map(max, start, other_start)), tuple(map(min, stop, other_stop))
            if all(map(operator.lt, low, high)):
                common = add_region(common, (low, high), max_regions)
    return common


def _contains(outer: Bounds, inner: Bounds) -> bool:
    return (
        len(outer[0]) == len(inner[0])
        and all(map(operator.le, outer[0], inner[0]))
        and all(map(operator.ge, outer[1], inner[1]))
    )


def _subtract(region: Bounds, other: Bounds) -> list[Bounds]:
    """Subtract another region from a region; return the remaining regions."""
    start, stop = list(region[0]), list(region[1])
    if len(start) != len(other[0]):
        return [region]
    if any(map(operator.ge, start, other[1])) or any(map(operator.le, stop, other[0])):
        return [region]
    remaining = []
    for axis, (low, high) in enumerate(zip(*other, strict=True)):
        if start[axis] < low:
            remaining.append((tuple(start), (*stop[:axis], low, *stop[axis + 1 :])))
            start[axis] = low
        if high < stop[axis]:
            remaining.append(((*start[:axis], high, *start[axis + 1 :]), tuple(stop)))
            stop[axis] = high
    return remaining


def _are_adjacent(first: Bounds, second: Bounds) -> bool:
    """Return whether the union of two regions is one region: equal along all axes but one, without a gap."""
    unequal = [
        axis
        for axis in range(len(first[0]))
        if (first[0][axis], first[1][axis]) != (second[0][axis], second[1][axis])
    ]
    if len(unequal) != 1:
        return False
    (axis,) = unequal
    return first[0][axis] <= second[1][axis] and second[0][axis] <= first[1][axis]


def _enclosing(first: Bounds, second: Bounds) -> Bounds:
    return tuple(map(min, first[0], second[0])), tuple(map(max, first[1], second[1]))


def _size(region: Bounds) -> int:
    return prod(stop - start for start, stop in zip(*region, strict=True))


_UNFINISHED = "unfinished"
_MAX_UNFINISHED = 32


@dataclass(frozen=True)
class Unfinished:
    """A region that was not written completely, and why the write stopped."""

    region: Bounds
    reason: str

    @property
    def spans(self) -> str:
        """The region as text: "[0:4, 8:16]"."""
        return f"[{', '.join(f'{start}:{stop}' for start, stop in zip(*self.region, strict=True))}]"

    def __str__(self) -> str:
        return f"{self.spans} was not written completely: {self.reason}"

    def to_json(self) -> JSONObject:
        """Return the entry of the record."""
        return {"start": list(self.region[0]), "stop": list(self.region[1]), "reason": self.reason}


def read_unfinished(attributes: JSONObject) -> tuple[Unfinished, ...]:
    """Read the unfinished regions from the attributes of an array.

    >>> read_unfinished(with_unfinished({}, Unfinished(((0,), (4,)), "too large")))
    (Unfinished(region=((0,), (4,)), reason='too large'),)
    """
    stored = own_record(attributes, _UNFINISHED)
    if not isinstance(stored, list):
        return ()
    entries = []
    for entry in stored:
        try:
            entries.append(Unfinished(_read_region(entry["start"], entry["stop"]), str(entry["reason"])))
        except (TypeError, KeyError, ValueError, OverflowError):
            continue  # another program wrote it
    return tuple(entries)


def with_unfinished(attributes: JSONObject, entry: Unfinished) -> JSONObject:
    """Return attributes with one more unfinished region; the oldest two of many become one that encloses both."""
    entries = [*_without_covered(read_unfinished(attributes), entry.region), entry]
    while len(entries) > _MAX_UNFINISHED:
        oldest, second, *newer = entries
        entries = [Unfinished(_enclosing(oldest.region, second.region), second.reason), *newer]
    return with_own_record(attributes, _UNFINISHED, [entry.to_json() for entry in entries])


def without_unfinished(attributes: JSONObject, region: Bounds) -> JSONObject:
    """Return attributes without the unfinished regions inside a region that was written.

    >>> without_unfinished(with_unfinished({"a": 1}, Unfinished(((0,), (4,)), "too large")), ((0,), (9,)))
    {'a': 1}
    """
    entries = [entry.to_json() for entry in _without_covered(read_unfinished(attributes), region)]
    return with_own_record(attributes, _UNFINISHED, entries or None)


def _without_covered(entries: tuple[Unfinished, ...], region: Bounds) -> list[Unfinished]:
    return [entry for entry in entries if not _contains(region, entry.region)]
