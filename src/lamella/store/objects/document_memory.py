"""Remember documents of an object store that were read a moment ago, so that one call does not request them again.

A call that changes a store uses what it has read since it acquired a lock, and writes on the condition that the
document is unchanged. A read-only handle uses documents for 2 seconds. A write of this process to any object store
clears all documents except those that a thread has read under a lock.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from lamella.store.keys import METADATA_FILES, check_key, is_document
from lamella.store.objects.object_reads import GetResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from lamella.store.storage import Stamp

T = TypeVar("T")

SECONDS_EXPECTED: Final = 10.0
"""For how many seconds a document that was requested ahead is returned."""

SECONDS: Final = 5.0
"""For how many seconds a document that was read under a lock is used."""

_MAX_STAMPS = 100_000
"""Maximum number of stamps that are remembered."""

_changes = [0]
"""Number of writes of this process to any object store."""


class RecentDocuments(Generic[T]):
    """Documents by key that are younger than some seconds, None for missing ones; safe for threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._documents: dict[str, tuple[float, T | None]] = {}
        self._lock = threading.Lock()

    def add(self, documents: Mapping[str, T | None]) -> None:
        """Add documents, and drop those that are too old."""
        now = time.monotonic()
        with self._lock:
            for key, document in documents.items():
                self._documents.pop(key, None)
                self._documents[key] = now, document
            while (
                self._documents
                and now - self._documents[oldest := next(iter(self._documents))][0] >= self._seconds
            ):
                del self._documents[oldest]

    def peek(self, key: str) -> tuple[T | None] | None:
        """Return a document in a tuple; None if it must be read."""
        read_at, document = self._documents.get(key, (-self._seconds, None))
        return (document,) if time.monotonic() - read_at < self._seconds else None

    def pop(self, key: str) -> tuple[T | None] | None:
        """Return a document as `peek` does, and drop it."""
        with self._lock:
            document = self.peek(key)
            self._documents.pop(key, None)
        return document

    def clear(self) -> None:
        """Drop all documents."""
        with self._lock:
            self._documents.clear()


