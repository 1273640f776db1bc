"""Storage in a ZIP archive (``.ozx``, ``.zip``), local or at a URL: read only, entry by entry, never unpacked.

The store is the archive's root, or its only folder where the root holds no Zarr metadata. An archive is read as it was
when it was opened.

Layer: store.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from lamella.errors import DamagedDataError, ReadOnlyError
from lamella.store import json_document
from lamella.store.addresses import title_in
from lamella.store.formats import DOCUMENTS
from lamella.store.keys import check_key, is_private, join, natural_order
from lamella.store.memory_limits import binary_size, check_bytes
from lamella.store.storage import ChangedError, Names, RangesRead, Storage
from lamella.store.zip_directory import LOCAL, Directory, Entry, read_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import Store

    from lamella.store.storage import RangeRequest, Stamp
    from lamella.store.zip_file import ArchiveFile

_INFLATED_BYTES = 64 << 20
"""Bytes of inflated entries that an archive keeps: a shard is asked for its index, and then for its chunks."""

_NOT_OURS = ("__MACOSX", ".DS_Store", "Thumbs.db")
"""What file managers add to an archive."""


class ZipStorage(Storage):
    """A store in an archive.

    Parameters
    ----------
    file : ArchiveFile
        The archive.
    path : str
        Of the folder of the store that is the root here; by default all of it.
    """

    read_only = True

    def __init__(self, file: ArchiveFile, path: str = "") -> None:
        self.file = file
        self.path = path
        self._lock = threading.Lock()
        self._directory: Directory | None = None
        self._starts: dict[str, int] = {}
        self._inflated: OrderedDict[str, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"ZipStorage({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.file, self.path, self.cache_bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZipStorage) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """Path or URL of the archive, and the path in it."""
        return join(self.file.name, self.path)

    @property
    def title(self) -> str:
        """The name of the archive, or of the folder in it, without endings."""
        return title_in(f"zip://{self.name}")

    @property
    def directory(self) -> Directory:
        """What is in the archive."""
        if self._directory is None:
            with self._lock:
                if self._directory is None:
                    self._directory = read_directory(
                        lambda start, length: self.file.read([(start, length)])[0], self.file.name
                    )
        return self._directory

    @cached_property
    def folder(self) -> str:
        """The folder in the archive that holds the store: "", or the only one where the root has no documents."""
        folders = self.directory.folders
        if not set(DOCUMENTS).isdisjoint(folders[""]):
            return ""
        names = [name for name in folders[""] if name in folders and name not in _NOT_OURS]
        if len(names) == 1 and not set(DOCUMENTS).isdisjoint(folders[names[0]]):
            return names[0]
        return ""

    @cached_property
    def _root(self) -> str:
        return join(self.folder, self.path)

    def _entry(self, key: str) -> Entry | None:
        if not check_key(key) or not self.file.exists():
            return None
        return self.directory.entries.get(join(self._root, key))

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Read a file, whose checksum is checked."""
        entry = self._entry(key)
        if entry is None:
            return None
        if entry.deflated:
            return self._inflate(key, entry)
        self._check_size(key, entry)
        # With its local header and all that may lie between the two.
        length = min(entry.room, LOCAL.size + entry.name_length + 0xFFFF + entry.stored)
        data = self.file.read([(entry.header, length)])[0]
        start = self._data_start(key, entry, data[: LOCAL.size]) - entry.header
        content = data[start : start + entry.stored]
        self._check_content(key, entry, content)
        return content

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        """Read part of a file."""
        entry = self._entry(key)
        return None if entry is None else self._parts(key, entry, [(start, length)])[0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        """Read a file with its stamp."""
        data = self.read(key)
        return None if data is None else (data, self.stamp(key))

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        """Read ranges of several files, all of them that are stored with one call."""
        results: list[RangesRead | None] = []
        for request in requests:
            entry = self._entry(request.key)
            if entry is None:
                results.append(None)
                continue
            stamp = self.stamp(request.key)
            if request.stamp is not None and request.stamp != stamp:
                raise ChangedError(request.key)
            results.append(RangesRead(self._parts(request.key, entry, request.ranges), stamp))
        return results

    def _parts(self, key: str, entry: Entry, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of a file; where its bytes begin is learned from its local header, once."""
        inside = [_inside(start, length, entry.size) for start, length in ranges]
        if entry.deflated:
            content = self._inflate(key, entry)
            return [content[start : start + length] for start, length in inside]
        known = self._starts.get(key)
        at = entry.start if known is None else known
        asked = [(at + start, length) for start, length in inside]
        if known is None:
            header, *parts = self.file.read([(entry.header, LOCAL.size), *asked])
            known = self._data_start(key, entry, header)
            self._starts[key] = known
            if known != at:
                parts = self.file.read([(known + start, length) for start, length in inside])
        else:
            parts = self.file.read(asked)
        if [len(part) for part in parts] != [length for _, length in inside]:
            self._damaged(key, "the archive ends before it does")
        return parts

    def _data_start(self, key: str, entry: Entry, header: bytes) -> int:
        """Return where the bytes of an entry begin, as its local header says."""
        if len(header) < LOCAL.size or header[:4] != b"PK\3\4":
            self._damaged(key, "its header is not where the directory of the archive says")
        *_, name_length, extra = LOCAL.unpack(header)
        start: int = entry.header + LOCAL.size + name_length + extra
        if name_length != entry.name_length or start + entry.stored > entry.header + entry.room:
            self._damaged(key, "its header and the directory of the archive say different things")
        return start

    def _inflate(self, key: str, entry: Entry) -> bytes:
        """Return a deflated entry, of as many bytes as the directory says and no more."""
        with self._lock:
            kept = self._inflated.get(key)
            if kept is not None:
                self._inflated.move_to_end(key)
                return kept
        self._check_size(key, entry)
        length = min(entry.room, LOCAL.size + entry.name_length + 0xFFFF + entry.stored)
        data = self.file.read([(entry.header, length)])[0]
        start = self._data_start(key, entry, data[: LOCAL.size]) - entry.header
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(data[start : start + entry.stored], entry.size + 1)
        except zlib.error as error:
            self._damaged(key, f"it cannot be inflated: {error}")
        self._check_content(key, entry, content)
        with self._lock:
            if entry.size <= _INFLATED_BYTES:
                self._inflated[key] = content
                while sum(map(len, self._inflated.values())) > _INFLATED_BYTES:
                    self._inflated.popitem(last=False)
        return content

    def _check_size(self, key: str, entry: Entry) -> None:
        """Refuse what no memory is to be spent on."""
        folder, _, name = key.rpartition("/")
        if name in DOCUMENTS:
            json_document.check_size(entry.size, self.where(folder), name)
        check_bytes(entry.size, f"reading {self.where(key)}")

    def _check_content(self, key: str, entry: Entry, content: bytes) -> None:
        if len(content) != entry.size:
            self._damaged(key, f"it has other than the {binary_size(entry.size)} that the directory says")
        if zlib.crc32(content) != entry.crc:
            self._damaged(key, "its bytes do not match their checksum")

    def _damaged(self, key: str, fault: str) -> NoReturn:
        raise DamagedDataError(f"Cannot read {self.where(key)}: {fault}. Copy the archive again.")

    # ---- looking --------------------------------------------------------------------------------

    def list(self, prefix: str) -> Names:
        """List a folder."""
        folder = join(self._root, check_key(prefix)) if self.file.exists() else None
        names = [] if folder is None else self.directory.folders.get(folder, [])
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    def exists(self, prefix: str) -> bool:
        """Whether a file or folder is there."""
        if not self.file.exists():
            return False
        path = join(self._root, check_key(prefix))
        return path in self.directory.folders or path in self.directory.entries

    def size(self, key: str) -> int | None:
        """Size of a file."""
        entry = self._entry(key)
        return None if entry is None else entry.size

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of the archive, and the place and checksum of the file in it."""
        entry = self._entry(key)
        if entry is None:
            return None
        return "zip", *(self.file.stamp() or ()), entry.header, entry.size, entry.crc

    # ---- writing: refused -----------------------------------------------------------------------

    def check_writable(self, key: str) -> NoReturn:
        """Refuse every change, and say how archives are written."""
        raise ReadOnlyError(
            f"Cannot write {self.where(key)}: an archive is written whole and never changed. Write a folder, such as "
            f"{self.title}.zarr, and then `lamella pack` it; `lamella unpack` makes a folder of an archive."
        )

    def write(self, key: str, data: bytes) -> None:
        """Refuse."""
        del data
        self.check_writable(key)

    def delete(self, prefix: str) -> None:
        """Refuse."""
        self.check_writable(prefix)

    def move(self, old: str, new: str) -> None:
        """Refuse."""
        del new
        self.check_writable(old)

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Exclude nobody: nobody writes."""
        del key
        return nullcontext()

    def zarr_store(self) -> Store:
        """Return a store of zarr-python that reads through this."""
        from lamella.store.read_only_store import ReadOnlyStore

        return ReadOnlyStore(self)


def _reopen(file: ArchiveFile, path: str, cache_bytes: int | None) -> ZipStorage:
    storage = ZipStorage(file, path)
    storage.cache_bytes = cache_bytes
    return storage


def _inside(start: int, length: int, size: int) -> tuple[int, int]:
    """Return the part of a range that lies in a file of some size."""
    first = max(0, start + size) if start < 0 else min(start, size)
    return first, max(0, min(length, size - first))
