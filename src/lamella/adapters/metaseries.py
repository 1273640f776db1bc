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
    values = parse_metaseries(text)
    size = pixel_size(values)
    channel = SourceChannel(
        values.get("_IllumSetting_") or "",
        emission=parse_number(values.get("wavelength")) or None,
        exposure=exposure(values),
    )
    return TiffMetadata(
        {} if size is None else dict(zip("yx", size, strict=True)),
        {} if size is None else {"y": "micrometer", "x": "micrometer"},
        (channel,),
        stage=first_voxel(stage_position(values), shape, size),
        acquired=acquisition_time(values) or "",
        objective=objective(values),
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


def stage_position(values: Mapping[str, str]) -> dict[str, float | None]:
    """Return the position of the centre of the image in micrometres.

    >>> [stage_position(values)["z"] for values in ({"stage-position-z": "0"}, {"z-position": "5"}, {})]
    [0.0, 5.0, None]
    """
    heights = [parse_number(values.get(key)) for key in ("stage-position-z", "z-position")]
    known = [height for height in heights if height is not None]
    height = next((height for height in known if height), known[0] if known else None)
    return {
        "z": height,
        "y": parse_number(values.get("stage-position-y")),
        "x": parse_number(values.get("stage-position-x")),
    }


def exposure(values: Mapping[str, str]) -> float | None:
    """Return the exposure time in seconds."""
    match = re.fullmatch(r"([\d.]+) ms", values.get("Exposure Time", ""))
    return None if match is None else float(match[1]) / 1000


def objective(values: Mapping[str, str]) -> Objective | None:
    """Return the objective, whose name begins with its magnification."""
    name = values.get("_MagSetting_", "")
    magnification = re.match(r"(\d+(?:\.\d+)?)[xX]\b", name)
    aperture = parse_number(values.get("_MagNA_")) or None
    return Objective(name, float(magnification[1]) if magnification else None, aperture) if name else None


def pixel_size(values: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the size of a pixel in micrometres, (y, x)."""
    if values.get("spatial-calibration-state", "on") != "on":
        return None
    unit = values.get("spatial-calibration-units")
    return yx_or_none(
        micrometres(parse_number(values.get(f"spatial-calibration-{axis}")), unit) for axis in "yx"
    )


def acquisition_time(values: Mapping[str, str]) -> str | None:
    """Return the time of a plane in ISO 8601, in the local time of the instrument."""
    match = _STAMP.fullmatch(values.get("acquisition-time-local", ""))
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}" if match else None
