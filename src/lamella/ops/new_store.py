"""Yield the destination of a new store: a folder, which is packed for an archive, and copied for a URL or a store."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, StorageError, WorkerLostError
from lamella.ops.copying.copy_store import (
    check_other,
    check_replaced,
    copy_store,
    has_unfinished_copy,
    options_of_both,
)
from lamella.ops.copying.pack import check_archive, folder_to_pack, pack
from lamella.ops.rewriting.endpoints import check_stores_apart, make_folder
from lamella.ops.rewriting.workspace import Destination
from lamella.store.files.archives import is_archive_name
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import shown_as
from lamella.store.keys import LONGEST_PART, PRIVATE_PREFIX, shortened
from lamella.store.paths import is_url, local_path, location
from lamella.store.storage import is_store, open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.ops.rewriting.rewrite import RewriteReport
    from lamella.types import StrPath, VersionName


def folder_or_store(destination: StrPath | Store) -> StrPath | Store:
    """Return the folder of a local store of zarr-python; other destinations are returned unchanged."""
    storage = open_storage(destination) if is_store(destination) else None
    return storage.root if isinstance(storage, LocalStorage) else destination


def is_copied(destination: StrPath | Store) -> bool:
    """Whether a new store is copied to its destination when it is complete: to a URL, or into a store."""
    return is_store(destination) or is_url(location(destination))


def name_of(destination: StrPath | Store) -> str:
    """Return the path, the URL or the name of a destination, for messages."""
    return open_storage(destination).name if is_store(destination) else location(destination)


@contextmanager
def new_store(
    destination: StrPath | Store,
    overwrite: bool,
    command: str,
    version: VersionName,
    progress: Progress | bool | None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Destination]:
    """Yield the destination of a new store: the folder; one that is packed at the end; one that is copied elsewhere.

    Only the same ``command`` resumes an interrupted one. Raise StoreExistsError for an existing path that is not
    replaced, and InvalidArgumentError for a ``version`` that the archive does not support.
    """
    destination = folder_or_store(destination)
    if is_copied(destination):
        place = with_options(destination, storage_options)
        with staged(place, command, overwrite=overwrite, progress=progress) as folder:
            target = Destination(folder, True, command)
            target.finish_interrupted()
            yield target
        return
    path = local_path(with_options(destination, storage_options), "the destination")
    if not is_archive_name(path):
        target = Destination(path, overwrite, command)
        target.finish_interrupted()
        target.check()
        yield target
        return
    if path.lower().endswith(".ozx") and version == "0.4":
        raise InvalidArgumentError(
            f"{path} cannot be OME-NGFF 0.4: .ozx archives (RFC-9) need 0.5 or newer. Choose version 0.5, or a name "
            "that ends with .zip."
        )
    check_archive(path, overwrite=overwrite)
    with folder_to_pack(path) as folder:
        target = Destination(folder, True, command)
        target.finish_interrupted()
        yield target
        pack(folder, path, overwrite=overwrite, progress=progress)


@contextmanager
def staged(
    destination: StrPath | Store, command: str, *, overwrite: bool, progress: Progress | bool | None
) -> Iterator[str]:
    """Yield a temporary folder for a store that is copied to a URL or store when it is complete, and then deleted.

    It lies in the folder for temporary files (``TMPDIR``), and stays after what the same call resumes. Raise
    StoreExistsError for a store at the URL that is not replaced, ReadOnlyError where nothing can be written.
    """
    storage = open_storage(destination)
    if is_archive_name(storage.name):
        raise InvalidArgumentError(
            f"{storage.name} has the name of an archive, which only pack and copy write: choose another name here, "
            "then pack that store."
        )
    storage.check_writable("")
    overwrite = overwrite or has_unfinished_copy(storage)
    check_replaced(storage, overwrite=overwrite)
    name = f"{storage.title or 'store'}.zarr"
    if not is_store(destination):
        name = storage.name.rstrip("/").rpartition("/")[2]
    digest = sha256(f"{command} {storage.name}".encode()).hexdigest()[:24]
    above = os.path.join(tempfile.gettempdir(), f"{PRIVATE_PREFIX}upload-{digest}")
    make_folder(above)
    try:
        folder = os.path.join(os.path.realpath(above), shortened(name, LONGEST_PART))
        with shown_as(folder, storage.name):
            yield folder
            copy_store(folder, destination, overwrite=overwrite, progress=progress)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt | WorkerLostError | StorageError):
            rmtree(above, ignore_errors=True)
        raise
    rmtree(above, ignore_errors=True)


def rewritten_elsewhere(
    rewrite: Callable[..., RewriteReport],
    command: str,
    source: StrPath | Store,
    destination: StrPath | Store,
    *,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None,
    progress: Progress | bool | None,
    **options: Any,
) -> RewriteReport:
    """Rewrite a store into a temporary folder, and copy that to a URL or into a store."""
    old, place = options_of_both(source, destination, storage_options)
    target = open_storage(place)
    check_stores_apart(open_storage(old), target)
    with staged(place, command, overwrite=overwrite, progress=progress) as folder:
        if target.exists(""):
            check_other(old, target)
        report = rewrite(old, destination=folder, overwrite=True, progress=progress, **options)
    return replace(report, destination=name_of(destination))
