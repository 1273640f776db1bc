"""Describe an exported image as OME-XML: names, sizes, positions and times, channels, objective, and its plate.

Numbers keep the unit of their axis. An axis without a unit has the unit "pixel".
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, uuid5
from xml.etree import ElementTree

from lamella._version import __version__
from lamella.spec.channels import acquisition_settings
from lamella.spec.ome_xml import CONTRAST
from lamella.spec.own_key import STAGE, own_object, own_record
from lamella.spec.units import unit_symbol

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from lamella.adapters.export.selection import PlateOrigin, Selection
    from lamella.types import JSONObject

_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_TYPES = {
    "float32": "float", "float64": "double", "complex64": "complex", "complex128": "double-complex",
}  # fmt: skip
"""OME's names of data types that differ from numpy's."""

_PLANES = "planes"
"""Text of a comment in the tree. In the serialized document it is replaced by the elements of the planes."""

_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def ome_document(selection: Selection) -> bytes:
    """Return the OME-XML of an OME-TIFF with one image: the same bytes for the same image."""
    root = ElementTree.Element(
        "OME",
        {
            "xmlns": _SCHEMA,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_SCHEMA} {_SCHEMA}/ome.xsd",
            "Creator": f"lamella {__version__}",
        },
    )
    if selection.plate is not None:
        _add_plate(root, selection.plate)
    image_attributes = selection.facts()
    objective = _objective(image_attributes)
    if objective:
        instrument = _add(root, "Instrument", ID="Instrument:0")
        _add(instrument, "Objective", ID="Objective:0:0", **objective)
    image = _add(root, "Image", ID="Image:0", Name=image_name(selection))
    if date := _date(own_record(image_attributes, "acquired")):
        _add(image, "AcquisitionDate").text = date
    if objective:
        _add(image, "InstrumentRef", ID="Instrument:0")
        _add(image, "ObjectiveSettings", ID="Objective:0:0")
    planes = _add_pixels(image, selection, image_attributes)
    _add_contrast(root, selection)
    xml = ElementTree.tostring(root, encoding="unicode").replace(f"<!--{_PLANES}-->", planes)
    identifier = f' UUID="urn:uuid:{uuid5(NAMESPACE_OID, xml)}"'
    return f'<?xml version="1.0" encoding="UTF-8"?><OME{identifier}{xml.removeprefix("<OME")}'.encode()


def image_name(selection: Selection) -> str:
    """Return the name of the image, or the last part of its path."""
    return selection.position.document.shared_model.multiscales[0].name or selection.position.node_path.name


def _add(parent: Element, name: str, **attributes: object) -> Element:
    """Add an element, without attributes that are None; characters that XML forbids are replaced."""
    texts = {key: _text(value) for key, value in attributes.items() if value is not None}
    return ElementTree.SubElement(parent, name, texts)


def _text(value: object) -> str:
    return _NOT_IN_XML.sub("\ufffd", repr(value) if isinstance(value, float) else str(value))


def _add_plate(root: Element, origin: PlateOrigin) -> None:
    """Add the names of the plate and the acquisition; the well of the image is in the name of its file."""
    plate = _add(root, "Plate", ID="Plate:0", Name=origin.name or None)
    acquisition = origin.acquisition
    if acquisition is not None:
        _add(plate, "PlateAcquisition", ID=f"PlateAcquisition:{acquisition.id}", Name=acquisition.name)


def _add_pixels(image: Element, selection: Selection, image_attributes: JSONObject) -> str:
    """Add the pixels with a comment in place of the planes; return the elements of the planes."""
    sizes, translations, units = selection.geometry()
    t, c, z, y, x = selection.shape(selection.level)
    dtype = selection.dtype.name
    attributes: dict[str, object] = {"SizeX": x, "SizeY": y, "SizeZ": z, "SizeC": c, "SizeT": t}
    symbols = {axis: unit_symbol(units[axis]) or "pixel" for axis in "zyx" if axis in sizes}
    for axis, symbol in symbols.items():
        if _is_size(sizes[axis]):
            attributes[f"PhysicalSize{axis.upper()}"] = float(sizes[axis])
            attributes[f"PhysicalSize{axis.upper()}Unit"] = symbol
    time_unit = unit_symbol(units.get("t"))
    if time_unit is not None and _is_size(sizes["t"]):
        attributes |= {"TimeIncrement": float(sizes["t"]), "TimeIncrementUnit": time_unit}
    color_name = selection.color_name
    samples = 1 if color_name is None else c
    order = "XYZCT" if samples == 1 else "XYCZT"
    pixels = _add(
        image, "Pixels", ID="Pixels:0", DimensionOrder=order, Type=_TYPES.get(dtype, dtype), **attributes
    )
    channels = _channel_attributes(selection, image_attributes)
    if color_name is not None:
        channels = [{key: value for key, value in channels[0].items() if key not in ("Name", "Color")}]
        channels[0] |= {"Name": color_name} if color_name else {}
    for number, channel in zip(selection.channels, channels, strict=False):
        facts = {key: value for key, value in channel.items() if key != "ExposureTime"}
        _add(pixels, "Channel", ID=f"Channel:0:{number}", SamplesPerPixel=samples, **facts)
    _add(pixels, "TiffData", IFD=0, PlaneCount=t * len(channels) * z)
    position_of_plane = _position_of_plane(image_attributes, translations, symbols)
    times = selection.times() if time_unit is not None else []
    pixels.append(ElementTree.Comment(_PLANES))
    lines = []
    for frame, number in product(range(t), range(len(channels))):
        plane_attributes = dict(position_of_plane)
        if times:
            plane_attributes |= {"DeltaT": float(times[frame]), "DeltaTUnit": time_unit}
        if "ExposureTime" in channels[number]:
            plane_attributes["ExposureTime"] = channels[number]["ExposureTime"]
        if plane_attributes:  # one element of a tree for each of 100,000 planes would need 100 MB
            attributes_text = "".join(f' {name}="{_text(value)}"' for name, value in plane_attributes.items())
            lines += [
                f'<Plane TheZ="{plane}" TheT="{frame}" TheC="{number}"{attributes_text}/>'
                for plane in range(z)
            ]
    return "".join(lines)


def _add_contrast(root: Element, selection: Selection) -> None:
    """Add an annotation for each channel with its contrast limits; none for an RGB image, which is one channel."""
    windows = selection.windows() if selection.color_name is None else []
    if not windows:
        return
    annotations = _add(root, "StructuredAnnotations")
    channels = root.findall("Image/Pixels/Channel")
    for number, (channel, window) in enumerate(zip(channels, windows, strict=True)):
        identifier = f"Annotation:{number}"
        _add(channel, "AnnotationRef", ID=identifier)
        value_element = _add(_add(annotations, "MapAnnotation", ID=identifier, Namespace=CONTRAST), "Value")
        for key, limit in zip(("start", "end"), window, strict=True):
            _add(value_element, "M", K=key).text = _text(limit)


def _position_of_plane(
    image_attributes: JSONObject, translations: dict[str, float], symbols: dict[str, str]
) -> dict[str, object]:
    """Return the position of the first voxel: its translation, and the z of the stage if the image has no axis z.

    A translation of zeros is written only if the microscope stated a position.
    """
    stage = own_object(image_attributes, STAGE)
    if not stage and not any(translations[axis] for axis in symbols):
        return {}
    positions = {axis: float(translations[axis]) for axis in symbols}
    units = dict(symbols)
    z = stage.get("z")
    if "z" not in symbols and isinstance(z, int | float) and math.isfinite(z):
        positions, units = {"z": float(z), **positions}, {"z": "µm", **units}
    return {f"Position{axis.upper()}": value for axis, value in positions.items()} | {
        f"Position{axis.upper()}Unit": unit for axis, unit in units.items()
    }


def _is_size(number: float) -> bool:
    return number > 0 and math.isfinite(number)


def _channel_attributes(selection: Selection, attributes: JSONObject) -> list[dict[str, object]]:
    """Return name, colour, wavelengths and exposure of each channel, by the names of OME-XML."""
    is_named = bool(selection.position.channel_names)
    all_settings = acquisition_settings(attributes, len(selection.position.channel_names), selection.channels)
    objects: list[dict[str, object]] = []
    for settings, name, color in zip(all_settings, selection.names(), selection.colors(), strict=True):
        facts: dict[str, object] = {}
        if is_named:
            facts["Name"] = name
        if is_named and color:
            facts["Color"] = _rgba(color)
        for key, attribute in (
            ("excitation", "ExcitationWavelength"),
            ("emission", "EmissionWavelength"),
            ("exposure", "ExposureTime"),
        ):
            value = settings.get(key) if isinstance(settings, dict) else None
            if isinstance(value, int | float) and _is_size(value):
                facts[attribute] = float(value)
        objects.append(facts)
    return objects


def _objective(attributes: JSONObject) -> dict[str, object]:
    names = {"name": "Model", "magnification": "NominalMagnification", "aperture": "LensNA"}
    return {names[key]: value for key, value in own_object(attributes, "objective").items() if key in names}


def _date(text: object) -> str | None:
    """Return a date and time in the spelling of XML; None for another text."""
    if isinstance(text, str):
        with suppress(ValueError):
            return datetime.fromisoformat(text).isoformat()
    return None


def _rgba(color: str) -> int:
    """Return a colour as OME stores it: a signed number of red, green, blue and opacity.

    >>> _rgba("FF0000"), _rgba("0000FF")
    (-16776961, 65535)
    """
    number = int(color[:6], 16) << 8 | 0xFF
    return number - (1 << 32) if number >= 1 << 31 else number
