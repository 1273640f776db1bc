"""Verify a store: parse every document and decode every chunk, or compare every file with a manifest.

`lamella.validate` checks the rules of OME-NGFF. Flipped bits that a codec decodes without an error (in chunks without
checksums) are found only with a manifest.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lamella.errors import InvalidArgumentError, LamellaError, NotDecodedError, StorageError, clause, counted
from lamella.log import logged
from lamella.ops.execution import LARGE_CHUNK, Count, Workers, check_progress, counting, run
from lamella.ops.integrity.array_status import FileFinding
from lamella.ops.integrity.checksum import (
    CHECKSUMS,
    compare,
    fingerprint,
    journaled_digest,
    open_journal,
    read_manifest,
)
from lamella.ops.known_members import listable
from lamella.ops.raw_nodes import StoreReader, storage_of
from lamella.ops.regions import bounded_shape, region_shape, regions
from lamella.ops.scratch import scratch
from lamella.spec.versions import VERSIONS
from lamella.store.keys import is_key, join
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.stored_chunks import check_keys, stored_sizes
from lamella.store.pixels.stored_files import NO_FILE
from lamella.store.storage import with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.ops.jobs.journal import Journal, LocalFile
    from lamella.store.storage import Fingerprint
    from lamella.types import JSONObject, Shape, StrPath

_OME_KEYS = frozenset(key for version in VERSIONS for part in version.parts.values() for key in part.keys)
"""Keys of the metadata of OME-NGFF in the attributes of a group."""

_DECODING = "decoding"
"""Name of the job in a journal of decoded files."""


@dataclass(frozen=True, repr=False)
class VerifyReport:
    """The result of a verification. True if nothing is damaged.

    Attributes
    ----------
    name
        Path or URL of the verified store or node.
    documents, arrays, files
        Three counts: groups and arrays whose documents were parsed; arrays that were decoded; files that were decoded
        or compared.
    nbytes
        Total size of the files.
    damage
        Damaged files and nodes.
    added
        Files that the manifest does not name; not damage.
    known
        Number of unchanged files that were not read, because an earlier call with the same journal verified them.
    undecoded
        Arrays of other programs with unsupported data types or codecs. Only their documents were parsed; not damage.
    unread
        Files that a service or the system refused to read: their state is unknown.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.verify(plate)
    >>> bool(report), report.arrays, report.files, report.damage
    (True, 1, 2, ())
    """

    name: str
    documents: int = 0
    arrays: int = 0
    files: int = 0
    nbytes: int = 0
    damage: tuple[FileFinding, ...] = ()
    added: tuple[str, ...] = ()
    known: int = field(default=0, compare=False)
    undecoded: tuple[FileFinding, ...] = ()
    unread: tuple[FileFinding, ...] = ()

    def __bool__(self) -> bool:
        return not (self.damage or self.unread)

    def __repr__(self) -> str:
        return f"<VerifyReport {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the text that ``lamella verify`` prints.

        Examples
        --------
        >>> import lamella
        >>> list(lamella.verify(plate).lines())
        ['.../plate.zarr: all whole; 2 files of 0.0 MB in 1 array, 9 documents']
        """
        for finding in self.damage:
            yield f"{finding.key}: {finding.found}"
        for finding in self.unread:
            yield f"{finding.key}: could not be read: {finding.found}"
        for finding in self.undecoded:
            yield f"{finding.key}: not decoded here: {finding.found}"
        for key in self.added:
            yield f"{key}: not in the manifest"
        yield self.verdict

    @property
    def verdict(self) -> str:
        """One line: the store, its state, and the numbers."""
        verdicts = []
        if self.damage:
            verdicts.append(f"{len(self.damage)} damaged")
        if self.unread:
            verdicts.append(f"{len(self.unread)} could not be read")
        if not verdicts:
            undamaged = "all decoded files whole" if self.undecoded else "all whole"
            verdicts.append(undamaged if self.files or self.undecoded else "no pixels")
        if self.undecoded:
            verdicts.append(f"{counted(len(self.undecoded), 'array')} not decoded")
        nodes = f" in {counted(self.arrays, 'array')}, {counted(self.documents, 'document')}"
        return (
            f"{self.name}: {', '.join(verdicts)}; {counted(self.files, 'file')} of {self.nbytes / 1e6:.1f} MB"
            + (nodes if self.documents else "")
            + (f"; {self.known} of them read by a call before this one" if self.known else "")
        )

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> import lamella
        >>> report = lamella.verify(plate).to_dict()
        >>> report["whole"], report["files"], report["damage"]
        (True, 2, [])
        """
        return {
            "store": self.name,
            "whole": bool(self),
            "documents": self.documents,
            "arrays": self.arrays,
            "files": self.files,
            "bytes": self.nbytes,
            "known": self.known,
            "damage": [{"key": finding.key, "found": finding.found} for finding in self.damage],
            "undecoded": [{"key": finding.key, "found": finding.found} for finding in self.undecoded],
            "unread": [{"key": finding.key, "found": finding.found} for finding in self.unread],
            "added": list(self.added),
        }


def verify(
    path_or_node: StrPath | Store | NGFFNode,
    *,
    manifest: StrPath | None = None,
    record: StrPath | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> VerifyReport:
    """Verify a store: parse its documents and decode its chunks, or compare its files with a manifest.

    Each worker needs some MB of memory (or a chunk, if that is larger), for stores of any size.

    Parameters
    ----------
    path_or_node : path, URL, zarr store or node
        The root of the verification.
    manifest : path, optional
        A manifest of `lamella.checksum`: compare each file's checksum with it, and decode nothing.
    record : path, optional
        Path of a journal, outside of the store. The same call resumes an interrupted one: it reads files that were
        not read, were damaged, or have changed. The journal is deleted at the end, so that the next verification reads
        all files: a disk that damages bits does not change the date of the file.
    jobs, executor, follow_links, storage_options
        As for `lamella.status`.
    progress : bool or callable, optional
        As for `lamella.status`, with the bytes done.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    InvalidArgumentError
        `manifest` is not a manifest, or names no existing file; the journal is in the store, or of another store.
    StorageError
        The journal cannot be written.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.verify(plate)
    >>> bool(report), report.arrays, report.files
    (True, 1, 2)
    """
    storage, path, name = storage_of(with_options(path_or_node, storage_options), follow_links=follow_links)
    storage = listable(storage, path)
    workers = Workers(jobs, executor)
    check_progress(progress)
    workers.check_reach(storage)
    workers = workers.waiting_for(storage, LARGE_CHUNK)
    expected = None if manifest is None else read_manifest(manifest)
    job = _DECODING if expected is None else CHECKSUMS
    with (
        nullcontext() if record is None else open_journal(record, job, storage, path) as journal,
        logged("Verify %s", name),
        counting(progress, "bytes") as byte_count,
    ):
        if expected is not None:
            report = VerifyReport(name, 0, 0, *compare(storage, path, expected, workers, byte_count, journal))
            if not report.files and not report.damage:
                raise InvalidArgumentError(
                    f"{name} contains no file that {manifest} names: nothing was compared. Check that it is the "
                    "manifest of this store."
                )
        else:
            verification = _Verification(StoreReader(storage), byte_count, journal)
            report = _decode_all(verification, path, name, workers)
        if journal is not None:
            journal.remove()
    return _with_unread(report)


def _with_unread(report: VerifyReport) -> VerifyReport:
    """Return a report that lists unreadable files separately from damaged ones."""
    damage = tuple(finding for finding in report.damage if not finding.unread)
    return replace(
        report, damage=damage, unread=tuple(finding for finding in report.damage if finding.unread)
    )


def _decode_all(verification: _Verification, path: str, name: str, workers: Workers) -> VerifyReport:
    run(decode, verification.stored_files(path), workers, on_result=verification.count)
    if not verification.documents and not verification.damage:
        raise InvalidArgumentError(
            f"{name} contains no Zarr group or array: there is nothing to verify. Check the path."
        )
    if not verification.arrays and not verification.has_ome and not verification.damage:
        raise InvalidArgumentError(
            f"{name} is a Zarr group without OME-NGFF metadata and without arrays, also below: nothing was verified. "
            "Use the path of an image, a plate or a collection."
        )
    return VerifyReport(
        name,
        verification.documents,
        verification.arrays,
        verification.files,
        verification.nbytes,
        tuple(sorted(verification.damage, key=lambda finding: finding.key)),
        known=verification.known,
        undecoded=tuple(verification.undecoded),
    )


class _Verification:
    """Lists the files of a store to decode, and collects counts and findings from the decoded ones."""

    def __init__(self, reader: StoreReader, progress: Count, journal: Journal[LocalFile] | None) -> None:
        self.reader = reader
        self.progress = progress
        self.journal = journal
        self.documents = self.arrays = self.files = self.nbytes = self.known = 0
        self.has_ome = False
        self.damage: list[FileFinding] = []
        self.undecoded: list[FileFinding] = []

    def stored_files(self, path: str) -> Iterator[FileToDecode]:
        """Yield the files of every array at a path and below it."""
        node = self.reader.group(path)
        is_listed = node.names is not None or not self.reader.storage.can_list
        self.damage.extend(
            FileFinding(join(path, finding.file) if is_listed else path, finding.found, finding.unread)
            for finding in node.findings
        )
        self.documents += bool(node.documents)
        self.has_ome = self.has_ome or not _OME_KEYS.isdisjoint(node.ome)
        if node.kind == "array":
            yield from self._files_of_array(path, 3 if node.zarr_format == 3 else 2, node.names)
            return
        for name in node.members:
            child = join(path, name)
            if is_key(child):  # else a file of another program: nodes do not have such names
                yield from self.stored_files(child)

    def count(self, decoded: Decoded) -> None:
        self.files += 1
        self.nbytes += decoded.size
        if decoded.damage:
            self.damage.append(FileFinding(decoded.key, decoded.damage, decoded.unread))
        elif self.journal is not None and decoded.fingerprint is not None:
            size, document_digest = decoded.size, decoded.document_digest
            self.journal.add(decoded.key, decoded.fingerprint, [size, document_digest], size)
        self.progress.add(decoded.size)

    def _files_of_array(self, path: str, zarr_format: int, names: list[str] | None) -> Iterator[FileToDecode]:
        array = StoredArray(Documents(self.reader.storage, 3 if zarr_format == 3 else 2), path)
        self.arrays += 1
        try:
            array.engine  # noqa: B018 (raises if no engine can decode the chunks)
            files = files_to_decode(array, names)
            yield from files if self.journal is None else self._files_not_in_journal(files, self.journal)
        except NotDecodedError as error:
            self.undecoded.append(FileFinding(path, clause(error)))
        except LamellaError as error:
            self.damage.append(FileFinding(path, clause(error), isinstance(error, StorageError)))

    def _files_not_in_journal(
        self, files: Iterator[FileToDecode], journal: Journal[LocalFile]
    ) -> Iterator[FileToDecode]:
        """Skip and count the files that the journal lists as undamaged under the array's current document."""
        document_digest = ""
        for file in files:
            if not document_digest:
                text = json.dumps(file.array.meta.document, sort_keys=True)
                document_digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            recorded = journaled_digest(journal, self.reader.storage, file.key)
            if recorded is not None and recorded.digest == document_digest:
                self.known += 1
                self.count(Decoded(file.key, recorded.size, ""))
            else:
                yield file._replace(document_digest=document_digest)


