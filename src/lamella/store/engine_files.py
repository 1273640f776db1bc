"""Our own engine: pixels straight from and to the files or objects of a store, where we know the codecs.

Where the bytes come from and go is the business of a `ChunkSource`: ``chunk_files`` of a folder, ``chunk_objects`` of
any other store. Each chunk is decoded once for a call, whoever needs it, on the threads of the process; those that a
call needs in part are kept (`chunk_cache`), and a file is looked at before what is kept of it is used. A file that a
write covers whole is replaced without being read; of the others the chunks that a write covers in part are read,
changed and written, and the rest of a shard is copied as it is. Every file takes its place in one step.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.chunk_parts import Part, parts_by_file
from lamella.store.chunk_source import DamagedFileError, FileChange, Task
from lamella.store.codec_threads import codec_threads, cpus, is_codec_thread
from lamella.store.coding import ChunkError, Coding
from lamella.store.misplaced import MisplacedError, MissingChunks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.chunk_source import Chunks, ChunkSource, Use
    from lamella.store.engine import EngineName
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape


class FilesEngine:
    """An array whose chunks are files, coded in a way that we know.

    Parameters
    ----------
    storage, path
        Where the array is.
    meta, coding
        What its document says.
    source
        Where its chunks come from.
    """

    name: EngineName = "files"
    errors: tuple[type[Exception], ...] = (DamagedFileError, OSError)

    def __init__(
        self, storage: Storage, path: str, meta: ArrayMeta, coding: Coding, source: ChunkSource
    ) -> None:
        self._meta = meta
        self._coding = coding
        self._source = source
        #: Bytes of the chunks of one call that are kept at most: what streams through would drive all others out.
        self._most_kept = storage.decoded.limit // 4
        self._missing = MissingChunks(storage, path, meta)
        self._per_file = 1 if coding.index is None else math.prod(coding.index.chunks)

    def system_fault(self, error: Exception) -> OSError | None:
        """Return an error of the system, by its type."""
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
        file = self._source.open(key, place, uses)
        return [Task(file, number, key, users, self._view(users)) for number, users in uses.items()]

    def _view(self, uses: list[Use]) -> Array | None:
        """Return the part of the only user's block that a chunk can be decoded into, without a copy."""
        block, inside, where = uses[0]
        if len(uses) > 1 or not all(isinstance(one, slice) for one in inside):
            return None
        view: Array = block[(*where, ...)]
        return view if self._coding.accepts(view) else None

    def _read_one(self, place: Shape, part: Part, out: Array) -> None:
        """Read from one chunk: one look at the file where the chunk is kept, and no other thread where none must."""
        if not part.is_whole and self._coding.nbytes <= self._most_kept:
            chunk = self._source.decoded(self._meta.chunk_key(place), part.number)
            if chunk is not None:
                out[(*part.where, ...)] = chunk[part.inside]
                return
        self._run([self._tasks(place, {part.number: [(out, part.inside, part.where)]})])

    def _run(self, by_file: Iterable[list[Task]]) -> None:
        tasks = list(itertools.chain.from_iterable(by_file))
        keeps = len(tasks) * self._coding.nbytes <= self._most_kept
        try:
            self._source.read(tasks, keeps, lambda ready: self._decode(ready, keeps))
        finally:
            for task in tasks:
                task.file.close()

    def _decode(self, tasks: Sequence[Task], keeps: bool) -> None:
        """Do tasks whose bytes can be read, on the threads of the process."""
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
        file, number, key, uses, view = task
        try:
            if view is not None:
                found = self._decoded(file, number, key, view)
                if found is not None and found is not view:
                    view[...] = found
            else:
                found, scratch = self._chunk(file, number, key, scratch, keeps)
                if found is not None:
                    for block, inside, where in uses:
                        block[(*where, ...)] = found[inside]
            if found is None:
                if file.is_missing:
                    self._missing.note()
                for block, _, where in uses:
                    block[(*where, ...)] = self._meta.fill_value
        finally:
            file.done()
        return scratch

    def _chunk(
        self, file: Chunks, number: int, key: str, scratch: Array | None, keeps: bool
    ) -> tuple[Array | None, Array | None]:
        """Return a chunk out of the cache or the file, None where it was never written; and memory to use again."""
        kept = file.decoded(number) if keeps else None
        if kept is not None:
            return kept, scratch
        if keeps and file.stamp is not None:
            found = self._decoded(file, number, key, None)
            if found is not None:
                file.keep(number, found)
            return found, scratch
        scratch = self._coding.scratch() if scratch is None else scratch
        return self._decoded(file, number, key, scratch), scratch

    def _decoded(self, file: Chunks, number: int, key: str, into: Array | None) -> Array | None:
        """Decode a chunk of a file, into memory where there is some; None where it was never written."""
        while True:
            try:
                data = file.chunk(number)
                if data is None:
                    return None
                return self._coding.decode(data, self._coding.scratch() if into is None else into)
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
        """Encode the chunks that a selection meets on several threads, and write each file as its chunks come.

        Who calls keeps other writers of the files that are not covered whole away.
        """
        files = (self._change(place, parts) for place, parts in parts_by_file(self._meta, selection))
        self._source.write(files, lambda changes: self._encoded(changes, block))

    def _change(self, place: Shape, parts: list[Part]) -> FileChange:
        is_replaced = all(part.is_whole for part in parts) and len(parts) == self._meta.chunks_in(place)
        numbers = {part.number for part in parts}
        others = frozenset() if is_replaced else frozenset(range(self._per_file)) - numbers
        return FileChange(self._meta.chunk_key(place), parts, others, is_replaced)

    def _encoded(
        self, changes: Iterable[FileChange], block: Array
    ) -> Generator[tuple[FileChange, int, bytes], None, None]:
        """Encode chunks ahead of those that are asked for, in order."""
        parts = ((change, part) for change in changes for part in change.parts)
        first = list(itertools.islice(parts, 2))
        every = itertools.chain(first, parts)
        if is_codec_thread() or (len(first) == 1 and not self._coding.needs_thread):
            for change, part in every:
                yield change, part.number, self._encode(change, part, block)
            return
        ahead: deque[tuple[FileChange, int, Future[bytes]]] = deque()
        try:
            for change, part in every:
                ahead.append((change, part.number, codec_threads().submit(self._encode, change, part, block)))
                if len(ahead) > 2 * cpus():
                    yield _result(*ahead.popleft())
            while ahead:
                yield _result(*ahead.popleft())
        finally:
            wait([future for _, _, future in ahead])

    def _encode(self, change: FileChange, part: Part, block: Array) -> bytes:
        """Encode one chunk, with the values that are there now where not all of them are written."""
        values = block[(*part.where, ...)]
        if part.is_whole:
            return self._coding.encode(values)
        chunk = self._coding.scratch()
        found = self._decoded(change.old, part.number, change.key, chunk)
        if found is None:
            chunk[...] = self._meta.fill_value
        elif found is not chunk:
            chunk[...] = found
        chunk[part.inside] = values
        return self._coding.encode(chunk)


def _result(change: FileChange, number: int, future: Future[bytes]) -> tuple[FileChange, int, bytes]:
    return change, number, future.result()
