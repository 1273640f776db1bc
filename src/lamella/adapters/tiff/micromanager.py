"""Read the metadata of Micro-Manager files, MMStack and NDTiff: a summary, display settings, and JSON of each plane.

Positions (and the rows and columns of a mosaic) are images of their own. The JSON of a plane is in a tag of its page,
or at the offset in the index of an NDTiff.
"""

from __future__ import annotations

import json
import os
import re
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.tiff.metadata import TiffMetadata
from lamella.ops.conversion.source import SourceChannel
from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.types import JSONObject

MICROMANAGER_KINDS = ("mmstack", "ndtiff")
"""Kinds of series of tifffile that this module describes."""

_POSITION_AXES = {"mmstack": "RJK", "ndtiff": "RJK", "lsm": "PM"}
"""Letters of tifffile for positions, and for columns, rows or tiles of a mosaic, by kind of series."""

_PLANE_TAG = 51123
"""Code of the tag with the JSON of a plane."""

_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, RecursionError, OSError, struct.error)
"""Errors of the tag and the JSON of a plane that is damaged or has none."""

_AXIS_NAMES = {"R": "position", "J": "column", "K": "row", "C": "channel"}
_SITE = re.compile(r"([A-P])0?(\d{1,2})-Site_(\d+)")
"""The label that Micro-Manager's generator of well plates writes for a position: A1-Site_0."""

FixedAxes = tuple[tuple[int, int], ...]
"""One image of a series: the numbers of the axes of positions, each with the index of the image.

((0, 2),) is the third image along the first axis of the series; () is the only image of a series without such axes.
"""


def list_images(series: Any) -> list[FixedAxes]:
    """Return the images of a series that have at least one plane."""
    letters = _POSITION_AXES.get(series.kind, "")
    axes = [number for number, letter in enumerate(series.axes) if letter in letters]
    if not axes:
        return [()]
    outer = _page_axis_lengths(series)
    images = []
    for index in product(*(range(outer[axis]) for axis in axes)):
        fixed = tuple(zip(axes, index, strict=True))
        if any(series.pages[int(number)] is not None for number in page_numbers(outer, fixed).flat):
            images.append(fixed)
    return images


