"""Write a new shard: new chunks one by one, old chunks copied unchanged, then the index."""

from __future__ import annotations

import threading
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.chunk_source import DamagedFileError
from lamella.store.misplaced import MisplacedError
from lamella.store.shard_index import NO_CHUNK, encode_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lamella.store.chunk_source import Chunks, FileChange
    from lamella.store.shard_index import IndexForm

_COPIED = 4 << 20


class File(Protocol):
    """Destination of a shard: an `AtomicFile`, or memory."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at an offset."""

    def commit(self) -> None:
        """Rename the file over its target."""

    def discard(self) -> None:
        """Remove it."""

    def rest(self) -> None:
        """Close the file until the next write."""


class MemoryFile:
    """A file in memory; every byte is written once."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes | memoryview]] = []

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._parts.append((offset, data))

    def commit(self) -> None:
        """Do nothing: the caller uses `data`."""

    def data(self) -> bytes:
        """Return all bytes."""
        return b"".join(data for _, data in sorted(self._parts, key=itemgetter(0)))

    def discard(self) -> None:
        """Drop all bytes."""
        self._parts.clear()

    def rest(self) -> None:
        """Do nothing."""


class ShardFile:
    """A shard that becomes visible with `commit`; threads may add chunks at the same time.

    `begin` creates the file before the first bytes are written; `form` is the layout of the index.
    """

    def __init__(self, begin: Callable[[], File], form: IndexForm) -> None:
        self._begin = begin
        self._form = form
        self._lock = threading.Lock()
        self._file: File | None = None
        self._end = 0 if form.at_end else form.size
        self._entries = np.full((prod(form.chunks), 2), NO_CHUNK, np.uint64)

    def add(self, number: int, data: bytes) -> None:
        """Write the bytes of a chunk; a chunk that is added again replaces the first."""
        file, offset = self._reserve(len(data))
        self._entries[number] = offset, len(data)
        file.write(offset, data)

    def keep(self, old: Chunks, numbers: Iterable[int]) -> None:
        """Copy encoded chunks from the old shard, adjacent ones in one read.

        A damaged index of the old shard raises `DamagedDataError`.
        """
        spans = old.spans(sorted(numbers))
        runs: list[
            tuple[int, int, list[int]]
        ] = []  # start and end in the old file, and the chunks in between
        for number in sorted(spans, key=spans.__getitem__):
            start, length = spans[number]
            if runs and runs[-1][1] == start:
                first, _, members = runs.pop()
                members.append(number)
                runs.append((first, start + length, members))
            else:
                runs.append((start, start + length, [number]))
        for first, end, members in runs:
            file, offset = self._reserve(end - first)
            for number in members:
                start, length = spans[number]
                self._entries[number] = offset + start - first, length
            for start in range(first, end, _COPIED):
                data = old.read(start, min(_COPIED, end - start))
                if len(data) < min(_COPIED, end - start):
                    raise DamagedDataError(f"{old.path} was cut off while its chunks were copied")
                file.write(offset + start - first, data)

    def commit(self) -> None:
        """Write the index, and replace the old shard in one step."""
        file, _ = self._reserve(0)
        file.write(self._end if self._form.at_end else 0, encode_index(self._entries, self._form))
        file.commit()

    def discard(self) -> None:
        """Remove the file; the old shard stays."""
        if self._file is not None:
            self._file.discard()

    def rest(self) -> None:
        """Close the file until the next chunk."""
        if self._file is not None:
            self._file.rest()

    def _reserve(self, length: int) -> tuple[File, int]:
        with self._lock:
            if self._file is None:
                self._file = self._begin()
            offset = self._end
            self._end += length
            return self._file, offset


def fill_shard(shard: ShardFile, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> None:
    """Add new chunks to a shard, and copy the old ones that are not replaced.

    An old shard that cannot be read raises `DamagedFileError`.
    """
    try:
        for _, number, data in chunks:
            shard.add(number, data)
        if file.others:
            shard.keep(file.old, file.others)
    except MisplacedError:
        raise
    except DamagedDataError as error:
        raise DamagedFileError(file.key, error) from error
