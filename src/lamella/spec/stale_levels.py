"""The record of stale levels in an image's document: regions of level 0 that changed after the levels were computed.

The specification has no key for this. It is stored under lamella's own key of the group's attributes, which other
readers ignore::

    "lamella": {"stale_levels": {"writers": ["5f0c9a31"], "regions": [[[0, 0, 0, 0, 0], [1, 2, 8, 512, 512]]]}}

``writers``
    Names of processes that write to level 0 and have not recorded the regions yet. While there is one, all of the
    lower levels may be stale.
``regions``
    Regions of level 0 (start and stop in voxels) that finished writers have recorded.
``making``
    Present while all levels of a large image are computed: the unfinished regions of each level.
``unlisted``
    Levels that are being computed, and that the image lists when they are complete.
``unwritten``
    Levels that were created empty, with their unwritten regions in their own voxels.

Pure functions on attributes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamella.types import JSONObject

Box: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Start and stop of a region, in voxels."""

_KEY = "stale_levels"
_OURS = "lamella"
_MOST_BOXES = 32
_MOST_WRITERS = 64
MOST_REST = 64
"""Maximum number of recorded unfinished regions of one level."""
_MANY = "many"


@dataclass(frozen=True)
class PyramidJob:
    """The progress of computing all levels.

    Attributes
    ----------
    writer
        Name of the process, one of the writers.
    work
        Digest of the method and of the arrays.
    since
        Time of the file system when it began, in nanoseconds; None if the store has no times.
    rest
        For each lower level, the regions of level 0 that are unfinished.
    """

    writer: str
    work: str
    since: int | None
    rest: tuple[tuple[Box, ...], ...]

    def to_json(self) -> JSONObject:
        """Return the same as JSON values, with regions merged to at most 64 for each level."""
        rest = []
        for boxes in self.rest:
            few: tuple[Box, ...] = ()
            for box in boxes:
                few = with_box(few, box, MOST_REST)
            rest.append([[list(start), list(stop)] for start, stop in few])
        return {"writer": self.writer, "work": self.work, "since": self.since, "rest": rest}


