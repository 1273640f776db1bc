"""Cache documents that were read a moment ago, so that one call does not request them again.

A call that changes a store caches what it has read since it acquired a lock: it writes on the condition that the
document is unchanged (`Storage.update`), so that no change of others is lost. A read-only handle caches for 2 seconds.
"""

from __future__ import annotations

import threading
import time
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

    Use it in a ``with`` statement for each lock: decisions under a lock need documents that were read under it.

    >>> looked = LookedAt[bytes]()
    >>> looked.keep("zarr.json", b"{}")
    >>> with looked:
    ...     looked.keep("zarr.json", b"{}")
    ...     with looked:
    ...         looked.get("zarr.json"), looked.latest("zarr.json")
    (None, (b'{}',))
    >>> looked.latest("zarr.json")
    """

    def __init__(self) -> None:
        self._looks: list[dict[str, tuple[float, T | None]]] = []

    def __enter__(self) -> None:
        self._looks.append({})

    def __exit__(self, *_: object) -> None:
        self._looks.pop()

    def keep(self, key: str, document: T | None) -> None:
        """Cache a document that was read or written."""
        for look in self._looks[-1:]:
            look[key] = time.monotonic(), document

    def get(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read since the innermost lock was acquired; None if it must be read."""
        return next(self._found(key, self._looks[-1:]), None)

    def latest(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read under any lock, as the base of a conditional write."""
        return next(self._found(key, self._looks), None)

    def _found(self, key: str, looks: list[dict[str, tuple[float, T | None]]]) -> Iterator[tuple[T | None]]:
        now = time.monotonic()
        for look in reversed(looks):
            at, found = look.get(key, (-SECONDS, None))
            if now - at < SECONDS:
                yield (found,)

    def forget(self, key: str) -> None:
        """Drop a document that others have changed."""
        for look in self._looks:
            look.pop(key, None)
