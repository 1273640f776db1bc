"""Check whether files of a level are complete, by size, header and index: a resumed job skips complete files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.store.stored_files import inspect_stored_file

if TYPE_CHECKING:
    from lamella.store.arrays import StoredArray
    from lamella.types import Shape


def is_complete(array: StoredArray, file_index: Shape) -> bool:
    """Return whether a file exists with all of its chunks, by its size, header and index."""
    meta = array.meta
    try:
        file = inspect_stored_file(array.documents.storage, array.path, meta, file_index)
    except LamellaError:
        return False
    if file is None or file.fault:
        return False
    region = meta.file_region(file_index)
    inside = tuple(
        slice(0, -(-(span.stop - span.start) // chunk))
        for span, chunk in zip(region, meta.chunks, strict=True)
    )
    return bool(file.present[inside].all())
