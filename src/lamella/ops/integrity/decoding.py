"""Decode every stored file of an array to find damage; a unit is one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import LamellaError, StorageError, one_line
from lamella.ops.regions import piece_shape, region_shape, regions
from lamella.ops.scratch import scratch
from lamella.store.file_fingerprint import fingerprint
from lamella.store.keys import join
from lamella.store.stored_chunks import check_keys, iter_stored_files
from lamella.store.stored_files import NO_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.arrays import StoredArray
    from lamella.store.storage import Fingerprint
    from lamella.types import Shape

_PIECE_BYTES = 2**20
"""Raw size of a region that is decoded at once, or one chunk if it is larger, on the worker's thread."""


class FileToDecode(NamedTuple):
    """A stored file of an array, by its index in the grid of files.

    ``document`` is the digest of the array's document, if the result is added to a journal.
    """

    array: StoredArray
    file_index: Shape
    document: str = ""

    @property
    def key(self) -> str:
        """Key of the file in the store."""
        return join(self.array.path, self.array.meta.chunk_key(self.file_index))


class Decoded(NamedTuple):
    """The result of decoding one file; ``fault`` describes the damage, and is empty for a whole file.

    ``unread`` means that a service or the system refused to read the file. ``fingerprint`` is its fingerprint before it
    was decoded, for a journal, and ``document`` the digest of the array's document.
    """

    key: str
    size: int
    fault: str
    fingerprint: Fingerprint | None = None
    document: str = ""
    unread: bool = False


def files_to_decode(array: StoredArray) -> Iterator[FileToDecode]:
    """Yield the stored files of an array within its shape; all possible files if the store cannot list."""
    meta, storage = array.meta, array.documents.storage
    if storage.can_list:
        check_keys(storage, array.path, meta, array.documents.location(array.path))
    for file_index in iter_stored_files(storage, array.path, meta):
        if all(index < count for index, count in zip(file_index, meta.grid, strict=True)):
            yield FileToDecode(array, file_index)


def decode(file: FileToDecode) -> Decoded:
    """Decode a file region by region, so that memory is bounded by a small region or one chunk."""
    array, file_index, document = file
    meta, key = array.meta, file.key
    before = fingerprint(array.documents.storage, key) if document else None
    file_region = meta.file_region(file_index)
    shape = tuple(span.stop - span.start for span in file_region)
    unit = piece_shape(shape, meta.chunks, meta.dtype.itemsize, _PIECE_BYTES)
    size = 0
    try:
        stored_size = array.documents.storage.size(key)
        if stored_size is None and array.documents.storage.exists(key):
            return Decoded(key, 0, NO_FILE)
        size = stored_size or 0
        for part_region in regions(shape, unit):
            region = tuple(
                slice(inner.start + outer.start, inner.stop + outer.start)
                for inner, outer in zip(part_region, file_region, strict=True)
            )
            array.read_many([region], out=scratch(region_shape(region), meta.dtype)[None])
    except (LamellaError, MemoryError) as error:
        return Decoded(key, size, one_line(error), unread=isinstance(error, StorageError))
    return Decoded(key, size, "", before, document)
