"""Remember documents of an object store that were read a moment ago, so that one call does not request them again.

A call that changes a store uses what it has read since it acquired a lock, and writes on the condition that the
document is unchanged. A read-only handle uses documents for 2 seconds. A write of this process to any object store
clears all but what a thread has read under a lock. `Expected` keeps documents that `Storage.expect` requested ahead,
until they are read once.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from lamella.store.keys import DOCUMENTS, METADATA_FILES, check_key
from lamella.store.objects.object_reads import GetResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lamella.store.storage import Stamp

T = TypeVar("T")

SECONDS_EXPECTED: Final = 10.0
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
            self._values = {
                key: item for key, item in self._values.items() if now - item[0] < SECONDS_EXPECTED
            }
            self._values.update((key, (now, value)) for key, value in values.items())

    def peek(self, key: str) -> tuple[T | None] | None:
        """Return the value of a key in a tuple; None where there is no value."""
        entry = self._values.get(key)
        return None if entry is None or time.monotonic() - entry[0] >= SECONDS_EXPECTED else (entry[1],)

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


SECONDS: Final = 5.0
"""How long a document is used that was read under a lock, in seconds."""

_MAX_STAMPS = 100_000
"""Maximum number of stamps that are remembered."""
_changes = [0]
"""Number of writes of this process to any object store."""


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


class DocumentMemory:
    """The documents of an object store that may be used without a request.

    =============  ============================================================================================
    ``_ahead``     requested ahead in one round; each is returned by one read
    ``_looks``     read by this thread since it acquired a lock: the base of a conditional write
    ``_recent``    read by a read-only handle in the last seconds
    ``_created``   the documents of the root of a store that was created a moment ago: no others exist
    ``_stamps``    the stamps of documents, with the time when they were read
    =============  ============================================================================================

    A document is returned in a tuple, with None for one that is missing in the store; None without a tuple means that
    it must be requested.
    """

    def __init__(self, seconds_trusted: float) -> None:
        self._ahead: Expected[GetResult] = Expected()
        self._looks: LookedAt[GetResult] = LookedAt()
        self._recent: Recent[GetResult] = Recent(seconds_trusted)
        self._created: tuple[float, dict[str, GetResult | None]] | None = None
        self._stamps: dict[str, tuple[float, Stamp | None]] = {}
        self._seconds_trusted = seconds_trusted
        self._changes = _changes[0]

    def take(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document for a read: one that was requested ahead is returned once, and counts as read now."""
        self._clear_if_changed()
        ahead = self._ahead.pop(key)
        if ahead is None:
            return self._looks.get(key) or self._recent.get(key) or self._in_new_store(key)
        self._looks.keep(key, ahead[0])
        came_at, stamp = self._stamps.get(key, (0.0, ()))
        if stamp == (
            ahead[0] and ahead[0].stamp
        ):  # trusted no longer than a document that is read last of all
            self._stamps[key] = (
                min(time.monotonic(), came_at + SECONDS_EXPECTED - self._seconds_trusted),
                stamp,
            )
        return ahead

    def find(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document whose stamp or size is needed: one that was requested ahead can still be read."""
        self._clear_if_changed()
        return (
            self._ahead.peek(key) or self._looks.get(key) or self._recent.get(key) or self._in_new_store(key)
        )

    def base(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document that was read under any lock, as the base of a conditional write."""
        return self._looks.latest(key) or self._in_new_store(key)

    def unknown(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of documents that must be requested."""
        return [key for key in dict.fromkeys(map(check_key, keys)) if self.find(key) is None]

    def stamp(self, key: str) -> tuple[float, Stamp | None] | None:
        """Return the last stamp of a document, after the time when it was read; None for an unknown one."""
        self._clear_if_changed()
        return self._stamps.get(key)

    def confirm(self, key: str, stamp: Stamp) -> None:
        """Remember that a document has a stamp now."""
        self._stamps[key] = time.monotonic(), stamp

    @staticmethod
    def changes() -> int:
        """Return how many writes of this process there were: `add` takes nothing that was requested before the last."""
        return _changes[0]

    def add(
        self, results: Mapping[str, GetResult | None], *, recent: bool, since: int, ahead: bool = False
    ) -> None:
        """Remember documents that were read: ``recent`` by a read-only handle, ``ahead`` for a read that follows."""
        if recent and since != _changes[0]:
            return
        now = time.monotonic()
        if len(self._stamps) > _MAX_STAMPS:
            self._stamps.clear()
        for key, result in results.items():
            name = key.rpartition("/")[2]
            if name in DOCUMENTS:
                self._stamps[key] = now, None if result is None else result.stamp
            if name in METADATA_FILES:
                self._looks.keep(key, result)
                if recent:
                    self._recent.keep(key, result)
        if ahead:
            self._ahead.add(results)

    def add_written(self, key: str, data: bytes, stamp: Stamp | None) -> None:
        """Remember a document that was written, as if it had been read."""
        if stamp is not None and key.rpartition("/")[2] in METADATA_FILES:
            self._looks.keep(key, GetResult(memoryview(data), stamp, len(data), {}))

    def drop_ahead(self, keys: Iterable[str]) -> None:
        """Drop documents that were requested ahead and will not be read."""
        for key in keys:
            self._ahead.pop(key)

    def forget(self, key: str) -> None:
        """Drop a document that others have changed."""
        self._looks.forget(key)

    def count_change(self) -> None:
        """Count a write of this process: every storage clears its documents before it uses the next one."""
        _changes[0] += 1

    def under(self, folder: str) -> AbstractContextManager[None]:
        """Remember what this thread reads below a folder, as long as its lock is held."""
        return self._looks.under(folder)

    def note_created(self) -> None:
        """Assume for 5 seconds that the store has only the documents of its root, which this thread has written."""
        documents = {name: looked[0] for name in METADATA_FILES if (looked := self._looks.latest(name))}
        self._clear_if_changed()
        if any(documents.values()):  # none are remembered if the service returns no ETags for writes
            self._created = time.monotonic(), documents

    def in_new_root(self) -> set[str] | None:
        """Return the names in the root of a store that was created a moment ago; None for any other store."""
        self._clear_if_changed()
        if self._created is None or time.monotonic() - self._created[0] >= SECONDS:
            return None
        return {name for name, document in self._created[1].items() if document}

    def _in_new_store(self, key: str) -> tuple[GetResult | None] | None:
        if (
            self._created is None
            or self.in_new_root() is None
            or key.rpartition("/")[2] not in METADATA_FILES
        ):
            return None
        documents = self._created[1]
        for name, document in documents.items():
            if self._looks.latest(name) is None:
                self._looks.keep(name, document)
        self._looks.keep(key, documents.get(key))
        return (documents.get(key),)

    def _clear_if_changed(self) -> None:
        if self._changes != _changes[0]:
            self._changes = _changes[0]
            self._ahead.clear()
            self._recent.clear()
            self._stamps.clear()
            self._created = None
