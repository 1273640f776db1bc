"""Parse the index of a CellVoyager (Yokogawa CV7000, CV8000, CQ1): ``.mlf``, ``.mrf`` and ``.mes``, to a `Screen`.

``MeasurementData.mlf`` lists the images, ``MeasurementDetail.mrf`` has pixel sizes, and the ``.mes`` file that it names
has colours and wavelengths of the channels.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.adapters.screens.index_files import attributes, elements
from lamella.adapters.screens.screen import (
    Screen,
    ScreenPlane,
    file_beside,
    plane_shape,
    seconds_between,
    whole_number,
    yx_or_none,
)
from lamella.errors import SourceError, counted
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.plate_names import standard_row

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX_ENDING = ".mlf"
"""Ending of the list of images."""

_DETAIL = "MeasurementDetail.mrf"
_BAND_PASS = re.compile(r"BP(\d+)(?:/\d+)?")
_ARGB = re.compile(r"#[0-9A-Fa-f]{2}([0-9A-Fa-f]{6})")
_INTEGER_ATTRIBUTES = ("Row", "Column", "FieldIndex", "Ch")


def parse_cellvoyager(index: str) -> Screen:
    """Read the index of a CellVoyager; raise SourceError if it is damaged or lists no image."""
    notes: list[str] = []
    detail, detail_channels, detail_file = _detail(index, notes)
    settings, settings_file = _settings(index, detail, notes)
    image_records: list[tuple[dict[str, str], str]] = []
    failed = 0
    for element in elements(index, ("MeasurementRecord",)):
        record, name = attributes(element), (element.text or "").strip()
        if record.get("Type") == "IMG":
            image_records.append((record, name))
        elif record.get("Type") == "ERR":
            failed += 1
    if not image_records:
        raise SourceError(
            f"{index} lists no image: it is not the index of a CellVoyager, or nothing was imaged."
        )
    if failed:
        notes.append(f"the instrument reports {counted(failed, 'error')} in place of images")
    start = detail.get("BeginTime") or min(record.get("Time", "") for record, _ in image_records)
    planes = tuple(_plane(index, record, name, start) for record, name in image_records)
    used_channels = sorted({plane.channel for plane in planes})
    first = detail_channels.get(str(used_channels[0]), {})
    return Screen(
        name=detail.get("Title") or os.path.basename(os.path.dirname(os.path.abspath(index))),
        origin=index,
        index_files=(index, *(file for file in (detail_file, settings_file) if file)),
        planes=planes,
        channels={channel: _channel(channel, settings.get(str(channel), {})) for channel in used_channels},
        pixel_size=yx_or_none(
            parse_number(first.get(f"{word}PixelDimension")) for word in ("Vertical", "Horizontal")
        ),
        plane_shape=plane_shape(first, "VerticalPixels", "HorizontalPixels"),
        date=start or None,
        objective=_objective(settings.get(str(used_channels[0]), {})),
        notes=tuple(notes),
    )


def _detail(index: str, notes: list[str]) -> tuple[dict[str, str], dict[str, dict[str, str]], str | None]:
    """Read the attributes of the measurement, and of each channel; return also the path of their file."""
    path = os.path.join(os.path.dirname(index), _DETAIL)
    if not os.path.isfile(path):
        notes.append(f"{_DETAIL} is missing, so pixel sizes are unknown")
        return {}, {}, None
    root: dict[str, str] = {}
    channels: dict[str, dict[str, str]] = {}
    for element in elements(path, ("MeasurementChannel", "MeasurementDetail")):
        values = attributes(element)
        if "Ch" in values:
            channels[values["Ch"]] = values
        else:
            root = values
    return root, channels, path


def _settings(
    index: str, detail: Mapping[str, str], notes: list[str]
) -> tuple[dict[str, dict[str, str]], str | None]:
    """Read the attributes of each channel from the ``.mes`` file that the details name; return also its path."""
    name = detail.get("MeasurementSettingFileName")
    path = file_beside(index, name) if name else None
    if path is None or not os.path.isfile(path):
        notes.append(f"the settings {name or '(.mes)'} are missing, so colours and wavelengths are unknown")
        return {}, None
    channels = (attributes(element) for element in elements(path, ("Channel",)))
    return {values["Ch"]: values for values in channels if "Ch" in values}, path


def _plane(index: str, values: Mapping[str, str], name: str, start: str) -> ScreenPlane:
    row, column, field, channel = (whole_number(index, name, values, key) for key in _INTEGER_ATTRIBUTES)
    y = parse_number(values.get("Y"))
    return ScreenPlane(
        file=file_beside(index, name),
        row=standard_row(row - 1),
        column=f"{column:02}",
        field=str(field),
        channel=channel,
        z=whole_number(index, name, values, "ZIndex", "1"),
        t=whole_number(index, name, values, "TimePoint", "1"),
        x=parse_number(values.get("X")),
        y=None if y is None else 0.0 - y,  # the y axis of the stage points to the top of the image
        height=parse_number(values.get("Z")),
        seconds=seconds_between(start, values.get("Time")),
    )


def _channel(channel: int, settings: Mapping[str, str]) -> SourceChannel:
    acquisition = settings.get("Acquisition", "")
    colour, band = _ARGB.fullmatch(settings.get("Color", "")), _BAND_PASS.match(acquisition)
    exposure = parse_number(settings.get("ExposureTime"))
    return SourceChannel(
        settings.get("Fluorophore") or acquisition or f"channel {channel}",
        color=colour[1].upper() if colour else None,
        excitation=parse_number(settings.get("Target")),
        emission=float(band[1]) if band else None,
        exposure=None if exposure is None else exposure / 1000,
    )


def _objective(settings: Mapping[str, str]) -> Objective | None:
    name, magnification = settings.get("Objective", ""), parse_number(settings.get("Magnification"))
    return Objective(name, magnification) if name or magnification else None
