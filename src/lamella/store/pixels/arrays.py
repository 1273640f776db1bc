"""Read, write and resize the pixels of one array, on top of either engine.

A file that a write covers (`chunk_grid`) is replaced without being read, writers of different regions of one file wait
for each other, and a handle notices when another process changed the array.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from operator import gt
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import numpy as np

from lamella.arguments import items_of, whole_number, whole_numbers
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    LamellaError,
    OutOfBoundsError,
    StorageError,
    TooLargeError,
    clause,
    name_where,
)
from lamella.store.keys import join
from lamella.store.objects.service_errors import raised_by_storage
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.assignment import cast, cast_for, check_out, drop_duplicate_points
from lamella.store.pixels.engine import Engine, EngineName, open_engine
from lamella.store.pixels.selection import Index, Selection, as_selection, basic_or_fancy
from lamella.store.process_limits import check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.store.storage import Stamp
    from lamella.types import Array, Shape

Select: TypeAlias = "Callable[[Index, Shape], Selection]"
"""Parses a numpy index for an array of a shape."""

T = TypeVar("T")

#: Maximum number of files that are read one by one to find the damaged one.
_MAX_FILES_SEARCHED = 4096


class StoredArray:
    """One array of a store, read and written by the fastest engine that supports its codecs, or by ``engine``."""

    def __init__(self, documents: Documents, path: str, *, engine: EngineName | None = None) -> None:
        self.documents = documents
        self.path = path
        self._engine_name = engine
        self._stamped_meta: tuple[Stamp | None, ArrayMeta] | None = None
        self._opened_engine: tuple[ArrayMeta, Engine] | None = None
        self._future_shape: Shape | None = None
        self._held_locks: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"StoredArray({self.documents.location(self.path)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.documents, self.path, self._engine_name, self._future_shape, self._held_locks)

    def with_future_shape(self, shape: Shape, held_locks: frozenset[str]) -> StoredArray:
        """Return a handle that uses a larger shape before it is published, to write beyond the present one (`growth`).

        ``held_locks`` are the names of the file locks that the caller has acquired.
        """
        return _reopen(self.documents, self.path, self._engine_name, shape, held_locks)

    @property
    def meta(self) -> ArrayMeta:
        """The description of the array, read again when its document has another stamp (size, time or ETag).

        In a store without stamps it is read once, until `refresh`.
        """
        cached = self._stamped_meta
        if cached is None or cached[0] != self.documents.array_stamp(self.path):
            meta, stamp = self.documents.stamped_array(self.path)
            if self._future_shape is not None:
                meta = meta.with_shape(tuple(map(max, meta.shape, self._future_shape)))
            cached = self._stamped_meta = stamp, meta
        return cached[1]

    def latest(self) -> ArrayMeta:
        """Return the description as stored now; without stamps, read the document each time."""
        if self._stamped_meta is not None and self._stamped_meta[0] is None:
            self._stamped_meta = None
        return self.meta

    @property
    def last_meta(self) -> ArrayMeta:
        """The description as it was last read."""
        cached = self._stamped_meta
        return self.meta if cached is None else cached[1]

    def refresh(self) -> ArrayMeta:
        """Read the document again, even where its stamp is unchanged."""
        self._stamped_meta = None
        return self.meta

    @property
    def engine(self) -> Engine:
        """The engine of the array, opened on first use."""
        return self._engine_for(self.meta)

    def _engine_for(self, meta: ArrayMeta) -> Engine:
        """Return the engine for a description: the opened one if it fits, otherwise a new one."""
        if self._opened_engine is not None:
            opened, engine = self._opened_engine
            if opened is meta or opened.document == meta.document:
                return engine
        engine = open_engine(self.documents.storage, self.path, meta, self._engine_name)
        self._opened_engine = meta, engine
        return engine

    # ---- reading --------------------------------------------------------------------------------

    def parse_index(self, select: Select, index: Index, shape: Shape) -> Selection:
        """Parse an index; an error names the array."""
        try:
            return select(index, shape)
        except (InvalidArgumentError, OutOfBoundsError) as error:
            name_where(error, self._where)
            raise

    def read(self, index: Index = ..., out: Array | None = None, *, select: Select = basic_or_fancy) -> Array:
        """Read an index as numpy would from an array in memory, into ``out`` if it is passed."""
        return self._read_again_if_replaced(lambda: self._read(index, out, select))

    def _read(self, index: Index, out: Array | None, select: Select) -> Array:
        meta = self.meta
        selection = self.parse_index(select, index, meta.shape)
        if out is not None:
            check_out(out, selection.result_shape, meta.dtype)
        if selection.is_empty:
            return np.empty(selection.result_shape, meta.dtype) if out is None else out
        if out is None:
            check_memory(selection.result_shape, meta.dtype.itemsize, lambda: f"Reading array {self._where}")
            block = self._call_engine("read", meta, [selection], lambda engine: engine.read(selection))
            return selection.finish(block)
        request = ReadRequest.into(selection, out)
        self._call_engine("read", meta, [selection], lambda engine: engine.read(selection, request.block))
        if not request.is_direct:
            request.finish()
        return out

    def read_many(self, indices: Iterable[Index], out: Array | None = None) -> Array | list[Array]:
        """Read many indices in one call; each file is opened, and each chunk decoded, once for all of them.

        Results of one shape are stacked along a new first axis, which ``out`` has too; otherwise a list is returned.
        """
        regions = items_of(indices, "The argument regions is a list of indices")
        return self._read_again_if_replaced(lambda: self._read_many(regions, out))

    def _read_again_if_replaced(self, read: Callable[[], T]) -> T:
        """Read once more if the array was replaced meanwhile, so that the old description met chunks of the new one."""
        try:
            return read()
        except DamagedDataError:
            meta = self.last_meta
            if self.refresh().document == meta.document:
                raise
        return read()

    def _read_many(self, regions: Sequence[Index], out: Array | None) -> Array | list[Array]:
        meta = self.meta
        selections = [self.parse_index(basic_or_fancy, index, meta.shape) for index in regions]
        if out is None:
            total = sum(prod(selection.result_shape) for selection in selections)
            check_memory(
                (total,), meta.dtype.itemsize, lambda: f"Reading many regions of array {self._where}"
            )
        results = results_for(selections, meta.dtype, out)
        requests = [
            ReadRequest.into(
                selection, results[number, ...] if isinstance(results, np.ndarray) else results[number]
            )
            for number, selection in enumerate(selections)
            if not selection.is_empty
        ]
        self._call_engine(
            "read",
            meta,
            [request.selection for request in requests],
            lambda engine: engine.read_many([(request.selection, request.block) for request in requests]),
        )
        for request in requests:
            if not request.is_direct:
                request.finish()
        return results

    # ---- writing --------------------------------------------------------------------------------

    def write(self, index: Index, data: object, *, select: Select = basic_or_fancy) -> None:
        """Write to an index as numpy would, broadcast and cast to the array's dtype; return when the data is stored."""
        self.documents.storage.check_writable_folder(self.path)
        meta = self.meta
        selection = self.parse_index(select, index, meta.shape)
        check_memory(selection.result_shape, meta.dtype.itemsize, lambda: f"Writing to array {self._where}")
        block = selection.prepare(cast(data, selection, meta.dtype, self._where))
        if selection.is_empty:
            return
        selection, block = drop_duplicate_points(selection, block)
        while True:
            with self._locks(meta, selection) as is_locked:
                # While this writer waited for the locks, another one may have grown the array. A file that the
                # selection covers in the old shape may now have further pixels: replacing it would delete them.
                current = self.meta if is_locked else meta
                if current is meta or current.document == meta.document:
                    self._write_locked(meta, selection, block)
                    return
            if current.ndim != meta.ndim or not selection.fits(current.shape):
                raise OutOfBoundsError(
                    f"Cannot write to array {self._where}: another writer changed its shape from {meta.shape} "
                    f"to {current.shape} meanwhile. Open the array again."
                )
            meta, block = current, cast_for(block, current.dtype, self._where, selection)

    def _write_locked(self, meta: ArrayMeta, selection: Selection, block: Array) -> None:
        self._call_engine("write", meta, [selection], lambda engine: engine.write(selection, block))

    def open_engine(self) -> None:
        """Open the engine now, so that the first write is as fast as later ones."""
        self._engine_for(self.meta)

    @contextmanager
    def _locks(self, meta: ArrayMeta, selection: Selection) -> Iterator[bool]:
        """Lock the files that a write does not fill; yield whether there are any.

        A file that the write fills needs no lock: the last of several writers wins.
        """
        names = chunk_grid.lock_names(chunk_grid.unfilled_files(meta, selection, chunk_grid.LOCKS_PER_ARRAY))
        with ExitStack() as locks:
            for name in names:
                if name not in self._held_locks:
                    locks.enter_context(self.documents.storage.lock(join(self.path, name)))
            yield bool(names)

    # ---- resizing -------------------------------------------------------------------------------

    def resize(self, shape: Sequence[int]) -> None:
        """Change the lengths of the axes: new regions read as the fill value, cropped pixels are deleted for good."""
        from lamella.store.pixels.growth import clear_cropped, growing

        self.documents.storage.check_writable_folder(self.path)
        new_shape = self.resized_shape(shape)
        with self.shape_lock():
            meta = self.refresh()
            shrunk = tuple(map(min, meta.shape, new_shape))
            if shrunk != meta.shape:
                # Delete pixels before publishing the smaller shape: a kill in between leaves fill values, and
                # growing again never shows old pixels.
                clear_cropped(self, meta, shrunk)
                self.documents.put_shape(self.path, shrunk)
                self.refresh()
        if any(map(gt, new_shape, shrunk)):
            with growing(self, lambda _: new_shape):
                pass

    def resized_shape(self, shape: Sequence[int]) -> Shape:
        """Check the new shape of a `resize` and return it."""
        new_shape = whole_numbers(shape, f"The new shape of {self._where}", 0)
        old_shape = self.meta.shape
        if len(new_shape) != len(old_shape) or any(length >= 1 << 62 for length in new_shape):
            raise InvalidArgumentError(
                f"Cannot resize array {self._where} of shape {old_shape} to {new_shape}: pass one length of 0 or more "
                "per axis."
            )
        return new_shape

    def append(self, data: object, axis: int = 0) -> Shape:
        """Append data along an axis and return the new shape, which is published after the data is stored.

        So readers never see part of the data, and a failure or a kill leaves the array as it was.
        """
        from lamella.store.pixels.growth import growing

        self.documents.storage.check_writable_folder(self.path)
        block = cast_for(data, self.meta.dtype, self._where)
        new_shape = self.appended_shape(block.shape, axis)
        axis %= len(new_shape)

        def shape_after(old_shape: Shape) -> Shape:
            return _appended_shape(old_shape, block.shape, axis, self._where)

        with growing(self, shape_after, is_overwritten=True) as larger:
            new_shape = larger.meta.shape
            larger.write(
                (*(slice(None),) * axis, slice(new_shape[axis] - block.shape[axis], new_shape[axis])), block
            )
        return new_shape

    def appended_shape(self, shape: Shape, axis: int = 0) -> Shape:
        """Return the shape of the array after appending a block of a shape."""
        return _appended_shape(self.meta.shape, shape, axis, self._where)

    def shape_lock(self) -> AbstractContextManager[None]:
        """Lock the shape, from reading the old one to writing the new one."""
        return self.documents.storage.lock(join(self.path, "shape"))

    # ---- errors ---------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self.documents.location(self.path)

    def _call_engine(
        self, verb: str, meta: ArrayMeta, selections: list[Selection], action: Callable[[Engine], T]
    ) -> T:
        """Call the engine for some selections, and name the array in its errors."""
        engine = self._engine_for(meta)
        try:
            return action(engine)
        except LamellaError:
            raise
        except MemoryError as error:
            raise TooLargeError(
                f"Cannot {verb} the pixels of array {self._where}: there is not enough memory "
                f"({error or 'none left'}). {'Read' if verb == 'read' else 'Write'} a smaller region."
            ) from error
        except engine.errors as error:
            self._raise_explained(verb, meta, selections, error, engine)

    def _raise_explained(
        self, verb: str, meta: ArrayMeta, selections: list[Selection], error: Exception, engine: Engine
    ) -> NoReturn:
        """Raise an error of an engine again, with the array, the file and what to do."""
        from lamella.store.pixels.chunk_source import DamagedFileError

        system_error = engine.system_error(error)
        if system_error is not None:
            reason = system_error.strerror or str(system_error)
            error_type = type(system_error) if isinstance(system_error, StorageError) else StorageError
            raise error_type(
                f"Cannot {verb} the pixels of array {self._where}: {clause(reason)}.", system_error.errno
            ) from error
        keys = (self._damaged_key(meta, selection) for selection in selections)
        key = error.key if isinstance(error, DamagedFileError) else next(filter(None, keys), None)
        if key is None and verb == "write":  # all chunks that the write touches can be decoded
            raise StorageError(f"Cannot write the pixels of array {self._where}: {clause(error)}.") from error
        in_file = f" in {self.documents.storage.where(join(self.path, key))!r}" if key else ""
        advice = (
            "is damaged. Write that region again, or restore the file."
            if self.documents.storage.locks_processes
            # Over a network the received bytes may be damaged, and the stored ones intact.
            else "cannot be decoded, although it was read twice. Compare the stored object with another copy of it."
        )
        raise DamagedDataError(
            f"Cannot {verb} the pixels of array {self._where}: a chunk{in_file} {advice}"
        ) from error

    def _damaged_key(self, meta: ArrayMeta, selection: Selection) -> str | None:
        """Return the key of the first file of a selection that cannot be decoded, by reading them one by one."""
        engine = self._engine_for(meta)
        files = chunk_grid.chunks_by_file(meta, selection)
        for file_index, _ in itertools.islice(files, _MAX_FILES_SEARCHED):
            try:
                engine.read(as_selection(meta.file_region(file_index)))
            except Exception as error:  # decoders raise errors of many types
                storage_error = raised_by_storage(error)  # the file was not read, so it may be intact
                if storage_error is not None:
                    raise storage_error from error
                return meta.chunk_key(file_index)
        return None


