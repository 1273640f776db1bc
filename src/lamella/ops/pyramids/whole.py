"""Complete files of a level, by size, header and index: a resumed job skips them.

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
    """Return whether a file exists with all of its chunks, by its size, header and index."""
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
