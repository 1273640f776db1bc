"""Timepoints of a stored image moved to other indices, so that a kill at any instant leaves an image to go on from.

The array with the new time axis is made beside the old one. Only when it is complete do the attributes say so, in
``attributes["lamella"]["xarray_move"]``; from then on `finish_move`, called by every write, can end
the swap.

Layer: adapters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.dask import ArrayWriter, block_shape
from lamella.adapters.xarray_attributes import with_real_times, with_written_times
from lamella.errors import InvalidArgumentError
from lamella.ops.execution import run
from lamella.ops.regions import Region, regions
from lamella.spec import edits, geometry
from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.adapters.xarray_plan import WritePlan
    from lamella.nodes.position import Position
    from lamella.spec.transforms import TransformationMeta
    from lamella.types import JSONObject

_MOVE = "xarray_move"


def level_transforms(
    position: Position, scale: Sequence[float], translation: Sequence[float]
) -> list[TransformationMeta]:
    """Make the transformations of a level that give it a scale and translation under those of the whole position."""
    outer_scale = position.get_effective_scale("*")
    outer_shift = position.get_effective_translation("*")
    inner_scale = [a / b if b else a for a, b in zip(scale, outer_scale, strict=True)]
    inner_shift = [
        (a - c) / b if b else a - c for a, b, c in zip(translation, outer_scale, outer_shift, strict=True)
    ]
    return geometry.scale_and_translation(inner_scale, inner_shift if any(inner_shift) else None)


def move_timepoints(position: Position, plan: WritePlan) -> None:
    """Give an array the time axis of a plan: each stored timepoint goes to the index of its coordinate.

    Parameters
    ----------
    position : Position
        Open for writing; its image has one level.
    plan : WritePlan
        Of a write that changes the timepoints of an array.
    """
    array, times, axis = plan.array, plan.times, plan.time
    assert array is not None
    assert times is not None
    assert axis is not None
    documents = position._documents
    place, beside = position._place.child(plan.image), position._place.child(f"{plan.image}.moving")
    if documents.storage.exists(beside.path):  # left by a write that was killed before it counted
        documents.delete(beside.path)
    old = StoredArray(documents, place.path)
    documents.put_array(beside.path, old.meta.with_shape(tuple(plan.shape)))
    new = StoredArray(documents, beside.path)
    empty = np.asarray(array.fill_value, array.dtype)

    def copy(region: Region) -> None:
        block = old.read(region)
        if (block == empty).all():  # timepoints between others that nobody wrote stay without files
            return
        if times.moves is None:
            targets = tuple(i * times.factor + times.shift for i in range(array.shape[axis]))
            ArrayWriter(new, [targets if i == axis else None for i in range(array.ndim)])[region] = block
            return
        for index in range(region[axis].start, region[axis].stop):
            frame = block[(slice(None),) * axis + (slice(i := index - region[axis].start, i + 1),)]
            target = times.moved(index)
            if target is not None:
                new.write((*region[:axis], slice(target, target + 1), *region[axis + 1 :]), frame)
            elif (frame != empty).any():
                raise InvalidArgumentError(
                    f"Timepoint {index} of {place} holds voxels whose time is not known, and the timepoints around it "
                    "have to move. Write it with write_xarray, or clear it, first."
                )

    try:
        run(copy, regions(array.shape, block_shape(array)))
    except BaseException:
        documents.delete(beside.path)
        raise
    set_times(position, plan)


def set_times(position: Position, plan: WritePlan) -> None:
    """Give an image the start and step of a plan, and swap in the array that was made for them, if there is one."""
    move = {"image": plan.image, "scale": plan.scale, "translation": plan.translation}
    position._documents.edit_group(
        position.path, lambda attributes: _with_move(times_recorded(attributes, plan), move)
    )
    finish_move(position)


def times_recorded(attributes: JSONObject, plan: WritePlan) -> JSONObject:
    """Return attributes that say how far the time axis follows from writes, and when frames were really taken."""
    if plan.times is None:
        return attributes
    if plan.times.grid.movable:
        attributes = with_written_times(attributes, plan.image, plan.times.grid)
    return with_real_times(attributes, plan.image, plan.times.grid)


def finish_move(position: Position) -> None:
    """Swap in the array that a move has completed, if there is one. Each step can be taken again after a kill."""
    documents = position._documents
    own = documents.group(position.path).get("lamella")
    move = own.get(_MOVE) if isinstance(own, dict) else None
    if not isinstance(move, dict):
        return
    transforms = level_transforms(position, move["scale"], move["translation"])
    position._live.edit(lambda meta: edits.set_transform(meta, move["image"], transforms))
    path, beside = (
        position._place.child(move["image"]).path,
        position._place.child(f"{move['image']}.moving").path,
    )
    if documents.kind(beside) == "array":
        if documents.storage.exists(path):
            documents.delete(path)
        documents.move(beside, path)
    documents.edit_group(position.path, lambda attributes: _with_move(attributes, None))


def _with_move(attributes: JSONObject, move: JSONObject | None) -> JSONObject:
    own: dict[str, Any] = {
        key: value for key, value in (attributes.get("lamella") or {}).items() if key != _MOVE
    }
    if move is not None:
        own[_MOVE] = move
    rest = {key: value for key, value in attributes.items() if key != "lamella"}
    return {**rest, "lamella": own} if own else rest
