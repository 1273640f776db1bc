"""Read MetaSeries XML, with which MetaMorph and MetaXpress describe each TIFF file that they write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.adapters.screens.screen import micrometres, yx_or_none
from lamella.adapters.tiff.metadata import TiffMetadata
from lamella.errors import MetadataError
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.ome_xml import parse_xml

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)")

Properties = dict[str, str]
"""The properties of a MetaSeries description, with their values as texts."""


def parse_metaseries(text: str) -> Properties:
    """Return the properties of MetaSeries XML with their values as texts; empty for other texts.

    >>> parse_metaseries('<MetaData><prop id="wavelength" type="float" value="452"/></MetaData>')
    {'wavelength': '452'}
    """
    try:
        root = parse_xml(text.strip("\0 \r\n\t"))
    except MetadataError:  # another program saved the file with a text of its own
        return {}
    return {
        element.attrib["id"]: element.attrib.get("value", "")
        for element in root.iter()
        if element.tag in ("prop", "custom-prop") and "id" in element.attrib
    }


def read_metaseries(text: str, shape: tuple[int, int]) -> TiffMetadata:
    """Return the metadata of a TIFF with a MetaSeries description; ``shape`` is that of a plane."""
    properties = parse_metaseries(text)
    size = pixel_size(properties)
    channel = SourceChannel(
        properties.get("_IllumSetting_") or "",
        emission=parse_number(properties.get("wavelength")) or None,
        exposure=exposure(properties),
    )
    return TiffMetadata(
        {} if size is None else dict(zip("yx", size, strict=True)),
        {} if size is None else {"y": "micrometer", "x": "micrometer"},
        (channel,),
        stage=first_voxel(stage_position(properties), shape, size),
        acquired=acquisition_time(properties) or "",
        objective=objective(properties),
    )


def first_voxel(
    centre: Mapping[str, float | None], shape: tuple[int, int], size: tuple[float, float] | None
) -> dict[str, float]:
    """Return the position of the first voxel of an image from that of its centre; empty if the centre is unknown.

    >>> first_voxel({"x": 100.0, "y": 50.0, "z": None}, (20, 40), (0.5, 0.5))
    {'y': 45.0, 'x': 90.0}
    """
    y, x, z = centre.get("y"), centre.get("x"), centre.get("z")
    if size is None or y is None or x is None:
        return {}
    stage = {"y": round(y - shape[0] * size[0] / 2, 6), "x": round(x - shape[1] * size[1] / 2, 6)}
    return stage if z is None else {"z": z, **stage}


def stage_position(properties: Mapping[str, str]) -> dict[str, float | None]:
    """Return the position of the centre of the image in micrometres.

    >>> [stage_position(properties)["z"] for properties in ({"stage-position-z": "0"}, {"z-position": "5"}, {})]
    [0.0, 5.0, None]
    """
    heights = [parse_number(properties.get(key)) for key in ("stage-position-z", "z-position")]
    known_heights = [height for height in heights if height is not None]
    height = next((height for height in known_heights if height), known_heights[0] if known_heights else None)
    return {
        "z": height,
        "y": parse_number(properties.get("stage-position-y")),
        "x": parse_number(properties.get("stage-position-x")),
    }


def exposure(properties: Mapping[str, str]) -> float | None:
    """Return the exposure time in seconds."""
    match = re.fullmatch(r"([\d.]+) ms", properties.get("Exposure Time", ""))
    return None if match is None else float(match[1]) / 1000


def objective(properties: Mapping[str, str]) -> Objective | None:
    """Return the objective, whose name begins with its magnification."""
    name = properties.get("_MagSetting_", "")
    magnification = re.match(r"(\d+(?:\.\d+)?)[xX]\b", name)
    aperture = parse_number(properties.get("_MagNA_")) or None
    return Objective(name, float(magnification[1]) if magnification else None, aperture) if name else None


def pixel_size(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the size of a pixel in micrometres, (y, x)."""
    if properties.get("spatial-calibration-state", "on") != "on":
        return None
    unit = properties.get("spatial-calibration-units")
    return yx_or_none(
        micrometres(parse_number(properties.get(f"spatial-calibration-{axis}")), unit) for axis in "yx"
    )


def acquisition_time(properties: Mapping[str, str]) -> str | None:
    """Return the time of a plane in ISO 8601, in the local time of the instrument."""
    match = _STAMP.fullmatch(properties.get("acquisition-time-local", ""))
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}" if match else None