def _reopen(
    documents: Documents,
    path: str,
    engine: EngineName | None,
    future_shape: Shape | None,
    held_locks: frozenset[str],
) -> StoredArray:
    array = StoredArray(documents, path, engine=engine)
    array._future_shape, array._held_locks = future_shape, held_locks
    return array


def _appended_shape(old_shape: Shape, block_shape: Shape, axis: int, where: str) -> Shape:
    """Return the shape of an array with a block appended; raise where the block does not fit."""
    axis = whole_number(axis, "The argument axis", -len(old_shape))
    if len(block_shape) != len(old_shape) or axis >= len(old_shape):
        raise InvalidArgumentError(
            f"Cannot append data of shape {block_shape} along axis {axis} of array {where}, which has the shape "
            f"{old_shape}."
        )
    axis %= len(old_shape)
    expected = (*old_shape[:axis], block_shape[axis], *old_shape[axis + 1 :])
    if block_shape != expected:
        raise InvalidArgumentError(
            f"Cannot append data of shape {block_shape} along axis {axis} of array {where}, which has the shape "
            f"{old_shape}: the data need the shape {expected}."
        )
    return (*old_shape[:axis], old_shape[axis] + block_shape[axis], *old_shape[axis + 1 :])


@dataclass(frozen=True)
class ReadRequest:
    """One selection to read: the memory that the engine reads it into, and the array for the caller."""

    selection: Selection
    block: Array
    result: Array
    is_direct: bool
    """Whether the block is the memory of the result."""

    @classmethod
    def into(cls, selection: Selection, result: Array) -> ReadRequest:
        """Read into the memory of `result`, or, for index arrays, into a block that `finish` copies to it."""
        block = selection.prepare(result)
        is_direct = np.may_share_memory(block, result)
        return cls(
            selection, block if is_direct else np.empty(selection.shape, result.dtype), result, is_direct
        )

    def finish(self) -> None:
        """Copy the values from the block into the result; needed unless `is_direct`."""
        np.copyto(self.result, self.selection.finish(self.block))


