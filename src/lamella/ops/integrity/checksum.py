"""Compute checksums of the files of a store, as a manifest that ``sha256sum --check`` reads.

Each line has the SHA-256 of a file in hexadecimal, two spaces, and its key, sorted by key. A key with a line break or a
backslash is escaped as GNU coreutils do: the line begins with a backslash. Temporary and lock files are left out.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lamella.errors import InvalidArgumentError, LamellaError, StorageError, clause, counted
from lamella.log import logged
from lamella.ops.execution import Count, Workers, check_progress, counting, run
from lamella.ops.integrity.array_status import FileFinding
from lamella.ops.jobs.journal import Journal, LocalFile
from lamella.ops.known_members import listable
from lamella.ops.raw_nodes import storage_of
from lamella.ops.rewriting.inventory import batched
from lamella.store.files.local import LocalStorage
from lamella.store.keys import LONGEST_PART, V2, V3, ancestors, is_document, join, shortened
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.parents import refuse_in_store
from lamella.store.paths import check_replaceable, local_path
from lamella.store.pixels.stored_chunks import is_beyond
from lamella.store.storage import times_of, with_options
from lamella.store.transfer import sized_files_below

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.storage import Fingerprint, Storage
    from lamella.types import JSONObject, StrPath

_READ_BYTES = 8 << 20
"""Number of bytes of a file that are read at a time."""

_AHEAD = 1000
"""Number of arrays whose documents are requested at once."""

_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")


CHECKSUMS = "sums"
"""Name of the job in a journal of checksums."""


class JournaledDigest(NamedTuple):
    """The line of a journal about an unchanged file: its size, and a digest of its bytes or of its array's document."""

    size: int
    digest: str


def open_journal(record: StrPath, job: str, storage: Storage, root_path: str) -> Journal[LocalFile]:
    """Open the journal of a job, outside of the store; raise for the journal of another job or store."""
    path = local_path(record, "the record")
    refuse_in_store(path, storage)
    root = os.path.realpath(storage.root) if isinstance(storage, LocalStorage) else storage.name
    head = {"lamella": "record", "work": job, "store": join(root, root_path)}
    return Journal(LocalFile(path, "record", follows_links=True), head, keeps_other_jobs=True)


def journaled_digest(
    journal: Journal[LocalFile], storage: Storage, key: str, listed: Fingerprint | None = None
) -> JournaledDigest | None:
    """Return the journal's result for a file, if the file still has the same fingerprint, perhaps one just listed."""
    line = journal.get(key)
    if line is None or len(line) != 3 or line[0] is None or line[0] != (listed or fingerprint(storage, key)):
        return None
    _, size, digest = line
    return JournaledDigest(size, digest) if isinstance(size, int) and isinstance(digest, str) else None


class _File(NamedTuple):
    """A file to read, with its size and fingerprint if they were listed, and whether it is added to the journal."""

    storage: Storage
    path: str
    key: str
    size: int | None
    fingerprint: Fingerprint | None
    is_journaled: bool


class _FileDigest(NamedTuple):
    """The digest of a file, or the reason why it cannot be read."""

    key: str
    size: int
    digest: str
    damage: str = ""
    fingerprint: Fingerprint | None = None
    unread: bool = False


