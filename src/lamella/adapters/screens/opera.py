"""Parse ``Index.idx.xml`` and ``Index.xml`` of Opera Phenix and Operetta (Harmony): to a `Screen`.

Pixel sizes are read from the index, because the TIFF files state those of the camera, without the objective. Newer
versions of Harmony describe each channel once, in an ``Entry`` element, instead of in every ``Image``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.adapters.screens.index_files import attributes, elements, local_name, texts
from lamella.adapters.screens.screen import (
    Screen,
    ScreenPlane,
    file_beside,
    micrometres,
    plane_shape,
    seconds_between,
    whole_number,
    yx_or_none,
)
from lamella.errors import SourceError, counted, first_of
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.plate_names import standard_row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

INDEX_NAMES = ("Index.idx.xml", "Index.xml")
"""File names of the index."""

_NUMBERS = ("Row", "Col", "FieldID", "ChannelID")


def parse_opera(index: str) -> Screen:
    """Read the index of an Opera Phenix or Operetta; raise SourceError if it is damaged or lists no image."""
    plates: list[dict[str, str]] = []
    channel_by_id: dict[str, dict[str, str]] = {}
    images: list[dict[str, str]] = []
    units: dict[str, str] = {}
    for element in elements(index, ("Plate", "Entry", "Image")):
        name = local_name(element.tag)
        values = texts(element)
        if name == "Plate":
            plates.append(values)
        elif name == "Entry":
            channel_by_id.setdefault(attributes(element).get("ChannelID", ""), {}).update(values)
            units |= _units(element)
        elif "URL" in values:
            images.append(values)
            if len(images) == 1:
                units |= _units(element)
    if not images:
        raise SourceError(f"{index} lists no image: it is not the index of an Opera Phenix or Operetta.")
    plate = plates[0] if plates else {}
    merged = [{**channel_by_id.get(image.get("ChannelID", ""), {}), **image} for image in images]
    failed = [image["URL"] for image in merged if image.get("State", "Ok") != "Ok"]
    first = merged[0]
    start = plate.get("MeasurementStartTime")
    return Screen(
        name=plate.get("Name") or plate.get("PlateID") or os.path.basename(os.path.dirname(index)),
        origin=index,
        index_files=(index,),
        planes=tuple(_plane(index, image, start, units) for image in merged),
        channels={
            whole_number(index, image["URL"], image, "ChannelID"): _channel(image)
            for image in reversed(merged)
        },
        pixel_size=yx_or_none(
            micrometres(parse_number(first.get(name)), units.get(name, "m"))
            for name in ("ImageResolutionY", "ImageResolutionX")
        ),
        plane_shape=plane_shape(first, "ImageSizeY", "ImageSizeX"),
        date=start,
        objective=_objective(first),
        notes=(
            (f"the instrument marks {counted(len(failed), 'image')} as not in order: {first_of(failed)}",)
            if failed
            else ()
        ),
    )


def _units(element: Element) -> dict[str, str]:
    """Return the units of the children of an element by their names: {"PositionX": "m"}."""
    return {local_name(child.tag): child.attrib["Unit"] for child in element if "Unit" in child.attrib}


def _plane(index: str, image: Mapping[str, str], start: str | None, units: Mapping[str, str]) -> ScreenPlane:
    url = image["URL"]
    row, column, field, channel = (whole_number(index, url, image, name) for name in _NUMBERS)
    x, y, height = (
        micrometres(parse_number(image.get(name)), units.get(name, "m"))
        for name in ("PositionX", "PositionY", "PositionZ")
    )
    return ScreenPlane(
        file=file_beside(index, url),
        row=standard_row(row - 1),
        column=f"{column:02}",
        field=str(field),
        channel=channel,
        z=whole_number(index, url, image, "PlaneID", "1"),
        t=whole_number(index, url, image, "TimepointID", "0"),
        x=x,
        y=None if y is None else 0.0 - y,  # the y axis of the stage points to the top of the image
        height=height,
        seconds=seconds_between(start, image.get("AbsTime"))
        if image.get("AbsTime")
        else parse_number(image.get("MeasurementTimeOffset")),
    )


def _channel(image: Mapping[str, str]) -> SourceChannel:
    return SourceChannel(
        image.get("ChannelName") or f"channel {image.get('ChannelID')}",
        excitation=parse_number(image.get("MainExcitationWavelength")) or None,
        emission=parse_number(image.get("MainEmissionWavelength")) or None,
        exposure=parse_number(image.get("ExposureTime")),
    )


def _objective(image: Mapping[str, str]) -> Objective | None:
    magnification, aperture = (
        parse_number(image.get("ObjectiveMagnification")),
        parse_number(image.get("ObjectiveNA")),
    )
    return Objective("", magnification, aperture) if magnification else None
