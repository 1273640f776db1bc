"""Compute the bounding boxes of the labels of a label image, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.regions import bounded_shape, region_shape, regions, whole_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage
    from lamella.ops.regions import Region

_UNIT_BYTES = 8 << 20
_MAX_UNMERGED = 64
"""Maximum number of units whose boxes are in memory before they are merged."""


@dataclass
class Boxes:
    """The bounding boxes of labels."""

    ids: NDArray[Any]
    """The labels, in ascending order, without 0."""
    start: NDArray[np.int64]
    """First voxel, shape (labels, axes)."""
    stop: NDArray[np.int64]
    """Voxel after the last, shape (labels, axes)."""

    def __len__(self) -> int:
        return len(self.ids)


def bounding_boxes(
    image: LabelImage, level: str | None = None, *, within: Region | None = None, workers: Workers = THREADS
) -> Boxes:
    """Return the bounding boxes of all labels of one level, or of a region of it, from units of about 8 MiB."""
    array = image.data if level is None else image[level]
    within = whole_region(array.shape) if within is None else within
    shape = region_shape(within)
    unit = bounded_shape(shape, array.shards or array.chunks, array.dtype.itemsize, _UNIT_BYTES)
    boxes_of_units: list[Boxes] = []

    def collect(boxes: Boxes) -> None:
        boxes_of_units.append(boxes)
        if len(boxes_of_units) > _MAX_UNMERGED:
            boxes_of_units[:] = [_merged(boxes_of_units)]

    def boxes_in(region: Region) -> Boxes:
        region_of_array = tuple(
            slice(span.start + outer.start, span.stop + outer.start)
            for span, outer in zip(region, within, strict=True)
        )
        return _boxes_of(array, region_of_array)

    run(boxes_in, regions(shape, unit), workers, on_result=collect)
    return _merged(boxes_of_units) if boxes_of_units else _no_boxes(array.ndim, array.dtype)


def _no_boxes(ndim: int, dtype: np.dtype[Any]) -> Boxes:
    empty = np.zeros((0, ndim), np.int64)
    return Boxes(np.zeros(0, dtype), empty, empty)


def _boxes_of(array: ImageArray, region: Region) -> Boxes:
    block = np.asarray(array[region])
    indices = np.nonzero(block)
    if not indices[0].size:
        return _no_boxes(array.ndim, block.dtype)
    ids, id_index = np.unique(block[indices], return_inverse=True)
    start = np.full((len(ids), array.ndim), np.iinfo(np.int64).max)
    stop = np.zeros_like(start)
    for axis, (coordinates, span) in enumerate(zip(indices, region, strict=True)):
        np.minimum.at(start[:, axis], id_index, coordinates + span.start)
        np.maximum.at(stop[:, axis], id_index, coordinates + span.start + 1)
    return Boxes(ids, start, stop)


def _merged(boxes_of_units: list[Boxes]) -> Boxes:
    """Merge the boxes of several units, so that each label has one."""
    ids, id_index = np.unique(np.concatenate([boxes.ids for boxes in boxes_of_units]), return_inverse=True)
    ndim = boxes_of_units[0].start.shape[1]
    start = np.full((len(ids), ndim), np.iinfo(np.int64).max)
    stop = np.zeros_like(start)
    np.minimum.at(start, id_index, np.concatenate([boxes.start for boxes in boxes_of_units]))
    np.maximum.at(stop, id_index, np.concatenate([boxes.stop for boxes in boxes_of_units]))
    return Boxes(ids, start, stop)
