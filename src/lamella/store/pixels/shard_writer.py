"""Write one file of an array chunk by chunk, with memory for single chunks instead of the whole shard.

The calling thread encodes each chunk and appends it to a temporary file. `ShardWriter.commit` adds the index and
renames the file over the old one, so that a kill leaves the old shard or the new one. Chunks that were not written are
copied from the old shard without decoding.
"""

from __future__ import annotations

import itertools
import threading
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    LamellaError,
    OutOfBoundsError,
    StorageError,
    clause,
)
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import stage
from lamella.store.keys import join
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.chunk_files import ChunkFile
from lamella.store.pixels.chunk_source import DamagedFileError, FileChange
from lamella.store.pixels.coding import Coding, coding_of
from lamella.store.pixels.engine import source_of
from lamella.store.pixels.shard_file import ShardFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.pixels.chunk_source import Encoded
    from lamella.store.pixels.shard_file import IndexForm
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape


class ShardWriter:
    """Writer of one shard, or of one chunk where an array has no shards; threads may call `put` at the same time.

    Leaving the ``with`` block commits; an exception aborts. ``file_index`` is the index of the file in
    ``array.meta.grid``, ``shape`` a larger shape that the array gets after the pixels are written.
    """

    def __init__(self, array: StoredArray, file_index: Sequence[int], *, shape: Shape | None = None) -> None:
        array.documents.storage.check_writable_folder(array.path)
        self._array = array
        self._shape = shape
        self._meta = meta = self._current()
        self.file_index: Shape = tuple(file_index)
        if len(self.file_index) != meta.ndim or any(
            not 0 <= k < n for k, n in zip(self.file_index, meta.grid, strict=True)
        ):
            raise OutOfBoundsError(
                f"There is no file at {self.file_index} of array {array}: its shape is {meta.shape}, in files of "
                f"{meta.files}, so its grid is {meta.grid}."
            )
        self.chunks: Shape = meta.chunks_per_file
        self._lock = threading.Condition()
        self._putting = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._valid_shapes: dict[Shape, Shape] = {}
        self._sink = _sink(array, meta, self.file_index)

    def __repr__(self) -> str:
        return f"ShardWriter({self._array!r}, {self.file_index})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    def put(self, chunk: Sequence[int], block: Array) -> None:
        """Encode one chunk and append it to the temporary file; a chunk that is put again replaces the first.

        `chunk` is the index of the chunk in the shard. `block` has the chunk's shape, or that of its part inside the
        array; it is cast to the array's dtype.
        """
        number = self._number(chunk)
        inside = self._inside(chunk)
        if block.shape not in (self._meta.chunks, inside):
            raise InvalidArgumentError(
                f"The chunk {tuple(chunk)} of shard {self.file_index} of {self._array} needs a block of shape "
                f"{inside}, not {block.shape}."
            )
        self._begin()
        try:
            self._sink.put(number, block[tuple(map(slice, inside))])
        except BaseException as error:
            self._end(error)
            raise
        with self._lock:
            self._valid_shapes[tuple(chunk)] = inside
        self._end(None)

    def commit(self) -> None:
        """Wait for running `put` calls, and rename the file over the old one; do nothing without chunks.

        The old file stays if a `put` failed, if its index is damaged, or if another writer changed the array's shape.
        """
        self._close()
        if self._failure is not None:
            self._sink.abort()
            raise StorageError(
                f"The shard {self.file_index} of {self._array} was not written, because a chunk of it failed: "
                f"{clause(self._failure)}."
            ) from self._failure
        if not self._valid_shapes:
            self._sink.abort()
            return
        try:
            self._commit()
        except BaseException:
            self._sink.abort()
            raise

    def _commit(self) -> None:
        whole = all(inside == self._meta.chunks for inside in self._valid_shapes.values())
        if not self._sink.needs_lock or (whole and len(self._valid_shapes) == prod(self.chunks)):
            self._sink.commit(self._meta, frozenset())
            return
        (name,) = chunk_grid.lock_names([self.file_index])
        with self._array.documents.storage.lock(join(self._array.path, name)):
            current = self._current()
            self._check_fits(current)
            self._sink.commit(current, self._missing(current))

    def _current(self) -> ArrayMeta:
        meta = self._array.meta
        if self._shape is None or len(self._shape) != meta.ndim:
            return meta
        return meta.with_shape(tuple(map(max, meta.shape, self._shape)))

    def _missing(self, current: ArrayMeta) -> frozenset[int]:
        """Return the chunks of the shard that lie in the array and were not put."""
        inside = itertools.product(
            *(
                range(min(n, -(-(length - k * f) // c)))
                for n, length, k, f, c in zip(
                    self.chunks, current.shape, self.file_index, current.files, current.chunks, strict=True
                )
            )
        )
        missing = set(inside) - self._valid_shapes.keys()
        return frozenset(chunk_grid.flat_number(chunk, self.chunks) for chunk in missing)

    def _check_fits(self, current: ArrayMeta) -> None:
        """Raise where another writer moved the edge of the array inside a chunk that was put."""
        same = {**current.document, "shape": None} == {**self._meta.document, "shape": None}
        if same and current.shape == self._meta.shape:
            return
        if not same or any(
            _inside(current, self.file_index, chunk) != shape for chunk, shape in self._valid_shapes.items()
        ):
            raise OutOfBoundsError(
                f"Cannot write shard {self.file_index} of {self._array}: another writer changed the array of shape "
                f"{self._meta.shape} to {current.shape} meanwhile. Open the array again."
            )

    def suspend(self) -> None:
        """Close the file until the next `put`, for callers with many writers; not while a `put` runs."""
        self._sink.suspend()

    def abort(self) -> None:
        """Discard the chunks; the old file stays. Does nothing after `commit`."""
        with self._lock:
            if self._ended:
                return
        self._close()
        self._sink.abort()

    def _begin(self) -> None:
        with self._lock:
            if self._ended:
                raise InvalidArgumentError(f"{self!r} has ended: make another one to write more.")
            self._putting += 1

    def _end(self, failure: BaseException | None) -> None:
        with self._lock:
            self._putting -= 1
            self._failure = self._failure or failure
            self._lock.notify_all()

    def _close(self) -> None:
        with self._lock:
            if self._ended:
                raise InvalidArgumentError(f"{self!r} has ended: make another one to write more.")
            self._ended = True
            self._lock.wait_for(lambda: not self._putting)

    def _number(self, chunk: Sequence[int]) -> int:
        if len(chunk) != len(self.chunks) or any(
            not 0 <= k < n for k, n in zip(chunk, self.chunks, strict=True)
        ):
            raise InvalidArgumentError(
                f"The shard {self.file_index} of {self._array} has {self.chunks} chunks along its axes, and none at "
                f"{tuple(chunk)}."
            )
        return chunk_grid.flat_number(tuple(chunk), self.chunks)

    def _inside(self, chunk: Sequence[int]) -> Shape:
        inside = _inside(self._meta, self.file_index, chunk)
        if min(inside, default=1) < 1:
            raise InvalidArgumentError(
                f"The chunk {tuple(chunk)} of shard {self.file_index} of {self._array} lies beyond the array's shape "
                f"{self._meta.shape}."
            )
        return inside


def whole_file_writer(array: StoredArray) -> Callable[[Shape, Array], None] | None:
    """Return a function that encodes a block and writes it as the only chunk of a file, by file index.

    The block must fill the file, so that no lock is needed; not so on the array's edge, where the array may grow into
    the rest of the file. None where files have several chunks, are not in a local folder, or need another engine.
    """
    meta, storage = array.meta, array.documents.storage
    coding = coding_of(meta)
    if coding is None or coding.index is not None or not isinstance(storage, LocalStorage):
        return None
    storage.check_writable_folder(array.path)
    path, encode = array.path, coding.encode
    return lambda index, block: storage.write(join(path, meta.chunk_key(index)), encode(block))


def _inside(meta: ArrayMeta, file_index: Sequence[int], chunk: Sequence[int]) -> Shape:
    """Return the shape of the part of a chunk that lies in the array."""
    return tuple(
        min(c, n - k * f - i * c)
        for c, n, k, f, i in zip(meta.chunks, meta.shape, file_index, meta.files, chunk, strict=True)
    )


class _Sink(Protocol):
    """Destination of the chunks of one file, which are numbered in C order."""

    #: Whether the caller must lock a file that is covered in part.
    needs_lock: bool

    def put(self, number: int, block: Array) -> None: ...

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None: ...

    def abort(self) -> None: ...

    def suspend(self) -> None: ...


def _sink(array: StoredArray, meta: ArrayMeta, file_index: Shape) -> _Sink:
    coding, storage = coding_of(meta), array.documents.storage
    if coding is None:
        return _Buffer(array, meta, file_index)
    key = meta.chunk_key(file_index)
    if coding.index is not None and isinstance(storage, LocalStorage):
        return _StagedShard(storage, join(array.path, key), coding, coding.index)
    return _EncodedFile(storage, array.path, key, coding)


class _StagedShard:
    """A shard in a local folder."""

    needs_lock = True

    def __init__(self, storage: LocalStorage, key: str, coding: Coding, form: IndexForm) -> None:
        self._storage = storage
        self._key = key
        self._coding = coding
        self._form = form
        self._file = ShardFile(partial(stage, storage, key), form)

    def put(self, number: int, block: Array) -> None:
        self._file.add(number, *self._coding.encode_parts(block))

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None:
        del meta
        old = ChunkFile(self._storage, self._key, self._form, 1)
        try:
            if missing:
                self._file.copy_chunks(old, missing)
        except LamellaError:
            raise
        except OSError as error:
            self._storage._fail("read", self._key, error)
        finally:
            old.close()
        self._file.commit()

    def abort(self) -> None:
        self._file.discard()

    def suspend(self) -> None:
        self._file.suspend()


class _EncodedFile:
    """A file whose encoded chunks stay in memory until `commit`: a single chunk, or a shard in an object store."""

    needs_lock = True

    def __init__(self, storage: Storage, path: str, key: str, coding: Coding) -> None:
        self._storage = storage
        self._path = path
        self._key = key
        self._coding = coding
        self._chunks: dict[int, bytes] = {}

    def put(self, number: int, block: Array) -> None:
        self._chunks[number] = self._coding.encode(block)

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None:
        def encoded(files: Iterable[FileChange]) -> Encoded:
            for file in files:
                for number, data in self._chunks.items():
                    yield file, number, data

        change = FileChange(self._key, [], missing, is_covered=not missing)
        try:
            source_of(self._storage, self._path, meta, self._coding).write(iter([change]), encoded)
        except DamagedFileError as error:
            raise DamagedDataError(
                f"Cannot write a part of {self._storage.where(join(self._path, self._key))}: {clause(error)}."
            ) from error

    def abort(self) -> None:
        self._chunks.clear()

    def suspend(self) -> None: ...


class _Buffer:
    """A file that only the array's engine can write, in memory until `commit`.

    Where chunks are missing, each chunk is written separately, because the array's own writes lock the file. A kill in
    between leaves some of them.
    """

    needs_lock = False

    def __init__(self, array: StoredArray, meta: ArrayMeta, file_index: Shape) -> None:
        self._array = array
        self._meta = meta
        self._region = meta.file_region(file_index)
        self._blocks: dict[int, Array] = {}

    def put(self, number: int, block: Array) -> None:
        self._blocks[number] = np.array(block, self._meta.dtype)

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None:
        del meta, missing
        blocks = [(self._chunk_region(number, block.shape), block) for number, block in self._blocks.items()]
        shape = tuple(axis_slice.stop - axis_slice.start for axis_slice in self._region)
        if sum(block.size for _, block in blocks) == prod(shape):
            whole = np.empty(shape, self._meta.dtype)
            for region, block in blocks:
                pairs = zip(region, self._region, strict=True)
                whole[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in pairs)] = block
            blocks = [(self._region, whole)]
        for region, block in blocks:
            self._array.write(region, block)

    def _chunk_region(self, number: int, shape: Shape) -> tuple[slice, ...]:
        """Return the region of a chunk in the array."""
        starts = (
            axis.start + int(i) * c
            for axis, i, c in zip(
                self._region,
                np.unravel_index(number, self._meta.chunks_per_file),
                self._meta.chunks,
                strict=True,
            )
        )
        return tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))

    def abort(self) -> None:
        self._blocks.clear()

    def suspend(self) -> None: ...
