"""Write a new shard, and encode and decode its index, with its checksum (Zarr v3, codec ``sharding_indexed``).

New chunks are written one by one, old chunks are copied unchanged, then the index is written: two unsigned 64-bit
numbers per inner chunk, its offset and its length, in C order of the chunks. Both are 2**64 - 1 for a chunk that is not
stored. A crc32c follows if the array declares one. The index of a shard of 2 x 2 chunks has 64 bytes, or 68 with its
crc32c.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.pixels.chunk_source import DamagedFileError
from lamella.store.pixels.stored_chunks import MisplacedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.chunk_source import ArrayFile, FileChange
    from lamella.types import JSON, Shape

_COPY_BYTES = 4 << 20


class File(Protocol):
    """Destination of a shard: an `AtomicFile`, or memory."""

    def write(self, offset: int, *parts: bytes | memoryview) -> None:
        """Write bytes at an offset, one part after the other."""

    def commit(self) -> None:
        """Rename the file over its target."""

    def discard(self) -> None:
        """Remove it."""

    def suspend(self) -> None:
        """Close the file until the next write."""


class MemoryFile:
    """A file in memory; every byte is written once."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes | memoryview]] = []

    def write(self, offset: int, *parts: bytes | memoryview) -> None:
        for part in parts:
            self._parts.append((offset, part))
            offset += len(part)

    def commit(self) -> None: ...

    def data(self) -> bytes:
        """Return all bytes."""
        return b"".join(data for _, data in sorted(self._parts, key=itemgetter(0)))

    def discard(self) -> None:
        self._parts.clear()

    def suspend(self) -> None: ...


class ShardFile:
    """A shard that becomes visible with `commit`; threads may add chunks at the same time.

    `create_file` is called before the first bytes are written; `layout` is that of the index.
    """

    def __init__(self, create_file: Callable[[], File], layout: IndexLayout) -> None:
        self._begin = create_file
        self._layout = layout
        self._lock = threading.Lock()
        self._file: File | None = None
        self._end = 0 if layout.at_end else layout.size
        self._entries = np.full((prod(layout.chunks), 2), NO_CHUNK, np.uint64)

    def add(self, number: int, *parts: bytes) -> None:
        """Write the bytes of a chunk, one part after the other; a chunk that is added again replaces the first."""
        length = sum(map(len, parts))
        file, offset = self._reserve(length)
        self._entries[number] = offset, length
        file.write(offset, *parts)

    def copy_chunks(self, old_shard: ArrayFile, numbers: Iterable[int]) -> None:
        """Copy encoded chunks from the old shard, adjacent ones in one read; `DamagedDataError` for a damaged index."""
        spans = old_shard.spans(sorted(numbers))
        # Runs of adjacent chunks: start and end in the old file, and the numbers of the chunks.
        runs: list[tuple[int, int, list[int]]] = []
        for number in sorted(spans, key=spans.__getitem__):
            start, length = spans[number]
            if runs and runs[-1][1] == start:
                run_start, _, run_numbers = runs.pop()
                run_numbers.append(number)
                runs.append((run_start, start + length, run_numbers))
            else:
                runs.append((start, start + length, [number]))
        for run_start, run_end, run_numbers in runs:
            file, offset = self._reserve(run_end - run_start)
            for number in run_numbers:
                start, length = spans[number]
                self._entries[number] = offset + start - run_start, length
            for start in range(run_start, run_end, _COPY_BYTES):
                data = old_shard.read(start, min(_COPY_BYTES, run_end - start))
                if len(data) < min(_COPY_BYTES, run_end - start):
                    raise DamagedDataError(f"{old_shard.path} was cut off while its chunks were copied.")
                file.write(offset + start - run_start, data)

    def commit(self) -> None:
        """Write the index, and replace the old shard in one step."""
        file, _ = self._reserve(0)
        file.write(self._end if self._layout.at_end else 0, encode_index(self._entries, self._layout))
        file.commit()

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()

    def suspend(self) -> None:
        if self._file is not None:
            self._file.suspend()

    def _reserve(self, length: int) -> tuple[File, int]:
        with self._lock:
            if self._file is None:
                self._file = self._begin()
            offset = self._end
            self._end += length
            return self._file, offset


