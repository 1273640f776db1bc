"""Regions of an image in physical units, and all its levels, as labelled arrays."""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from lamella.adapters.xarray_attributes import user_attributes
from lamella.adapters.xarray_export import to_xarray
from lamella.arguments import items_of
from lamella.errors import InvalidArgumentError, WrongTypeError, did_you_mean
from lamella.ops.images.points import checked_level, level_for
from lamella.spec.axes import channel_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from lamella.nodes.position import Position
    from lamella.spec.axes import AxisMeta

_NOISE = 1e-6
"""Part of a voxel by which a coordinate may miss a bound and still lie on it: products of floats are not exact."""


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
    scale, start = position.get_effective_scale(path), position.get_effective_translation(path)
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
        index[name] = _span(axes[number], bound, scale[number], start[number], array.shape[number])
    if channels is not None:
        channel = channel_axis(axes)
        if channel is None:
            raise InvalidArgumentError(f"{position.node_path} has no channel axis.")
        index[names[channel]] = _channels(position, channels)
    return to_xarray(position, path).isel(index)


def _span(axis: AxisMeta, bound: Any, scale: float, start: float, length: int) -> slice:
    """Return the indices whose coordinates are at least the first bound and less than the second."""
    try:
        first, last = (None if end is None else float(end) for end in bound)
    except (TypeError, ValueError):
        raise WrongTypeError(
            f"A region along {axis.name!r} is a pair of coordinates, such as (5, 15), not {bound!r}."
        ) from None
    if scale <= 0:
        raise InvalidArgumentError(
            f"The scale along {axis.name!r} is {scale}, so there are no regions in physical units. set_scale() gives "
            "it another."
        )
    low = 0 if first is None else _index_from(first, scale, start, length)
    high = length if last is None else _index_from(last, scale, start, length)
    if low >= high:
        unit = f" {axis.unit}" if axis.unit else ""
        raise InvalidArgumentError(
            f"No voxel lies in the region {tuple(bound)}{unit} along {axis.name!r}: the centres of the voxels are at "
            f"{start:g} to {start + scale * (length - 1):g}{unit}, in steps of {scale:g}."
        )
    return slice(low, high)


def _index_from(coordinate: float, scale: float, start: float, length: int) -> int:
    """Return the first index whose coordinate is not below a bound."""
    if not isfinite(coordinate):
        return 0 if coordinate < 0 else length
    return min(length, max(0, ceil((coordinate - start) / scale - _NOISE)))


def _channels(position: Position, channels: Any) -> list[int]:
    names = position.channel_names
    wanted = (
        [channels]
        if isinstance(channels, str)
        else items_of(channels, "c is a channel, or a list of channels")
    )
    if not wanted:
        raise InvalidArgumentError(f"c names no channel; {position.node_path} has {names}.")
    for name in wanted:
        if name not in names:
            raise InvalidArgumentError(
                f"Channel {name!r} is not in the channels of {position.node_path}, which are {names}."
                f"{did_you_mean(name, names)}"
            )
    return [names.index(name) for name in wanted]


def image_datatree(position: Position) -> xr.DataTree:
    """Return all levels of an image and of its label images; see :meth:`Position.to_datatree`."""
    import xarray as xr

    datasets: dict[str, xr.Dataset] = {
        "/": xr.Dataset(attrs=user_attributes(position.documents.group(position.path)))
    }
    images = {"": position, **{f"labels/{name}/": label for name, label in position.labels.items()}}
    for prefix, image in images.items():
        for path in image.dataset_paths:
            level = to_xarray(image, path)
            datasets[f"{prefix}{path}"] = xr.Dataset(
                {"image": level.variable.copy(deep=False)}, coords=level.coords
            )
    return xr.DataTree.from_dict(datasets, name=position.document.own_model.multiscales[0].name or None)
