"""OME-XML through ``ome-types``: the whole model, and the facts of each image.

A document from a stranger is looked at before it is parsed: what has a DTD (entities that grow without bound, or that
name other files), is nested beyond all sense, or is no XML at all, is refused with one error.

Layer: adapters. Needs the extra ``ome`` (ome-types).
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from lamella.adapters.tiff_metadata import is_size
from lamella.errors import MetadataError, MissingDependencyError
from lamella.spec.ome_image import OMEImage
from lamella.spec.units import unit_name

if TYPE_CHECKING:
    from datetime import datetime
    from types import ModuleType

    from ome_types import OME

_DEEPEST = 200
"""Levels of elements; the schema has about a dozen."""


_GREEK_MU = re.compile(rb"""(Unit\s*=\s*["'])(?:\xce\xbc|&#956;|&#x0*3bc;)""", re.IGNORECASE)
"""The Greek letter in a unit, where the schema has the micro sign (U+00B5) that looks the same."""


def load_ome_types() -> ModuleType:
    """Import ``ome_types``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import ome_types
    except ImportError as error:
        raise MissingDependencyError(
            f'reading OME-XML needs {error.name}, which is not installed: pip install "lamella[ome]"'
        ) from error
    module: ModuleType = ome_types
    return module


def parse_ome_xml(data: bytes, where: str) -> OME:
    """Parse OME-XML.

    Parameters
    ----------
    data : bytes
        The document.
    where : str
        What it is, for messages.

    Raises
    ------
    MissingDependencyError
        ``ome-types`` is not installed.
    MetadataError
        It is damaged, is no OME-XML, or has what OME-XML never needs and attackers do: a DTD, endless nesting.

    Examples
    --------
    >>> xml = b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    >>> parse_ome_xml(xml, "METADATA.ome.xml").images
    []
    >>> parse_ome_xml(xml[:20], "METADATA.ome.xml")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: METADATA.ome.xml cannot be read: ... restore it from a copy
    """
    ome_types = load_ome_types()
    _check(data, where)
    data = _GREEK_MU.sub(rb"\1" + "\u00b5".encode(), data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a value that does not fit is warned of and then refused
            found = ome_types.from_xml(data, validate=False)
    except ImportError as error:
        raise MissingDependencyError(
            f"{where} is of a schema before 2016-06, and reading it needs lxml: pip install lxml"
        ) from error
    except Exception as error:  # of xsdata, of pydantic, or of the parser below them
        raise _damaged(where, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(found, ome_types.OME):
        raise _damaged(where, f"its root element is {type(found).__name__}, not OME")
    return found


def _check(data: bytes, where: str) -> None:
    """Refuse what must not reach a parser that builds trees and expands entities."""
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*declaration: object) -> None:
        raise _damaged(where, "it has a document type declaration, which OME-XML never has")

    def enter(name: str, attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise _damaged(where, f"its elements are nested more than {_DEEPEST} deep")

    def leave(name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = enter
    parser.EndElementHandler = leave
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, MetadataError):
            raise
        raise _damaged(where, str(error)) from error


def _damaged(where: str, fault: str) -> MetadataError:
    return MetadataError(f"{where} cannot be read: {fault}; restore it from a copy")


def describe_images(ome: OME) -> list[OMEImage]:
    """Collect the facts of each image, in the order of the document (BF-07).

    Examples
    --------
    >>> from ome_types import from_xml
    >>> xml = '''<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="nuclei">
    ...     <AcquisitionDate>2026-03-01T09:30:00</AcquisitionDate><Pixels ID="Pixels:0" DimensionOrder="XYZCT" SizeC="1"
    ...     SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8" PhysicalSizeX="650" PhysicalSizeXUnit="nm"><Channel
    ...     ID="Channel:0" Name="DAPI" SamplesPerPixel="1"/><MetadataOnly/></Pixels></Image></OME>'''
    >>> image, = describe_images(from_xml(xml, validate=False))
    >>> image.name, image.acquired.isoformat(), image.channel_names, image.scale, image.units
    ('nuclei', '2026-03-01T09:30:00', ('DAPI',), {'x': 650.0}, {'x': 'nanometer'})
    """
    times = _sample_times(ome)
    return [_describe(image, times.get(image.id)) for image in ome.images]


def _describe(image: Any, sampled: datetime | None) -> OMEImage:
    pixels = image.pixels
    scale: dict[str, float] = {}
    units: dict[str, str] = {}
    sizes = {
        "z": (pixels.physical_size_z, pixels.physical_size_z_unit),
        "y": (pixels.physical_size_y, pixels.physical_size_y_unit),
        "x": (pixels.physical_size_x, pixels.physical_size_x_unit),
        "t": (pixels.time_increment, pixels.time_increment_unit),
    }
    for axis, (size, unit) in sizes.items():
        name = unit_name(None if unit is None else str(unit.value))
        if size is not None and name is not None and is_size(float(size)):
            scale[axis], units[axis] = float(size), name
    names = tuple(name for channel in pixels.channels for name in _channel(channel))
    return OMEImage(image.name, image.acquisition_date or sampled, names, scale, units)


def _channel(channel: Any) -> list[str | None]:
    """Name a channel, once for each of its samples: an RGB channel is three on the channel axis."""
    samples = channel.samples_per_pixel or 1
    if samples == 1 or not channel.name:
        return [channel.name or None] * samples
    return [f"{channel.name} {sample}" for sample in range(samples)]


def _sample_times(ome: OME) -> dict[str, datetime]:
    """When the fields of a plate were acquired, by the id of their image."""
    return {
        sample.image_ref.id: sample.timepoint
        for plate in ome.plates
        for well in plate.wells
        for sample in well.well_samples
        if sample.image_ref is not None and sample.timepoint is not None
    }
