"""List the stored files of an array, since the grid can be too large to request each file."""

from __future__ import annotations

from itertools import product
from math import prod
from operator import ge, lt
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import Shape

MAX_REQUESTED_FILES = 10_000_000
"""Limit of files of one array that are requested one by one, where a store cannot be listed."""


def iter_stored_files(
    storage: Storage, path: str, meta: ArrayMeta, first: Shape | None = None
) -> Iterator[Shape]:
    """Yield the indexes of the stored files of an array, also of files beyond its grid.

    With ``first``, only the indexes that reach ``first`` along at least one axis. Where the store cannot list, yield
    all indexes of the grid; raise `InvalidArgumentError` where these are too many.
    """
    if not storage.can_list:
        if prod(meta.grid) > MAX_REQUESTED_FILES:
            raise InvalidArgumentError(
                f"{storage.name}/{path} has {prod(meta.grid)} chunks and cannot be listed over this connection: they "
                "are too many to be asked for one by one. Copy the store to a folder first."
            )
        indexes = product(*map(range, meta.grid))
        yield from (index for index in indexes if first is None or any(map(ge, index, first)))
        return
    prefix = _prefix(meta)
    if storage.lists_below and (first is None or _pages(first) <= _folders(meta, first)):
        for key in storage.keys_below(path):
            index = _index_of(key.removeprefix(path).lstrip("/"), meta, prefix)
            if index is not None and (first is None or any(map(ge, index, first))):
                yield index
        return
    pending = [prefix if meta.separator == "/" else ""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            index = _index_in(key, meta, prefix)
            if index is None or (first is not None and not _may_reach(index, first, meta.grid)):
                continue
            if len(index) == meta.ndim and meta.chunk_key(index) == key:
                yield index
            elif meta.separator == "/" and len(index) < meta.ndim:
                pending.append(key)


def stored_sizes(storage: Storage, path: str, meta: ArrayMeta) -> Iterator[tuple[Shape, int | None]]:
    """Yield the file indexes of an array as `iter_stored_files` does, with the sizes of a listing.

    Where files are not listed, the sizes are None and the files may be missing.
    """
    if not (storage.can_list and storage.lists_below):
        yield from ((index, None) for index in iter_stored_files(storage, path, meta))
        return
    prefix = _prefix(meta)
    for key, size in storage.sizes_below(path).items():
        index = _index_of(key.removeprefix(path).lstrip("/"), meta, prefix)
        if index is not None:
            yield index, size


def listings(storage: Storage, meta: ArrayMeta, first: Shape) -> int:
    """Count the listings of `iter_stored_files` where no file is stored beyond ``first``."""
    folders = _folders(meta, first)
    return min(folders, _pages(first)) if storage.lists_below else folders


def _pages(first: Shape) -> int:
    return 1 + prod(first) // 1000


def _folders(meta: ArrayMeta, first: Shape) -> int:
    if meta.separator != "/":
        return 1
    last = max(axis for axis, (a, b) in enumerate(zip(first, meta.grid, strict=True)) if a < b)
    return sum(prod(first[:depth]) for depth in range(last + 1))


def is_beyond(key: str, meta: ArrayMeta) -> bool:
    """Whether a key below an array is a chunk or shard beyond its shape, which a killed call left.

    >>> import numpy as np
    >>> from lamella.store.array_meta import ArrayMeta
    >>> meta = ArrayMeta((4, 4), np.dtype("u1"), (2, 2))
    >>> is_beyond("c/1/1", meta), is_beyond("c/2/1", meta), is_beyond("zarr.json", meta)
    (False, True, False)
    """
    index = _index_of(key, meta, "c" if key.startswith("c") else "")
    return index is not None and any(map(ge, index, meta.grid))


def _may_reach(index: Shape, first: Shape, grid: Shape) -> bool:
    """Whether an index, or one that begins with its numbers, reaches `first` along an axis."""
    rest = len(index)
    return any(map(ge, index, first)) or any(map(lt, first[rest:], grid[rest:]))


def _prefix(meta: ArrayMeta) -> str:
    return "c" if meta.chunk_key((0,) * meta.ndim).startswith("c") else ""


def _index_of(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    """Return the index of a key that an array declares for a chunk or shard; None for other keys."""
    index = _index_in(key, meta, prefix)
    is_declared = index is not None and len(index) == meta.ndim and meta.chunk_key(index) == key
    return index if is_declared else None


def _index_in(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    numbers = key.removeprefix(prefix).strip("/.").replace(".", "/").split("/")
    if numbers == [""] or (meta.ndim == 0 and key == "0"):
        return ()
    return tuple(int(n) for n in numbers) if all(n.isascii() and n.isdecimal() for n in numbers) else None
