"""Read and write pixels through zarr-python, for codecs that the own engine does not support. Imports zarr-python.

Three things are added:

- Blosc codecs check the length of a chunk before decoding it: numcodecs passes c-blosc a pointer without a length.
- Damaged files raise errors, and a failed write is reported after the writes of other chunks ended (`CheckedStore`).
- Shards that a write covers whole are encoded in memory: zarr-python itself reads every shard before writing it.
"""

from __future__ import annotations

import asyncio
import errno
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import BloscCodec, ShardingCodec
from zarr.core.sync import sync
from zarr.storage import WrapperStore

from lamella.store.keys import join
from lamella.store.objects.service_errors import raised_by_storage
from lamella.store.pixels import chunk_grid
from lamella.store.pixels.coding import check_blosc_length
from lamella.store.pixels.engine import MissingChunks
from lamella.store.pixels.selection import Selection, as_selection, crossed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.core.array_spec import ArrayConfigParams

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.engine import EngineName
    from lamella.store.storage import Storage
    from lamella.types import JSON, Array, JSONObject

_BlockWrite: TypeAlias = "tuple[Selection, Array]"
"""A selection, and the block to write there."""

#: Limit of the pixels, in bytes, that are encoded in memory before their files are written.
_BATCH_BYTES = 64 << 20

_CONFIG: ArrayConfigParams = {"order": "C", "write_empty_chunks": True}


class UnknownCodecError(Exception):
    """zarr-python cannot open an array with this metadata."""


