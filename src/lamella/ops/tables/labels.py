"""Compute the bounding boxes of the labels of a label image, unit by unit, and choose the rows of its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.regions import bounded_shape, region_shape, regions, whole_region
from lamella.ops.tables.frames import as_ids, pandas

if TYPE_CHECKING:
    import pandas as pd
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
    empty = np.zeros((0, array.ndim), np.int64)
    boxes_of_units = [Boxes(np.zeros(0, array.dtype), empty, empty)]

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
    return _merged(boxes_of_units)


def rows_of_labels(frame: pd.DataFrame, image: LabelImage, first_time: int) -> pd.DataFrame:
    """Return the rows of a table whose labels are in an image, which was cut out of the measured one.

    In a column "t", as `measure` writes it, rows of other time points are left out, and ``first_time`` becomes 0.
    """
    is_integer = pandas().api.types.is_integer_dtype
    labels = frame.index if frame.index.name == "label" else frame.get("label")
    if labels is None or not is_integer(labels.dtype) or labels.hasnans:
        raise InvalidArgumentError("It has no column of labels, which are integers in every row.")
    labels, whole = as_ids(labels), whole_region(image.data.shape)
    axis_names = image.axis_names[-len(whole) :]
    if "t" not in axis_names or "t" not in frame.columns or not is_integer(frame["t"].dtype):
        return frame[labels.isin(as_ids(bounding_boxes(image).ids))]
    axis, inside = axis_names.index("t"), np.zeros(len(frame), bool)
    for time in range(whole[axis].stop):
        within = (*whole[:axis], slice(time, time + 1), *whole[axis + 1 :])
        at_time = (frame["t"] == first_time + time).to_numpy(bool, na_value=False)
        inside[at_time] = labels[at_time].isin(as_ids(bounding_boxes(image, within=within).ids))
    frame = frame[inside]
    times = frame["t"].astype("int64") - first_time
    return frame.assign(t=times.astype(frame["t"].dtype))


def _boxes_of(array: ImageArray, region: Region) -> Boxes:
    block = np.ascontiguousarray(array[region])
    # Runs of one label along the last axis are far fewer than voxels.
    begins_run = np.ones(block.shape, bool)
    np.not_equal(block[..., 1:], block[..., :-1], out=begins_run[..., 1:])
    first = np.flatnonzero(begins_run)
    lengths, labels = np.diff(first, append=block.size), block.ravel()[first]
    first, lengths, labels = first[labels != 0], lengths[labels != 0], labels[labels != 0]
    ids, id_index = np.unique(labels, return_inverse=True)
    start = np.full((len(ids), array.ndim), np.iinfo(np.int64).max)
    stop = np.zeros_like(start)
    for axis, (coordinates, span) in enumerate(
        zip(np.unravel_index(first, block.shape), region, strict=True)
    ):
        ends = coordinates + (lengths if axis == array.ndim - 1 else 1)
        np.minimum.at(start[:, axis], id_index, coordinates + span.start)
        np.maximum.at(stop[:, axis], id_index, ends + span.start)
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
