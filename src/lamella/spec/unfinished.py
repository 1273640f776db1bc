"""Regions that a write did not complete, as recorded in the array's attributes.

A lazy source is written block by block. If one of its blocks is refused, others are stored already::

    "lamella": {"unfinished": [{"start": [0, 0], "stop": [4, 8], "reason": "the data hold 70000, ..."}]}

`status` and readers report the region until all of it is written.

Pure functions on attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamella.spec.stale_levels import Bounds
    from lamella.types import JSONObject

_OURS, _KEY = "lamella", "unfinished"
_MOST = 32


@dataclass(frozen=True)
class Unfinished:
    """A region that was not written completely.

    Attributes
    ----------
    region
        Start and stop of the region, in voxels.
    reason
        Why the write stopped.
    """

    region: Bounds
    reason: str

    def __str__(self) -> str:
        spans = ", ".join(f"{start}:{stop}" for start, stop in zip(*self.region, strict=True))
        return f"[{spans}] was not written completely: {self.reason}"


def read_unfinished(attributes: JSONObject) -> tuple[Unfinished, ...]:
    """Read the unfinished regions from the attributes of an array.

    >>> read_unfinished(with_unfinished({}, Unfinished(((0,), (4,)), "too large")))
    (Unfinished(region=((0,), (4,)), reason='too large'),)
    """
    own = attributes.get(_OURS)
    stored: Any = own.get(_KEY) if isinstance(own, dict) else None
    if not isinstance(stored, list):
        return ()
    entries = []
    for item in stored:
        try:
            start, stop = tuple(map(int, item["start"])), tuple(map(int, item["stop"]))
            entries.append(Unfinished((start, stop), str(item["reason"])))
        except (TypeError, KeyError, ValueError):
            continue  # of another writer
    return tuple(entries)


def with_unfinished(attributes: JSONObject, entry: Unfinished) -> JSONObject:
    """Return attributes with one more unfinished region; the oldest of many is dropped."""
    return _with(attributes, [*without_covered(read_unfinished(attributes), entry.region), entry][-_MOST:])


def finished(attributes: JSONObject, region: Bounds) -> JSONObject:
    """Return attributes without the unfinished regions inside a region that was written.

    >>> finished(with_unfinished({"a": 1}, Unfinished(((0,), (4,)), "too large")), ((0,), (9,)))
    {'a': 1}
    """
    return _with(attributes, without_covered(read_unfinished(attributes), region))


def without_covered(entries: tuple[Unfinished, ...], region: Bounds) -> list[Unfinished]:
    """Return the unfinished regions that a region does not cover."""
    return [entry for entry in entries if not _covers(region, entry.region)]


def _covers(outer: Bounds, inner: Bounds) -> bool:
    return (
        len(outer[0]) == len(inner[0])
        and all(a <= b for a, b in zip(outer[0], inner[0], strict=True))
        and all(a >= b for a, b in zip(outer[1], inner[1], strict=True))
    )


def _with(attributes: JSONObject, entries: list[Unfinished]) -> JSONObject:
    own = attributes.get(_OURS)
    others = {key: value for key, value in own.items() if key != _KEY} if isinstance(own, dict) else {}
    if entries:
        others[_KEY] = [
            {"start": list(entry.region[0]), "stop": list(entry.region[1]), "reason": entry.reason}
            for entry in entries
        ]
    rest = {key: value for key, value in attributes.items() if key != _OURS}
    return {**rest, _OURS: others} if others else rest
