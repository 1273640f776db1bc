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
_MAX_16_BITS, _MAX_32_BITS = 0xFFFF, 0xFFFFFFFF

_MAX_DEFLATE_RATIO = 1032
"""Largest ratio of deflate."""

_Refuse: TypeAlias = "Callable[[str], MetadataError]"
"""Builds the error that refuses the archive for a reason."""


class Entry(NamedTuple):
    """One file in an archive."""

    header_offset: int
    """Offset of its local header; the bytes of the file follow the header."""
    name_length: int
    """Bytes of its name in the local header."""
    stored_size: int
    size: int
    """``stored_size`` and ``size``: bytes in the archive, and uncompressed."""
    crc: int
    """CRC-32 of the uncompressed file."""
    is_deflated: bool
    """Whether it is deflated, rather than stored."""
    bytes_to_next: int
    """Bytes from the local header to the next entry."""
    has_descriptor: bool
    """Whether a data descriptor follows its bytes."""

    @property
    def start(self) -> int:
        """Probable offset of its bytes; only the local header states it for certain."""
        after_name = self.header_offset + LOCAL.size + self.name_length
        guess = self.header_offset + self.bytes_to_next - self.stored_size
        return after_name if self.has_descriptor or guess > after_name + _MAX_16_BITS else guess


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
    """Read the directory of an archive; `MetadataError` where it is not an archive, is incomplete or is refused.

    ``read`` returns the bytes of an offset and a length, fewer at the end; a negative offset counts from the end.
    """
    refuse = partial(_refusal, name)
    tail = read(-TAIL, TAIL)
    end = _read_end(tail, refuse)
    directory_start = end.offset - end.start
    data = (
        tail[directory_start : directory_start + end.size]
        if directory_start >= 0
        else read(end.offset, end.size)
    )
    if len(data) != end.size:
        raise refuse("it is cut off: its directory is not all there. Copy it again")
    entries: dict[str, Entry] = {}
    folders: dict[str, list[str]] = {"": []}
    for key, entry in _add_bytes_to_next(list(_parse_entries(data, end, refuse)), end.offset, refuse):
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
    position = len(tail)
    while True:
        position = tail.rfind(b"PK\5\6", max(0, len(tail) - END.size - _MAX_16_BITS), position)
        if position < 0:
            raise refuse("it is not a ZIP archive, or its end is missing. Copy it again")
        if len(tail) - position >= END.size:
            _, disk, first_disk, own_entries, count, size, offset, length = END.unpack_from(tail, position)
            if position + END.size + length == len(tail):
                break
    comment = tail[position + END.size :]
    zip64_position = position - LOCATOR.size - END64.size
    is_zip64 = zip64_position >= 0 and tail[position - LOCATOR.size :][:4] == b"PK\6\7"
    end_start = position
    if is_zip64:
        if tail[zip64_position : zip64_position + 4] != b"PK\6\6":
            raise refuse("its end is damaged: there is no ZIP64 record where it says. Copy it again")
        short_fields = count, size, offset
        *_, disk, first_disk, own_entries, count, size, offset = END64.unpack_from(tail, zip64_position)
        for short_field, field, max_value in zip(
            short_fields, (count, size, offset), (_MAX_16_BITS, _MAX_32_BITS, _MAX_32_BITS), strict=True
        ):
            if short_field not in (field, max_value):
                raise refuse("its end is damaged: its two records differ. Copy it again")
        end_start = zip64_position
    if disk or first_disk or own_entries != count:
        raise refuse("it is one part of an archive in several, which are not read. Join them")
    start = offset + size - end_start
    if start < 0 or (len(tail) < TAIL and start):
        raise refuse(
            "its directory is not where its end says: bytes are missing, or were put before. Copy it again"
        )
    return _End(count, size, offset, start, comment, is_zip64)


