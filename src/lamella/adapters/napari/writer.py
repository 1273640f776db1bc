"""Write layers of napari as one image: image layers of the same shape become channels, labels layers label images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError
from lamella.ops.images.write import write_image
from lamella.spec.channels import ALPHA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.adapters.napari.reader import LayerData

_AXES = "tzyx"


@dataclass(frozen=True)
class _Channel:
    name: str
    color: str | None
    window: tuple[float, float] | None
    data: Any


class LayersError(LamellaError):
    """Layers do not fit one image. Not a ValueError: napari replaces its message by "no plugin can write"."""


def write_layers(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write the layers to a new store, and return its path.

    All image layers need the same shape, scale and translation. Labels layers have that shape, or only its last axes (a
    plane, for an image of planes at several times). Layers that are rotated or sheared are refused. Raise LayersError
    for layers that do not fit, and StoreExistsError if there is something at the path.
    """
    images = [layer for layer in layers if layer[2] == "image"]
    labels = [layer for layer in layers if layer[2] == "labels"]
    if not images:
        raise LayersError(
            f"There is no image layer to write to {path}: labels belong to an image. Select both."
        )
    channels = [channel for layer in images for channel in _channels(layer)]
    shape = _shape(path, channels)
    for layer in layers:
        _check_same_voxels(layer, images[0])
    for layer in labels:
        data = _finest(layer)
        if tuple(data.shape) not in (shape, shape[-data.ndim :]):
            raise LayersError(
                f"The labels layer {_name(layer)!r} has the shape {tuple(data.shape)}, the image {shape}."
            )
    with write_image(path, _stacked_channels(channels, images[0]), scale=_scale(images[0])) as position:
        for channel in channels:
            if channel.window is not None:
                position.set_channel(channel.name, window=channel.window)
            if channel.color is not None:
                position.set_channel(channel.name, color=channel.color)
        for layer in labels:
            position.labels.create(_name(layer), _lazy(_finest(layer)))
    return [path]


def _finest(layer: LayerData) -> Any:
    data, options, _ = layer
    return data[0] if options.get("multiscale") else data


def _name(layer: LayerData) -> str:
    return str(layer[1].get("name") or layer[2])


def _channels(layer: LayerData) -> list[_Channel]:
    """Return the channels of an image layer: one, or the samples of a colour image."""
    data, options, name = _finest(layer), layer[1], _name(layer)
    if options.get("rgb"):
        samples = [("R", "FF0000"), ("G", "00FF00"), ("B", "0000FF"), (ALPHA, "FFFFFF")]
        pixels = _lazy(data)
        return [
            _Channel(f"{name} {sample}", color, None, pixels[..., index])
            for index, (sample, color) in zip(range(data.shape[-1]), samples, strict=False)
        ]
    limits = options.get("contrast_limits")
    window = None if limits is None else (float(limits[0]), float(limits[1]))
    return [_Channel(name, _color(options.get("colormap")), window, data)]


def _color(colormap: Any) -> str | None:
    """Return the brightest colour of a colormap, as six hex digits; None if it is not stored in the layer."""
    colors = colormap.get("colors") if isinstance(colormap, dict) else getattr(colormap, "colors", None)
    if colors is None:
        return None
    red, green, blue = (round(255 * float(component)) for component in np.asarray(colors)[-1][:3])
    return f"{red:02X}{green:02X}{blue:02X}"


def _shape(path: str, channels: Sequence[_Channel]) -> tuple[int, ...]:
    shapes = {channel.name: tuple(int(length) for length in channel.data.shape) for channel in channels}
    if len(shapes) < len(channels):
        raise LayersError(f"The image layers need different names: {sorted(shapes)}.")
    if len(set(shapes.values())) > 1:
        raise LayersError(
            f"The image layers have different shapes, so they are not channels of one image: {shapes}. "
            f"Write them to different stores."
        )
    shape = next(iter(shapes.values()))
    if not 2 <= len(shape) <= len(_AXES):
        raise LayersError(f"{path}: layers have 2 to 4 axes, {', '.join(_AXES)}, not {len(shape)}.")
    return shape


