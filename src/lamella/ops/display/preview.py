"""Draw one image: choose its channels, contrast windows and planes.

``lamella.adapters.png`` puts the pictures on a page. Only the displayed planes are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, MetadataError
from lamella.nodes.describe import displayed_range
from lamella.nodes.labels import LabelImage
from lamella.nodes.position_metadata import dtype_window
from lamella.ops.contrast import is_rgb
from lamella.ops.display.planes import PlaneAxes, level_for, pixel_aspect, plane_index, read_plane
from lamella.ops.display.render import Window, auto_window, composite
from lamella.spec.channels import (
    ALPHA,
    WHITE,
    channel_color,
    distinct_colors,
    named_color,
    standard_colors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.spec.omero import ChannelMeta
    from lamella.types import Shape

MOST_CHANNELS = 7
"""Number of channels that are shown if the metadata do not mark active ones; more could not be distinguished."""


@dataclass(frozen=True)
class PreviewOptions:
    """Channels by name (default: the active ones), z and t in level 0 (default: middle, first), and a label image."""

    label: str | None = None
    z: int | None = None
    t: int | None = None
    channels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ShownChannel:
    """A channel in a picture; the window is None until it is computed from pixels."""

    name: str
    color: str
    window: Window | None


@dataclass(frozen=True)
class FieldPicture:
    """One field in colour: ``rgb`` is uint8 (Y, X, 3), and ``aspect`` the height of a pixel divided by its width.

    ``labels`` are ids (Y, X) to overlay, of any size, with stored colours and ``opacity``. ``physical_width`` is in the
    ``unit`` of the X axis; None without a unit.
    """

    rgb: NDArray[np.uint8]
    aspect: float = 1.0
    labels: NDArray[Any] | None = None
    label_colors: Mapping[int, tuple[int, int, int]] | None = None
    opacity: float = 0.3
    physical_width: float | None = None
    unit: str | None = None

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in the ratio in which the field is drawn."""
        return self.rgb.shape[0] * self.aspect, float(self.rgb.shape[1])


# -- channels ----------------------------------------------------------------------------------------------------


def channel_keys(position: Position) -> list[str]:
    """Return one name for each channel of an image, in order: a repeated name gets its index the second time."""
    array = position.data
    axis = PlaneAxes.of(position.axes, array.ndim).channel
    count = 1 if axis is None else array.shape[axis]
    names = [*position.channel_names[:count]]
    names += [f"channel_{index}" if count > 1 else "" for index in range(len(names), count)]
    keys: list[str] = []
    for index, name in enumerate(names):
        keys.append(name if name not in keys else f"{name} #{index}")
    return keys


def all_channels(position: Position) -> dict[str, tuple[ShownChannel, bool]]:
    """Return the channels of an image by name, in order, each with whether it is shown by default.

    A repeated name becomes the channel's index the second time. An image without a channel axis has one channel. A
    window of the whole range of the dtype counts as missing, except for 8 bits and booleans: writers store it without
    looking at the pixels. Images that were converted from RGB keep their windows, and an opacity is never shown by
    default, because it is white over every object.
    """
    dtype = position.data.dtype
    colored = is_rgb(position)
    keys = channel_keys(position)
    count = len(keys)
    omero = position.metadata.omero
    stored = list(omero.channels if omero is not None else [])[:count]
    default_colors = standard_colors(count)
    shown: dict[str, tuple[ShownChannel, bool]] = {}
    for index, key in enumerate(keys):
        meta = stored[index] if index < len(stored) else None
        color = default_colors[index] if meta is None else meta.color or channel_color(meta.label or key)
        window = displayed_range(meta) if colored and meta else _chosen_window(meta, dtype)
        opacity = count > 1 and key.lower() == ALPHA
        shown[key] = ShownChannel(key, color, window), _active(meta, index) and not opacity
    if not any(default for _, default in shown.values()):
        shown = {name: (channel, True) for name, (channel, _) in shown.items()}
    return _with_distinct_colors(shown)


def _with_distinct_colors(
    shown: dict[str, tuple[ShownChannel, bool]],
) -> dict[str, tuple[ShownChannel, bool]]:
    """Assign colours to channels that are shown together and would all be white because of unknown names."""
    unknown_names = [
        name
        for name, (channel, default) in shown.items()
        if default and channel.color == WHITE and named_color(name) is None
    ]
    if len(unknown_names) < 2:
        return shown
    together = [name for name, (_, default) in shown.items() if default]
    colors = distinct_colors(
        together, [None if name in unknown_names else shown[name][0].color for name in together]
    )
    chosen = dict(zip(together, colors, strict=True))
    return {
        name: (replace(channel, color=chosen.get(name, channel.color)), default)
        for name, (channel, default) in shown.items()
    }


def _active(meta: ChannelMeta | None, index: int) -> bool:
    if meta is None or meta.active is None:
        return index < MOST_CHANNELS
    return meta.active


