"""Write a ZIP archive in one pass, with uncompressed entries and a ZIP64 end.

Entries have no dates, so that equal stores produce equal archives.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Final

from lamella.errors import InvalidArgumentError, StorageError
from lamella.store.files.temporary_files import AtomicFile, sweep_folder, temporary_name
from lamella.store.files.zip_directory import CENTRAL, END, END64, LOCAL, LOCATOR
from lamella.store.keys import check_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_VERSION_PLAIN, _VERSION_ZIP64 = 20, 45
"""Version of the ZIP format that an entry needs: 2.0, or 4.5 with fields of 64 bits."""

_UTF8 = 0x800
_MADE_BY: Final = 3
"""Unix, so that entries have permissions."""

_FILE = 0o100644 << 16
_FIRST_DAY = 0x21
_MAX_16_BITS, _MAX_32_BITS = 0xFFFF, 0xFFFFFFFF
_MAX_BUFFERED = 4 << 20
"""Maximum number of bytes of small entries that are written together."""


class ZipWriter:
    """An archive that replaces its path when it is complete; use it in a ``with`` statement."""

    def __init__(self, path: str) -> None:
        folder = os.path.dirname(path)
        sweep_folder(folder)
        try:
            self._file = AtomicFile(os.path.join(folder, temporary_name(".tmp")), path, fsync=True)
        except OSError as error:
            raise StorageError(f"Cannot write {path}: {error.strerror or error}.", error.errno) from error
        self.path = path
        self.size = 0
        self._directory: list[bytes] = []
        self._names: set[str] = set()
        self._buffer: list[bytes] = []
        self._written = 0

    def __enter__(self) -> ZipWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.discard()  # no effect after `finish`

    def add(self, name: str, parts: Iterable[bytes], size: int | None = None) -> int:
        """Add a file from parts, and return its size.

        Without `size` all parts are in memory together. Parts of another total size than `size` raise `StorageError`.
        """
        if not check_key(name) or name in self._names:
            raise InvalidArgumentError(f"Cannot write {name!r} into {self.path}: it is there already.")
        if size is None:
            parts = list(parts)
            size = sum(map(len, parts))
        self._names.add(name)
        name_bytes, header_offset = name.encode(), self.size
        start = header_offset + LOCAL.size + len(name_bytes) + (20 if size >= _MAX_32_BITS else 0)
        crc, offset = 0, start
        buffered = []
        for part in parts:
            crc = zlib.crc32(part, crc)
            if size <= _MAX_BUFFERED:
                buffered.append(part)
            else:
                self._flush()
                self._file.write(offset, part)
            offset += len(part)
        if offset - start != size:
            raise StorageError(
                f"Cannot write {name} into {self.path}: it has {offset - start} bytes and had {size} before. Another "
                "program writes there: try again."
            )
        local_header = _local_header(name_bytes, crc, size)
        if size <= _MAX_BUFFERED:
            self._buffer += [local_header, *buffered]
            self.size = offset
            if offset - self._written > _MAX_BUFFERED:
                self._flush()
        else:
            self._file.write(header_offset, local_header)
            self.size = self._written = offset
        self._directory.append(_central_header(name_bytes, crc, size, header_offset))
        return size

    def finish(self, comment: bytes) -> None:
        """Write the directory and the comment, flush the file to the disk, and replace the path."""
        start, count = self.size, len(self._directory)
        directory = b"".join(self._directory)
        end = start + len(directory)
        self._buffer += [
            directory,
            END64.pack(
                b"PK\6\6",
                END64.size - 12,
                _VERSION_ZIP64,
                _VERSION_ZIP64,
                0,
                0,
                count,
                count,
                len(directory),
                start,
            ),
            LOCATOR.pack(b"PK\6\7", 0, end, 1),
            END.pack(
                *(b"PK\5\6", 0, 0, min(count, _MAX_16_BITS), min(count, _MAX_16_BITS)),
                *(min(len(directory), _MAX_32_BITS), min(start, _MAX_32_BITS), len(comment)),
            ),
            comment,
        ]
        self._flush()
        self._file.commit()

    def _flush(self) -> None:
        data = b"".join(self._buffer)
        self._buffer.clear()
        if data:
            self._file.write(self._written, data)
            self._written += len(data)


def _local_header(name: bytes, crc: int, size: int) -> bytes:
    version, extra, size_field = _VERSION_PLAIN, b"", size
    if size >= _MAX_32_BITS:
        version, extra, size_field = _VERSION_ZIP64, struct.pack("<2H2Q", 1, 16, size, size), _MAX_32_BITS
    flags = 0 if name.isascii() else _UTF8
    fields = (version, flags, 0, 0, _FIRST_DAY, crc, size_field, size_field, len(name), len(extra))
    return LOCAL.pack(b"PK\3\4", *fields) + name + extra


def _central_header(name: bytes, crc: int, size: int, header: int) -> bytes:
    zip64_fields = [
        *([size, size] if size >= _MAX_32_BITS else []),
        *([header] if header >= _MAX_32_BITS else []),
    ]
    extra = (
        struct.pack(f"<2H{len(zip64_fields)}Q", 1, 8 * len(zip64_fields), *zip64_fields)
        if zip64_fields
        else b""
    )
    version = _VERSION_ZIP64 if zip64_fields else _VERSION_PLAIN
    flags = 0 if name.isascii() else _UTF8
    sizes = (
        min(size, _MAX_32_BITS),
        min(size, _MAX_32_BITS),
        len(name),
        len(extra),
        0,
        0,
        0,
        _FILE,
        min(header, _MAX_32_BITS),
    )
    return (
        CENTRAL.pack(b"PK\1\2", version, _MADE_BY, version, flags, 0, 0, _FIRST_DAY, crc, *sizes)
        + name
        + extra
    )
