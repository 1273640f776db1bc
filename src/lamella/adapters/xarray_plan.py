"""Plan a write of a labelled array into a position, and check it before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters import xarray_fit
from lamella.adapters.dask import block_shape
from lamella.adapters.xarray_attributes import as_json
from lamella.adapters.xarray_export import STEP_ENCODING
from lamella.adapters.xarray_grid import NOISE, TOLERANCE, Placement, TimeGrid, checked_values, regular_step
from lamella.errors import InvalidArgumentError, clause
from lamella.ops.regions import split_region
from lamella.spec.axes import SPACE_UNITS, TIME_UNITS, axis_kind, channel_axis, time_axis
from lamella.spec.frame_times import real_times, written_times
from lamella.spec.units import unit_name
from lamella.store.pixels.assignment import ValueRangeError, check_exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.regions import Region
    from lamella.types import JSONObject


_NO_UNIT = {"", "none", "pixel", "pixels", "px", "voxel", "reference frame", "dimensionless", "1"}


@dataclass
class WritePlan:
    """A checked write of ``data``, with times and channels in the order of the array."""

    data: xr.DataArray
    image: str
    """Name of the array."""
    array: ImageArray | None
    """None if the array does not exist yet."""
    shape: list[int]
    """Shape of the array after the write."""
    scale: list[float]
    translation: list[float]
    """``scale`` and ``translation`` after the write, of FOV and level together."""
    indices: list[tuple[int, ...] | None]
    """For each axis the index in the array of each index of the data, such as (0, 2); None if they are equal."""
    times: Placement | None = None
    """Placement of the timepoints; None without a time axis."""
    time: int | None = None
    """Index of the time axis."""
    units: dict[int, str | None] = field(default_factory=dict)
    """New unit of each axis, if the data has one."""
    attrs: JSONObject = field(default_factory=dict)
    """Attrs of the data, as JSON."""
    changes_times: bool = False
    """Whether start or step of the timepoints of an existing array will change."""
    unstored_dims: list[str] = field(default_factory=list)
    """Dims whose coordinates an existing array does not get."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user, shown as warnings when the write is done."""


def plan_write(position: Position, data_array: xr.DataArray, image: str) -> WritePlan:
    """Plan a write; raise for data that do not fit the image."""
    data, axes = _checked_data(position, data_array), position.axes
    array = _existing_array(position, image)
    plan = WritePlan(
        data=data,
        image=image,
        array=array,
        shape=list(data.shape if array is None else array.shape),
        scale=[1.0] * data.ndim if array is None else position.get_effective_scale(image),
        translation=[0.0] * data.ndim if array is None else position.get_effective_translation(image),
        indices=[None] * data.ndim,
        units=_units(position, data),
        attrs=as_json(data.attrs),
    )
    plan.time, channel = time_axis(axes), channel_axis(axes)
    for axis in range(data.ndim):
        if axis == plan.time:
            _plan_times(position, plan, axis)
        elif axis == channel:
            _plan_channels(position, plan, axis)
        else:
            _plan_space(position, plan, axis)
    _sort_indices(plan)
    if array is not None:
        _check_units(position, plan)
        if plan.times is not None and plan.time is not None:
            channels = None if channel is None else plan.indices[channel]
            check_joined(position, array, plan.times, plan.time, channel, channels)
        _check_dtype(position, data, array)
        if plan.changes_times and len(position.dataset_paths) > 1:
            raise InvalidArgumentError(
                f"Writing these timepoints moves those that {position.node_path}/{image} has, and it has a pyramid of "
                f"{len(position.dataset_paths)} levels. Call delete_pyramid() first, and compute it again afterwards."
            )
    plan.notes += [*_dropped_coordinates(position, data), *_jitter_notes(position, plan)]
    if plan.unstored_dims:
        plan.notes.append(
            f"The coordinates of dims {', '.join(map(repr, plan.unstored_dims))} are not stored: "
            f"{position.node_path}/{image} existed, and keeps its scale 1 and translation 0. Set them by set_transform."
        )
    return plan


def _checked_data(position: Position, data_array: xr.DataArray) -> xr.DataArray:
    import xarray as xr

    if not isinstance(data_array, xr.DataArray):
        raise InvalidArgumentError(
            f"The method write_xarray expects an xarray.DataArray, not {type(data_array).__name__}: create_image "
            "accepts others."
        )
    expected = tuple(position.axis_names)
    if data_array.dims != expected:
        raise InvalidArgumentError(
            f"The DataArray dims must be {expected}, the axes of {position.node_path}; got {data_array.dims}. "
            "Use transpose, expand_dims or rename."
        )
    if 0 in data_array.shape:
        raise InvalidArgumentError(f"The DataArray of shape {data_array.shape} has nothing to write.")
    return data_array