def page_numbers(outer: Sequence[int], fixed: FixedAxes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the numbers of the pages of an image, as an array with the outer axes that are not fixed.

    >>> page_numbers((2, 3), ((0, 1),))
    array([3, 4, 5])
    """
    numbers = np.arange(prod(outer)).reshape(outer)
    fixed_index = dict(fixed)
    return numbers[tuple(fixed_index.get(axis, slice(None)) for axis in range(len(outer)))]


def _page_axis_lengths(series: Any) -> tuple[int, ...]:
    return tuple(int(length) for length in series.shape[: len(series.axes) - len(series.keyframe.axes)])


def read_micromanager(file: Any, series: Any, images: Sequence[FixedAxes]) -> list[TiffMetadata]:
    """Return the metadata of the images of a series."""
    metadata = file.micromanager_metadata or {}
    summary = metadata.get("Summary") or {}
    display = metadata.get("DisplaySettings")
    planes = _IndexedPlanes(file, series) if series.kind == "ndtiff" else _TaggedPlanes(file, series)
    channels = _channels(summary, display if isinstance(display, list) else [], series, planes)
    described = [_image(summary, series, planes, channels, fixed) for fixed in images]
    planned, recorded = summary.get("Frames"), dict(zip(series.axes, series.shape, strict=True)).get("T", 1)
    if series.kind == "mmstack" and isinstance(planned, int) and planned > recorded:
        note = f"{planned} time points were planned, and {recorded} were recorded"
        described[0] = replace(described[0], notes=(*described[0].notes, note))
    return _with_wells(described)


def summary_json(file: Any) -> str:
    """Return the summary of a file as JSON; empty without one."""
    summary = (file.micromanager_metadata or {}).get("Summary")
    return json.dumps(summary, indent=1) if summary else ""


@dataclass
class _TaggedPlanes:
    """The JSON of each plane in a tag of its page."""

    file: Any
    series: Any

    def labels(self, letter: str) -> list[str]:
        """Return no names: those of positions and channels are in the summary."""
        del letter
        return []

    def read_json(self, number: int) -> JSONObject:
        """Read the JSON of a page; empty if the page is missing or has none."""
        from tifffile import TiffFileError

        page = self.series.pages[number]
        if page is None:
            return {}
        handle = page.parent.filehandle
        was_closed = handle.closed  # of the files of a stack, tifffile leaves only the first open
        try:
            if was_closed:
                handle.open()
            json_of_plane = page.aspage().tags[_PLANE_TAG].value
            return json_of_plane if isinstance(json_of_plane, dict) else dict(json.loads(json_of_plane))
        except (*_UNREADABLE, TiffFileError):
            return {}
        finally:
            if was_closed:
                handle.close()


class _IndexedPlanes:
    """The JSON of each plane of an NDTiff, at the offset that its index lists."""

    def __init__(self, file: Any, series: Any) -> None:
        from tifffile.tifffile import read_ndtiff_index

        self._folder = file.filehandle.dirname
        self._locations: dict[tuple[str, int], tuple[int, int]] = {}
        self._series = series
        self._labels: dict[str, list[str]] = {}
        for axes, name, offset, *_, meta_offset, meta_size, _ in read_ndtiff_index(
            os.path.join(self._folder, "NDTiff.index")
        ):
            self._locations[name, offset] = meta_offset, meta_size
            for axis, label in axes.items():
                if isinstance(label, str) and label not in self._labels.setdefault(axis, []):
                    self._labels[axis].append(label)

    def labels(self, letter: str) -> list[str]:
        """Return the names along an axis, in the order of their first use, which is that of tifffile's indices."""
        return self._labels.get(_AXIS_NAMES[letter], [])

    def read_json(self, number: int) -> JSONObject:
        """Read the JSON of a plane; empty if it is missing or damaged."""
        page = self._series.pages[number]
        if page is None:
            return {}
        name = page.parent.filehandle.name
        offset, size = self._locations.get((name, int(page.dataoffsets[0])), (0, 0))
        if not size:
            return {}
        with suppress(OSError, ValueError), open(os.path.join(self._folder, name), "rb") as stream:
            stream.seek(offset)
            return dict(json.loads(stream.read(size)))
        return {}


def _image(
    summary: JSONObject,
    series: Any,
    planes: _TaggedPlanes | _IndexedPlanes,
    channels: tuple[SourceChannel, ...],
    fixed: FixedAxes,
) -> TiffMetadata:
    outer = _page_axis_lengths(series)
    letters = series.axes[: len(outer)]
    first = planes.read_json(_first_existing(series, page_numbers(outer, fixed)))
    pixel = _number(first, "PixelSizeUm", "PixelSize_um") or _number(summary, "PixelSize_um")
    sizes = {
        "z": abs(_number(summary, "z-step_um") or 0.0),
        "y": pixel or 0.0,
        "x": pixel or 0.0,
        "t": (_number(summary, "Interval_ms") or 0.0) / 1000,
    }
    scale = {axis: size for axis, size in sizes.items() if is_size(size)}

    stage = {
        axis: _number(first, f"{axis.upper()}PositionUm", f"{axis.upper()}Position_um_Intended")
        for axis in "xyz"
    }
    coordinates = {axis: value for axis, value in stage.items() if value is not None}
    milliseconds = []
    if "T" in letters:
        time_axis = letters.index("T")
        for frame in range(outer[time_axis]):
            number = _first_existing(series, page_numbers(outer, tuple(sorted((*fixed, (time_axis, frame))))))
            milliseconds.append(_number(planes.read_json(number), "ElapsedTime-ms"))
    return TiffMetadata(
        scale,
        {axis: "second" if axis == "t" else "micrometer" for axis in scale},
        channels,
        title=_label(summary, series, planes, first, fixed),
        stage=coordinates,
        times=tuple(time / 1000 for time in milliseconds if time is not None)
        if None not in milliseconds
        else (),
        acquired=_date(first.get("ReceivedTime"), summary.get("StartTime"), summary.get("DateAndTime")),
    )


def _first_existing(series: Any, numbers: np.ndarray[Any, Any]) -> int:
    """Return the first of these page numbers whose page exists; the first number if none does."""
    existing = (int(number) for number in numbers.flat if series.pages[int(number)] is not None)
    return next(existing, int(numbers.flat[0]))


def _label(
    summary: JSONObject,
    series: Any,
    planes: _TaggedPlanes | _IndexedPlanes,
    first: JSONObject,
    fixed: FixedAxes,
) -> str:
    """Return the name of a position: its label, or row and column of the mosaic."""
    indices = {series.axes[axis]: index for axis, index in fixed}
    if "J" in indices or "K" in indices:
        return " ".join(f"{_AXIS_NAMES[letter]} {indices[letter]}" for letter in "KJ" if letter in indices)
    labels, position = planes.labels("R"), indices.get("R")
    if labels and position is not None:
        return labels[position]
    positions = summary.get("StagePositions")
    if isinstance(positions, list) and position is not None and position < len(positions):
        described = positions[position]
        if isinstance(described, dict):
            return str(described.get("Label", ""))
    return str(first.get("PositionName") or "")


def _with_wells(images: list[TiffMetadata]) -> list[TiffMetadata]:
    """Add wells and fields if the labels of all images are those of Micro-Manager's generator of well plates."""
    sites = [_SITE.fullmatch(image.title) for image in images]
    if not all(sites):
        return images
    note = "wells and fields were read from the labels of positions"
    return [
        replace(image, well=(site[1], site[2], site[3]), notes=(*image.notes, note))
        for image, site in zip(images, sites, strict=True)
        if site
    ]


def _channels(
    summary: JSONObject, display: Sequence[Any], series: Any, planes: _TaggedPlanes | _IndexedPlanes
) -> tuple[SourceChannel, ...]:
    outer = _page_axis_lengths(series)
    letters = series.axes[: len(outer)]
    count = outer[letters.index("C")] if "C" in letters else 1
    names = planes.labels("C") or summary.get("ChNames") or []
    if not isinstance(names, list) or len(names) < count:
        names = [""] * count
    colors = summary.get("ChColors")
    channels = []
    for number, name in enumerate(names[:count]):
        fixed = ((letters.index("C"), number),) if "C" in letters else ()
        first = planes.read_json(_first_existing(series, page_numbers(outer, fixed)))
        settings = next(
            (channel for channel in display if isinstance(channel, dict) and channel.get("Name") == name), {}
        )
        color = settings.get(
            "Color", colors[number] if isinstance(colors, list) and number < len(colors) else None
        )
        low, high = _number(settings, "Min"), _number(settings, "Max")
        exposure = _number(first, "Exposure-ms", "Exposure")
        channels.append(
            SourceChannel(
                name or ("" if count == 1 else str(first.get("Channel") or "")),
                f"{color & 0xFFFFFF:06X}" if isinstance(color, int) and color != -1 else None,
                (low, high) if low is not None and high is not None and low < high else None,
                exposure=exposure / 1000 if exposure is not None else None,
            )
        )
    return tuple(channels)


def _number(facts: Mapping[str, Any], *keys: str) -> float | None:
    """Return the first finite number under one of these keys; None without any."""
    for key in keys:
        with suppress(TypeError, ValueError):
            number = float(facts[key]) if key in facts else None
            if number is not None and isfinite(number):
                return number
    return None


def _date(*texts: object) -> str:
    """Return the first readable date in ISO 8601.

    >>> _date(None, "2023/07/26 14:27:29"), _date("2021-05-05 13:58:47.123 -0700"), _date("2021-05-05 13:58:47 +0200")
    ('2023-07-26T14:27:29', '2021-05-05T13:58:47.123000-07:00', '2021-05-05T13:58:47+02:00')
    """
    for text in texts:
        with suppress(ValueError):
            if isinstance(text, str):
                # Python 3.11 reads no space before the offset from UTC.
                compact = text.strip().replace("/", "-").replace(" -", "-").replace(" +", "+")
                return datetime.fromisoformat(compact).isoformat()
    return ""
