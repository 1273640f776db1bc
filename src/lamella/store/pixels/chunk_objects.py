"""Read and write the shards or single-chunk objects of an array in a remote store, many requests at a time.

A read sends two rounds of requests: the indexes of the shards (unless cached), then byte ranges of chunks; a shard
whose chunks are all needed is requested whole. A range is requested on the condition that the object still has the
stamp of its index, so that a new shard is never read with an old index. Without stamps nothing is cached. A read of 300
MiB is done in *portions* of 128, 128 and 44 MiB: while one is decoded, the next is requested.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

from lamella.errors import DamagedDataError, StorageError
from lamella.store.keys import join
from lamella.store.objects.object_client import RETRY_SECONDS, retry_waits
from lamella.store.pixels.chunk_cache import indexes
from lamella.store.pixels.chunk_source import Task
from lamella.store.pixels.shard_file import NO_CHUNK, MemoryFile, ShardFile, decode_index, fill_shard
from lamella.store.storage import ChangedError, RangeRequest, Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.chunk_files import IndexEntries
    from lamella.store.pixels.chunk_source import ArrayFile, EncodedChunks, FileChange
    from lamella.store.pixels.coding import Coding, DecodedChunk
    from lamella.store.storage import RangesRead, Stamp, Storage
    from lamella.types import Shape

PORTION: Final = 128 << 20
"""Limit of the encoded bytes of one portion of a read, and of the decoded bytes of one batch of a write."""

_MAX_OBJECTS_AT_ONCE = 128
"""Limit of objects that are written at once."""

_MAX_TRUSTED_STAMPS = 100_000
"""Limit of the objects whose version a store handle remembers as read (`Storage.trusted`)."""


class ObjectSource:
    """The objects of an array, as a `ChunkSource`."""

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta, coding: Coding) -> None:
        self.storage = storage
        self.coding = coding
        self._path = path
        self._meta = meta

    def open(self, key: str, index: Shape, numbers: Collection[int]) -> ChunkObject:
        chunk_count = len(numbers)
        is_whole = self.coding.index_layout is None or (
            chunk_count * self.coding.nbytes <= PORTION and chunk_count == self._meta.chunks_in(index)
        )
        return ChunkObject(self, join(self._path, key), is_whole=is_whole, chunk_count=chunk_count)

    def decoded(self, key: str, number: int) -> DecodedChunk | None:
        """Return None: checking whether an object is unchanged costs a request."""
        del key, number
        return None

    def read(self, tasks: Sequence[Task], use_cache: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        """Request the chunks, and decode those that arrived while the others are requested."""
        for _ in self._attempts():
            try:
                self._read_portions(tasks, use_cache, decode)
                return
            except ChangedError:
                for file in _objects_of(tasks):
                    file.forget()

    def _attempts(self) -> Iterator[None]:
        """Yield for each attempt, after increasing random waits; raise `StorageError` after `RETRY_SECONDS` seconds."""
        for seconds in retry_waits():
            yield
            time.sleep(seconds)
        raise StorageError(
            f"{self.storage.where(self._path)} was replaced each time while it was read, for {RETRY_SECONDS:g} s: "
            "another program writes there. Try again later."
        )

    def _read_portions(
        self, tasks: Sequence[Task], use_cache: bool, decode: Callable[[Sequence[Task]], None]
    ) -> None:
        files = _objects_of(tasks)
        self._load_indexes(files)
        portions = list(self._portions(tasks))
        if len(portions) == 1:
            self._fetch_portion(portions[0], use_cache)
            decode(portions[0])
            return
        with ThreadPoolExecutor(1, "lamella-fetch") as ahead:
            next_portion = ahead.submit(self._fetch_portion, portions[0], use_cache)
            for number, portion in enumerate(portions, 1):
                next_portion.result()
                if number < len(portions):
                    next_portion = ahead.submit(self._fetch_portion, portions[number], use_cache)
                decode(portion)

    def _portions(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Split tasks into portions of limited size; two portions are in memory at a time."""
        portion: list[Task] = []
        size = 0
        for task in tasks:
            length = _as_object(task.file).encoded_length(task.number)
            if portion and size + length > PORTION:
                yield portion
                portion, size = [], 0
            portion.append(task)
            size += length
        yield portion

    def _load_indexes(self, files: Sequence[ChunkObject]) -> None:
        """Read the indexes of shards that are neither cached nor read whole, in one round."""
        layout = self.coding.index_layout
        without_index = [file for file in files if not file.is_whole and not file.use_cached_index()]
        if layout is None or not without_index:
            return
        at_once = max(1, PORTION // layout.size)
        for first in range(0, len(without_index), at_once):
            batch = without_index[first : first + at_once]
            results = self.storage.read_ranges([RangeRequest(file.key, (layout.span,)) for file in batch])
            for file, ranges_read in zip(batch, results, strict=True):
                if ranges_read is None:
                    file.is_missing = True
                else:
                    file.put_index(ranges_read.parts[0], ranges_read.stamp)

    def _fetch_portion(self, tasks: Sequence[Task], use_cache: bool) -> None:
        """Read the bytes of a portion, from one version of each object."""
        for _ in self._attempts():
            try:
                self._request(tasks, use_cache)
                return
            except ChangedError as error:
                changed = [file for file in _objects_of(tasks) if file.key in error.args] or _objects_of(
                    tasks
                )
                if any(file.is_decoding for file in changed):
                    raise  # chunks of the old content are decoded already
                for file in changed:
                    file.forget()
                self._load_indexes(changed)

    def _request(self, tasks: Sequence[Task], use_cache: bool) -> None:
        whole_files: list[ChunkObject] = []
        range_requests: list[tuple[ChunkObject, list[int], RangeRequest]] = []
        for file, file_tasks in _by_file(tasks):
            numbers = [
                task.number
                for task in file_tasks
                if not file.has(task.number, use_cache and task.view is None)
            ]
            request = file.request(numbers)
            if request is not None:
                range_requests.append((file, numbers, request))
            elif numbers:
                whole_files.append(file)
        bodies, results = self._read_both(
            [file.key for file in whole_files], [request for _, _, request in range_requests]
        )
        deleted = [
            file.key for (file, _, _), read in zip(range_requests, results, strict=True) if read is None
        ]
        if deleted:  # they existed when their indexes or chunks were read
            raise ChangedError(*deleted)
        for file in whole_files:
            file.put_body(bodies[file.key])
        for (file, numbers, _), ranges_read in zip(range_requests, results, strict=True):
            assert ranges_read is not None
            file.put_chunks(numbers, ranges_read)
        for file in _objects_of(tasks):
            file.is_decoding = True

    def _read_both(
        self, keys: list[str], requests: list[RangeRequest]
    ) -> tuple[Mapping[str, tuple[bytes, Stamp | None] | None], list[RangesRead | None]]:
        """Request whole objects and ranges of others in one round."""
        if not keys or not requests:
            return (
                self.storage.read_chunks(keys) if keys else {},
                self.storage.read_ranges(requests) if requests else [],
            )
        with ThreadPoolExecutor(1, "lamella-fetch") as other_thread:
            bodies = other_thread.submit(self.storage.read_chunks, keys)
            ranges = self.storage.read_ranges(requests)
            return bodies.result(), ranges

    def load_chunk(self, file: ChunkObject, number: int) -> None:
        """Read one chunk, or the whole object where it is read whole."""
        self._load_indexes([file])
        self._request([Task(file, number, file.key, [], None)], use_cache=False)

    # ---- writing --------------------------------------------------------------------------------

    def write(
        self, files: Iterator[FileChange], encode: Callable[[Iterable[FileChange]], EncodedChunks]
    ) -> None:
        """Write objects, many at once; the next ones are encoded meanwhile."""
        batches = self._batches(files)
        first_batches = list(islice(batches, 2))
        if len(first_batches) == 1:
            self._write_batch(first_batches[0], encode)
            return
        with ThreadPoolExecutor(2, "lamella-write") as writers:
            running_writes: deque[Future[None]] = deque()
            for batch in chain(first_batches, batches):
                if len(running_writes) == 2:
                    running_writes.popleft().result()
                running_writes.append(writers.submit(self._write_batch, batch, encode))
            for batch_write in running_writes:
                batch_write.result()

    def _batches(self, files: Iterator[FileChange]) -> Iterator[list[FileChange]]:
        """Split a write into batches of limited size; two batches are in memory at a time."""
        batch: list[FileChange] = []
        size = 0
        for file in files:
            length = (len(file.parts) + len(file.copied)) * self.coding.nbytes
            if batch and (size + length > PORTION or len(batch) == _MAX_OBJECTS_AT_ONCE):
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += length
        yield batch

    def _write_batch(
        self, files: list[FileChange], encode: Callable[[Iterable[FileChange]], EncodedChunks]
    ) -> None:
        """Write some objects; those that another program changed meanwhile are read, changed and written again."""
        for _ in self._attempts():
            try:
                self._read_old_objects([file for file in files if not file.is_covered])
                changes = [
                    (file, self._encoded_object(file, chunks))
                    for file, chunks in groupby(encode(files), itemgetter(0))
                ]
            except ChangedError:
                changed = files
            else:
                changed = self._write_objects(changes)
            if not changed:
                return
            files = changed

    def _read_old_objects(self, files: Sequence[FileChange]) -> None:
        """Read the objects that are changed in part, in one round; then again those with a damaged index."""
        for file in files:
            file.old = ChunkObject(self, join(self._path, file.key), is_whole=True, chunk_count=1)
        objects = [_as_object(file.old) for file in files]
        for requested in (objects, [chunk_object for chunk_object in objects if chunk_object.is_damaged]):
            bodies = (
                self.storage.read_many([chunk_object.key for chunk_object in requested]) if requested else {}
            )
            for chunk_object in requested:
                chunk_object.put_body(bodies[chunk_object.key])

    def _encoded_object(self, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> bytes:
        if self.coding.index_layout is None:
            ((_, _, data),) = chunks
            return data
        memory = MemoryFile()
        shard = ShardFile(lambda: memory, self.coding.index_layout)
        fill_shard(shard, file, chunks)
        shard.commit()
        return memory.data()

    def _write_objects(self, changes: Sequence[tuple[FileChange, bytes]]) -> list[FileChange]:
        """Write objects; return those that another program changed meanwhile, unwritten."""
        self.storage.write_many(
            (join(self._path, file.key), data) for file, data in changes if file.is_covered
        )
        replacements = [
            Replacement(_as_object(file.old).key, data, _as_object(file.old).version, not file.old.is_missing)
            for file, data in changes
            if not file.is_covered
        ]
        changed = self.storage.write_back(replacements) if replacements else []
        for file, _ in changes:
            indexes.drop(self.storage.where(join(self._path, file.key)))
        return [file for file, _ in changes if not file.is_covered and _as_object(file.old).key in changed]


def _as_object(file: ArrayFile) -> ChunkObject:
    assert isinstance(file, ChunkObject)
    return file


def _by_file(tasks: Sequence[Task]) -> Iterator[tuple[ChunkObject, list[Task]]]:
    for file, file_tasks in groupby(tasks, attrgetter("file")):
        yield file, list(file_tasks)


def _objects_of(tasks: Sequence[Task]) -> list[ChunkObject]:
    return list(dict.fromkeys(_as_object(task.file) for task in tasks))


class ChunkObject:
    """One object, requested by its source; safe for threads once its bytes have arrived.

    With ``is_whole`` the object is requested whole. After ``chunk_count`` chunks were read its bytes are dropped.
    """

    can_read_again = False

    def __init__(self, source: ObjectSource, key: str, *, is_whole: bool, chunk_count: int) -> None:
        self._source = source
        self.key = key
        self.path = source.storage.where(key)
        self.is_whole = is_whole
        self._chunk_count = chunk_count
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self.is_missing = False
        #: Whether chunks of this version were returned for decoding.
        self.is_decoding = False
        self._remaining = self._chunk_count
        #: Stamp of the version that was read; None in stores without stamps.
        self.version: Stamp | None = None
        #: Whether index or chunk came from the cache, and no request has confirmed yet that the object is unchanged.
        self._needs_check = False
        self._damage: DamagedDataError | None = None
        self._entries: IndexEntries | None = None
        self._body: bytes | None = None
        self._chunk_bytes: dict[int, bytes] = {}
        self._cached: dict[int, DecodedChunk] = {}
        self._reread_chunks: set[int] = set()

    def forget(self) -> None:
        """Reset the object, and drop its cached index and chunk."""
        indexes.drop(self.path)
        if self._source.coding.index_layout is None:
            self._source.storage.decoded.drop((self.path, 0))
        self._reset()

    @property
    def _is_trusted(self) -> bool:
        """Whether this store handle has read this version before and does not ask for its stamp again."""
        trusted = self._source.storage.trusted
        return trusted is not None and trusted.get(self.path) == self.version

    def _remember_version(self) -> None:
        trusted = self._source.storage.trusted
        if trusted is not None and self.version is not None:
            if len(trusted) >= _MAX_TRUSTED_STAMPS:
                trusted.clear()
            trusted[self.path] = self.version

    @property
    def _cache_stamp(self) -> Stamp | None:
        """Stamp for cached data; None where another version may have an equal stamp."""
        is_time = self.version is not None and str(self.version[0]).startswith("time ")  # in whole seconds
        return None if is_time else self.version

    @property
    def stamp(self) -> Stamp | None:
        """Stamp for cached chunks, which includes the coding."""
        return None if self._cache_stamp is None else (*self._cache_stamp, self._source.coding.identity)

    @property
    def is_damaged(self) -> bool:
        """Whether the shard's index is damaged."""
        return self._damage is not None

    # ---- called by the source -------------------------------------------------------------------

    def use_cached_index(self) -> bool:
        """Use the cached index if there is one; return whether no index needs to be requested."""
        if self.is_missing or self._damage is not None or self._entries is not None:
            return True
        cached = indexes.last(self.path) if self._source.storage.has_stamps else None
        if cached is None or cached[0][-1] != hash(self._source.coding.index_layout):
            return False
        self.version, self._entries = cached[0][:-1], cached[1]
        self._needs_check = not self._is_trusted
        return True

    def put_index(self, data: bytes, stamp: Stamp | None) -> None:
        """Parse and cache the index of the shard."""
        layout = self._source.coding.index_layout
        assert layout is not None
        self.version, self._damage = stamp, None
        self._remember_version()
        try:
            self._entries = decode_index(data, layout, self.path)
        except DamagedDataError as error:
            self._damage = error
            return
        if self._cache_stamp is not None:
            indexes.put(self.path, (*self._cache_stamp, hash(layout)), self._entries)

    def put_body(self, body_and_stamp: tuple[bytes, Stamp | None] | None) -> None:
        """Accept the bytes and the stamp of the whole object, None for a missing one."""
        if body_and_stamp is None:
            self.is_missing = True
            return
        self._body, self.version = body_and_stamp
        self._remember_version()
        layout = self._source.coding.index_layout
        if layout is not None:
            self.put_index(
                self._body[-layout.size :] if layout.at_end else self._body[: layout.size], self.version
            )

    def put_chunks(self, numbers: Sequence[int], ranges_read: RangesRead) -> None:
        """Accept the bytes of some chunks."""
        self._needs_check = False
        self._remember_version()
        stored_numbers = [number for number in numbers if self._span(number) is not None]
        self._chunk_bytes.update(zip(stored_numbers, ranges_read.parts, strict=True))

    def has(self, number: int, use_cache: bool) -> bool:
        """Whether a chunk needs no request: its bytes arrived, it is cached, or it was never written."""
        if self.is_missing or self._damage is not None or self._body is not None:
            return True
        cache = self._source.storage.decoded
        use_cache = use_cache and self._source.storage.has_stamps
        if self._source.coding.index_layout is None:
            cached = cache.last((self.path, number)) if use_cache else None
            if cached is None or cached[0][-1] != self._source.coding.identity:
                return False
            self.version = cached[0][:-1]
            self._needs_check = not self._is_trusted
            self._cached[number] = cached[1]
            return True
        if self._entries is None:
            return False
        if self._span(number) is None or number in self._chunk_bytes:
            return True
        chunk = None if self.stamp is None or not use_cache else cache.get((self.path, number), self.stamp)
        if chunk is not None:
            self._cached[number] = chunk
        return chunk is not None

    def request(self, numbers: Sequence[int]) -> RangeRequest | None:
        """Return the request for some chunks; None where none is needed.

        It has no ranges where only the stamp of cached chunks is checked.
        """
        if not self._needs_check and (self.is_whole or not numbers):
            return None
        spans = [self._span(number) for number in numbers]
        return RangeRequest(self.key, tuple(span for span in spans if span is not None), self.version)

    def encoded_length(self, number: int) -> int:
        """Return an upper estimate of the encoded bytes of a chunk."""
        if self.is_whole:
            return self._source.coding.nbytes
        span = None if self._entries is None else self._span(number)
        return 0 if span is None else span[1]

    # ---- called by the engine -------------------------------------------------------------------

    def decoded(self, number: int) -> DecodedChunk | None:
        return self._cached.get(number)

    def cache_chunk(self, number: int, chunk: DecodedChunk) -> None:
        if self.stamp is not None:
            self._source.storage.decoded.put((self.path, number), self.stamp, chunk)

    def chunk(self, number: int) -> bytes | memoryview | None:
        if self.is_missing:
            return None
        if self._damage is not None:
            raise self._damage
        if self._source.coding.index_layout is None:
            return self._body
        span = self._span(number)
        if span is None:
            return None
        data = self._chunk_bytes.pop(number) if number in self._chunk_bytes else self.read(*span)
        if len(data) < span[1]:
            raise DamagedDataError(
                f"{self.path} is cut off: its index places a chunk at {span[0]} to {sum(span)}, and "
                f"{span[1] - len(data)} bytes of it are missing."
            )
        return data

    def read_again(self, number: int) -> bool:
        """Request a chunk that cannot be decoded once more, with its index; return False on the second call."""
        with self._lock:
            if number in self._reread_chunks:
                return False
            self._reread_chunks.add(number)
        indexes.drop(self.path)
        span = None if self._entries is None else self._span(number)
        self._source.storage.drop_cached(self.key, self.version, () if span is None else (span,))
        new_object = ChunkObject(self._source, self.key, is_whole=self.is_whole, chunk_count=1)
        self._source.load_chunk(new_object, number)
        if new_object.version != self.version:
            raise ChangedError(self.key)
        with self._lock:
            self.is_missing, self._damage, self._entries = (
                new_object.is_missing,
                new_object._damage,
                new_object._entries,
            )
            self._body = new_object._body if self.is_whole else self._body
            self._chunk_bytes.update(new_object._chunk_bytes)
        return True

    def spans(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        if self.is_missing:
            return {}
        if self._damage is not None:
            raise self._damage
        spans = ((number, self._span(number)) for number in numbers)
        return {number: span for number, span in spans if span is not None}

    def read(self, start: int, length: int) -> memoryview:
        assert self._body is not None
        return memoryview(self._body)[start : start + length]

    def count_read(self) -> None:
        with self._lock:
            self._remaining -= 1
            if not self._remaining:
                self.close()

    def close(self) -> None:
        """Drop the bytes."""
        self._body, self._chunk_bytes, self._cached = None, {}, {}

    def _span(self, number: int) -> tuple[int, int] | None:
        assert self._entries is not None
        start, length = self._entries[number].tolist()
        return None if start == length == NO_CHUNK else (start, length)
