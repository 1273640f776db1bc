"""The files of an array, open for reading: encoded chunks out of shards, or files of one chunk.

A file is opened once for all that is read from it and closed after the last chunk; what is read between comes from the
file that was opened, also when another process replaces it meanwhile. Indexes of shards are kept for the process, each
with the stamp of the file that it was read from. No decoding.

Layer: store.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.errors import DamagedDataError
from lamella.store.misplaced import require_file
from lamella.store.shard_index import NO_CHUNK, IndexForm, decode_index

if TYPE_CHECKING:
    import numpy as np

    from lamella.store.local import LocalStorage

Entries: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"

#: Bytes of shard indexes kept for the process.
_MOST_KEPT = 32 << 20

#: A file that changed less than this ago is not remembered. Its stamp would not tell it from one that takes its place
#: within the same tick of the file system's clock, in the inode that the one before it left.
_SETTLED_NS = 2_000_000_000


class _Indexes:
    """Indexes of shards by path, the least recently used go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[tuple[int, ...], Entries]] = OrderedDict()
        self._bytes = 0

    def get(self, path: str, stamp: tuple[int, ...]) -> Entries | None:
        with self._lock:
            found = self._kept.get(path)
            if found is None or found[0] != stamp:
                return None
            self._kept.move_to_end(path)
            return found[1]

    def put(self, path: str, stamp: tuple[int, ...], entries: Entries) -> None:
        with self._lock:
            old = self._kept.pop(path, None)
            self._kept[path] = stamp, entries
            self._bytes += entries.nbytes - (0 if old is None else old[1].nbytes)
            while self._bytes > _MOST_KEPT and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes


_indexes = _Indexes()


def _forget_after_fork() -> None:
    global _indexes  # noqa: PLW0603 (a thread of the parent may have held its lock)
    _indexes = _Indexes()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class ChunkFile:
    """One file, opened when its first chunk is asked for; safe for threads.

    Parameters
    ----------
    storage, key
        Where the file is.
    form
        How the index of the shard is stored; None for a file of one chunk.
    uses
        How many chunks will be asked for: after the last of them the file is closed.
    """

    def __init__(self, storage: LocalStorage, key: str, form: IndexForm | None, uses: int) -> None:
        self._storage = storage
        self._key = key
        self._path = f"{storage.root}/{key}"
        self._form = form
        self._left = uses
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._is_missing = False
        self._entries: Entries | None = None

    def chunk(self, number: int) -> bytes | None:
        """Return the bytes of one chunk by its number in the shard; None where it was never written.

        Raises
        ------
        DamagedDataError
            The file has no such bytes, or its index is damaged.
        OSError
            The system refused.
        """
        with self._lock:
            if self._fd is None and not self._is_missing:
                try:
                    self._open()
                except BaseException:
                    self._shut()  # and opened anew by the next thread, which is told of the damage too
                    raise
        if self._fd is None:
            return None
        if self._form is None:
            return self._range(0, self._size)
        assert self._entries is not None
        start, length = self._entries[number].tolist()
        if start == length == NO_CHUNK:
            return None
        if start + length > self._size:
            raise DamagedDataError(
                f"{self._path} has {self._size} bytes; its index places a chunk at {start} to {start + length}"
            )
        return self._range(start, length)

    @property
    def is_missing(self) -> bool:
        """Whether there was no file when it was to be opened."""
        return self._is_missing and self._left > 0

    def done(self) -> None:
        """Count one chunk as used."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._close()

    def close(self) -> None:
        """Close the file, whatever is still to be asked for."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._shut()
        self._is_missing = True

    def _shut(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> None:
        try:
            self._fd = self._storage.open_file(self._key)
        except (FileNotFoundError, NotADirectoryError):
            self._is_missing = True
            return
        found = os.fstat(self._fd)
        require_file(found.st_mode, self._path)
        self._size = found.st_size
        if self._form is None:
            return
        # With the form: a document that was changed, or is damaged, says that the same bytes are another index.
        times = (found.st_mtime_ns, found.st_ctime_ns)
        stamp = (found.st_dev, found.st_ino, *times, found.st_size, hash(self._form))
        self._entries = _indexes.get(self._path, stamp)
        if self._entries is None:
            start = max(0, self._size - self._form.size) if self._form.at_end else 0
            self._entries = decode_index(self._range(start, self._form.size), self._form, self._path)
            if time.time_ns() - max(times) > _SETTLED_NS:
                _indexes.put(self._path, stamp, self._entries)

    def _range(self, start: int, length: int) -> bytes:
        assert self._fd is not None
        data = os.pread(self._fd, length, start)
        while len(data) < length:  # a signal, or more than the system gives at once
            more = os.pread(self._fd, length - len(data), start + len(data))
            if not more:
                break
            data += more
        return data
