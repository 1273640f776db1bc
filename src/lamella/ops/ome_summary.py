"""What the OME-XML beside the images of a collection or plate says of them, as plain data for ``lamella info``.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, one_line
from lamella.nodes.ome_xml import XML

if TYPE_CHECKING:
    from lamella.nodes.collection import Collection
    from lamella.nodes.plate import Plate

QUICK = 16 * 2**20
"""Bytes of XML that are parsed without being asked for details; more takes long."""


@dataclass(frozen=True)
class DescribedImage:
    """An image as OME-XML describes it.

    Attributes
    ----------
    path
        Of the image in the collection or plate.
    name
        Name that the microscope gave it.
    acquired
        Date and time in ISO 8601.
    size
        Physical size of a voxel with its unit, by axis: ``{"x": "0.65 micrometer"}``.
    """

    path: str
    name: str | None
    acquired: str | None
    size: dict[str, str]


def described_images(
    node: Collection | Plate, details: bool
) -> tuple[tuple[DescribedImage, ...], str | None]:
    """Describe the images of a node, and say why nothing is known of them where an OME-XML is there.

    Parameters
    ----------
    node
        A collection or plate.
    details
        Parse an XML of any size.
    """
    try:
        size = node._documents.storage.size(node._place.child(XML).path)
        if size is None:
            return (), None
        if size > QUICK and not details:
            return (), f"{XML} of {size} bytes was not read; lamella info -v reads it"
        images = node.ome_images()
    except LamellaError as fault:
        return (), one_line(fault)
    return tuple(
        DescribedImage(
            path,
            image.name,
            None if image.acquired is None else image.acquired.isoformat(),
            {axis: f"{value:g} {image.units[axis]}" for axis, value in image.scale.items()},
        )
        for path, image in images.items()
    ), None