class ChecksumReport(dict[str, str]):
    """The SHA-256 of each file of a store in hexadecimal, by its key, sorted by key.

    Examples
    --------
    >>> report = ChecksumReport("cells.zarr", {"zarr.json": "ab" * 32})
    >>> report, bool(report), str(report)[-15:]
    (<ChecksumReport cells.zarr: 1 file>, True, 'abab  zarr.json')
    """

    def __init__(self, name: str, digests: Mapping[str, str]) -> None:
        super().__init__(digests)
        self.name = name

    def __repr__(self) -> str:
        return f"<ChecksumReport {self.name}: {counted(len(self), 'file')}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the lines of the manifest.

        Examples
        --------
        >>> list(ChecksumReport("cells.zarr", {}).lines())
        []
        """
        return manifest_lines(self)

    def to_dict(self) -> JSONObject:
        """Return the digests as JSON values.

        Examples
        --------
        >>> ChecksumReport("cells.zarr", {"zarr.json": "ab"}).to_dict()
        {'zarr.json': 'ab'}
        """
        return dict(self)


def checksum(
    path_or_node: StrPath | Store | NGFFNode,
    output: StrPath | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ChecksumReport:
    """Compute the SHA-256 of every file of a store.

    With `output`, results are recorded in the journal ``<output>.record`` until the manifest is written. The same call
    resumes an interrupted one: it skips files that were read and have not changed since.

    Parameters
    ----------
    path_or_node : path, URL, zarr store or node
        The root of the files.
    output : path, optional
        Path of the manifest, outside of the store. It appears when it is complete.
    jobs, executor, follow_links, storage_options
        As for `lamella.status`.
    progress : bool or callable, optional
        As for `lamella.status`, with the bytes done.

    Returns
    -------
    ChecksumReport
        A dict: digests in hexadecimal by key, sorted by key. Its text is the manifest.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    InvalidArgumentError
        `output` is in the store or another file than a manifest, or the journal beside it belongs to another store.
    StorageError
        A file cannot be read, or the manifest cannot be written.

    Examples
    --------
    >>> import lamella
    >>> list(lamella.checksum(position))
    ['0/c/0/0/0/0/0', '0/c/0/1/0/0/0', '0/zarr.json', 'zarr.json']
    """
    storage, path, name = storage_of(with_options(path_or_node, storage_options), follow_links=follow_links)
    storage = listable(storage, path)
    workers = Workers(jobs, executor)
    check_progress(progress)
    workers.check_reach(storage)
    workers = workers.waiting_for(storage, _READ_BYTES)
    with logged("Compute checksums of %s", name), counting(progress, "bytes") as byte_count:
        if output is None:
            return ChecksumReport(name, _digests_of_all_files(storage, path, workers, byte_count))
        manifest = local_path(output, "the manifest")
        check_replaceable(manifest, "the manifest")
        refuse_in_store(manifest, storage)
        _check_is_manifest(manifest)
        folder, last = os.path.split(manifest)
        journal_path = os.path.join(folder, shortened(last, LONGEST_PART - len(".record")) + ".record")
        with open_journal(journal_path, CHECKSUMS, storage, path) as journal:
            digests = _digests_of_all_files(storage, path, workers, byte_count, journal)
            write_manifest(digests, manifest)
            journal.remove()
    return ChecksumReport(name, digests)


def _digests_of_all_files(
    storage: Storage,
    path: str,
    workers: Workers,
    byte_count: Count,
    journal: Journal[LocalFile] | None = None,
) -> dict[str, str]:
    """Return the digest of every file, sorted by key."""
    digests: dict[str, str] = {}

    def collect(result: _FileDigest) -> None:
        digests[result.key] = result.digest
        byte_count.add(result.size)

    _compute_digests(storage, path, _sizes(storage, path), collect, workers, journal)
    return dict(sorted(digests.items()))


def _compute_digests(
    storage: Storage,
    path: str,
    sizes: Mapping[str, int | None],
    collect: Callable[[_FileDigest], object],
    workers: Workers,
    journal: Journal[LocalFile] | None = None,
    expected: Mapping[str, str] | None = None,
) -> int:
    """Compute the digest of each file; return the number of files that are skipped because the journal has theirs.

    If digests are ``expected``, only files with the expected digest are skipped.
    """
    count = 0
    is_listed = journal is not None and storage.lists_below
    fingerprints = (storage.fingerprints_below(path) or {}) if is_listed else {}

    def files_to_read() -> Iterator[_File]:
        nonlocal count
        for key, size in sizes.items():
            stored_key = join(path, key)
            listed = fingerprints.get(stored_key)
            recorded = None if journal is None else journaled_digest(journal, storage, stored_key, listed)
            if recorded is not None and (expected is None or expected[key] == recorded.digest):
                count += 1
                collect(_FileDigest(key, recorded.size, recorded.digest))
            else:
                yield _File(storage, path, key, size, listed, journal is not None)

    def collect_and_journal(result: _FileDigest) -> None:
        collect(result)
        if journal is not None and not result.damage and result.fingerprint is not None:
            journal.add(join(path, result.key), result.fingerprint, [result.size, result.digest], result.size)

    compute = _compute_digest if expected is None else _compute_digest_or_damage
    run(compute, files_to_read(), workers, on_result=collect_and_journal)
    return count


def manifest_lines(digests: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a manifest: digest, two spaces, key."""
    for key, digest in digests.items():
        escaped = key.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        yield f"{'' if escaped == key else chr(92)}{digest}  {escaped}"