class ZarrEngine:
    """An array opened by zarr-python from parsed metadata."""

    name: EngineName = "zarr"
    errors: tuple[type[Exception], ...] = (Exception,)  # each codec raises what its library raises

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta) -> None:
        self._meta = meta
        self._path = path
        self._storage = storage
        self._store = storage.zarr_store()
        missing = MissingChunks(storage, path, meta)
        self._async_array = _async_array(meta, CheckedStore(self._store, storage, missing), path)
        self._array = _sync_array(self._async_array)

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection touches; over a network, read them again before failing."""
        try:
            return self._read(selection, out)
        except Exception as error:
            if self._storage.service is None or raised_by_storage(error) is not None:
                raise
        return self._read(selection, out)

    def _read(self, selection: Selection, out: Array | None) -> Array:
        if selection.is_paired:
            values = self._array.get_coordinate_selection(selection.axes)
        elif all(isinstance(axis, slice) for axis in selection.axes):
            values = self._array.get_basic_selection(selection.axes)
        else:
            values = self._array.get_orthogonal_selection(selection.axes)
        block = np.asarray(values, dtype=self._meta.dtype).reshape(selection.shape)
        if out is None:
            return block
        np.copyto(out, block)
        return out

    def read_many(self, requests: Sequence[tuple[Selection, Array]]) -> None:
        for selection, block in requests:
            self.read(selection, block)

    def write(self, selection: Selection, block: Array) -> None:
        """Encode and store the chunks that a selection touches; shards that it covers whole are not read before."""
        if self._meta.shards is None:
            self._change([(selection, block)])
            return
        whole_shards: list[_BlockWrite] = []
        partial_writes: list[_BlockWrite] = []
        for file_index, file_selection, file_block in chunk_grid.split_by_file(self._meta, selection, block):
            is_whole = (
                file_selection.is_region
                and file_block.shape == as_selection(self._meta.file_region(file_index)).shape
            )
            (whole_shards if is_whole else partial_writes).append((file_selection, file_block))
        if selection.is_region and not whole_shards:
            partial_writes = [(selection, block)]  # zarr-python changes many shards at once
        elif selection.is_region and not partial_writes and block.nbytes <= _BATCH_BYTES:
            whole_shards = [(selection, block)]  # zarr-python encodes many shards at once
        self._replace(whole_shards)
        if partial_writes:
            self._change(partial_writes)

    def _replace(self, block_writes: list[_BlockWrite]) -> None:
        """Encode whole shards in memory, and store them in batches."""
        from zarr.storage import MemoryStore

        files: dict[str, Any] = {}
        array = _sync_array(_async_array(self._meta, MemoryStore(files), ""))
        size = 0
        for number, (file_selection, file_block) in enumerate(block_writes, 1):
            _write(array, file_selection, file_block)
            size += file_block.nbytes
            if size >= _BATCH_BYTES or number == len(block_writes):
                self._storage.write_many(
                    (join(self._path, key), value.to_bytes()) for key, value in files.items()
                )
                files.clear()
                size = 0

    def _change(self, block_writes: list[_BlockWrite]) -> None:
        """Read, change and store files."""
        store = CheckedStore(self._store, self._storage, is_write=True)
        array = _sync_array(self._async_array, store)
        try:
            for file_selection, file_block in block_writes:
                if self._meta.shards is None or file_selection.is_region:
                    _write(array, file_selection, file_block)
                    continue
                # Change the whole shard: zarr-python 3.1 fails where index arrays touch several inner chunks of one.
                bounds = file_selection.bounds
                assert bounds is not None
                region = self._meta.file_region(
                    [
                        first // file_length
                        for first, file_length in zip(bounds[0], self._meta.files, strict=True)
                    ]
                )
                shard_block = np.array(array.get_basic_selection(region))
                shard_block[_relative_index(file_selection, region)] = file_block
                array.set_basic_selection(region, shard_block)
        except Exception:
            store.settle()
            raise

    def system_error(self, error: Exception) -> OSError | None:
        """Return errors of the system, recognised by type: codecs raise other exceptions."""
        storage_error = raised_by_storage(error)
        if storage_error is not None:
            return storage_error
        return error if isinstance(error, OSError) and error.errno is not None else None


def _write(array: Any, selection: Selection, block: Array) -> None:
    if selection.is_paired:
        array.set_coordinate_selection(selection.axes, np.ascontiguousarray(block))
    elif all(isinstance(axis, slice) for axis in selection.axes):
        array.set_basic_selection(selection.axes, block)
    else:
        array.set_orthogonal_selection(selection.axes, block)


def _relative_index(selection: Selection, region: tuple[slice, ...]) -> tuple[Any, ...]:
    """Return the numpy index of a selection, relative to the region around it."""
    shifted = [
        slice(axis.start - outer_slice.start, axis.stop - outer_slice.start, axis.step)
        if isinstance(axis, slice)
        else axis - outer_slice.start
        for axis, outer_slice in zip(selection.axes, region, strict=True)
    ]
    if selection.is_paired or all(isinstance(axis, slice) for axis in shifted):
        return tuple(shifted)
    return crossed(shifted)


def _sync_array(opened: Any, store: Any = None) -> Any:
    """Return the synchronous array, optionally over another store, without parsing metadata again."""
    from zarr import Array, AsyncArray
    from zarr.storage import StorePath

    if store is not None:
        opened = AsyncArray(opened.metadata, StorePath(store, opened.store_path.path), _CONFIG)
    return Array(opened)


def _async_array(meta: ArrayMeta, store: Any, path: str) -> Any:
    """Return the asynchronous array of parsed metadata, with only the keys that define the chunks."""
    from zarr import AsyncArray
    from zarr.storage import StorePath

    document: JSONObject = {**meta.chunk_document, "attributes": {}}
    try:
        if meta.zarr_format == 2:
            document.setdefault("filters", None)
            document.setdefault("dimension_separator", ".")
            document["compressor"] = checked_compressor(document.get("compressor"))
        else:
            document["codecs"] = [checked_codec(codec) for codec in document["codecs"]]
        return AsyncArray(
            metadata=document,  # type: ignore[call-overload]
            store_path=StorePath(store, path),
            config=_CONFIG,
        )
    except Exception as error:
        raise UnknownCodecError(str(error)) from error


class CheckedBlosc(Blosc):  # type: ignore[misc]
    """Blosc of numcodecs that raises where the length in a chunk's header is not the length of the chunk."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        check_blosc_length(memoryview(buf).cast("B"))
        return super().decode(buf, out)


