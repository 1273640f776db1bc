"""Regions of an array that a call began to write and could not, as the array's attributes say it.

A lazy source is written block by block: when one of its blocks is refused, others are stored already::

    "lamella": {"unfinished": [{"start": [0, 0], "stop": [4, 8], "reason": "the data hold 70000, ..."}]}

`status` and readers report it until the region is written whole.

Layer: spec. Pure functions on attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamella.spec.stale_levels import Box
    from lamella.types import JSONObject

_OURS, _KEY = "lamella", "unfinished"
_MOST = 32


@dataclass(frozen=True)
class Unfinished:
    """A region that was not written to its end.

    Attributes
    ----------
    box
        Start and stop of the region, in voxels.
    reason
        Why it was not.
    """

    box: Box
    reason: str

    def __str__(self) -> str:
        spans = ", ".join(f"{start}:{stop}" for start, stop in zip(*self.box, strict=True))
        return f"[{spans}] was not written to its end: {self.reason}"


def read_unfinished(attributes: JSONObject) -> tuple[Unfinished, ...]:
    """Read the regions that attributes of an array name.

    >>> read_unfinished(with_unfinished({}, Unfinished(((0,), (4,)), "too large")))
    (Unfinished(box=((0,), (4,)), reason='too large'),)
    """
    own = attributes.get(_OURS)
    stored: Any = own.get(_KEY) if isinstance(own, dict) else None
    if not isinstance(stored, list):
        return ()
    regions = []
    for one in stored:
        try:
            start, stop = tuple(map(int, one["start"])), tuple(map(int, one["stop"]))
            regions.append(Unfinished((start, stop), str(one["reason"])))
        except (TypeError, KeyError, ValueError):
            continue  # of another writer
    return tuple(regions)


def with_unfinished(attributes: JSONObject, region: Unfinished) -> JSONObject:
    """Return attributes that name one region more; the oldest of many is dropped."""
    return _with(attributes, [*without_covered(read_unfinished(attributes), region.box), region][-_MOST:])


def finished(attributes: JSONObject, box: Box) -> JSONObject:
    """Return attributes that name no region inside a box, which was written.

    >>> finished(with_unfinished({"a": 1}, Unfinished(((0,), (4,)), "too large")), ((0,), (9,)))
    {'a': 1}
    """
    return _with(attributes, without_covered(read_unfinished(attributes), box))


def without_covered(regions: tuple[Unfinished, ...], box: Box) -> list[Unfinished]:
    """Return the regions that a box does not cover."""
    return [region for region in regions if not _covers(box, region.box)]


def _covers(outer: Box, inner: Box) -> bool:
    return (
        len(outer[0]) == len(inner[0])
        and all(a <= b for a, b in zip(outer[0], inner[0], strict=True))
        and all(a >= b for a, b in zip(outer[1], inner[1], strict=True))
    )


def _with(attributes: JSONObject, regions: list[Unfinished]) -> JSONObject:
    own = attributes.get(_OURS)
    kept = {key: value for key, value in own.items() if key != _KEY} if isinstance(own, dict) else {}
    if regions:
        kept[_KEY] = [
            {"start": list(region.box[0]), "stop": list(region.box[1]), "reason": region.reason}
            for region in regions
        ]
    rest = {key: value for key, value in attributes.items() if key != _OURS}
    return {**rest, _OURS: kept} if kept else rest
