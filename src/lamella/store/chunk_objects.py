"""The objects of an array in a store that answers requests: chunks are asked for many at once, before they are decoded.

A selection takes two rounds of requests where it meets shards: their indexes, then the ranges of chunks. One where the
indexes are kept, or whole shards are wanted: these come whole. What is kept of an object is kept with its stamp, and
ranges are asked for with that stamp, so that the index of an old shard is never used for a new one; in stores without
stamps nothing is kept.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

from lamella.errors import DamagedDataError, StorageError
from lamella.store.chunk_cache import indexes
from lamella.store.chunk_source import Task
from lamella.store.keys import join
from lamella.store.shard_file import MemoryFile, ShardFile, fill_shard
from lamella.store.shard_index import NO_CHUNK, decode_index
from lamella.store.storage import ChangedError, RangeRequest, Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.chunk_files import Entries
    from lamella.store.chunk_source import Chunks, Encoded, FileChange
    from lamella.store.coding import Coding
    from lamella.store.storage import RangesRead, Stamp, Storage
    from lamella.types import Array, Shape

PORTION: Final = 128 << 20
"""Encoded bytes that are asked for at once; while they are decoded, the next come."""

_BATCH = 128
"""Objects that are written at once, at most."""

_MOST_TRUSTED = 100_000
"""Objects of which a handle remembers what it has read."""

_PATIENCE = 60.0
"""Seconds for which what another program replaces again and again is read again."""


class ObjectSource:
    """The objects of an array, as a `ChunkSource`.

    Parameters
    ----------
    storage, path
        Where the array is.
    meta, coding
        What its document says.
    """

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta, coding: Coding) -> None:
        self.storage = storage
        self.coding = coding
        self._path = path
        self._meta = meta

    def open(self, key: str, place: Shape, numbers: Collection[int]) -> ChunkObject:
        """Return an object of which nothing was asked for yet."""
        uses = len(numbers)
        is_whole = self.coding.index is None or (
            uses * self.coding.nbytes <= PORTION and uses == self._meta.chunks_in(place)
        )
        return ChunkObject(self, join(self._path, key), is_whole=is_whole, uses=uses)

    def decoded(self, key: str, number: int) -> Array | None:
        """Return None: a look is a request."""
        del key, number
        return None

    def read(self, tasks: Sequence[Task], keeps: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        """Ask for the chunks, and have those decoded that came while the others come."""
        for _ in self._tries():
            try:
                self._read(tasks, keeps, decode)
                return
            except ChangedError:
                for file in _files(tasks):
                    file.forget()

    def _tries(self) -> Iterator[None]:
        """Yield for each try, without a wait at first, then after longer and longer ones.

        Raises
        ------
        StorageError
            Another program has replaced what is read each time, for as long as anybody waits.
        """
        began, longest = time.monotonic(), 0.0
        while time.monotonic() - began <= _PATIENCE:
            yield
            time.sleep(random.uniform(0, longest))
            longest = min(1, 2 * longest + 0.02)
        raise StorageError(
            f"{self.storage.where(self._path)} was replaced each time while it was read, for {_PATIENCE:g} s: another "
            "program writes there. Try again later."
        )

    def _read(self, tasks: Sequence[Task], keeps: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        files = _files(tasks)
        self._load_indexes(files)
        portions = list(self._portions(tasks))
        if len(portions) == 1:
            self._fetch(portions[0], keeps)
            decode(portions[0])
            return
        with ThreadPoolExecutor(1, "lamella-fetch") as ahead:
            coming = ahead.submit(self._fetch, portions[0], keeps)
            for number, portion in enumerate(portions, 1):
                coming.result()
                if number < len(portions):
                    coming = ahead.submit(self._fetch, portions[number], keeps)
                decode(portion)

    def _portions(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Cut tasks so that the bytes of one portion, and of the one before, are in memory."""
        portion: list[Task] = []
        size = 0
        for task in tasks:
            length = _object(task.file).length(task.number)
            if portion and size + length > PORTION:
                yield portion
                portion, size = [], 0
            portion.append(task)
            size += length
        yield portion

    def _load_indexes(self, files: Sequence[ChunkObject]) -> None:
        """Read the indexes of the shards that are not wanted whole, all at once but for those that are kept."""
        form = self.coding.index
        wanted = [file for file in files if not file.is_whole and not file.find_index()]
        if form is None or not wanted:
            return
        ranges = ((-form.size if form.at_end else 0, form.size),)
        at_once = max(1, PORTION // form.size)
        for first in range(0, len(wanted), at_once):
            some = wanted[first : first + at_once]
            came = self.storage.read_ranges([RangeRequest(file.key, ranges) for file in some])
            for file, found in zip(some, came, strict=True):
                if found is None:
                    file.is_missing = True
                else:
                    file.put_index(found.parts[0], found.stamp)

    def _fetch(self, tasks: Sequence[Task], keeps: bool) -> None:
        """Read the bytes of a portion, of one content of each object."""
        for _ in self._tries():
            try:
                self._ask(tasks, keeps)
                return
            except ChangedError as error:
                changed = [file for file in _files(tasks) if file.key in error.args] or _files(tasks)
                if any(file.is_begun for file in changed):
                    raise  # chunks of the old content are decoded already
                for file in changed:
                    file.forget()
                self._load_indexes(changed)

    def _ask(self, tasks: Sequence[Task], keeps: bool) -> None:
        whole: list[ChunkObject] = []
        parts: list[tuple[ChunkObject, list[int], RangeRequest]] = []
        for file, of_file in _by_file(tasks):
            wanted = [
                task.number for task in of_file if not file.has(task.number, keeps and task.view is None)
            ]
            request = file.request(wanted)
            if request is not None:
                parts.append((file, wanted, request))
            elif wanted:
                whole.append(file)
        bodies, came = self._read_both([file.key for file in whole], [request for _, _, request in parts])
        for file in whole:
            file.put_body(bodies[file.key])
        for (file, wanted, _), found in zip(parts, came, strict=True):
            file.put_chunks(wanted, found)
        for file in _files(tasks):
            file.is_begun = True

    def _read_both(
        self, keys: list[str], requests: list[RangeRequest]
    ) -> tuple[dict[str, tuple[bytes, Stamp | None] | None], list[RangesRead | None]]:
        """Ask for whole objects and for ranges of others in one round."""
        if not keys or not requests:
            return (
                self.storage.read_many(keys) if keys else {},
                self.storage.read_ranges(requests) if requests else [],
            )
        with ThreadPoolExecutor(1, "lamella-fetch") as other:
            whole = other.submit(self.storage.read_many, keys)
            ranges = self.storage.read_ranges(requests)
            return whole.result(), ranges

    def load_one(self, file: ChunkObject, number: int) -> None:
        """Read one chunk, or the whole object where it is asked for whole."""
        self._load_indexes([file])
        self._ask([Task(file, number, file.key, [], None)], keeps=False)

    # ---- writing --------------------------------------------------------------------------------

    def write(self, files: Iterator[FileChange], encoded: Callable[[Iterable[FileChange]], Encoded]) -> None:
        """Write objects, many at once: while some are on their way, the next are encoded."""
        batches = self._batches(files)
        first = list(islice(batches, 2))
        if len(first) == 1:
            self._write(first[0], encoded)
            return
        with ThreadPoolExecutor(2, "lamella-write") as writers:
            under_way: deque[Future[None]] = deque()
            for batch in chain(first, batches):
                if len(under_way) == 2:
                    under_way.popleft().result()
                under_way.append(writers.submit(self._write, batch, encoded))
            for one in under_way:
                one.result()

    def _batches(self, files: Iterator[FileChange]) -> Iterator[list[FileChange]]:
        """Cut a write so that the bytes of two batches are in memory."""
        batch: list[FileChange] = []
        size = 0
        for file in files:
            length = (len(file.parts) + len(file.others)) * self.coding.nbytes
            if batch and (size + length > PORTION or len(batch) == _BATCH):
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += length
        yield batch

    def _write(self, files: list[FileChange], encoded: Callable[[Iterable[FileChange]], Encoded]) -> None:
        """Write some objects; what was changed meanwhile by another program is read and changed once more."""
        for _ in self._tries():
            try:
                self._open_old([file for file in files if not file.is_replaced])
                changes = [
                    (file, self._assembled(file, chunks))
                    for file, chunks in groupby(encoded(files), itemgetter(0))
                ]
            except ChangedError:
                changed = files
            else:
                changed = self._store(changes)
            if not changed:
                return
            files = changed

    def _open_old(self, files: Sequence[FileChange]) -> None:
        """Read the objects that are changed in part, all at once; once more where an index is damaged."""
        for file in files:
            file.old = ChunkObject(self, join(self._path, file.key), is_whole=True, uses=1)
        objects = [_object(file.old) for file in files]
        for wanted in (objects, [one for one in objects if one.is_damaged]):
            bodies = self.storage.read_many([one.key for one in wanted]) if wanted else {}
            for one in wanted:
                one.put_body(bodies[one.key])

    def _assembled(self, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> bytes:
        if self.coding.index is None:
            ((_, _, data),) = chunks
            return data
        memory = MemoryFile()
        shard = ShardFile(lambda: memory, self.coding.index)
        fill_shard(shard, file, chunks)
        shard.commit()
        return memory.data()

    def _store(self, changes: Sequence[tuple[FileChange, bytes]]) -> list[FileChange]:
        """Write objects; returns those that were changed meanwhile, which stay as they are."""
        self.storage.write_many(
            (join(self._path, file.key), data) for file, data in changes if file.is_replaced
        )
        replacements = [
            Replacement(_object(file.old).key, data, _object(file.old).content, not file.old.is_missing)
            for file, data in changes
            if not file.is_replaced
        ]
        changed = self.storage.write_back(replacements) if replacements else []
        for file, _ in changes:
            indexes.drop(self.storage.where(join(self._path, file.key)))
        return [file for file, _ in changes if not file.is_replaced and _object(file.old).key in changed]


def _object(file: Chunks) -> ChunkObject:
    assert isinstance(file, ChunkObject)
    return file


def _by_file(tasks: Sequence[Task]) -> Iterator[tuple[ChunkObject, list[Task]]]:
    """Yield each object with its tasks."""
    for file, of_file in groupby(tasks, attrgetter("file")):
        yield file, list(of_file)


def _files(tasks: Sequence[Task]) -> list[ChunkObject]:
    return list(dict.fromkeys(_object(task.file) for task in tasks))


class ChunkObject:
    """One object, whose bytes are asked for by its source; safe for threads once they have come.

    Parameters
    ----------
    source, key
        Where it is: the whole key in the store.
    is_whole
        Whether it is asked for whole: a single chunk, or a shard of which all is wanted.
    uses
        How many chunks will be asked for: after the last of them its bytes are dropped.
    """

    def __init__(self, source: ObjectSource, key: str, *, is_whole: bool, uses: int) -> None:
        self._source = source
        self.key = key
        self.path = source.storage.where(key)
        self.is_whole = is_whole
        self._uses = uses
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self.is_missing = False
        #: Whether chunks of it were handed out.
        self.is_begun = False
        self._left = self._uses
        #: Of what was read; None in stores without stamps.
        self.content: Stamp | None = None
        #: Whether the index was kept, so that nobody knows yet whether it still is the one of the object.
        self._is_unchecked = False
        self._damage: DamagedDataError | None = None
        self._entries: Entries | None = None
        self._body: bytes | None = None
        self._parts: dict[int, bytes] = {}
        self._kept: dict[int, Array] = {}
        self._read_twice: set[int] = set()

    def forget(self) -> None:
        """Begin anew, with nothing of what is kept of it."""
        indexes.drop(self.path)
        if self._source.coding.index is None:
            self._source.storage.decoded.drop((self.path, 0))
        self._reset()

    @property
    def _is_trusted(self) -> bool:
        """Whether the handle has read this content, and asks no more."""
        trusted = self._source.storage.trusted
        return trusted is not None and trusted.get(self.path) == self.content

    def _trust(self) -> None:
        trusted = self._source.storage.trusted
        if trusted is not None and self.content is not None:
            if len(trusted) >= _MOST_TRUSTED:
                trusted.clear()
            trusted[self.path] = self.content

    @property
    def _kept_as(self) -> Stamp | None:
        """What is kept of the object is kept for this; None where another content may have the same stamp."""
        is_time = self.content is not None and str(self.content[0]).startswith("time ")  # in whole seconds
        return None if is_time else self.content

    @property
    def stamp(self) -> Stamp | None:
        """Of what was read, for what it was decoded by."""
        return None if self._kept_as is None else (*self._kept_as, self._source.coding.identity)

    @property
    def is_damaged(self) -> bool:
        """Whether its index is damaged."""
        return self._damage is not None

    # ---- what the source asks for ---------------------------------------------------------------

    def find_index(self) -> bool:
        """Use the index that is kept; False where there is none, and none has come."""
        if self.is_missing or self._damage is not None or self._entries is not None:
            return True
        kept = indexes.last(self.path) if self._source.storage.has_stamps else None
        if kept is None or kept[0][-1] != hash(self._source.coding.index):
            return False
        self.content, self._entries = kept[0][:-1], kept[1]
        self._is_unchecked = not self._is_trusted
        return True

    def put_index(self, data: bytes, stamp: Stamp | None) -> None:
        """Store the index of the shard, which came."""
        form = self._source.coding.index
        assert form is not None
        self.content, self._damage = stamp, None
        self._trust()
        try:
            self._entries = decode_index(data, form, self.path)
        except DamagedDataError as error:
            self._damage = error
            return
        if self._kept_as is not None:
            indexes.put(self.path, (*self._kept_as, hash(form)), self._entries)

    def put_body(self, found: tuple[bytes, Stamp | None] | None) -> None:
        """Store the whole object, which came."""
        if found is None:
            self.is_missing = True
            return
        self._body, self.content = found
        self._trust()
        form = self._source.coding.index
        if form is not None:
            self.put_index(self._body[-form.size :] if form.at_end else self._body[: form.size], self.content)

    def put_chunks(self, numbers: Sequence[int], found: RangesRead | None) -> None:
        """Store the bytes of some chunks, which came."""
        self._is_unchecked = False
        if found is None:
            raise ChangedError(self.key)  # it was there when its index was read
        self._trust()
        stored = [number for number in numbers if self._place(number) is not None]
        self._parts.update(zip(stored, found.parts, strict=True))

    def has(self, number: int, may_be_kept: bool) -> bool:
        """Whether a chunk need not be asked for: it came, is kept, or is not stored."""
        if self.is_missing or self._damage is not None or self._body is not None:
            return True
        cache = self._source.storage.decoded
        may_be_kept = may_be_kept and self._source.storage.has_stamps
        if self._source.coding.index is None:
            kept = cache.last((self.path, number)) if may_be_kept else None
            if kept is None or kept[0][-1] != self._source.coding.identity:
                return False
            self.content = kept[0][:-1]
            self._is_unchecked = not self._is_trusted
            self._kept[number] = kept[1]
            return True
        if self._entries is None:
            return False
        if self._place(number) is None or number in self._parts:
            return True
        found = None if self.stamp is None or not may_be_kept else cache.get((self.path, number), self.stamp)
        if found is not None:
            self._kept[number] = found
        return found is not None

    def request(self, numbers: Sequence[int]) -> RangeRequest | None:
        """Return what is to be asked for, without ranges where the stamp alone is; None for the whole or nothing."""
        if not self._is_unchecked and (self.is_whole or not numbers):
            return None
        places = [self._place(number) for number in numbers]
        return RangeRequest(self.key, tuple(place for place in places if place is not None), self.content)

    def length(self, number: int) -> int:
        """Bytes that a chunk takes on its way, or less."""
        if self.is_whole:
            return self._source.coding.nbytes
        place = None if self._entries is None else self._place(number)
        return 0 if place is None else place[1]

    # ---- what the engine asks for ---------------------------------------------------------------

    def decoded(self, number: int) -> Array | None:
        """Return a chunk that is kept."""
        return self._kept.get(number)

    def keep(self, number: int, chunk: Array) -> None:
        """Keep a decoded chunk with the stamp of the object."""
        if self.stamp is not None:
            self._source.storage.decoded.put((self.path, number), self.stamp, chunk)

    def chunk(self, number: int) -> bytes | memoryview | None:
        """Return the bytes of one chunk that came, None where it was never written.

        Raises
        ------
        DamagedDataError
            The object ends before, or its index is damaged.
        """
        if self.is_missing:
            return None
        if self._damage is not None:
            raise self._damage
        if self._source.coding.index is None:
            return self._body
        place = self._place(number)
        if place is None:
            return None
        data = self._parts.pop(number) if number in self._parts else self.read(*place)
        if len(data) < place[1]:
            raise DamagedDataError(
                f"{self.path} is cut off: its index places a chunk at {place[0]} to {sum(place)}, and "
                f"{place[1] - len(data)} bytes of it are missing"
            )
        return data

    def read_again(self, number: int) -> bool:
        """Ask once more for a chunk that cannot be decoded, and its index: they may have been damaged on the way."""
        with self._lock:
            if number in self._read_twice:
                return False
            self._read_twice.add(number)
        indexes.drop(self.path)
        fresh = ChunkObject(self._source, self.key, is_whole=self.is_whole, uses=1)
        self._source.load_one(fresh, number)
        if fresh.content != self.content:
            raise ChangedError(self.key)
        with self._lock:
            self.is_missing, self._damage, self._entries = fresh.is_missing, fresh._damage, fresh._entries
            self._body = fresh._body if self.is_whole else self._body
            self._parts.update(fresh._parts)
        return True

    def places(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return where those of some chunks lie in the shard that are stored; it is there whole.

        Raises
        ------
        DamagedDataError
            Its index is damaged.
        """
        if self.is_missing:
            return {}
        if self._damage is not None:
            raise self._damage
        found = ((number, self._place(number)) for number in numbers)
        return {number: place for number, place in found if place is not None}

    def read(self, start: int, length: int) -> memoryview:
        """Return bytes of the object that is there whole; fewer where it ends before."""
        assert self._body is not None
        return memoryview(self._body)[start : start + length]

    def done(self) -> None:
        """Count one chunk as used."""
        with self._lock:
            self._left -= 1
            if not self._left:
                self.close()

    def close(self) -> None:
        """Drop the bytes."""
        self._body, self._parts, self._kept = None, {}, {}

    def _place(self, number: int) -> tuple[int, int] | None:
        assert self._entries is not None
        start, length = self._entries[number].tolist()
        return None if start == length == NO_CHUNK else (start, length)
