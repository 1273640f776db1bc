"""Yield the destination of a new store: a folder, which is packed for an archive, and copied for a URL or a store."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from hashlib import sha256
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, StorageError, WorkerLostError
from lamella.ops.copying.copy_store import check_overwrite, check_same_place, copy_store, has_unfinished_copy
from lamella.ops.copying.pack import check_archive, pack
from lamella.ops.copying.upload import check_upload
from lamella.ops.rewriting.endpoints import check_stores_apart, make_folder
from lamella.ops.rewriting.workspace import Workspace, check_name
from lamella.store.files.archives import is_archive_name, split_archive_url
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import shown_as
from lamella.store.keys import LONGEST_PART, PRIVATE_PREFIX, private_name, shortened
from lamella.store.objects.addresses import clean_url
from lamella.store.paths import is_url, local_path, location
from lamella.store.storage import Storage, is_store, open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.types import StrPath, VersionName


_RESUMED = (KeyboardInterrupt, WorkerLostError, StorageError)
"""Errors after which the temporary folder stays, because the same call resumes."""


def folder_or_store(destination: StrPath | Store) -> StrPath | Store:
    """Return the folder of a local store of zarr-python; other destinations are returned unchanged."""
    storage = open_storage(destination) if is_store(destination) else None
    return storage.root if isinstance(storage, LocalStorage) else destination


def is_copied(destination: StrPath | Store) -> bool:
    """Return whether a new store is written to a temporary folder and then copied: to a URL, or into a zarr store."""
    return is_store(destination) or is_url(location(destination))


def name_of(destination: StrPath | Store) -> str:
    """Return the path, the URL without secrets, or the name of a destination, for messages."""
    if is_store(destination):
        return open_storage(destination).name
    address = location(destination)
    return clean_url(address) if is_url(address) else address


@contextmanager
def new_store(
    destination: StrPath | Store,
    overwrite: bool,
    command: str,
    version: VersionName,
    progress: Progress | bool | None,
    storage_options: Mapping[str, Any] | None = None,
    sources: Sequence[StrPath | Store | Storage] = (),
) -> Iterator[Workspace]:
    """Yield the workspace of a new store; at the end its folder is packed into an archive, or copied to a URL or store.

    Only the same ``command`` resumes an interrupted call. Raise StoreExistsError for an existing store unless
    ``overwrite``, and InvalidArgumentError for a ``version`` that the archive does not support, and for a destination
    that is one of the ``sources``.
    """
    destination = with_options(folder_or_store(destination), storage_options)

    def workspace(path: str, *, overwrite: bool = True) -> Workspace:
        target = Workspace(path, {"command": command}, overwrite=overwrite)
        target.finish_interrupted()
        target.check()
        return target

    archive_url = _archive_url(destination)
    if archive_url is None and is_copied(destination):
        with staged(destination, command, overwrite=overwrite, progress=progress, sources=sources) as folder:
            yield workspace(folder)
        return
    path = (
        local_path(destination, "the destination")
        if archive_url is None
        else clean_url(location(archive_url))
    )
    if sources and archive_url is None:
        _check_apart(sources, open_storage(destination))
    if not is_archive_name(path):
        yield workspace(path, overwrite=overwrite)
        return
    if path.lower().endswith(".ozx") and version == "0.4":
        raise InvalidArgumentError(
            f"{path} cannot be OME-NGFF 0.4: .ozx archives (RFC-9) need 0.5 or newer. Choose version 0.5, or a name "
            "that ends with .zip."
        )

    def check_not_there() -> None:
        if archive_url is None:
            check_archive(path, overwrite=overwrite)
        else:
            check_upload(archive_url, [*map(_storage_of, sources)], overwrite=overwrite)

    check_name(path)
    check_not_there()
    parent, name = os.path.split(path)
    temporary_folder = os.path.join(parent, private_name(f"pack-{name}"))
    if archive_url is not None:
        temporary_folder = _temporary_folder(command, path)
    name = shortened(os.path.splitext(name)[0], LONGEST_PART - len(".zarr")) + ".zarr"
    kept_after = (KeyboardInterrupt,) if archive_url is None else _RESUMED
    with _temporary(temporary_folder, os.path.join(temporary_folder, name), path, kept_after) as folder:
        check_not_there()  # another call may have written it meanwhile
        yield workspace(folder)
        pack(folder, path if archive_url is None else archive_url, overwrite=overwrite, progress=progress)


def _archive_url(destination: StrPath | Store) -> StrPath | None:
    """Return the URL of an archive that is uploaded when it is complete; None for any other destination."""
    if is_store(destination) or not is_url(location(destination)):
        return None
    archive_address = split_archive_url(location(destination))
    return None if archive_address is None or archive_address[2] else destination


def _check_apart(sources: Sequence[StrPath | Store | Storage], target: Storage) -> None:
    for source in sources:
        check_stores_apart(_storage_of(source), target)


def _storage_of(source: StrPath | Store | Storage) -> Storage:
    return source if isinstance(source, Storage) else open_storage(source)


def _temporary_folder(command: str, destination_name: str) -> str:
    """Return the temporary folder for a command and destination: always the same, so that a call can resume."""
    digest = sha256(f"{command} {destination_name}".encode()).hexdigest()[:24]
    return os.path.join(os.path.realpath(tempfile.gettempdir()), f"{PRIVATE_PREFIX}upload-{digest}")


@contextmanager
def staged(
    destination: StrPath | Store,
    command: str,
    *,
    overwrite: bool,
    progress: Progress | bool | None,
    sources: Sequence[StrPath | Store | Storage] = (),
) -> Iterator[str]:
    """Yield a temporary folder (in ``TMPDIR``), whose store is copied to a URL or store at the end.

    The folder is deleted, except after errors from which the same call resumes. Raise StoreExistsError for a store at
    the URL that is not replaced, ReadOnlyError if nothing can be written there, and InvalidArgumentError for a
    destination that is one of the ``sources``, or lies in one, or contains one.
    """
    storage = open_storage(destination)
    _check_apart(sources, storage)
    if is_archive_name(storage.name):
        raise InvalidArgumentError(
            f"{storage.name} has the name of an archive, which this command does not write there: choose another name, "
            "then `lamella pack` that store."
        )
    storage.check_writable("")
    overwrite = overwrite or has_unfinished_copy(storage)
    for source in sources if check_overwrite(storage, overwrite=overwrite) else ():
        check_same_place(source, storage)
    name = f"{storage.title or 'store'}.zarr"
    if not is_store(destination):
        name = storage.name.rstrip("/").rpartition("/")[2]
    temporary_folder = _temporary_folder(command, storage.name)
    path = os.path.join(temporary_folder, shortened(name, LONGEST_PART))
    with _temporary(temporary_folder, path, storage.name, _RESUMED) as folder:
        yield folder
        copy_store(folder, destination, overwrite=overwrite, progress=progress)


@contextmanager
def _temporary(
    folder_above: str, folder: str, name_in_messages: str, kept_after: tuple[type[BaseException], ...]
) -> Iterator[str]:
    """Yield a folder in the temporary folder ``folder_above``, which is deleted at the end except after some errors.

    Messages show the folder as another path. Another call for the same destination waits until this one has ended.
    """
    parent, name = os.path.split(folder_above)
    make_folder(parent)
    with LocalStorage(parent).lock(name.removeprefix(PRIVATE_PREFIX)):
        make_folder(folder_above)
        try:
            with shown_as(folder, name_in_messages):
                yield folder
        except BaseException as error:
            if not isinstance(error, kept_after):
                rmtree(folder_above, ignore_errors=True)
            raise
        rmtree(folder_above, ignore_errors=True)
