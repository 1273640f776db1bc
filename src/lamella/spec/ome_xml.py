"""Parse OME-XML safely, and read of each image the fields that OME-NGFF cannot store or its writer left out.

Documents with a document type declaration (entities that expand without bound, or that name other files), or with
elements nested hundreds deep, raise an error. :mod:`lamella.nodes.ome_xml` finds the file in a store,
:mod:`lamella.adapters.tiff.ome` in a TIFF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

from lamella.errors import MetadataError, clause, short_repr
from lamella.spec.axes import axis_kind
from lamella.spec.geometry import normalize_transforms, stored_transform
from lamella.spec.images import TransformationMeta
from lamella.spec.units import is_size, unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from lamella.spec.images import ImagesMeta


@dataclass(frozen=True)
class OMEImage:
    """An image as OME-XML describes it.

    Attributes
    ----------
    name : str or None
        Name from the microscope.
    acquired : datetime or None
        Time of acquisition; without a time zone if the file names none.
    channel_names : tuple of str or None
        One per channel; None for those without a name.
    scale : dict of str to float
        Physical size of a voxel along "z", "y", "x", and the interval along "t"; unknown sizes are missing.
    units : dict of str to str
        UDUNITS-2 name of the unit of each of these.

    Examples
    --------
    >>> OMEImage(name="nuclei", scale={"x": 0.65}, units={"x": "micrometer"}).acquired is None
    True
    """

    name: str | None = None
    acquired: datetime | None = None
    channel_names: tuple[str | None, ...] = ()
    scale: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


def unsized_axes(meta: ImagesMeta) -> list[int]:
    """List the space and time axes whose size is unknown: scale 1 at the finest level, and no unit.

    A scale of 1 without a unit is what writers store if they do not know the size. The space axes count together: if
    one of them has a unit or another scale, all sizes are known.
    """
    image = meta.multiscales[0]
    kinds = [axis_kind(axis) for axis in image.axes]
    groups = [
        [index for index, kind in enumerate(kinds) if kind == group_kind] for group_kind in ("space", "time")
    ]
    unitless = [group for group in groups if not any(image.axes[index].unit for index in group)]
    if not any(unitless) or not image.datasets:
        return []
    steps = [*image.datasets[0].coordinate_transformations, *(image.coordinate_transformations or [])]
    scale, _ = stored_transform(steps, len(image.axes), image.datasets[0].path)
    return [index for group in unitless if all(scale[index] == 1 for index in group) for index in group]


def fill_missing_sizes(meta: ImagesMeta, ome_image: OMEImage) -> ImagesMeta:
    """Set unknown sizes of an image to those of its OME-XML; return the same object if nothing changes."""
    indices = {
        index: name
        for index in unsized_axes(meta)
        if (name := meta.multiscales[0].axes[index].name.lower()) in ome_image.scale
    }
    if not indices:
        return meta
    meta = meta.copied()
    image = meta.multiscales[0]
    factors = [
        ome_image.scale[indices[index]] if index in indices else 1.0 for index in range(len(image.axes))
    ]
    physical = TransformationMeta(type="scale", scale=factors)
    for index, name in indices.items():
        image.axes[index].unit = ome_image.units.get(name)
    # Applied last: levels and the position of the whole image are in voxels of the finest level.
    for owner in [image] if image.coordinate_transformations else image.datasets:
        steps = [*(owner.coordinate_transformations or []), physical]
        owner.coordinate_transformations = normalize_transforms(steps, len(factors))
    return meta


CONTRAST = "lamella/contrast"
"""Namespace of the annotation of a channel with its contrast limits, for which OME-XML has no attribute."""

_MAX_DEPTH = 200
"""Maximum depth of nested elements; the schema has about a dozen."""

_SIZES = (
    ("z", "PhysicalSizeZ", "micrometer"),
    ("y", "PhysicalSizeY", "micrometer"),
    ("x", "PhysicalSizeX", "micrometer"),
    ("t", "TimeIncrement", "second"),
)
"""Axis, attribute of Pixels, and the schema's default unit."""


class UnsafeXMLError(MetadataError):
    """The XML has constructs that OME-XML never has, and that can harm a reader."""


def parse_xml(data: bytes | str) -> Element:
    """Parse XML, and return its root; raise UnsafeXMLError for declarations and endless nesting.

    >>> parse_xml('<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>').tag.rpartition("}")[2]
    'OME'
    >>> parse_xml("<!DOCTYPE OME><OME/>")
    Traceback (most recent call last):
    ...
    lamella.spec.ome_xml.UnsafeXMLError: The XML has a document type declaration, which OME-XML never has.
    """
    try:
        _check(data)
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, MetadataError):
            raise
        raise MetadataError(f"The XML cannot be parsed: {error}.") from error