def fill_shard(shard: ShardFile, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> None:
    """Add new chunks to a shard, and copy the old ones that are not replaced.

    Raises `DamagedFileError` where the old shard cannot be read.
    """
    try:
        for _, number, data in chunks:
            shard.add(number, data)
        if file.copied:
            shard.copy_chunks(file.old, file.copied)
    except MisplacedError:
        raise
    except DamagedDataError as error:
        raise DamagedFileError(file.key, error) from error


NO_CHUNK = (1 << 64) - 1
"""Offset and length of a chunk that is not stored."""

_INDEX_DTYPE = np.dtype("<u8")


@dataclass(frozen=True)
class IndexLayout:
    """Layout of the shard indexes of one array."""

    chunks: Shape
    """Inner chunks per axis of a shard."""
    checksum: bool = True
    """Whether a crc32c follows."""
    at_end: bool = True
    """Whether the index is at the end of the file, rather than the start."""

    @cached_property
    def size(self) -> int:
        """Bytes of the index."""
        return 16 * prod(self.chunks) + 4 * self.checksum

    @cached_property
    def span(self) -> tuple[int, int]:
        """Offset and length of the index in its file; a negative offset counts from the end."""
        return -self.size if self.at_end else 0, self.size

    @classmethod
    def of(cls, meta: ArrayMeta) -> IndexLayout | None:
        """Return the layout of an array's indexes; None without shards, or for unsupported index codecs."""
        if meta.shards is None:
            return None
        codecs = [named_codec(codec) for codec in meta.document.get("codecs", [])]
        if len(codecs) != 1 or codecs[0][0] != "sharding_indexed":
            return None  # another codec encodes the shard, so offsets are not those of the file
        configuration = codecs[0][1]
        index_codecs = [named_codec(codec) for codec in configuration.get("index_codecs", [])]
        names = [name for name, _ in index_codecs]
        if names not in (["bytes"], ["bytes", "crc32c"]):
            return None
        location = configuration.get("index_location", "end")
        if index_codecs[0][1].get("endian", "little") != "little" or location not in ("start", "end"):
            return None
        return cls(meta.chunks_per_file, len(names) == 2, location == "end")


def named_codec(codec: JSON) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the settings of a codec of a ``zarr.json``; Zarr 3.1 allows the name alone."""
    if isinstance(codec, dict):
        settings = codec.get("configuration")
        return str(codec.get("name")), settings if isinstance(settings, dict) else {}
    return str(codec), {}


def decode_index(data: bytes, layout: IndexLayout, where: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Decode an index to offsets and lengths, shape (inner chunks, 2); `DamagedDataError` where it is damaged."""
    if len(data) != layout.size:
        raise DamagedDataError(
            f"{where} is cut off: it has {len(data)} bytes where the index of a shard has {layout.size}."
        )
    body = data[: 16 * prod(layout.chunks)]
    if layout.checksum and int.from_bytes(data[len(body) :], "little") != crc32c(body):
        raise DamagedDataError(f"{where} is damaged: the checksum of its index is not that of the index.")
    return np.frombuffer(body, _INDEX_DTYPE).reshape(-1, 2).astype(np.uint64, copy=False)


def encode_index(entries: np.ndarray[Any, Any], layout: IndexLayout) -> bytes:
    """Encode offsets and lengths, shape (inner chunks, 2)."""
    body = np.ascontiguousarray(entries, _INDEX_DTYPE).tobytes()
    return body + crc32c(body).to_bytes(4, "little") if layout.checksum else body


def crc32c(data: bytes | memoryview) -> int:
    """Return the crc32c (Castagnoli) of some bytes."""
    import google_crc32c

    return int(google_crc32c.value(bytes(data)))
