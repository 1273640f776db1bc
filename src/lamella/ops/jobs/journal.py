"""The journal of a job: the finished units, in a file that only grows, so that the same call resumes.

Each line is a checksum and a JSON value: ``8a11f0d2 ["A/1/0/zarr.json", [1762, 77], 1301, "9f86d0..."]``. The first
line names the job. Every other line lists the key of a unit, the state of its sources, and its result. Lines that are
damaged or truncated by a kill are ignored, and their units are repeated. Of several lines of a unit the last is valid.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zlib
from array import array
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, cast

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, StorageError, WorkerLostError
from lamella.store.files.file_system import NO_LINK, write_all
from lamella.store.files.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from lamella.store.storage import Storage
    from lamella.types import JSONObject

_MAX_SECONDS = 2.0
_MAX_BYTES = 64 << 20
"""Pending lines, which a kill loses, are written after this time, or when their units have this size."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class JournalFile(Protocol):
    """The file of a journal."""

    where: str
    """Path or URL, for messages."""

    def open(self, head: bytes) -> IO[bytes]:
        """Open the file for reading; create it with its first line if it does not exist."""

    def replace(self, data: bytes) -> None:
        """Write the whole file."""

    def append(self, data: bytes) -> None:
        """Write at the end; do nothing if the file was removed meanwhile."""

    def remove(self) -> None:
        """Delete the file, if it exists."""


FileType = TypeVar("FileType", bound=JournalFile)


class LocalFile:
    """A journal in a local file, to which other processes append after unpickling it.

    Messages call the file ``noun``. With ``follows_links`` it may be a symbolic link.
    """

    def __init__(self, where: str, noun: str = "journal", *, follows_links: bool = False) -> None:
        self.where, self._noun, self._follows_links = where, noun, follows_links

    def open(self, head: bytes) -> IO[bytes]:
        """Open for reading; write the first line again if a kill truncated it."""
        try:
            os.makedirs(os.path.dirname(self.where), exist_ok=True)
            if not os.path.lexists(self.where) or (
                os.path.isfile(self.where) and self._has_truncated_head(head)
            ):
                descriptor = os.open(self.where, os.O_WRONLY | os.O_CREAT | _OPEN_FLAGS, 0o666)
                try:
                    write_all(descriptor, head)
                finally:
                    os.close(descriptor)
            if not S_ISREG(os.stat(self.where, follow_symlinks=self._follows_links).st_mode):
                raise InvalidArgumentError(
                    f"{self.where} is not a file: choose another name for the {self._noun}."
                )
            return open(self.where, "rb")
        except OSError as error:
            self._fail("opened", error)

    def _has_truncated_head(self, head: bytes) -> bool:
        with open(self.where, "rb") as file:
            start = file.read(len(head))
        return len(start) < len(head) and head.startswith(start)

    def replace(self, data: bytes) -> None:
        """Write the whole file, atomically."""
        folder, name = os.path.split(self.where)
        LocalStorage(folder, follow_links=True).write(name, data)

    def append(self, data: bytes) -> None:
        """Write at the end."""
        with self.appending() as append:
            append(data)

    @contextmanager
    def appending(self) -> Iterator[Callable[[bytes], None]]:
        """Return a function that appends lines, each in one system call, so that they survive the process."""
        try:
            descriptor = os.open(
                self.where, os.O_WRONLY | os.O_APPEND | _OPEN_FLAGS | (0 if self._follows_links else NO_LINK)
            )
        except FileNotFoundError:
            yield lambda data: None  # another call of the same job has finished it
            return
        except OSError as error:
            self._fail("opened", error)

        def append(data: bytes) -> None:
            try:
                write_all(descriptor, data)
            except OSError as error:
                self._fail("written", error)

        try:
            yield append
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Delete the file; another call of the same job may have been faster."""
        try:
            os.unlink(self.where)
        except FileNotFoundError:
            return
        except OSError as error:
            self._fail("removed", error)

    def _fail(self, verb: str, error: OSError) -> NoReturn:
        if isinstance(error, StorageError):
            raise error
        raise StorageError(
            f"The {self._noun} {self.where} cannot be {verb}: {error.strerror or error}.", error.errno
        ) from error


class StoredObject:
    """A journal under a key of any store: written as a whole each time, because services cannot append."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key
        self.where = storage.where(key)
        self._data = b""

    def open(self, head: bytes) -> IO[bytes]:
        """Read the object; if there is none, it is created by the first `append`."""
        try:
            self._data = self._storage.read(self._key) or head
        except LamellaError:
            self._data = head  # all units are done again
        return io.BytesIO(self._data)

    def replace(self, data: bytes) -> None:
        """Replace the data; the next `append` stores them."""
        self._data = data

    def append(self, data: bytes) -> None:
        """Store the data with these at their end."""
        self._data += data
        self._storage.write(self._key, self._data)

    def remove(self) -> None:
        """Delete the object."""
        self._storage.delete(self._key)


