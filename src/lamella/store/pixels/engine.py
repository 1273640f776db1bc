"""Encode and decode the pixels of an array: lamella's own engine, the interface of engines, and the choice of one.

Engines never write documents. They write every chunk, even where it equals the fill value: a frame of zeros is not the
same as a frame that was never written. docs/design.md describes a read and a write.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np

from lamella.errors import DamagedDataError, LamellaError, NotDecodedError
from lamella.store.pixels.chunk_grid import ChunkPart, chunks_by_file
from lamella.store.pixels.chunk_source import DamagedFileError, FileChange, Task
from lamella.store.pixels.coding import ChunkError, Coding, coding_of
from lamella.store.pixels.selection import basic_or_fancy
from lamella.store.pixels.stored_chunks import MisplacedError, check_keys
from lamella.store.process_limits import (
    check_files,
    check_memory,
    codec_threads,
    cpu_share,
    cpus,
    is_codec_thread,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.store.pixels.chunk_source import ArrayFile, ChunkSource, Destination
    from lamella.store.pixels.coding import DecodedChunk, Span
    from lamella.store.pixels.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape

_FEW_CHUNKS = 16
"""Concurrent calls that decode at most this many chunks share the CPUs, instead of each using all of them."""

EngineName: TypeAlias = Literal["files", "zarr"]


class Engine(Protocol):
    """Reads and writes the pixels of one array, as described when the engine was opened."""

    name: EngineName
    #: Exceptions raised for damaged chunks and system errors.
    errors: tuple[type[Exception], ...]

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Return the block of a selection; read into `out`, of its shape and dtype, unless None."""

    def read_many(self, requests: Sequence[tuple[Selection, Array]]) -> None:
        """Read each selection into the array beside it."""

    def write(self, selection: Selection, block: Array) -> None:
        """Write a block of the selection's shape and the array's dtype; return when it is stored."""

    def system_error(self, error: Exception) -> OSError | None:
        """Return the error of the file system or service behind an exception; None for damaged chunks."""


def _has_unknown_codec(meta: ArrayMeta) -> bool:
    """Whether a codec is not installed, in contrast to one with wrong settings."""
    if meta.zarr_format == 2:
        from numcodecs import registry  # type: ignore[import-untyped]

        return any(
            name not in registry.codec_registry and name not in registry.entries for name in meta.codecs
        )
    from zarr.registry import get_codec_class

    try:
        for name in meta.codecs:
            get_codec_class(name)
    except (KeyError, ValueError):  # KeyError before zarr-python 3.4, UnknownCodecError since
        return True
    return False


def open_engine(
    storage: Storage, path: str, meta: ArrayMeta, engine_name: EngineName | None = None
) -> Engine:
    """Open the engine of an array: `FilesEngine` if `coding_of` supports its codecs, else, or if forced, zarr-python.

    Raises `TooLargeError` where a chunk or shard index exceeds the memory, `InvalidNameError` where a symbolic link
    leads out of the store, `NotDecodedError` for a codec that is not installed, and `DamagedDataError` for unknown
    settings of one.
    """
    where = storage.where(path)
    check_files(meta, where)
    storage.check_folder(path)
    try:
        coding = None if engine_name == "zarr" else coding_of(meta)
        if coding is not None:
            return FilesEngine(storage, path, meta, coding)
        from lamella.store.pixels.engine_zarr import ZarrEngine

        return ZarrEngine(storage, path, meta)
    except LamellaError:
        raise
    except Exception as error:  # engines raise what their libraries raise
        raise (NotDecodedError if _has_unknown_codec(meta) else DamagedDataError)(
            f"Cannot read or write the pixels of array {where}: they are stored with codecs "
            f"{', '.join(meta.codecs) or 'none'}, and one of them, or its settings, is not known here. Its metadata "
            "can be read."
        ) from error


def source_of(storage: Storage, path: str, meta: ArrayMeta, coding: Coding) -> ChunkSource:
    """Return the source of the encoded chunks of an array."""
    from lamella.store.files.local import LocalStorage

    if isinstance(storage, LocalStorage):
        from lamella.store.pixels.chunk_files import FolderSource

        return FolderSource(storage, path, coding)
    from lamella.store.pixels.chunk_objects import ObjectSource

    return ObjectSource(storage, path, meta, coding)


