"""Copy files from one store to another, without decoding chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import StorageError
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import stage
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.flat_storage import has_private_name
from lamella.store.keys import is_metadata_file, join, natural_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from lamella.store.storage import Storage

_PART_BYTES = 64 << 20
"""Part size for copying large files, in bytes."""


def copy_file(
    source: Storage, key: str, target: Storage, new_key: str, is_whole: Callable[[bytes], bool] | None = None
) -> int | None:
    """Copy one file between stores; return its size, or None if it is missing.

    A service may answer with less than the file. Where ``is_whole`` cannot show that the bytes are complete, their
    number is compared with the size of the file, which is one more request (`read_whole`).
    """
    if isinstance(target, LocalStorage):
        if isinstance(source, LocalStorage):
            target.copy_from(source, key, new_key)
            return target.size(new_key)
        size = source.size(key) if isinstance(source, ZipStorage) else None
        if size is not None and size > _PART_BYTES:
            return _copy_parts(source, key, target, new_key, size)
    data = source.read(key)
    if data is not None and is_whole is not None and not source.locks_processes and not is_whole(data):
        data = read_whole(source, key, data)
    if data is None:
        return None
    target.write(new_key, data)
    return len(data)


def read_whole(storage: Storage, key: str, data: bytes) -> bytes | None:
    """Return ``data`` if it is as long as the key, else read the key once more; None if it is missing.

    Raises `StorageError` where the numbers of bytes differ twice.
    """
    for _ in range(2):
        size = storage.size(key)
        if size is None or size == len(data):
            return None if size is None else data
        data_again = storage.read(key)
        if data_again is None:
            return None
        data = data_again
    raise StorageError(
        f"Cannot copy {storage.where(key)}: the service says that it has {size} bytes, and answers with {len(data)}. "
        "Nothing is known to be wrong with what is stored: try again later."
    )


def _copy_parts(source: Storage, key: str, target: LocalStorage, new_key: str, size: int) -> int:
    file = stage(target, new_key)
    try:
        for start in range(0, size, _PART_BYTES):
            file.write(start, source.read_range(key, start, _PART_BYTES) or b"")
        file.commit()
    except BaseException:
        file.discard()
        raise
    return size


def read_listed(storage: Storage, key: str) -> bytes:
    """Read a key that was listed; raise `StorageError` where it is missing now."""
    data = storage.read(key)
    if data is None:
        raise vanished_error(storage, key)
    return data


def vanished_error(storage: Storage, key: str) -> StorageError:
    """Return the error for a key that was listed and is missing."""
    return StorageError(
        f"Cannot copy {storage.where(key)}: it was listed, and is missing now, so another program deletes it, or the "
        "service answers wrongly. Make the same call again."
    )


def sized_files_below(
    storage: Storage, prefix: str, leaves_out: Callable[[str], bool] = lambda key: False
) -> Iterator[tuple[str, int]]:
    """Yield the key and size of each file below a folder, in natural order, by a single listing if possible.

    ``leaves_out`` returns whether a key, or all keys below a folder, are left out.
    """
    if storage.lists_below:
        sizes = storage.sizes_below(prefix)
        for key in sorted(sizes, key=lambda key: [natural_order(name) for name in key.split("/")]):
            if not has_private_name(key[len(prefix) :]) and not leaves_out(key):
                yield key, sizes[key]
        return
    keys = [key for name in storage.list(prefix) if not leaves_out(key := join(prefix, name))]
    for key, size in zip(keys, storage.sizes(keys), strict=True):
        if size is None and is_metadata_file(key.rpartition("/")[2]):
            raise vanished_error(storage, key)
        if size is None:
            yield from sized_files_below(storage, key, leaves_out)
        else:
            yield key, size


def remove_vanished(
    source: Storage, source_path: str, target: Storage, target_path: str, excluded: Collection[str] = ()
) -> None:
    """Delete the files below the target path that are missing in the source: leftovers of an interrupted copy.

    Files in the folders ``excluded``, relative to the paths, stay.
    """
    copies = {}
    for key, _ in sized_files_below(target, target_path):
        relative = key[len(target_path) :].strip("/") if target_path else key
        if not any(f"{relative}/".startswith(f"{folder}/") for folder in excluded):
            copies[join(source_path, relative)] = key
    for copy, size in zip(copies.values(), source.sizes(list(copies)), strict=True):
        if size is None:
            target.delete(copy)
