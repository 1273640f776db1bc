"""The files of an array, open for reading: encoded chunks out of shards, or files of one chunk.

A file is opened once for all that is read from it and closed after the last chunk; what is read between comes from the
file that was opened, also when another process replaces it meanwhile. Indexes of shards are kept for the process, each
with the stamp of the file that it was read from. No decoding.
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
from lamella.store.atomic_file import stage
from lamella.store.chunk_cache import indexes
from lamella.store.keys import join
from lamella.store.misplaced import require_file
from lamella.store.shard_file import ShardFile, fill_shard
from lamella.store.shard_index import NO_CHUNK, IndexForm, decode_index

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    import numpy as np

    from lamella.store.chunk_source import Encoded, FileChange, Task
    from lamella.store.coding import Coding
    from lamella.store.local import LocalStorage
    from lamella.store.storage import Stamp
    from lamella.types import Array, Shape

Entries: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"

#: A file that changed less than this ago is not remembered. Its stamp would not tell it from one that takes its place
#: within the same tick of the file system's clock, in the inode that the one before it left.
_SETTLED_NS = 2_000_000_000


def stamp_of_chunks(found: os.stat_result, coding: int) -> Stamp:
    """Return what is another whenever the bytes of a file are others, or what they are decoded by."""
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, coding


class FolderSource:
    """The files of an array in a folder, as a `ChunkSource`.

    Parameters
    ----------
    storage, path
        Where the array is.
    coding
        How its chunks are stored.
    """

    def __init__(self, storage: LocalStorage, path: str, coding: Coding) -> None:
        self._storage = storage
        self._path = path
        self._coding = coding

    def open(self, key: str, place: Shape, numbers: Collection[object]) -> ChunkFile:
        """Return a file, not opened yet."""
        del place
        coding = self._coding
        return ChunkFile(self._storage, join(self._path, key), coding.index, len(numbers), coding.identity)

    def decoded(self, key: str, number: int) -> Array | None:
        """Look at the file, and return the chunk that is kept of it."""
        whole = join(self._path, key)
        found = self._storage.seen(whole)
        if found is None:
            return None
        stamp = stamp_of_chunks(found, self._coding.identity)
        return self._storage.decoded.get((f"{self._storage.root}/{whole}", number), stamp)

    def read(self, tasks: Sequence[Task], keeps: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        """Decode all: each file is opened by the thread that needs it first."""
        del keeps
        decode(tasks)

    def write(self, files: Iterator[FileChange], encoded: Callable[[Iterable[FileChange]], Encoded]) -> None:
        """Write each file as its chunks come, while those of the next are encoded."""
        left: deque[FileChange] = deque()

        def opened() -> Iterator[FileChange]:
            for file in files:
                file.old = self.open(file.key, (), file.parts)
                left.append(file)
                yield file

        every = encoded(opened())
        try:
            for file, chunks in groupby(every, itemgetter(0)):
                self._write_file(file, chunks)
                left.popleft()
        finally:
            every.close()
            for file in left:
                file.old.close()

    def _write_file(self, file: FileChange, chunks: Iterable[tuple[FileChange, int, bytes]]) -> None:
        whole, form = join(self._path, file.key), self._coding.index
        if form is None:
            for _, _, data in chunks:
                file.old.close()
                self._storage.write(whole, data)
            return
        shard = ShardFile(partial(stage, self._storage, whole), form)
        try:
            fill_shard(shard, file, chunks)
            file.old.close()
            shard.commit()
        except BaseException:
            shard.discard()
            raise


class ChunkFile:
    """One file, opened when its first chunk is asked for; safe for threads.

    Parameters
    ----------
    storage, key
        Where the file is.
    form
        How the index of the shard is stored; None for a file of one chunk.
    uses
        How many chunks will be asked for: after the last of them the file is closed.
    coding
        What chunks are decoded by, as a number: what is kept of a file is kept for this alone.
    """

    def __init__(
        self, storage: LocalStorage, key: str, form: IndexForm | None, uses: int, coding: int = 0
    ) -> None:
        self._storage = storage
        self._key = key
        self.path = f"{storage.root}/{key}"
        self._form = form
        self._coding = coding
        self._left = uses
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._is_missing = False
        self._entries: Entries | None = None
        self.size = 0
        #: Of the file that is open; None where it changed so lately that the stamp does not tell it from the next.
        self.stamp: Stamp | None = None

    def chunk(self, number: int) -> bytes | None:
        """Return the bytes of one chunk by its number in the shard; None where it was never written.

        Raises
        ------
        DamagedDataError
            The file has no such bytes, or its index is damaged.
        OSError
            The system refused.
        """
        if not self.is_open():
            return None
        if self._form is None:
            return self.read(0, self.size)
        place = self._place(number)
        return None if place is None else self.read(*place)

    def decoded(self, number: int) -> Array | None:
        """Return a chunk that is kept of the file that is open."""
        try:
            if not self.is_open() or self.stamp is None:
                return None
        except DamagedDataError:  # `chunk` raises it
            return None
        return self._storage.decoded.get((self.path, number), self.stamp)

    def keep(self, number: int, chunk: Array) -> None:
        """Keep a decoded chunk of the file, which has a stamp."""
        if self.stamp is not None:
            self._storage.decoded.put((self.path, number), self.stamp, chunk)

    def read_again(self, number: int) -> bool:
        """Return False: the system returns what the disk has."""
        del number
        return False

    def places(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return where those of some chunks lie in the shard that are stored: start and length.

        Raises
        ------
        DamagedDataError, OSError
            As `chunk`.
        """
        if not self.is_open() or self._form is None:
            return {}
        found = ((number, self._place(number)) for number in numbers)
        return {number: place for number, place in found if place is not None}

    @property
    def is_missing(self) -> bool:
        """Whether there was no file when it was to be opened."""
        return self._is_missing and self._left > 0

    def done(self) -> None:
        """Count one chunk as used."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._close()

    def close(self) -> None:
        """Close the file, whatever is still to be asked for."""
        with self._lock:
            self._close()

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the file that is open; fewer where it ends before."""
        data = self._pread(length, start)
        while len(data) < length:  # a signal, or more than the system gives at once
            more = self._pread(length - len(data), start + len(data))
            if not more:
                break
            data += more
        return data

    if hasattr(os, "pread"):

        def _pread(self, length: int, start: int) -> bytes:
            assert self._fd is not None
            return os.pread(self._fd, length, start)
    else:  # pragma: no cover

        def _pread(self, length: int, start: int) -> bytes:
            assert self._fd is not None
            with _seeking:
                os.lseek(self._fd, start, os.SEEK_SET)
                return os.read(self._fd, length)

    def is_open(self) -> bool:
        """Open the file where it is not open yet; whether it is there."""
        with self._lock:
            if self._fd is None and not self._is_missing:
                try:
                    self._open()
                except BaseException:
                    self._shut()  # and opened anew by the next thread, which is told of the damage too
                    raise
        return self._fd is not None

    def _place(self, number: int) -> tuple[int, int] | None:
        assert self._entries is not None
        start, length = self._entries[number].tolist()
        if start == length == NO_CHUNK:
            return None
        if start + length > self.size:
            raise DamagedDataError(
                f"{self.path} has {self.size} bytes; its index places a chunk at {start} to {start + length}"
            )
        return start, length

    def _close(self) -> None:
        self._shut()
        self._is_missing = True

    def _shut(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> None:
        try:
            self._fd = self._storage.open_file(self._key)
        except (FileNotFoundError, NotADirectoryError):
            self._is_missing = True
            return
        found = os.fstat(self._fd)
        if not S_ISREG(found.st_mode):
            require_file(found.st_mode, self.path)
        self.size = found.st_size
        is_settled = time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _SETTLED_NS
        self.stamp = stamp_of_chunks(found, self._coding) if is_settled else None
        if self._form is None:
            return
        stamp = (*stamp_of_chunks(found, self._coding), hash(self._form))
        self._entries = indexes.get(self.path, stamp)
        if self._entries is None:
            start = max(0, self.size - self._form.size) if self._form.at_end else 0
            self._entries = decode_index(self.read(start, self._form.size), self._form, self.path)
            if is_settled:
                indexes.put(self.path, stamp, self._entries)


_seeking = threading.Lock()
