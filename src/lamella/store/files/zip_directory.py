"""Parse the directory of a ZIP archive from the end of the file.

An archive that two readers could read differently is refused: one with entries that have equal names, overlap, lead out
of the archive, are encrypted, or are incomplete.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from lamella.errors import MetadataError, short_repr
from lamella.store.keys import ancestors, problem_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TAIL: Final = 256 << 10
"""Bytes of the first read, from the end: enough for the directory of some 3000 entries."""

END: Final = struct.Struct("<4s4H2IH")
END64: Final = struct.Struct("<4sQ2H2I4Q")
LOCATOR: Final = struct.Struct("<4sIQI")
CENTRAL: Final = struct.Struct("<4s2B5H3I5H2I")
LOCAL: Final = struct.Struct("<4s5H3I2H")

_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800
_STORED, _DEFLATED = 0, 8
_UNIX = 3
_16, _32 = 0xFFFF, 0xFFFFFFFF

_MAX_DEFLATED = 1032
"""Largest ratio of deflate."""

_Refuse: TypeAlias = "Callable[[str], MetadataError]"
"""Builds the error that refuses the archive for a reason."""


class Entry(NamedTuple):
    """One file in an archive."""

    header: int
    """Offset of its local header, which its bytes follow."""
    name_length: int
    """Bytes of its name in the local header."""
    stored: int
    size: int
    """``stored`` and ``size``: bytes in the archive, and uncompressed."""
    crc: int
    """CRC-32 of the uncompressed file."""
    deflated: bool
    """Whether it is deflated, rather than stored."""
    room: int
    """Bytes from the local header to the next entry."""
    described: bool
    """Whether a data descriptor follows its bytes."""

    @property
    def start(self) -> int:
        """Probable offset of its bytes; only the local header is certain."""
        after_name = self.header + LOCAL.size + self.name_length
        guess = self.header + self.room - self.stored
        return after_name if self.described or guess > after_name + _16 else guess


@dataclass(frozen=True)
class Directory:
    """The contents of an archive."""

    entries: dict[str, Entry]
    """The files by name, in the order of the directory."""
    folders: dict[str, list[str]]
    """The names in each folder, by its path."""
    comment: bytes
    is_zip64: bool
    """Whether the archive ends in a ZIP64 record."""


class _End(NamedTuple):
    """The record at the end of an archive."""

    number: int
    size: int
    offset: int
    #: Offset of the directory in the tail that was read.
    start: int
    comment: bytes
    is_zip64: bool


def read_directory(read: Callable[[int, int], bytes], name: str) -> Directory:
    """Read the directory of an archive; `MetadataError` where it is no archive, is incomplete or is refused.

    ``read`` returns the bytes of an offset and a length, fewer at the end; a negative offset counts from the end.
    """
    refuse = partial(_refusal, name)
    tail = read(-TAIL, TAIL)
    end = _read_end(tail, refuse)
    at = end.offset - end.start
    data = tail[at : at + end.size] if at >= 0 else read(end.offset, end.size)
    if len(data) != end.size:
        raise refuse("it is cut off: its directory is not all there. Copy it again")
    entries: dict[str, Entry] = {}
    folders: dict[str, list[str]] = {"": []}
    for key, entry in _with_room(list(_parsed(data, end, refuse)), end.offset, refuse):
        if key.endswith("/"):
            _add_folder(key[:-1], folders, entries, refuse)
            continue
        if key in entries:
            raise refuse(
                f"it has {short_repr(key)} twice, and which of them counts differs between readers. zarr-python reads "
                "the last one: pack it again with lamella.pack(zarr.storage.ZipStore(path), destination)"
            )
        _add_folder(key.rpartition("/")[0], folders, entries, refuse)
        if key in folders:
            raise refuse(f"{short_repr(key)} is a file and a folder in it. Pack the store again")
        folders[key.rpartition("/")[0]].append(key.rpartition("/")[2])
        entries[key] = entry
    return Directory(entries, folders, end.comment, end.is_zip64)


def _refusal(name: str, reason: str) -> MetadataError:
    return MetadataError(f"Cannot read the archive {name}: {reason}.")


def _read_end(tail: bytes, refuse: _Refuse) -> _End:
    """Parse the record at the end of an archive, and that of ZIP64 before it."""
    at = len(tail)
    while True:
        at = tail.rfind(b"PK\5\6", max(0, len(tail) - END.size - _16), at)
        if at < 0:
            raise refuse("it is not a ZIP archive, or its end is missing. Copy it again")
        if len(tail) - at >= END.size:
            _, disk, first_disk, own_entries, count, size, offset, length = END.unpack_from(tail, at)
            if at + END.size + length == len(tail):
                break
    comment = tail[at + END.size :]
    before = at - LOCATOR.size - END64.size
    is_zip64 = before >= 0 and tail[at - LOCATOR.size :][:4] == b"PK\6\7"
    begin = at
    if is_zip64:
        if tail[before : before + 4] != b"PK\6\6":
            raise refuse("its end is damaged: there is no ZIP64 record where it says. Copy it again")
        short = count, size, offset
        *_, disk, first_disk, own_entries, count, size, offset = END64.unpack_from(tail, before)
        for old, new, max_value in zip(short, (count, size, offset), (_16, _32, _32), strict=True):
            if old not in (new, max_value):
                raise refuse("its end is damaged: its two records differ. Copy it again")
        begin = before
    if disk or first_disk or own_entries != count:
        raise refuse("it is one part of an archive in several, which are not read. Join them")
    start = offset + size - begin
    if start < 0 or (len(tail) < TAIL and start):
        raise refuse(
            "its directory is not where its end says: bytes are missing, or were put before. Copy it again"
        )
    return _End(count, size, offset, start, comment, is_zip64)


def _parsed(data: bytes, end: _End, refuse: _Refuse) -> Iterator[tuple[str, Entry]]:
    """Parse the entries of the directory."""
    at = 0
    for _ in range(end.number):
        if data[at : at + 4] != b"PK\1\2" or at + CENTRAL.size > len(data):
            raise refuse("its directory is damaged. Copy it again")
        fields = CENTRAL.unpack_from(data, at)
        _, _, system, _, flags, method, _, _, crc, stored, size, n, m, k, disk, _, attributes, header = fields
        name_at = at + CENTRAL.size
        raw = data[name_at : name_at + n]
        if _32 in (stored, size, header):
            size, stored, header = _zip64_fields(
                data[name_at + n : name_at + n + m], size, stored, header, refuse
            )
        name = _name(raw, flags, refuse)
        if flags & _ENCRYPTED:
            raise refuse(f"{short_repr(name)} in it is encrypted. Unpack it, and pack the folder again")
        if method not in (_STORED, _DEFLATED):
            raise refuse(
                f"{short_repr(name)} in it is compressed by method {method}, and only stored and deflated entries are "
                "read. Unpack it, and pack the folder with lamella pack"
            )
        if disk not in (0, _16):
            raise refuse("it is one part of an archive in several, which are not read. Join them")
        if system == _UNIX and stat.S_ISLNK(attributes >> 16):
            raise refuse(f"{short_repr(name)} in it is a symbolic link. Unpack it, and pack the folder again")
        deflated = method == _DEFLATED
        if (stored != size) if not deflated else size > _MAX_DEFLATED * stored + _16:
            raise refuse(
                f"{short_repr(name)} in it has {stored} bytes, and its directory states {size} after decompression. "
                "Copy it again"
            )
        yield name, Entry(header, n, stored, size, crc, deflated, 0, bool(flags & _DESCRIPTOR))
        at = name_at + n + m + k
    if at != len(data):
        raise refuse("its directory has more entries than its end says. Copy it again")


def _name(raw: bytes, flags: int, refuse: _Refuse) -> str:
    """Return the name of an entry; refuse a name that is not a key of a store."""
    try:
        name = raw.decode() if flags & _UTF8 or raw.isascii() else raw.decode("cp437")
    except UnicodeDecodeError:
        raise refuse(f"the name {short_repr(raw)} in it is not text. Pack the store again") from None
    reason = problem_of_key(name.removesuffix("/")) if name else "it is empty"
    if reason is not None:
        raise refuse(
            f"it contains {short_repr(name)}, which is not a path inside a store: {reason}. Pack the store again"
        )
    return name


def _zip64_fields(extra: bytes, size: int, stored: int, header: int, refuse: _Refuse) -> tuple[int, int, int]:
    """Return the sizes and the offset that do not fit into 32 bits from the extra field of ZIP64."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            needed = sum(value == _32 for value in (size, stored, header))
            if length < 8 * needed or at + 4 + 8 * needed > len(extra):
                break
            values = iter(struct.unpack_from(f"<{needed}Q", extra, at + 4))
            size, stored, header = (
                next(values) if value == _32 else value for value in (size, stored, header)
            )
            return size, stored, header
        at += 4 + length
    raise refuse("its directory is damaged: an entry lacks its sizes. Copy it again")


