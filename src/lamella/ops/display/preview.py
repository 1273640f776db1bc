"""Draw one image: choose its channels, contrast windows and planes; ``lamella.adapters.png`` writes the pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, MetadataError, WrongTypeError
from lamella.nodes.labels import LabelImage
from lamella.nodes.position_metadata import dtype_window, is_rgb
from lamella.ops.display.planes import (
    PlaneAxes,
    coarsest_sufficient_level,
    pixel_aspect,
    plane_index,
    read_plane,
)
from lamella.ops.display.render import Window, auto_window, composite, lightened
from lamella.ops.regions import pixel_region
from lamella.spec.channels import (
    ALPHA,
    WHITE,
    channel_color,
    displayed_range,
    distinct_colors,
    named_color,
    standard_colors,
)
from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.spec.images import ChannelMeta
    from lamella.types import Shape

MAX_CHANNELS = 7
"""Number of channels that are shown unless the metadata choose some; more would add up to white."""


@dataclass(frozen=True)
class PreviewOptions:
    """What a picture shows."""

    label: str | None = None
    """Name of a label image to overlay."""
    z: int | Literal["max"] | None = None
    """Index in level 0, by default the middle; "max" is the maximum over Z."""
    t: int | None = None
    """Index in level 0, by default the first."""
    channels: tuple[str, ...] | None = None
    """Names of the channels; the active ones by default."""
    level: str | None = None
    """Path of the level to read; by default the coarsest one with enough pixels."""
    region: Mapping[str, Any] | None = None
    """Start and stop of Y and X in pixels of level 0: ``{"y": (0, 100)}``."""

    def __post_init__(self) -> None:
        for name, index in (("z", self.z), ("t", self.t)):
            is_number = isinstance(index, int | np.integer) and not isinstance(index, bool)
            if not (index is None or is_number or (name == "z" and index == "max")):
                raise WrongTypeError(
                    f"{name}={index!r} is not a whole number{' or max' if name == 'z' else ''}."
                )
        for name, text in (("label", self.label), ("level", self.level)):
            if not isinstance(text, str | None):
                raise WrongTypeError(f"{name}={text!r} is not a name.")
        for channel in self.channels or ():
            if not isinstance(channel, str):
                raise WrongTypeError(f"channels={self.channels!r} is not a list of names.")


@dataclass(frozen=True)
class ShownChannel:
    """A channel in a picture; the window is None until it is computed from pixels."""

    name: str
    color: str
    window: Window | None
    is_sample: bool = False
    """Whether it is a colour of an image that was converted from RGB."""


@dataclass(frozen=True)
class FieldPicture:
    """One field in colour."""

    rgb: NDArray[np.uint8]
    """uint8 (Y, X, 3)."""
    aspect: float = 1.0
    """Height of a pixel divided by its width."""
    labels: NDArray[Any] | None = None
    """Label ids (Y, X) to overlay, of any size."""
    label_colors: Mapping[int, tuple[int, int, int]] | None = None
    opacity: float = 0.3
    physical_width: float | None = None
    """Width of the field in the ``unit`` of the X axis; None without a unit."""
    unit: str | None = None

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in the ratio in which the field is drawn."""
        return self.rgb.shape[0] * self.aspect, float(self.rgb.shape[1])


# -- channels ----------------------------------------------------------------------------------------------------


def channel_keys(position: Position) -> list[str]:
    """Return a different name for each channel of an image, in order; see `unique_names`."""
    array = position.data
    return unique_names(
        position.channel_names, PlaneAxes.of(position.axes, array.ndim, position.node_path), array.shape
    )


def unique_names(channel_names: Sequence[str], axes: PlaneAxes, shape: Shape) -> list[str]:
    """Return a different name for each channel of an array: a repeated stored name gets its index, as in ``GFP #1``."""
    count = 1 if axes.channel is None else shape[axes.channel]
    stored_names = [*channel_names[:count]]
    stored_names += [f"channel_{index}" if count > 1 else "" for index in range(len(stored_names), count)]
    names: list[str] = []
    for index, stored_name in enumerate(stored_names):
        name = stored_name
        while name in names:  # "GFP #2" may be a stored name too
            name = f"{name} #{index}"
        names.append(name)
    return names


