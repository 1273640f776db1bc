"""Keep the values that were used last, such as open files and parsed pages."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class LastUsed(Generic[K, V]):
    """The ``max_items`` most recently used values by key, for several threads; each dropped one is passed to ``close``.

    >>> recent = LastUsed(2)
    >>> for name in "abc":
    ...     _ = recent.put(name, name.upper())
    >>> recent.get("a"), recent.get("b"), recent.get_or_make("a", lambda: "again"), recent.get("c")
    (None, 'B', 'again', None)
    """

    def __init__(self, max_items: int, close: Callable[[V], object] = lambda value: None) -> None:
        self._max_items, self._close = max_items, close
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.RLock()

    def unlock_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have locked when the process was forked."""
        self._lock = threading.RLock()

    def get(self, key: K) -> V | None:
        """Return a value; None without it."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: K, value: V) -> V:
        """Add a value, and return it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._max_items:
                self._close(self._values.popitem(last=False)[1])
        return value

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """Return a value; if it is missing, make it while other threads wait."""
        with self._lock:
            if key not in self._values:
                return self.put(key, make())
            self._values.move_to_end(key)
            return self._values[key]

    def values(self) -> list[V]:
        """Return all values, the most recently used last."""
        with self._lock:
            return list(self._values.values())

    def clear(self) -> None:
        """Drop all values."""
        with self._lock:
            while self._values:
                self._close(self._values.popitem()[1])
