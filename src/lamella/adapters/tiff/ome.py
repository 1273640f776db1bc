"""Read the metadata of OME-TIFF from the OME-XML in the first page's description."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lamella.adapters.descriptions import parse_number
from lamella.adapters.tiff.metadata import TiffMetadata
from lamella.errors import MetadataError, SourceError, clause
from lamella.ops.conversion.source import Objective, SourceChannel
from lamella.spec.ome_xml import CONTRAST, UnsafeXMLError, children, parse_xml, read_sizes
from lamella.spec.units import is_size, unit_name, unit_ratio

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

_NO_COLOR = -(1 << 31)
"""The colour that old versions of Bio-Formats wrote for "no colour"."""

_Windows = dict[str, tuple[float, float]]
"""Contrast limits by the ID of their annotation."""

_ROOTS: WeakKeyDictionary[Any, Element | None] = WeakKeyDictionary()
"""The parsed OME-XML of open files."""


def ome_root(file: Any) -> Element | None:
    """Return the root of the OME-XML of an open file, parsed once; None without readable OME-XML; raise if unsafe."""
    if not (file.is_ome and file.ome_metadata):
        return None
    if file not in _ROOTS:
        try:
            _ROOTS[file] = parse_xml(file.ome_metadata)
        except UnsafeXMLError as error:
            raise SourceError(
                f"{file.filehandle.path} is not read: its OME-XML is unsafe: {clause(error)}."
            ) from error
        except MetadataError:
            _ROOTS[file] = None
    return _ROOTS[file]


def read_ome(root: Element | None) -> list[TiffMetadata]:
    """Return the metadata of every image of an OME-XML that has pixels, in order; an empty list without XML."""
    if root is None:
        return []
    wells = _wells(root)
    objectives = _objectives(root)
    plates = [plate.get("Name") or "" for plate in children(root, "Plate")]
    acquisitions = _acquisitions(root)
    windows = _windows(root)
    return [
        replace(
            _metadata_of_pixels(pixels, windows),
            well=wells.get(image.get("ID", "")),
            plate=plates[0] if len(plates) == 1 else "",
            acquisition=acquisitions.get(image.get("ID", ""), (None, ""))[0],
            acquisition_name=acquisitions.get(image.get("ID", ""), (None, ""))[1],
            title=image.get("Name") or "",
            acquired=next((date.text or "" for date in children(image, "AcquisitionDate")), "").strip(),
            objective=next(
                (objectives.get(settings.get("ID", "")) for settings in children(image, "ObjectiveSettings")),
                None,
            ),
        )
        for image in children(root, "Image")
        for pixels in children(image, "Pixels")
    ]


def _metadata_of_pixels(pixels: Element, windows: _Windows) -> TiffMetadata:
    notes: tuple[str, ...] = ()
    try:
        sizes = read_sizes(pixels)
    except MetadataError as error:
        sizes, notes = {}, (f"its physical sizes were not read: {clause(error)}",)
    times = _frame_times(pixels)
    frames = range(int(parse_number(pixels.get("SizeT")) or 0))
    if "t" not in sizes and len(times) > 1:
        first, last = min(times), max(times)
        interval = (times[last] - times[first]) / (last - first)
        unit = next((plane.get("DeltaTUnit", "s") for plane in children(pixels, "Plane")), "s")
        if is_size(interval):
            sizes["t"] = interval / unit_ratio(unit_name(unit), "second"), unit_name(unit)
    scale = {axis: size for axis, (size, _) in sizes.items()}
    units = {axis: unit for axis, (_, unit) in sizes.items()}
    return TiffMetadata(
        scale,
        units,
        _channels(pixels, windows),
        notes=notes,
        stage=_stage(pixels, units),
        times=tuple(times[frame] for frame in frames) if times.keys() >= set(frames) else (),
    )


def _channels(pixels: Element, windows: _Windows) -> tuple[SourceChannel, ...]:
    exposures: dict[int, float] = {}
    for plane in children(pixels, "Plane"):
        exposure = parse_number(plane.get("ExposureTime"))
        if exposure is not None and (plane.get("TheC") or "").isdecimal():
            ratio = unit_ratio(unit_name(plane.get("ExposureTimeUnit", "s")), "second")
            exposures.setdefault(int(plane.get("TheC", "")), exposure * ratio)
    return tuple(
        SourceChannel(
            element.get("Name") or "",
            _color(element.get("Color")),
            excitation=_length(element, "ExcitationWavelength", "nm", "nanometer"),
            emission=_length(element, "EmissionWavelength", "nm", "nanometer"),
            window=next(
                (
                    windows[reference.get("ID", "")]
                    for reference in children(element, "AnnotationRef")
                    if reference.get("ID") in windows
                ),
                None,
            ),
            exposure=exposures.get(index),
            number=_last_number(element.get("ID", "")),
        )
        for index, element in enumerate(children(pixels, "Channel"))
    )


def _windows(root: Element) -> _Windows:
    """Return the contrast limits that `lamella.export` writes, by the ID of their annotation."""
    windows: _Windows = {}
    for annotation in root.iterfind("{*}StructuredAnnotations/{*}MapAnnotation"):
        if annotation.get("Namespace") == CONTRAST:
            limits = {pair.get("K"): parse_number(pair.text) for pair in annotation.iterfind("{*}Value/{*}M")}
            start, end = limits.get("start"), limits.get("end")
            if start is not None and end is not None:
                windows[annotation.get("ID", "")] = start, end
    return windows


def _last_number(identifier: str) -> int | None:
    """Return the number that ends an ID: 1 of "Channel:0:1"."""
    digits = identifier.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else None


def _stage(pixels: Element, units: Mapping[str, str | None]) -> dict[str, float]:
    """Return the stage position of the first plane in the units of the axes, without axes that are not lengths."""
    planes = list(children(pixels, "Plane"))
    if not planes:
        return {}
    first = min(planes, key=lambda plane: [plane.get(axis, "") for axis in ("TheT", "TheZ", "TheC")])
    position = {}
    for axis in "zyx":
        name = f"Position{axis.upper()}"
        if first.get(f"{name}Unit") == pixels.get(f"PhysicalSize{axis.upper()}Unit", "µm") == "pixel":
            # `lamella.export` writes the unit "pixel" for an image without units: its numbers need no conversion.
            position[axis] = parse_number(first.get(name))
        else:
            position[axis] = _length(first, name, "reference frame", units.get(axis) or "micrometer")
    return {axis: length for axis, length in position.items() if length is not None}


def _length(element: Element, attribute: str, default_unit: str, unit: str) -> float | None:
    """Convert a length in the XML to ``unit``; None if it is missing or has no unit of length ("reference frame")."""
    length = parse_number(element.get(attribute))
    own_unit = unit_name(element.get(f"{attribute}Unit", default_unit), "space")
    return None if length is None or own_unit is None else length * unit_ratio(own_unit, unit)


def _objectives(root: Element) -> dict[str, Objective]:
    return {
        element.get("ID", ""): Objective(
            element.get("Model") or "",
            parse_number(element.get("NominalMagnification")),
            parse_number(element.get("LensNA")),
        )
        for instrument in children(root, "Instrument")
        for element in children(instrument, "Objective")
    }


def _color(text: str | None) -> str | None:
    """Return six hex digits of an OME colour, a signed 32-bit integer of red, green, blue, alpha.

    >>> _color("-16776961"), _color("-1"), _color("16711935"), _color("none")
    ('FF0000', 'FFFFFF', '00FF00', None)
    """
    try:
        rgba = int(text or "")
    except ValueError:
        return None
    return None if rgba == _NO_COLOR else f"{(rgba & 0xFFFFFFFF) >> 8:06X}"


def _frame_times(pixels: Element) -> dict[int, float]:
    """Return the time of the first plane of each frame, in seconds."""
    times: dict[int, float] = {}
    for plane in children(pixels, "Plane"):
        time, frame = parse_number(plane.get("DeltaT")), plane.get("TheT") or ""
        if time is not None and frame.isdecimal():
            time *= unit_ratio(unit_name(plane.get("DeltaTUnit", "s")), "second")
            times[int(frame)] = min(time, times.get(int(frame), time))
    return times


def _wells(root: Element) -> dict[str, tuple[str, str, str]]:
    """Return row, column and field by image ID, for the images on the only plate of the XML."""
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


def _acquisitions(root: Element) -> dict[str, tuple[int | None, str]]:
    """Return number and name of the acquisition by image ID; without wells, all images have the only acquisition."""
    plates = list(children(root, "Plate"))
    if len(plates) != 1:
        return {}
    acquisitions = list(children(plates[0], "PlateAcquisition"))
    wells = list(children(plates[0], "Well"))
    if len(acquisitions) == 1 and not wells:
        images = [image.get("ID", "") for image in children(root, "Image")]
        return dict.fromkeys(
            images, (_last_number(acquisitions[0].get("ID", "")), acquisitions[0].get("Name") or "")
        )
    image_of = {
        sample.get("ID", ""): reference.get("ID", "")
        for well in wells
        for sample in children(well, "WellSample")
        for reference in children(sample, "ImageRef")
    }
    numbers = [_last_number(acquisition.get("ID", "")) for acquisition in acquisitions]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(acquisitions)))
    return {
        image_of[sample.get("ID", "")]: (identifier, acquisition.get("Name") or "")
        for identifier, acquisition in zip(numbers, acquisitions, strict=True)
        for sample in children(acquisition, "WellSampleRef")
        if sample.get("ID", "") in image_of
    }


def _well_name(index: str | None, convention: str) -> str | None:
    """Return the name of a row or column from its index, as on plates: A, B, ..., Z, AA or 1, 2, ...

    >>> _well_name("0", "letter"), _well_name("27", "letter"), _well_name("0", "number")
    ('A', 'AB', '1')
    """
    if index is None or not index.isdecimal():
        return None
    remaining = int(index)
    if convention != "letter":
        return str(remaining + 1)
    name = ""
    while remaining >= 0:
        remaining, letter = divmod(remaining, 26)
        name = chr(ord("A") + letter) + name
        remaining -= 1
    return name