def all_channels(position: Position) -> dict[str, tuple[ShownChannel, bool]]:
    """Return the channels of an image by name (`unique_names`), in order, each with whether it is shown by default.

    Many writers store the whole range of the dtype as window, whatever the pixels are. Such a window counts as missing,
    except for 8 bits, booleans and images converted from RGB. The opacity (alpha) channel is not shown by default: it
    would paint every object white. The flags ``active`` count only if they differ; else the first 7 channels are shown.
    """
    dtype = position.data.dtype
    is_color_image = is_rgb(position)
    names = channel_keys(position)
    count = len(names)
    omero = position.document.shared_model.omero
    stored_channels = list(omero.channels if omero is not None else [])[:count]
    default_colors = standard_colors(count)
    active_flags = {
        meta.active for name, meta in zip(names, stored_channels, strict=False) if name.lower() != ALPHA
    }
    channels: dict[str, tuple[ShownChannel, bool]] = {}
    for index, name in enumerate(names):
        meta = stored_channels[index] if index < len(stored_channels) else None
        color = default_colors[index] if meta is None else meta.color or channel_color(meta.label or name)
        window = displayed_range(meta) if is_color_image and meta else _stored_window(meta, dtype)
        is_opacity = count > 1 and name.lower() == ALPHA
        is_active = None if meta is None or len(active_flags) == 1 else meta.active
        is_active = index < MAX_CHANNELS if is_active is None else is_active
        channels[name] = ShownChannel(name, color, window, is_color_image), is_active and not is_opacity
    if not any(default for _, default in channels.values()):
        channels = {
            name: (channel, index < MAX_CHANNELS)
            for index, (name, (channel, _)) in enumerate(channels.items())
        }
    return _with_distinct_colors(channels)


def _with_distinct_colors(
    channels: dict[str, tuple[ShownChannel, bool]],
) -> dict[str, tuple[ShownChannel, bool]]:
    """Assign different colours to channels that would all be white, because no colour is known for their names."""
    whites = [name for name, (channel, _) in channels.items() if channel.color == WHITE]
    unknown_names = [name for name in whites if named_color(name) is None]
    shown_whites = [name for name in whites if channels[name][1]]
    if len(shown_whites) < 2 or not set(unknown_names).intersection(shown_whites):
        return channels
    # Channels that are shown get the first colours.
    names = sorted(channels, key=lambda name: not channels[name][1])
    colors = distinct_colors(
        names, [None if name in unknown_names else channels[name][0].color for name in names]
    )
    color_by_name = dict(zip(names, colors, strict=True))
    return {
        name: (replace(channel, color=color_by_name[name]), is_shown)
        for name, (channel, is_shown) in channels.items()
    }


def _stored_window(meta: ChannelMeta | None, dtype: np.dtype[Any]) -> Window | None:
    """Return the stored window of a channel; None if it is missing, inverted, or the whole range of the dtype."""
    window = None if meta is None else displayed_range(meta)
    if window is not None and window[0] > window[1]:
        return None
    full_range = dtype_window(dtype)
    if window == (full_range["start"], full_range["end"]) and dtype not in (np.uint8, np.int8, np.bool_):
        return None
    return window


def choose_channels(
    channels: Mapping[str, tuple[ShownChannel, bool]], requested: Sequence[str] | None, image_name: str
) -> list[ShownChannel]:
    """Return the channels with the requested names, whose case may differ; by default the active channels."""
    if requested is None:
        return [channel for channel, is_shown in channels.values() if is_shown]
    lowered = {name.lower(): name for name in reversed(list(channels))}
    matches = []
    for name in requested:
        channel_name = name if name in channels else lowered.get(name.lower())
        if not channel_name:
            available = ", ".join(repr(channel) for channel in channels if channel) or "no named channel"
            raise InvalidArgumentError(f"There is no channel {name!r} in {image_name}: it has {available}.")
        matches.append(channels[channel_name][0])
    return list(dict.fromkeys(matches))