def write_manifest(digests: Mapping[str, str], path: StrPath) -> None:
    """Write a manifest to a file, completely or not at all."""
    folder, name = os.path.split(local_path(path, "the manifest"))
    text = "".join(f"{line}\n" for line in manifest_lines(digests))
    LocalStorage(folder).write(name, text.encode("utf-8", "surrogateescape"))


def _check_is_manifest(path: str) -> None:
    """Raise if another file than a manifest exists at a path, because it would be lost."""
    if os.path.exists(path):
        try:
            read_manifest(path)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"Cannot write the manifest {path}: a file that is no manifest has this name ({clause(error)}). Use "
                "another name, or delete it first."
            ) from error


def read_manifest(path: StrPath) -> dict[str, str]:
    """Read a manifest."""
    path = local_path(path, "the manifest")
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InvalidArgumentError(
            f"The manifest {path} cannot be read: {error.strerror or error}."
        ) from error
    digests = {}
    for number, line in enumerate(text.split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            if not line.strip():
                continue
            raise InvalidArgumentError(
                f"The manifest {path} has no checksum and name in line {number}: {line[:80]!r}. Make it by "
                "`lamella checksum`."
            )
        escaped, digest, key = match.groups()
        if escaped:
            key = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), key)
        digests[key.removeprefix("./")] = digest
    return digests


def compare(
    storage: Storage,
    path: str,
    expected: Mapping[str, str],
    workers: Workers,
    progress: Count | None = None,
    journal: Journal[LocalFile] | None = None,
) -> Comparison:
    """Compare the files of a store with the digests of a manifest; skip files in the journal."""
    sizes = _sizes(storage, path)
    # Also files beyond the shape of an array that was made smaller after the manifest.
    unlisted = sorted(expected.keys() - sizes.keys())
    sizes_beyond = zip(unlisted, storage.sizes([join(path, key) for key in unlisted]), strict=True)
    sizes |= {key: size for key, size in sizes_beyond if size is not None}
    findings = [FileFinding(key, "is missing") for key in expected if key not in sizes]
    read_sizes: list[int] = []

    def collect(result: _FileDigest) -> None:
        read_sizes.append(result.size)
        if result.damage:
            findings.append(FileFinding(result.key, result.damage, result.unread))
        elif result.digest != expected[result.key]:
            findings.append(
                FileFinding(result.key, "is not what it was: its checksum differs from the manifest")
            )
        if progress is not None:
            progress.add(result.size)

    to_compare = {key: sizes[key] for key in sorted(sizes.keys() & expected.keys())}
    skipped = _compute_digests(storage, path, to_compare, collect, workers, journal, expected)
    return Comparison(
        len(read_sizes),
        sum(read_sizes),
        tuple(sorted(findings, key=lambda finding: finding.key)),
        tuple(sorted(sizes.keys() - expected.keys())),
        skipped,
    )


class Comparison(NamedTuple):
    """The result of comparing files with a manifest."""

    files: int
    nbytes: int
    damage: tuple[FileFinding, ...]
    added: tuple[str, ...]
    """Keys that the manifest lacks."""
    known: int
    """Number of files that were not read, because the journal has their digest."""