_REGION_BYTES = 2**20
"""Raw size of the regions that a worker decodes one after another; a chunk that is larger is decoded whole."""


class FileToDecode(NamedTuple):
    """A stored file of an array, by its index in the grid of files."""

    array: StoredArray
    file_index: Shape
    size: int | None = None
    """Size in bytes; None if the store was not listed."""
    document_digest: str = ""
    """Digest of the array's document, if the result is added to a journal."""

    @property
    def key(self) -> str:
        """Key of the file in the store."""
        return join(self.array.path, self.array.meta.chunk_key(self.file_index))


class Decoded(NamedTuple):
    """The result of decoding one file."""

    key: str
    size: int
    damage: str
    """Empty for an undamaged file."""
    fingerprint: Fingerprint | None = None
    """Fingerprint of the file before it was decoded, for a journal."""
    document_digest: str = ""
    """Digest of the array's document."""
    unread: bool = False
    """Whether a service or the system refused to read the file."""


def files_to_decode(array: StoredArray, names: list[str] | None = None) -> Iterator[FileToDecode]:
    """Yield the stored files of an array within its shape; all possible files if the store cannot list.

    ``names`` are the files and folders in the folder of the array, if they have been listed.
    """
    meta, storage = array.meta, array.documents.storage
    if storage.can_list:
        check_keys(storage, array.path, meta, array.documents.location(array.path), names)
    for file_index, size in stored_sizes(storage, array.path, meta):
        if all(index < count for index, count in zip(file_index, meta.grid, strict=True)):
            yield FileToDecode(array, file_index, size)


def decode(file: FileToDecode) -> Decoded:
    """Decode a file region by region, so that memory is bounded by a small region or one chunk."""
    array, file_index, stored_size, document_digest = file
    meta, key = array.meta, file.key
    fingerprint_before = fingerprint(array.documents.storage, key) if document_digest else None
    file_region = meta.file_region(file_index)
    shape = region_shape(file_region)
    decoded_shape = bounded_shape(shape, meta.chunks, meta.dtype.itemsize, _REGION_BYTES)
    size = 0
    try:
        if stored_size is None:
            stored_size = array.documents.storage.size(key)
            if stored_size is None and array.documents.storage.exists(key):
                return Decoded(key, 0, NO_FILE)
        size = stored_size or 0
        for region_in_file in regions(shape, decoded_shape):
            region = tuple(
                slice(inner.start + outer.start, inner.stop + outer.start)
                for inner, outer in zip(region_in_file, file_region, strict=True)
            )
            array.read_many([region], out=scratch(region_shape(region), meta.dtype)[None])
    except (LamellaError, MemoryError) as error:
        return Decoded(key, size, clause(error), unread=isinstance(error, StorageError))
    return Decoded(key, size, "", fingerprint_before, document_digest)