def _existing_array(position: Position, image: str) -> ImageArray | None:
    kind = position.documents.kind(position.node_path.child(image).path)
    if kind is None:
        return None
    if kind != "array" or image not in position.dataset_paths:
        raise InvalidArgumentError(
            f"{position.node_path}/{image} is {'an array' if kind == 'array' else 'a group'}, but not a level of the "
            f"image, whose levels are {position.dataset_paths}. Choose another name."
        )
    array = position[image]
    if array.ndim != len(position.axes):
        raise InvalidArgumentError(
            f"{position.node_path}/{image} has the shape {array.shape}, which does not match the axes "
            f"{position.axis_names} of its metadata."
        )
    return array


def _coordinates(data: xr.DataArray, axis: int) -> NDArray[np.float64] | None:
    """Return the coordinates along an axis; None if the data have none."""
    dim = str(data.dims[axis])
    return checked_values(data.coords[dim].values, dim) if dim in data.coords else None


def _exact_step(data: xr.DataArray, axis: int) -> float | None:
    """Return the step that `to_xarray` stored with a coordinate, which a single coordinate does not show."""
    dim = data.dims[axis]
    step = data.coords[dim].encoding.get(STEP_ENCODING) if dim in data.coords else None
    return float(step) if isinstance(step, int | float) and step > 0 else None


def _plan_times(position: Position, plan: WritePlan, axis: int) -> None:
    dim, step = str(plan.data.dims[axis]), _exact_step(plan.data, axis)
    times = _coordinates(plan.data, axis)
    if plan.array is None:
        times = np.arange(plan.data.shape[axis], dtype=np.float64) if times is None else times
        plan.times = xarray_fit.first_grid(times, dim, step)
    else:
        old = _time_grid(position, plan, axis, plan.array)
        if times is None:
            times = np.array([old.time_of(index) for index in range(plan.data.shape[axis])])
        plan.times = xarray_fit.place(old, times, dim, step)
        new = plan.times.grid
        plan.changes_times = plan.times.is_moved or (new.start, new.step) != (old.start, old.step)
    plan.indices[axis] = plan.times.indices
    plan.shape[axis] = plan.times.grid.length
    plan.scale[axis], plan.translation[axis] = plan.times.grid.step, plan.times.grid.start


def _dropped_coordinates(position: Position, data: xr.DataArray) -> list[str]:
    """Return a note about coordinates that are not along an axis of their name, which an image cannot store."""
    dropped = sorted(repr(str(name)) for name in data.coords if name not in data.dims)
    if not dropped:
        return []
    return [
        f"The coordinates {' and '.join(dropped)} of the DataArray are not stored in {position.node_path}, which has "
        "coordinates along its axes only. Store them in attrs to keep them, or drop them with drop_vars."
    ]


def _jitter_notes(position: Position, plan: WritePlan) -> list[str]:
    """Return a note about timepoints that are off the regular axis."""
    if plan.times is None or plan.time is None or not plan.times.off:
        return []
    grid, dim, times = plan.times.grid, plan.data.dims[plan.time], _coordinates(plan.data, plan.time)
    if times is None:  # written by index: the image has the real times already
        return []
    off = np.abs(times - grid.start - grid.step * np.array(plan.indices[plan.time]))
    return [
        f"{int((off > NOISE * grid.step).sum())} of {len(off)} coordinates of dim {dim!r} lie off the even steps of "
        f"{grid.step:g} of {position.node_path}, by up to {off.max():g}. Each timepoint takes its step, and its real "
        "time is stored beside: to_xarray() returns it."
    ]


def _time_grid(position: Position, plan: WritePlan, axis: int, array: ImageArray) -> TimeGrid:
    start, step = plan.translation[axis], plan.scale[axis]
    if not step:
        raise InvalidArgumentError(
            f"The scale of {position.node_path}/{plan.image} along {plan.data.dims[axis]!r} is 0; "
            "set it with set_scale."
        )
    attributes = position.documents.group(position.path)
    record, length = written_times(attributes, plan.image), array.shape[axis]
    # If a user has set the scale or translation since the last write, the timepoints stay on that grid.
    is_movable = record is not None and bool(
        np.allclose([start, step], [record[0], record[1] or 1.0], 1e-9, 0)
    )
    has_step = not is_movable or record is None or record[1] is not None
    times = real_times(attributes, plan.image, start, step)
    if times is not None:  # a killed write may have recorded times of frames that it did not store
        times = {frame: time for frame, time in times.items() if 0 <= frame < length}
    return TimeGrid(start, step, length, has_step, is_movable, times or None)


