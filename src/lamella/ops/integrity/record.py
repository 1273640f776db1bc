r"""What reading the files of a store has found so far, in a file outside of it: a call that is cut short goes on.

One line for each file: key, evidence of its state before it was read, size, and what was found. A line counts as long
as the file on disk has the same evidence, so that nothing is believed of a file that was changed since. Each line
begins with a checksum of itself; lines that were cut off or damaged are passed over, and their files read again::

    1c291ca3 {"lamella": "record", "work": "sums", "store": "/data/plate.zarr"}
    8a11f0d2 ["A/1/0/zarr.json", [1762000000000000000, 1301, 77, 1762000000000000000], 1301, "9f86d0..."]

Layer: ops.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from array import array
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from lamella.errors import InvalidArgumentError, StorageError
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from lamella.store.evidence import Evidence
    from lamella.store.storage import Storage
    from lamella.types import StrPath

_MOST_SECONDS = 2.0
_MOST_BYTES = 64 << 20
"""Time, and size of the files, of which the results are kept in memory: what a kill costs beside what is under way."""

_DOCUMENTS = ("zarr.json", ".zgroup", ".zarray")


class Entry(NamedTuple):
    """What is known of a file.

    Attributes
    ----------
    size
        In bytes.
    found
        What was found: a digest.
    """

    size: int
    found: str


class Record:
    """The results of one work on one store.

    To be used in a ``with`` statement, which writes what is kept in memory also when the work fails.

    Parameters
    ----------
    path
        Of the file; made when it is not there.
    work
        What is found out.
    storage, below
        The store, and the path in it.

    Raises
    ------
    InvalidArgumentError
        The file is no record of this work and store, or would lie in a store.
    StorageError
        It cannot be read or written.
    """

    def __init__(self, path: StrPath, work: str, storage: Storage, below: str) -> None:
        self.path = local_path(path, "the record")
        refuse_in_store(self.path, storage)
        root = os.path.realpath(storage.root) if isinstance(storage, LocalStorage) else storage.name
        self._head = {"lamella": "record", "work": work, "store": join(root, below)}
        self._waiting: list[bytes] = []
        self._bytes, self._last = 0, time.monotonic()
        try:
            self._file = self._open()
            self._hashes, self._places = self._index()
            self._append = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            self._fail("opened", error)

    # -- what is there --------------------------------------------------------------------------------------------

    def _open(self) -> IO[bytes]:
        """Open the file for reading, made with its first line when it is not there, or was killed at that."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if not os.path.lexists(self.path) or (os.path.isfile(self.path) and self._has_part_of_head()):
            made = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                _write(made, _line(self._head))
            finally:
                os.close(made)
        if not S_ISREG(os.stat(self.path).st_mode):
            raise InvalidArgumentError(f"{self.path} is no file: choose another name for the record")
        file = open(self.path, "rb")  # noqa: SIM115 (closed by __exit__)
        found = _parsed(file.readline())
        if found != self._head:
            file.close()
            raise InvalidArgumentError(self._refusal(found))
        return file

    def _has_part_of_head(self) -> bool:
        head = _line(self._head)
        with open(self.path, "rb") as file:
            found = file.read(len(head))
        return len(found) < len(head) and head.startswith(found)

    def _refusal(self, found: Any) -> str:
        if not isinstance(found, dict) or found.get("lamella") != "record":
            return f"{self.path} is there, and is no record of lamella: choose another name for the record"
        return (
            f"{self.path} is the record of another work ({found.get('work')} of {found.get('store')}) than this "
            f"({self._head['work']} of {self._head['store']}): finish that one, or delete the file"
        )

    def _index(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Find the lines: hashes of their keys, sorted, and where they begin; 16 bytes for each file of a store."""
        hashes, places = array("Q"), array("Q")
        place, self._is_torn = self._file.tell(), False
        for line in self._file:
            found = _parsed(line)
            if isinstance(found, list) and found:
                hashes.append(_hash(found[0]))
                places.append(place)
            place += len(line)
            self._is_torn = not line.endswith(b"\n")
        known, begin = np.array(hashes, np.uint64), np.array(places, np.uint64)
        order = np.argsort(known, kind="stable")
        return known[order], begin[order]

    def known(self, key: str, evidence: Evidence | None) -> Entry | None:
        """Return what was found of a file, if it is what it was then."""
        if evidence is None or not len(self._hashes):
            return None
        wanted = _hash(key)
        last = int(np.searchsorted(self._hashes, np.uint64(wanted), "right")) - 1  # of several lines the last
        if last < 0 or int(self._hashes[last]) != wanted:
            return None
        self._file.seek(int(self._places[last]))
        found = _parsed(self._file.readline())
        if not isinstance(found, list) or len(found) != 4 or found[:2] != [key, evidence]:
            return None
        size, what = found[2:]
        return Entry(size, what) if isinstance(size, int) and isinstance(what, str) else None

    # -- what is added --------------------------------------------------------------------------------------------

    def add(self, key: str, evidence: Evidence | None, size: int, found: str) -> None:
        """Take down what was found of a file; nothing where there is no evidence of its state."""
        if evidence is not None:
            self._waiting.append(_line([key, evidence, size, found]))
            self._bytes += size
        if self._bytes >= _MOST_BYTES or time.monotonic() - self._last >= _MOST_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is kept in memory; it survives the death of the process."""
        data = b"".join(self._waiting)
        if data:
            if self._is_torn:
                data, self._is_torn = b"\n" + data, False
            try:
                _write(self._append, data)
            except OSError as error:
                self._fail("written", error)
        self._waiting.clear()
        self._bytes, self._last = 0, time.monotonic()

    def remove(self) -> None:
        """Remove the file: the work is complete, and the next one looks at everything again."""
        self._waiting.clear()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return  # another call of the same was faster
        except OSError as error:
            self._fail("removed", error)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        except StorageError:
            if error is None:
                raise
        finally:
            self._file.close()
            os.close(self._append)

    def _fail(self, verb: str, error: OSError) -> NoReturn:
        if isinstance(error, StorageError):
            raise error
        raise StorageError(
            f"the record {self.path} cannot be {verb}: {error.strerror or error}", error.errno
        ) from error


def refuse_in_store(path: str, storage: Storage) -> None:
    """Refuse to write a file into the store that is looked at, or into any other.

    Raises
    ------
    InvalidArgumentError
        It would lie there, by its name or by where links lead.
    """
    root = storage.root if isinstance(storage, LocalStorage) else None
    for folder in _above(os.path.realpath(path)):
        is_store = any(os.path.lexists(os.path.join(folder, name)) for name in _DOCUMENTS)
        if is_store or (root is not None and os.path.exists(folder) and os.path.samefile(folder, root)):
            raise InvalidArgumentError(
                f"{path} would be a file of the store {folder}, which is only read here: give a place outside of it"
            )


def _above(path: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    while folder != path:
        yield folder
        path, folder = folder, os.path.dirname(folder)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _line(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parsed(line: bytes) -> Any:
    """Return what a line says; None where it is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _hash(key: object) -> int:
    data = json.dumps(key).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
