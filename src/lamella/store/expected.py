"""Documents that were asked for before they are read, because it is known that they will be: all in one round.

A storage whose requests wait is told of them by `Storage.expect`: those that tell the format of a store, those of the
next wells of a plate. What came is returned by one read, within seconds: whoever reads a document again asks for it.

No I/O.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

SECONDS: Final = 10.0
"""How long what came is returned."""


class Expected(Generic[T]):
    """What came for keys that are expected to be read; None for a key that is not there.

    Examples
    --------
    >>> expected = Expected[bytes]()
    >>> expected.keep({"A/zarr.json": b"{}", "B/zarr.json": None})
    >>> expected.peek("A/zarr.json"), expected.take("A/zarr.json"), expected.take("A/zarr.json")
    ((b'{}',), (b'{}',), None)
    >>> expected.take("B/zarr.json")
    (None,)
    """

    def __init__(self) -> None:
        self._came: dict[str, tuple[float, T | None]] = {}

    def keep(self, came: Mapping[str, T | None]) -> None:
        """Keep what came, and drop what is too old."""
        now = time.monotonic()
        self._came = {key: item for key, item in self._came.items() if now - item[0] < SECONDS}
        self._came.update((key, (now, found)) for key, found in came.items())

    def peek(self, key: str) -> tuple[T | None] | None:
        """Return what came for a key, to be returned again; None where nothing did."""
        found = self._came.get(key)
        return None if found is None or time.monotonic() - found[0] >= SECONDS else (found[1],)

    def take(self, key: str) -> tuple[T | None] | None:
        """Return what came for a key, once; None where nothing did."""
        found = self.peek(key)
        self._came.pop(key, None)
        return found

    def clear(self) -> None:
        """Drop all: something was written."""
        self._came.clear()
