"""Read and write pixels through zarr-python, for codecs that the own engine does not support.

Arrays are opened from parsed metadata, once. zarr-python's configuration is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.store import chunk_grid
from lamella.store.keys import join
from lamella.store.engine import MissingChunks
from lamella.store.selection import crossed
from lamella.store.service_errors import raised_by_storage
from lamella.store.write_plan import write_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.core.array_spec import ArrayConfigParams

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.engine import EngineName
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array, JSONObject

_V3_KEYS = (
    *("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding"),
    *("fill_value", "codecs"),
)
_V2_KEYS = (
    *("zarr_format", "shape", "chunks", "dtype", "compressor", "fill_value", "order", "filters"),
    "dimension_separator",
)


_CONFIG: ArrayConfigParams = {"order": "C", "write_empty_chunks": True}


class UnknownCodecError(Exception):
    """zarr-python cannot open an array with this metadata."""


class ZarrEngine:
    """An array opened by zarr-python from parsed metadata."""

    name: EngineName = "zarr"
    errors: tuple[type[Exception], ...] = (Exception,)  # each codec raises what its library raises

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta) -> None:
        from lamella.store.checked_store import CheckedStore

        self._meta = meta
        self._path = path
        self._storage = storage
        self._store = storage.zarr_store()
        missing = MissingChunks(storage, path, meta)
        self._opened = _open(meta, CheckedStore(self._store, storage, missing), path)
        self._array = _over(self._opened)

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection touches; over a network, read them again before failing."""
        try:
            return self._read(selection, out)
        except Exception as error:
            if self._storage.service is None or raised_by_storage(error) is not None:
                raise
        return self._read(selection, out)

    def _read(self, selection: Selection, out: Array | None) -> Array:
        if selection.paired:
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
        """Read one selection after the other."""
        for selection, block in requests:
            self.read(selection, block)

    def write(self, selection: Selection, block: Array) -> None:
        """Encode and store the chunks that a selection touches."""
        if self._meta.shards is None or not selection.is_region:
            self._change(selection, block)
            return
        # zarr-python reads the old shard before every write, even where the write covers the shard whole.
        write_region(
            self._meta, selection, block, change=self._change, encode=self._encode, store=self._store_files
        )

    def _store_files(self, files: dict[str, bytes]) -> None:
        self._storage.write_many((join(self._path, key), data) for key, data in files.items())

    def _change(self, selection: Selection, block: Array) -> None:
        from lamella.store.checked_store import CheckedStore

        store = CheckedStore(self._store, self._storage, is_write=True)
        array = _over(self._opened, store)
        try:
            if self._meta.shards is None or selection.is_region:
                _write(array, selection, block)
            else:
                self._write_by_shard(array, selection, block)
        except Exception:
            store.settle()
            raise

    def _write_by_shard(self, array: Any, selection: Selection, block: Array) -> None:
        """Change whole shards: zarr-python 3.1 fails where index arrays touch several inner chunks of a shard."""
        for file_index, chosen, part in chunk_grid.by_file(self._meta, selection, block):
            region = self._meta.file_region(file_index)
            current = np.array(array.get_basic_selection(region))
            current[_inside(chosen, region)] = part
            array.set_basic_selection(region, current)

    def _encode(self, selection: Selection, block: Array) -> dict[str, bytes]:
        """Encode files in memory."""
        from zarr.storage import MemoryStore

        files: dict[str, Any] = {}
        _write(_over(_open(self._meta, MemoryStore(files), "")), selection, block)
        return {key: value.to_bytes() for key, value in files.items()}

    def system_fault(self, error: Exception) -> OSError | None:
        """Return errors of the system, recognised by type: codecs raise other exceptions."""
        storage_error = raised_by_storage(error)
        if storage_error is not None:
            return storage_error
        return error if isinstance(error, OSError) and error.errno is not None else None


def _write(array: Any, selection: Selection, block: Array) -> None:
    if selection.paired:
        array.set_coordinate_selection(selection.axes, np.ascontiguousarray(block))
    elif all(isinstance(axis, slice) for axis in selection.axes):
        array.set_basic_selection(selection.axes, block)
    else:
        array.set_orthogonal_selection(selection.axes, block)


def _inside(selection: Selection, region: tuple[slice, ...]) -> tuple[Any, ...]:
    """Return the numpy index of a selection, relative to the region around it."""
    shifted = [
        slice(axis.start - b.start, axis.stop - b.start, axis.step)
        if isinstance(axis, slice)
        else axis - b.start
        for axis, b in zip(selection.axes, region, strict=True)
    ]
    if selection.paired or all(isinstance(axis, slice) for axis in shifted):
        return tuple(shifted)
    return crossed(shifted)


def _over(opened: Any, store: Any = None) -> Any:
    """Return the synchronous array, optionally over another store, without parsing metadata again."""
    from zarr import Array, AsyncArray
    from zarr.storage import StorePath

    if store is not None:
        opened = AsyncArray(opened.metadata, StorePath(store, opened.store_path.path), _CONFIG)
    return Array(opened)


def _open(meta: ArrayMeta, store: Any, path: str) -> Any:
    """Return the asynchronous array of parsed metadata, with only the keys that define the chunks."""
    from zarr import AsyncArray
    from zarr.storage import StorePath

    from lamella.store.checked_blosc import checked_v2, checked_v3

    document: JSONObject = {
        key: meta.document[key]
        for key in (_V3_KEYS if meta.zarr_format == 3 else _V2_KEYS)
        if key in meta.document
    }
    document["attributes"] = {}
    try:
        if meta.zarr_format == 2:
            document.setdefault("filters", None)
            document.setdefault("dimension_separator", ".")
            document["compressor"] = checked_v2(document.get("compressor"))
        else:
            document["codecs"] = [checked_v3(codec) for codec in document["codecs"]]
        return AsyncArray(
            metadata=document,  # type: ignore[call-overload]
            store_path=StorePath(store, path),
            config=_CONFIG,
        )
    except Exception as error:
        raise UnknownCodecError(str(error)) from error
