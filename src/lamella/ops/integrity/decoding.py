"""Decoding every stored file of an array, with one file as a unit, to find damage.

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
"""Raw size that is decoded at once, unless a chunk is larger: default chunks one by one, on the worker's thread."""


class StoredPlace(NamedTuple):
    """A stored file of an array.

    Attributes
    ----------
    array, place
        The array, and the index of the file in its grid.
    document
        Digest of the array's document, if the result goes into a journal.
    """

    array: StoredArray
    place: Shape
    document: str = ""

    @property
    def key(self) -> str:
        """Key of the file in the store."""
        return join(self.array.path, self.array.meta.chunk_key(self.place))


class Decoded(NamedTuple):
    """The result of decoding one file.

    Attributes
    ----------
    key
        Of the file, in the store.
    size
        In bytes.
    fault
        The problem, if any.
    unread
        Whether a service or the system refused to read the file.
    evidence
        Fingerprint of the file when it was decoded, for a journal.
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
    """Yield the stored files of an array; all possible files, if the store cannot list them.

    Files beyond the array's shape are left out: no reader uses them.
    """
    meta, storage = array.meta, array.documents.storage
    if storage.can_list:
        check_keys(storage, array.path, meta, array.documents.location(array.path))
    for place in stored_places(storage, array.path, meta):
        if all(k < n for k, n in zip(place, meta.grid, strict=True)):
            yield StoredPlace(array, place)


def decode(file: StoredPlace) -> Decoded:
    """Decode a file region by region, so that memory is bounded by a small region or one chunk."""
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
