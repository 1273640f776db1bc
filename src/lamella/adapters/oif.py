"""Read Olympus OIB and OIF files with the library ``oiffile``: one TIFF for each plane, in one file or a folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import describe_image, missing_note, positive_or_none
from lamella.adapters.formats import ENDINGS
from lamella.adapters.original import json_text
from lamella.errors import SourceError, counted
from lamella.ops.conversion.handles import HandleReader
from lamella.ops.conversion.reader import OriginalMetadata
from lamella.ops.conversion.source import COPY_AGAIN, SourceChannel
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lamella.ops.conversion.source import ImageDescription
    from lamella.types import Array

_PLANE = re.compile(r"_((?:[A-Z]\d+)+)\.tif")
"""End of the name of a plane: letters of axes, with numbers from 1 (``s_C001Z002.tif``)."""


class OifReader(HandleReader):
    """Olympus FluoView."""

    name = "oif"
    title = "Olympus OIB, OIF"
    endings = ENDINGS["oif"]
    extra = "oif"
    libraries = ("oiffile",)
    first_bytes = (b"\xd0\xcf\x11\xe0",)  # a compound file, as many formats are

    def open_handle(self, path: str) -> Any:
        import oiffile

        _check_size(path)
        return _File(oiffile.OifFile(path), path)

    def describe(self, handle: Any, path: str) -> Sequence[ImageDescription]:
        return [_describe(handle, path)]

    def original(self, handle: Any) -> Sequence[OriginalMetadata]:
        """Return the settings of the main file as JSON, and those of each plane as they are."""
        return [OriginalMetadata("oif.json", json_text(handle.file.mainfile)), *_settings_of_planes(handle)]

    def read_plane(self, handle: Any, image: int, index: tuple[int, ...], rows: slice) -> Array | None:
        name = handle.planes.get(index)
        if name is None:
            return None
        plane: Array = handle.file.asarray(name)
        return plane[rows]


def _check_size(path: str) -> None:
    """Raise SourceError for a compound file that ends within a sector."""
    with open(path, "rb") as file:
        header = file.read(32)
    if header[:4] == b"\xd0\xcf\x11\xe0" and os.path.getsize(path) % (1 << min(header[30], 12)):
        raise SourceError(f"{path} is incomplete: it ends within a sector of its compound file. {COPY_AGAIN}")


class _File:
    """An open file, its axes, and the names of its planes by time, channel and z."""

    def __init__(self, file: Any, path: str) -> None:
        self.file = file
        self._path = path
        order = str(self.settings("Axis Parameter Common")["AxisOrder"])
        axes = [self.settings(f"Axis {number} Parameters Common") for number in range(9)]
        self.axes = {str(axis["AxisCode"]): axis for axis in axes if str(axis.get("AxisCode", "?")) in order}
        self.sizes = {code: max(1, int(axis["MaxSize"])) for code, axis in self.axes.items()}
        if order[:2] != "XY" or any(self.sizes[code] > 1 for code in set(order) - set("XYCZT")):
            raise SourceError(f"{path} has the axes {order}: only X, Y, C (channel), Z and T can be read.")
        self.beyond_count = 0
        """Number of planes beyond the sizes that the settings state."""
        self.planes = self._list_planes()

    def settings(self, section: str) -> Mapping[str, Any]:
        """Return a section of the main file."""
        values: Mapping[str, Any] = self.file.mainfile.get(section, {})
        return values

    def close(self) -> None:
        self.file.close()

    def _list_planes(self) -> dict[tuple[int, ...], str]:
        """Return the names of the planes by (t, c, z); those of the most frequent prefix, as previews have another."""
        groups: dict[str, dict[tuple[int, ...], str]] = {}
        beyond_counts: Counter[str] = Counter()
        for name in self.file.glob("*.tif"):
            match = _PLANE.search(name)
            if match is None or match.end() != len(name):
                continue
            numbers = {axis: int(number) - 1 for axis, number in re.findall(r"([A-Z])(\d+)", match[1])}
            index = tuple(numbers.pop(axis, 0) for axis in "TCZ")
            sizes = tuple(self.sizes.get(axis, 1) for axis in "TCZ")
            if any(numbers.values()) or min(index) < 0:
                continue
            if all(position < size for position, size in zip(index, sizes, strict=True)):
                groups.setdefault(name[: match.start()], {}).setdefault(index, name)
            else:
                beyond_counts[name[: match.start()]] += 1
        if not groups:
            raise SourceError(
                f"{self._path} has no planes: none of its files is named as one ('s_C001Z001.tif')."
            )
        prefix = max(groups, key=lambda name: len(groups[name]))
        self.beyond_count = beyond_counts[prefix]
        return groups[prefix]


def _describe(file: _File, path: str) -> ImageDescription:
    first = file.file.asarray(next(iter(file.planes.values())))
    sizes = {axis: file.sizes.get(axis.upper(), 1) for axis in "tczyx"}
    shape = tuple(sizes.values())
    if first.shape != shape[-2:]:
        raise SourceError(f"{path} has planes of shape {first.shape}, its settings state {shape[-2:]}.")
    missing = shape[0] * shape[1] * shape[2] - len(file.planes)
    notes = missing_note(missing, "plane")
    if file.beyond_count:
        notes += (f"{counted(file.beyond_count, 'plane')} beyond the sizes in its settings not converted",)
    scale, units = _sizes(file)
    date = str(file.settings("Acquisition Parameters Common").get("ImageCaputreDate", "")).strip("'\" ")
    return describe_image(
        path,
        shape,
        first.dtype,
        files=_files(file, path),
        scale=scale,
        units=units,
        channels=tuple(_channel(file, number) for number in range(1, sizes["c"] + 1)),
        notes=notes,
        acquired=date.replace(" ", "T"),
        band_rows=sizes["y"],
    )


def _settings_of_planes(file: _File) -> Iterator[OriginalMetadata]:
    for name in sorted(file.file.glob("*.pty")):
        with file.file.open_file(name) as stream:
            text = stream.read().decode("utf-16", "replace")
        yield OriginalMetadata(name.replace("\\", "/").rpartition("/")[2], text)


def _files(file: _File, path: str) -> tuple[str, ...]:
    if file.file.is_oib:
        return (path,)
    folder = os.path.dirname(path)
    return (path, *(os.path.join(folder, name) for name in sorted(file.planes.values())))


def _sizes(file: _File) -> tuple[dict[str, float], dict[str, str | None]]:
    """Return pixel sizes, the steps of z and t, and their units."""
    scale: dict[str, float] = {}
    units: dict[str, str | None] = {}
    reference = file.settings("Reference Image Parameter")
    for axis, word in (("x", "Width"), ("y", "Height")):
        scale[axis] = float(reference.get(f"{word}ConvertValue", 0))
        units[axis] = unit_name(str(reference.get(f"{word}Unit", "um")))
    for axis in "zt":
        settings = file.axes.get(axis.upper())
        count = file.sizes.get(axis.upper(), 1)
        if settings is None or count < 2:
            continue
        span = abs(float(settings.get("EndPosition", 0)) - float(settings.get("StartPosition", 0)))
        step = float(settings.get("Interval", 0) or 0) or span / (count - 1)
        unit = unit_name(str(settings.get("UnitName", "")))
        if unit in ("nanometer", "millisecond"):
            step, unit = step / 1000, {"nanometer": "micrometer", "millisecond": "second"}[unit]
        scale[axis], units[axis] = step, unit
    return scale, units


def _channel(file: _File, number: int) -> SourceChannel:
    settings = file.settings(f"Channel {number} Parameters")
    excitation, emission = (
        positive_or_none(float(settings.get(f"{word}Wavelength", 0) or 0))
        for word in ("Excitation", "Emission")
    )
    names = [str(settings.get(key, "")).strip("'\" ") for key in ("DyeName", "CH Name")]
    label = next((name for name in names if name not in ("", "None")), "")
    return SourceChannel(label, _color(file, number), excitation=excitation, emission=emission)


def _color(file: _File, number: int) -> str | None:
    """Return the colour of the brightest pixels: the last bytes (blue, green, red, unused) of the table."""
    name = next((name for name in file.file.glob(f"*LUT{number}.lut")), None)
    if name is None:
        return None
    with file.file.open_file(name) as stream:
        table = stream.read()
    blue_green_red = np.frombuffer(table[-4:], np.uint8)[:3]
    return None if len(table) < 4 else "".join(f"{component:02X}" for component in blue_green_red[::-1])
