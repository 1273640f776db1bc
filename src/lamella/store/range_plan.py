"""Which requests read the ranges of one object: near ranges share a request, and long ones are split.

Each request to a service waits for a round trip, which costs as much as reading some 256 kB. So ranges with a smaller
gap between them are read by one request, gap included; no request is longer than 8 MB, so that several are under way.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GAP = 256 << 10
"""Bytes between two ranges that are read along with them rather than asked for apart."""

LONGEST = 8 << 20
"""Bytes of one request."""


class Span(NamedTuple):
    """Bytes that one request reads; a negative start with an end of 0 means that many bytes from the end."""

    start: int
    end: int

    @property
    def is_suffix(self) -> bool:
        """Whether the bytes are counted from the end."""
        return self.start < 0


def spans_of(ranges: Sequence[tuple[int, int]]) -> list[Span]:
    """Return the requests that read ranges of offset and length; a negative offset counts from the end.

    >>> spans_of([(0, 100), (5000, 100), (-20, 20), (1 << 30, 100)])
    [Span(start=0, end=5100), Span(start=1073741824, end=1073741924), Span(start=-20, end=0)]
    """
    found: list[Span] = []
    for offset, length in sorted((offset, length) for offset, length in ranges if offset >= 0 and length > 0):
        end = offset + length
        last = found[-1] if found else None
        if last is not None and offset <= last.end + GAP and end - last.start <= LONGEST:
            found[-1] = Span(last.start, max(last.end, end))
            continue
        start = offset if last is None else max(offset, last.end)
        found += [Span(first, min(first + LONGEST, end)) for first in range(start, end, LONGEST)]
    return found + [
        Span(offset, 0) for offset in sorted({offset for offset, length in ranges if offset < 0 < length})
    ]


def cut(ranges: Sequence[tuple[int, int]], came: Mapping[Span, memoryview]) -> list[bytes]:
    """Return the bytes of each range from those that its requests read, which may end early.

    >>> cut([(2, 3), (-2, 2), (8, 9)], {Span(2, 17): memoryview(b"cdefghij"), Span(-2, 0): memoryview(b"ij")})
    [b'cde', b'ij', b'ij']
    """
    ordered = sorted(span for span in came if not span.is_suffix)
    starts = [span.start for span in ordered]
    found: list[bytes] = []
    for offset, length in ranges:
        if offset < 0:
            found.append(bytes(came[Span(offset, 0)][:length]) if length else b"")
            continue
        pieces: list[memoryview] = []
        at, end = offset, offset + length
        for span in ordered[max(0, bisect_right(starts, offset) - 1) :]:
            if at >= end or span.start > at:
                break
            piece = came[span][at - span.start : end - span.start]
            pieces.append(piece)
            at += len(piece)
        found.append(b"".join(pieces))
    return found
