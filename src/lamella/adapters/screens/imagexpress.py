"""Parse the folder of an ImageXpress (MetaXpress) to a `Screen`: ``.HTD``, ``TimePoint_N/ZStep_M``, MetaSeries TIFF.

Well, site and wavelength are in the names of the files, time point and z step in those of folders. The ``.HTD`` file
lists the expected wavelengths, wells and sites. The MetaSeries XML in a TIFF has pixel size, stage position and time;
to save time it is read from a few files: one plane of each field and time point, one of each channel, and one stack.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.adapters.metaseries import (
    Properties,
    acquisition_time,
    exposure,
    objective,
    parse_metaseries,
    pixel_size,
    stage_position,
)
from lamella.adapters.screens.index_files import read_keys
from lamella.adapters.screens.screen import Screen, ScreenPlane, plane_shape, seconds_between
from lamella.errors import SourceError, counted, first_of
from lamella.ops.conversion.reader import list_names
from lamella.ops.conversion.source import COPY_AGAIN, SourceChannel
from lamella.spec.plate_names import standard_row
from lamella.store.keys import natural_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INDEX_ENDING = ".htd"
"""Ending, in any case, of the description of the plate."""

_TIME_FOLDER = re.compile(r"TimePoint_(\d+)", re.IGNORECASE)
_Z_FOLDER = re.compile(r"ZStep_(\d+)", re.IGNORECASE)
_FILE = re.compile(
    r"(?P<plate>.*)_(?P<row>(?-i:[A-Z]{1,2}))(?P<column>\d{1,2})(?:_s(?P<site>\d+))?(?:_w(?P<wave>\d+?))?"
    r"(?:[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12})?\.tiff?",
    re.IGNORECASE,
)

ReadDescription = Callable[[str], str]
"""A function that returns the ImageDescription of the first page of a TIFF file."""


@dataclass(frozen=True)
class _Htd:
    """The keys of an ``.HTD`` file with their values as texts."""

    path: str
    values: Mapping[str, Sequence[str]]

    def first(self, key: str) -> str:
        return next(iter(self.values.get(key, ())), "")

    def wells(self) -> list[tuple[str, str]]:
        """List the rows and columns of the selected wells."""
        return [
            (standard_row(row - 1), f"{column:02}")
            for row in range(1, int(parse_number(self.first("YWells")) or 0) + 1)
            for column, is_selected in enumerate(self.values.get(f"WellsSelection{row}", ()), 1)
            if is_selected.upper() == "TRUE"
        ]

    def sites(self) -> list[str]:
        columns = int(parse_number(self.first("XSites")) or 1)
        if self.first("Sites").upper() != "TRUE":
            return ["1"]
        return [
            str((row - 1) * columns + column)
            for row in range(1, int(parse_number(self.first("YSites")) or 1) + 1)
            for column, is_selected in enumerate(self.values.get(f"SiteSelection{row}", ()), 1)
            if is_selected.upper() == "TRUE"
        ]

    def waves(self) -> dict[int, str]:
        """Return the names of the collected wavelengths by number."""
        count = int(parse_number(self.first("NWavelengths")) or 1)
        return {
            wave: self.first(f"WaveName{wave}")
            for wave in range(1, count + 1)
            if self.first(f"WaveCollect{wave}") != "0"
        }


def parse_imagexpress(folder: str, read_description: ReadDescription) -> Screen:
    """Read the plate in a folder; raise SourceError if it contains no image of an ImageXpress."""
    htd = _find_htd(folder)
    notes: list[str] = []
    planes = _choose_stacks(list(_list_planes(folder)), notes)
    if not planes:
        raise SourceError(
            f"{folder} contains no image of an ImageXpress: none is named like plate_B03_s1_w1.tif."
        )
    planes.sort(
        key=lambda plane: (len(plane.row), natural_order(plane.path), plane.t, plane.channel, plane.z)
    )

    def read_properties(plane: ScreenPlane) -> Properties:
        return parse_metaseries(read_description(plane.file))

    by_channel: dict[int, Properties] = {}
    originals: dict[str, str] = {}
    for plane in planes:
        if plane.channel not in by_channel:
            description = read_description(plane.file)
            by_channel[plane.channel] = parse_metaseries(description)
            if by_channel[plane.channel]:
                originals[f"{os.path.basename(plane.file)}.xml"] = description.strip("\0")
    first = next(iter(by_channel.values()))
    if not first:
        notes.append(
            "the images have no MetaSeries description, so sizes, stage positions and times are unknown"
        )
    names = htd.waves() if htd else {}
    notes += _notes_of_plan(htd, planes) if htd else ()
    return Screen(
        name=os.path.splitext(os.path.basename(htd.path))[0] if htd else _plate_of(planes[0].file),
        origin=htd.path if htd else folder,
        index_files=(htd.path,) if htd else (),
        planes=tuple(_with_positions(planes, read_properties)),
        channels={wave: _channel(wave, names.get(wave, ""), by_channel[wave]) for wave in sorted(by_channel)},
        pixel_size=pixel_size(first),
        plane_shape=plane_shape(first, "pixel-size-y", "pixel-size-x"),
        date=acquisition_time(first),
        objective=objective(first),
        notes=tuple(notes),
        missing=tuple(_missing(htd, planes)) if htd else (),
        originals=tuple(originals.items()),
    )


def contains_steps(folder: str) -> bool:
    """Return whether a folder has images of an ImageXpress in time points or z steps."""
    folders = [
        path for pattern in (_TIME_FOLDER, _Z_FOLDER) for path, _ in _subfolders(folder, pattern, 0)[1:]
    ]
    return bool(folders) and next(iter(_list_planes(folder)), None) is not None


def _find_htd(folder: str) -> _Htd | None:
    names = sorted(name for name in list_names(folder) if name.lower().endswith(INDEX_ENDING))
    if not names:
        return None
    if len(names) > 1:
        raise SourceError(
            f"{folder} contains {len(names)} plates ({first_of(names)}): convert them one by one."
        )
    path = os.path.join(folder, names[0])
    values = read_keys(path)
    if "EndFile" not in values or "XWells" not in values:
        raise SourceError(
            f"{path} is truncated, or not the description of an ImageXpress plate. {COPY_AGAIN}"
        )
    return _Htd(path, values)


def _list_planes(folder: str) -> Iterable[ScreenPlane]:
    """List the images in a folder, its time points and its z steps; z is 0 outside of z steps."""
    for time_folder, t in _subfolders(folder, _TIME_FOLDER, 1):
        for z_folder, z in _subfolders(time_folder, _Z_FOLDER, 0):
            for name in list_names(z_folder):
                match = _FILE.fullmatch(name)
                if match and not name.startswith("."):
                    yield ScreenPlane(
                        file=os.path.join(z_folder, name),
                        row=match["row"],
                        column=match["column"],
                        field=str(int(match["site"] or 1)),
                        channel=int(match["wave"] or 1),
                        z=z,
                        t=t,
                    )


def _subfolders(folder: str, pattern: re.Pattern[str], own_number: int) -> list[tuple[str, int]]:
    """List a folder with the number ``own_number``, then its subfolders TimePoint_N or ZStep_N with N, sorted by N."""
    inner = [
        (path, int(match[1]))
        for name in list_names(folder)
        if (match := pattern.fullmatch(name)) and os.path.isdir(path := os.path.join(folder, name))
    ]
    return [(folder, own_number), *sorted(inner, key=lambda subfolder: subfolder[1])]


def _choose_stacks(planes: list[ScreenPlane], notes: list[str]) -> list[ScreenPlane]:
    """Leave out projections of channels with z steps; projections of other channels become the first z step."""
    steps = [plane.z for plane in planes if plane.z]
    if not steps:
        return [replace(plane, z=1) for plane in planes]
    stacked = {plane.channel for plane in planes if plane.z}
    remaining = [plane for plane in planes if plane.z or plane.channel not in stacked]
    if len(remaining) < len(planes):
        left_out = counted(len(planes) - len(remaining), "projection")
        notes.append(f"{left_out} along z left out, of channels with z-stacks")
    only_projected = sorted({plane.channel for plane in remaining} - stacked)
    if only_projected:
        names = ", ".join(f"w{channel}" for channel in only_projected)
        notes.append(f"{names} have projections only, which are stored at the first z step")
    return [plane if plane.z else replace(plane, z=min(steps)) for plane in remaining]


def _with_positions(
    planes: Sequence[ScreenPlane], read_properties: Callable[[ScreenPlane], Properties]
) -> Iterable[ScreenPlane]:
    """Add stage positions and times to the first plane of each field and time point, and to all planes of one stack."""
    properties: dict[ScreenPlane, Properties] = {}
    seen: set[tuple[str, int]] = set()
    stack = (planes[0].path, planes[0].t, max(planes, key=lambda plane: plane.z).channel)
    for plane in planes:
        key = plane.path, plane.t
        if key not in seen or (*key, plane.channel) == stack:
            properties[plane] = read_properties(plane)
        seen.add(key)
    moments = {plane: acquisition_time(plane_properties) for plane, plane_properties in properties.items()}
    start = min((moment for moment in moments.values() if moment), default=None)
    for plane in planes:
        plane_properties = properties.get(plane)
        if plane_properties is None:
            yield plane
            continue
        stage = stage_position(plane_properties)
        seconds = seconds_between(start, moments[plane])
        yield replace(plane, x=stage["x"], y=stage["y"], height=stage["z"], seconds=seconds)


def _missing(htd: _Htd, planes: Sequence[ScreenPlane]) -> Iterable[str]:
    """List the wells, sites and wavelengths that the plate's description selects and that have no file."""
    keys = {(plane.row, int(plane.column), plane.field, plane.channel) for plane in planes}
    for row, column in htd.wells():
        for site in htd.sites():
            for wave in htd.waves():
                if (row, int(column), site, wave) not in keys:
                    yield f"{row}{column} field {site}, channel {wave}"


def _notes_of_plan(htd: _Htd, planes: Sequence[ScreenPlane]) -> Iterable[str]:
    """Note time points and z steps that the plate's description plans and that no well has."""
    for key, noun, count in (
        ("TimePoints", "time points", len({plane.t for plane in planes})),
        ("ZSteps", "z steps", len({plane.z for plane in planes})),
    ):
        planned = int(parse_number(htd.first(key)) or 0)
        if planned > count:
            yield f"{os.path.basename(htd.path)} plans {planned} {noun}, and there are files of {count}"


def _channel(wave: int, name: str, properties: Mapping[str, str]) -> SourceChannel:
    return SourceChannel(
        name or properties.get("_IllumSetting_") or properties.get("image-name") or f"w{wave}",
        emission=parse_number(properties.get("wavelength")) or None,
        exposure=exposure(properties),
    )


def _plate_of(file: str) -> str:
    match = _FILE.fullmatch(os.path.basename(file))
    return match["plate"] if match else os.path.basename(file)
