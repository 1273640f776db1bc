"""Our own engine: pixels straight from and to the files of a local store, where we know the codecs.

Each chunk is decoded once for a call, whoever needs it, on the threads of the process; those that a call needs in part
are kept (`chunk_cache`), and a file is looked at before what is kept of it is used. A file that a write covers whole is
replaced without being read; of the others the chunks that a write covers in part are read, changed and written, and
the rest of a shard is copied as it is. Every file takes its place in one step.

Layer: store.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.chunk_files import ChunkFile, stamp_of_chunks
from lamella.store.chunk_parts import Part, parts_by_file
from lamella.store.codec_threads import codec_threads, cpus, is_codec_thread
from lamella.store.coding import ChunkError, Coding
from lamella.store.keys import join
from lamella.store.misplaced import MisplacedError, MissingChunks
from lamella.store.shard_file import ShardFile

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.engine import EngineName
    from lamella.store.local import LocalStorage
    from lamella.store.selection import Selection
    from lamella.store.shard_index import IndexForm
    from lamella.types import Array, Shape

#: Where values go: an array, the index of them in the chunk, and their index in the array.
Use: TypeAlias = "tuple[Array, tuple[Any, ...], tuple[Any, ...]]"


class Task(NamedTuple):
    """A chunk to decode: its file, its number there, the file's key below the array, and who uses it."""

    file: ChunkFile
    number: int
    key: str
    uses: list[Use]


@dataclass(frozen=True, eq=False)
class Target:
    """A file to write.

    Attributes
    ----------
    key
        Below the array.
    old
        What is there now.
    others
        Numbers of the chunks that stay as they are; none where the file is replaced without being read.
    """

    key: str
    old: ChunkFile
    others: frozenset[int]


