"""Replace what a reader found by what the user passes: axes, sizes, channels, times, names, type of the pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.arguments import is_real_number
from lamella.errors import InvalidArgumentError, SourceError, counted
from lamella.ops.conversion.source import LEGAL_ORDER, channels_of
from lamella.spec.colors import parse_color
from lamella.spec.units import LARGEST_SIZE, SMALLEST_SIZE, is_size, legal_unit

if TYPE_CHECKING:
    from lamella.ops.conversion.source import ImageDescription, PlaneSource, SourceChannel
    from lamella.types import Array


@dataclass(frozen=True)
class Corrections:
    """Arguments of `convert` that replace what a reader found in a file; None replaces nothing.

    They apply in two steps, because several files may become one image in between: axes and type of the pixels to each
    file (`correct_source`), sizes, names and colours to each image (`correct_description`).
    """

    axes: str | None = None
    pixel_size: float | Sequence[float] | None = None
    unit: str | None = None
    channel_names: Sequence[str] | None = None
    colors: Sequence[str] | None = None
    time_step: float | None = None
    name: str | None = None
    dtype: Any = None
    take_what_is_there: bool = False

    def __post_init__(self) -> None:
        axes = self.axes
        size: object = self.pixel_size
        for subject, text in (("axes", axes), ("unit", self.unit), ("name", self.name)):
            if text is not None and not (isinstance(text, str) and text):
                raise InvalidArgumentError(f"{subject}={text!r} is not a text, or is empty.")
        if axes is not None and (
            set("yx") - set(axes) or set(axes) - set(LEGAL_ORDER) or len(set(axes)) < len(axes)
        ):
            raise InvalidArgumentError(
                f'axes={axes!r} must be different letters of "{LEGAL_ORDER}", with y and x.'
            )
        if isinstance(size, Sequence) and (isinstance(size, str) or len(size) not in (2, 3)):
            raise InvalidArgumentError(f"pixel_size={size!r} must be one number, or those of y,x or z,y,x.")
        numbers: list[tuple[str, object]] = [("pixel_size", number) for number in self._sizes().values()]
        numbers += [] if self.time_step is None else [("time_step", self.time_step)]
        for subject, number in numbers:
            if not is_real_number(number) or not is_size(float(number)):
                raise InvalidArgumentError(
                    f"{subject}={number!r} is not a number above 0, from {SMALLEST_SIZE:g} to {LARGEST_SIZE:g}."
                )
        if self.unit is not None:
            legal_unit(self.unit, "space")
        self._check_channels()
        if not isinstance(self.take_what_is_there, bool):
            raise InvalidArgumentError(
                f"take_what_is_there={self.take_what_is_there!r} is neither True nor False."
            )
        if self.dtype is not None:
            _dtype(self.dtype)

    def _check_channels(self) -> None:
        for subject, texts in (("channel_names", self.channel_names), ("colors", self.colors)):
            is_list = isinstance(texts, Sequence) and not isinstance(texts, str)
            if texts is not None and not (is_list and all(isinstance(text, str) for text in texts)):
                raise InvalidArgumentError(f"{subject}={texts!r} is not a list of one text for each channel.")
        for color in self.colors or ():
            parse_color(color)

    def correct_source(self, source: PlaneSource) -> PlaneSource:
        """Return a source with other axes and another type of pixels, if they differ."""
        return source if self.axes is None and self.dtype is None else CorrectedSource(source, self)

    def correct_description(self, original: ImageDescription) -> ImageDescription:
        """Return the description of an image with the sizes, names and colours of the user."""
        scale = {**original.scale, **{axis: float(size) for axis, size in self._sizes().items()}}
        units = dict(original.units)
        if self.unit is not None or self.pixel_size is not None:
            unit = legal_unit(self.unit or "micrometer", "space")
            units |= {axis: unit for axis in "zyx" if axis in scale and (self.unit or axis in self._sizes())}
        if self.time_step is not None:
            scale["t"], units["t"] = float(self.time_step), "second"
        times = original.times if self.time_step is None else ()
        return replace(
            original,
            scale=scale,
            units=units,
            times=times,
            channels=self._channels(original),
            plate=self.name or original.plate,
        )

    def notes_of_unused_sizes(self, descriptions: Sequence[ImageDescription]) -> list[str]:
        """Return a note on each size of an axis that no image has, and on a unit of sizes that no image has."""
        sizes = {"z": self._sizes().get("z"), "t": self.time_step}
        nouns = {"z": "z step", "t": "time step"}
        axes = "".join(description.axes for description in descriptions)
        notes = []
        if self.unit is not None and not any(set("zyx") & set(image.scale) for image in descriptions):
            notes = [
                f"the unit {self.unit} was not used: no pixel size is known, and none is named by --pixel-size"
            ]
        return notes + [
            f"the {nouns[axis]} {size:g} was not used: no image has an axis {axis}"
            for axis, size in sizes.items()
            if size is not None and axis not in axes
        ]

    def _sizes(self) -> dict[str, float]:
        sizes = self.pixel_size
        if sizes is None:
            return {}
        if isinstance(sizes, Sequence):
            return dict(zip("zyx"[-len(sizes) :], sizes, strict=False))
        return {"y": sizes, "x": sizes}

    def _channels(self, original: ImageDescription) -> tuple[SourceChannel, ...]:
        count, channels = original.length("c"), channels_of(original)
        for argument, texts, noun in (
            ("channel_names", self.channel_names, "name"),
            ("colors", self.colors, "colour"),
        ):
            if texts is not None and len(texts) != count:
                raise InvalidArgumentError(
                    f"{original.where} has {counted(count, 'channel')}, but {counted(len(texts), noun)} in {argument}."
                )
        if self.channel_names is not None:
            pairs = zip(channels, self.channel_names, strict=True)
            channels = tuple(replace(channel, label=label) for channel, label in pairs)
        if self.colors is not None:
            colored = zip(channels, self.colors, strict=True)
            channels = tuple(replace(channel, color=parse_color(color)) for channel, color in colored)
        return channels if self.channel_names or self.colors else original.channels


def _dtype(name: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"dtype={name!r} is not a type of numbers, such as uint16.") from None
    if dtype.kind not in "buif":
        raise InvalidArgumentError(f"dtype={name!r} is not a type of numbers, such as uint16.")
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native


class CorrectedSource:
    """A source whose axes have other names, or whose pixels become another type."""

    def __init__(self, source: PlaneSource, corrections: Corrections) -> None:
        original = source.description
        self._source = source
        axes = corrections.axes or original.axes
        if len(axes) != len(original.axes):
            raise SourceError(
                f"axes={axes!r} name {len(axes)} axes, but {original.where} has {len(original.axes)}: {original.axes} "
                f"of shape {original.shape}."
            )
        if axes[-2:] != "yx":
            raise SourceError(f"axes={axes!r} must end with yx, as the planes of {original.where} do.")
        ordered_axes = "".join(axis for axis in LEGAL_ORDER if axis in axes)
        #: For each axis of the source before y, its number among the axes in legal order.
        self._index_numbers = tuple(ordered_axes.index(axis) for axis in axes[:-2])
        unchanged_axes = {new for new, old in zip(axes, original.axes, strict=True) if new == old}
        self.description = replace(
            original,
            axes=ordered_axes,
            shape=tuple(original.shape[axes.index(axis)] for axis in ordered_axes),
            dtype=original.dtype if corrections.dtype is None else _dtype(corrections.dtype),
            scale=_only_axes(original.scale, unchanged_axes),
            units=_only_axes(original.units, unchanged_axes),
            channels=original.channels if "c" in unchanged_axes or "c" not in original.axes + axes else (),
            times=original.times if "t" in unchanged_axes else (),
            axis_notes=original.axis_notes if corrections.axes is None else (),
            channels_together=original.channels_together if "c" in unchanged_axes else 1,
            is_rgb=original.is_rgb and "c" in unchanged_axes,
        )

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it: see `PlaneSource.read_plane`."""
        plane = self._source.read_plane(tuple(index[number] for number in self._index_numbers), rows)
        dtype = self.description.dtype
        if plane is None or plane.dtype == dtype:
            return plane
        with np.errstate(invalid="ignore", over="ignore"):
            converted: Array = plane.real.astype(dtype)
            is_lossless = _is_lossless(plane, converted)
        if not is_lossless:
            raise SourceError(
                f"{self.description.where} has values from {plane.min()} to {plane.max()}, which are not all {dtype}: "
                "choose another dtype."
            )
        return converted

    def close(self) -> None:
        """Close the files of the source."""
        self._source.close()


def _is_lossless(plane: Array, converted: Array) -> bool:
    """Return whether the values are the same after a conversion; floats may be rounded, but not to infinity."""
    if plane.dtype.kind == converted.dtype.kind == "f":
        return np.array_equal(np.isinf(converted), np.isinf(plane))
    # The second test is for numbers out of range: -1 becomes 65535 as uint16, and that becomes -1 again as int16.
    return np.array_equal(converted.astype(plane.dtype), plane) and np.array_equal(
        np.less(converted, 0), np.less(plane, 0)
    )


def _only_axes(by_axis: Mapping[str, Any], axes: set[str]) -> dict[str, Any]:
    return {axis: by_axis[axis] for axis in by_axis if axis in axes}
