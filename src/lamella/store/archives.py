"""Recognise paths and URLs of ZIP archives, and of folders inside them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from lamella.store.paths import is_url
from lamella.store.storage import Storage, open_url
from lamella.store.zip_file import LocalArchive, RemoteArchive
from lamella.store.zip_storage import ZipStorage

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_URL = re.compile(
    r"(?P<parent>[^:/?#]+://[^?#]*?/)(?P<name>[^/?#]+\.(?:ozx|zip))(?P<inside>(?:/[^?#]*)?)(?P<query>(?:\?.*)?)",
    re.IGNORECASE,
)
_ENDINGS = (".ozx", ".zip")


def is_archive_name(name: str) -> bool:
    """Whether a path has the ending of an archive.

    >>> is_archive_name("plate.ozx"), is_archive_name("plate.zarr.ZIP"), is_archive_name("plate.zarr")
    (True, True, False)
    """
    return name.lower().endswith(_ENDINGS)


def open_archive(address: str, storage_options: Mapping[str, Any] | None = None) -> Storage | None:
    """Return the storage of an archive or of a folder inside one; None for any other path or URL.

    A local folder is never an archive, whatever its name. A missing archive opens; reading from it then fails.

    >>> open_archive("/data/plate.ozx"), open_archive("/data/plate.zarr")
    (ZipStorage('/data/plate.ozx'), None)
    """
    if not is_url(address):
        archive = _local(address)
        if archive is not None and storage_options:
            from lamella.store.credentials import refuse_options

            refuse_options(storage_options, address)
        return archive
    if "::" in address:  # a chain of fsspec, which opens archives itself
        return None
    match = _IN_URL.fullmatch(address.rstrip("/"))
    if match is None:
        return None
    above = f"{match['parent'].rstrip('/')}{match['query']}"
    parent = open_url(above, read_only=True, storage_options=storage_options)
    return ZipStorage(RemoteArchive(parent, match["name"]), match["inside"].strip("/"))


def _local(path_given: str) -> ZipStorage | None:
    path = os.path.abspath(path_given)
    if not any(ending in path.lower() for ending in _ENDINGS):
        return None
    inside: list[str] = []
    while not is_archive_name(path) or not os.path.isfile(path):
        if is_archive_name(path) and not inside and not os.path.lexists(path):
            break
        path, name = os.path.split(path)
        if not name or os.path.isdir(path):
            return None
        inside.insert(0, name)
    return ZipStorage(LocalArchive(path), "/".join(inside))
