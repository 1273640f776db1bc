"""Which files of an array are in the store, from listing it: a grid can be larger than any loop.

Layer: store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import Shape


def stored_places(storage: Storage, path: str, meta: ArrayMeta) -> Iterator[Shape]:
    """Yield the places in the grid of the files that exist."""
    prefix = "c" if meta.chunk_key((0,) * meta.ndim).startswith("c") else ""
    pending = [prefix if meta.separator == "/" else ""]
    while pending:
        folder = pending.pop()
        for name in storage.list(join(path, folder)):
            key = join(folder, name)
            place = _place(key, meta, prefix)
            if place is not None and len(place) == meta.ndim and meta.chunk_key(place) == key:
                yield place
            elif place is not None and meta.separator == "/" and len(place) < meta.ndim:
                pending.append(key)


def _place(key: str, meta: ArrayMeta, prefix: str) -> Shape | None:
    numbers = key.removeprefix(prefix).strip("/.").replace(".", "/").split("/")
    if numbers == [""] or (meta.ndim == 0 and key == "0"):
        return ()
    return tuple(int(n) for n in numbers) if all(n.isascii() and n.isdecimal() for n in numbers) else None
