"""Return fingerprints of stored files, which differ whenever the bytes of a file differ.

A `Stamp` is compared within one process and may be weak; a fingerprint is compared by another process, hours later.
Local files: size, inode, mtime and ctime. Objects: strong ETag and size. Files in archives: the stamp of the archive
and their own checksum.
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

Fingerprint: TypeAlias = list[int | str]
"""A fingerprint as JSON values."""

_AT_ONCE = 64
"""Objects that are requested at a time."""

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
    if isinstance(storage, ObjectStorage):
        return _of_stamp(storage.stamp(key))
    if isinstance(storage, ZarrStorage):
        return _of_object(storage, key)
    return None


def _of_stamp(stamp: Stamp | None) -> Fingerprint | None:
    """Return the stamp of an object if it is a strong ETag: times of web servers and weak ETags prove little."""
    is_strong = stamp is not None and not str(stamp[0]).startswith(("W/", "time "))
    return [*stamp] if stamp is not None and is_strong else None


def _of_object(storage: ZarrStorage, key: str) -> Fingerprint | None:
    """Return the strong ETag and size of an object of fsspec; None for stores of other kinds."""
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    info = storage._run(
        "look at", key, file_system._info(f"{getattr(storage.store, 'path', '')}/{key}".lstrip("/"))
    )
    return _tag(info)


def fingerprints(storage: Storage, keys: Iterable[str]) -> list[Fingerprint | None] | None:
    """Return the fingerprint of each key, None for a missing one; unlike `fingerprint`, also of files written just now.

    None instead of the list where the store has no fingerprints: memory, or a service without ETags.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        stamps = (storage.stamp(key) for key in keys)
        return [None if stamp is None else list(stamp) for stamp in stamps]
    if isinstance(storage, ObjectStorage):
        listed = storage.stamps(keys)
        strong = [_of_stamp(stamp) for stamp in listed]
        has_weak = any(stamp and not tag for stamp, tag in zip(listed, strong, strict=True))
        return None if has_weak else strong
    if not isinstance(storage, ZarrStorage):
        return None
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    file_system.invalidate_cache()
    root = str(getattr(storage.store, "path", "")).strip("/")
    paths = [f"{root}/{key}".lstrip("/") for key in keys]
    infos = storage._run("look at", root, _infos(file_system, paths)) if paths else []
    tags = [None if info is None else _tag(info) for info in infos]
    return None if any(info and not tag for info, tag in zip(infos, tags, strict=True)) else tags


async def _infos(file_system: Any, paths: list[str]) -> list[Any]:
    """Request the information of objects, some at a time; None for a missing one."""

    async def ask(path: str) -> Any:
        try:
            return await file_system._info(path)
        except FileNotFoundError:
            return None

    infos: list[Any] = []
    for start in range(0, len(paths), _AT_ONCE):
        infos += await asyncio.gather(*map(ask, paths[start : start + _AT_ONCE]))
    return infos


def _tag(info: Mapping[str, Any]) -> Fingerprint | None:
    """Return the strong ETag and the size of an object; None where it has none."""
    tag = next((info[name] for name in ("ETag", "etag", "e_tag") if info.get(name)), None)
    if not isinstance(tag, str) or tag.startswith("W/"):
        return None
    return [tag, int(info.get("size") or 0)]


def fingerprints_below(storage: Storage, prefix: str) -> dict[str, Fingerprint] | None:
    """Return the fingerprint of every file below a folder by key; None where the store cannot list or has none.

    Temporary files are left out.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        keys = list(files_below(storage, prefix))
        stamps = fingerprints(storage, keys) or []
        return {key: stamp for key, stamp in zip(keys, stamps, strict=True) if stamp is not None}
    if isinstance(storage, ObjectStorage) and storage.can_list:
        return _of_stamps(storage.stamps_below(prefix))
    if not isinstance(storage, ZarrStorage) or not storage.can_list:
        return None
    return _of_objects(storage, prefix)


def _of_stamps(stamps: Mapping[str, Stamp | None]) -> dict[str, Fingerprint] | None:
    """Return the fingerprints of listed objects; None where one has none."""
    public = {
        key: _of_stamp(stamp)
        for key, stamp in stamps.items()
        if not any(is_private(part) for part in key.split("/"))
    }
    fingerprints = {key: fingerprint for key, fingerprint in public.items() if fingerprint is not None}
    return fingerprints if len(fingerprints) == len(public) else None


def _of_objects(storage: ZarrStorage, prefix: str) -> dict[str, Fingerprint] | None:
    """Return the fingerprints of all objects below a prefix, from one listing."""
    file_system: Any = getattr(storage.store, "fs", None)
    if file_system is None:
        return None
    root = str(getattr(storage.store, "path", "")).strip("/")
    folder = f"{root}/{prefix}".strip("/")
    file_system.invalidate_cache()
    listed = storage._run("list", prefix, file_system._find(folder, detail=True))
    tags: dict[str, Fingerprint] = {}
    for path, info in listed.items():
        key = path.strip("/").removeprefix(root).strip("/")
        if any(is_private(part) for part in key.split("/")):
            continue
        tag = _tag(info)
        if tag is None:
            return None
        tags[key] = tag
    return tags
