"""The bytes of an archive: a local file, or an object of another storage, as it was when it was opened."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from stat import S_ISREG
from typing import TYPE_CHECKING

from lamella.errors import StorageError
from lamella.store import file_system as system
from lamella.store.storage import ChangedError, RangeRequest
from lamella.store.zip_directory import TAIL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.storage import RangesRead, Stamp, Storage


class ArchiveFile(ABC):
    """A file that is read in ranges; each raises `StorageError` once the file is another one."""

    #: Path or URL.
    name: str

    @abstractmethod
    def exists(self) -> bool:
        """Whether the file is there."""

    @abstractmethod
    def stamp(self) -> Stamp | None:
        """Return the stamp of the file as it was opened; None where the store has none."""

    @abstractmethod
    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range, an offset and a length, shorter past the end.

        A negative offset counts from the end.

        Raises
        ------
        StorageError
            The file changed, is not there any more, or could not be read.
        """

    def _changed(self) -> StorageError:
        return StorageError(
            f"Cannot read {self.name}: the archive was changed since it was opened. Open it again."
        )


class LocalArchive(ArchiveFile):
    """A file of the local file system: opened when it is first read, closed with the object."""

    def __init__(self, path: str) -> None:
        self.name = os.path.abspath(path)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._stamp: Stamp | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return LocalArchive, (self.name,)

    def exists(self) -> bool:
        """Whether there is a file at the path."""
        return self._fd is not None or os.path.isfile(self.name)

    def stamp(self) -> Stamp | None:
        """Return time, size and inode."""
        self._open()
        return self._stamp

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges of the file that is open: one call of the system for each, and one for its stamp."""
        fd = self._open()
        try:
            found = os.fstat(fd)
            if _stamp_of(found) != self._stamp:
                raise self._changed()
            size = found.st_size
            return [_pread(fd, start if start >= 0 else max(0, start + size), n) for start, n in ranges]
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"Cannot read {self.name}: {error.strerror or error}") from error

    def _open(self) -> int:
        with self._lock:
            if self._fd is None:
                try:
                    fd = os.open(self.name, system.READ)
                    found = os.fstat(fd)
                except OSError as error:
                    raise StorageError(f"Cannot read {self.name}: {error.strerror or error}") from error
                weakref.finalize(self, os.close, fd)
                if not S_ISREG(found.st_mode):
                    raise StorageError(f"Cannot read {self.name}: it is not a file.")
                self._stamp = _stamp_of(found)
                self._fd = fd
            return self._fd


def _stamp_of(found: os.stat_result) -> Stamp:
    """Return what changes when a file that is open is written into; not when it is renamed or removed."""
    return system.stamp_of(found)[:3]


def _pread(fd: int, start: int, length: int) -> bytes:
    """Return bytes of an open file, fewer where it ends before."""
    if not hasattr(os, "pread"):  # pragma: no cover
        with _seeking:
            os.lseek(fd, start, os.SEEK_SET)
            return os.read(fd, length)
    data = os.pread(fd, length, start)
    while len(data) < length:  # a signal, or more than the system returns at once
        more = os.pread(fd, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


_seeking = threading.Lock()


class RemoteArchive(ArchiveFile):
    """An object of another storage, read by its ranges; its end is kept, which the directory is in."""

    def __init__(self, storage: Storage, key: str) -> None:
        self.name = storage.where(key)
        self._storage = storage
        self._key = key
        self._lock = threading.Lock()
        self._tail: bytes | None = None
        self._stamp: Stamp | None = None
        self._is_known = False

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteArchive, (self._storage, self._key)

    def exists(self) -> bool:
        """Whether there is such an object; its end is read with the same request."""
        if not self._is_known:
            with self._lock:
                if not self._is_known:
                    found = self._asked([(-TAIL, TAIL)], None)
                    if found is None:
                        return False
                    self._tail, self._stamp, self._is_known = found.parts[0], found.stamp, True
        return True

    def stamp(self) -> Stamp | None:
        """Return what the storage says of the object."""
        return self._stamp if self.exists() else None

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges with as few requests as the storage can."""
        if not self.exists():
            raise StorageError(f"There is no file {self.name}.")
        tail = self._tail
        if tail is not None and list(ranges) == [(-TAIL, TAIL)]:
            self._tail = None  # the directory is read once
            return [tail]
        found = self._asked(ranges, self._stamp)
        if found is None:
            raise self._changed()
        return found.parts

    def _asked(self, ranges: Sequence[tuple[int, int]], stamp: Stamp | None) -> RangesRead | None:
        try:
            return self._storage.read_ranges([RangeRequest(self._key, tuple(ranges), stamp)])[0]
        except ChangedError:
            raise self._changed() from None
