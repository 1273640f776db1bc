"""Pixels by zarr-python: for every store and codec that TensorStore does not serve, and after a fork.

Opened from parsed metadata, once; zarr-python's configuration is left alone.

Layer: store.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coverage import Kind
    from lamella.store.engine import EngineName, Fault
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


class UnknownCodecError(Exception):
    """zarr-python cannot make an array of this metadata."""


class ZarrEngine:
    """An array opened by zarr-python from metadata that is parsed already."""

    name: EngineName = "zarr"

    def __init__(self, storage: Storage, path: str, meta: ArrayMeta) -> None:
        self._meta = meta
        # zarr-python merges every write to a shard with what is there, a write of the whole shard too.
        whole: frozenset[Kind] = frozenset({"inside", "ragged"})
        self.reads_before_writing: frozenset[Kind] = whole if meta.shards else frozenset()
        self._array = _open(meta, _checked_store(storage), path)

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection meets."""
        if selection.paired:
            found = self._array.get_coordinate_selection(selection.axes)
        elif all(isinstance(axis, slice) for axis in selection.axes):
            found = self._array.get_basic_selection(selection.axes)
        else:
            found = self._array.get_orthogonal_selection(selection.axes)
        block = np.asarray(found, dtype=self._meta.dtype).reshape(selection.shape)
        if out is None:
            return block
        np.copyto(out, block)
        return out

    def write(self, selection: Selection, block: Array) -> None:
        """Encode and store the chunks that a selection meets."""
        if self._meta.shards is None or selection.is_box:
            _write(self._array, selection, block)
            return
        for box, inside, part in _by_file(self._meta, selection, block):
            # zarr-python 3.1 fails when index arrays meet several inner chunks of a shard.
            current = np.array(self._array.get_basic_selection(box))
            current[inside] = part
            self._array.set_basic_selection(box, current)

    def encode(self, selection: Selection, block: Array) -> dict[str, bytes]:
        """Encode files in memory."""
        from zarr.storage import MemoryStore

        files: dict[str, Any] = {}
        _write(_open(self._meta, MemoryStore(files), ""), selection, block)
        return {key: value.to_bytes() for key, value in files.items()}

    def fault_of(self, error: Exception) -> Fault:
        """Codecs raise whatever their libraries raise; only the store raises errors of the system."""
        if isinstance(error, UnknownCodecError):
            return "codec"
        return "storage" if isinstance(error, OSError) and error.errno is not None else "damage"


def _write(array: Any, selection: Selection, block: Array) -> None:
    if selection.paired:
        array.set_coordinate_selection(selection.axes, np.ascontiguousarray(block))
    elif all(isinstance(axis, slice) for axis in selection.axes):
        array.set_basic_selection(selection.axes, block)
    else:
        array.set_orthogonal_selection(selection.axes, block)


def _by_file(
    meta: ArrayMeta, selection: Selection, block: Array
) -> Iterator[tuple[tuple[slice, ...], tuple[Array, ...], Array]]:
    """Split a write by file: the file's box, the places inside that box, and their part of the block."""
    positions = [np.arange(a.start, a.stop, a.step) if isinstance(a, slice) else a for a in selection.axes]
    files = [p // f for p, f in zip(positions, meta.files, strict=True)]
    if selection.paired:
        places = np.unique(np.stack(files), axis=1).T.tolist()
    else:
        places = list(itertools.product(*(np.unique(f).tolist() for f in files)))
    for place in places:
        box = tuple(
            slice(k * f, min((k + 1) * f, n)) for k, f, n in zip(place, meta.files, meta.shape, strict=True)
        )
        if selection.paired:
            chosen = np.all([f == k for f, k in zip(files, place, strict=True)], axis=0)
            yield box, tuple(p[chosen] - b.start for p, b in zip(positions, box, strict=True)), block[chosen]
            continue
        masks = [np.flatnonzero(f == k) for f, k in zip(files, place, strict=True)]
        inside = [p[m] - b.start for p, m, b in zip(positions, masks, box, strict=True)]
        yield box, np.ix_(*inside), block[np.ix_(*masks)]


def _checked_store(storage: Storage) -> Any:
    """Wrap a storage for zarr-python: writes go through it, and files of no bytes are an error.

    zarr-python takes a shard of no bytes, which is what a full disk leaves of one, for one never written. Through the
    storage, writes are as atomic and as durable as documents are, whatever the version of zarr-python does.
    """
    import asyncio

    from zarr.storage import WrapperStore

    class CheckedStore(WrapperStore[Any]):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            found = await self._store.get(key, prototype, byte_range)
            if found is not None and len(found) == 0:
                raise ValueError(f"{key} is empty")
            return found

        async def set(self, key: str, value: Any) -> None:
            if storage.locks_processes:
                await asyncio.to_thread(storage.write, key, value.to_bytes())
            else:
                await self._store.set(key, value)

    return CheckedStore(storage.zarr_store())


def _open(meta: ArrayMeta, store: Any, path: str) -> Any:
    from zarr import Array, AsyncArray
    from zarr.storage import StorePath

    document: JSONObject = {
        key: meta.document[key]
        for key in (_V3_KEYS if meta.zarr_format == 3 else _V2_KEYS)
        if key in meta.document
    }
    document["attributes"] = {}
    if meta.zarr_format == 2:
        document.setdefault("filters", None)
        document.setdefault("dimension_separator", ".")
    try:
        opened: Any = AsyncArray(
            metadata=document,  # type: ignore[call-overload]
            store_path=StorePath(store, path),
            config={"order": "C", "write_empty_chunks": True},
        )
    except Exception as error:
        raise UnknownCodecError(str(error)) from error
    return Array(opened)
