"""Write labelled arrays into positions: create or extend the image as needed, and write pixels shard by shard.

``xarray_plan`` plans a write. If stored timepoints must move to other indices, an array with the new time axis is
written beside the old one, and replaces it when it is complete (:mod:`lamella.nodes.replacing`).
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.dask import ArrayWriter, block_shape, dask_array
from lamella.adapters.lazy_writes import bounding_region, computed_in_temporary_array, write_blocks
from lamella.adapters.xarray_attributes import with_user_attributes
from lamella.adapters.xarray_plan import WritePlan, plan_write
from lamella.errors import InvalidArgumentError
from lamella.nodes.level_writes import marked_unless_finished
from lamella.nodes.replacing import discard, finish_replacing, make_beside, put_in_place
from lamella.nodes.reporting import warn_of
from lamella.ops.array_writes import reads_from
from lamella.ops.execution import run
from lamella.ops.regions import Region, regions
from lamella.spec import edits, geometry
from lamella.spec.axes import axes_from_json
from lamella.spec.frame_times import with_real_times, with_written_times
from lamella.store.keys import join
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.growth import growing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta, TransformationMeta
    from lamella.types import JSONObject, Shape


def write_xarray(
    position: Position,
    data_array: xr.DataArray,
    image: str = "0",
    *,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write a labelled array; see :meth:`Position.write_xarray`. ``options`` of `create_zeros` are for a new array."""
    name = position._checked_key(image)
    position.require_writable(f"write to the image {name!r}")
    with ExitStack() as computed, ExitStack() as lock:
        lock.enter_context(position.documents.storage.lock(join(position.path, "write_xarray")))
        finish_replacing(position)
        plan = plan_write(position, data_array, name)
        plan = computed.enter_context(_computed_if_read_from(position, plan))
        array, growing_plan = _prepare_array(position, plan, options or {})
        _save_units(position, plan.units)
        _save_attributes(position, plan)
        if growing_plan is None and (plan.times is None or not plan.times.grid.is_movable):
            lock.close()  # no write can move the timepoints of this image, so others may write meanwhile
        _write_pixels(array, plan.data, plan.indices, growing_plan)
        for level in position.dataset_paths if growing_plan is not None else ():
            with growing(position.open_level(level).stored, partial(_grown_shape, plan)):
                pass
    warn_of(plan.notes)


@contextmanager
def _computed_if_read_from(position: Position, plan: WritePlan) -> Iterator[WritePlan]:
    """Yield the plan; data that are computed from the written image are computed before its first voxel changes."""
    node_path = position.node_path.child(plan.image)
    if not reads_from(plan.data, node_path):
        yield plan
        return
    if plan.array is None:
        raise InvalidArgumentError(
            f"Cannot write {node_path} from data that read from it: it was deleted, or never written. Load the data "
            "before the store is replaced."
        )
    with computed_in_temporary_array(plan.array, plan.data) as computed:
        yield replace(plan, data=plan.data.copy(data=dask_array(computed)))


def _prepare_array(
    position: Position, plan: WritePlan, options: Mapping[str, Any]
) -> tuple[ImageArray, WritePlan | None]:
    """Create the array, or move its timepoints; return the array, and the plan if the array grows with the write."""
    if plan.array is None:
        transforms = level_transforms(position, plan.scale, plan.translation)
        array = position.create_zeros(
            plan.image, plan.shape, plan.data.dtype, transform=transforms, **options
        )
        return array, None
    if plan.changes_times and plan.times is not None and plan.times.is_moved:
        move_timepoints(position, plan)
        return position[plan.image], None
    if plan.changes_times:
        position.document.edit(
            _edit_of_transform(position, plan), edit_attributes=partial(with_times, plan=plan)
        )
    if tuple(plan.shape) != plan.array.shape:
        return position[plan.image], plan
    return position[plan.image], None


def _grown_shape(plan: WritePlan, shape: Shape) -> Shape:
    """Return the shape to which a level grows; a larger shape that another process set meanwhile stays."""
    growing_axes = {axis for axis, indices in enumerate(plan.indices) if indices is not None}
    return tuple(
        max(length, plan.shape[axis]) if axis in growing_axes else length for axis, length in enumerate(shape)
    )


