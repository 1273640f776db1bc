"""Recognise and open ZIP archives: paths and URLs of them, and of folders inside them.

`ArchiveFile` reads byte ranges of a local or remote archive, in the version that was opened.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from abc import ABC, abstractmethod
from stat import S_ISREG
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lamella.errors import StorageError
from lamella.store.files import file_system as system
from lamella.store.files.zip_directory import TAIL
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.keys import join
from lamella.store.objects.addresses import is_chained, is_web, may_have_query
from lamella.store.objects.url_checks import check_url
from lamella.store.paths import is_url
from lamella.store.storage import ChangedError, RangeRequest, Storage, open_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.store.storage import RangesRead, Stamp

_IN_URL = re.compile(
    r"(?P<parent>[^:/?#]+://[^?#]*?/)(?P<name>[^/?#]+\.(?:ozx|zip))(?P<inside>(?:/[^?#]*)?)(?P<query>(?:\?.*)?)",
    re.IGNORECASE,
)
_IN_KEYS = re.compile(
    r"(?P<parent>[^:/?#]+://.*?/)(?P<name>[^/]+\.(?:ozx|zip))(?P<inside>(?:/.*)?)(?P<query>)", re.IGNORECASE
)
"""Where ``?`` and ``#`` belong to the names of objects."""
_ENDINGS = (".ozx", ".zip")


def is_archive_name(name: str) -> bool:
    """Whether a path has the ending of an archive."""
    return name.lower().endswith(_ENDINGS)


def open_archive(address: str, storage_options: Mapping[str, Any] | None = None) -> Storage | None:
    """Return the storage of an archive or of a folder inside one; None for any other path or URL.

    A local folder is never an archive, whatever its name. A missing archive opens; reading from it then fails.
    """
    if not is_url(address):
        return _local(address)
    archive_address = split_archive_url(address)
    if archive_address is None:
        return None
    parent_url, name, inside = archive_address
    parent = open_url(parent_url, read_only=True, storage_options=storage_options)
    return ZipStorage(RemoteArchive(parent, name), inside)


def split_archive_url(url: str) -> tuple[str, str, str] | None:
    """Return the URL above an archive, its name, and the path inside it; None for a URL without an archive."""
    if is_chained(url):  # fsspec opens archives itself
        return None
    pattern = _IN_URL if may_have_query(url) else _IN_KEYS
    match = pattern.fullmatch(url.rstrip("/"))
    if match is None:
        return None
    check_url(url)
    parent_url = f"{match['parent'].rstrip('/')}{match['query']}"
    name, inside = match["name"], match["inside"].strip("/")
    if is_web(url):  # where a %20 of the URL is a space of the name, which the request encodes again
        name, inside = unquote(name), unquote(inside)
    return parent_url, name, inside


def _local(path: str) -> ZipStorage | None:
    path = os.path.abspath(path)
    if not any(ending in path.lower() for ending in _ENDINGS):
        return None
    inside: list[str] = []
    while not is_archive_name(path) or not os.path.isfile(path):
        if is_archive_name(path) and not inside and not os.path.lexists(path):
            break
        path, name = os.path.split(path)
        if not name or os.path.isdir(path):
            return None
        inside.insert(0, name)
    return ZipStorage(LocalArchive(path), "/".join(inside))


