"""Marks on arrays that a call could not write to its end: set by writes of lazy sources, removed by whole ones."""

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
    from lamella.spec.stale_levels import Box


@contextmanager
def marked_unless_finished(array: ImageArray, box: Box | None) -> Iterator[None]:
    """Mark a region of an array as unfinished when writing it block by block fails; unmark it when it does not."""
    try:
        yield
    except Exception as error:
        inside = _inside(box, array.shape)
        if inside is not None:
            _mark(array, Unfinished(inside, one_line(error)))
        raise
    mark_finished(array, box)


def _inside(box: Box | None, shape: tuple[int, ...]) -> Box | None:
    """Cut a box at the end of an array, which does not grow by a write that fails."""
    if box is None:
        return None
    stop = tuple(map(min, box[1], shape))
    return (box[0], stop) if all(a < b for a, b in zip(box[0], stop, strict=True)) else None


def _mark(array: ImageArray, region: Unfinished) -> None:
    documents = array.node_path.store_handle.documents
    try:
        edit_attributes_of_array(documents, array.path, lambda old: with_unfinished(old, region))
    except (LamellaError, OSError):
        return  # the error that is on its way says more


def mark_finished(array: ImageArray, box: Box | None) -> None:
    """Remove the marks of regions that were written whole."""
    attributes = array.stored.meta.attributes
    if box is None or not read_unfinished(attributes) or finished(attributes, box) == attributes:
        return
    documents = array.node_path.store_handle.documents
    edit_attributes_of_array(documents, array.path, lambda old: finished(old, box))


def warn_of_unfinished(array: ImageArray) -> None:
    """Warn where a region of an array was not written to its end."""
    for region in read_unfinished(array.stored.meta.attributes):
        warnings.warn(
            f"The region {region} Array: {array.node_path}. Write the region again; until then it may hold old voxels "
            "beside new ones.",
            UserWarning,
            stacklevel=4,
        )
