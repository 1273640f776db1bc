"""Find out whether single chunks of an array are stored, without decoding them.

A chunk that is not stored reads as the fill value, exactly like a stored chunk of fill values.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from lamella.store.keys import join
from lamella.store.shard_file import NO_CHUNK, IndexForm, decode_index

if TYPE_CHECKING:
    import numpy as np

    from lamella.store.arrays import StoredArray
    from lamella.types import Shape

_INDEXES = 16
"""Shard indexes that are kept."""


class ChunkLookup:
    """Looks up chunks of an array as it is described now. Keeps the indexes of the last shards; not thread-safe."""

    def __init__(self, array: StoredArray) -> None:
        self._storage = array.documents.storage
        self._path = array.path
        self._meta = array.meta
        self._form = IndexForm.of(self._meta)
        self._indexes: OrderedDict[Shape, np.ndarray[Any, Any] | None] = OrderedDict()

    def is_stored(self, chunk: Shape) -> bool:
        """Return whether a chunk is stored, by its index in the grid of chunks.

        Without a readable shard index, a chunk counts as stored if its shard is.
        """
        meta, form = self._meta, self._form
        file_index = tuple(k * c // f for k, c, f in zip(chunk, meta.chunks, meta.files, strict=True))
        key = join(self._path, meta.chunk_key(file_index))
        if form is None:
            return self._storage.size(key) is not None
        if file_index not in self._indexes:
            data = self._storage.read_range(key, -form.size if form.at_end else 0, form.size)
            self._indexes[file_index] = None if data is None else decode_index(data, form, key)
            if len(self._indexes) > _INDEXES:
                self._indexes.popitem(last=False)
        index = self._indexes[file_index]
        number = 0
        for k, p, n in zip(chunk, file_index, form.chunks, strict=True):
            number = number * n + k - p * n
        return index is not None and int(index[number, 0]) != NO_CHUNK
