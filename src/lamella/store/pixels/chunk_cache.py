"""Cache shard indexes and decoded chunks, each with the stamp of the file that it was read from.

Callers look up the present stamp of the file first, so that changes by other programs are noticed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

    from lamella.store.pixels.coding import DecodedChunk
    from lamella.store.storage import Stamp


CACHE_BYTES: Final = 64 << 20
"""Limit of the cache of decoded chunks of this process, in bytes; a store may have another limit."""

_INDEX_BYTES = 32 << 20


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Value = TypeVar("Value", bound=_Sized)


class StampedCache(Generic[Value]):
    """Arrays by key, each with a stamp; the least recently used ones are dropped beyond ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Stamp, Value]] = OrderedDict()
        self._bytes = 0
        _caches.add(self)

    def get(self, key: Hashable, stamp: Stamp) -> Value | None:
        """Return the cached value of a key; None where it has another stamp."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] != stamp:
                del self._entries[key]
                self._bytes -= entry[1].nbytes
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def last(self, key: Hashable) -> tuple[Stamp, Value] | None:
        """Return the cached value of a key with its stamp."""
        with self._lock:
            return self._entries.get(key)

    def drop(self, key: Hashable) -> None:
        """Remove a key."""
        with self._lock:
            entry = self._entries.pop(key, None)
            self._bytes -= 0 if entry is None else entry[1].nbytes

    def put(self, key: Hashable, stamp: Stamp, value: Value) -> None:
        """Cache a value that is not changed any more, unless it is larger than the limit."""
        if value.nbytes > self.limit:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self._entries[key] = stamp, value
            self._bytes += value.nbytes - (0 if old is None else old[1].nbytes)
            while self._bytes > self.limit:
                self._bytes -= self._entries.popitem(last=False)[1][1].nbytes

    def clear(self) -> None:
        """Remove everything, and replace the lock, which a thread of the parent process may have held at the fork."""
        self._lock = threading.Lock()
        self._entries = OrderedDict()
        self._bytes = 0


_caches: weakref.WeakSet[StampedCache[Any]] = weakref.WeakSet()

indexes: Final[StampedCache[np.ndarray[Any, np.dtype[np.uint64]]]] = StampedCache(_INDEX_BYTES)
"""Shard indexes of all stores of this process."""

decoded: Final[StampedCache[DecodedChunk]] = StampedCache(CACHE_BYTES)
"""Decoded chunks of all stores that were opened without their own limit."""


def _forget_after_fork() -> None:
    for cache in list(_caches):
        cache.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
