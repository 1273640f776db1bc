"""Read a store in a ZIP archive (``.ozx``, ``.zip``), local or at a URL, without unpacking it.

The store is the archive's root, or its only folder where the root has no Zarr metadata. All reads are from the version
of the archive that was opened.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from lamella.errors import DamagedDataError, MetadataError, ReadOnlyError
from lamella.store.files.zip_directory import LOCAL, Directory, Entry, read_directory
from lamella.store.keys import DOCUMENTS, check_key, is_private, join, natural_order
from lamella.store.metadata import json_document
from lamella.store.objects.addresses import title_in
from lamella.store.process_limits import binary_size, check_bytes
from lamella.store.storage import ChangedError, Names, RangesRead, Stamp, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.abc.store import Store

    from lamella.store.files.archives import ArchiveFile
    from lamella.store.storage import RangeRequest

_INFLATED_BYTES = 64 << 20
"""Limit of cached inflated entries. Without the cache a deflated shard would be inflated for its index, and again for
its chunks."""

_MAX_DIRECTORIES = 4
_directories: dict[str, tuple[Stamp, Directory]] = {}
"""The directories of the last archives: workers open the same archive for each task."""

_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")
"""Names that file managers add to archives."""


class ZipStorage(Storage):
    """A store in an archive, or the part of it below the folder `path` of the store."""

    read_only = True

    def __init__(self, file: ArchiveFile, path: str = "") -> None:
        self.file = file
        self.path = path
        self.survives_fork = file.survives_fork
        self._lock = threading.Lock()
        self._directory: Directory | None = None
        self._data_starts: dict[str, int] = {}
        self._inflated: OrderedDict[str, bytes] = OrderedDict()

    def __repr__(self) -> str:
        return f"ZipStorage({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return ZipStorage, (self.file, self.path), {"cache_bytes": self.cache_bytes}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZipStorage) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """Path or URL of the archive, and the path inside."""
        return join(self.file.name, self.path)

    @property
    def identity(self) -> str:
        return join(self.file.identity, self.path)

    @property
    def title(self) -> str:
        """The name of the archive, or of the folder in it, without endings."""
        return title_in(f"zip://{self.name}")

    @property
    def directory(self) -> Directory:
        """The contents of the archive."""
        if self._directory is None:
            with self._lock:
                if self._directory is None:
                    self._directory = self._read_directory()
        return self._directory

    def _read_directory(self) -> Directory:
        """Read the directory, or return the one that another handle of this process has read."""
        stamp = self.file.stamp()
        name = self.file.name
        cached = _directories.get(name)
        if cached is not None and stamp is not None and cached[0] == stamp:
            return cached[1]
        try:
            directory = self._parse_directory()
        except MetadataError:
            if not self.file.read_again():
                raise
            try:
                directory = self._parse_directory()
            except MetadataError:  # the archive is damaged, unless the service sent too little
                self.file.check_end()
                raise
        stamp = self.file.stamp()
        if stamp is not None:
            _directories[name] = stamp, directory
            while len(_directories) > _MAX_DIRECTORIES:
                _directories.pop(next(iter(_directories)), None)
        return directory

    def _parse_directory(self) -> Directory:
        return read_directory(lambda start, length: self.file.read([(start, length)])[0], self.file.name)

    @cached_property
    def folder(self) -> str:
        """The folder of the store in the archive: "", or the only one where the root has no documents."""
        folders = self.directory.folders
        if not set(DOCUMENTS).isdisjoint(folders[""]):
            return ""
        names = [name for name in folders[""] if name in folders and name not in _IGNORED]
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
        """Read a file, and check its checksum."""
        entry = self._entry(key)
        return None if entry is None else self._contents([(key, entry)])[0]

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        entry = self._entry(key)
        return None if entry is None else self._ranges_of_entries([(key, entry, [(start, length)])])[0][0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        return self.read_many([key])[key]

    def read_many(self, keys: Sequence[str]) -> dict[str, tuple[bytes, Stamp | None] | None]:
        entries = {key: self._entry(key) for key in keys}
        present = [(key, entry) for key, entry in entries.items() if entry is not None]
        results: dict[str, tuple[bytes, Stamp | None] | None] = dict.fromkeys(keys)
        for (key, _), content in zip(present, self._contents(present), strict=True):
            results[key] = content, self.stamp(key)
        return results

    def read_ranges(self, requests: Sequence[RangeRequest]) -> list[RangesRead | None]:
        entries = [self._entry(request.key) for request in requests]
        stamps = [self.stamp(request.key) for request in requests]
        changed = [
            request.key
            for request, stamp in zip(requests, stamps, strict=True)
            if request.stamp not in (None, stamp)
        ]
        if changed:  # all of them, so that the caller forgets the chunks of an older archive at once
            raise ChangedError(*changed)
        present = [
            (request.key, entry, request.ranges)
            for request, entry in zip(requests, entries, strict=True)
            if entry is not None
        ]
        parts = iter(self._ranges_of_entries(present))
        return [None if stamp is None else RangesRead(next(parts), stamp) for stamp in stamps]

    def _contents(self, entries: Sequence[tuple[str, Entry]]) -> list[bytes]:
        """Return the contents of files. Each is read in one range, from its local header to its last byte."""
        cached = {key: self._cached(key) for key, entry in entries if entry.is_deflated}
        missing = [(key, entry) for key, entry in entries if cached.get(key) is None]
        for key, entry in missing:
            self._check_size(key, entry)
        ranges = [
            (
                entry.header_offset,
                min(entry.bytes_to_next, LOCAL.size + entry.name_length + 0xFFFF + entry.stored_size),
            )
            for _, entry in missing
        ]
        contents: dict[str, bytes] = {}
        for (key, entry), byte_range, data in zip(
            missing, ranges, self.file.read(ranges) if ranges else [], strict=True
        ):
            try:
                contents[key] = self._content(key, entry, data)
            except DamagedDataError:  # the bytes may have been damaged on their way
                contents[key] = self._content(key, entry, self.file.read([byte_range])[0])
        return [contents[key] if key in contents else cached[key] or b"" for key, _ in entries]

    def _content(self, key: str, entry: Entry, data: bytes) -> bytes:
        """Return a file from bytes that begin with its local header; cache an inflated one."""
        start = self._data_start(key, entry, data[: LOCAL.size]) - entry.header_offset
        content = data[start : start + entry.stored_size]
        if entry.is_deflated:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:  # at most one byte more than the directory states
                content = inflater.decompress(content, entry.size + 1)
            except zlib.error as error:
                self._raise_damaged(key, f"it cannot be inflated: {error}")
        self._check_content(key, entry, content)
        if entry.is_deflated and entry.size <= _INFLATED_BYTES:
            with self._lock:
                self._inflated[key] = content
                while sum(map(len, self._inflated.values())) > _INFLATED_BYTES:
                    self._inflated.popitem(last=False)
        return content

    def _cached(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._inflated:
                self._inflated.move_to_end(key)
            return self._inflated.get(key)

    def _ranges_of_entries(
        self, requests: Sequence[tuple[str, Entry, Sequence[tuple[int, int]]]]
    ) -> list[list[bytes]]:
        """Return ranges of files; the offset of a file's bytes is read from its local header, once."""
        plans = []
        ranges: list[tuple[int, int]] = []
        for key, entry, request_ranges in requests:
            clipped_ranges = [_clip_range(start, length, entry.size) for start, length in request_ranges]
            is_known_start = key in self._data_starts
            start_guess = self._data_starts[key] if is_known_start else entry.start
            if not entry.is_deflated:
                ranges += [] if is_known_start else [(entry.header_offset, LOCAL.size)]
                ranges += [(start_guess + start, length) for start, length in clipped_ranges]
            plans.append((key, entry, clipped_ranges, start_guess, is_known_start))
        answers = iter(self.file.read(ranges) if ranges else [])
        results: list[list[bytes]] = []
        for key, entry, clipped_ranges, start_guess, is_known_start in plans:
            if entry.is_deflated:
                content = self._contents([(key, entry)])[0]
                results.append([content[start : start + length] for start, length in clipped_ranges])
                continue
            data_start = start_guess if is_known_start else self._data_start(key, entry, next(answers))
            parts = [next(answers) for _ in clipped_ranges]
            if data_start != start_guess:
                parts = self.file.read([(data_start + start, length) for start, length in clipped_ranges])
            self._data_starts[key] = data_start
            if [len(part) for part in parts] != [length for _, length in clipped_ranges]:
                self._raise_damaged(key, "the archive ends before the last byte of the file")
            results.append(parts)
        return results

    def _data_start(self, key: str, entry: Entry, header: bytes) -> int:
        """Return the offset of an entry's bytes from its local header."""
        if len(header) < LOCAL.size or header[:4] != b"PK\3\4":
            self._raise_damaged(key, "its header is not where the directory of the archive states")
        *_, name_length, extra_length = LOCAL.unpack(header)
        start: int = entry.header_offset + LOCAL.size + name_length + extra_length
        if (
            name_length != entry.name_length
            or start + entry.stored_size > entry.header_offset + entry.bytes_to_next
        ):
            self._raise_damaged(key, "its header and the directory of the archive differ")
        return start

    def _check_size(self, key: str, entry: Entry) -> None:
        """Raise for entries that do not fit into memory."""
        folder, _, name = key.rpartition("/")
        if name in DOCUMENTS:
            json_document.check_size(entry.size, self.where(folder), name)
        check_bytes(entry.size, f"Reading {self.where(key)}")

    def _check_content(self, key: str, entry: Entry, content: bytes) -> None:
        if len(content) != entry.size:
            self._raise_damaged(
                key, f"its size is not the {binary_size(entry.size)} that the directory of the archive states"
            )
        if zlib.crc32(content) != entry.crc:
            self._raise_damaged(key, "its bytes do not match their checksum")

    def _raise_damaged(self, key: str, reason: str) -> NoReturn:
        raise DamagedDataError(f"Cannot read {self.where(key)}: {reason}. Copy the archive again.")

    # ---- listing --------------------------------------------------------------------------------

    def list(self, prefix: str) -> Names:
        folder = join(self._root, check_key(prefix)) if self.file.exists() else None
        names = [] if folder is None else self.directory.folders.get(folder, [])
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    def exists(self, prefix: str) -> bool:
        if not self.file.exists():
            return False
        path = join(self._root, check_key(prefix))
        return path in self.directory.folders or path in self.directory.entries

    def size(self, key: str) -> int | None:
        entry = self._entry(key)
        return None if entry is None else entry.size

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of the archive, and the offset, size and checksum of the file."""
        entry = self._entry(key)
        if entry is None:
            return None
        return "zip", *(self.file.stamp() or ()), entry.header_offset, entry.size, entry.crc

    # ---- writing: refused -----------------------------------------------------------------------

    def check_writable(self, key: str) -> NoReturn:
        raise ReadOnlyError(
            f"Cannot write {self.where(key)}: an archive is written whole and never changed. Write a folder, such as "
            f"{self.title}.zarr, and then `lamella pack` it; `lamella unpack` makes a folder of an archive."
        )

    def write(self, key: str, data: bytes) -> None:
        del data
        self.check_writable(key)

    def delete(self, prefix: str) -> None:
        self.check_writable(prefix)

    def replace(self, path: str, replacement: str) -> None:
        del replacement
        self.check_writable(path)

    def move(self, old: str, new: str) -> None:
        del new
        self.check_writable(old)

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock nothing, since there are no writers."""
        del key
        return nullcontext()

    def zarr_store(self) -> Store:
        from lamella.store.objects.read_only_store import ReadOnlyStore

        return ReadOnlyStore(self)


def _clip_range(start: int, length: int, size: int) -> tuple[int, int]:
    """Return the part of a range (start and length) that lies in a file of this size, with a start from 0."""
    first = max(0, start + size) if start < 0 else min(start, size)
    return first, max(0, min(length, size - first))
