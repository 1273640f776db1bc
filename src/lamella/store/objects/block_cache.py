"""Cache encoded chunks of remote stores in files of a local folder, for all processes that use the folder.

Each file has one range of one version of an object, which the service confirms before each use. A file is renamed into
place when it is complete and has a checksum, so a kill or a power cut leaves no wrong bytes. Above the limit, the files
that were used least recently are deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from uuid import uuid4
from zlib import crc32

from lamella.errors import InvalidArgumentError
from lamella.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.store.storage import Stamp

DEFAULT_BYTES: Final = 10_000_000_000
"""Default limit of a cache."""

_MAGIC = b"lamella block 1\n"
_ENDING = ".block"
_TEMPORARY = ".tmp"
_LARGEST_SHARE = 8
"""A range larger than the limit divided by this is not cached: it would evict everything else."""
_SLACK = 16
"""The sizes of all files are added up again each time after the limit divided by this has been written."""
_FRESH = 3600.0
"""In seconds: a use renews the time of an older file, and older temporary files are those of killed processes."""


class BlockCache:
    """A folder with ranges of objects, up to ``limit`` bytes."""

    def __init__(self, folder: str, limit: int = DEFAULT_BYTES) -> None:
        self.folder, self.limit = os.path.abspath(os.path.expanduser(folder)), limit
        self._written = limit  # the first write counts what earlier processes left
        self._shrinking = threading.Lock()

    def create(self) -> None:
        """Create the folder; raise `InvalidArgumentError` where that fails."""
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise InvalidArgumentError(
                f"Cannot cache in {self.folder}: {error.strerror}. Pass another folder as cache."
            ) from error

    def get(self, key: str, stamp: Stamp, span: tuple[int, int]) -> bytes | None:
        """Return a range (start and length) of a version of an object; None if it is not cached."""
        data = self._read(self._path(key, stamp, span), key)
        return None if data is None else data[1]

    def put(self, key: str, stamp: Stamp, span: tuple[int, int], data: bytes) -> None:
        self._write(self._path(key, stamp, span), key, stamp, data)

    def last(self, key: str) -> tuple[Stamp, bytes] | None:
        """Return a whole object as it was last, with its stamp; None if it is not cached."""
        return self._read(self._path(key), key)

    def put_whole(self, key: str, stamp: Stamp, data: bytes) -> None:
        self._write(self._path(key), key, stamp, data)

    def drop(self, key: str, stamp: Stamp, spans: Iterable[tuple[int, int]]) -> None:
        """Delete ranges of a version of an object, and the whole object."""
        for path in (self._path(key), *(self._path(key, stamp, span) for span in spans)):
            with suppress(OSError):
                os.unlink(path)

    def _path(self, *identity: object) -> str:
        name = hashlib.blake2b(repr(identity).encode(), digest_size=20).hexdigest()
        return os.path.join(self.folder, name[:2], f"{name[2:]}{_ENDING}")

    def _read(self, path: str, key: str) -> tuple[Stamp, bytes] | None:
        try:
            with open(path, "rb") as file:
                data = file.read()
                is_old = time.time() - os.fstat(file.fileno()).st_mtime > _FRESH
        except OSError:
            return None
        content = _parse_file(data, key)
        with suppress(OSError):
            if content is None:
                os.unlink(path)
            elif is_old:
                os.utime(path)
        return content

    def _write(self, path: str, key: str, stamp: Stamp, data: bytes) -> None:
        if len(data) > self.limit // _LARGEST_SHARE:
            return
        header = json.dumps([key, stamp]).encode()
        body = b"".join((len(header).to_bytes(4, "little"), header, data))
        temporary = f"{path}.{uuid4().hex}{_TEMPORARY}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_MAGIC + crc32(body).to_bytes(4, "little") + body)
            os.replace(temporary, path)
        except OSError as error:  # such as a full disk; the bytes that were read are used all the same
            log.info("Cannot cache %s in %s: %s", key, self.folder, error)
            with suppress(OSError):
                os.unlink(temporary)
            return
        self._written += len(body)
        if self._written > self.limit // _SLACK and self._shrinking.acquire(blocking=False):
            try:
                self._written = 0
                self._shrink()
            finally:
                self._shrinking.release()

    def _shrink(self) -> None:
        """Delete the files that were used least recently until nine tenths of the limit remain."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        if total <= self.limit:
            return
        for _, size, path in files:
            with suppress(OSError):  # another process has deleted it, or reads it (Windows)
                os.unlink(path)
            total -= size
            if total <= self.limit * 9 // 10:
                return

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield time, size and path of each file; delete what killed processes left."""
        with suppress(OSError):
            for folder in os.scandir(self.folder):
                for file in os.scandir(folder.path) if folder.is_dir() and len(folder.name) == 2 else ():
                    with suppress(OSError):
                        status = file.stat()
                        if file.name.endswith(_ENDING):
                            yield status.st_mtime, status.st_size, file.path
                        elif file.name.endswith(_TEMPORARY) and time.time() - status.st_mtime > _FRESH:
                            os.unlink(file.path)


def _parse_file(data: bytes, key: str) -> tuple[Stamp, bytes] | None:
    """Return stamp and bytes in a file; None for one that is damaged, or of another object."""
    start = len(_MAGIC) + 4
    body = memoryview(data)[start:]
    if not data.startswith(_MAGIC) or crc32(body).to_bytes(4, "little") != data[len(_MAGIC) : start]:
        return None
    length = int.from_bytes(body[:4], "little")
    stored_key, stamp = json.loads(bytes(body[4 : 4 + length]))
    return (tuple(stamp), bytes(body[4 + length :])) if stored_key == key else None