class ReadUnderLocks(threading.local, Generic[T]):
    """Documents that this thread has read since it acquired a lock, None for missing ones.

    A decision under a lock needs documents that were read under that lock. A thread that acquires a second lock reads
    documents below the folder of that lock again; of other folders it still uses those read under the first lock.
    """

    def __init__(self) -> None:
        self._locks: list[tuple[str, RecentDocuments[T]]] = []

    @contextmanager
    def under(self, folder: str) -> Iterator[None]:
        """Read documents below a folder again, as long as its lock is held."""
        self._locks.append((f"{folder}/" if folder else "", RecentDocuments(SECONDS)))
        try:
            yield
        finally:
            self._locks.pop()

    def __bool__(self) -> bool:
        return bool(self._locks)

    def handed_over(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a context for other threads, in which they use and add to what this thread has read so far."""
        locks = list(self._locks)

        @contextmanager
        def as_this_thread() -> Iterator[None]:
            own, self._locks = self._locks, list(locks)
            try:
                yield
            finally:
                self._locks = own

        return as_this_thread

    def add(self, documents: Mapping[str, T | None]) -> None:
        """Add documents that were read or written."""
        for _, recent in self._locks[-1:]:
            recent.add(documents)

    def get(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read under the lock of its folder; None if it must be read."""
        for folder, recent in reversed(self._locks):
            document = recent.peek(key)
            if document is not None or key.startswith(folder):
                return document
        return None

    def latest(self, key: str) -> tuple[T | None] | None:
        """Return a document that was read under any lock, as the base of a conditional write."""
        documents = (recent.peek(key) for _, recent in reversed(self._locks))
        return next((document for document in documents if document is not None), None)

    def forget(self, key: str) -> None:
        """Drop a document that others have changed."""
        for _, recent in self._locks:
            recent.pop(key)


class DocumentMemory:
    """The documents of an object store that may be used without a request.

    =============  =====================================================================================
    ``_ahead``     requested ahead in one round; each is returned by one read
    ``_locked``    read by this thread since it acquired a lock: the base of a conditional write
    ``_recent``    read by a read-only handle in the last seconds
    ``_created``   the documents of the root of a store that was created a moment ago: no others exist
    ``_stamps``    the stamps of documents, with the time when they were read
    =============  =====================================================================================

    A document is returned in a tuple, with None for one that is missing in the store; None without a tuple means that
    it must be requested.
    """

    def __init__(self, seconds_trusted: float) -> None:
        self._ahead: RecentDocuments[GetResult] = RecentDocuments(SECONDS_EXPECTED)
        self._locked: ReadUnderLocks[GetResult] = ReadUnderLocks()
        self._recent: RecentDocuments[GetResult] = RecentDocuments(seconds_trusted)
        self._created: tuple[float, dict[str, GetResult | None]] | None = None
        self._stamps: dict[str, tuple[float, Stamp | None]] = {}
        self._seconds_trusted = seconds_trusted
        self._changes = _changes[0]

    def for_read(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document for a read: one that was requested ahead is returned once, and counts as read now."""
        self._clear_if_changed()
        ahead = self._ahead.pop(key)
        if ahead is None:
            return self._locked.get(key) or self._recent.peek(key) or self._in_new_store(key)
        self._locked.add({key: ahead[0]})
        requested_at, stamp = self._stamps.get(key, (0.0, ()))
        if stamp == (ahead[0] and ahead[0].stamp):
            # The stamp is trusted for `seconds_trusted` from now on, but not after `SECONDS_EXPECTED` from its request.
            latest = requested_at + SECONDS_EXPECTED - self._seconds_trusted
            self._stamps[key] = min(time.monotonic(), latest), stamp
        return ahead

    def for_lookup(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document whose stamp or size is needed; one that was requested ahead can still be read."""
        self._clear_if_changed()
        return (
            self._ahead.peek(key)
            or self._locked.get(key)
            or self._recent.peek(key)
            or self._in_new_store(key)
        )

    def for_write(self, key: str) -> tuple[GetResult | None] | None:
        """Return a document that was read under any lock, as the base of a conditional write."""
        return self._locked.latest(key) or self._in_new_store(key)

    def not_remembered(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of documents that must be requested."""
        return [key for key in dict.fromkeys(map(check_key, keys)) if self.for_lookup(key) is None]

    def stamp(self, key: str) -> tuple[float, Stamp | None] | None:
        """Return the last stamp of a document, after the time when it was read; None where it was not read."""
        self._clear_if_changed()
        return self._stamps.get(key)

    def confirm(self, key: str, stamp: Stamp) -> None:
        """Remember that a document has a stamp now."""
        self._stamps[key] = time.monotonic(), stamp

    @staticmethod
    def changes() -> int:
        """Return the number of writes of this process; `add` ignores what was requested before the last one."""
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
        for key in filter(is_document, results):
            result = results[key]
            self._stamps[key] = now, None if result is None else result.stamp
        metadata = {key: result for key, result in results.items() if _is_metadata(key)}
        self._locked.add(metadata)
        if recent:
            self._recent.add(metadata)
        if ahead:
            self._ahead.add(results)

    def add_written(self, key: str, data: bytes, stamp: Stamp | None) -> None:
        """Remember a document that was written, as if it had been read."""
        if stamp is not None and _is_metadata(key):
            self._locked.add({key: GetResult(memoryview(data), stamp, len(data), {})})

    def will_remember(self, key: str) -> bool:
        """Return whether a document that this thread reads now is remembered until it releases a lock."""
        return bool(self._locked) and _is_metadata(key)

    def drop_ahead(self, keys: Iterable[str]) -> None:
        """Drop documents that were requested ahead and will not be read."""
        for key in keys:
            self._ahead.pop(key)

    def forget(self, key: str) -> None:
        """Drop a document that others have changed."""
        self._locked.forget(key)

    def count_change(self) -> None:
        """Count a write of this process; every storage clears its documents before it uses the next one."""
        _changes[0] += 1

    def under(self, folder: str) -> AbstractContextManager[None]:
        """Remember what this thread reads below a folder, as long as its lock is held."""
        return self._locked.under(folder)

    def handed_over(self) -> Callable[[], AbstractContextManager[None]]:
        """Return a context in which another thread remembers what this thread does, see `under`."""
        return self._locked.handed_over()

    def note_created(self) -> None:
        """Assume for 5 seconds that the store has only the documents of its root, which this thread has written."""
        documents = {name: latest[0] for name in METADATA_FILES if (latest := self._locked.latest(name))}
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
        if self._created is None or self.in_new_root() is None or not _is_metadata(key):
            return None
        documents = self._created[1]
        self._locked.add(
            {name: document for name, document in documents.items() if not self._locked.latest(name)}
        )
        self._locked.add({key: documents.get(key)})
        return (documents.get(key),)

    def _clear_if_changed(self) -> None:
        if self._changes != _changes[0]:
            self._changes = _changes[0]
            self._ahead.clear()
            self._recent.clear()
            self._stamps.clear()
            self._created = None


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in METADATA_FILES
