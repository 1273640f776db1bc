"""Chunks that are not where, or not what, the document of an array declares: they must not read as fill values.

A missing chunk is legal and reads as the fill value. So an array whose document names the wrong separator reads as
zeros, although all its chunks are there; and a folder or a named pipe in the place of a chunk is no chunk.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from lamella.errors import DamagedDataError
from lamella.store.keys import join
from lamella.store.stored_chunks import stored_places

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Storage

_FORMS: tuple[tuple[ZarrFormat, str], ...] = ((2, "."), (2, "/"), (3, "/"), (3, "."))
"""How keys of chunks are spelled: those of Zarr v3 begin with a c."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class MisplacedError(DamagedDataError):
    """Something else than what the document declares is stored; the message says what and where."""


def require_file(mode: int, location: str) -> None:
    """Refuse what is no regular file, by the mode that the system reports.

    Raises
    ------
    MisplacedError
        It is a folder, a pipe, a socket or a device.
    """
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        raise MisplacedError(
            f"cannot read the chunk {location}: {_KINDS.get(kind, 'something else')} is there, not a file; remove it "
            "and write that region again, or restore the file"
        )


def foreign_key(storage: Storage, path: str, meta: ArrayMeta) -> str | None:
    """Return the key of a chunk that is stored under another spelling than the declared one; None without any."""
    origin = (0,) * meta.ndim
    seen = {meta.chunk_key(origin)}
    if storage.unlisted is not None:
        for zarr_format, separator in _FORMS:
            first = replace(meta, zarr_format=zarr_format, separator=separator, document={}).chunk_key(origin)
            if first not in seen and storage.unlisted.size(join(path, first)) is not None:
                return first
            seen.add(first)
        return None
    names = storage.list(path)
    for zarr_format, separator in _FORMS:
        other = replace(meta, zarr_format=zarr_format, separator=separator, document={})
        first = other.chunk_key(origin)
        if first in seen or not any(_may_begin(name, first, separator) for name in names):
            continue
        seen.add(first)
        for place in stored_places(storage, path, other):
            if all(k < n for k, n in zip(place, meta.grid, strict=True)):
                return other.chunk_key(place)
    return None


def _may_begin(name: str, first: str, separator: str) -> bool:
    """Whether a name in the folder of an array looks like the begin of a key that is spelled as the first one is."""
    if separator == ".":
        return name.count(".") == first.count(".") and name[0] in f"{first[0]}123456789"
    return name == "c" if first[0] == "c" else name.isdecimal()


def describe_foreign(key: str, meta: ArrayMeta) -> str:
    """Return the words that say which key was found, and which the document declares."""
    return (
        f"its chunks are stored under keys such as {key!r}, but its document declares keys such as "
        f"{meta.chunk_key((0,) * meta.ndim)!r}"
    )


def check_keys(storage: Storage, path: str, meta: ArrayMeta, where: str) -> None:
    """Refuse an array whose chunks are stored under other keys than its document declares.

    Raises
    ------
    MisplacedError
        They are.
    """
    key = foreign_key(storage, path, meta)
    if key is not None:
        raise MisplacedError(
            f"cannot read the pixels of array {where}: {describe_foreign(key, meta)}, and readers see fill values; "
            "correct the separator (dimension_separator or chunk_key_encoding) in the document: `lamella repair`"
        )


class MissingChunks:
    """Looks for the keys of other spellings when the first chunk of an array is missing, once for each opening.

    Parameters
    ----------
    storage, path, meta
        The array.

    Attributes
    ----------
    is_known
        Whether there are none under other keys.
    """

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta) -> None:
        self._array = storage, path, meta
        # Stores that answer requests are asked by `status`, `validate` and `verify`: listing them takes long.
        self.is_known = not storage.locks_processes

    def note(self) -> None:
        """Note that a chunk is missing; `MisplacedError` where chunks are stored under other keys."""
        if not self.is_known:
            storage, path, meta = self._array
            check_keys(storage, path, meta, f"{path or '/'!r} in {storage.name}")
            self.is_known = True