def stored_journal(storage: Storage, key: str) -> LocalFile | StoredObject:
    """Return the journal of a store that is changed in place, under a temporary name in the store."""
    if not isinstance(storage, LocalStorage):
        return StoredObject(storage, key)
    storage.check_folder(key.rpartition("/")[0])
    return LocalFile(storage.where(key))


class Journal(Generic[FileType]):
    """The finished units of one job, as a context manager that writes pending lines at the end.

    ``head`` is the first line, which names the job. If the file is the journal of another job, it is emptied; with
    ``keeps_other_jobs`` InvalidArgumentError is raised instead.
    """

    def __init__(self, file: FileType, head: JSONObject, *, keeps_other_jobs: bool = False) -> None:
        self.file = file
        self._head = head
        self._pending: list[bytes] = []
        self._unwritten_bytes, self._last_write = 0, time.monotonic()
        first = line_of(head)
        self._lines = file.open(first)
        stored_head = parse_line(self._lines.readline())
        if stored_head != head:
            self._lines.close()
            if keeps_other_jobs:
                raise InvalidArgumentError(self._refusal(stored_head))
            file.replace(first)
            self._lines = io.BytesIO()
        self._hashes, self._offsets = self._index()

    def _refusal(self, head: Any) -> str:
        path = self.file.where
        if not isinstance(head, dict) or head.get("lamella") != "record":
            return f"{path} exists, and is not a journal of lamella: choose another name for the record."
        return (
            f"{path} is the record of another job ({head.get('work')} of {head.get('store')}) than this "
            f"({self._head['work']} of {self._head['store']}): finish that one, or delete the file."
        )

    def _index(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return the sorted hashes of all keys, and the offsets of their lines: 16 bytes per line."""
        hashes, offsets = array("Q"), array("Q")
        offset, is_truncated = self._lines.tell(), False
        for line in self._lines:
            fields = parse_line(line)
            if isinstance(fields, list) and fields:
                hashes.append(_hash(fields[0]))
                offsets.append(offset)
            offset += len(line)
            is_truncated = not line.endswith(b"\n")
        if is_truncated:
            self.file.append(b"\n")  # workers append whole lines behind it
        all_hashes, all_offsets = np.array(hashes, np.uint64), np.array(offsets, np.uint64)
        order = np.argsort(all_hashes, kind="stable")
        return all_hashes[order], all_offsets[order]

    def get(self, key: str) -> list[Any] | None:
        """Return the line of a unit without its key; None if the file had none when it was opened."""
        if not len(self._hashes):
            return None
        key_hash = _hash(key)
        index = int(np.searchsorted(self._hashes, np.uint64(key_hash), "right")) - 1
        if index < 0 or int(self._hashes[index]) != key_hash:
            return None
        self._lines.seek(int(self._offsets[index]))
        fields = parse_line(self._lines.readline())
        return fields[1:] if isinstance(fields, list) and fields[:1] == [key] else None

    def add(self, key: str, source_state: Any, result: list[Any], size: int = 0) -> None:
        """Add the line of a finished unit of ``size`` bytes: its key, the state of its sources, and its result."""
        self._pending.append(line_of([key, source_state, *result]))
        self._unwritten_bytes += size
        if self._unwritten_bytes >= _MAX_BYTES or time.monotonic() - self._last_write >= _MAX_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write pending lines."""
        data = b"".join(self._pending)
        self._pending.clear()
        self._unwritten_bytes, self._last_write = 0, time.monotonic()
        if data:
            self.file.append(data)

    def remove(self) -> None:
        """Delete the journal: the job is complete."""
        self._pending.clear()
        self.file.remove()

    def end_reading(self) -> None:
        """Close the file that `get` reads; lines can still be added."""
        self._lines.close()
        self._hashes = self._offsets = np.array([], np.uint64)

    def close(self) -> None:
        """Write pending lines, and close the file."""
        self._lines.close()
        self.flush()

    def __enter__(self) -> Journal[FileType]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:
                raise


@contextmanager
def journal_in_place(
    storage: Storage, key: str, job: str, discard: Callable[[], object]
) -> Iterator[Journal[LocalFile] | None]:
    """Yield the journal of a job that changes a store in place; None if the store is not local: no units are recorded.

    The journal exists before anything else is written, and is deleted at the end. After an error from which the same
    call does not resume, ``discard`` deletes what was written.
    """
    with Journal(stored_journal(storage, key), {"job": job}) as journal:
        journal.file.append(b"")
        try:
            yield cast("Journal[LocalFile]", journal) if isinstance(journal.file, LocalFile) else None
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt | WorkerLostError):
                with suppress(LamellaError):  # of the two errors, raise the first; then the same call resumes
                    discard()
                    journal.remove()
            raise
    journal.remove()


def line_of(value: Any) -> bytes:
    """Return a value as a line with its checksum."""
    text = _ENCODER.encode(value).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def parse_line(line: bytes) -> Any:
    """Return the value of a line; None if the line is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _hash(key: object) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest(), "little")
