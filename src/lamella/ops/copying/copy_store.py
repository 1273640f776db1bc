"""Copy a store: encoded chunks and documents byte for byte.

A folder is written under a temporary name and renamed when it is complete. Elsewhere the documents come last, the
root's last of all, so that an interrupted copy is not a store. The journal lists the finished files.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lamella._version import __version__
from lamella.arguments import check_flags, items_of
from lamella.errors import InvalidArgumentError, LamellaError, StorageError, WorkerLostError
from lamella.log import logged
from lamella.ops.copying.pack import pack
from lamella.ops.copying.selection import Contents, CopyReport, contents_of, select_parts
from lamella.ops.execution import Count, Workers, check_progress, reporting, run, run_at_store
from lamella.ops.jobs.journal import Journal, StoredObject, line_of
from lamella.ops.jobs.units import digest
from lamella.ops.rewriting.endpoints import already_exists, check_stores_apart, not_a_store, open_source
from lamella.ops.rewriting.workspace import Workspace
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import temporary_name
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.flat_storage import FlatStorage
from lamella.store.keys import METADATA_FILES, V2, V3
from lamella.store.listed_by_metadata import ListedByMetadata
from lamella.store.metadata.missing_document import COPY_JOURNAL
from lamella.store.storage import Storage, open_storage, share_options, with_options
from lamella.store.transfer import copy_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.types import StrPath

_DISK_JOBS, _SERVICE_JOBS = 4, 16
"""Minimum number of files that are copied at a time: between folders, and with a store over a connection."""

_REPLACES = line_of({"replaces": "all"})
"""The journal of a copy while the store that it replaces is deleted."""


def copy_store(
    source: StrPath | Store,
    destination: StrPath | Store,
    *,
    fields: Iterable[str] | None = None,
    levels: Iterable[int] | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> CopyReport:
    """Copy a store, or a part of it, from anywhere to anywhere: folders, URLs, archives.

    Chunks are copied as they are encoded, and documents byte for byte, with labels, tables and all other files. If a
    store cannot be listed, as over http, only files that its metadata name are copied, and the report is false.

    The same call resumes an interrupted copy: complete files with an unchanged source are skipped. A folder appears at
    the destination when it is complete; at a URL the documents are written last.

    Parameters
    ----------
    source : path, URL or zarr store
        A store, or a group in one, which becomes the root.
    destination : path, URL or zarr store
        The new store; a name that ends with ``.ozx`` or ``.zip`` makes an archive (`pack`).
    fields : iterable of str, optional
        Copy only these fields: ``"A/1/0"`` of a plate, ``"0"`` of a well. The copied documents list only these.
    levels : iterable of int, optional
        Copy only these levels of images and labels, counted from 0.
    overwrite : bool
        Replace an existing Zarr store: a folder once the copy is complete, elsewhere before it begins.
    jobs : int, optional
        Number of files to copy at a time.
    progress : bool or callable, optional
        True shows a bar on the terminal. A function is called with the bytes done, all bytes (0 if unknown), and
        "bytes".
    follow_links : bool
        Follow symbolic links that lead out of the source.
    storage_options : mapping, optional
        Credentials and settings of a URL, of the source and of the destination; see `open_ome_zarr`.

    Returns
    -------
    CopyReport
        True if no file can be missing.

    Raises
    ------
    StoreNotFoundError, MetadataError
        There is no store to copy.
    StoreExistsError
        The destination exists.
    NodeNotFoundError
        There is no such field.
    InvalidArgumentError
        One of the two is inside the other, or the source has no fields or levels.
    StorageError
        A file cannot be read or written, or changed meanwhile; the same call resumes.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.copy_store(plate.zgroup.store.root, tmp / "copy.zarr", fields=["A/1/0"])
    >>> list(lamella.open_ome_zarr(tmp / "copy.zarr")["A/1"]), bool(report)
    (['0'], True)
    """
    check_flags(overwrite=overwrite, follow_links=follow_links)
    workers = Workers(jobs)
    check_progress(progress)
    source, destination = share_options((source, destination), storage_options)
    fields = (
        None
        if fields is None
        else [str(field) for field in items_of(fields, "The argument fields is a list of paths")]
    )
    levels = None if levels is None else items_of(levels, "The argument levels is a list of numbers")
    target = open_storage(destination)
    if isinstance(target, ZipStorage) and isinstance(destination, str | os.PathLike):
        return pack(
            source,
            destination,
            fields=fields,
            levels=levels,
            overwrite=overwrite,
            progress=progress,
            follow_links=follow_links,
        )
    target.check_writable("")
    documents = open_source(source, follow_links=follow_links)
    source_name = documents.storage.name
    check_stores_apart(documents.storage, target)
    with logged("Copy %s to %s", source_name, target.name), reporting(progress, "bytes") as report_progress:
        contents = contents_of(documents, select_parts(documents, fields, levels))
        job_digest = digest([__version__, source_name, fields, levels, contents.documents, contents.files])
        if isinstance(target, LocalStorage):
            target_and_journal = _new_folder(target, job_digest, overwrite)
        else:
            target_and_journal = _remote_destination(source, target, job_digest, overwrite)
        with target_and_journal as (storage, journal):
            copy = _Copy(contents, storage, journal, Count(report_progress, "bytes", contents.nbytes))
            if storage.chunks_need_array:
                copy.copy_documents(root_first=True)
                copy.copy_files(workers)
            else:
                copy.copy_files(workers)
                copy.copy_documents()
    target.commit_own(f"Copy {source_name}")
    return CopyReport(
        target.name, len(contents.documents), copy.files, copy.nbytes, copy.resumed, contents.unseen
    )


def unpack(
    archive: StrPath | Store,
    destination: StrPath,
    *,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> CopyReport:
    """Write the store in an archive into a folder, or to a URL; a copy (`copy_store`) like any other.

    Parameters
    ----------
    archive : path, URL or zarr store
        A file whose name ends with ``.ozx`` or ``.zip``.
    destination : path or URL
        The new store.
    overwrite, jobs, progress, storage_options
        As for `copy_store`.

    Returns
    -------
    CopyReport
        The destination and the numbers of documents and files.

    Raises
    ------
    InvalidArgumentError
        `archive` is a folder.
    MetadataError
        The file is damaged, or not a supported archive; nothing is written.
    StoreExistsError
        The destination exists.

    Examples
    --------
    >>> import lamella
    >>> _ = lamella.pack(plate.zgroup.store.root, tmp / "plate.zip")
    >>> lamella.unpack(tmp / "plate.zip", tmp / "plate.zarr").documents
    9
    """
    archive, destination = share_options((archive, destination), storage_options)
    storage = open_storage(archive, read_only=True)
    if not isinstance(storage, ZipStorage):
        raise InvalidArgumentError(
            f"{storage.name} is not an archive, whose name ends with .ozx or .zip: copy it with copy_store "
            "(`lamella copy`)."
        )
    return copy_store(archive, destination, overwrite=overwrite, jobs=jobs, progress=progress)


@contextmanager
def _new_folder(
    target: LocalStorage, job_digest: str, overwrite: bool
) -> Iterator[tuple[Storage, Journal[Any]]]:
    """Yield a temporary folder beside the destination, which is renamed to it at the end, and a journal."""
    workspace = Workspace(target.root, {"command": "copy"}, overwrite=overwrite)
    workspace.finish_interrupted()
    workspace.check()
    with (
        workspace.temporary(job_digest, (KeyboardInterrupt, WorkerLostError, StorageError)) as folder,
        Journal(workspace.journal, {"job": job_digest}) as journal,
    ):
        yield LocalStorage(folder), journal


def check_overwrite(target: Storage, *, overwrite: bool) -> bool:
    """Return whether anything exists at a URL or in a zarr store; raise if it must not be replaced."""
    if not target.exists(""):
        return False
    if not overwrite:
        journal = target.read(COPY_JOURNAL)
        if journal and journal != _REPLACES and not has_unfinished_copy(target):
            with suppress(StorageError):
                target.delete(COPY_JOURNAL)  # the copy was complete when it was killed
        raise already_exists(target.name)
    if not target.has_any(METADATA_FILES) and not has_unfinished_copy(target):
        raise not_a_store(target.name)
    return True


def has_unfinished_copy(target: Storage) -> bool:
    """Return whether a URL or zarr store has an incomplete copy, and no store that can be opened.

    A copy deletes the documents of the root first and writes them last. So while they exist, the old or the new store
    is complete.
    """
    journal = target.read(COPY_JOURNAL)
    if journal is None:
        return False
    if journal == _REPLACES:
        return not target.has_any(METADATA_FILES)
    return target.chunks_need_array or not target.has_any((V3.group, V2.group, V2.array))


def check_same_place(source: StrPath | Store | Storage, target: Storage) -> None:
    """Raise if the store to replace is the source under another URL, or if one of them contains the other.

    To find out, write a temporary object to the target, and look for it in the source and in the folders around.
    """
    source_storage = source if isinstance(source, Storage) else open_storage(source, read_only=True)
    if isinstance(source_storage, LocalStorage | ZipStorage) or target.chunks_need_array:
        return
    probe = temporary_name(".tmp")
    target.write(probe, b"?")
    try:
        if source_storage.size(probe) is not None:
            raise InvalidArgumentError(
                f"The destination, {target.name}, is the source, {source_storage.name}: choose another one."
            )
        if any(_has_key(source_storage, f"{path}/{probe}") for path in _last_path_parts(target.name)):
            raise InvalidArgumentError(
                f"{target.name} lies inside of its source, {source_storage.name}: choose another destination."
            )
        url = source.name if isinstance(source, Storage) else source
        if any(_has_key(folder_url, probe) for folder_url in _urls_above(url)):
            raise InvalidArgumentError(
                f"The source, {source_storage.name}, lies inside of {target.name}: choose another destination."
            )
    finally:
        target.delete(probe)


def _has_key(store: Storage | StrPath, key: str) -> bool:
    """Return whether a store has a key; False for a store that cannot be opened or read."""
    with suppress(LamellaError):
        storage = open_storage(store, read_only=True) if isinstance(store, (str, os.PathLike)) else store
        return storage.size(key) is not None
    return False


def _last_path_parts(url: str) -> Iterator[str]:
    """Yield the ends of the path of a URL, the longest first.

    >>> list(_last_path_parts("s3://bucket/plates/a.zarr"))
    ['bucket/plates/a.zarr', 'plates/a.zarr', 'a.zarr']
    """
    names = [name for name in url.partition("://")[2].split("/") if name]
    yield from ("/".join(names[first:]) for first in range(len(names)))


def _urls_above(source: StrPath | Store) -> Iterator[StrPath]:
    """Yield the URLs of the folders above a source; nothing for a store of zarr-python.

    >>> list(_urls_above("s3://bucket/plates/a.zarr"))
    ['s3://bucket/plates', 's3://bucket']
    """
    url = source.partition("?")[0] if isinstance(source, str) else ""
    while "://" in url:
        url = url.rstrip("/").rpartition("/")[0].rstrip("/")
        if "://" in url:
            yield with_options(url, getattr(source, "storage_options", None))


@contextmanager
def _remote_destination(
    source: StrPath | Store, target: Storage, job_digest: str, overwrite: bool
) -> Iterator[tuple[Storage, Journal[Any]]]:
    """Yield the destination itself, a URL or zarr store, and a journal in it, which is deleted at the end.

    A store that is replaced stays complete until the journal is written; afterwards it cannot be opened.
    """
    has_own_journal = (target.read(COPY_JOURNAL) or b"").startswith(line_of({"job": job_digest}))
    is_resumed = has_own_journal and has_unfinished_copy(target)
    if not is_resumed and target.exists(""):
        check_overwrite(target, overwrite=overwrite)
        check_same_place(source, target)
        assert isinstance(target, FlatStorage)  # a folder or an archive is written elsewhere
        target.leave_only(COPY_JOURNAL, _REPLACES)
    with Journal(StoredObject(target, COPY_JOURNAL), {"job": job_digest}) as journal:
        journal.file.append(b"")  # before any other object exists
        yield target, journal
    journal.remove()


@dataclass
class _Copied:
    """The result for one file: its size, or None if it does not exist."""

    key: str
    size: int | None
    skipped: bool = False
    """Whether an earlier run had copied it."""


class _Copy:
    def __init__(self, contents: Contents, target: Storage, journal: Journal[Any], count: Count) -> None:
        self._contents, self._target, self._journal, self._count = contents, target, journal, count
        #: Fingerprints of the source's files by key: `_units` adds those of local files, a listing has all others.
        self._fingerprints: dict[str, Any] = {}
        self._is_local_source = isinstance(contents.storage, LocalStorage | ZipStorage)
        if not self._is_local_source:
            self._fingerprints = dict(contents.storage.fingerprints_below("") or {})
        self.files = self.nbytes = self.resumed = 0

    def copy_files(self, workers: Workers) -> None:
        """Copy all files but documents, several at a time."""
        is_local = isinstance(self._target, LocalStorage) and isinstance(self._contents.storage, LocalStorage)
        minimum = _DISK_JOBS if is_local else _SERVICE_JOBS
        copy_workers = workers if workers.jobs else Workers(max(workers.count, minimum))
        run(self._copy, self._units(), copy_workers, on_result=self._report_copied)
        self._journal.flush()

    def _units(self) -> Iterator[tuple[str, int | None, bool]]:
        """Yield the key and size of each file, and whether the journal lists its unchanged source as copied."""
        for key, size in self._contents.files:
            if self._is_local_source:
                self._fingerprints[key] = list(self._contents.storage.stamp(key) or ())
            fingerprint = self._fingerprints.get(key)
            yield key, size, bool(fingerprint) and self._journal.get(key) == [fingerprint, size]

    def _copy(self, unit: tuple[str, int | None, bool]) -> _Copied:
        key, size, is_recorded = unit
        if is_recorded and self._target.size(key) == size:
            return _Copied(key, size, True)
        source = self._contents.storage
        is_complete = partial(source.shows_whole, key) if isinstance(source, ListedByMetadata) else None
        copied_bytes = copy_file(source, key, self._target, key, is_complete)
        if copied_bytes is None and size is None:  # a chunk that was never written
            return _Copied(key, None)
        if copied_bytes is None or (size is not None and copied_bytes != size):
            raise self._changed(
                key, f"had {size} bytes and has {'none' if copied_bytes is None else copied_bytes}"
            )
        return _Copied(key, copied_bytes)

    def _report_copied(self, copied: _Copied) -> None:
        if copied.size is None:
            return
        self.files += 1
        self.nbytes += copied.size
        self.resumed += copied.skipped
        self._count.add(copied.size)
        fingerprint = self._fingerprints.pop(copied.key, None)
        if fingerprint:
            self._journal.add(copied.key, fingerprint, [copied.size], copied.size)

    def copy_documents(self, *, root_first: bool = False) -> None:
        """Write the documents: those of the root last, or first with ``root_first``.

        A group of Zarr v2 gets its `.zattrs` before its `.zgroup`, which makes it a group.
        """
        documents = self._contents.documents
        if root_first:
            self.nbytes += sum(map(self._copy_document, documents))
            return

        def order(key: str) -> tuple[int, bool]:
            return -key.count("/"), key.rpartition("/")[2] == V2.group

        source, target = self._contents.storage, self._target
        sizes: list[int] = []
        for _, keys in groupby(sorted(documents, key=order), order):
            storage = target if isinstance(target, FlatStorage) else source
            run_at_store(self._copy_document, keys, storage, on_result=sizes.append)
        self.nbytes += sum(sizes)

    def _copy_document(self, key: str) -> int:
        """Copy a document; return its size."""
        data = self._contents.document(key)
        if data is None:
            raise self._changed(key, "was deleted")
        self._target.write(key, data)
        return len(data)

    def _changed(self, key: str, change: str) -> StorageError:
        return StorageError(
            f"{self._contents.storage.where(key)} {change} while it was copied: another program writes there. Make "
            "the same call again: it copies the missing files."
        )
