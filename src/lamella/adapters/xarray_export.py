"""Return positions, plates and regions in physical units as lazy labelled arrays; xarray is imported on first use."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella.adapters.dask import dask_array
from lamella.adapters.xarray_attributes import user_attributes
from lamella.arguments import items_of
from lamella.errors import InvalidArgumentError, LamellaError, MetadataError, WrongTypeError, did_you_mean
from lamella.nodes.replacing import without_replacing
from lamella.ops.images.points import checked_level, level_for
from lamella.spec.axes import AxisMeta, axis_kind, channel_axis
from lamella.spec.frame_times import real_times
from lamella.store.process_limits import check_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position


STEP_ENCODING = "lamella_scale"
"""Key in a coordinate's ``encoding`` for the scale of the axis, which a single coordinate does not show."""


def to_xarray(position: Position, level: str | int | None = None) -> xr.DataArray:
    """Return a level of a position, the finest by default, as a labelled array; see :meth:`Position.to_xarray`.

    Each coordinate has the scale of its axis in ``encoding["lamella_scale"]``, so that a single timepoint or plane
    keeps it when it is written elsewhere.
    """
    import xarray as xr

    if level is None:
        image, path = position.data, position.dataset_paths[0]
    else:
        path = checked_level(position, level)
        image = position.open_level(path)
    dims, coords = labels_of(position, path, image.shape)
    attrs = user_attributes(position.documents.group(position.path))
    name = position.document.shared_model.multiscales[0].name or None
    return xr.DataArray(dask_array(image), coords=coords, dims=dims, name=name, attrs=attrs)


def labels_of(
    position: Position, level: str, shape: tuple[int, ...]
) -> tuple[tuple[str, ...], dict[str, xr.Variable]]:
    """Return the dims and coordinates of a level, whose last dimension is the last axis."""
    import xarray as xr

    unnamed = [AxisMeta(name=f"dim_{number}") for number in range(len(shape) - len(position.axes))]
    axes = unnamed + position.axes
    axes = axes[len(axes) - len(shape) :]
    scale = _last_numbers(position.get_effective_scale(level), len(shape), 1.0)
    translation = _last_numbers(position.get_effective_translation(level), len(shape), 0.0)
    channel = channel_axis(axes)
    coords: dict[str, xr.Variable] = {}
    for number, (axis, length) in enumerate(zip(axes, shape, strict=True)):
        name = axis.name.lower()
        check_memory((length,), 8, partial("The coordinate {!r} of {!r}".format, name, position))
        with np.errstate(over="ignore"):
            coordinates: np.ndarray[Any, Any] = translation[number] + scale[number] * np.arange(length)
        if length and not np.isfinite(coordinates[-1]):
            raise MetadataError(
                f"{position!r} has scale {scale[number]} and translation {translation[number]} on axis {name!r}, too "
                "large for coordinates. Set others with set_transform()."
            )
        if axis_kind(axis) == "time":
            coordinates = _with_real_times(position, coordinates, translation[number], scale[number])
        attrs = {"units": axis.unit} if axis.unit else {}
        if number == channel:
            coordinates = _channel_labels(position.channel_names, length)
        coords[name] = xr.Variable((name,), coordinates, attrs, encoding={STEP_ENCODING: scale[number]})
    return tuple(axis.name.lower() for axis in axes), coords


def _with_real_times(
    position: Position, times: np.ndarray[Any, Any], start: float, step: float
) -> np.ndarray[Any, Any]:
    """Return times with the real times that `write_xarray` stored for frames off their step."""
    attributes = without_replacing(position.node_path, position.documents.group(position.path)).attributes
    paths = position.dataset_paths
    real_time_by_frame = real_times(attributes, paths[0], start, step) if paths else None
    for frame, time in (real_time_by_frame or {}).items():
        if 0 <= frame < len(times):
            times[frame] = time
    return times


def _last_numbers(numbers: list[float], count: int, default: float) -> list[float]:
    """Return the last ``count`` numbers, after defaults if there are fewer."""
    return ([default] * count + numbers)[-count:] if count else []


def _channel_labels(names: list[str], length: int) -> np.ndarray[Any, np.dtype[np.str_]]:
    unnamed = (f"channel_{index}" for index in range(len(names), length))
    return np.array([*names[:length], *unnamed], dtype=np.str_)


def to_datatree(plate: Plate, *, on_error: Literal["raise", "report"] = "raise") -> xr.DataTree:
    """Return a plate as a tree of lazy datasets; see :meth:`Plate.to_datatree`."""
    import xarray as xr

    if on_error not in ("raise", "report"):
        raise InvalidArgumentError(f"on_error={on_error!r} is neither 'raise' nor 'report'.")
    datasets: dict[str, xr.Dataset] = {}
    for path, position in plate.positions(on_error=on_error):
        try:
            if isinstance(position, LamellaError):
                raise position
            datasets[path] = position_dataset(position)
        except LamellaError as error:
            if on_error == "raise":
                raise
            datasets[path] = xr.Dataset(attrs={"error": str(error)})
    return xr.DataTree.from_dict(datasets, name=plate.document.shared_model.name or None)


def position_dataset(position: Position, level: str | None = None) -> xr.Dataset:
    """Return a level as a dataset with the variable "image"; an empty dataset without an image."""
    import xarray as xr

    if not position.dataset_paths:
        return xr.Dataset()
    image = to_xarray(position, level)
    return xr.Dataset({"image": image.variable.copy(deep=False)}, coords=image.coords)


_NOISE = 1e-6
"""Distance in voxels below which two coordinates are equal, because products of floats are not exact."""


