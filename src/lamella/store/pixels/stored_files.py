"""Check the stored files and chunks of an array by their sizes, headers and shard indexes, without decoding chunks.

Truncated chunks are detected here; flipped bits only by decoding. A chunk that is not stored reads as the fill value,
exactly like a stored chunk of fill values: `ChunkLookup` distinguishes them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from math import prod
from operator import lt
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DamagedDataError, clause
from lamella.store.keys import join
from lamella.store.pixels.chunk_grid import flat_number
from lamella.store.pixels.coding import BLOSC_HEADER
from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, decode_index
from lamella.store.pixels.stored_chunks import stored_sizes
from lamella.store.storage import RangeRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.storage import Storage
    from lamella.types import Shape

_CHECKSUM_BYTES = 4
_FILES_AT_ONCE = 1024
"""Number of files whose sizes and indexes are requested at once."""

NO_FILE = "it is not a file: a folder, or a special file, is in its place"
"""Message where the path of a chunk or shard is not a file."""


@dataclass(frozen=True)
class StoredFile:
    """One file of an array: a chunk, or a shard."""

    file_index: Shape
    """File index."""
    key: str
    """Key below the array."""
    size: int
    """Bytes."""
    present: np.ndarray[Any, np.dtype[np.bool_]]
    """Which chunks of the file are stored; one axis per axis of the array."""
    damaged: np.ndarray[Any, np.dtype[np.bool_]]
    """Which stored chunks are incomplete."""
    reason: str = ""
    """The problem in words; "" without one."""


def inspect_stored_file(storage: Storage, path: str, meta: ArrayMeta, file_index: Shape) -> StoredFile | None:
    """Check one file of an array; None where it is missing."""
    key = meta.chunk_key(file_index)
    size = storage.size(join(path, key))
    if size is None:
        return _describe_no_file(meta, file_index, key) if storage.exists(join(path, key)) else None
    span = _span_to_check(meta, size)
    data = b"" if span is None else storage.read_range(join(path, key), *span)
    return None if data is None else _describe_file(meta, file_index, key, size, data)


def inspect_stored_files(storage: Storage, path: str, meta: ArrayMeta) -> Iterator[StoredFile]:
    """Check the files of an array, many at once in remote stores; those beyond its shape are left out."""
    inside = (
        (file_index, size)
        for file_index, size in stored_sizes(storage, path, meta)
        # A killed call leaves files beyond the grid, which are never read.
        if all(map(lt, file_index, meta.grid))
    )
    if storage.locks_processes:
        files = (inspect_stored_file(storage, path, meta, file_index) for file_index, _ in inside)
        yield from (file for file in files if file is not None)
        return
    while batch := list(islice(inside, _FILES_AT_ONCE)):
        yield from _inspect_many(storage, path, meta, dict(batch))


def _inspect_many(
    storage: Storage, path: str, meta: ArrayMeta, sizes: dict[Shape, int | None]
) -> Iterator[StoredFile]:
    keys = {file_index: meta.chunk_key(file_index) for file_index in sizes}
    unknown = [file_index for file_index, size in sizes.items() if size is None]
    sizes.update(
        zip(unknown, storage.sizes([join(path, keys[file_index]) for file_index in unknown]), strict=True)
    )
    spans = {file_index: _span_to_check(meta, size) for file_index, size in sizes.items() if size is not None}
    requested = {file_index: span for file_index, span in spans.items() if span is not None}
    ranges_read = storage.read_ranges(
        [RangeRequest(join(path, keys[file_index]), (span,)) for file_index, span in requested.items()]
    )
    data_by_file = {
        file_index: None if file_ranges is None else file_ranges.parts[0]
        for file_index, file_ranges in zip(requested, ranges_read, strict=True)
    }
    for file_index in spans:
        data, size = data_by_file.get(file_index, b""), sizes[file_index]
        if data is None or size is None:
            continue
        file = _describe_file(meta, file_index, keys[file_index], size, data)
        if file.reason:  # the answers may have been damaged on their way: request them again
            file = inspect_stored_file(storage, path, meta, file_index) or file
        yield file


def _span_to_check(meta: ArrayMeta, size: int) -> tuple[int, int] | None:
    """Return offset and length of the index or header that shows whether a file is complete; None without one."""
    if meta.shards is not None:
        layout = IndexLayout.of(meta)
        return None if layout is None else layout.span
    return (0, BLOSC_HEADER) if size and _has_blosc_header(meta) else None


def _describe_file(meta: ArrayMeta, file_index: Shape, key: str, size: int, data: bytes) -> StoredFile:
    """Describe a file by its size and the bytes `data` of its `_span_to_check`."""
    if meta.shards is not None:
        return _describe_shard(meta, file_index, key, size, data)
    reason = _chunk_problem(meta, size, data)
    one_chunk = np.ones((1,) * meta.ndim, bool)
    return StoredFile(file_index, key, size, one_chunk, one_chunk & bool(reason), reason)


def shows_whole(meta: ArrayMeta, data: bytes) -> bool:
    """Whether the index, the header or the codecs of a file show that these are all of its bytes."""
    has_length = meta.shards is not None or _has_blosc_header(meta) or _uncompressed_size(meta) is not None
    if not has_length or (meta.shards is not None and IndexLayout.of(meta) is None):
        return False
    start, length = _span_to_check(meta, len(data)) or (0, 0)
    return not _describe_file(meta, (), "", len(data), data[start:][:length]).reason


def _describe_no_file(meta: ArrayMeta, file_index: Shape, key: str) -> StoredFile:
    """Describe a folder, a pipe or a device at the path of a file: none of its chunks can be read."""
    all_chunks = np.ones(meta.chunks_per_file, bool)
    return StoredFile(file_index, key, 0, all_chunks, all_chunks, NO_FILE)


def _describe_shard(meta: ArrayMeta, file_index: Shape, key: str, size: int, index: bytes) -> StoredFile:
    chunks = meta.chunks_per_file
    all_chunks = np.ones(chunks, bool)
    layout = IndexLayout.of(meta)
    if layout is None:  # the index has unsupported codecs: only the file's presence is known
        return StoredFile(file_index, key, size, all_chunks, ~all_chunks)
    try:
        entries = decode_index(index, layout, key)
    except DamagedDataError as error:
        return StoredFile(file_index, key, size, all_chunks, all_chunks, clause(error))
    is_stored = (entries != NO_CHUNK).any(axis=1)
    starts = np.where(is_stored, entries[:, 0], 0).astype(np.float64)
    lengths = np.where(is_stored, entries[:, 1], 0).astype(np.float64)
    first_byte, end_byte = (0, size - layout.size) if layout.at_end else (layout.size, size)
    is_damaged = is_stored & ((starts < first_byte) | (starts + lengths > end_byte) | (lengths == 0))
    expected = _uncompressed_size(meta)
    if expected is not None:
        is_damaged |= is_stored & (lengths != expected)
    reason = (
        f"{int(is_damaged.sum())} of its chunks lie beyond its end, or have another length"
        if is_damaged.any()
        else ""
    )
    return StoredFile(file_index, key, size, is_stored.reshape(chunks), is_damaged.reshape(chunks), reason)


def _has_blosc_header(meta: ArrayMeta) -> bool:
    return meta.compressor is not None and meta.compressor.name == "blosc" and _codec_count(meta) <= 1


def _chunk_problem(meta: ArrayMeta, size: int, header: bytes) -> str:
    expected = _uncompressed_size(meta)
    if expected is not None:
        return "" if size == expected else f"it has {size} bytes where an uncompressed chunk has {expected}"
    if size == 0:
        return "it is empty"
    if not _has_blosc_header(meta):
        return ""
    decoded_bytes = int.from_bytes(header[4:8], "little")
    encoded_bytes = int.from_bytes(header[12:16], "little") + _CHECKSUM_BYTES * meta.codecs.count("crc32c")
    if len(header) < BLOSC_HEADER or encoded_bytes != size:
        return f"it has {size} bytes where its header says {encoded_bytes}"
    chunk_bytes = prod(meta.chunks) * meta.dtype.itemsize
    return (
        ""
        if decoded_bytes == chunk_bytes
        else f"it decodes to {decoded_bytes} bytes where a chunk has {chunk_bytes}"
    )


def _uncompressed_size(meta: ArrayMeta) -> int | None:
    """Return the size of an uncompressed chunk; None with compression."""
    if meta.compressor is not None or _codec_count(meta):
        return None
    return prod(meta.chunks) * meta.dtype.itemsize + _CHECKSUM_BYTES * meta.codecs.count("crc32c")


def _codec_count(meta: ArrayMeta) -> int:
    """Count the codecs that may change the length of a chunk."""
    return len(
        [name for name in meta.codecs if name not in ("bytes", "transpose", "crc32c", "sharding_indexed")]
    )


_MAX_INDEXES = 16
"""Limit of cached shard indexes."""


class ChunkLookup:
    """Look up which chunks of an array are stored, by its present description; not safe for threads."""

    def __init__(self, array: StoredArray) -> None:
        self._storage = array.documents.storage
        self._path = array.path
        self._meta = array.meta
        self._layout = IndexLayout.of(self._meta)
        self._indexes: OrderedDict[Shape, np.ndarray[Any, Any] | None] = OrderedDict()

    def is_stored(self, chunk: Shape) -> bool:
        """Whether a chunk is stored; where the shard index has unsupported codecs, whether its shard is."""
        meta, layout = self._meta, self._layout
        file_index = tuple(
            chunk_number * chunk_length // file_length
            for chunk_number, chunk_length, file_length in zip(chunk, meta.chunks, meta.files, strict=True)
        )
        key = join(self._path, meta.chunk_key(file_index))
        if layout is None:
            return self._storage.size(key) is not None
        if file_index not in self._indexes:
            data = self._storage.read_range(key, *layout.span)
            self._indexes[file_index] = None if data is None else decode_index(data, layout, key)
            if len(self._indexes) > _MAX_INDEXES:
                self._indexes.popitem(last=False)
        entries = self._indexes[file_index]
        index_in_file = [
            chunk_number - file_number * chunks_per_file
            for chunk_number, file_number, chunks_per_file in zip(
                chunk, file_index, layout.chunks, strict=True
            )
        ]
        number = flat_number(index_in_file, layout.chunks)
        return entries is not None and bool((entries[number] != NO_CHUNK).any())
