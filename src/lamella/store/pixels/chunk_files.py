"""Read and write the shards or single-chunk files of an array in a local folder; nothing is decoded here.

A call opens each file once, so that all chunks come from one version of the file even if another process replaces it.
Shard indexes are cached with the stamp of their file.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from functools import partial
from itertools import groupby
from operator import itemgetter
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.errors import DamagedDataError
from lamella.store.files.file_system import read_at
from lamella.store.files.temporary_files import stage
from lamella.store.pixels.chunk_cache import indexes
from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, ShardFile, decode_index, fill_shard
from lamella.store.pixels.stored_chunks import require_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy as np

    from lamella.store.files.local import LocalStorage
    from lamella.store.pixels.chunk_source import EncodedChunks, FileChange, Task
    from lamella.store.pixels.coding import Coding, DecodedChunk
    from lamella.store.storage import Stamp
    from lamella.types import Shape

IndexEntries: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"

#: A file that changed less than this many nanoseconds ago is not cached: a replacement within the same tick of the
#: clock can reuse its inode, and so have an equal stamp.
_SETTLED_NS = 2_000_000_000


def stamp_of_chunks(status: os.stat_result, coding_identity: int) -> Stamp:
    """Return a stamp that differs whenever the bytes of a file or their decoding differ."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        coding_identity,
    )


class FolderSource:
    """The files of an array in a folder, as a `ChunkSource`."""

    def __init__(self, storage: LocalStorage, path: str, coding: Coding) -> None:
        self._storage = storage
        self._prefix = f"{path}/" if path else ""
        self._coding = coding

    def open(self, key: str, index: Shape, numbers: Collection[object]) -> ChunkFile:
        del index
        coding = self._coding
        return ChunkFile(
            self._storage, self._prefix + key, coding.index_layout, len(numbers), coding.identity
        )

    def decoded(self, key: str, number: int) -> DecodedChunk | None:
        full_key = self._prefix + key
        status = self._storage.regular_file_status(full_key)
        if status is None:
            return None
        stamp = stamp_of_chunks(status, self._coding.identity)
        return self._storage.decoded.get((f"{self._storage.root}/{full_key}", number), stamp)

    def read(self, tasks: Sequence[Task], use_cache: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        del use_cache
        decode(tasks)

    def write(
        self, files: Iterator[FileChange], encode: Callable[[Iterable[FileChange]], EncodedChunks]
    ) -> None:
        """Write each file as its chunks arrive, while the chunks of the next one are encoded."""
        unwritten: deque[FileChange] = deque()

        def opened() -> Iterator[FileChange]:
            for file in files:
                file.old = self.open(file.key, (), file.parts)
                unwritten.append(file)
                yield file

        chunks_encoded = encode(opened())
        try:
            for file, chunks in groupby(chunks_encoded, itemgetter(0)):
                self._write_file(file, chunks)
                unwritten.popleft()
        finally:
            chunks_encoded.close()
            for file in unwritten:
                file.old.close()

    def _write_file(self, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> None:
        full_key, layout = self._prefix + file.key, self._coding.index_layout
        if layout is None:
            for _, _, data in chunks:
                file.old.close()
                self._storage.write(full_key, data)
            return
        shard = ShardFile(partial(stage, self._storage, full_key), layout)
        try:
            fill_shard(shard, file, chunks)
            file.old.close()
            shard.commit()
        except BaseException:
            shard.discard()
            raise


class ChunkFile:
    """One file, opened when its first chunk is read, and closed after ``chunk_count`` chunks; safe for threads.

    ``layout`` is that of the shard's index, None for a file of one chunk. ``coding_identity`` (`Coding.identity`)
    becomes part of the stamps of cached chunks.
    """

    can_read_again = True

    def __init__(
        self,
        storage: LocalStorage,
        key: str,
        layout: IndexLayout | None,
        chunk_count: int,
        coding_identity: int = 0,
    ) -> None:
        self._storage = storage
        self._key = key
        self.path = f"{storage.root}/{key}"
        self._layout = layout
        self._coding_identity = coding_identity
        self._remaining = chunk_count
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._is_missing = False
        self._entries: IndexEntries | None = None
        self.size = 0
        #: Stamp of the open file; None where the file changed too recently to be cached.
        self.stamp: Stamp | None = None

    def chunk(self, number: int) -> bytes | None:
        if not self.is_open():
            return None
        span = (0, self.size) if self._layout is None else self._span(number)
        assert self._fd is not None
        return None if span is None else read_at(self._fd, *span)

    def decoded(self, number: int) -> DecodedChunk | None:
        try:
            if not self.is_open() or self.stamp is None:
                return None
        except DamagedDataError:  # `chunk` raises it
            return None
        return self._storage.decoded.get((self.path, number), self.stamp)

    def cache_chunk(self, number: int, chunk: DecodedChunk) -> None:
        if self.stamp is not None:
            self._storage.decoded.put((self.path, number), self.stamp, chunk)

    def read_again(self, number: int) -> bool:
        """Return False: reading a local file again returns the same bytes."""
        del number
        return False

    def spans(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        if not self.is_open() or self._layout is None:
            return {}
        spans = ((number, self._span(number)) for number in numbers)
        return {number: span for number, span in spans if span is not None}

    @property
    def is_missing(self) -> bool:
        return self._is_missing and self._remaining > 0

    def count_read(self) -> None:
        with self._lock:
            self._remaining -= 1
            if self._remaining == 0:
                self._close()

    def close(self) -> None:
        with self._lock:
            self._close()

    def read(self, start: int, length: int) -> bytes:
        assert self._fd is not None
        return read_at(self._fd, start, length)

    def is_open(self) -> bool:
        """Open the file if needed; return whether it exists."""
        with self._lock:
            if self._fd is None and not self._is_missing:
                self._fd = self._open()
        return self._fd is not None

    def _span(self, number: int) -> tuple[int, int] | None:
        assert self._entries is not None
        start, length = self._entries[number].tolist()
        if start == length == NO_CHUNK:
            return None
        if start + length > self.size:
            raise DamagedDataError(
                f"{self.path} has {self.size} bytes, and its index places a chunk at {start} to {start + length}."
            )
        return start, length

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._is_missing = True

    def _open(self) -> int | None:
        """Open the file and read its index; None if it is missing."""
        try:
            fd = self._storage.open_file(self._key)
        except (FileNotFoundError, NotADirectoryError):
            self._is_missing = True
            return None
        try:
            status = os.fstat(fd)
            if not S_ISREG(status.st_mode):
                require_file(status.st_mode, self.path)
            self.size = status.st_size
            stamp = stamp_of_chunks(status, self._coding_identity)
            is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
            self.stamp = stamp if is_settled else None
            if self._layout is not None:
                self._entries = self._read_index(fd, (*stamp, hash(self._layout)), self._layout)
        except BaseException:
            os.close(fd)  # the next thread opens it again, and raises the same error
            raise
        return fd

    def _read_index(self, fd: int, stamp: Stamp, layout: IndexLayout) -> IndexEntries:
        entries = indexes.get(self.path, stamp)
        if entries is None:
            start, length = layout.span
            start = max(0, self.size + start) if start < 0 else start
            entries = decode_index(read_at(fd, start, length), layout, self.path)
            if self.stamp is not None:
                indexes.put(self.path, stamp, entries)
        return entries
