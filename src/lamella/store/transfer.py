"""Copying files from one store to another as they are: encoded chunks are not decoded.

Layer: store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.keys import join
from lamella.store.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.storage import Storage


def copy_file(source: Storage, key: str, target: Storage, new: str) -> None:
    """Copy one file; the system does it without a detour where both are folders."""
    if isinstance(source, LocalStorage) and isinstance(target, LocalStorage):
        target.copy_in(source, key, new)
        return
    data = source.read(key)
    if data is not None:
        target.write(new, data)


def files_below(storage: Storage, prefix: str) -> Iterator[str]:
    """Yield the keys of all files below a folder, in natural order."""
    return (key for key, _ in sized_files_below(storage, prefix))


def sized_files_below(storage: Storage, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the key and size of each file below a folder, in natural order."""
    for name in storage.list(prefix):
        key = join(prefix, name)
        size = storage.size(key)
        if size is None:
            yield from sized_files_below(storage, key)
        else:
            yield key, size


def remove_vanished(source: Storage, source_path: str, target: Storage, target_path: str) -> None:
    """Delete the copies, made by an interrupted call, of files that are not in the source any more."""
    for key in list(files_below(target, target_path)):
        relative = key[len(target_path) :].strip("/") if target_path else key
        if source.size(join(source_path, relative)) is None:
            target.delete(key)
