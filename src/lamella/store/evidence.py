"""What the storage says of a file that changes whenever its bytes do: why to believe what was found out about it.

Stronger than a `lamella.store.storage.Stamp`, which is asked for again and again by one process: this is compared by
another one, hours later, and may cost a request.

Layer: store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.store.local import LocalStorage
from lamella.store.zarr_storage import ZarrStorage

if TYPE_CHECKING:
    from lamella.store.storage import Storage

Evidence: TypeAlias = list[int | str]
"""JSON values; equal ones mean unchanged."""

_SETTLED_NS = 2 * 10**9
"""How old a time has to be: FAT counts in steps of two seconds, so that a file can change twice in the same one."""


def evidence(storage: Storage, key: str) -> Evidence | None:
    """Return what changes whenever the bytes of a key do; None where nothing does, or where that is too young.

    Of a local file size, inode and times, also the time of any change, which no program can set back; of an object
    its ETag, where fsspec tells it. To be asked *before* the bytes are read.
    """
    if isinstance(storage, LocalStorage):
        stamp = storage.stamp(key)
        if stamp is None or time.time_ns() - max(stamp[0], stamp[-1]) < _SETTLED_NS:
            return None
        return list(stamp)
    if isinstance(storage, ZarrStorage):
        return _of_object(storage, key)
    return None


def _of_object(storage: ZarrStorage, key: str) -> Evidence | None:
    """Return the strong ETag and size of an object; of stores of other kinds than fsspec's nothing is known."""
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    found = storage._run(
        "look at", key, file_system._info(f"{getattr(storage.store, 'path', '')}/{key}".lstrip("/"))
    )
    tag = next((found[name] for name in ("ETag", "etag", "e_tag") if found.get(name)), None)
    if not isinstance(tag, str) or tag.startswith("W/"):
        return None
    return [tag, int(found.get("size") or 0)]
