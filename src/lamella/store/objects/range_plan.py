"""Plan the requests for byte ranges of one object: near ranges share a request, long ones are split.

Waiting for an answer costs as much as transferring 256 kB, so smaller gaps between ranges are read too. No request is
longer than 8 MB, so that several run in parallel.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GAP = 256 << 10
"""Largest gap between two ranges of one request, in bytes."""

LONGEST = 8 << 20
"""Limit of one request, in bytes."""


class Span(NamedTuple):
    """Bytes that one request reads; (-n, 0) means the last n bytes."""

    start: int
    end: int

    @property
    def is_suffix(self) -> bool:
        """Whether the span counts from the end."""
        return self.start < 0


def spans_of(ranges: Sequence[tuple[int, int]]) -> list[Span]:
    """Return the requests for ranges of offset and length; a negative offset counts from the end."""
    spans: list[Span] = []
    for offset, length in sorted((offset, length) for offset, length in ranges if offset >= 0 and length > 0):
        end = offset + length
        last = spans[-1] if spans else None
        if last is not None and offset <= last.end + GAP and end - last.start <= LONGEST:
            spans[-1] = Span(last.start, max(last.end, end))
            continue
        start = offset if last is None else max(offset, last.end)
        spans += [Span(first, min(first + LONGEST, end)) for first in range(start, end, LONGEST)]
    return spans + [
        Span(offset, 0) for offset in sorted({offset for offset, length in ranges if offset < 0 < length})
    ]


def extract_ranges(ranges: Sequence[tuple[int, int]], answers: Mapping[Span, memoryview]) -> list[bytes]:
    """Return the bytes of each range from the answers of its requests, which may be short."""
    ordered = sorted(span for span in answers if not span.is_suffix)
    starts = [span.start for span in ordered]
    results: list[bytes] = []
    for offset, length in ranges:
        if offset < 0:
            results.append(bytes(answers[Span(offset, 0)][:length]) if length else b"")
            continue
        parts: list[memoryview] = []
        position, end = offset, offset + length
        for span in ordered[max(0, bisect_right(starts, offset) - 1) :]:
            if position >= end or span.start > position:
                break
            part = answers[span][position - span.start : end - span.start]
            parts.append(part)
            position += len(part)
        results.append(b"".join(parts))
    return results
