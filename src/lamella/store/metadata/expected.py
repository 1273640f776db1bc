"""Keep documents that were requested ahead, in one round, until they are read once.

`Storage.expect` requests keys that will be read soon, such as the documents of the next wells. A document is returned
by one read within seconds; later reads ask the store again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

SECONDS: Final = 10.0
"""How long a document that was requested ahead is returned."""


class Expected(Generic[T]):
    """Values of keys that were requested ahead; None for a key that is missing in the store. Safe for threads.

    >>> expected = Expected[bytes]()
    >>> expected.add({"A/zarr.json": b"{}", "B/zarr.json": None})
    >>> expected.peek("A/zarr.json"), expected.pop("A/zarr.json"), expected.pop("A/zarr.json")
    ((b'{}',), (b'{}',), None)
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, T | None]] = {}
        self._lock = threading.Lock()

    def add(self, values: Mapping[str, T | None]) -> None:
        """Add values, and drop those that are too old."""
        now = time.monotonic()
        with self._lock:
            self._values = {key: item for key, item in self._values.items() if now - item[0] < SECONDS}
            self._values.update((key, (now, value)) for key, value in values.items())

    def peek(self, key: str) -> tuple[T | None] | None:
        """Return the value of a key in a tuple; None where there is no value."""
        entry = self._values.get(key)
        return None if entry is None or time.monotonic() - entry[0] >= SECONDS else (entry[1],)

    def pop(self, key: str) -> tuple[T | None] | None:
        """Return the value of a key as `peek` does, and drop it."""
        with self._lock:
            value = self.peek(key)
            self._values.pop(key, None)
        return value

    def clear(self) -> None:
        """Drop all values, because a key was written."""
        with self._lock:
            self._values.clear()
