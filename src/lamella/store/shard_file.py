"""A new shard of a local store: chunks one by one, those that are kept of the shard that is there, then the index.

Layer: store.
"""

from __future__ import annotations

import threading
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import DamagedDataError
from lamella.store.shard_index import NO_CHUNK, encode_index
from lamella.store.staged_file import stage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.store.chunk_files import ChunkFile
    from lamella.store.local import LocalStorage
    from lamella.store.shard_index import IndexForm
    from lamella.store.staged_file import StagedFile

_COPIED = 4 << 20


class ShardFile:
    """A shard under a temporary name until `commit`. Threads may add chunks at the same time."""

    def __init__(self, storage: LocalStorage, key: str, form: IndexForm) -> None:
        self._storage = storage
        self._key = key
        self._form = form
        self._turn = threading.Lock()
        self._file: StagedFile | None = None
        self._end = 0 if form.at_end else form.size
        self._entries = np.full((prod(form.chunks), 2), NO_CHUNK, np.uint64)

    def add(self, number: int, data: bytes) -> None:
        """Add the bytes of a chunk; one that comes again replaces the first."""
        file, offset = self._reserve(len(data))
        self._entries[number] = offset, len(data)
        file.write(offset, data)

    def keep(self, old: ChunkFile, numbers: Iterable[int]) -> None:
        """Copy chunks of the shard that is there, byte for byte, neighbours in one go.

        Raises
        ------
        DamagedDataError
            Its index is damaged.
        """
        places = old.places(sorted(numbers))
        runs: list[tuple[int, int, list[int]]] = []  # start and end there, and the chunks in between
        for number in sorted(places, key=places.__getitem__):
            start, length = places[number]
            if runs and runs[-1][1] == start:
                first, _, members = runs.pop()
                members.append(number)
                runs.append((first, start + length, members))
            else:
                runs.append((start, start + length, [number]))
        for first, end, members in runs:
            file, offset = self._reserve(end - first)
            for number in members:
                start, length = places[number]
                self._entries[number] = offset + start - first, length
            for start in range(first, end, _COPIED):
                data = old.read(start, min(_COPIED, end - start))
                if len(data) < min(_COPIED, end - start):
                    raise DamagedDataError(f"{old.path} was cut off while its chunks were copied")
                file.write(offset + start - first, data)

    def commit(self) -> None:
        """Add the index, and take the place of the shard that is there in one step."""
        file, _ = self._reserve(0)
        file.write(self._end if self._form.at_end else 0, encode_index(self._entries, self._form))
        file.commit()

    def discard(self) -> None:
        """Remove the temporary file; the shard that is there stays."""
        if self._file is not None:
            self._file.discard()

    def rest(self) -> None:
        """Close the temporary file until the next chunk."""
        if self._file is not None:
            self._file.rest()

    def _reserve(self, length: int) -> tuple[StagedFile, int]:
        with self._turn:
            if self._file is None:
                self._file = stage(self._storage, self._key)
            offset = self._end
            self._end += length
            return self._file, offset
