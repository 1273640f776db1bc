"""What the storage says of a file that changes whenever its bytes do: why to believe what was found out about it.

Stronger than a `lamella.store.storage.Stamp`, which is asked for again and again by one process: this is compared by
another one, hours later, and may cost a request.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.store.keys import is_private
from lamella.store.local import LocalStorage
from lamella.store.object_storage import ObjectStorage
from lamella.store.storage import times_of
from lamella.store.transfer import files_below
from lamella.store.zarr_storage import ZarrStorage
from lamella.store.zip_storage import ZipStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.store.storage import Stamp, Storage

Evidence: TypeAlias = list[int | str]
"""JSON values; equal ones mean unchanged."""

_AT_ONCE = 64
"""Objects that are asked for at a time."""

_SETTLED_NS = 2 * 10**9
"""How old a time has to be: FAT counts in steps of two seconds, so that a file can change twice in the same one."""


def evidence(storage: Storage, key: str) -> Evidence | None:
    """Return what changes whenever the bytes of a key do; None where nothing does, or where that is too young.

    Of a local file size, inode and times, also the time of any change, which no program can set back; of an object
    its ETag, where fsspec tells it; of a file in an archive the stamp of that and its own checksum. To be asked
    *before* the bytes are read.
    """
    if isinstance(storage, LocalStorage):
        stamp = storage.stamp(key)
        times = None if stamp is None else times_of(stamp)
        if stamp is None or times is None or time.time_ns() - max(times) < _SETTLED_NS:
            return None
        return list(stamp)
    if isinstance(storage, ZipStorage):
        stamp = storage.stamp(key)
        return None if stamp is None else list(stamp)
    if isinstance(storage, ObjectStorage):
        return _of_stamp(storage.stamp(key))
    if isinstance(storage, ZarrStorage):
        return _of_object(storage, key)
    return None


def _of_stamp(stamp: Stamp | None) -> Evidence | None:
    """Return the stamp of an object where it is a strong ETag: times of a web server and weak ETags prove little."""
    is_strong = stamp is not None and not str(stamp[0]).startswith(("W/", "time "))
    return [*stamp] if stamp is not None and is_strong else None


def _of_object(storage: ZarrStorage, key: str) -> Evidence | None:
    """Return the strong ETag and size of an object; of stores of other kinds than fsspec's nothing is known."""
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    found = storage._run(
        "look at", key, file_system._info(f"{getattr(storage.store, 'path', '')}/{key}".lstrip("/"))
    )
    return _tag(found)


def fingerprints(storage: Storage, keys: Iterable[str]) -> list[Evidence | None] | None:
    """Return for each key what changes whenever its file does, None for one that is not there.

    Unlike `evidence`, also of files that were written this moment: who compares later looks at a result of its own.

    Returns
    -------
    list, or None
        None where the store says nothing of the kind: one in memory, a ZIP file, a service without ETags.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        stamps = (storage.stamp(key) for key in keys)
        return [None if stamp is None else list(stamp) for stamp in stamps]
    if isinstance(storage, ObjectStorage):
        listed = storage.stamps(keys)
        strong = [_of_stamp(stamp) for stamp in listed]
        return None if any(stamp and not one for stamp, one in zip(listed, strong, strict=True)) else strong
    if not isinstance(storage, ZarrStorage):
        return None
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    file_system.invalidate_cache()
    root = str(getattr(storage.store, "path", "")).strip("/")
    paths = [f"{root}/{key}".lstrip("/") for key in keys]
    infos = storage._run("look at", root, _infos(file_system, paths)) if paths else []
    found = [None if info is None else _tag(info) for info in infos]
    return None if any(info and not tag for info, tag in zip(infos, found, strict=True)) else found


async def _infos(file_system: Any, paths: list[str]) -> list[Any]:
    """Ask for objects, some at a time; None for one that is not there."""

    async def ask(path: str) -> Any:
        try:
            return await file_system._info(path)
        except FileNotFoundError:
            return None

    found: list[Any] = []
    for start in range(0, len(paths), _AT_ONCE):
        found += await asyncio.gather(*map(ask, paths[start : start + _AT_ONCE]))
    return found


def _tag(info: Mapping[str, Any]) -> Evidence | None:
    """Return the strong ETag and the size of an object; None where it has none."""
    tag = next((info[name] for name in ("ETag", "etag", "e_tag") if info.get(name)), None)
    if not isinstance(tag, str) or tag.startswith("W/"):
        return None
    return [tag, int(info.get("size") or 0)]


def fingerprints_below(storage: Storage, prefix: str) -> dict[str, Evidence] | None:
    """Return the fingerprint of every file below a folder, by its key; temporary files are left out.

    Returns
    -------
    dict, or None
        None where the store cannot list, or says nothing of its files: see `fingerprints`.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        keys = list(files_below(storage, prefix))
        found = fingerprints(storage, keys) or []
        return {key: stamp for key, stamp in zip(keys, found, strict=True) if stamp is not None}
    if isinstance(storage, ObjectStorage) and storage.can_list:
        return _of_stamps(storage.stamps_below(prefix))
    if not isinstance(storage, ZarrStorage) or not storage.can_list:
        return None
    return _of_objects(storage, prefix)


def _of_stamps(stamps: Mapping[str, Stamp | None]) -> dict[str, Evidence] | None:
    """Return the evidence of listed objects; None where one has none."""
    own = {
        key: _of_stamp(stamp)
        for key, stamp in stamps.items()
        if not any(is_private(part) for part in key.split("/"))
    }
    found = {key: one for key, one in own.items() if one is not None}
    return found if len(found) == len(own) else None


def _of_objects(storage: ZarrStorage, prefix: str) -> dict[str, Evidence] | None:
    """Ask for all objects below a prefix at once: a listing costs one request for a thousand of them."""
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    root = str(getattr(storage.store, "path", "")).strip("/")
    folder = f"{root}/{prefix}".strip("/")
    file_system.invalidate_cache()
    listed = storage._run("list", prefix, file_system._find(folder, detail=True))
    found: dict[str, Evidence] = {}
    for path, info in listed.items():
        key = path.strip("/").removeprefix(root).strip("/")
        if any(is_private(part) for part in key.split("/")):
            continue
        tag = _tag(info)
        if tag is None:
            return None
        found[key] = tag
    return found