def _sizes(storage: Storage, path: str) -> dict[str, int | None]:
    """Return all files below a path with their sizes, without chunks beyond an array's shape, which killed calls leave.

    The size of a link that may not be followed is None.
    """
    sizes: dict[str, int | None]
    if storage.lists_below:
        sizes = {key[len(path) :].lstrip("/"): size for key, size in sized_files_below(storage, path)}
    else:
        sizes = dict(_sizes_in(storage, path, ""))
    nodes = {key.rpartition("/")[0] for key in sizes if is_document(key)}
    node_of_file = {
        key: next((above for above in reversed(ancestors(key)) if above in nodes), None)
        for key in sizes
        if not is_document(key)
    }
    arrays = _arrays(storage, path, {node for node in node_of_file.values() if node is not None}, sizes)
    for key, node in node_of_file.items():
        if node in arrays and is_beyond(key[len(node) :].lstrip("/"), arrays[node]):
            del sizes[key]
    return sizes


def _sizes_in(storage: Storage, path: str, folder: str) -> Iterator[tuple[str, int | None]]:
    """Yield the files in a folder at any depth with their sizes, one folder at a time."""
    for name in storage.list(join(path, folder)):
        key = join(folder, name)
        try:
            size = storage.size(join(path, key))
        except LamellaError:
            if storage.service is not None:  # else a folder would have the digest of an empty file
                raise
            yield key, None
            continue
        if size is None:
            yield from _sizes_in(storage, path, key)
        else:
            yield key, size


def _arrays(storage: Storage, path: str, nodes: set[str], files: Container[str]) -> dict[str, ArrayMeta]:
    """Return the metadata of those nodes that are arrays with a readable document."""
    arrays: dict[str, ArrayMeta] = {}
    formats: tuple[tuple[str, ZarrFormat], ...] = ((V2.array, 2), (V3.array, 3))
    for file, zarr_format in formats:
        documents = Documents(storage, zarr_format)
        paths = {join(path, node): node for node in nodes - arrays.keys() if join(node, file) in files}
        for batch in batched(list(paths), _AHEAD):
            documents.request_ahead((), arrays=batch, at_once=True)
            for array in batch:
                # Others are groups, or have documents that `verify` without a manifest reports.
                with suppress(LamellaError):
                    arrays[paths[array]] = documents.array(array)
    return arrays


def _compute_digest(file: _File) -> _FileDigest:
    key = join(file.path, file.key)
    before = file.fingerprint
    if file.is_journaled and before is None:
        before = fingerprint(file.storage, key)
    digest, size = hashlib.sha256(), 0
    for data in _read(file):
        digest.update(data)
        size += len(data)
    return _FileDigest(file.key, size, digest.hexdigest(), "", before)


def _compute_digest_or_damage(file: _File) -> _FileDigest:
    try:
        return _compute_digest(file)
    except LamellaError as error:
        return _FileDigest(file.key, 0, "", clause(error), unread=isinstance(error, StorageError))


def _read(file: _File) -> Iterator[bytes]:
    key, start = join(file.path, file.key), 0
    while start != file.size:
        data = file.storage.read_range(key, start, _READ_BYTES)
        if data is None:
            raise StorageError(f"Cannot read {file.storage.where(key)}: it was listed, and was then deleted.")
        if not data:
            if start < (file.size or 0):
                raise StorageError(
                    f"Cannot read {file.storage.where(key)}: it was listed with {file.size} bytes, and only {start} "
                    "can be read. Another program writes there, or the service answers wrongly: make the same call "
                    "again."
                )
            return
        yield data
        start += len(data)


_SETTLED_NS = 2 * 10**9
"""Minimum age of a file whose time shows that it is unchanged: on FAT, times have steps of two seconds."""


def fingerprint(storage: Storage, key: str) -> Fingerprint | None:
    """Return the fingerprint of a file, to be read *before* its bytes; None without a file, or if it is too recent."""
    current = storage.fingerprint(key)
    times = current and times_of(current)
    return None if times and time.time_ns() - max(times) < _SETTLED_NS else current
