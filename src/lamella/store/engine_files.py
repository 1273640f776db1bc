"""Pixels straight from the files of a local store, where we know the codecs ourselves.

Faster than TensorStore for whole images and for many regions at a time, because chunks are decoded into memory that is
used again and each of them once, whoever needs it; and it works in a process that was forked, which TensorStore does
not. Reads only: `write` and `encode` are another engine's, see `FilesEngine`.

Layer: store.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from concurrent.futures import wait
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store import coverage
from lamella.store.chunk_decoder import ChunkDecoder, ChunkError, decoder_of
from lamella.store.chunk_files import ChunkFile
from lamella.store.codec_threads import codec_threads, cpus
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.misplaced import MisplacedError, MissingChunks
from lamella.store.shard_index import IndexForm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coverage import Kind
    from lamella.store.engine import Engine, EngineName
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape

#: Where values go: an array, the index of them in the chunk, and their index in the array.
Use: TypeAlias = "tuple[Array, tuple[Any, ...], tuple[Any, ...]]"

#: A chunk to decode: its file, its number there, the file's key, and who uses it.
Task: TypeAlias = "tuple[ChunkFile, int, str, list[Use]]"


class DamagedFileError(ValueError):
    """A file cannot be decoded; `key` is its key below the array."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


def open_files(
    storage: Storage, path: str, meta: ArrayMeta, other: Callable[[], Engine]
) -> FilesEngine | None:
    """Open an array, or return None where its chunks are no files, or coded in a way that we do not know."""
    if not isinstance(storage, LocalStorage) or not hasattr(os, "pread"):
        return None
    decoder, form = decoder_of(meta), IndexForm.of(meta)
    if decoder is None or (form is None) != (meta.shards is None):
        return None
    return FilesEngine(storage, path, meta, decoder, form, other)


