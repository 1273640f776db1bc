"""List the stored files of an array, and detect chunks that are stored under other keys than the document declares.

A missing chunk reads as the fill value. So an array whose document has the wrong separator would read as zeros,
although all its chunks are stored: under 0.0 where the document declares 0/0, for example.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from itertools import product
from math import prod
from operator import ge, lt
from typing import TYPE_CHECKING

from lamella.errors import DamagedDataError, InvalidArgumentError
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Storage
    from lamella.types import Shape

_MAX_REQUESTED_FILES = 10_000_000
"""Limit of files of one array that are requested one by one, where a store cannot be listed."""


def check_requestable(storage: Storage, path: str, meta: ArrayMeta) -> None:
    """Raise `InvalidArgumentError` where a store cannot be listed and an array has too many files to request each."""
    if prod(meta.grid) > _MAX_REQUESTED_FILES:
        raise InvalidArgumentError(
            f"{storage.where(path)} has {prod(meta.grid)} chunks and cannot be listed over this connection: they "
            "are too many to be asked for one by one. Copy the store to a folder first."
        )


def iter_stored_files(
    storage: Storage, path: str, meta: ArrayMeta, first: Shape | None = None
) -> Iterator[Shape]:
    """Yield the indexes of the stored files of an array, also of files beyond its grid.

    With ``first``, only those that reach ``first`` along at least one axis. Where the store cannot list, yield all
    indexes of the grid; raise `InvalidArgumentError` where these are too many.
    """
    if not storage.can_list:
        check_requestable(storage, path, meta)
        indexes = product(*map(range, meta.grid))
        yield from (index for index in indexes if first is None or any(map(ge, index, first)))
        return
    prefix = _prefix(meta)
    if storage.lists_below and (first is None or _count_pages(first) <= _count_folders(meta, first)):
        listed = (index for index, _ in _listed(storage, path, meta))
        yield from (index for index in listed if first is None or any(map(ge, index, first)))
        return
    pending = [prefix if meta.separator == "/" else ""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            index = _parse_index(key, meta, prefix)
            if index is None or (first is not None and not _may_reach(index, first, meta.grid)):
                continue
            if len(index) == meta.ndim and meta.chunk_key(index) == key:
                yield index
            elif meta.separator == "/" and len(index) < meta.ndim:
                pending.append(key)


def stored_sizes(storage: Storage, path: str, meta: ArrayMeta) -> Iterator[tuple[Shape, int | None]]:
    """Yield the file indexes of `iter_stored_files` with sizes; None without a list, whose files may be missing."""
    if storage.can_list and storage.lists_below:
        yield from _listed(storage, path, meta)
    else:
        yield from ((index, None) for index in iter_stored_files(storage, path, meta))


def _listed(storage: Storage, path: str, meta: ArrayMeta) -> Iterator[tuple[Shape, int]]:
    """Yield the file indexes of one listing, with their sizes."""
    prefix = _prefix(meta)
    for key, size in storage.sizes_below(path).items():
        index = _declared_index(key.removeprefix(path).lstrip("/"), meta, prefix)
        if index is not None:
            yield index, size


def count_listings(storage: Storage, meta: ArrayMeta, first: Shape) -> int:
    """Return how many listings `iter_stored_files` needs where no file is stored beyond ``first``."""
    folders = _count_folders(meta, first)
    return min(folders, _count_pages(first)) if storage.lists_below else folders


def _count_pages(first: Shape) -> int:
    """Return how many listings of up to 1,000 keys contain all files before `first`."""
    return 1 + prod(first) // 1000


def _count_folders(meta: ArrayMeta, first: Shape) -> int:
    """Return how many folders `iter_stored_files` lists one by one to find the files from `first` on."""
    if meta.separator != "/":
        return 1
    last = max(
        axis
        for axis, (first_index, file_count) in enumerate(zip(first, meta.grid, strict=True))
        if first_index < file_count
    )
    return sum(prod(first[:depth]) for depth in range(last + 1))


def is_beyond(key: str, meta: ArrayMeta) -> bool:
    """Whether a key below an array is a chunk or shard beyond its shape, which a killed call left."""
    index = index_of_key(key, meta)
    return index is not None and any(map(ge, index, meta.grid))


def index_of_key(key: str, meta: ArrayMeta) -> Shape | None:
    """Return the file index of a key that an array declares, also beyond its grid; None for other keys."""
    return _declared_index(key, meta, "c" if key.startswith("c") else "")


def names_in(folder: str, meta: ArrayMeta) -> Iterable[str]:
    """Return the names directly in a folder below an array, of the files that its grid may have."""
    parts = meta.chunk_key((0,) * meta.ndim).split("/")
    folders = folder.split("/") if folder else []
    index = index_of_key("/".join([*folders, *parts[len(folders) :]]), meta)
    if len(folders) >= len(parts) or index is None or any(map(ge, index, meta.grid)):
        return ()
    if meta.separator != "/":
        return map(meta.chunk_key, product(*map(range, meta.grid)))
    axis = len(folders) - len(parts) + meta.ndim  # the first folder of Zarr v3 is "c"
    return parts[:1] if axis < 0 else map(str, range(meta.grid[axis]))


def _may_reach(index: Shape, first: Shape, grid: Shape) -> bool:
    """Whether an index, or one that begins with these numbers, reaches `first` along an axis."""
    depth = len(index)
    return any(map(ge, index, first)) or any(map(lt, first[depth:], grid[depth:]))


def _prefix(meta: ArrayMeta) -> str:
    return "c" if meta.chunk_key((0,) * meta.ndim).startswith("c") else ""


def _declared_index(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    """Return the file index of a key that an array with a `prefix` declares; None for other keys."""
    index = _parse_index(key, meta, prefix)
    is_declared = index is not None and len(index) == meta.ndim and meta.chunk_key(index) == key
    return index if is_declared else None


def _parse_index(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    numbers = key.removeprefix(prefix).strip("/.").replace(".", "/").split("/")
    if numbers == [""] or (meta.ndim == 0 and key == "0"):
        return ()
    return (
        tuple(int(number) for number in numbers)
        if all(number.isascii() and number.isdecimal() for number in numbers)
        else None
    )


_SPELLINGS: tuple[tuple[ZarrFormat, str], ...] = ((2, "."), (2, "/"), (3, "/"), (3, "."))
"""The spellings of chunk keys: Zarr format and separator."""

_NAMES_OF_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class MisplacedError(DamagedDataError):
    """Chunks are stored under other keys than the document declares, or a folder or device is at the key of one."""


def require_file(mode: int, location: str) -> None:
    """Raise `MisplacedError` unless a mode is that of a regular file."""
    file_type = stat.S_IFMT(mode)
    if file_type != stat.S_IFREG:
        raise MisplacedError(
            f"Cannot read the chunk {location}: {_NAMES_OF_TYPES.get(file_type, 'something else')} is there, not a "
            "file. Remove it and write that region again, or restore the file."
        )


def foreign_chunk_key(
    storage: Storage, path: str, meta: ArrayMeta, names: Iterable[str] | None = None
) -> str | None:
    """Return the key of a chunk that is stored under another spelling than the declared one; None without any.

    ``names`` are those in the folder of the array, if they have been listed.
    """
    origin = (0,) * meta.ndim
    checked = {meta.chunk_key(origin)}
    if storage.unlisted is not None:
        for zarr_format, separator in _SPELLINGS:
            first_key = replace(meta, zarr_format=zarr_format, separator=separator, document={}).chunk_key(
                origin
            )
            if first_key not in checked and storage.unlisted.size(join(path, first_key)) is not None:
                return first_key
            checked.add(first_key)
        return None
    names = storage.list(path) if names is None else names
    for zarr_format, separator in _SPELLINGS:
        other_meta = replace(meta, zarr_format=zarr_format, separator=separator, document={})
        first_key = other_meta.chunk_key(origin)
        if first_key in checked or not any(_may_begin(name, first_key, separator) for name in names):
            continue
        checked.add(first_key)
        for index in iter_stored_files(storage, path, other_meta):
            if all(number < file_count for number, file_count in zip(index, meta.grid, strict=True)):
                return other_meta.chunk_key(index)
    return None


def _may_begin(name: str, first_key: str, separator: str) -> bool:
    """Whether a name in the folder of an array may begin a key of the same spelling as `first`."""
    if separator == ".":
        return name.count(".") == first_key.count(".") and name[0] in f"{first_key[0]}123456789"
    return name == "c" if first_key[0] == "c" else name.isdecimal()


def describe_foreign(key: str, meta: ArrayMeta) -> str:
    """Return words that contrast the stored key with the declared ones."""
    return (
        f"its chunks are stored under keys such as {key!r}, but its document declares keys such as "
        f"{meta.chunk_key((0,) * meta.ndim)!r}"
    )


def check_keys(
    storage: Storage, path: str, meta: ArrayMeta, where: str, names: Iterable[str] | None = None
) -> None:
    """Raise `MisplacedError` where chunks are stored under other keys than the document declares."""
    key = foreign_chunk_key(storage, path, meta, names)
    if key is not None:
        raise MisplacedError(
            f"Cannot read the pixels of array {where}: {describe_foreign(key, meta)}, and readers see fill values. "
            "Correct the separator (dimension_separator or chunk_key_encoding) in the document: `lamella repair`."
        )