class CheckedBloscCodec(BloscCodec):
    """Blosc codec of Zarr v3 with the same check."""

    @cached_property
    def _blosc_codec(self) -> Any:
        return _CheckedMethods(BloscCodec.__dict__["_blosc_codec"].func(self))


class _CheckedMethods:
    """The methods of a numcodecs codec that zarr-python calls."""

    def __init__(self, blosc: Any) -> None:
        self.encode = blosc.encode
        self._decode = blosc.decode

    def decode(self, buf: Any) -> Any:
        check_blosc_length(memoryview(buf).cast("B"))
        return self._decode(buf)


def checked_compressor(compressor: JSON) -> Any:
    """Return the ``compressor`` of a ``.zarray`` for zarr-python, with checked blosc."""
    if isinstance(compressor, dict) and compressor.get("id") == "blosc":
        return CheckedBlosc(**{key: value for key, value in compressor.items() if key != "id"})
    return compressor


def checked_codec(codec: JSON) -> Any:
    """Return a codec of a ``zarr.json`` for zarr-python, with checked blosc, also inside shards."""
    if isinstance(codec, str):
        return {"name": codec}
    configuration = codec.get("configuration", {})
    if codec["name"] == "blosc":
        return CheckedBloscCodec.from_dict(codec)
    if codec["name"] == "sharding_indexed":
        return ShardingCodec(
            chunk_shape=tuple(configuration["chunk_shape"]),
            codecs=[checked_codec(inner) for inner in configuration["codecs"]],
            index_codecs=[checked_codec(inner) for inner in configuration["index_codecs"]],
            index_location=configuration.get("index_location", "end"),
        )
    return codec


class CheckedStore(WrapperStore[Any]):
    """The storage of one array as a zarr-python store: one instance for reading, one per write.

    - A file of 0 bytes raises; zarr-python would read it as never written, although a full disk can leave one.
    - Local writes are as atomic and durable as those of documents.
    - Links that lead out of the store are refused.
    - `missing` is notified of the first missing chunk.
    - If the answer to a read was 403 (forbidden), the write only creates the key: the chunk may exist but be
      unreadable, and must not be replaced.
    - zarr-python reports the first failed chunk while others are still being written: `settle` waits for those.
    """

    def __init__(
        self, store: Any, storage: Storage, missing: MissingChunks | None = None, *, is_write: bool = False
    ) -> None:
        super().__init__(store)
        self._storage = storage
        self._missing = missing
        self._stopped = False
        self._perhaps_unreadable: set[str] | None = set() if is_write else None
        self._pending: set[asyncio.Future[None]] = set()

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._storage.check_file(key)
        service = self._storage.service
        if service is None:
            buffer = await self._store.get(key, prototype, byte_range)
        else:  # a failed request raises its own error, and is not reported as a damaged chunk
            buffer = await service.get(key, byte_range, prototype)
            if buffer is None and self._perhaps_unreadable is not None and service.forbidden_means_missing:
                self._perhaps_unreadable.add(key)
        if buffer is None and self._missing is not None:
            self._missing.report()
        if buffer is not None and len(buffer) == 0:
            raise ValueError(f"{key} is empty")
        return buffer

    async def set(self, key: str, value: Any) -> None:
        """Write a file, unless another file of the same write has failed."""
        if self._stopped:
            raise OSError(errno.ECANCELED, "another file of the same write failed")
        service, data = self._storage.service, value.to_bytes()
        writing: Any
        if service is None:
            writing = asyncio.to_thread(self._storage.write, key, data)
        else:
            writing = (
                service.create(key, data)
                if key in (self._perhaps_unreadable or ())
                else service.set(key, data)
            )
        task = asyncio.ensure_future(writing)
        self._pending.add(task)
        try:
            await task
        finally:
            self._pending.discard(task)

    def settle(self) -> None:
        """Start no further write, and wait for the running ones."""
        self._stopped = True
        sync(self._finish())

    async def _finish(self) -> None:
        await asyncio.gather(*self._pending, return_exceptions=True)
