"""Return fingerprints of objects: strong ETags and sizes; see :mod:`lamella.store.file_fingerprint`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lamella.store.keys import is_private
from lamella.store.objects.object_storage import ObjectStorage
from lamella.store.objects.zarr_storage import ZarrStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.store.flat_storage import FlatStorage
    from lamella.store.storage import Fingerprint, Stamp

_AT_ONCE = 64
"""Objects that are requested at a time."""


def fingerprint(storage: FlatStorage, key: str) -> Fingerprint | None:
    """Return the fingerprint of an object; None where it has none."""
    if isinstance(storage, ObjectStorage):
        return _of_stamp(storage.stamp(key))
    return _of_object(storage, key) if isinstance(storage, ZarrStorage) else None


def fingerprints(storage: FlatStorage, keys: Iterable[str]) -> list[Fingerprint | None] | None:
    """Return the fingerprint of each object, None for a missing one; None where the service has none."""
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


def fingerprints_below(storage: FlatStorage, prefix: str) -> dict[str, Fingerprint] | None:
    """Return the fingerprint of every listed object below a prefix by key; None where one has none."""
    if isinstance(storage, ObjectStorage):
        return _of_stamps(storage.stamps_below(prefix))
    return _of_objects(storage, prefix) if isinstance(storage, ZarrStorage) else None


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
