"""Which files of an array are in the store, from listing it: a grid can be larger than any loop."""

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

MOST_PLACES = 10_000_000
"""Files of one array that are asked for one by one, where a store cannot be listed."""


def stored_places(
    storage: Storage, path: str, meta: ArrayMeta, first: Shape | None = None
) -> Iterator[Shape]:
    """Yield the places in the grid of the files that exist; files beyond the grid are among them.

    With ``first`` only those of the places that reach it along at least one axis. Folders in which there can be none
    are not listed. Where the store cannot list, all places of the grid.

    Raises
    ------
    InvalidArgumentError
        The store cannot be listed, and the grid is too large to ask for each.
    """
    if not storage.can_list:
        if prod(meta.grid) > MOST_PLACES:
            raise InvalidArgumentError(
                f"{storage.name}/{path} has {prod(meta.grid)} chunks and cannot be listed over this connection: they "
                "are too many to be asked for one by one. Copy the store to a folder first."
            )
        places = product(*map(range, meta.grid))
        yield from (place for place in places if first is None or any(map(ge, place, first)))
        return
    prefix = "c" if meta.chunk_key((0,) * meta.ndim).startswith("c") else ""
    if storage.lists_below and (first is None or _pages(first) <= _folders(meta, first)):
        for found in storage.keys_below(path):
            key = found.removeprefix(path).lstrip("/")
            place = _place(key, meta, prefix)
            is_stored = place is not None and len(place) == meta.ndim and meta.chunk_key(place) == key
            if is_stored and place is not None and (first is None or any(map(ge, place, first))):
                yield place
        return
    pending = [prefix if meta.separator == "/" else ""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            place = _place(key, meta, prefix)
            if place is None or (first is not None and not _may_reach(place, first, meta.grid)):
                continue
            if len(place) == meta.ndim and meta.chunk_key(place) == key:
                yield place
            elif meta.separator == "/" and len(place) < meta.ndim:
                pending.append(key)


def listings(storage: Storage, meta: ArrayMeta, first: Shape) -> int:
    """Count the lists that `stored_places` asks for where nothing is stored beyond the first files."""
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
    """Whether a key below an array is a chunk or shard beyond its shape, which a killed call left and nobody reads.

    Examples
    --------
    >>> import numpy as np
    >>> from lamella.store.array_meta import ArrayMeta
    >>> meta = ArrayMeta((4, 4), np.dtype("u1"), (2, 2))
    >>> is_beyond("c/1/1", meta), is_beyond("c/2/1", meta), is_beyond("zarr.json", meta)
    (False, True, False)
    """
    place = _place(key, meta, "c" if key.startswith("c") else "")
    if place is None or len(place) != meta.ndim or meta.chunk_key(place) != key:
        return False
    return any(map(ge, place, meta.grid))


def _may_reach(place: Shape, first: Shape, grid: Shape) -> bool:
    """Whether a place, or one in the folder of the first numbers of places, reaches `first` along an axis."""
    rest = len(place)
    return any(map(ge, place, first)) or any(map(lt, first[rest:], grid[rest:]))


def _place(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    numbers = key.removeprefix(prefix).strip("/.").replace(".", "/").split("/")
    if numbers == [""] or (meta.ndim == 0 and key == "0"):
        return ()
    return tuple(int(n) for n in numbers) if all(n.isascii() and n.isdecimal() for n in numbers) else None
