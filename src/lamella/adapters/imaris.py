"""Read Imaris files, which are HDF5, with the library ``h5py``: the finest resolution."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamella.adapters.descriptions import describe_image, missing_note, parse_number, positive_or_none
from lamella.adapters.formats import ENDINGS
from lamella.adapters.hdf5 import HDF5File
from lamella.adapters.original import json_text
from lamella.errors import SourceError
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import COPY_AGAIN, SourceChannel
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_FINEST = "DataSet/ResolutionLevel 0"


class ImarisReader(HandleReader):
    """Imaris 5.5; HDF5 serves one thread at a time."""

    name = "ims"
    title = "Imaris IMS"
    endings = ENDINGS["ims"]
    extra = "hdf5"
    libraries = ("h5py",)
    handles = 1
    first_bytes = (b"\x89HDF",)

    def open_handle(self, path: str) -> Any:
        return HDF5File(path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        return [_describe(handle, path)]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        sections: dict[str, Any] = {}
        handle.root["DataSetInfo"].visititems(lambda name, node: sections.update({name: _attributes(node)}))
        return [OriginalMetadata("imaris.json", json_text(sections))]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        """Read rows of one plane; the file stores more columns than the image has."""
        time, channel, z = index
        width = int(_attributes(handle.root["DataSetInfo/Image"])["X"])
        name = f"{_FINEST}/TimePoint {time}/Channel {channel}/Data"
        plane: Array | None = handle.read_plane(name, z, rows, width)
        return plane


def _attributes(node: Any) -> dict[str, str]:
    """Return the attributes of a node as text; Imaris writes texts as arrays of single letters."""
    texts: dict[str, str] = {}
    for name, value in node.attrs.items():
        if getattr(value, "dtype", None) is not None and value.dtype.kind == "S" and value.ndim:
            texts[name] = b"".join(value.tolist()).decode("utf-8", "replace")
        else:
            texts[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return texts


def _describe(file: HDF5File, path: str) -> ImageDescription:
    data_set = file.root["DataSetInfo"]
    image = _attributes(data_set["Image"])
    times = max(_numbers(file.root[_FINEST], "TimePoint")) + 1
    channels = max(_numbers(file.root[f"{_FINEST}/TimePoint 0"], "Channel")) + 1
    lengths = {axis: int(image[axis.upper()]) for axis in "zyx"}
    volume = file.root[f"{_FINEST}/TimePoint 0/Channel 0/Data"]
    if any(length > actual for length, actual in zip(lengths.values(), volume.shape, strict=True)):
        raise SourceError(
            f"{path} is damaged: it states the size {tuple(lengths.values())}, but its pixels have the shape "
            f"{volume.shape}. {COPY_AGAIN}"
        )
    scale: dict[str, float] = {}
    stage_position: dict[str, float] = {}
    for number, axis in enumerate("xyz"):
        first, last = float(image.get(f"ExtMin{number}", 0)), float(image.get(f"ExtMax{number}", 0))
        if is_size((last - first) / lengths[axis]):
            scale[axis] = (last - first) / lengths[axis]
            stage_position[axis] = first
    missing_count = sum(
        f"{_FINEST}/TimePoint {time}/Channel {channel}/Data" not in file.root
        for time in range(times)
        for channel in range(channels)
    )
    time_info = _attributes(data_set["TimeInfo"]) if "TimeInfo" in data_set else {}
    stated_times = int(parse_number(time_info.get("DatasetTimePoints")) or 0)
    notes = (f"it states {stated_times} time points and contains {times}",) if stated_times > times else ()
    return describe_image(
        path,
        (times, channels, *lengths.values()),
        volume.dtype,
        scale=scale,
        units=dict.fromkeys("xyz", unit_name(image.get("Unit", "um"))),
        channels=tuple(_channel(data_set, number) for number in range(channels)),
        notes=(*notes, *missing_note(missing_count, "volume")),
        title=image.get("Name", ""),
        stage=stage_position if any(stage_position.values()) else {},
        times=_times(time_info, times),
        acquired=image.get("RecordingDate", "").strip().replace(" ", "T"),
        band_rows=volume.chunks[1] if volume.chunks else 1,
    )


def _numbers(group: Any, word: str) -> list[int]:
    """Return the numbers in the names of a group's members: 0, 1 of "Channel 0", "Channel 1"."""
    matches = (re.fullmatch(rf"{word} (\d+)", name) for name in group)
    return [int(match[1]) for match in matches if match is not None]


def _channel(data_set: Any, number: int) -> SourceChannel:
    attributes = _attributes(data_set[f"Channel {number}"]) if f"Channel {number}" in data_set else {}
    color = _floats(attributes.get("Color", ""), 3)
    window = _floats(attributes.get("ColorRange", ""), 2)
    wavelengths = [
        _floats(attributes.get(f"LSM{word}Wavelength", ""), 1) for word in ("Excitation", "Emission")
    ]
    excitation, emission = (positive_or_none(numbers[0]) if numbers else None for numbers in wavelengths)
    return SourceChannel(
        label=attributes.get("Name", ""),
        color="".join(f"{round(255 * min(1, max(0, component))):02X}" for component in color)
        if color
        else None,
        window=(window[0], window[1]) if window else None,
        excitation=excitation,
        emission=emission,
    )


def _floats(text: str, count: int) -> list[float]:
    """Return the ``count`` numbers of a text; an empty list if the text has another number of them."""
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        return []
    return numbers if len(numbers) == count else []


def _times(time_info: dict[str, str], count: int) -> tuple[float, ...]:
    """Return the seconds from the first time point to each one; an empty tuple if the time of any is missing."""
    try:
        moments = [
            datetime.fromisoformat(time_info[f"TimePoint{number + 1}"].strip()) for number in range(count)
        ]
    except (KeyError, ValueError):
        return ()
    return tuple((moment - moments[0]).total_seconds() for moment in moments)
