"""Find the bounding boxes of the labels of a label image, region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.regions import piece_shape, regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage
    from lamella.ops.regions import Region

_PIECE_BYTES = 8 << 20
_MERGED = 64
"""Number of pieces whose boxes are kept apart."""


@dataclass
class Boxes:
    """The bounding boxes of labels."""

    ids: NDArray[Any]
    """The labels, in ascending order, without 0."""
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    """``start`` and ``stop``: first voxel, and voxel after the last; shape (labels, axes)."""

    def __len__(self) -> int:
        return len(self.ids)


def bounding_boxes(
    image: LabelImage, level: str | None = None, *, within: Region | None = None, workers: Workers = THREADS
) -> Boxes:
    """Find the bounding boxes of all labels of one level, or of a region of it, a few pieces of 8 MiB at a time.

    Examples
    --------
    >>> cells = position.labels.create("cells", np.eye(8, dtype="uint8")[None].repeat(4, 0) * 3)
    >>> boxes = bounding_boxes(cells)
    >>> boxes.ids.tolist(), boxes.start.tolist(), boxes.stop.tolist()
    ([3], [[0, 0, 0]], [[4, 8, 8]])
    """
    array = image.data if level is None else image[level]
    offsets = [0] * array.ndim if within is None else [one.start for one in within]
    shape = array.shape if within is None else tuple(one.stop - one.start for one in within)
    unit = piece_shape(shape, array.shards or array.chunks, array.dtype.itemsize, _PIECE_BYTES)
    parts: list[Boxes] = []

    def collect(part: Boxes) -> None:
        parts.append(part)
        if len(parts) > _MERGED:
            parts[:] = [_merged(parts)]

    def find(region: Region) -> Boxes:
        moved = tuple(
            slice(one.start + offset, one.stop + offset) for one, offset in zip(region, offsets, strict=True)
        )
        return _boxes_of(array, moved)

    run(find, regions(shape, unit), workers, done=collect)
    return _merged(parts) if parts else _none(array.ndim, array.dtype)


def _none(ndim: int, dtype: np.dtype[Any]) -> Boxes:
    empty = np.zeros((0, ndim), np.int64)
    return Boxes(np.zeros(0, dtype), empty, empty)


def _boxes_of(array: ImageArray, region: Region) -> Boxes:
    block = np.asarray(array[region])
    places = np.nonzero(block)
    if not places[0].size:
        return _none(array.ndim, block.dtype)
    ids, which = np.unique(block[places], return_inverse=True)
    start = np.full((len(ids), array.ndim), np.iinfo(np.int64).max)
    stop = np.zeros_like(start)
    for axis, (coordinates, one) in enumerate(zip(places, region, strict=True)):
        np.minimum.at(start[:, axis], which, coordinates + one.start)
        np.maximum.at(stop[:, axis], which, coordinates + one.start + 1)
    return Boxes(ids, start, stop)


def _merged(parts: list[Boxes]) -> Boxes:
    """Merge the boxes of several pieces, so that each label has one."""
    ids, which = np.unique(np.concatenate([part.ids for part in parts]), return_inverse=True)
    ndim = parts[0].start.shape[1]
    start = np.full((len(ids), ndim), np.iinfo(np.int64).max)
    stop = np.zeros_like(start)
    np.minimum.at(start, which, np.concatenate([part.start for part in parts]))
    np.maximum.at(stop, which, np.concatenate([part.stop for part in parts]))
    return Boxes(ids, start, stop)