def _chosen_window(meta: ChannelMeta | None, dtype: np.dtype[Any]) -> Window | None:
    window = None if meta is None else displayed_range(meta)
    full_range = dtype_window(dtype)
    if window == (full_range["start"], full_range["end"]) and dtype not in (np.uint8, np.int8, np.bool_):
        return None
    return window


def choose_channels(
    channels: Mapping[str, tuple[ShownChannel, bool]], requested: Sequence[str] | None, image_name: str
) -> list[ShownChannel]:
    """Choose the channels to show: by the requested names, in any case, else the default ones."""
    if requested is None:
        return [channel for channel, default in channels.values() if default]
    lowered = {name.lower(): name for name in reversed(list(channels))}
    chosen = []
    for name in requested:
        match = name if name in channels else lowered.get(name.lower())
        if not match:
            available = ", ".join(repr(channel) for channel in channels if channel) or "no named channel"
            raise InvalidArgumentError(f"There is no channel {name!r} in {image_name}: it has {available}.")
        chosen.append(channels[match][0])
    return list(dict.fromkeys(chosen))


# -- one field ---------------------------------------------------------------------------------------------------


def channel_planes(
    position: Position, names: Sequence[str], options: PreviewOptions, size: int
) -> dict[str, NDArray[Any]]:
    """Read the plane (Y, X) of each named channel, with at least ``size`` pixels along the larger side if possible."""
    present = list(all_channels(position))
    shown_names = [name for name in names if name in present]
    if not shown_names:
        raise InvalidArgumentError(f"{position.node_path} has none of the channels {', '.join(names)}.")
    _, array = level_for(position, size)
    axes, indices = _plane_indices(position, array, options)
    planes = {}
    for name in shown_names:
        if axes.channel is not None:
            indices[axes.channel] = present.index(name)
        planes[name] = read_plane(array, axes, indices, size)
    return planes


def _plane_indices(
    position: Position, array: ImageArray, options: PreviewOptions
) -> tuple[PlaneAxes, dict[int, int]]:
    axes = PlaneAxes.of(position.axes, array.ndim)
    finest: Shape = position.data.shape
    if len(finest) != array.ndim:
        raise MetadataError(f"{array!r} lacks the {len(finest)} dimensions of the finest level.")
    return axes, plane_index(axes, finest, array.shape, options.z, options.t)


def field_picture(
    position: Position, channels: Sequence[ShownChannel], options: PreviewOptions, size: int
) -> FieldPicture:
    """Return the picture of one field from the coarsest sufficient level; label images are drawn in colours."""
    level, array = level_for(position, size)
    axes = PlaneAxes.of(position.axes, array.ndim)
    if isinstance(position, LabelImage):
        ids = _label_plane(position, options, size)
        picture = FieldPicture(np.zeros((*ids.shape, 3), np.uint8), labels=ids, opacity=1.0)
        picture = replace(picture, label_colors=_label_colors(position))
    else:
        planes = channel_planes(position, [channel.name for channel in channels], options, size)
        used = [channel for channel in channels if channel.name in planes]
        windows = [channel.window or auto_window(planes[channel.name]) for channel in used]
        picture = FieldPicture(composite(list(planes.values()), [channel.color for channel in used], windows))
    aspect = pixel_aspect(position, level, axes, array.ndim) * _reduction(
        picture.rgb.shape, axes, array.shape
    )
    picture = replace(picture, aspect=aspect, **_physical(position, level, axes, array))
    if options.label is None:
        return picture
    label = position.labels[options.label]
    return replace(picture, labels=_label_plane(label, options, size), label_colors=_label_colors(label))


def _reduction(picture: Shape, axes: PlaneAxes, shape: Shape) -> float:
    """Correct the aspect for incomplete blocks at the edge."""
    return (axes.height(shape) / picture[0]) / (axes.width(shape) / picture[1])


def _physical(position: Position, level: str, axes: PlaneAxes, array: ImageArray) -> dict[str, Any]:
    image_axes = position.axes
    x = axes.x + len(image_axes) - array.ndim
    unit = image_axes[x].unit if x >= 0 else None
    try:
        width = position.get_effective_scale(level)[x] * axes.width(array.shape)
    except LamellaError:
        return {}
    return {"physical_width": width, "unit": unit} if unit and np.isfinite(width) and width > 0 else {}


def _label_plane(label: LabelImage, options: PreviewOptions, size: int) -> NDArray[Any]:
    _, array = level_for(label, size)
    if array.dtype.kind not in "biu":
        raise MetadataError(
            f"{label.node_path} is listed as labels, but has voxels of {array.dtype}, not integers (LB-05)."
        )
    axes = PlaneAxes.of(label.axes, array.ndim)
    # Labels without time or Z are overlaid on every plane of the image.
    z, t = (None if axis is None else index for axis, index in ((axes.z, options.z), (axes.time, options.t)))
    axes, indices = _plane_indices(label, array, replace(options, z=z, t=t))
    return read_plane(array, axes, indices, size, ids=True)


def _label_colors(label: LabelImage) -> dict[int, tuple[int, int, int]]:
    return {value: (rgba[0], rgba[1], rgba[2]) for value, rgba in label.colors.items() if len(rgba) >= 3}