def _plan_channels(position: Position, plan: WritePlan, axis: int) -> None:
    names, dim, length = position.channel_names, str(plan.data.dims[axis]), plan.data.shape[axis]
    if dim in plan.data.coords:
        channels = [str(name) for name in plan.data.coords[dim].values.tolist()]
    elif length == len(names):
        channels = names
    else:
        raise InvalidArgumentError(
            f"The DataArray has {length} channels without names, but {position.node_path} has {len(names)}: {names}. "
            f"Name them with assign_coords({dim}=[...])."
        )
    for name in channels:
        if name not in names:
            raise InvalidArgumentError(
                f"Channel {name!r} not in the channels of {position.node_path}, which are {names}. "
                "Add it with append_channel."
            )
    if len(set(channels)) < len(channels):
        raise InvalidArgumentError(f"The DataArray has a channel twice: {channels}.")
    plan.indices[axis] = tuple(names.index(name) for name in channels)
    if plan.array is None:
        plan.shape[axis] = len(names)
        plan.scale[axis] = _exact_step(plan.data, axis) or 1.0
    else:
        plan.shape[axis] = max(plan.shape[axis], *(index + 1 for index in plan.indices[axis] or ()))


def _plan_space(position: Position, plan: WritePlan, axis: int) -> None:
    """Set the grid of a space axis from its coordinates; raise unless they are those of an existing array."""
    data, dim, coordinates = plan.data, str(plan.data.dims[axis]), _coordinates(plan.data, axis)
    if plan.array is None:
        if coordinates is not None:
            plan.scale[axis] = regular_step(coordinates, dim, _exact_step(data, axis)) or 1.0
            plan.translation[axis] = float(coordinates[0])
        return
    length = plan.array.shape[axis]
    if data.shape[axis] != length:
        raise InvalidArgumentError(
            f"The DataArray has length {data.shape[axis]} along {dim!r}, but {position.node_path}/{plan.image} of "
            f"shape {plan.array.shape} has {length}. Only times and channels can be written in parts."
        )
    scale, translation = plan.scale[axis], plan.translation[axis]
    index = np.arange(length)
    # Coordinates 0, 1, 2, ... mean that the size is unknown, in the data or in the image.
    if coordinates is None or np.array_equal(coordinates, index):
        return
    if (scale, translation) == (1.0, 0.0):
        plan.unstored_dims.append(dim)
    elif np.abs(coordinates - (translation + scale * index)).max() > TOLERANCE * abs(scale):
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} runs from {coordinates[0]:g} to {coordinates[-1]:g}, but that of "
            f"{position.node_path}/{plan.image} from {translation:g} to {translation + scale * (length - 1):g}. "
            "A write never moves an image; write to another position, or drop the coordinate to write by index."
        )


def _sort_indices(plan: WritePlan) -> None:
    """Sort times and channels into the order of the array, so that neighbours are written together."""
    for axis, indices in enumerate(plan.indices):
        if indices is not None and list(indices) != sorted(indices):
            plan.data = plan.data.isel({plan.data.dims[axis]: np.argsort(indices)})
            plan.indices[axis] = tuple(sorted(indices))


def _units(position: Position, data: xr.DataArray) -> dict[int, str | None]:
    """Return the units of coordinates that differ from those of the axes, by the names of the specification (AX-04)."""
    units: dict[int, str | None] = {}
    for index, axis in enumerate(position.axes):
        dim, kind = data.dims[index], axis_kind(axis)
        unit = data.coords[dim].attrs.get("units") if dim in data.coords else None
        if unit is not None and kind != "channel":
            units[index] = _legal_unit(unit, kind, str(dim))
    return {index: unit for index, unit in units.items() if unit != position.axes[index].unit}