class ArchiveFile(ABC):
    """A file that is read in ranges; every read raises `StorageError` once the file has changed."""

    #: Path or URL.
    name: str
    #: One text for all paths and URLs of the archive, to compare it with others.
    identity: str
    #: Whether a forked process can use it after its parent did.
    survives_fork: bool = True

    @abstractmethod
    def exists(self) -> bool:
        """Whether the file exists."""

    @abstractmethod
    def stamp(self) -> Stamp | None:
        """Return the stamp of the file when it was opened; None where the store has none."""

    @abstractmethod
    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of ranges of offset and length, fewer past the end; offsets below 0 count from the end."""

    def read_again(self) -> bool:
        """Drop the bytes read from the end, so that the next read requests them again; False for a local file."""
        return False

    def check_end(self) -> None:  # noqa: B027
        """Raise `StorageError` if the end that was read last is shorter than the size of the file requires."""

    def _changed(self) -> StorageError:
        return StorageError(
            f"Cannot read {self.name}: the archive was changed since it was opened. Open it again."
        )


class LocalArchive(ArchiveFile):
    """A local file, opened on the first read, closed with the object."""

    def __init__(self, path: str) -> None:
        self.name = os.path.abspath(path)
        self.identity = os.path.realpath(path)
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._stamp: Stamp | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return LocalArchive, (self.name,)

    def exists(self) -> bool:
        return self._fd is not None or os.path.isfile(self.name)

    def stamp(self) -> Stamp | None:
        self._open()
        return self._stamp

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        fd = self._open()
        try:
            status = os.fstat(fd)
            if _stamp_of(status) != self._stamp:
                raise self._changed()
            size = status.st_size
            return [
                system.read_at(fd, start if start >= 0 else max(0, start + size), length)
                for start, length in ranges
            ]
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"Cannot read {self.name}: {error.strerror or error}.") from error

    def _open(self) -> int:
        with self._lock:
            if self._fd is None:
                try:
                    fd = os.open(self.name, system.READ)
                    status = os.fstat(fd)
                except OSError as error:
                    raise StorageError(f"Cannot read {self.name}: {error.strerror or error}.") from error
                weakref.finalize(self, os.close, fd)
                if not S_ISREG(status.st_mode):
                    raise StorageError(f"Cannot read {self.name}: it is not a file.")
                self._stamp = _stamp_of(status)
                self._fd = fd
            return self._fd


def _stamp_of(status: os.stat_result) -> Stamp:
    """Return a stamp that changes with the bytes of an open file, but not when it is renamed or removed."""
    return system.stamp_of(status)[:3]


class RemoteArchive(ArchiveFile):
    """An object of another storage; the first read, of its end, is cached for the directory."""

    def __init__(self, storage: Storage, key: str) -> None:
        self.name = storage.where(key)
        self.identity = join(storage.identity, key)
        self.survives_fork = storage.survives_fork
        self._storage = storage
        self._key = key
        self._lock = threading.Lock()
        self._tail: bytes | None = None
        self._tail_size = 0
        self._stamp: Stamp | None = None
        self._has_stamp = False

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteArchive, (self._storage, self._key)

    def exists(self) -> bool:
        """Whether the object exists; the same request reads its end."""
        if not self._has_stamp:
            with self._lock:
                if not self._has_stamp:
                    ranges_read = self._request([(-TAIL, TAIL)], None)
                    if ranges_read is None:
                        return False
                    self._tail, self._stamp, self._has_stamp = ranges_read.parts[0], ranges_read.stamp, True
                    self._tail_size = len(self._tail)
        return True

    def stamp(self) -> Stamp | None:
        return self._stamp if self.exists() else None

    def read(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if not self.exists():
            raise StorageError(f"There is no file {self.name}.")
        tail = self._tail
        if tail is not None and list(ranges) == [(-TAIL, TAIL)]:
            self._tail = None  # the directory is read once
            return [tail]
        parts = self._parts(ranges)
        if _short_range(ranges, parts) is not None:  # the answer may have been cut short
            parts = self._parts(ranges)
            number = _short_range(ranges, parts)
            if number is not None:
                self._check_answer(*ranges[number], len(parts[number]))
        return parts

    def _parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        ranges_read = self._request(ranges, self._stamp)
        if ranges_read is None:
            raise self._changed()
        return ranges_read.parts

    def _check_answer(self, start: int, length: int, received: int) -> None:
        """Raise for a range that is shorter than requested, although the size of the object covers it."""
        size = self._storage.size(self._key)
        if size is None:
            raise self._changed()
        expected = min(length, size if start < 0 else max(0, size - start))
        if received < expected:
            raise StorageError(
                f"Cannot read {self.name}: the service answered with {received:,} bytes where the object, of {size:,} "
                f"bytes, has {expected:,}, also when it was asked again. Nothing is known to be wrong with what is "
                "stored: try again."
            )

    def read_again(self) -> bool:
        with self._lock:
            self._has_stamp = False
        return True

    def check_end(self) -> None:
        self._check_answer(-TAIL, TAIL, self._tail_size)

    def _request(self, ranges: Sequence[tuple[int, int]], stamp: Stamp | None) -> RangesRead | None:
        try:
            return self._storage.read_ranges([RangeRequest(self._key, tuple(ranges), stamp)])[0]
        except ChangedError:
            raise self._changed() from None


def _short_range(ranges: Sequence[tuple[int, int]], parts: Sequence[bytes]) -> int | None:
    """Return the number of the first range that is shorter than requested; a range from the end may be shorter."""
    for number, ((start, length), part) in enumerate(zip(ranges, parts, strict=True)):
        if start >= 0 and len(part) < length:
            return number
    return None
