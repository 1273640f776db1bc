"""Mark regions of arrays whose write from a lazy source failed; a later complete write removes the mark."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, one_line
from lamella.spec.unfinished import Unfinished, finished, read_unfinished, with_unfinished
from lamella.store.array_edits import edit_attributes_of_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.image_array import ImageArray
    from lamella.spec.stale_levels import Bounds


@contextmanager
def marked_unless_finished(array: ImageArray, region: Bounds | None) -> Iterator[None]:
    """Mark a region of an array as unfinished if writing it raises; remove marks if it succeeds."""
    try:
        yield
    except Exception as error:
        inside = _inside(region, array.shape)
        if inside is not None:
            _mark(array, Unfinished(inside, one_line(error)))
        raise
    mark_finished(array, region)


def _inside(region: Bounds | None, shape: tuple[int, ...]) -> Bounds | None:
    """Clip a region to the shape of an array, which a failed write does not grow."""
    if region is None:
        return None
    stop = tuple(map(min, region[1], shape))
    return (region[0], stop) if all(a < b for a, b in zip(region[0], stop, strict=True)) else None


def _mark(array: ImageArray, region: Unfinished) -> None:
    documents = array.node_path.store_handle.documents
    try:
        edit_attributes_of_array(documents, array.path, lambda old: with_unfinished(old, region))
    except (LamellaError, OSError):
        return  # the caller raises the first error


def mark_finished(array: ImageArray, region: Bounds | None) -> None:
    """Remove the marks of regions that were written completely."""
    attributes = array.stored.meta.attributes
    if region is None or not read_unfinished(attributes) or finished(attributes, region) == attributes:
        return
    documents = array.node_path.store_handle.documents
    edit_attributes_of_array(documents, array.path, lambda old: finished(old, region))


def warn_of_unfinished(array: ImageArray) -> None:
    """Warn if a region of an array is marked as unfinished."""
    for region in read_unfinished(array.stored.meta.attributes):
        warnings.warn(
            f"The region {region} Array: {array.node_path}. Write the region again; until then it may hold old voxels "
            "beside new ones.",
            UserWarning,
            stacklevel=4,
        )