def _save_units(position: Position, units: Mapping[int, str | None]) -> None:
    def edit(meta: ImagesMeta) -> ImagesMeta:
        edited = meta.checked()
        documents = [axis.to_json() for axis in edited.multiscales[0].axes]
        for index, unit in units.items():
            documents[index].pop("unit", None)
            documents[index] |= {} if unit is None else {"unit": unit}
        edited.multiscales[0].axes = axes_from_json(documents)
        return edited

    if units:
        position.document.edit(edit)


def _save_attributes(position: Position, plan: WritePlan) -> None:
    def edit(attributes: JSONObject) -> JSONObject:
        attributes = with_user_attributes(attributes, plan.attrs)
        return with_times(attributes, plan)

    stored = position.documents.group(position.path)
    if edit(stored) != stored:
        position.documents.edit_group(position.path, edit)


def _write_pixels(
    array: ImageArray,
    data: xr.DataArray,
    indices: Sequence[Sequence[int] | None],
    growing_plan: WritePlan | None,
) -> None:
    """Write the pixels, and then the new shape of an array that grows."""
    shape = array.shape if growing_plan is None else _grown_shape(growing_plan, array.shape)
    stored, bounds = (
        StoredArray(array.node_path.store_handle.documents, array.path),
        bounding_region(shape, indices),
    )
    with array.recording_write(lambda: bounds), marked_unless_finished(array, bounds):
        if growing_plan is None:
            write_blocks(array, stored, data, indices, exact=True)
        else:
            with growing(stored, partial(_grown_shape, growing_plan)) as larger:
                write_blocks(array, larger, data, indices, exact=True)
    if bounds is not None:
        array.region_written(bounds)


def level_transforms(
    position: Position, scale: Sequence[float], translation: Sequence[float]
) -> list[TransformationMeta]:
    """Return the transformations of a level that, together with those of the position, have this effect."""
    outer_scale = position.get_effective_scale("*")
    outer_shift = position.get_effective_translation("*")
    inner_scale = [size / outer if outer else size for size, outer in zip(scale, outer_scale, strict=True)]
    inner_shift = [
        (shift - outer) / size if size else shift - outer
        for shift, size, outer in zip(translation, outer_scale, outer_shift, strict=True)
    ]
    return geometry.scale_and_translation(inner_scale, inner_shift if any(inner_shift) else None)


def move_timepoints(position: Position, plan: WritePlan) -> None:
    """Move each stored timepoint of an image with one level to the index of its coordinate in a plan."""
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

    def is_empty(block: np.ndarray) -> bool:
        return np.array_equal(block, np.broadcast_to(empty, block.shape), equal_nan=empty.dtype.kind in "fc")

    def copy(region: Region) -> None:
        block = old.read(region)
        if is_empty(block):  # unwritten timepoints between others stay without files
            return
        if times.moves is None:
            targets = tuple(index * times.factor + times.shift for index in range(array.shape[axis]))
            indices = [targets if number == axis else None for number in range(array.ndim)]
            ArrayWriter(new, indices)[region] = block
            return
        for index in range(region[axis].start, region[axis].stop):
            start = index - region[axis].start
            frame = block[(slice(None),) * axis + (slice(start, start + 1),)]
            target = times.moved(index)  # None where the time is unknown
            if target is not None:
                new.write((*region[:axis], slice(target, target + 1), *region[axis + 1 :]), frame)
            elif not is_empty(frame):
                raise InvalidArgumentError(
                    f"Timepoint {index} of {node_path} has voxels of unknown time, and the timepoints around it must "
                    "move. Write it with write_xarray, or clear it, first."
                )

    try:
        run(copy, regions(array.shape, block_shape(array)))
    except BaseException:
        discard(beside)
        raise
    record_times = partial(with_times, plan=plan)
    put_in_place(position, plan.image, beside, _edit_of_transform(position, plan), edit_after=record_times)


def _edit_of_transform(position: Position, plan: WritePlan) -> Callable[[ImagesMeta], ImagesMeta]:
    """Return the edit of metadata that sets the start and step of a plan."""
    transforms = level_transforms(position, plan.scale, plan.translation)
    return lambda meta: edits.set_transform(meta, plan.image, transforms)


def with_times(attributes: JSONObject, plan: WritePlan) -> JSONObject:
    """Return attributes with the start and step of the written times, and the real times of frames."""
    if plan.times is None:
        return attributes
    grid = plan.times.grid
    if grid.is_movable:
        attributes = with_written_times(
            attributes, plan.image, grid.start, grid.step if grid.has_step else None
        )
    return with_real_times(attributes, plan.image, grid.start, grid.step, grid.times)
