"""Decoding every stored file of an array, one file a unit of work, to know that it can be.

Layer: ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import LamellaError, StorageError, one_line
from lamella.ops.regions import piece_shape, region_shape, regions
from lamella.ops.scratch import scratch
from lamella.store.file_fingerprint import evidence
from lamella.store.keys import join
from lamella.store.misplaced import check_keys
from lamella.store.stored_chunks import stored_places
from lamella.store.stored_files import NO_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.arrays import StoredArray
    from lamella.store.file_fingerprint import Evidence
    from lamella.types import Shape

_PIECE_BYTES = 2**20
"""Raw size that is decoded at a time, unless a chunk is larger: our own chunks one by one, on the worker's thread."""


class StoredPlace(NamedTuple):
    """A file of an array, by its place in the grid.

    Attributes
    ----------
    array, place
        The array, and where in it.
    document
        Digest of the array's document, where what is found goes into a record.
    """

    array: StoredArray
    place: Shape
    document: str = ""

    @property
    def key(self) -> str:
        """Of the file, in the store."""
        return join(self.array.path, self.array.meta.chunk_key(self.place))


class Decoded(NamedTuple):
    """What became of decoding one file.

    Attributes
    ----------
    key
        Of the file, in the store.
    size
        In bytes.
    fault
        What was wrong, if anything.
    unread
        Whether the file could not be read at all, since a service or the system refused.
    evidence
        Of the state in which it was decoded, where that goes into a record.
    document
        Digest of the array's document.
    """

    key: str
    size: int
    fault: str
    evidence: Evidence | None = None
    document: str = ""
    unread: bool = False


def places_to_decode(array: StoredArray) -> Iterator[StoredPlace]:
    """Yield the files of an array that are there; all that could be, where the store cannot tell.

    Files beyond the array's shape are left out: no reader asks for them.

    Raises
    ------
    LamellaError
        A folder cannot be listed, or chunks are stored under other keys than the document declares.
    """
    meta, storage = array.meta, array.documents.storage
    if storage.can_list:
        check_keys(storage, array.path, meta, array.documents.location(array.path))
    for place in stored_places(storage, array.path, meta):
        if all(k < n for k, n in zip(place, meta.grid, strict=True)):
            yield StoredPlace(array, place)


def decode(file: StoredPlace) -> Decoded:
    """Decode a file, piece by piece, so that memory is a piece (or a chunk, where one is larger)."""
    array, place, document = file
    meta, key = array.meta, file.key
    before = evidence(array.documents.storage, key) if document else None
    box = meta.file_box(place)
    shape = tuple(one.stop - one.start for one in box)
    unit = piece_shape(shape, meta.chunks, meta.dtype.itemsize, _PIECE_BYTES)
    size = 0
    try:
        found = array.documents.storage.size(key)
        if found is None and array.documents.storage.exists(key):
            return Decoded(key, 0, NO_FILE)
        size = found or 0
        for part in regions(shape, unit):
            piece = tuple(slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, box, strict=True))
            array.read_many([piece], out=scratch(region_shape(piece), meta.dtype)[None])
    except (LamellaError, MemoryError) as fault:
        return Decoded(key, size, one_line(fault), unread=isinstance(fault, StorageError))
    return Decoded(key, size, "", before, document)