@dataclass(frozen=True)
class StaleLevels:
    """The changes of level 0 that the lower levels do not show yet.

    Attributes
    ----------
    writers
        Names of processes that have not recorded their regions yet.
    regions
        Recorded regions.
    job
        Progress of computing all levels; None if that is not running, or has just begun.
    unlisted
        Paths of unfinished levels that the image does not list yet.
    unwritten
        Paths of levels that were created empty, each with its unwritten regions.
    """

    writers: tuple[str, ...] = ()
    regions: tuple[Box, ...] = ()
    job: PyramidJob | None = None
    unlisted: tuple[str, ...] = ()
    unwritten: tuple[tuple[str, tuple[Box, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.writers or self.regions or self.unlisted or self.unwritten)

    def names(self, writer: str) -> bool:
        """Return whether a writer has not recorded its regions yet."""
        return writer in self.writers or _MANY in self.writers

    def begun(self, writer: str) -> StaleLevels:
        """Add a writer with unknown regions."""
        if self.names(writer):
            return self
        if len(self.writers) >= _MOST_WRITERS:
            # Only a whole pyramid removes it.
            return replace(self, writers=(_MANY,), job=None)
        return replace(self, writers=(*self.writers, writer))

    def ended(self, writer: str, boxes: Iterable[Box]) -> StaleLevels:
        """Replace the name of a writer by its regions.

        >>> StaleLevels(("a", "b")).ended("a", [((0,), (4,))])
        StaleLevels(writers=('b',), regions=(((0,), (4,)),), job=None, unlisted=(), unwritten=())
        """
        regions = self.regions
        for box in boxes:
            regions = with_box(regions, box)
        job = None if self.job is None or self.job.writer == writer else self.job
        writers = tuple(name for name in self.writers if name != writer)
        return replace(self, writers=writers, regions=regions, job=job)

    def without(self, box: Box) -> StaleLevels:
        """Subtract a region.

        >>> StaleLevels(regions=(((0, 0), (4, 9)),)).without(((1, 0), (4, 9))).regions
        (((0, 0), (1, 9)),)
        """
        return replace(self, regions=without_box(self.regions, box))

    def without_channel(self, axis: int, index: int, level: str | None = None) -> StaleLevels:
        """Return the record of an image after an index of its channel axis was deleted, of level 0 or a lower level.

        >>> StaleLevels(regions=(((0, 0), (3, 4)), ((1, 0), (2, 4)), ((2, 0), (3, 4)))).without_channel(0, 1).regions
        (((0, 0), (2, 4)),)
        """
        if level is not None:
            return self.with_unwritten(level, _without_index(self.to_write(level), axis, index))
        regions: tuple[Box, ...] = ()
        for box in _without_index(self.regions, axis, index):
            regions = with_box(regions, box)
        return replace(self, regions=regions, job=None)

    def to_write(self, level: str) -> tuple[Box, ...]:
        """Return the unwritten regions of a level."""
        return dict(self.unwritten).get(level, ())

    def with_unwritten(self, level: str, boxes: Sequence[Box]) -> StaleLevels:
        """Set the unwritten regions of a level; without any, the level is removed.

        >>> StaleLevels().with_unwritten("1", [((0,), (4,))]).with_unwritten("1", [])
        StaleLevels(writers=(), regions=(), job=None, unlisted=(), unwritten=())
        """
        named = {**dict(self.unwritten), level: tuple(boxes)}
        return replace(self, unwritten=tuple((path, kept) for path, kept in named.items() if kept))


def read_stale(attributes: JSONObject) -> StaleLevels:
    """Read the record from the attributes of an image; an unreadable one means that everything may be stale.

    >>> read_stale({"lamella": {"stale_levels": {"writers": [], "regions": [[[0, 0], [4, 8]]]}}})
    StaleLevels(writers=(), regions=(((0, 0), (4, 8)),), job=None, unlisted=(), unwritten=())
    >>> bool(read_stale({}))
    False
    """
    own = attributes.get(_OURS) if isinstance(attributes, dict) else None  # as stored: any JSON
    record = own.get(_KEY) if isinstance(own, dict) else None
    if record is None:
        return StaleLevels()
    try:
        writers = tuple(str(name) for name in record["writers"])
        regions = _boxes(record["regions"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return StaleLevels((_MANY,))
    unlisted = record.get("unlisted")
    paths = tuple(path for path in unlisted if isinstance(path, str)) if isinstance(unlisted, list) else ()
    job, unwritten = _read_job(record.get("making")), _read_unwritten(record.get("unwritten"))
    return StaleLevels(writers, regions, job, paths, unwritten)


def _read_unwritten(record: Any) -> tuple[tuple[str, tuple[Box, ...]], ...]:
    """Read the unwritten regions of levels; unreadable ones cover the level forever."""
    if not isinstance(record, dict):
        return ()
    named = []
    for level, boxes in record.items():
        with suppress(TypeError, ValueError, OverflowError):
            named.append((level, _boxes(boxes)))
    return tuple(named)


def _read_job(record: Any) -> PyramidJob | None:
    """Read the progress of computing all levels; None if it is unreadable, so that all is computed again."""
    try:
        since = None if record["since"] is None else int(record["since"])
        return PyramidJob(
            str(record["writer"]), str(record["work"]), since, tuple(_boxes(one) for one in record["rest"])
        )
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _boxes(stored: Any) -> tuple[Box, ...]:
    return tuple((tuple(int(n) for n in start), tuple(int(n) for n in stop)) for start, stop in stored)


def with_stale(attributes: JSONObject, stale: StaleLevels) -> JSONObject:
    """Return attributes with a record; an empty record is removed.

    >>> with_stale({"ome": {}, "lamella": {"stale_levels": {}}}, StaleLevels())
    {'ome': {}}
    """
    own = attributes.get(_OURS)
    others = {key: value for key, value in own.items() if key != _KEY} if isinstance(own, dict) else {}
    if stale:
        regions = [[list(start), list(stop)] for start, stop in stale.regions]
        others[_KEY] = {"writers": list(stale.writers), "regions": regions}
        if stale.job is not None:
            others[_KEY]["making"] = stale.job.to_json()
        if stale.unlisted:
            others[_KEY]["unlisted"] = list(stale.unlisted)
        if stale.unwritten:
            others[_KEY]["unwritten"] = {
                level: [[list(start), list(stop)] for start, stop in boxes]
                for level, boxes in stale.unwritten
            }
    rest = {key: value for key, value in attributes.items() if key != _OURS}
    return {**rest, _OURS: others} if others else rest


def _without_index(boxes: Sequence[Box], axis: int, index: int) -> list[Box]:
    """Return regions of an array after an index of an axis was deleted; those of this index alone are gone."""
    moved = []
    for start, stop in boxes:
        ends = [place - (place > index) for place in (start[axis], stop[axis])]
        if ends[0] < ends[1]:
            first, last = (
                (*box[:axis], end, *box[axis + 1 :]) for box, end in zip((start, stop), ends, strict=True)
            )
            moved.append((first, last))
    return moved


def with_box(boxes: Sequence[Box], box: Box, most: int = _MOST_BOXES) -> tuple[Box, ...]:
    """Add a region to some, at most 32: merged with adjacent ones, and with the nearest if there are many.

    >>> with_box([((0, 0), (1, 9))], ((1, 0), (2, 9)))
    (((0, 0), (2, 9)),)
    """
    kept: list[Box] = []
    for other in boxes:
        if len(other[0]) != len(box[0]) or _contains(other, box):
            return tuple(
                boxes
            )  # nothing new; or another number of axes, which only a new pyramid can correct
        if not _contains(box, other):
            kept.append(other)
    for number, other in enumerate(kept):
        if _continues(other, box):
            return with_box(kept[:number] + kept[number + 1 :], _around(other, box), most)
    if len(kept) < most:
        return (*kept, box)
    nearest = min(
        range(len(kept)), key=lambda number: _size(_around(kept[number], box)) - _size(kept[number])
    )
    return with_box(kept[:nearest] + kept[nearest + 1 :], _around(kept[nearest], box), most)


def without_box(boxes: Sequence[Box], box: Box, most: int = _MOST_BOXES) -> tuple[Box, ...]:
    """Subtract a region from some; the result has at most ``most`` regions.

    >>> without_box([((0,), (9,))], ((3,), (5,)))
    (((0,), (3,)), ((5,), (9,)))
    """
    pieces = [(one, _less(one, box)) for one in boxes]
    kept = tuple(one for one, rest in pieces if rest == [one])
    for one, rest in pieces:
        for piece in rest if rest != [one] else ():
            kept = with_box(kept, piece, most)
    return kept


def common_boxes(some: Sequence[Box], others: Sequence[Box], most: int = _MOST_BOXES) -> tuple[Box, ...]:
    """Return the intersections of two lists, as at most ``most`` regions.

    >>> common_boxes([((0,), (4,)), ((6,), (9,))], [((2,), (7,))])
    (((2,), (4,)), ((6,), (7,)))
    """
    common: tuple[Box, ...] = ()
    for one in some:
        for other in others:
            if len(one[0]) == len(other[0]):
                both = tuple(map(max, one[0], other[0])), tuple(map(min, one[1], other[1]))
                if all(a < b for a, b in zip(*both, strict=True)):
                    common = with_box(common, both, most)
    return common


def _contains(outer: Box, inner: Box) -> bool:
    return all(a <= b for a, b in zip(outer[0], inner[0], strict=True)) and all(
        a >= b for a, b in zip(outer[1], inner[1], strict=True)
    )


def _less(region: Box, box: Box) -> list[Box]:
    """Subtract a box from a region; return the remaining boxes."""
    start, stop = list(region[0]), list(region[1])
    if len(start) != len(box[0]) or any(
        b >= d or a <= c for a, b, c, d in zip(stop, start, box[0], box[1], strict=True)
    ):
        return [region]
    rest = []
    for axis, (low, high) in enumerate(zip(*box, strict=True)):
        if start[axis] < low:
            rest.append((tuple(start), (*stop[:axis], low, *stop[axis + 1 :])))
            start[axis] = low
        if high < stop[axis]:
            rest.append(((*start[:axis], high, *start[axis + 1 :]), tuple(stop)))
            stop[axis] = high
    return rest


def _continues(one: Box, other: Box) -> bool:
    """Return whether two boxes form one: equal along all axes but one, without a gap."""
    unequal = [
        axis
        for axis, ends in enumerate(zip(*one, *other, strict=True))
        if (ends[0], ends[1]) != (ends[2], ends[3])
    ]
    if len(unequal) != 1:
        return False
    (axis,) = unequal
    return one[0][axis] <= other[1][axis] and other[0][axis] <= one[1][axis]


def _around(one: Box, other: Box) -> Box:
    return tuple(map(min, one[0], other[0])), tuple(map(max, one[1], other[1]))


def _size(box: Box) -> int:
    return prod(stop - start for start, stop in zip(*box, strict=True))
