"""Detect chunks that are stored under other keys than the document declares, or are not files.

A missing chunk reads as the fill value. So an array whose document has the wrong separator would read as zeros,
although all its chunks are stored.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from lamella.errors import DamagedDataError
from lamella.store.keys import join
from lamella.store.stored_chunks import iter_stored_files

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Storage

_FORMS: tuple[tuple[ZarrFormat, str], ...] = ((2, "."), (2, "/"), (3, "/"), (3, "."))
"""The spellings of chunk keys: Zarr format and separator."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class MisplacedError(DamagedDataError):
    """Chunks are stored in another way than the document declares."""


def require_file(mode: int, location: str) -> None:
    """Raise `MisplacedError` unless a mode is that of a regular file."""
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        raise MisplacedError(
            f"cannot read the chunk {location}: {_KINDS.get(kind, 'something else')} is there, not a file; remove it "
            "and write that region again, or restore the file"
        )


def foreign_key(storage: Storage, path: str, meta: ArrayMeta) -> str | None:
    """Return the key of a chunk that is stored under another spelling than the declared one; None without any."""
    origin = (0,) * meta.ndim
    checked = {meta.chunk_key(origin)}
    if storage.unlisted is not None:
        for zarr_format, separator in _FORMS:
            first = replace(meta, zarr_format=zarr_format, separator=separator, document={}).chunk_key(origin)
            if first not in checked and storage.unlisted.size(join(path, first)) is not None:
                return first
            checked.add(first)
        return None
    names = storage.list(path)
    for zarr_format, separator in _FORMS:
        other = replace(meta, zarr_format=zarr_format, separator=separator, document={})
        first = other.chunk_key(origin)
        if first in checked or not any(_may_begin(name, first, separator) for name in names):
            continue
        checked.add(first)
        for index in iter_stored_files(storage, path, other):
            if all(k < n for k, n in zip(index, meta.grid, strict=True)):
                return other.chunk_key(index)
    return None


def _may_begin(name: str, first: str, separator: str) -> bool:
    """Whether a name in the folder of an array may begin a key of the same spelling as `first`."""
    if separator == ".":
        return name.count(".") == first.count(".") and name[0] in f"{first[0]}123456789"
    return name == "c" if first[0] == "c" else name.isdecimal()


def describe_foreign(key: str, meta: ArrayMeta) -> str:
    """Return words that contrast the stored key with the declared ones."""
    return (
        f"its chunks are stored under keys such as {key!r}, but its document declares keys such as "
        f"{meta.chunk_key((0,) * meta.ndim)!r}"
    )


def check_keys(storage: Storage, path: str, meta: ArrayMeta, where: str) -> None:
    """Raise `MisplacedError` where chunks are stored under other keys than the document declares."""
    key = foreign_key(storage, path, meta)
    if key is not None:
        raise MisplacedError(
            f"cannot read the pixels of array {where}: {describe_foreign(key, meta)}, and readers see fill values; "
            "correct the separator (dimension_separator or chunk_key_encoding) in the document: `lamella repair`"
        )
