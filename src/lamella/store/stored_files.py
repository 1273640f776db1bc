"""Check the stored files of an array by their sizes, headers and shard indexes, without decoding chunks.

Truncated chunks are found here; flipped bits are found only by decoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.keys import join
from lamella.store.shard_index import NO_CHUNK, IndexForm, decode_index

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import Shape

_BLOSC_HEADER = 16
_CHECKSUM = 4

NO_FILE = "it is not a file: a folder, or a special file, is in its place"
"""Message where the path of a chunk or shard is not a file."""


@dataclass(frozen=True)
class StoredFile:
    """One file of an array: a chunk, or a shard.

    Attributes
    ----------
    file_index
        File index.
    key
        Key below the array.
    size
        Bytes.
    present
        Which chunks of the file are stored; one axis per axis of the array.
    damaged
        Which stored chunks are incomplete.
    fault
        The problem in words; "" where there is none.
    """

    file_index: Shape
    key: str
    size: int
    present: np.ndarray[Any, np.dtype[np.bool_]]
    damaged: np.ndarray[Any, np.dtype[np.bool_]]
    fault: str = ""


def inspect_stored_file(storage: Storage, path: str, meta: ArrayMeta, file_index: Shape) -> StoredFile | None:
    """Check one file of an array; None where it is missing."""
    key = meta.chunk_key(file_index)
    size = storage.size(join(path, key))
    if size is None:
        return _no_file(meta, file_index, key) if storage.exists(join(path, key)) else None
    if meta.shards is not None:
        return _shard(storage, path, meta, file_index, key, size)
    fault = _fault_of_chunk(storage, join(path, key), meta, size)
    one_chunk = np.ones((1,) * meta.ndim, bool)
    return StoredFile(file_index, key, size, one_chunk, one_chunk & bool(fault), fault)


def _no_file(meta: ArrayMeta, file_index: Shape, key: str) -> StoredFile:
    """Describe a folder, a pipe or a device at the path of a file: none of its chunks can be read."""
    everything = np.ones(tuple(f // c for f, c in zip(meta.files, meta.chunks, strict=True)), bool)
    return StoredFile(file_index, key, 0, everything, everything, NO_FILE)


def _shard(
    storage: Storage, path: str, meta: ArrayMeta, file_index: Shape, key: str, size: int
) -> StoredFile | None:
    chunks = tuple(f // c for f, c in zip(meta.files, meta.chunks, strict=True))
    everything = np.ones(chunks, bool)
    form = IndexForm.of(meta)
    if form is None:  # the index has unsupported codecs: only the file's presence is known
        return StoredFile(file_index, key, size, everything, ~everything)
    data = storage.read_range(join(path, key), -form.size if form.at_end else 0, form.size)
    if data is None:
        return None
    try:
        entries = decode_index(data, form, key)
    except DamagedDataError as error:
        return StoredFile(file_index, key, size, everything, everything, str(error))
    present = entries[:, 0] != NO_CHUNK
    starts = np.where(present, entries[:, 0], 0).astype(np.float64)
    lengths = np.where(present, entries[:, 1], 0).astype(np.float64)
    first, end = (0, size - form.size) if form.at_end else (form.size, size)
    damaged = present & ((starts < first) | (starts + lengths > end) | (lengths == 0))
    expected = _plain_size(meta)
    if expected is not None:
        damaged |= present & (lengths != expected)
    fault = (
        f"{int(damaged.sum())} of its chunks lie beyond its end, or have another length"
        if damaged.any()
        else ""
    )
    return StoredFile(file_index, key, size, present.reshape(chunks), damaged.reshape(chunks), fault)


def _fault_of_chunk(storage: Storage, key: str, meta: ArrayMeta, size: int) -> str:
    expected = _plain_size(meta)
    if expected is not None:
        return "" if size == expected else f"it has {size} bytes where an uncompressed chunk has {expected}"
    if size == 0:
        return "it is empty"
    if meta.compressor is None or meta.compressor.name != "blosc" or _codec_count(meta) > 1:
        return ""
    header = storage.read_range(key, 0, _BLOSC_HEADER) or b""
    raw = int.from_bytes(header[4:8], "little")
    stored = int.from_bytes(header[12:16], "little") + _CHECKSUM * meta.codecs.count("crc32c")
    if len(header) < _BLOSC_HEADER or stored != size:
        return f"it has {size} bytes where its header says {stored}"
    decoded_size = prod(meta.chunks) * meta.dtype.itemsize
    return "" if raw == decoded_size else f"it decodes to {raw} bytes where a chunk has {decoded_size}"


def _plain_size(meta: ArrayMeta) -> int | None:
    """Return the size of an uncompressed chunk; None with compression."""
    if meta.compressor is not None or _codec_count(meta):
        return None
    return prod(meta.chunks) * meta.dtype.itemsize + _CHECKSUM * meta.codecs.count("crc32c")


def _codec_count(meta: ArrayMeta) -> int:
    """Count the codecs that may change the length of a chunk."""
    return len(
        [name for name in meta.codecs if name not in ("bytes", "transpose", "crc32c", "sharding_indexed")]
    )