def _with_room(entries: list[tuple[str, Entry]], end: int, refuse: _Refuse) -> Iterator[tuple[str, Entry]]:
    """Yield the entries with the bytes up to the next one as their `room`; refuse those that overlap."""
    order = sorted((entry for _, entry in entries), key=attrgetter("header"))
    rooms: dict[int, int] = {}
    ends = [*(entry.header for entry in order), end][1:]
    for entry, following in zip(order, ends, strict=True):
        room = following - entry.header
        if room < LOCAL.size + entry.name_length + entry.stored:
            name = next(name for name, other in entries if other == entry)
            raise refuse(
                f"{short_repr(name)} in it overlaps what comes after it: it is damaged, or made to harm. Copy it again"
            )
        rooms[entry.header] = room
    return ((name, entry._replace(room=rooms[entry.header])) for name, entry in entries)


def _add_folder(
    folder: str, folders: dict[str, list[str]], entries: dict[str, Entry], refuse: _Refuse
) -> None:
    """Add a folder and those above it."""
    if folder in folders:
        return
    for path in [*ancestors(folder)[1:], folder]:
        if path in entries:
            raise refuse(f"{short_repr(path)} is a file and a folder in it. Pack the store again")
        if path not in folders:
            folders[path] = []
            above, _, name = path.rpartition("/")
            folders[above].append(name)