class MissingChunks:
    """Checks for chunks under other keys, once per engine: when the first missing chunk of an array is reported."""

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta) -> None:
        self._array = storage, path, meta
        # Listing a remote store is slow; `status`, `validate` and `verify` do it.
        self.is_checked = not storage.locks_processes

    def report(self) -> None:
        """Report a missing chunk; raise `MisplacedError` where chunks are stored under other keys."""
        if not self.is_checked:
            storage, path, meta = self._array
            check_keys(storage, path, meta, storage.where(path))
            self.is_checked = True


class FilesEngine:
    """lamella's own engine, for arrays whose chunks `Coding` can encode and decode."""

    name: EngineName = "files"
    errors: tuple[type[Exception], ...] = (DamagedFileError, OSError)

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta, coding: Coding) -> None:
        self._meta = meta
        self._coding = coding
        self._source = source_of(storage, path, meta, coding)
        #: The chunks of a call are cached if they have at most this many bytes: more would evict everything else.
        self._cache_limit = storage.decoded.limit // 4
        self._missing = MissingChunks(storage, path, meta)
        self._chunks_per_file = 1 if coding.index_layout is None else math.prod(coding.index_layout.chunks)

    def system_error(self, error: Exception) -> OSError | None:
        return error if isinstance(error, OSError) else None

    # ---- reading --------------------------------------------------------------------------------

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        if out is None:
            out = np.empty(selection.shape, self._meta.dtype)
        files = list(chunks_by_file(self._meta, selection))
        if len(files) == len(files[0][1]) == 1 and not files[0][1][0].is_whole:
            file_index, (part,) = files[0]
            is_small = self._coding.nbytes <= self._cache_limit
            chunk = self._source.decoded(self._meta.chunk_key(file_index), part.number) if is_small else None
            if chunk is not None and (chunk.has(None) or chunk.has(self._coding.span([part.in_chunk]))):
                out[(*part.in_block, ...)] = chunk.values[part.in_chunk]
                return out
        self._read_tasks(
            self._tasks(file_index, {part.number: [(out, part)] for part in parts})
            for file_index, parts in files
        )
        return out

    def read_many(self, requests: Sequence[tuple[Selection, Array]]) -> None:
        """Read each selection into the array beside it; a chunk that several selections touch is decoded once."""
        files: dict[Shape, dict[int, list[Destination]]] = {}
        for selection, block in requests:
            for file_index, parts in chunks_by_file(self._meta, selection):
                destinations_by_chunk = files.setdefault(file_index, {})
                for part in parts:
                    destinations_by_chunk.setdefault(part.number, []).append((block, part))
        self._read_tasks(
            self._tasks(file_index, dict(sorted(destinations_by_chunk.items())))
            for file_index, destinations_by_chunk in files.items()
        )

    def read_arrays(
        self, paths: Sequence[str], files: Sequence[tuple[Shape, list[ChunkPart]]], out: Array
    ) -> None:
        """Read the same parts of the arrays at some paths below this one, each into one item of ``out``."""
        # Callers read an array by itself where all of its values are the fill value, and that checks for other keys.
        self._missing.is_checked = True
        keys = [(file_index, self._meta.chunk_key(file_index), parts) for file_index, parts in files]
        self._read_tasks(
            self._tasks(file_index, {part.number: [(block, part)] for part in parts}, f"{path}/{key}")
            for path, block in zip(paths, out, strict=True)
            for file_index, key, parts in keys
        )

    def _tasks(
        self, file_index: Shape, destinations_by_chunk: dict[int, list[Destination]], key: str | None = None
    ) -> list[Task]:
        key = key or self._meta.chunk_key(file_index)
        file = self._source.open(key, file_index, destinations_by_chunk)
        return [
            Task(file, number, key, destinations, self._view(destinations))
            for number, destinations in destinations_by_chunk.items()
        ]

    def _view(self, destinations: list[Destination]) -> Array | None:
        """Return the memory in a block that a chunk can be decoded into; None where a copy is needed."""
        block, part = destinations[0]
        if len(destinations) > 1 or not all(isinstance(axis_index, slice) for axis_index in part.in_chunk):
            return None
        view: Array = block[(*part.in_block, ...)]
        return view if self._coding.accepts(view) else None

    def _read_tasks(self, tasks_by_file: Iterable[list[Task]]) -> None:
        tasks = list(itertools.chain.from_iterable(tasks_by_file))
        use_cache = len(tasks) * self._coding.nbytes <= self._cache_limit
        try:
            self._source.read(tasks, use_cache, lambda ready: self._decode_tasks(ready, use_cache))
        except BaseException:  # else each file was closed after its last chunk
            for task in tasks:
                task.file.close()
            raise

    def _decode_tasks(self, tasks: Sequence[Task], use_cache: bool) -> None:
        """Decode the chunks of tasks whose bytes are available, on the threads of the process."""
        pending = deque(tasks)
        caller_decodes = not self._coding.needs_thread
        with cpu_share() as share:
            max_threads = share if len(tasks) <= _FEW_CHUNKS else cpus()
            helpers = 0 if is_codec_thread() else max(1, min(max_threads, len(tasks))) - caller_decodes
            running = [codec_threads().submit(self._run_tasks, pending, use_cache) for _ in range(helpers)]
            try:
                if caller_decodes:
                    self._run_tasks(pending, use_cache)
                for future in running:
                    if not (caller_decodes and future.cancel()):
                        future.result()
            finally:
                pending.clear()
                wait([future for future in running if not future.cancel()])

    def _run_tasks(self, pending: deque[Task], use_cache: bool) -> None:
        """Run pending tasks until none is left, with one scratch memory for all chunks that are not cached."""
        scratch = None
        while True:
            try:
                task = pending.popleft()
            except IndexError:
                return
            try:
                scratch = self._run_task(task, scratch, use_cache)
            except BaseException:
                pending.clear()
                raise

    def _run_task(self, task: Task, scratch: Array | None, use_cache: bool) -> Array | None:
        """Decode the chunk of one task and copy it to its destinations; return the scratch memory for the next one."""
        file, number, key, destinations, view = task
        try:
            if view is not None:
                chunk = self._decode_chunk(file, number, key, view)
                if chunk is not None and chunk.values is not view:
                    view[...] = chunk.values
            else:
                chunk, scratch = self._chunk_of_task(task, scratch, use_cache)
                if chunk is not None:
                    for block, part in destinations:
                        block[(*part.in_block, ...)] = chunk.values[part.in_chunk]
            if chunk is None:
                if file.is_missing:
                    self._missing.report()
                for block, part in destinations:
                    block[(*part.in_block, ...)] = self._meta.fill_value
        finally:
            file.count_read()
        return scratch

    def _chunk_of_task(
        self, task: Task, scratch: Array | None, use_cache: bool
    ) -> tuple[DecodedChunk | None, Array | None]:
        """Return the cached or decoded chunk of a task (None: never written), and the scratch memory for the next."""
        file, number = task.file, task.number
        parts = [part for _, part in task.destinations]
        # Where all visible pixels of a chunk on the array's edge are requested, decode the invisible ones too: `verify`
        # must find damage there.
        is_whole = any(part.is_whole for part in parts)
        span = None if is_whole else self._coding.span([part.in_chunk for part in parts])
        cached = file.decoded(number) if use_cache else None
        if cached is not None and cached.has(span):
            return cached, scratch
        if not use_cache or file.stamp is None:
            scratch = self._coding.scratch() if scratch is None else scratch
            return self._decode_chunk(file, number, task.key, scratch, span), scratch
        if cached is not None or not file.can_read_again:
            # Decode all of it: other parts were read before, so more will be; or they would need another request.
            span = None
        chunk = self._decode_chunk(file, number, task.key, self._coding.scratch(), span)
        if chunk is not None:
            file.cache_chunk(number, chunk)
        return chunk, scratch

    def _decode_chunk(
        self, file: ArrayFile, number: int, key: str, into: Array, span: Span | None = None
    ) -> DecodedChunk | None:
        """Decode a chunk of a file, or a span of it; None where it was never written."""
        while True:
            try:
                data = file.chunk(number)
                return None if data is None else self._coding.decode(data, into, span)
            except MisplacedError:
                raise
            except (ChunkError, DamagedDataError) as error:
                try:
                    if file.read_again(number):
                        continue
                except DamagedDataError:
                    pass
                raise DamagedFileError(key, error) from error

    # ---- writing --------------------------------------------------------------------------------

    def write(self, selection: Selection, block: Array) -> None:
        """Encode chunks on several threads, and write each file as its chunks arrive; the caller holds the locks."""
        files = (
            self._file_change(file_index, parts)
            for file_index, parts in chunks_by_file(self._meta, selection)
        )
        self._source.write(files, lambda changes: self._encode_ahead(changes, block))

    def _file_change(self, file_index: Shape, parts: list[ChunkPart]) -> FileChange:
        is_covered = all(part.is_whole for part in parts) and len(parts) == self._meta.chunks_in(file_index)
        numbers = {part.number for part in parts}
        copied = frozenset() if is_covered else frozenset(range(self._chunks_per_file)) - numbers
        return FileChange(self._meta.chunk_key(file_index), parts, copied, is_covered)

    def _encode_ahead(
        self, changes: Iterable[FileChange], block: Array
    ) -> Generator[tuple[FileChange, int, bytes], None, None]:
        """Encode chunks in order, some ahead of the consumer."""
        parts = ((change, part) for change in changes for part in change.parts)
        first_parts = list(itertools.islice(parts, 2))
        all_parts = itertools.chain(first_parts, parts)
        if is_codec_thread() or (len(first_parts) == 1 and not self._coding.needs_thread):
            for change, part in all_parts:
                yield change, part.number, self._encode(change, part, block)
            return
        ahead: deque[tuple[FileChange, int, Future[bytes]]] = deque()
        try:
            for change, part in all_parts:
                ahead.append((change, part.number, codec_threads().submit(self._encode, change, part, block)))
                if len(ahead) > 2 * cpus():
                    yield _await_chunk(*ahead.popleft())
            while ahead:
                yield _await_chunk(*ahead.popleft())
        finally:
            wait([future for _, _, future in ahead])

    def _encode(self, change: FileChange, part: ChunkPart, block: Array) -> bytes:
        """Encode one chunk; values that the block does not contain are those of the stored chunk."""
        values = block[(*part.in_block, ...)]
        if part.is_whole:
            return self._coding.encode(values)
        chunk = self._coding.scratch()
        old_chunk = self._decode_chunk(change.old, part.number, change.key, chunk)
        if old_chunk is None:
            chunk[...] = self._meta.fill_value
        elif old_chunk.values is not chunk:
            chunk[...] = old_chunk.values
        chunk[part.in_chunk] = values
        return self._coding.encode(chunk)


