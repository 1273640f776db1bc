"""Read the metadata of OME-TIFF from the OME-XML in the first page's description.

They are physical sizes, time increments, channels, and the position on a plate. ``tifffile`` finds out which pages have
which planes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lamella.adapters.tiff_metadata import TiffMetadata
from lamella.errors import MetadataError, SourceError
from lamella.ops.conversion.source import SourceChannel
from lamella.spec.ome_xml import UnsafeXMLError, children, parse_xml, read_sizes
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NO_COLOR = -(1 << 31)


_ROOTS: WeakKeyDictionary[Any, Element | None] = WeakKeyDictionary()


def ome_root(file: Any) -> Element | None:
    """Return the root of the OME-XML of an open file, parsed once; None without parsable OME-XML.

    Raise SourceError for unsafe XML: a document type declaration, endless nesting.
    """
    if not (file.is_ome and file.ome_metadata):
        return None
    if file not in _ROOTS:
        try:
            _ROOTS[file] = parse_xml(file.ome_metadata)
        except UnsafeXMLError as error:
            raise SourceError(
                f"{file.filehandle.path} is not read: its OME-XML is unsafe: {error}"
            ) from error
        except MetadataError:
            _ROOTS[file] = None
    return _ROOTS[file]


def read_ome(root: Element | None) -> list[TiffMetadata]:
    """Return the metadata of every image of an OME-XML that has pixels, in order; an empty list without XML.

    >>> xml = '''<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels
    ...     PhysicalSizeX="650" PhysicalSizeXUnit="nm"><Channel Name="DAPI" Color="65535"/></Pixels></Image></OME>'''
    >>> image = read_ome(parse_xml(xml))[0]
    >>> image.scale, image.units, image.channels[0].label, image.channels[0].color
    ({'x': 650.0}, {'x': 'nanometer'}, 'DAPI', '0000FF')
    """
    if root is None:
        return []
    wells = _wells(root)
    return [
        _read_pixels(pixels, wells.get(image.get("ID", "")))
        for image in children(root, "Image")
        for pixels in children(image, "Pixels")
    ]


def _read_pixels(pixels: Element, well: tuple[str, str, str] | None) -> TiffMetadata:
    notes: tuple[str, ...] = ()
    try:
        sizes = read_sizes(pixels)
    except MetadataError as error:
        sizes, notes = {}, (f"its physical sizes were not read: {error}",)
    interval = _interval(pixels) if "t" not in sizes else None
    if interval is not None:
        sizes["t"] = interval
    channels = tuple(
        SourceChannel(element.get("Name") or "", _color(element.get("Color")))
        for element in children(pixels, "Channel")
    )
    scale = {axis: size for axis, (size, _) in sizes.items()}
    units = {axis: unit for axis, (_, unit) in sizes.items()}
    return TiffMetadata(scale, units, channels, well, notes)


def _color(text: str | None) -> str | None:
    """Return six hex digits of an OME colour, a signed 32-bit integer of red, green, blue, alpha.

    >>> _color("-16776961"), _color("-1"), _color("16711935"), _color("none")
    ('FF0000', 'FFFFFF', '00FF00', None)
    """
    try:
        value = int(text or "")
    except ValueError:
        return None
    # Old versions of Bio-Formats wrote the smallest integer for "no colour".
    return None if value == _NO_COLOR else f"{(value & 0xFFFFFFFF) >> 8:06X}"


def _interval(pixels: Element) -> tuple[float, str | None] | None:
    """Return the mean time between frames from the times of the planes, for files without TimeIncrement."""
    times: dict[int, float] = {}
    unit: str | None = "second"
    for plane in children(pixels, "Plane"):
        try:
            frame, time = int(plane.get("TheT", "")), float(plane.get("DeltaT", ""))
        except ValueError:
            continue
        times[frame] = min(time, times.get(frame, time))
        unit = unit_name(plane.get("DeltaTUnit", "s"))
    if len(times) < 2:
        return None
    first, last = min(times), max(times)
    interval = (times[last] - times[first]) / (last - first)
    return (interval, unit) if is_size(interval) else None


def _wells(root: Element) -> dict[str, tuple[str, str, str]]:
    """Return image ID to (row, column, field) for images on the single plate of the XML."""
    plates = list(children(root, "Plate"))
    if len(plates) != 1:
        return {}
    plate = plates[0]
    positions: dict[str, tuple[str, str, str]] = {}
    for well in children(plate, "Well"):
        row = _well_name(well.get("Row"), plate.get("RowNamingConvention", "letter"))
        column = _well_name(well.get("Column"), plate.get("ColumnNamingConvention", "number"))
        for field, sample in enumerate(children(well, "WellSample")):
            for reference in children(sample, "ImageRef"):
                if row is not None and column is not None:
                    positions[reference.get("ID", "")] = (row, column, str(field))
    return positions


def _well_name(index: str | None, convention: str) -> str | None:
    """Return the name of a row or column from its index, as on plates: A, B, ..., Z, AA or 1, 2, ...

    >>> _well_name("0", "letter"), _well_name("27", "letter"), _well_name("0", "number")
    ('A', 'AB', '1')
    """
    if index is None or not index.isdecimal():
        return None
    number = int(index)
    if convention != "letter":
        return str(number + 1)
    name = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        name = chr(ord("A") + letter) + name
        number -= 1
    return name
