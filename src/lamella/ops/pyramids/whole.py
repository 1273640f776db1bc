"""Which files of a level are there and whole, by size, header and index: what a killed work need not do again.

Layer: ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.store.stored_files import look_at

if TYPE_CHECKING:
    from lamella.store.arrays import StoredArray
    from lamella.types import Shape


def is_whole(array: StoredArray, place: Shape) -> bool:
    """Whether a file is there with all of its chunks, by its size, header and index."""
    meta = array.meta
    try:
        file = look_at(array.documents.storage, array.path, meta, place)
    except LamellaError:
        return False
    if file is None or file.fault:
        return False
    box = meta.file_box(place)
    inside = tuple(slice(0, -(-(one.stop - one.start) // c)) for one, c in zip(box, meta.chunks, strict=True))
    return bool(file.present[inside].all())