def _await_chunk(change: FileChange, number: int, future: Future[bytes]) -> tuple[FileChange, int, bytes]:
    return change, number, future.result()


# ---- many arrays with equal metadata: a plate has thousands of such levels --------------------------

_MAX_LOADED_CHUNK = 1 << 20
"""Files of chunks with at most this many decoded bytes are loaded by `load_equal_arrays`."""


def load_equal_arrays(
    documents: Documents, paths: Sequence[str], meta: ArrayMeta, region: tuple[slice, ...]
) -> None:
    """Load the files that `read_equal_arrays` reads next into the cache of the system, with the arrays' documents.

    Only documents are loaded where chunks are large or in shards: of shards only parts are read, and reading a large
    chunk takes as long as decoding it.
    """
    names = documents.files_of_array
    if meta.shards is None and math.prod(meta.chunks) * meta.dtype.itemsize <= _MAX_LOADED_CHUNK:
        files = chunks_by_file(meta, basic_or_fancy(region, meta.shape))
        names += [meta.chunk_key(file_index) for file_index, _ in files]
    documents.storage.load_ahead([f"{path}/{name}" for path in paths for name in names])


def read_equal_arrays(
    documents: Documents, paths: Sequence[str], meta: ArrayMeta, region: tuple[slice, ...]
) -> Array | None:
    """Return a region of the arrays at some paths, which all have the metadata ``meta``, as (array, ...).

    None if only zarr-python supports their codecs. Chunks that are not stored read as the fill value. The engine's
    errors do not name the array: the caller then reads each by itself.
    """
    if coding_of(meta) is None:
        return None
    # The path is empty, because `read_arrays` gets the paths of the arrays.
    engine = open_engine(documents.storage, "", meta)
    assert isinstance(engine, FilesEngine)
    selection = basic_or_fancy(region, meta.shape)
    out = np.empty((len(paths), *selection.shape), meta.dtype)
    check_memory(
        out.shape,
        meta.dtype.itemsize,
        lambda: f"Reading a region of {len(paths)} arrays of {documents.storage.name}",
    )
    engine.read_arrays(paths, list(chunks_by_file(meta, selection)), out)
    return out