def results_for(
    selections: Sequence[Selection], dtype: np.dtype[Any], out: Array | None
) -> Array | list[Array]:
    """Return memory for the results: one array with the regions along its first axis, or a list of arrays."""
    shapes = {selection.result_shape for selection in selections}
    if out is not None:
        if len(shapes) > 1:
            raise InvalidArgumentError(
                f"An array out= needs regions of one shape, and these have {len(shapes)}: {sorted(shapes)[:3]}."
            )
        check_out(out, (len(selections), *(shapes.pop() if shapes else out.shape[1:])), dtype)
        return out
    if len(shapes) == 1:
        return np.empty((len(selections), *shapes.pop()), dtype)
    return [np.empty(selection.result_shape, dtype) for selection in selections]


class PinnedArray(StoredArray):
    """An array whose description is never read again; the job that uses it checks whether the document changed."""

    def __init__(self, documents: Documents, path: str, meta: ArrayMeta) -> None:
        super().__init__(documents, path)
        self._pinned = meta

    def __reduce__(self) -> tuple[object, ...]:
        return PinnedArray, (self.documents, self.path, self._pinned)

    @property
    def meta(self) -> ArrayMeta:
        return self._pinned

    def refresh(self) -> ArrayMeta:
        return self._pinned


def pinned(array: StoredArray) -> PinnedArray:
    """Fix the present description of an array."""
    return PinnedArray(array.documents, array.path, array.meta)