class FilesEngine:
    """An array whose chunks are read from files and decoded here.

    Parameters
    ----------
    storage, path
        Where the array is.
    meta, decoder, form
        What its document says.
    other
        Opens the engine that writes.
    """

    name: EngineName = "files"

    def __init__(
        self,
        storage: LocalStorage,
        path: str,
        meta: ArrayMeta,
        decoder: ChunkDecoder,
        form: IndexForm | None,
        other: Callable[[], Engine],
    ) -> None:
        self._storage = storage
        self._path = path
        self._meta = meta
        self._decoder = decoder
        self._form = form
        self._open_other = other
        self._missing = MissingChunks(storage, path, meta)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection meets, each once."""
        if out is None:
            out = np.empty(selection.shape, self._meta.dtype)
        self.read_many([(selection, out)])
        return out

    def read_many(self, wanted: Sequence[tuple[Selection, Array]]) -> None:
        """Fill a block for each selection; a chunk that several of them meet is decoded once."""
        uses: dict[Shape, list[Use]] = {}
        for selection, block in wanted:
            for place, inside, where in _chunks(selection, self._meta.chunks):
                uses.setdefault(place, []).append((block, inside, where))
        by_file: dict[Shape, list[tuple[int, list[Use]]]] = {}
        for place, users in uses.items():
            file, number = self._number(place)
            by_file.setdefault(file, []).append((number, users))
        tasks: list[Task] = []
        for place, chunks in by_file.items():
            key = self._meta.chunk_key(place)
            opened = ChunkFile(self._storage, join(self._path, key), self._form, len(chunks))
            tasks.extend((opened, number, key, users) for number, users in sorted(chunks, key=_first))
        self._run(tasks)

    def _number(self, place: Shape) -> tuple[Shape, int]:
        """Return the place of the file that a chunk is in, and its number there, by its place among all chunks."""
        if self._form is None:
            return place, 0
        number = 0
        for k, n in zip(place, self._form.chunks, strict=True):
            number = number * n + k % n
        return tuple(k // n for k, n in zip(place, self._form.chunks, strict=True)), number

    def _run(self, tasks: list[Task]) -> None:
        if len(tasks) == 1 and threading.current_thread() is not threading.main_thread():
            try:
                self._fill(tasks[0], None)
            finally:
                tasks[0][0].close()
            return
        left = deque(tasks)
        running = [codec_threads().submit(self._drain, left) for _ in range(min(cpus(), len(tasks)))]
        try:
            for one in running:
                one.result()
        finally:
            left.clear()
            wait(running)
            for task in tasks:
                task[0].close()

    def _drain(self, left: deque[Task]) -> None:
        """Do tasks until none is left; the memory for decoding is used for all of them."""
        scratch = None
        while True:
            try:
                task = left.popleft()
            except IndexError:
                return
            try:
                scratch = self._fill(task, scratch)
            except BaseException:
                left.clear()
                raise

    def _fill(self, task: Task, scratch: Array | None) -> Array | None:
        """Do one task; returns the memory for decoding, to be used again."""
        file, number, key, uses = task
        try:
            data = file.chunk(number)
            if data is None:
                if file.is_missing:
                    self._missing.note()
                for block, _, where in uses:
                    block[where] = self._meta.fill_value
                return scratch
            view = self._whole(uses)
            if view is None:
                scratch = self._decoder.scratch() if scratch is None else scratch
                chunk = self._decoder.decode(data, scratch)
                for block, inside, where in uses:
                    block[where] = chunk[inside]
            else:
                found = self._decoder.decode(data, view)
                if found is not view:
                    view[...] = found
        except MisplacedError:
            raise
        except (ChunkError, DamagedDataError) as error:
            raise DamagedFileError(key, error) from error
        finally:
            file.done()
        return scratch

    def _whole(self, uses: list[Use]) -> Array | None:
        """Return the part of the only user's block that a chunk can be decoded into, without a copy."""
        block, inside, where = uses[0]
        if len(uses) > 1 or not all(isinstance(one, slice) for one in inside):
            return None
        view: Array = block[where]
        return view if self._decoder.takes(view) else None

    # ---- what another engine does ---------------------------------------------------------------

    @cached_property
    def _other(self) -> Engine:
        return self._open_other()

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What reading raises, and what the other engine does."""
        if "_other" in self.__dict__:
            return (DamagedFileError, OSError, *self._other.errors)
        return DamagedFileError, OSError

    @property
    def survives_fork(self) -> bool:
        """Whether nothing of the other engine is open, or it survives."""
        return "_other" not in self.__dict__ or self._other.survives_fork

    @property
    def reads_before_writing(self) -> frozenset[Kind]:
        """As the other engine."""
        return self._other.reads_before_writing

    def write(self, selection: Selection, block: Array) -> None:
        """Have the other engine write."""
        self._other.write(selection, block)

    def encode(self, selection: Selection, block: Array) -> dict[str, bytes]:
        """Have the other engine encode."""
        return self._other.encode(selection, block)

    def system_fault(self, error: Exception) -> OSError | None:
        """Tell by the type, or have the other engine tell."""
        if isinstance(error, DamagedFileError):
            return None
        return error if isinstance(error, OSError) else self._other.system_fault(error)


def _first(item: tuple[int, Any]) -> int:
    return item[0]


# ---- which chunks a selection meets ---------------------------------------------------------------


def _chunks(selection: Selection, chunks: Shape) -> Iterator[tuple[Shape, tuple[Any, ...], tuple[Any, ...]]]:
    """Yield for each chunk its place among all, the index of what is selected in it, and where that goes."""
    if selection.paired:
        yield from _paired(selection, chunks)
        return
    plain = all(isinstance(axis, slice) for axis in selection.axes)
    per_axis = [
        [(k, _inside(item, k * c), where) for k, item, where in coverage._parts(axis, c)]
        for axis, c in zip(selection.axes, chunks, strict=True)
    ]
    for parts in itertools.product(*per_axis):
        inside, where = tuple(part[1] for part in parts), tuple(part[2] for part in parts)
        place = tuple(part[0] for part in parts)
        yield (place, inside, where) if plain else (place, _crossed(inside), _crossed(where))


def _inside(item: Any, start: int) -> Any:
    if isinstance(item, slice):
        return slice(item.start - start, item.stop - start, item.step)
    return item - start


def _crossed(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Turn slices and arrays that pick along their own axes into an index of numpy."""
    return np.ix_(*(np.arange(a.start, a.stop, a.step) if isinstance(a, slice) else a for a in index))


def _paired(selection: Selection, chunks: Shape) -> Iterator[tuple[Shape, tuple[Any, ...], tuple[Any, ...]]]:
    points = [np.asarray(axis) for axis in selection.axes]
    places = [axis // c for axis, c in zip(points, chunks, strict=True)]
    if not points or not points[0].size:
        return
    order = np.lexsort(places[::-1])
    changes = np.zeros(len(order), bool)
    for axis in places:
        changes[1:] |= np.diff(axis[order]) != 0
    for chosen in np.split(order, np.flatnonzero(changes)):
        place = tuple(int(axis[chosen[0]]) for axis in places)
        inside = tuple(axis[chosen] - k * c for axis, k, c in zip(points, place, chunks, strict=True))
        yield place, inside, (chosen,)
