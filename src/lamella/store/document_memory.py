"""Cache documents that were read a moment ago, so that one call does not request them again.

A call that changes a store caches what it has read since it acquired a lock: it writes on the condition that the
document is unchanged (`Storage.update`), so that no change of others is lost. A read-only handle caches for 2 seconds.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

SECONDS: Final = 5.0
"""How long a cached document is used, in seconds."""


class Recent(Generic[T]):
    """Documents that were read within some seconds, None for missing ones; older ones are dropped.

    >>> recent = Recent[bytes](10)
    >>> recent.keep("zarr.json", b"{}")
    >>> recent.get("zarr.json"), recent.get("A/zarr.json")
    ((b'{}',), None)
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._documents: dict[str, tuple[float, T | None]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, document: T | None) -> None:
        """Cache a document."""
        now = time.monotonic()
        with self._lock:
            self._documents.pop(key, None)
            self._documents[key] = now, document
            while (
                self._documents
                and now - self._documents[oldest := next(iter(self._documents))][0] >= self._seconds
            ):
                del self._documents[oldest]

    def get(self, key: str) -> tuple[T | None] | None:
        """Return a cached document in a tuple; None if it must be read."""
        read_at, document = self._documents.get(key, (-self._seconds, None))
        return (document,) if time.monotonic() - read_at < self._seconds else None

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._documents.clear()


class LookedAt(threading.local, Generic[T]):
    """Documents that this thread has read since it acquired a lock, None for missing ones.

    A decision under a lock needs documents that were read under that lock. Where a thread acquires a second lock, it
    reads documents below the folder of that lock again; elsewhere, those read under the first lock are still used.

    >>> looked = LookedAt[bytes]()
    >>> with looked.under(""):
    ...     looked.keep("zarr.json", b"{}")
    ...     looked.keep("A/1/zarr.json", b"{}")
    ...     with looked.under("A/1"):
    ...         looked.get("zarr.json"), looked.get("A/1/zarr.json"), looked.latest("A/1/zarr.json")
    ((b'{}',), None, (b'{}',))
    >>> looked.latest("zarr.json")
    """

    def __init__(self) -> None:
        self._looks: list[tuple[str, dict[str, tuple[float, T | None]]]] = []

    @contextmanager
    def under(self, folder: str) -> Iterator[None]:
        """Read documents below a folder again, as long as its lock is held."""
        self._looks.append((f"{folder}/" if folder else "", {}))
        try:
            yield
        finally:
            self._looks.pop()

    def keep(self, key: str, document: T | None) -> None:
        """Cache a document that was read or written."""
        for _, look in self._looks[-1:]:
            look[key] = time.monotonic(), document

    def get(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read under the lock of its folder; None if it must be read."""
        for inside, look in reversed(self._looks):
            document = _fresh(look, key)
            if document is not None or key.startswith(inside):
                return document
        return None

    def latest(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read under any lock, as the base of a conditional write."""
        fresh = (_fresh(look, key) for _, look in reversed(self._looks))
        return next((found for found in fresh if found is not None), None)

    def forget(self, key: str) -> None:
        """Drop a document that others have changed."""
        for _, look in self._looks:
            look.pop(key, None)


def _fresh(look: dict[str, tuple[float, T | None]], key: str) -> tuple[T | None] | None:
    at, found = look.get(key, (-SECONDS, None))
    return (found,) if time.monotonic() - at < SECONDS else None