def crop(
    position: Position,
    bounds: Mapping[str, Any],
    *,
    channels: Any = None,
    level: str | int | None = None,
    pixel_size: float | Mapping[str, float] | None = None,
) -> xr.DataArray:
    """Return the voxels whose centres lie in a region; see :meth:`Position.crop`."""
    if level is not None and pixel_size is not None:
        raise InvalidArgumentError("Give either level or pixel_size: the second one chooses a level.")
    path = checked_level(position, level) if pixel_size is None else level_for(position, pixel_size)
    axes, array = position.axes, position.open_level(path)
    if array.ndim != len(axes):
        raise InvalidArgumentError(f"{array!r} does not have the {len(axes)} axes of its image.")
    lazy, scale = to_xarray(position, path), position.get_effective_scale(path)
    names = [axis.name.lower() for axis in axes]
    index: dict[str, Any] = {}
    for name, bound in bounds.items():
        if bound is None:
            continue
        if name not in names:
            raise InvalidArgumentError(
                f"{position.node_path} has no axis {name!r}: its axes are {', '.join(names)}."
            )
        number = names.index(name)
        index[name] = _span(position, axes[number], bound, scale[number], lazy.coords[name].values)
    if channels is not None:
        channel = channel_axis(axes)
        if channel is None:
            raise InvalidArgumentError(f"{position.node_path} has no channel axis.")
        index[names[channel]] = _channels(position, channels)
    return lazy.isel(index)


def _span(
    position: Position, axis: AxisMeta, bound: Any, scale: float, coordinates: np.ndarray[Any, Any]
) -> slice | np.ndarray[Any, Any]:
    """Return the indices whose coordinates are at least the first bound and less than the second."""
    try:
        first, last = (None if number is None else float(number) for number in bound)
    except (TypeError, ValueError):
        raise WrongTypeError(
            f"A region along {axis.name!r} is a pair of coordinates, such as (5, 15), not {bound!r}."
        ) from None
    if scale <= 0:
        raise InvalidArgumentError(
            f"The scale of {position.node_path} along {axis.name!r} is {scale}, so there are no regions in physical "
            "units. Set another with set_scale()."
        )
    low, high = (-inf if first is None else first), (inf if last is None else last)
    noise = _NOISE * scale
    inside = np.flatnonzero((coordinates >= low - noise) & (coordinates < high - noise))
    if not coordinates.size:
        raise InvalidArgumentError(f"{position.node_path} has no voxels along {axis.name!r} yet.")
    if not inside.size:
        unit = f" {axis.unit}" if axis.unit else ""
        raise InvalidArgumentError(
            f"No voxel of {position.node_path} lies in the region {low:g} to {high:g}{unit} along {axis.name!r}: the "
            f"centres of the voxels are at {coordinates[0]:g} to {coordinates[-1]:g}{unit}, in steps of {scale:g}."
        )
    first_index, last_index = int(inside[0]), int(inside[-1])
    return slice(first_index, last_index + 1) if last_index - first_index + 1 == inside.size else inside


def exact_labels(array: xr.DataArray, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return labels for ``array.sel``; a number that is nearly equal to a coordinate is replaced by the coordinate.

    >>> row = to_xarray(position)[0, 0, 0, 0] * 1
    >>> exact_labels(row.assign_coords(x=0.1 * np.arange(8)), {"x": slice(0, 0.3)})
    {'x': slice(0.0, 0.30000000000000004, None)}
    """

    def exact(axis: str, label: Any) -> Any:
        if isinstance(label, slice):
            return slice(exact(axis, label.start), exact(axis, label.stop), label.step)
        if isinstance(label, list | tuple):
            return [exact(axis, element) for element in label]
        coordinates = array.coords[axis].values
        if isinstance(label, bool) or not isinstance(label, int | float | np.number) or not coordinates.size:
            return label
        distances = np.abs(coordinates - float(label))
        nearest = int(distances.argmin())
        step = abs(float(array.coords[axis].encoding.get(STEP_ENCODING, 1.0)))
        return float(coordinates[nearest]) if distances[nearest] <= _NOISE * step else label

    coords = array.coords
    numeric = {axis for axis in labels if axis in coords and coords[axis].values.dtype.kind == "f"}
    return {axis: exact(axis, label) if axis in numeric else label for axis, label in labels.items()}


def _channels(position: Position, channels: Any) -> list[int]:
    names = position.channel_names
    requested = (
        [channels]
        if isinstance(channels, str)
        else items_of(channels, "The argument c is a channel, or a list of channels")
    )
    if not requested:
        raise InvalidArgumentError(
            f"c={channels!r} names no channel: those of {position.node_path} are {names}."
        )
    for name in requested:
        if name not in names:
            raise InvalidArgumentError(
                f"Channel {name!r} is not in the channels of {position.node_path}, which are {names}."
                f"{did_you_mean(name, names)}"
            )
    return [names.index(name) for name in requested]


def image_datatree(position: Position) -> xr.DataTree:
    """Return all levels of an image and of its label images; see :meth:`Position.to_datatree`."""
    import xarray as xr

    datasets: dict[str, xr.Dataset] = {
        "/": xr.Dataset(attrs=user_attributes(position.documents.group(position.path)))
    }
    images = {"": position, **{f"labels/{name}/": label for name, label in position.labels.items()}}
    for prefix, image in images.items():
        for path in image.dataset_paths:
            datasets[f"{prefix}{path}"] = position_dataset(image, path)
    return xr.DataTree.from_dict(datasets, name=position.document.shared_model.multiscales[0].name or None)
