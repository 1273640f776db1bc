"""Which files of a level are there and whole, by size, header and index: what a killed work need not do again.

Layer: ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.ops.regions import shrink
from lamella.store.coverage import files_of
from lamella.store.stored_files import look_at

if TYPE_CHECKING:
    from lamella.ops.pyramids.cascade import PassUnit
    from lamella.ops.regions import Region
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


def are_whole(array: StoredArray, box: Region) -> bool:
    """Whether all files that a box touches are whole."""
    return all(is_whole(array, place) for place in files_of(array.meta, box))


def is_made(unit: PassUnit) -> bool:
    """Whether all files that a unit writes are there and whole."""
    return all(are_whole(target.array, shrink(unit.region, target.factors)) for target in unit.work.targets)
