"""Upload an archive to an object store: it is packed in the folder for temporary files, and sent when complete."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, StorageError
from lamella.ops.rewriting.endpoints import already_exists, check_apart
from lamella.store.files.archives import is_archive_name, split_archive_url
from lamella.store.files.temporary_files import shown_as
from lamella.store.keys import join
from lamella.store.objects.addresses import clean_url
from lamella.store.paths import location
from lamella.store.storage import ChangedError, Storage, open_storage, open_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zarr.abc.store import Store

    from lamella.store.objects.object_storage import ObjectStorage
    from lamella.types import StrPath

_CHECKED_BYTES = 64 << 10
"""Size in bytes of the end of an archive, with its directory. After the upload it is read again and compared."""


@contextmanager
def uploaded(source: StrPath | Store, destination: StrPath, *, overwrite: bool) -> Iterator[str]:
    """Yield the path of a temporary file for the archive, which is uploaded at the end of the block and deleted.

    Raise InvalidArgumentError, ReadOnlyError or StoreExistsError before, where the URL cannot become an archive.
    """
    storage, key = check_upload(destination, [open_storage(source, read_only=True)], overwrite=overwrite)
    url = storage.where(key)
    with tempfile.TemporaryDirectory(prefix="lamella-upload-") as folder:
        path = os.path.join(folder, f"archive{os.path.splitext(key)[1]}")
        with shown_as(path, url):
            yield path
        try:
            storage.write_file(key, path, replaces=overwrite)
        except ChangedError:
            raise already_exists(url) from None
        _check_uploaded(storage, key, path)


def check_upload(
    destination: StrPath, sources: Sequence[Storage], *, overwrite: bool
) -> tuple[ObjectStorage, str]:
    """Return the storage and the key of an archive at a URL; raise as `uploaded` where it cannot be written."""
    storage, key = _archive_target(destination)
    identity = join(storage.identity.rstrip("/"), key)
    for source in sources:
        check_apart(source.identity, identity, (source.name, storage.where(key)))
    if not overwrite and storage.size(key) is not None:
        raise already_exists(storage.where(key))
    return storage, key


def _archive_target(destination: StrPath) -> tuple[ObjectStorage, str]:
    """Return the storage of the folder that a URL of an archive lies in, and the key of the archive."""
    from lamella.store.objects.object_storage import ObjectStorage  # loads clients of services

    url = location(destination)
    address = split_archive_url(url)
    if address is None or address[2]:
        if is_archive_name(url):
            raise InvalidArgumentError(
                f"{clean_url(url)} leads into an archive, which is never changed: choose another URL."
            )
        raise InvalidArgumentError(
            f"{clean_url(url)} is not the name of an archive, which ends with .ozx or .zip."
        )
    folder_url, key, _ = address
    storage = open_url(
        folder_url, read_only=False, storage_options=getattr(destination, "storage_options", None)
    )
    where = storage.where(key)
    storage.check_writable(key)
    if not isinstance(storage, ObjectStorage):
        raise InvalidArgumentError(
            f"{where} cannot become an archive: archives are written to local paths, s3://, gs:// and az://."
        )
    return storage, key


def _check_uploaded(storage: ObjectStorage, key: str, path: str) -> None:
    """Raise StorageError unless the object has the size and the end of the file."""
    size = os.path.getsize(path)
    stored_size = storage.size(key)
    start = max(0, size - _CHECKED_BYTES)
    with open(path, "rb") as file:
        file.seek(start)
        if stored_size == size and storage.read_range(key, start, size - start) == file.read():
            return
    change = "is missing" if stored_size is None else f"has {stored_size:,} bytes, or others than were sent"
    raise StorageError(
        f"{storage.where(key)} {change}, after an archive of {size:,} bytes was uploaded: another program writes "
        "there, or the service lost it. Call again with overwrite=True (--overwrite) if an object is there."
    )
