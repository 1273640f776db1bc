"""Return fingerprints of stored files, which differ whenever the bytes of a file differ.

A `Stamp` is compared within one process and may be weak; a fingerprint is compared by another process, hours later.
Local files: size, inode, mtime and ctime. Objects: strong ETag and size. Files in archives: the stamp of the archive
and their own checksum.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lamella.store.files.local import LocalStorage
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.flat_storage import FlatStorage
from lamella.store.storage import times_of
from lamella.store.transfer import files_below

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.store.storage import Fingerprint, Storage

_SETTLED_NS = 2 * 10**9
"""Least age of a trusted time: FAT counts in steps of two seconds, in which a file can change twice."""


def fingerprint(storage: Storage, key: str) -> Fingerprint | None:
    """Return the fingerprint of a key, read *before* its bytes; None where the store has none, or it is too recent."""
    if isinstance(storage, LocalStorage):
        stamp = storage.stamp(key)
        times = None if stamp is None else times_of(stamp)
        if stamp is None or times is None or time.time_ns() - max(times) < _SETTLED_NS:
            return None
        return list(stamp)
    if isinstance(storage, ZipStorage):
        stamp = storage.stamp(key)
        return None if stamp is None else list(stamp)
    if isinstance(storage, FlatStorage):
        from lamella.store.objects import object_fingerprint  # loads the clients of services

        return object_fingerprint.fingerprint(storage, key)
    return None


def fingerprints(storage: Storage, keys: Iterable[str]) -> list[Fingerprint | None] | None:
    """Return the fingerprint of each key, None for a missing one; unlike `fingerprint`, also of files written just now.

    None instead of the list where the store has no fingerprints: memory, or a service without ETags.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        stamps = (storage.stamp(key) for key in keys)
        return [None if stamp is None else list(stamp) for stamp in stamps]
    if isinstance(storage, FlatStorage):
        from lamella.store.objects import object_fingerprint

        return object_fingerprint.fingerprints(storage, keys)
    return None


def fingerprints_below(storage: Storage, prefix: str) -> dict[str, Fingerprint] | None:
    """Return the fingerprint of every file below a folder by key; None where the store cannot list or has none.

    Temporary files are left out.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        keys = list(files_below(storage, prefix))
        stamps = fingerprints(storage, keys) or []
        return {key: stamp for key, stamp in zip(keys, stamps, strict=True) if stamp is not None}
    if isinstance(storage, FlatStorage) and storage.can_list:
        from lamella.store.objects import object_fingerprint

        return object_fingerprint.fingerprints_below(storage, prefix)
    return None
