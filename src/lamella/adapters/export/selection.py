"""Select what is exported of an image: a level, channels, planes along Z and time, a region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella.arguments import whole_number
from lamella.errors import InvalidArgumentError
from lamella.nodes.position_metadata import is_rgb
from lamella.ops.conversion.contrast import type_limits
from lamella.ops.conversion.source import SAMPLE_COLORS
from lamella.ops.display.planes import PlaneAxes, read_plane
from lamella.ops.images.points import checked_level
from lamella.ops.regions import INDEX_TOLERANCE, pixel_region
from lamella.spec.frame_times import real_times
from lamella.spec.geometry import voxel_steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lamella.nodes.position import Position
    from lamella.spec.images import ChannelMeta
    from lamella.spec.plate import AcquisitionMeta
    from lamella.types import JSONObject


@dataclass(frozen=True)
class PlateOrigin:
    """The plate that an exported field is from: its name, and the field's acquisition if the plate lists it."""

    name: str
    acquisition: AcquisitionMeta | None = None


@dataclass(frozen=True)
class Selection:
    """The voxels to export, as an array with the axes t, c, z, y, x. It can be pickled."""

    position: Position
    level: str
    """Path of the finest level."""
    channels: tuple[int, ...]
    """Indices along c."""
    maximum: bool
    """Whether the planes of the region along z are exported as one, their maximum."""
    region: Mapping[str, tuple[int, int]]
    """Start and stop by axis, in pixels of level 0; whole axes are left out."""
    plate: PlateOrigin | None = None
    """The plate of the image; None for another image."""

    @classmethod
    def of(
        cls,
        position: Position,
        level: int | str = 0,
        channels: Sequence[str] | None = None,
        z: int | Literal["max"] | None = None,
        t: int | None = None,
        region: Mapping[str, Any] | None = None,
    ) -> Selection:
        """Check the arguments of an export against an image."""
        if not position.dataset_paths:
            raise InvalidArgumentError(
                f"{position.node_path} has no image yet, so there is nothing to export."
            )
        paths = position.dataset_paths
        if isinstance(level, int) and not 0 <= level < len(paths):
            raise InvalidArgumentError(
                f"{position.node_path} has the levels 0 to {len(paths) - 1}, not {level}."
            )
        path = paths[level] if isinstance(level, int) else checked_level(position, level)
        array = position.data
        axes = PlaneAxes.of(position.axes, array.ndim)
        named = {axes.y, axes.x, axes.z, axes.channel, axes.time}
        if other_lengths := [
            length for axis, length in enumerate(array.shape) if axis not in named and length > 1
        ]:
            raise InvalidArgumentError(
                f"{position.node_path} has an axis of length {other_lengths[0]} besides t, c, z, y and x, "
                "which TIFF lacks."
            )
        spans = pixel_region(position, region or {}, "region")
        for name, axis, argument in (("z", axes.z, None if z == "max" else z), ("t", axes.time, t)):
            length = 1 if axis is None else array.shape[axis]
            if argument is None:
                continue
            index = whole_number(
                argument, f"The argument {name}{', if it is not max,' if name == 'z' else ''}", 0
            )
            if name in spans or not 0 <= index < length:
                raise InvalidArgumentError(
                    f"There is no {name}={index} in {position.node_path}, which has {length} along {name}."
                    if name not in spans
                    else f"Choose {name} either by {name}= or by region=."
                )
            if axis is not None:
                spans[position.axis_names[axis + len(position.axes) - array.ndim]] = (index, index + 1)
        count = 1 if axes.channel is None else array.shape[axes.channel]
        return cls(position, path, _indices(position, channels, count), z == "max", spans)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the voxels."""
        return self.position[self.level].dtype

    def levels(self) -> list[str]:
        """Return the selected level and those below it with the same t, c and z, as a pyramid of planes needs."""
        paths = self.position.dataset_paths
        lower = [] if self.position.stale_levels else paths[paths.index(self.level) + 1 :]
        planes, levels = self.shape(self.level)[:3], [self.level]
        for path in lower:
            if self.shape(path)[:3] == planes and self.shape(path) != self.shape(levels[-1]):
                levels.append(path)
        return levels

    def spans(self, level: str) -> dict[str, tuple[int, int]]:
        """Return start and stop along t, z, y and x in pixels of a level: (3, 10) at level 0 is (1, 5) at level 1."""
        array, finest = self.position[level], self.position.data
        sizes = [self.position.get_effective_scale(path) for path in (self.position.dataset_paths[0], level)]
        axes = PlaneAxes.of(self.position.axes, array.ndim)
        spans = {}
        for name, axis in (("t", axes.time), ("z", axes.z), ("y", axes.y), ("x", axes.x)):
            if axis is None:
                spans[name] = (0, 1)
                continue
            number = axis + len(self.position.axes) - array.ndim
            length, finest_length = array.shape[axis], finest.shape[axis]
            start, stop = self.region.get(self.position.axis_names[number], (0, finest_length))
            fine, coarse = (size[number] for size in sizes)
            (step,) = voxel_steps((finest_length,), (length,), (coarse / fine if fine else 0.0,))
            first = min(math.floor(start / step + INDEX_TOLERANCE), length - 1)
            end = length if stop == finest_length else min(length, math.ceil(stop / step - INDEX_TOLERANCE))
            spans[name] = first, max(first + 1, end)
        return spans

    def shape(self, level: str) -> tuple[int, int, int, int, int]:
        """Return the lengths along t, c, z, y and x of a level."""
        t, z, y, x = (stop - start for start, stop in self.spans(level).values())
        return t, len(self.channels), 1 if self.maximum else z, y, x

    def read(self, level: str, t: int, c: int, z: int, rows: slice) -> NDArray[Any]:
        """Return rows of a plane (Y, X), by indices in the selection."""
        array, spans = self.position[level], self.spans(level)
        axes = PlaneAxes.of(self.position.axes, array.ndim)
        index_of_axis = {
            axes.time: spans["t"][0] + t,
            axes.channel: self.channels[c],
            axes.z: spans["z"][0] + z,
        }
        indices = {
            axis: index_of_axis.get(axis, 0) for axis in range(array.ndim) if axis not in (axes.y, axes.x)
        }
        top, left = spans["y"][0], spans["x"]
        box = slice(top + rows.start, top + rows.stop), slice(*left)
        side = max(array.shape)
        if not self.maximum or axes.z is None:
            return read_plane(array, axes, indices, side, region=box)
        start, stop = spans["z"]
        planes = (
            read_plane(array, axes, {**indices, axes.z: z}, side, region=box) for z in range(start, stop)
        )
        highest = np.array(next(planes))
        for plane in planes:
            np.maximum(highest, plane, out=highest)
        return highest

    def geometry(self) -> tuple[dict[str, float], dict[str, float], dict[str, str | None]]:
        """Return by axis the size of a voxel, the position of the first one, and the unit."""
        names = [name.lower() for name in self.position.axis_names]
        sizes = dict(zip(names, self.position.get_effective_scale(self.level), strict=True))
        shifts = dict(zip(names, self.position.get_effective_translation(self.level), strict=True))
        for name, (start, _) in self.spans(self.level).items():
            if name in sizes:
                shifts[name] += start * sizes[name]
        units = {
            name: getattr(axis, "unit", None) for name, axis in zip(names, self.position.axes, strict=True)
        }
        return sizes, shifts, units

    def times(self) -> list[float]:
        """Return the time of each frame in the unit of the time axis; empty without a time axis.

        They are those that the microscope recorded, if the image has them; otherwise multiples of the time step.
        """
        sizes, shifts, _ = self.geometry()
        if "t" not in sizes:
            return []
        first, last = self.spans(self.level)["t"]
        times = [shifts["t"] + frame * sizes["t"] for frame in range(last - first)]
        finest, names = self.position.dataset_paths[0], [name.lower() for name in self.position.axis_names]
        if self.spans(finest)["t"] != (first, last):
            return times
        axis = names.index("t")
        start = self.position.get_effective_translation(finest)[axis]
        step = self.position.get_effective_scale(finest)[axis]
        real = real_times(self.facts(), finest, start, step) or {}
        return [real.get(first + frame, time) for frame, time in enumerate(times)]

    @property
    def color_name(self) -> str | None:
        """Return what precedes "Red", "Green", "Blue" in the channel names of a colour image; None for other images.

        That is "camera" for "camera Red", "camera Green", "camera Blue", and "" for "Red", "Green", "Blue". A colour
        image has 8 or 16 bits.
        """
        labels, colors = zip(*SAMPLE_COLORS[:3], strict=True)
        names = self.names()
        name = names[0].removesuffix(labels[0]).rstrip()
        is_color = (
            is_rgb(self.position)
            and self.dtype in (np.uint8, np.uint16)
            and self.channels == (0, 1, 2)
            and names == [f"{name} {label}".strip() for label in labels]
            and [color and color.upper() for color in self.colors()] == list(colors)
        )
        return name if is_color else None

    def facts(self) -> JSONObject:
        """Return the attributes of the image's group, with the records that `convert` stored."""
        return self.position.documents.group(self.position.path)

    def names(self) -> list[str]:
        """Return the names of the channels."""
        names = self.position.channel_names
        return [names[channel] if channel < len(names) else f"channel_{channel}" for channel in self.channels]

    def colors(self) -> list[str | None]:
        """Return the colours of the channels, as six hex digits."""
        channels = self._omero_channels()
        return [channels[channel].color if channel < len(channels) else None for channel in self.channels]

    def windows(self) -> list[tuple[float, float]]:
        """Return the displayed range of each channel; empty if one is missing, or if all are the whole range."""
        channels = self._omero_channels()
        windows: list[tuple[float, float]] = []
        for channel in self.channels:
            window = channels[channel].window if channel < len(channels) else None
            if window is None:
                return []
            windows.append((float(window["start"]), float(window["end"])))
        return windows if {*windows} != {type_limits(self.dtype)} else []

    def _omero_channels(self) -> Sequence[ChannelMeta]:
        omero = self.position.document.shared_model.omero
        return [] if omero is None else omero.channels


def _indices(position: Position, channels: Sequence[str] | None, count: int) -> tuple[int, ...]:
    if channels is None:
        return tuple(range(count))
    if not channels:
        raise InvalidArgumentError("No channel is named: name one, or leave channels (--channels) out.")
    if repeated := [name for number, name in enumerate(channels) if name in channels[:number]]:
        raise InvalidArgumentError(f"The channel {repeated[0]!r} is named twice.")
    return tuple(position.get_channel_index(name) for name in channels)