def _parse_entries(data: bytes, end: _End, refuse: _Refuse) -> Iterator[tuple[str, Entry]]:
    position = 0
    for _ in range(end.number):
        if data[position : position + 4] != b"PK\1\2" or position + CENTRAL.size > len(data):
            raise refuse("its directory is damaged. Copy it again")
        fields = CENTRAL.unpack_from(data, position)
        _, _, system, _, flags, method, _, _ = fields[:8]
        crc, stored_size, size, name_length, extra_length, comment_length = fields[8:14]
        disk, _, attributes, header_offset = fields[14:]
        name_start = position + CENTRAL.size
        extra_start = name_start + name_length
        name_bytes, extra = data[name_start:extra_start], data[extra_start : extra_start + extra_length]
        if _MAX_32_BITS in (stored_size, size, header_offset):
            size, stored_size, header_offset = _zip64_fields(extra, size, stored_size, header_offset, refuse)
        name = _parse_name(name_bytes, flags, refuse)
        _check_kind(name, flags, method, disk, refuse)
        if system == _UNIX and stat.S_ISLNK(attributes >> 16):
            raise refuse(f"{short_repr(name)} in it is a symbolic link. Unpack it, and pack the folder again")
        is_deflated = method == _DEFLATED
        largest = _MAX_DEFLATE_RATIO * stored_size + _MAX_16_BITS
        if (size > largest) if is_deflated else (size != stored_size):
            raise refuse(
                f"{short_repr(name)} in it has {stored_size} bytes, and its directory states {size} after "
                "decompression. Copy it again"
            )
        has_descriptor = bool(flags & _DESCRIPTOR)
        yield (
            name,
            Entry(header_offset, name_length, stored_size, size, crc, is_deflated, 0, has_descriptor),
        )
        position = extra_start + extra_length + comment_length
    if position != len(data):
        raise refuse("its directory has more entries than its end says. Copy it again")


def _check_kind(name: str, flags: int, method: int, disk: int, refuse: _Refuse) -> None:
    """Refuse an entry that is encrypted, compressed by an unknown method, or on another disk."""
    if flags & _ENCRYPTED:
        raise refuse(f"{short_repr(name)} in it is encrypted. Unpack it, and pack the folder again")
    if method not in (_STORED, _DEFLATED):
        raise refuse(
            f"{short_repr(name)} in it is compressed by method {method}, and only stored and deflated entries are "
            "read. Unpack it, and pack the folder with lamella pack"
        )
    if disk not in (0, _MAX_16_BITS):
        raise refuse("it is one part of an archive in several, which are not read. Join them")


def _parse_name(name_bytes: bytes, flags: int, refuse: _Refuse) -> str:
    """Return the name of an entry; refuse a name that is not a key of a store."""
    try:
        name = name_bytes.decode() if flags & _UTF8 or name_bytes.isascii() else name_bytes.decode("cp437")
    except UnicodeDecodeError:
        raise refuse(f"the name {short_repr(name_bytes)} in it is not text. Pack the store again") from None
    reason = problem_of_key(name.removesuffix("/")) if name else "it is empty"
    if reason is not None:
        raise refuse(
            f"it contains {short_repr(name)}, which is not a path inside a store: {reason}. Pack the store again"
        )
    return name


def _zip64_fields(
    extra: bytes, size: int, stored_size: int, header_offset: int, refuse: _Refuse
) -> tuple[int, int, int]:
    """Return size, stored size and header offset; those that need more than 32 bits are in the extra field of ZIP64."""
    position = 0
    while position + 4 <= len(extra):
        field_id, length = struct.unpack_from("<2H", extra, position)
        if field_id == 1:
            needed = sum(value == _MAX_32_BITS for value in (size, stored_size, header_offset))
            if length < 8 * needed or position + 4 + 8 * needed > len(extra):
                break
            values = iter(struct.unpack_from(f"<{needed}Q", extra, position + 4))
            size, stored_size, header_offset = (
                next(values) if value == _MAX_32_BITS else value
                for value in (size, stored_size, header_offset)
            )
            return size, stored_size, header_offset
        position += 4 + length
    raise refuse("its directory is damaged: an entry lacks its sizes. Copy it again")


def _add_bytes_to_next(
    entries: list[tuple[str, Entry]], end: int, refuse: _Refuse
) -> Iterator[tuple[str, Entry]]:
    """Yield the entries with the bytes up to the next one as `bytes_to_next`; refuse those that overlap."""
    order = sorted((entry for _, entry in entries), key=attrgetter("header_offset"))
    distances: dict[int, int] = {}
    ends = [*(entry.header_offset for entry in order), end][1:]
    for entry, following in zip(order, ends, strict=True):
        bytes_to_next = following - entry.header_offset
        if bytes_to_next < LOCAL.size + entry.name_length + entry.stored_size:
            name = next(name for name, other_entry in entries if other_entry == entry)
            raise refuse(
                f"{short_repr(name)} in it overlaps what comes after it: it is damaged, or made to harm. Copy it again"
            )
        distances[entry.header_offset] = bytes_to_next
    return ((name, entry._replace(bytes_to_next=distances[entry.header_offset])) for name, entry in entries)


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
