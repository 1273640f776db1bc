"""The pixels of one array: reading, writing and resizing, over either engine.

Keeps the promises that no engine keeps alone: a file that a write covers whole is replaced without being read, writers
of different parts of one file wait for each other, and a handle notices when another process changed the array. What
moves pixels is imported when pixels are moved: plates are made and walked without.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from math import prod
from operator import gt
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import numpy as np

from lamella.arguments import items_of, whole_number, whole_numbers
from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    LamellaError,
    OutOfBoundsError,
    StorageError,
    TooLargeError,
)
from lamella.store import chunk_grid
from lamella.store.assignment import cast, cast_for, check_out, last_wins
from lamella.store.engine import Engine, EngineName, open_engine, opening
from lamella.store.keys import join
from lamella.store.memory_limits import check_block
from lamella.store.selection import Index, Selection, basic_or_fancy, orthogonal, points
from lamella.store.service_errors import raised_by_storage
from lamella.store.stored_chunks import stored_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.documents import Documents
    from lamella.store.storage import Stamp
    from lamella.types import Array, Shape

Select: TypeAlias = "Callable[[Index, Shape], Selection]"
"""How an index is read."""

#: Files read one by one to name the damaged one.
_MOST_SEARCHED = 4096


class StoredArray:
    """One array of a store.

    Parameters
    ----------
    documents : Documents
        Of the store.
    path : str
        Of the array.
    engine : {"files", "zarr"}, optional
        Ask for one engine; by default the best that can serve the array.

    Examples
    --------
    >>> import tempfile
    >>> from lamella.store.documents import Documents, new_array
    >>> from lamella.store.storage import open_storage
    >>> documents = Documents.create(open_storage(tempfile.mkdtemp()), 3)
    >>> documents.put_array("0", new_array((2, 3), "uint16", zarr_format=3))
    >>> array = StoredArray(documents, "0")
    >>> array.write((slice(None), 0), [7, 8])
    >>> array.read((slice(None), slice(None, None, -1)))
    array([[0, 0, 7],
           [0, 0, 8]], dtype=uint16)
    """

    def __init__(self, documents: Documents, path: str, *, engine: EngineName | None = None) -> None:
        self.documents = documents
        self.path = path
        self._only = engine
        self._known: tuple[Stamp | None, ArrayMeta] | None = None
        self._opened: tuple[ArrayMeta, Engine] | None = None
        self._reach: Shape | None = None
        self._held: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"StoredArray({self.documents.location(self.path)})"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.documents, self.path, self._only, self._reach, self._held)

    def reaching(self, shape: Shape, held: frozenset[str]) -> StoredArray:
        """Return the array as it will be once it has grown to a shape; see `lamella.store.growth.growing`.

        Parameters
        ----------
        shape : tuple of int
            The shape that the array is about to get.
        held : frozenset of str
            Names of the locks of files that the caller holds.
        """
        return _reopen(self.documents, self.path, self._only, shape, held)

    @property
    def meta(self) -> ArrayMeta:
        """What the array's document says now.

        Where the store can tell that the document is unchanged (local ones), it is read once; where it
        cannot, it is kept until `refresh`.

        Raises
        ------
        NodeNotFoundError, MetadataError
            There is no array, or its document is damaged.
        """
        known = self._known
        if known is None or known[0] != self.documents.array_stamp(self.path):
            found, stamp = self.documents.stamped_array(self.path)
            if self._reach is not None:
                found = found.with_shape(tuple(map(max, found.shape, self._reach)))
            known = self._known = stamp, found
        return known[1]

    def latest(self) -> ArrayMeta:
        """Return what the document says now, read each time where the store cannot tell whether it changed."""
        if self._known is not None and self._known[0] is None:
            self._known = None
        return self.meta

    @property
    def last_meta(self) -> ArrayMeta:
        """What the document said when it was last looked at."""
        known = self._known
        return self.meta if known is None else known[1]

    def refresh(self) -> ArrayMeta:
        """Read the document again, whatever the store says."""
        self._known = None
        return self.meta

    @property
    def engine(self) -> Engine:
        """The engine that serves the array, opened on first use.

        Raises
        ------
        DamagedDataError
            The chunks are stored with a codec that no engine knows.
        """
        return self._engine_for(self.meta)

    def _engine_for(self, meta: ArrayMeta) -> Engine:
        """Return the engine opened for a shape and coding; what one call does, it does with one of them."""
        if self._opened is not None:
            opened, engine = self._opened
            if opened is meta or opened.document == meta.document:
                return engine
        with opening(self.documents.storage, self.path, meta, self._where):
            engine = open_engine(self.documents.storage, self.path, meta, self._only)
        self._opened = meta, engine
        return engine

    # ---- reading --------------------------------------------------------------------------------

    def read(self, index: Index = ..., out: Array | None = None) -> Array:
        """Read an index as numpy would from an array in memory.

        Parameters
        ----------
        index : int, slice, ``...``, array of int or bool, or a tuple of these
            In the order of the array's axes.
        out : ndarray, optional
            Of the result's shape and the array's dtype: filled in place, without a copy where the index
            allows.

        Returns
        -------
        ndarray
            A new array, or `out`.

        Raises
        ------
        OutOfBoundsError
            The index does not fit the shape.
        DamagedDataError
            A chunk or shard cannot be decoded.
        StorageError
            The store refused.
        """
        return self._read(basic_or_fancy, index, out)

    def read_orthogonal(self, index: Index, out: Array | None = None) -> Array:
        """Read an index whose arrays pick along their own axis each."""
        return self._read(orthogonal, index, out)

    def read_points(self, index: Index, out: Array | None = None) -> Array:
        """Read an index whose arrays pair up to points."""
        return self._read(points, index, out)

    def _read(self, select: Select, index: Index, out: Array | None) -> Array:
        meta = self.meta
        selection = select(index, meta.shape)
        if out is not None:
            check_out(out, selection.result, meta.dtype)
        if selection.is_empty:
            return np.empty(selection.result, meta.dtype) if out is None else out
        if out is None:
            check_block(selection.result, meta.dtype.itemsize, f"reading array {self._where}")
        engine = self._engine_for(meta)
        try:
            if out is None:
                return selection.finish(engine.read(selection))
            block = selection.prepare(out) if selection.is_plain else None
            if block is not None and np.may_share_memory(block, out):
                engine.read(selection, block)
            else:
                np.copyto(out, selection.finish(engine.read(selection)))
        except LamellaError:
            raise
        except MemoryError as error:
            raise self._too_large("read", error) from error
        except engine.errors as error:
            self._explain("read", meta, [selection], error, engine)
        return out

    def read_many(self, indices: Iterable[Index], out: Array | None = None) -> Array | list[Array]:
        """Read many indices in one call: each file is opened, and each chunk decoded, once for all of them.

        Parameters
        ----------
        indices : iterable of int, slice, ``...``, array, or tuple of these
            Each as for `read`.
        out : ndarray, optional
            Where all results have one shape: of that shape behind an axis for the indices, and of the array's dtype.

        Returns
        -------
        ndarray or list of ndarray
            The results along a first axis where all have one shape, and a list otherwise.

        Raises
        ------
        OutOfBoundsError, DamagedDataError, StorageError
            As `read`.
        InvalidArgumentError
            The results do not fit `out`.
        """
        from lamella.store.many_reads import Wanted, results_for

        meta = self.meta
        regions = items_of(indices, "regions is a list of indices")
        selections = [basic_or_fancy(index, meta.shape) for index in regions]
        if out is None:
            total = sum(prod(selection.result) for selection in selections)
            check_block((total,), meta.dtype.itemsize, f"reading many regions of array {self._where}")
        results = results_for(selections, meta.dtype, out)
        wanted = [
            Wanted.into(selection, results[n, ...] if isinstance(results, np.ndarray) else results[n])
            for n, selection in enumerate(selections)
            if not selection.is_empty
        ]
        reader = self._engine_for(meta)
        try:
            reader.read_many([(one.selection, one.block) for one in wanted])
        except LamellaError:
            raise
        except MemoryError as error:
            raise self._too_large("read", error) from error
        except reader.errors as error:
            self._explain("read", meta, [one.selection for one in wanted], error, reader)
        for one in wanted:
            one.finish()
        return results

    # ---- writing --------------------------------------------------------------------------------

    def write(self, index: Index, data: object) -> None:
        """Write to an index as numpy would to an array in memory: broadcast, and cast to the array's dtype.

        Returns when the data is stored: a kill afterwards loses nothing. Chunks and shards that the index
        covers whole are replaced without being read.

        Parameters
        ----------
        index : int, slice, ``...``, array of int or bool, or a tuple of these
            In the order of the array's axes.
        data : array_like
            Of a shape that broadcasts to the index's.

        Raises
        ------
        ReadOnlyError
            The store is open for reading.
        OutOfBoundsError, InvalidArgumentError
            The index does not fit the shape, or the data does not fit the index or the dtype.
        DamagedDataError
            A chunk or shard that is covered in part cannot be decoded.
        StorageError
            The store refused: a full disk, no permission.
        """
        self._write(basic_or_fancy, index, data)

    def write_orthogonal(self, index: Index, data: object) -> None:
        """Write to an index whose arrays pick along their own axis each."""
        self._write(orthogonal, index, data)

    def write_points(self, index: Index, data: object) -> None:
        """Write to an index whose arrays pair up to points."""
        self._write(points, index, data)

    def _write(self, select: Select, index: Index, data: object) -> None:
        self.documents.storage.claim(self.path)
        meta = self.meta
        selection = select(index, meta.shape)
        check_block(selection.result, meta.dtype.itemsize, f"writing to array {self._where}")
        block = selection.prepare(cast(data, selection, meta.dtype, self._where))
        if selection.is_empty:
            return
        selection, block = last_wins(selection, block)
        while True:
            with self._locks(meta, selection) as alone:
                # Before we held the locks, another writer may have grown the array: a file that we would have
                # replaced then has pixels of its own beyond our shape.
                now = self.meta if alone else meta
                if now is meta or now.document == meta.document:
                    self._write_held(meta, selection, block)
                    return
            if now.ndim != meta.ndim or not selection.fits(now.shape):
                raise OutOfBoundsError(
                    f"cannot write to array {self._where}: another writer changed its shape from {meta.shape} "
                    f"to {now.shape} meanwhile"
                )
            meta, block = now, cast_for(block, now.dtype, self._where, selection)

    def _write_held(self, meta: ArrayMeta, selection: Selection, block: Array) -> None:
        engine = self._engine_for(meta)
        try:
            engine.write(selection, block)
        except LamellaError:
            raise
        except MemoryError as error:
            raise self._too_large("write", error) from error
        except engine.errors as error:
            self._explain("write", meta, [selection], error, engine)

    def prepare(self) -> None:
        """Load what writes, that the first frame takes as long as any other."""
        self._engine_for(self.meta)

    @contextmanager
    def _locks(self, meta: ArrayMeta, selection: Selection) -> Iterator[bool]:
        """Lock the files that a write does not fill to their last pixel; yield whether there are any.

        Files that it fills need no lock: whoever writes to them at the same time writes to the same pixels.
        """
        names = chunk_grid.lock_names(chunk_grid.unfilled_files(meta, selection, chunk_grid.LOCKS))
        with ExitStack() as locks:
            for name in names:
                if name not in self._held:
                    locks.enter_context(self.documents.storage.lock(join(self.path, name)))
            yield bool(names)

    # ---- resizing -------------------------------------------------------------------------------

    def _writable(self) -> ArrayMeta:
        self.documents.storage.claim(self.path)
        return self.meta

    def resize(self, shape: Sequence[int]) -> None:
        """Change the lengths of the axes.

        New places hold the fill value. What is cut off is gone: growing again does not bring it back.

        Raises
        ------
        InvalidArgumentError
            Not one length per axis, or a negative one.
        """
        from lamella.store.growth import growing

        new = _new_shape(shape, self._writable().shape, self._where)
        with self.shape_lock():
            meta = self.refresh()
            shrunk = tuple(map(min, meta.shape, new))
            if shrunk != meta.shape:
                # First: a kill in between leaves fill values where the caller wanted nothing, never old
                # pixels later.
                self._clear_beyond(meta, shrunk)
                self.documents.put_shape(self.path, shrunk)
                self.refresh()
        if any(map(gt, new, shrunk)):
            with growing(self, lambda _: new):
                pass

    def append(self, data: object, axis: int = 0) -> Shape:
        """Make an axis longer by the data and write it there; returns the new shape.

        The longer shape is published when the data is stored: a reader never sees a part of them, and a failure or a
        kill leaves the array as it was.

        Raises
        ------
        InvalidArgumentError
            The data does not fit the other axes.
        """
        from lamella.store.growth import growing

        block = cast_for(data, self._writable().dtype, self._where)
        new = self.appended(block.shape, axis)
        axis %= len(new)

        def grow(old: Shape) -> Shape:
            return _appended(old, block.shape, axis, self._where)

        with growing(self, grow, is_overwritten=True) as larger:
            new = larger.meta.shape
            larger.write((*(slice(None),) * axis, slice(new[axis] - block.shape[axis], new[axis])), block)
        return new

    def appended(self, shape: Shape, axis: int = 0) -> Shape:
        """Return the shape of the array with a block of a shape appended to it.

        Raises
        ------
        InvalidArgumentError
            The block does not fit the other axes.
        """
        return _appended(self.meta.shape, shape, axis, self._where)

    def shape_lock(self) -> AbstractContextManager[None]:
        """Lock the shape: every change of it keeps this lock from reading the old one to writing the new one."""
        return self.documents.storage.lock(join(self.path, "shape"))

    def _clear_beyond(self, meta: ArrayMeta, new: Shape) -> None:
        """Delete the files beyond a smaller shape, and fill what lies beyond it in the files on its edge."""
        for place in stored_places(self.documents.storage, self.path, meta):
            inside = meta.file_box(place)
            if any(one.start >= n for one, n in zip(inside, new, strict=True)):
                self.documents.storage.delete(join(self.path, meta.chunk_key(place)))
                continue
            for axis, n in enumerate(new):
                if n < inside[axis].stop:
                    self.write((*inside[:axis], slice(n, inside[axis].stop)), meta.fill_value)

    # ---- errors ---------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return self.documents.location(self.path)

    def _too_large(self, verb: str, error: MemoryError) -> TooLargeError:
        return TooLargeError(
            f"cannot {verb} the pixels of array {self._where}: there is not enough memory ({error or 'none left'}); "
            "take a smaller region"
        )

    def _explain(
        self, verb: str, meta: ArrayMeta, selections: list[Selection], error: Exception, engine: Engine
    ) -> NoReturn:
        from lamella.store.chunk_source import DamagedFileError

        fault = engine.system_fault(error)
        if fault is not None:
            reason = fault.strerror or str(fault)
            kind = type(fault) if isinstance(fault, StorageError) else StorageError
            raise kind(f"cannot {verb} the pixels of array {self._where}: {reason}", fault.errno) from error
        keys = (self._damaged_key(meta, selection) for selection in selections)
        key = error.key if isinstance(error, DamagedFileError) else next(filter(None, keys), None)
        if key is None and verb == "write":  # every chunk that it meets can be read
            raise StorageError(f"cannot write the pixels of array {self._where}: {error}") from error
        where = f" in {self.documents.storage.where(join(self.path, key))!r}" if key else ""
        advice = (
            "is damaged; write that region again, or restore the file"
            if self.documents.storage.locks_processes
            # Over a network what came may be damaged, and not what is stored.
            else "cannot be decoded, although it was read twice; compare the stored object with another copy of it"
        )
        raise DamagedDataError(
            f"cannot {verb} the pixels of array {self._where}: a chunk{where} {advice}"
        ) from error

    def _damaged_key(self, meta: ArrayMeta, selection: Selection) -> str | None:
        """Name the first file of a selection that cannot be decoded, by reading them one by one."""
        from lamella.store.write_plan import as_selection

        engine = self._engine_for(meta)
        box = tuple(
            slice(int(axis.start), int(axis.stop), 1)
            if isinstance(axis, slice)
            else slice(int(axis.min()), int(axis.max()) + 1, 1)
            for axis in selection.axes
        )
        for place in itertools.islice(chunk_grid.files_of(meta, box), _MOST_SEARCHED):
            try:
                engine.read(as_selection(meta.file_box(place)))
            except Exception as error:  # whatever the decoder raises, this is the file
                refused = raised_by_storage(error)
                if refused is not None:
                    raise refused from error
                return meta.chunk_key(place)
        return None


def _reopen(
    documents: Documents, path: str, engine: EngineName | None, reach: Shape | None, held: frozenset[str]
) -> StoredArray:
    array = StoredArray(documents, path, engine=engine)
    array._reach, array._held = reach, held
    return array


def _appended(old: Shape, block: Shape, axis: int, where: str) -> Shape:
    """Return the shape of an array with a block appended, or refuse the block."""
    axis = whole_number(axis, "axis", -len(old))
    if len(block) != len(old) or axis >= len(old):
        raise InvalidArgumentError(
            f"cannot append data of shape {block} to axis {axis} of shape {old} (array {where})"
        )
    axis %= len(old)
    expected = (*old[:axis], block[axis], *old[axis + 1 :])
    if block != expected:
        raise InvalidArgumentError(
            f"cannot append data of shape {block} to axis {axis} of shape {old}: expected {expected} (array {where})"
        )
    return (*old[:axis], old[axis] + block[axis], *old[axis + 1 :])


def _new_shape(shape: Sequence[int], old: Shape, where: str) -> Shape:
    new = whole_numbers(shape, "shape", 0)
    if len(new) != len(old) or any(n >= 1 << 62 for n in new):
        raise InvalidArgumentError(
            f"cannot resize an array of shape {old} to {new}: one length >= 0 per axis (array {where})"
        )
    return new
