"""The interface of ``convert`` to any file format: images that are described, and then read plane by plane.

Readers in ``lamella.adapters`` implement `PlaneSource`; `combine` makes one image of several sources.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.types import Array, Shape

LEGAL_ORDER = "tczyx"
"""The order of time, channel and space in OME-NGFF."""

COPY_AGAIN = "Copy it again from where it was recorded."
"""What to do about a damaged file: the end of its error."""

MAX_PLANES = 10_000_000
"""Planes of one image that a file may state: more are damage, and would fill memory, or the disk with zeros."""


SAMPLE_COLORS: tuple[tuple[str, str | None], ...] = (
    ("Red", "FF0000"),
    ("Green", "00FF00"),
    ("Blue", "0000FF"),
    ("Alpha", None),
)
"""Names and colours of the samples of a colour image."""


@dataclass(frozen=True)
class SourceChannel:
    """The description of one channel in a source.

    Attributes
    ----------
    label : str
        Name of the channel.
    color : str or None
        Six hex digits, red, green, blue; None if unknown.
    window : tuple of float or None
        Displayed range (start, end) in pixel values; None if unknown.
    active : bool
        Whether a viewer shows it at first; false for the opacity of a colour image.
    excitation, emission : float or None
        Wavelengths in nanometres; None if unknown.
    exposure : float or None
        Exposure time in seconds; None if unknown.
    number : int or None
        Its number among the channels of the data set, where a file with one channel states it. It orders channels
        whose order no table states.
    """

    label: str
    color: str | None = None
    window: tuple[float, float] | None = None
    active: bool = True
    excitation: float | None = None
    emission: float | None = None
    exposure: float | None = None
    number: int | None = None


@dataclass(frozen=True)
class Objective:
    """The objective of a microscope: its name, magnification (40.0) and numerical aperture (1.3); None if unknown."""

    name: str = ""
    magnification: float | None = None
    aperture: float | None = None


@dataclass(frozen=True)
class ImageDescription:
    """Everything about an image except its pixels.

    Attributes
    ----------
    name : str
        File name (or folder name) without its folder.
    files : tuple of str
        Every file the pixels come from.
    axes : str
        Letters out of ``"tczyx"``, in that order; always ends with ``"yx"``.
    shape : tuple of int
        Length of each axis.
    dtype : numpy.dtype
        Type of the pixels, in native byte order.
    scale : mapping of str to float
        Distance of neighbouring samples along an axis, if known. Axes that the image lacks (the z step of a single
        plane) are used when several files form one image.
    units : mapping of str to str or None
        UDUNITS-2 name of the unit of each scale (``"micrometer"``, ``"second"``), if known.
    channels : tuple of SourceChannel
        One for each index of axis "c"; at most one without such an axis.
    notes : tuple of str
        Information for the user: what was guessed, missing planes, metadata that could not be read.
    title : str
        Name of the image in the file, empty without one.
    well : tuple of str or None
        Row, column and field, if the file names the position on a plate.
    plate : str
        Name of the plate, empty without one.
    acquisition : int or None
        Number of the acquisition of the plate, if it has several.
    acquisition_name : str
        Its name, empty without one.
    stage : mapping of str to float
        Position of the first voxel on the stage, by axis ("x", "y", "z"), in the unit of that axis (`units`;
        micrometers without one).
    times : tuple of float
        Time of each index of axis "t" in seconds, in any origin; empty if unknown.
    acquired : str
        Date and time of the acquisition in ISO 8601, "2024-05-31T12:00:00" or with an offset; empty if unknown.
    objective : Objective or None
        The objective, if known.
    missing : tuple of str
        Planes that an index lists and whose files are missing, as texts for messages: "B03 field 1, z 2: b.tif".
    band_rows : int
        Rows that are decoded together (a strip, a row of tiles); other numbers of rows take longer to read.
    channels_together : int
        Neighbours along axis "c" that are decoded together (the samples of a pixel); see `read_planes`.
    is_rgb : bool
        Whether the channels are the red, green and blue of a colour image. Without windows, one is chosen for all
        of them.
    axis_notes : tuple of str
        Notes on axes whose meaning was guessed. They are not shown if the user names the axes.
    """

    name: str
    files: tuple[str, ...]
    axes: str
    shape: Shape
    dtype: np.dtype[np.generic]
    scale: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str | None] = field(default_factory=dict)
    channels: tuple[SourceChannel, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""
    well: tuple[str, str, str] | None = None
    plate: str = ""
    acquisition: int | None = None
    acquisition_name: str = ""
    stage: Mapping[str, float] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    acquired: str = ""
    objective: Objective | None = None
    missing: tuple[str, ...] = ()
    band_rows: int = 1
    channels_together: int = 1
    is_rgb: bool = False
    axis_notes: tuple[str, ...] = ()

    def length(self, axis: str) -> int:
        """Return the length of an axis, 1 if the image does not have it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def where(self) -> str:
        """The first file with the pixels, for messages; the name of an image that is in no file."""
        return self.files[0] if self.files else self.name

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Length of y and x."""
        return self.shape[-2], self.shape[-1]

    @property
    def plane_count(self) -> int:
        """Number of YX planes."""
        return int(np.prod(self.shape[:-2], dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Size of all pixels in memory, in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def channels_of(description: ImageDescription) -> tuple[SourceChannel, ...]:
    """Return a channel for each index of axis "c"; unnamed ones if the source describes another number of channels."""
    count = description.length("c")
    return description.channels if len(description.channels) == count else (SourceChannel(""),) * count


class PlaneSource(Protocol):
    """An image that is read plane by plane; thread-safe, and can be pickled. Files stay open until `close`."""

    @property
    def description(self) -> ImageDescription:
        """Description of the image."""
        ...

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read rows of the plane at an index along the axes before "yx"; None for a missing plane (zeros)."""
        ...

    def close(self) -> None:
        """Close the files of the source; a later read opens them again."""
        ...


@runtime_checkable
class SampleSource(PlaneSource, Protocol):
    """A source that decodes several channels at once."""

    def read_planes(self, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
        """Read the same rows of planes that differ along "c" only; otherwise like `read_plane`."""
        ...


@runtime_checkable
class DirectSource(PlaneSource, Protocol):
    """A source that reads into memory of the caller: new memory for each plane costs as much as reading it."""

    def read_into(self, index: tuple[int, ...], rows: slice, out: Array) -> bool:
        """Read rows of a plane into an array; return False, and leave it as it is, for a missing plane."""
        ...


def read_into(source: PlaneSource, index: tuple[int, ...], rows: slice, out: Array) -> bool:
    """Read rows of a plane into an array; return False, and leave it as it is, for a missing plane."""
    if isinstance(source, DirectSource):
        return source.read_into(index, rows, out)
    pixels = source.read_plane(index, rows)
    if pixels is not None:
        out[...] = pixels
    return pixels is not None


def read_planes(source: PlaneSource, indices: Sequence[tuple[int, ...]], rows: slice) -> list[Array | None]:
    """Read the same rows of planes that differ along "c" only; the source decodes them once if it can."""
    if len(indices) > 1 and isinstance(source, SampleSource):
        return source.read_planes(indices, rows)
    return [source.read_plane(index, rows) for index in indices]


def is_legal_order(axes: str) -> bool:
    """Return whether axes are letters of "tczyx" in this order, with "yx" at the end: "czyx", but not "zcyx"."""
    return axes.endswith("yx") and axes == "".join(axis for axis in LEGAL_ORDER if axis in axes)
