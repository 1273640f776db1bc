"""Write one file of an array chunk by chunk; a local shard needs memory for single chunks only, not for the shard.

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
    from lamella.store.pixels.chunk_source import EncodedChunks
    from lamella.store.pixels.shard_file import IndexLayout
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape


class ShardWriter:
    """Writer of one shard, or of one chunk where an array has no shards; threads may call `put` at the same time.

    Leaving the ``with`` block commits; an exception aborts. ``file_index`` is the index of the file in
    ``array.meta.grid``. ``shape`` is a larger shape that the array gets after the pixels are written.
    """

    def __init__(self, array: StoredArray, file_index: Sequence[int], *, shape: Shape | None = None) -> None:
        array.documents.storage.check_writable_folder(array.path)
        self._array = array
        self._shape = shape
        self._meta = meta = self._current()
        self.file_index: Shape = tuple(file_index)
        if len(self.file_index) != meta.ndim or any(
            not 0 <= index < count for index, count in zip(self.file_index, meta.grid, strict=True)
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
        self._sink = _file_writer(array, meta, self.file_index)

    def __repr__(self) -> str:
        return f"ShardWriter({self._array!r}, {self.file_index})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error_type is None:
            self.commit()
        else:
            self.abort()

    def put(self, chunk: Sequence[int], block: Array) -> None:
        """Encode one chunk and append it to the temporary file; a chunk that is put again replaces the first.

        `chunk` is the index of the chunk in the shard. `block` has the chunk's shape, or that of its part inside the
        array; it is cast to the array's dtype.
        """
        number = self._number(chunk)
        inside = self._shape_inside(chunk)
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
        are_whole = all(inside == self._meta.chunks for inside in self._valid_shapes.values())
        if not self._sink.needs_lock or (are_whole and len(self._valid_shapes) == prod(self.chunks)):
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
                range(min(chunk_count, -(-(length - file_number * file_length) // chunk_length)))
                for chunk_count, length, file_number, file_length, chunk_length in zip(
                    self.chunks, current.shape, self.file_index, current.files, current.chunks, strict=True
                )
            )
        )
        missing = set(inside) - self._valid_shapes.keys()
        return frozenset(chunk_grid.flat_number(chunk, self.chunks) for chunk in missing)

    def _check_fits(self, current: ArrayMeta) -> None:
        """Raise where another writer moved the edge of the array inside a chunk that was put."""
        is_same_array = {**current.document, "shape": None} == {**self._meta.document, "shape": None}
        if is_same_array and current.shape == self._meta.shape:
            return
        if not is_same_array or any(
            _shape_inside(current, self.file_index, chunk) != shape
            for chunk, shape in self._valid_shapes.items()
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
            not 0 <= index < count for index, count in zip(chunk, self.chunks, strict=True)
        ):
            raise InvalidArgumentError(
                f"The shard {self.file_index} of {self._array} has {self.chunks} chunks along its axes, and none at "
                f"{tuple(chunk)}."
            )
        return chunk_grid.flat_number(tuple(chunk), self.chunks)

    def _shape_inside(self, chunk: Sequence[int]) -> Shape:
        inside = _shape_inside(self._meta, self.file_index, chunk)
        if min(inside, default=1) < 1:
            raise InvalidArgumentError(
                f"The chunk {tuple(chunk)} of shard {self.file_index} of {self._array} lies beyond the array's shape "
                f"{self._meta.shape}."
            )
        return inside


def whole_file_writer(array: StoredArray) -> Callable[[Shape, Array], None] | None:
    """Return a function of a file index and a block, which encodes the block and writes it as that file's only chunk.

    The block must fill the file, so that no lock is needed. A file on the array's edge cannot be filled: the array may
    grow into the pixels of the file beyond it. Returns None where files have several chunks, are not in a local folder,
    or need another engine.
    """
    meta, storage = array.meta, array.documents.storage
    coding = coding_of(meta)
    if coding is None or coding.index_layout is not None or not isinstance(storage, LocalStorage):
        return None
    storage.check_writable_folder(array.path)
    path, encode = array.path, coding.encode
    return lambda index, block: storage.write(join(path, meta.chunk_key(index)), encode(block))


def _shape_inside(meta: ArrayMeta, file_index: Sequence[int], chunk: Sequence[int]) -> Shape:
    """Return the shape of the part of a chunk inside the array; `chunk` is its index in the file."""
    return tuple(
        min(chunk_length, length - file_number * file_length - chunk_number * chunk_length)
        for chunk_length, length, file_number, file_length, chunk_number in zip(
            meta.chunks, meta.shape, file_index, meta.files, chunk, strict=True
        )
    )


class _FileWriter(Protocol):
    """Writes the chunks of one file, which are numbered in C order."""

    #: Whether the caller must lock a file that is covered in part.
    needs_lock: bool

    def put(self, number: int, block: Array) -> None: ...

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None: ...

    def abort(self) -> None: ...

    def suspend(self) -> None: ...


def _file_writer(array: StoredArray, meta: ArrayMeta, file_index: Shape) -> _FileWriter:
    coding, storage = coding_of(meta), array.documents.storage
    if coding is None:
        return _EngineFile(array, meta, file_index)
    key = meta.chunk_key(file_index)
    if coding.index_layout is not None and isinstance(storage, LocalStorage):
        return _StagedShard(storage, join(array.path, key), coding, coding.index_layout)
    return _EncodedFile(storage, array.path, key, coding)


class _StagedShard:
    """A shard in a local folder."""

    needs_lock = True

    def __init__(self, storage: LocalStorage, key: str, coding: Coding, layout: IndexLayout) -> None:
        self._storage = storage
        self._key = key
        self._coding = coding
        self._layout = layout
        self._file = ShardFile(partial(stage, storage, key), layout)

    def put(self, number: int, block: Array) -> None:
        self._file.add(number, *self._coding.encode_parts(block))

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None:
        del meta
        old_file = ChunkFile(self._storage, self._key, self._layout, 1)
        try:
            if missing:
                self._file.copy_chunks(old_file, missing)
        except LamellaError:
            raise
        except OSError as error:
            self._storage._fail("read", self._key, error)
        finally:
            old_file.close()
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
        def encode(files: Iterable[FileChange]) -> EncodedChunks:
            for file in files:
                for number, data in self._chunks.items():
                    yield file, number, data

        change = FileChange(self._key, [], missing, is_covered=not missing)
        try:
            source_of(self._storage, self._path, meta, self._coding).write(iter([change]), encode)
        except DamagedFileError as error:
            raise DamagedDataError(
                f"Cannot write a part of {self._storage.where(join(self._path, self._key))}: {clause(error)}."
            ) from error

    def abort(self) -> None:
        self._chunks.clear()

    def suspend(self) -> None: ...


class _EngineFile:
    """A file that only zarr-python can write; its chunks stay in memory until `commit`.

    If all chunks were put, they are written together; else each chunk by its own write to the array, which locks the
    file. A kill in between leaves some of them.
    """

    needs_lock = False

    def __init__(self, array: StoredArray, meta: ArrayMeta, file_index: Shape) -> None:
        self._array = array
        self._meta = meta
        self._region = meta.file_region(file_index)
        #: By number of the chunk, its block and the region of the file that it fills.
        self._blocks: dict[int, tuple[tuple[slice, ...], Array]] = {}

    def put(self, number: int, block: Array) -> None:
        chunk = np.unravel_index(number, self._meta.chunks_per_file)
        starts = [int(index) * length for index, length in zip(chunk, self._meta.chunks, strict=True)]
        in_file = tuple(
            slice(start, start + length) for start, length in zip(starts, block.shape, strict=True)
        )
        self._blocks[number] = in_file, np.array(block, self._meta.dtype)

    def commit(self, meta: ArrayMeta, missing: frozenset[int]) -> None:
        del meta, missing
        shape = [axis.stop - axis.start for axis in self._region]
        if sum(block.size for _, block in self._blocks.values()) == prod(shape):
            file_block = np.empty(shape, self._meta.dtype)
            for in_file, block in self._blocks.values():
                file_block[in_file] = block
            self._array.write(self._region, file_block)
            return
        for in_file, block in self._blocks.values():
            pairs = zip(self._region, in_file, strict=True)
            self._array.write(
                tuple(slice(outer.start + inner.start, outer.start + inner.stop) for outer, inner in pairs),
                block,
            )

    def abort(self) -> None:
        self._blocks.clear()

    def suspend(self) -> None: ...
