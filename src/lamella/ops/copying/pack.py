"""Pack a store into an archive in one pass: documents first, then all other files, under a temporary name."""

from __future__ import annotations

import json
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lamella.arguments import check_flags
from lamella.errors import (
    InvalidArgumentError,
    MetadataError,
    NodeNotFoundError,
    StorageError,
    StoreExistsError,
)
from lamella.log import logged
from lamella.ops.copying.selection import Contents, CopyReport, contents_of, select_parts
from lamella.ops.copying.upload import uploaded
from lamella.ops.execution import Count, check_progress, reporting
from lamella.ops.rewriting.endpoints import already_exists, check_apart, make_folder, open_source
from lamella.spec.versions import detect
from lamella.store.files.archives import is_archive_name
from lamella.store.files.zip_writer import ZipWriter
from lamella.store.objects.addresses import clean_url
from lamella.store.paths import is_url, local_path, location
from lamella.store.storage import share_options, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.store.metadata.documents import Documents
    from lamella.types import StrPath

_AHEAD = 16
"""Number of files that threads read before it is their turn to be written."""

_LARGE = 32 << 20
"""Size in bytes. Larger files are not read ahead, but in pieces of this size while they are written."""


def pack(
    source: StrPath | Store,
    destination: StrPath,
    *,
    fields: Iterable[str] | None = None,
    levels: Iterable[int] | None = None,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> CopyReport:
    """Write a store into one file: an archive as RFC-9 describes it (``.ozx``), or any ZIP archive.

    Encoded chunks are copied unchanged. Entries are stored without further compression, the metadata of the root first,
    then all other metadata breadth first; the comment of the archive states the version. The archive appears when it is
    complete. Equal stores become equal archives.

    Parameters
    ----------
    source : path or zarr store
        A store, or a group in one, which becomes the root; another archive too.
    destination : path or URL
        A local file whose name ends with ``.ozx``, or with ``.zip``; or an object with such a name (``s3://``, ``gs://``,
        ``az://``), for which the archive is written in the folder for temporary files (``TMPDIR``) and then uploaded.
    overwrite : bool
        Replace an existing archive, once the new one is complete.
    fields, levels, progress, follow_links, storage_options
        As for `lamella.copy_store`.

    Returns
    -------
    CopyReport
        True if no file can be missing.

    Raises
    ------
    StoreNotFoundError, MetadataError
        There is no store.
    StoreExistsError
        The destination exists.
    InvalidArgumentError
        The destination has another ending, or is in the store; a store of OME-NGFF 0.4 as ``.ozx``.
    ReadOnlyError
        The destination is on a web server.
    StorageError
        A file cannot be read or written.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.pack(plate.zgroup.store.root, tmp / "plate.ozx")
    >>> lamella.open_ome_zarr(tmp / "plate.ozx")["A/1/0/0"].shape
    (1, 2, 4, 8, 8)
    """
    check_flags(overwrite=overwrite, follow_links=follow_links)
    check_progress(progress)
    if is_url(location(destination)):
        source, destination = share_options((source, destination), storage_options)
        with uploaded(source, destination, overwrite=overwrite) as temporary:
            report = pack(
                source, temporary, fields=fields, levels=levels, progress=progress, follow_links=follow_links
            )
        return replace(report, destination=clean_url(location(destination)))
    path = local_path(destination, "the archive")
    documents = open_source(with_options(source, storage_options), follow_links=follow_links)
    storage = documents.storage
    comment = _comment(documents, path)
    check_archive(path, overwrite=overwrite)
    check_apart(storage.identity, os.path.realpath(path))
    with logged("Pack %s into %s", storage.name, path), reporting(progress, "bytes") as report_progress:
        contents = contents_of(documents, select_parts(documents, fields, levels))
        for key, _ in contents.files:
            if is_archive_name(key) and key.lower().endswith(".ozx"):
                raise InvalidArgumentError(
                    f"{storage.where(key)} is an archive, and an archive cannot contain "
                    "another: move it out of the store."
                )
        count = Count(report_progress, "bytes", contents.nbytes)
        make_folder(os.path.dirname(path))
        with ZipWriter(path) as archive:
            files, nbytes = _write_all(contents, archive, count)
            archive.finish(comment)
    return CopyReport(location(destination), len(contents.documents), files, nbytes, unseen=contents.unseen)


def check_archive(path: str, *, overwrite: bool) -> None:
    """Raise InvalidArgumentError for a path without the ending of an archive, StoreExistsError for an existing file."""
    if not is_archive_name(path):
        raise InvalidArgumentError(f"{path} is not the name of an archive, which ends with .ozx or .zip.")
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise already_exists(path)
    if os.path.islink(path) or not os.path.isfile(path):
        raise StoreExistsError(f"{path} is not replaced, because it is not a file: choose another name.")


def _comment(documents: Documents, path: str) -> bytes:
    """Return the comment of an archive, which states the version of the store."""
    version = None
    with suppress(MetadataError, NodeNotFoundError):  # a group of a user's own, or an array
        version = detect(documents.format, documents.group(""))
    if documents.format == 2:
        if path.lower().endswith(".ozx"):
            raise InvalidArgumentError(
                f"{documents.storage.name} is OME-NGFF {version.name if version else 'of Zarr v2'}, and .ozx archives "
                "(RFC-9) contain 0.5 and newer: upgrade it first (`lamella upgrade --to 0.5`), or pack it into a .zip."
            )
        return b""
    if version is None:
        return b""
    ome = {"version": version.name, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": ome}, separators=(",", ":")).encode()


def _write_all(contents: Contents, archive: ZipWriter, count: Count) -> tuple[int, int]:
    """Write documents, then all other files; return the number of files and the size of both."""
    nbytes = files = 0
    with ThreadPoolExecutor(_AHEAD, "lamella-pack") as pool:
        for key, _, data in _read_ahead([(key, None) for key in contents.documents], contents.document, pool):
            if data is None:
                raise _changed(contents, key)
            nbytes += archive.add(key, [data])
        for key, size, data in _read_ahead(contents.files, contents.read, pool):
            if size is not None and size > _LARGE:
                written_bytes = archive.add(key, _read_pieces(contents, key, size), size)
            elif data is not None:
                _check_size(contents, key, size, len(data))
                written_bytes = archive.add(key, [data])
            elif size is None:  # a chunk that was never written
                continue
            else:
                raise _changed(contents, key)
            files += 1
            nbytes += written_bytes
            count.add(written_bytes)
    return files, nbytes


def _read_ahead(
    files: Iterable[tuple[str, int | None]], read: Callable[[str], bytes | None], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, int | None, bytes | None]]:
    """Yield files in order, the small ones with their bytes, which several threads read."""
    ahead: deque[tuple[str, int | None, Future[bytes | None] | None]] = deque()
    try:
        for key, size in files:
            is_large = size is not None and size > _LARGE
            ahead.append((key, size, None if is_large else pool.submit(read, key)))
            if len(ahead) > _AHEAD:
                yield _with_data(ahead.popleft())
        while ahead:
            yield _with_data(ahead.popleft())
    finally:
        for _, _, future in ahead:
            if future is not None:
                future.cancel()


def _with_data(
    file: tuple[str, int | None, Future[bytes | None] | None],
) -> tuple[str, int | None, bytes | None]:
    key, size, future = file
    return key, size, None if future is None else future.result()


def _read_pieces(contents: Contents, key: str, size: int) -> Iterator[bytes]:
    for start in range(0, size, _LARGE):
        data = contents.storage.read_range(key, start, min(_LARGE, size - start))
        if data is None:
            raise _changed(contents, key)
        yield data


def _check_size(contents: Contents, key: str, expected: int | None, actual: int) -> None:
    if expected not in (None, actual):
        raise StorageError(
            f"Cannot pack {contents.storage.where(key)}: it has {expected} bytes, and {actual} were read, so another "
            "program writes it, or the answer was cut short. Try again."
        )


def _changed(contents: Contents, key: str) -> StorageError:
    return StorageError(
        f"{contents.storage.where(key)} was removed while it was to be packed: another program writes there. Try again."
    )