def _check_units(position: Position, plan: WritePlan) -> None:
    """Raise for coordinates in another unit than an existing image, whose voxels would change their size with it.

    An axis with scale 1 at 0, to which no times were written, has no known size yet.
    """
    scale = position.get_effective_scale(plan.image)
    translation = position.get_effective_translation(plan.image)
    has_times = written_times(position.documents.group(position.path), plan.image) is not None
    for index, unit in plan.units.items():
        axis = position.axes[index]
        has_size = (scale[index], translation[index]) != (1.0, 0.0) or (index == plan.time and has_times)
        if axis.unit is not None and has_size:
            raise InvalidArgumentError(
                f"The coordinate of dim {str(plan.data.dims[index])!r} is in {unit or 'pixels'}, and the axis of "
                f"{position.node_path}/{plan.image} is in {axis.unit}. Convert the coordinate, or set the unit of the "
                "axis with set_unit first."
            )


def _legal_unit(unit: Any, kind: str | None, dim: str) -> str | None:
    """Return the name of a unit in the specification; None for pixels."""
    legal = {"space": SPACE_UNITS, "time": TIME_UNITS}.get(kind or "")
    text = unit if isinstance(unit, str) else repr(unit)
    if text.strip().lower() in _NO_UNIT:
        return None
    if legal is None and isinstance(unit, str):
        return unit
    name = unit if isinstance(unit, str) and unit in (legal or ()) else unit_name(text)
    if legal is None or name not in legal:
        raise InvalidArgumentError(
            f"The coordinate of dim {dim!r} has attrs['units'] = {unit!r}, which is not a unit of {kind} of OME-NGFF "
            "(AX-04), such as 'micrometer', 'nanometer', 'second' or 'minute'. Use such a name, or delete it."
        )
    return name


def _check_dtype(position: Position, data: xr.DataArray, array: ImageArray) -> None:
    """Raise for values in memory that the dtype would change, except by rounding; writing checks lazy ones."""
    source, target = np.dtype(data.dtype), array.dtype
    if np.can_cast(source, target, "safe"):
        return
    array_name = f"{position.node_path}/{array.basename}"
    reason = f"it contains {source}, and the array {target}"
    if source.kind in "biufc" and target.kind in "biufc":
        if not isinstance(data.variable._data, np.ndarray):
            return
        try:
            check_exact(data.values, target)
        except ValueRangeError as error:
            reason = clause(error)
        else:
            return
    raise InvalidArgumentError(
        f"The DataArray cannot be written to {array_name}: {reason}; it cannot store all values. Convert it with "
        f"astype({target.name!r}) if that is what you want."
    )


def check_joined(
    position: Position,
    array: ImageArray,
    times: Placement,
    time: int,
    channel: int | None,
    channels: Sequence[int] | None,
) -> None:
    """Raise for times that join a timepoint of another time which has voxels of the written channels already.

    A channel at 60.4 s joins the timepoint of 60 s, but a second frame of one channel at 60.4 s would replace the
    first. ``time`` and ``channel`` are the indices of the axes, ``channels`` the written channels (None for all).
    """
    for joined in times.joined:
        for number in _existing_channels(array, channel, channels):
            region = [slice(0, length) for length in array.shape]
            region[time] = slice(joined.index, joined.index + 1)
            if channel is not None:
                region[channel] = slice(number, number + 1)
            if not is_empty(array, tuple(region)):
                name = "" if channel is None else f" of channel {_channel_name(position, number)}"
                raise InvalidArgumentError(
                    f"The coordinate {joined.time:.12g} lies within a twentieth of a step of timepoint {joined.index} "
                    f"of {array.node_path}, which has the voxels{name} of {joined.stored_time:.12g} already; they "
                    f"would be replaced. The timepoints are {times.grid.step:g} apart. To replace them, write with the "
                    f"coordinate {joined.stored_time:.12g}; to keep both, write to an image whose time scale is "
                    "smaller."
                )


def is_empty(array: ImageArray, region: Region) -> bool:
    """Return whether all voxels of a region are the fill value."""
    fill = np.asarray(array.fill_value, array.dtype)
    stored, is_float = array.stored, array.dtype.kind in "fc"
    return all(
        np.array_equal(block := stored.read(inner), np.broadcast_to(fill, block.shape), equal_nan=is_float)
        for inner in split_region(region, [block_shape(array)])
    )


def _existing_channels(
    array: ImageArray, channel: int | None, channels: Sequence[int] | None
) -> Sequence[int]:
    """Return the indices of the written channels that exist already; (0,) without a channel axis."""
    if channel is None:
        return (0,)
    count = array.shape[channel]
    return range(count) if channels is None else [number for number in channels if number < count]


def _channel_name(position: Position, number: int) -> str:
    names = position.channel_names
    return repr(names[number]) if number < len(names) else str(number)
