"""What a call that changes a store has read of it since it took a lock: it asks for no document twice.

What it writes is written under the condition that it still is what was read (`Storage.update`), so that what others
write meanwhile is found out; and what was read some seconds ago is read again.
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


class LookedAt(threading.local, Generic[T]):
    """The documents that this thread has read since it took a lock, None of those that are not there.

    Use it in a ``with`` statement for each lock: what is decided under a lock is read under it.

    Examples
    --------
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

    def clear(self) -> None:
        """Drop all: more was changed than single documents."""
        for look in self._looks:
            look.clear()