def _check_same_voxels(layer: LayerData, first: LayerData) -> None:
    """Raise for a layer that lies elsewhere than the first image, or is rotated or sheared."""
    options = layer[1]
    for name in ("scale", "translate"):
        own, expected = options.get(name), first[1].get(name)
        if own is None or expected is None:
            continue
        length = min(len(own), len(expected))
        if not np.allclose(np.asarray(own)[-length:], np.asarray(expected)[-length:]):
            raise LayersError(
                f"The layer {_name(layer)!r} has the {name} {list(own)}, and {_name(first)!r} {list(expected)}: "
                f"they do not lie on the same voxels. Write them to different stores."
            )
    for name in ("rotate", "shear", "affine"):
        matrix = options.get(name)
        if matrix is None:
            continue
        numbers = np.asarray(getattr(matrix, "affine_matrix", matrix), float)
        identity = np.eye(*numbers.shape) if numbers.ndim == 2 else np.zeros(numbers.shape)
        if not np.allclose(numbers, identity):
            raise LayersError(
                f"The layer {_name(layer)!r} is transformed ({name}), which an image cannot store with its pixels. "
                f"Reset the transformation first."
            )


def _scale(layer: LayerData) -> dict[str, float] | None:
    scale, names = layer[1].get("scale"), _axes(layer)
    return None if scale is None else dict(zip(names, map(float, scale[-len(names) :]), strict=True))


def _axes(layer: LayerData) -> str:
    """Return the letters of the axes of a layer: its own labels if they are some of "tzyx" in that order.

    Otherwise they are the last letters of "tzyx": "zyx" for three axes.
    """
    ndim = len(_finest(layer).shape) - bool(layer[1].get("rgb"))
    labels = [str(label).lower() for label in layer[1].get("axis_labels") or ()]
    are_letters = len(labels) == ndim and labels == [letter for letter in _AXES if letter in labels]
    is_kymograph = "t" in labels[-2:]  # y or x is missing, which an image needs
    return "".join(labels) if are_letters and not is_kymograph else _AXES[-ndim:]


def _stacked_channels(channels: Sequence[_Channel], first: LayerData) -> Any:
    """Return the channels as a lazy array of xarray, whose coordinates are the positions of voxels."""
    import dask.array as da
    import xarray as xr

    stacked = da.stack([_lazy(channel.data) for channel in channels], axis=-3)
    names = _axes(first)
    dims = (*names[:-2], "c", *names[-2:])
    options = first[1]
    scale = _scale(first) or dict.fromkeys(names, 1.0)
    translation = options.get("translate")
    numbers = [0.0] * len(names) if translation is None else map(float, translation[-len(names) :])
    first_voxel = dict(zip(names, numbers, strict=True))
    units = dict(zip(names, map(_unit, options.get("units") or [None] * len(names)), strict=False))
    coords: dict[str, Any] = {"c": [channel.name for channel in channels]}
    for name, length in zip(dims, stacked.shape, strict=True):
        if name == "c":
            continue
        positions = first_voxel[name] + scale[name] * np.arange(length)
        attributes = {"units": units[name]} if units.get(name) else {}
        coords[name] = xr.DataArray(positions, dims=[name], attrs=attributes)
    return xr.DataArray(stacked, dims=dims, coords=coords)


def _unit(unit: Any) -> str | None:
    """Return the name of a unit of napari; None for pixels."""
    text = "" if unit is None else str(unit)
    return None if text in ("", "pixel", "dimensionless") else text


def _lazy(data: Any) -> Any:
    """Return data as an array of dask."""
    import dask.array as da

    return data if isinstance(data, da.Array) else da.from_array(data, chunks="auto", asarray=False)