def drawn_colors(channels: Sequence[ShownChannel]) -> list[ShownChannel]:
    """Return channels in the colours of a picture: a single one white, blue lighter, samples of RGB unchanged."""
    if len(channels) == 1:
        return [replace(channels[0], color=WHITE)]
    return [
        channel if channel.is_sample else replace(channel, color=lightened(channel.color))
        for channel in channels
    ]


# -- one field ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """A region of a plane of one level of an image."""

    level: str
    array: ImageArray
    axes: PlaneAxes
    indices: dict[int, int]
    """Indices along the axes except Y and X."""
    region: tuple[slice, slice]
    """Region along Y and X."""
    maximum: bool
    """Whether the pixels are the maximum over Z."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of pixels along Y and X."""
        rows, columns = self.region
        return rows.stop - rows.start, columns.stop - columns.start

    def read(self, size: int, *, channel: int = 0, ids: bool = False) -> NDArray[Any]:
        """Read the pixels (Y, X) of a channel; see :func:`read_plane`."""
        indices = self.indices if self.axes.channel is None else {**self.indices, self.axes.channel: channel}
        return read_plane(
            self.array, self.axes, indices, size, ids=ids, maximum=self.maximum, region=self.region
        )


RelativeRegion: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""Start and stop of a region along Y and X, as fractions of the image."""

WHOLE: RelativeRegion = ((0.0, 1.0), (0.0, 1.0))


def relative_region(position: Position, options: PreviewOptions) -> RelativeRegion:
    """Return the region of the options as fractions of an image."""
    if options.region is None:
        return WHOLE
    axes, shape = PlaneAxes.of(position.axes, position.data.ndim, position.node_path), position.data.shape
    names = position.axis_names[len(position.axes) - len(shape) :]
    region = pixel_region(position, options.region, "region")
    for name in region:
        if name not in (names[axes.y], names[axes.x]):
            raise InvalidArgumentError(
                f"The region of a picture is along {names[axes.y]} and {names[axes.x]}, not {name}. "
                f"Choose a plane by z and t."
            )
    ends = [region.get(names[axis], (0, shape[axis])) for axis in (axes.y, axes.x)]
    (top, bottom), (left, right) = ends
    height, width = shape[axes.y], shape[axes.x]
    return (top / height, bottom / height), (left / width, right / width)


def plane_of(
    position: Position, options: PreviewOptions, size: int, region: RelativeRegion | None = None
) -> Plane:
    """Choose the level and the plane to read for a picture with ``size`` pixels along its larger side."""
    rows, columns = region = region or relative_region(position, options)
    if options.level is not None:
        from lamella.ops.images.points import checked_level

        level = checked_level(position, options.level)
        array = position.open_level(level)
    else:
        level, array = coarsest_sufficient_level(position, _size_of_image(position, region, size))
    axes = PlaneAxes.of(position.axes, array.ndim, position.node_path)
    finest: Shape = position.data.shape
    if len(finest) != array.ndim:
        raise MetadataError(f"{array!r} lacks the {len(finest)} dimensions of the finest level.")
    z = None if options.z == "max" else options.z
    indices = plane_index(axes, finest, array.shape, z, options.t, position.node_path)
    pixels = _level_span(rows, axes.height(array.shape)), _level_span(columns, axes.width(array.shape))
    return Plane(level, array, axes, indices, pixels, options.z == "max")


def _size_of_image(position: Position, region: RelativeRegion, size: int) -> float:
    """Return the larger side of the whole image if that of a region is ``size``."""
    if region == WHOLE:
        return size
    axes, shape = PlaneAxes.of(position.axes, position.data.ndim, position.node_path), position.data.shape
    (top, bottom), (left, right) = region
    height, width = axes.height(shape), axes.width(shape)
    return size * max(height, width) / max((bottom - top) * height, (right - left) * width)


def _level_span(ends: tuple[float, float], length: int) -> slice:
    """Return the pixels of an axis that a region overlaps, given as fractions: at least one, ignoring rounding."""
    start, stop = math.floor(ends[0] * length + 1e-6), math.ceil(ends[1] * length - 1e-6)
    start = min(start, max(0, length - 1))
    return slice(start, max(stop, min(start + 1, length)))


def channel_planes(
    position: Position, names: Sequence[str], options: PreviewOptions, size: int, plane: Plane | None = None
) -> dict[str, NDArray[Any]]:
    """Read the plane (Y, X) of each named channel, with at least ``size`` pixels along the larger side if possible."""
    available = list(all_channels(position))
    present_names = [name for name in names if name in available]
    if not present_names:
        raise InvalidArgumentError(f"{position.node_path} has none of the channels {', '.join(names)}.")
    plane = plane or plane_of(position, options, size)
    return {name: plane.read(size, channel=available.index(name)) for name in present_names}


def field_picture(
    position: Position, channels: Sequence[ShownChannel], options: PreviewOptions, size: int
) -> FieldPicture:
    """Return the picture of one field from the coarsest sufficient level; label images are drawn in colours."""
    if isinstance(position, LabelImage):
        plane = _label_plane(position, options, size, relative_region(position, options))
        ids = plane.read(size, ids=True)
        picture = FieldPicture(np.zeros((*ids.shape, 3), np.uint8), labels=ids, opacity=1.0)
        picture = replace(picture, label_colors=_label_colors(position))
    else:
        plane = plane_of(position, options, size)
        planes = channel_planes(position, [channel.name for channel in channels], options, size, plane)
        drawn_channels = [channel for channel in channels if channel.name in planes]
        windows = [channel.window or auto_window(planes[channel.name]) for channel in drawn_channels]
        colors = [channel.color for channel in drawn_channels]
        picture = FieldPicture(composite(list(planes.values()), colors, windows))
    aspect = pixel_aspect(position, plane.level, plane.axes, plane.array.ndim)
    # The picture has an incomplete block at each edge where the reduction does not divide the plane.
    rows, columns = (
        length / drawn_length for length, drawn_length in zip(plane.shape, picture.rgb.shape, strict=False)
    )
    aspect *= rows / columns
    picture = replace(picture, aspect=aspect, **_physical(position, plane))
    if options.label is None:
        return picture
    label = position.labels[options.label]
    overlaid = _label_plane(label, replace(options, level=None), size, relative_region(position, options))
    return replace(picture, labels=overlaid.read(size, ids=True), label_colors=_label_colors(label))


def _physical(position: Position, plane: Plane) -> dict[str, Any]:
    image_axes = position.axes
    x = plane.axes.x + len(image_axes) - plane.array.ndim
    unit = image_axes[x].unit if x >= 0 else None
    try:
        width = position.get_effective_scale(plane.level)[x] * plane.shape[1]
    except LamellaError:
        return {}
    return {"physical_width": width, "unit": unit} if unit and is_size(width) else {}


def _label_plane(label: LabelImage, options: PreviewOptions, size: int, region: RelativeRegion) -> Plane:
    """Choose the plane of a label image; labels without time or Z, or of length 1, are overlaid on every plane."""
    dtype, shape = label.data.dtype, label.data.shape
    if dtype.kind not in "biu":
        raise MetadataError(
            f"{label.node_path} is listed as labels, but has voxels of {dtype}, not integers (LB-05)."
        )
    axes = PlaneAxes.of(label.axes, label.data.ndim, label.node_path)
    z = None if axes.z is None or shape[axes.z] == 1 else options.z
    t = None if axes.time is None or shape[axes.time] == 1 else options.t
    return plane_of(label, replace(options, z=z, t=t), size, region)


def _label_colors(label: LabelImage) -> dict[int, tuple[int, int, int]]:
    return {
        label_id: (rgba[0], rgba[1], rgba[2]) for label_id, rgba in label.colors.items() if len(rgba) >= 3
    }