def _check(data: bytes | str) -> None:
    """Raise for XML that must not reach a parser that builds trees and expands entities."""
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*declaration: object) -> None:
        raise UnsafeXMLError("The XML has a document type declaration, which OME-XML never has.")

    def enter(name: str, attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise UnsafeXMLError(f"The elements of the XML are nested more than {_MAX_DEPTH} deep.")

    def leave(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    parser.Parse(data, True)


def parse_ome_xml(data: bytes, where: str) -> Element:
    """Parse OME-XML, and return its root; `where` is the path of the file, for messages."""
    try:
        root = parse_xml(data)
    except MetadataError as error:
        raise damaged(where, str(error)) from error
    name = root.tag.rpartition("}")[2]
    if name != "OME":
        raise damaged(where, f"its root element is {short_repr(name)}, not OME")
    return root


def damaged(where: str, reason: str) -> MetadataError:
    """Return the error for OME-XML that cannot be read."""
    return MetadataError(f"{where} cannot be read: {clause(reason)}. Restore it from a copy.")


def children(element: Element, name: str) -> Iterator[Element]:
    """Iterate over the children with a name, in any version of the schema's namespace."""
    return (child for child in element if child.tag.rpartition("}")[2] == name)


def describe_images(root: Element, where: str) -> list[OMEImage]:
    """Describe each image, in the order of the document (BF-07).

    >>> xml = '''<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="nuclei">
    ...     <AcquisitionDate>2026-03-01T09:30:00</AcquisitionDate><Pixels ID="Pixels:0" DimensionOrder="XYZCT" SizeC="1"
    ...     SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8" PhysicalSizeX="650" PhysicalSizeXUnit="nm"><Channel
    ...     ID="Channel:0" Name="DAPI" SamplesPerPixel="1"/><MetadataOnly/></Pixels></Image></OME>'''
    >>> image, = describe_images(parse_xml(xml), "METADATA.ome.xml")
    >>> image.name, image.acquired.isoformat(), image.channel_names, image.scale, image.units
    ('nuclei', '2026-03-01T09:30:00', ('DAPI',), {'x': 650.0}, {'x': 'nanometer'})
    """
    times = _well_times(root)
    try:
        return [_describe(image, times.get(image.get("ID", ""))) for image in children(root, "Image")]
    except MetadataError as error:
        raise damaged(where, str(error)) from error


def _describe(image: Element, well_time: str | None) -> OMEImage:
    pixels = next(children(image, "Pixels"), None)
    if pixels is None:
        raise MetadataError(f"{image.get('ID', 'An image')} has no Pixels.")
    sizes = {axis: (size, unit) for axis, (size, unit) in read_sizes(pixels).items() if unit is not None}
    date = next((element.text for element in children(image, "AcquisitionDate")), None) or well_time
    return OMEImage(
        image.get("Name"),
        None if date is None else _parse_time(date),
        tuple(name for channel in children(pixels, "Channel") for name in _channel_names(channel)),
        {axis: size for axis, (size, _) in sizes.items()},
        {axis: unit for axis, (_, unit) in sizes.items()},
    )


def read_sizes(pixels: Element) -> dict[str, tuple[float, str | None]]:
    """Return the physical size of a voxel and its unit by axis; the unit is None if it has no name."""
    sizes: dict[str, tuple[float, str | None]] = {}
    for axis, attribute, default in _SIZES:
        size = _parse_number(pixels, attribute)
        if is_size(size):
            unit = pixels.get(f"{attribute}Unit")
            sizes[axis] = size, default if unit is None else unit_name(unit)
    return sizes


def _parse_number(element: Element, attribute: str) -> float:
    text = element.get(attribute, "")
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise MetadataError(f"{attribute} is {text[:100]!r}, which is not a number.") from None


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise MetadataError(f"{text[:100]!r} is not a date and time.") from None


def _channel_names(channel: Element) -> list[str | None]:
    """Return the name of a channel, once for each sample: an RGB channel is three on the channel axis."""
    samples, name = count_samples(channel), channel.get("Name") or None
    if samples == 1 or name is None:
        return [name] * samples
    return [f"{name} {sample}" for sample in range(samples)]


def count_samples(channel: Element) -> int:
    """Return the number of samples of each pixel of a channel, from 1 to 65535: 3 for RGB."""
    text = channel.get("SamplesPerPixel") or "1"
    if not (text.isdecimal() and 0 < int(text[:6]) < 2**16):
        raise MetadataError(f"SamplesPerPixel is {text[:100]!r}, which is not a number of samples.")
    return int(text)


def _well_times(root: Element) -> dict[str, str]:
    """Return the acquisition times of the fields of plates, by the id of their image."""
    return {
        reference.get("ID", ""): sample.get("Timepoint", "")
        for plate in children(root, "Plate")
        for well in children(plate, "Well")
        for sample in children(well, "WellSample")
        if sample.get("Timepoint")
        for reference in children(sample, "ImageRef")
    }