class DamagedFileError(ValueError):
    """A file cannot be decoded; `key` is its key below the array."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class FilesEngine:
    """An array whose chunks are files, coded in a way that we know.

    Parameters
    ----------
    storage, path
        Where the array is.
    meta, coding
        What its document says.
    """

    name: EngineName = "files"
    errors: tuple[type[Exception], ...] = (DamagedFileError, OSError)

    def __init__(self, storage: LocalStorage, path: str, meta: ArrayMeta, coding: Coding) -> None:
        self._storage = storage
        self._path = path
        self._meta = meta
        self._coding = coding
        self._cache = storage.decoded
        #: Bytes of the chunks of one call that are kept at most: what streams through would drive all others out.
        self._most_kept = self._cache.limit // 4
        self._missing = MissingChunks(storage, path, meta)
        self._per_file = 1 if coding.index is None else math.prod(coding.index.chunks)

    def system_fault(self, error: Exception) -> OSError | None:
        """Tell by the type."""
        return error if isinstance(error, OSError) else None

    # ---- reading --------------------------------------------------------------------------------

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection meets, each once."""
        if out is None:
            out = np.empty(selection.shape, self._meta.dtype)
        files = list(parts_by_file(self._meta, selection))
        if len(files) == len(files[0][1]) == 1:
            self._read_one(files[0][0], files[0][1][0], out)
            return out
        self._run(
            self._tasks(place, {part.number: [(out, part.inside, part.where)] for part in parts})
            for place, parts in files
        )
        return out

    def read_many(self, wanted: Sequence[tuple[Selection, Array]]) -> None:
        """Fill a block for each selection; a chunk that several of them meet is decoded once."""
        files: dict[Shape, dict[int, list[Use]]] = {}
        for selection, block in wanted:
            for place, parts in parts_by_file(self._meta, selection):
                uses = files.setdefault(place, {})
                for part in parts:
                    uses.setdefault(part.number, []).append((block, part.inside, part.where))
        self._run(self._tasks(place, dict(sorted(uses.items()))) for place, uses in files.items())

    def _tasks(self, place: Shape, uses: dict[int, list[Use]]) -> list[Task]:
        key = self._meta.chunk_key(place)
        file = self._file(key, len(uses))
        return [Task(file, number, key, users) for number, users in uses.items()]

    def _file(self, key: str, uses: int) -> ChunkFile:
        return ChunkFile(
            self._storage, join(self._path, key), self._coding.index, uses, self._coding.identity
        )

    def _read_one(self, place: Shape, part: Part, out: Array) -> None:
        """Read from one chunk: one look at the file where the chunk is kept, and no other thread where none must."""
        key = self._meta.chunk_key(place)
        if not part.is_whole and self._coding.nbytes <= self._most_kept:
            whole = join(self._path, key)
            found = self._storage.seen(whole)
            if found is not None:
                stamp = stamp_of_chunks(found, self._coding.identity)
                chunk = self._cache.get((f"{self._storage.root}/{whole}", part.number), stamp)
                if chunk is not None:
                    out[(*part.where, ...)] = chunk[part.inside]
                    return
        self._run([self._tasks(place, {part.number: [(out, part.inside, part.where)]})])

    def _run(self, by_file: Iterable[list[Task]]) -> None:
        tasks = list(itertools.chain.from_iterable(by_file))
        keeps = len(tasks) * self._coding.nbytes <= self._most_kept
        left = deque(tasks)
        is_worker = not self._coding.needs_thread
        count = 0 if is_codec_thread() else min(cpus(), len(tasks)) - is_worker
        running = [codec_threads().submit(self._drain, left, keeps) for _ in range(count)]
        try:
            if is_worker:
                self._drain(left, keeps)
            for one in running:
                if not (is_worker and one.cancel()):
                    one.result()
        finally:
            left.clear()
            wait([one for one in running if not one.cancel()])
            for task in tasks:
                task.file.close()

    def _drain(self, left: deque[Task], keeps: bool) -> None:
        """Do tasks until none is left; memory for what is not kept is used for all of them."""
        scratch = None
        while True:
            try:
                task = left.popleft()
            except IndexError:
                return
            try:
                scratch = self._fill(task, scratch, keeps)
            except BaseException:
                left.clear()
                raise

    def _fill(self, task: Task, scratch: Array | None, keeps: bool) -> Array | None:
        """Do one task; returns the memory for decoding, to be used again."""
        file, number, key, uses = task
        try:
            view = self._whole(uses)
            if view is not None:
                data = file.chunk(number)
                found = None if data is None else self._coding.decode(data, view)
                if found is not None and found is not view:
                    view[...] = found
            else:
                found, scratch = self._chunk(file, number, scratch, keeps)
                if found is not None:
                    for block, inside, where in uses:
                        block[(*where, ...)] = found[inside]
            if found is None:
                if file.is_missing:
                    self._missing.note()
                for block, _, where in uses:
                    block[(*where, ...)] = self._meta.fill_value
        except MisplacedError:
            raise
        except (ChunkError, DamagedDataError) as error:
            raise DamagedFileError(key, error) from error
        finally:
            file.done()
        return scratch

    def _chunk(
        self, file: ChunkFile, number: int, scratch: Array | None, keeps: bool
    ) -> tuple[Array | None, Array | None]:
        """Return a chunk out of the cache or the file, None where it was never written; and memory to use again."""
        if not file.is_open():
            return None, scratch
        stamp = file.stamp if keeps else None
        if stamp is not None:
            kept = self._cache.get((file.path, number), stamp)
            if kept is not None:
                return kept, scratch
        data = file.chunk(number)
        if data is None:
            return None, scratch
        if stamp is None:
            scratch = self._coding.scratch() if scratch is None else scratch
            return self._coding.decode(data, scratch), scratch
        found = self._coding.decode(data, self._coding.scratch())
        self._cache.put((file.path, number), stamp, found)
        return found, scratch

    def _whole(self, uses: list[Use]) -> Array | None:
        """Return the part of the only user's block that a chunk can be decoded into, without a copy."""
        block, inside, where = uses[0]
        if len(uses) > 1 or not all(isinstance(one, slice) for one in inside):
            return None
        view: Array = block[(*where, ...)]
        return view if self._coding.accepts(view) else None

    # ---- writing --------------------------------------------------------------------------------

    def write(self, selection: Selection, block: Array) -> None:
        """Encode the chunks that a selection meets on several threads, and write each file as its chunks come.

        Who calls keeps other writers of the files that are not covered whole away.
        """
        targets: deque[Target] = deque()
        encoded = self._encoded(self._parts(selection, targets), block)
        try:
            for target, chunks in itertools.groupby(encoded, key=itemgetter(0)):
                if self._coding.index is not None:
                    self._write_shard(target, chunks, self._coding.index)
                else:
                    for _, _, data in chunks:
                        target.old.close()
                        self._storage.write(join(self._path, target.key), data)
                targets.popleft()
        finally:
            encoded.close()
            for target in targets:
                target.old.close()

    def _parts(self, selection: Selection, targets: deque[Target]) -> Iterator[tuple[Target, Part]]:
        """Yield the parts of a write with the file of each; the files are added to the targets."""
        for place, parts in parts_by_file(self._meta, selection):
            key = self._meta.chunk_key(place)
            numbers = {part.number for part in parts}
            is_replaced = all(part.is_whole for part in parts) and len(parts) == self._count(place)
            others = frozenset() if is_replaced else frozenset(range(self._per_file)) - numbers
            target = Target(key, self._file(key, len(parts)), others)
            targets.append(target)
            for part in parts:
                yield target, part

    def _count(self, place: Shape) -> int:
        """Count the chunks of a file that lie in the array."""
        meta = self._meta
        return math.prod(
            -(-min(f, n - k * f) // c)
            for k, n, f, c in zip(place, meta.shape, meta.files, meta.chunks, strict=True)
        )

    def _encoded(
        self, parts: Iterator[tuple[Target, Part]], block: Array
    ) -> Generator[tuple[Target, int, bytes], None, None]:
        """Encode chunks ahead of those that are asked for, in order."""
        first = list(itertools.islice(parts, 2))
        every = itertools.chain(first, parts)
        if is_codec_thread() or (len(first) == 1 and not self._coding.needs_thread):
            for target, part in every:
                yield target, part.number, self._encode(target, part, block)
            return
        ahead: deque[tuple[Target, int, Future[bytes]]] = deque()
        try:
            for target, part in every:
                ahead.append((target, part.number, codec_threads().submit(self._encode, target, part, block)))
                if len(ahead) > 2 * cpus():
                    yield _result(*ahead.popleft())
            while ahead:
                yield _result(*ahead.popleft())
        finally:
            wait([future for _, _, future in ahead])

    def _encode(self, target: Target, part: Part, block: Array) -> bytes:
        """Encode one chunk, with the values that are there now where not all of them are written."""
        values = block[(*part.where, ...)]
        if part.is_whole:
            return self._coding.encode(values)
        try:
            data = target.old.chunk(part.number)
            chunk = self._coding.scratch()
            found = chunk if data is None else self._coding.decode(data, chunk)
        except MisplacedError:
            raise
        except (ChunkError, DamagedDataError) as error:
            raise DamagedFileError(target.key, error) from error
        if data is None:
            chunk[...] = self._meta.fill_value
        elif found is not chunk:
            chunk[...] = found
        chunk[part.inside] = values
        return self._coding.encode(chunk)

    def _write_shard(
        self, target: Target, chunks: Iterable[tuple[Target, int, bytes]], form: IndexForm
    ) -> None:
        file = ShardFile(self._storage, join(self._path, target.key), form)
        try:
            for _, number, data in chunks:
                file.add(number, data)
            if target.others:
                file.keep(target.old, target.others)
            target.old.close()
            file.commit()
        except BaseException as error:
            file.discard()
            if isinstance(error, DamagedDataError) and not isinstance(error, MisplacedError):
                raise DamagedFileError(target.key, error) from error
            raise


def _result(target: Target, number: int, future: Future[bytes]) -> tuple[Target, int, bytes]:
    return target, number, future.result()
