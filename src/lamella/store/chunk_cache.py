"""What was read of files and decoded, kept for as long as the files do not change.

Each value stands beside the stamp of the file that it came from, and is returned for that stamp alone: who asks looks
at the file first, so that what other programs wrote is seen.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

    from lamella.store.storage import Stamp

    Values: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CACHE_BYTES: Final = 64 << 20
"""Bytes of decoded chunks that are kept for the process, unless a store was opened with another limit."""

_INDEX_BYTES = 32 << 20


class StampedCache:
    """Arrays by key, each with a stamp; those that were used least recently go first.

    Parameters
    ----------
    limit : int
        Bytes that are kept at most; 0 keeps nothing.

    Examples
    --------
    >>> import numpy as np
    >>> cache = StampedCache(100)
    >>> cache.put("0/c/0", (1,), np.zeros(60, "u1"))
    >>> cache.get("0/c/0", (1,)).size, cache.get("0/c/0", (2,))
    (60, None)
    >>> cache.put("0/c/1", (1,), np.zeros(60, "u1"))
    >>> cache.get("0/c/0", (1,)) is None
    True
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Stamp, Values]] = OrderedDict()
        self._bytes = 0
        _caches.add(self)

    def get(self, key: Hashable, stamp: Stamp) -> Values | None:
        """Return the value of a key where its stamp is this one."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] != stamp:
                del self._kept[key]
                self._bytes -= found[1].nbytes
                return None
            self._kept.move_to_end(key)
            return found[1]

    def last(self, key: Hashable) -> tuple[Stamp, Values] | None:
        """Return what is kept for a key, with the stamp that it had."""
        with self._lock:
            return self._kept.get(key)

    def drop(self, key: Hashable) -> None:
        """Forget a key."""
        with self._lock:
            found = self._kept.pop(key, None)
            self._bytes -= 0 if found is None else found[1].nbytes

    def put(self, key: Hashable, stamp: Stamp, value: Values) -> None:
        """Keep a value that nobody changes any more; nothing happens where it is larger than the limit."""
        if value.nbytes > self.limit:
            return
        with self._lock:
            old = self._kept.pop(key, None)
            self._kept[key] = stamp, value
            self._bytes += value.nbytes - (0 if old is None else old[1].nbytes)
            while self._bytes > self.limit:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes

    def clear(self) -> None:
        """Forget everything, and whoever held the lock: a thread of the parent, after a fork."""
        self._lock = threading.Lock()
        self._kept = OrderedDict()
        self._bytes = 0


_caches: weakref.WeakSet[StampedCache] = weakref.WeakSet()

indexes: Final = StampedCache(_INDEX_BYTES)
"""The indexes of shards, for the process."""

decoded: Final = StampedCache(CACHE_BYTES)
"""The decoded chunks of all stores that were opened without a limit of their own, for the process."""


def _forget_after_fork() -> None:
    for cache in list(_caches):
        cache.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
