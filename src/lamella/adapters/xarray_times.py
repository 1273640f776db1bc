"""Move the timepoints of a stored image to other indices; a kill at any instant leaves an image that can be resumed.

The array with the new time axis is written beside the old one, and replaces it when it is complete, with the start and
step of the times (:mod:`lamella.nodes.replacing`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lamella.adapters.dask import ArrayWriter, block_shape
from lamella.adapters.xarray_attributes import with_written_times
from lamella.errors import InvalidArgumentError
from lamella.nodes.replacing import discard, make_beside, put_in_place
from lamella.ops.execution import run
from lamella.ops.regions import Region, regions
from lamella.spec import edits, geometry
from lamella.spec.frame_times import with_real_times
from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.adapters.xarray_plan import WritePlan
    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta
    from lamella.spec.transforms import TransformationMeta
    from lamella.types import JSONObject


def level_transforms(
    position: Position, scale: Sequence[float], translation: Sequence[float]
) -> list[TransformationMeta]:
    """Return the transformations of a level that result in its scale and translation below those of the position."""
    outer_scale = position.get_effective_scale("*")
    outer_shift = position.get_effective_translation("*")
    inner_scale = [a / b if b else a for a, b in zip(scale, outer_scale, strict=True)]
    inner_shift = [
        (a - c) / b if b else a - c for a, b, c in zip(translation, outer_scale, outer_shift, strict=True)
    ]
    return geometry.scale_and_translation(inner_scale, inner_shift if any(inner_shift) else None)


def move_timepoints(position: Position, plan: WritePlan) -> None:
    """Apply the time axis of a plan to an array: each stored timepoint moves to the index of its coordinate.

    The image must have one level.
    """
    array, times, axis = plan.array, plan.times, plan.time
    assert array is not None
    assert times is not None
    assert axis is not None
    documents = position.documents
    node_path = position.node_path.child(plan.image)
    old = StoredArray(documents, node_path.path)
    beside = make_beside(position, old.meta.with_shape(tuple(plan.shape)))
    new = StoredArray(documents, beside.path)
    empty = np.asarray(array.fill_value, array.dtype)

    def copy(region: Region) -> None:
        block = old.read(region)
        if (block == empty).all():  # unwritten timepoints between others stay without files
            return
        if times.moves is None:
            targets = tuple(i * times.factor + times.shift for i in range(array.shape[axis]))
            ArrayWriter(new, [targets if i == axis else None for i in range(array.ndim)])[region] = block
            return
        for index in range(region[axis].start, region[axis].stop):
            start = index - region[axis].start
            frame = block[(slice(None),) * axis + (slice(start, start + 1),)]
            target = times.moved(index)  # None where the time is unknown
            if target is not None:
                new.write((*region[:axis], slice(target, target + 1), *region[axis + 1 :]), frame)
            elif (frame != empty).any():
                raise InvalidArgumentError(
                    f"Timepoint {index} of {node_path} has voxels of unknown time, and the timepoints around it must "
                    "move. Write it with write_xarray, or clear it, first."
                )

    try:
        run(copy, regions(array.shape, block_shape(array)))
    except BaseException:
        discard(beside)
        raise
    record = partial(times_recorded, plan=plan)
    put_in_place(position, plan.image, beside, _transformed(position, plan), last=record)


def set_times(position: Position, plan: WritePlan) -> None:
    """Write the start and step of a plan that moves no timepoint."""
    position.document.edit(_transformed(position, plan), beside=partial(times_recorded, plan=plan))


def _transformed(position: Position, plan: WritePlan) -> Callable[[ImagesMeta], ImagesMeta]:
    """Return the change of metadata that sets the start and step of a plan."""
    transforms = level_transforms(position, plan.scale, plan.translation)
    return lambda meta: edits.set_transform(meta, plan.image, transforms)


def times_recorded(attributes: JSONObject, plan: WritePlan) -> JSONObject:
    """Return attributes with the written start and step, and the real times of frames."""
    if plan.times is None:
        return attributes
    grid = plan.times.grid
    if grid.movable:
        attributes = with_written_times(attributes, plan.image, grid)
    return with_real_times(attributes, plan.image, grid.start, grid.step, grid.times)
