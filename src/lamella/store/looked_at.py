"""Documents that were read a moment ago, and are not requested again by the same call.

A call that changes a store knows what it has read since it acquired a lock: what it writes is written on the condition
that the document is unchanged (`Storage.update`), so that nothing of others is lost. A handle that only reads knows
what it has read within two seconds.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

SECONDS: Final = 5.0
"""How long what was read counts."""


class Recent(Generic[T]):
    """The documents that were read within some seconds, None for those that are missing; older ones are dropped.

    >>> recent = Recent[bytes](10)
    >>> recent.keep("zarr.json", b"{}")
    >>> recent.get("zarr.json"), recent.get("A/zarr.json")
    ((b'{}',), None)
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._found: dict[str, tuple[float, T | None]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, found: T | None) -> None:
        """Keep a document."""
        now = time.monotonic()
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = now, found
            while self._found and now - self._found[oldest := next(iter(self._found))][0] >= self._seconds:
                del self._found[oldest]

    def get(self, key: str) -> tuple[T | None] | None:
        """Return a document; None where it has to be read."""
        at, found = self._found.get(key, (-self._seconds, None))
        return (found,) if time.monotonic() - at < self._seconds else None

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            self._found.clear()


class LookedAt(threading.local, Generic[T]):
    """The documents that this thread has read since it took a lock, None of those that are not there.

    Use it in a ``with`` statement for each lock: what is decided under a lock is read under it.

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

    def keep(self, key: str, found: T | None) -> None:
        """Keep what was read or written."""
        for look in self._looks[-1:]:
            look[key] = time.monotonic(), found

    def get(self, key: str) -> tuple[T | None] | None:
        """Return what was read of a key since the innermost lock was taken; None where it has to be read."""
        return next(self._found(key, self._looks[-1:]), None)

    def latest(self, key: str) -> tuple[T | None] | None:
        """Return what was read of a key since any lock was taken, to be changed under the condition that it is that."""
        return next(self._found(key, self._looks), None)

    def _found(self, key: str, looks: list[dict[str, tuple[float, T | None]]]) -> Iterator[tuple[T | None]]:
        now = time.monotonic()
        for look in reversed(looks):
            at, found = look.get(key, (-SECONDS, None))
            if now - at < SECONDS:
                yield (found,)

    def forget(self, key: str) -> None:
        """Drop what was read of a key: others have changed it."""
        for look in self._looks:
            look.pop(key, None)
