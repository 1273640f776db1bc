"""The OME-XML that bioformats2raw keeps beside the images: found, read when it is asked for, matched to the images.

What OME-NGFF leaves open in an image is taken from there, with a warning that says so, once for each opened store:
the names of channels without an omero block, and the sizes of axes that have scale 1 and no unit. What the metadata of
the image say is never replaced. An edit of such an image writes what was taken into its document.

The XML is parsed by :mod:`lamella.spec.ome_xml`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import (
    LamellaError,
    MetadataError,
    MetadataWarning,
    NodeNotFoundError,
)
from lamella.nodes.node import NGFFNode
from lamella.nodes.parts import read_part
from lamella.nodes.reporting import callers_level
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.spec.bioformats2raw import Bioformats2RawMeta
from lamella.spec.ome_image import fill_missing_sizes, unsized_axes
from lamella.spec.ome_xml import describe_images, parse_ome_xml
from lamella.spec.versions import detect
from lamella.store.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ome_types import OME

    from lamella.spec.images import ImagesMeta
    from lamella.spec.ome_image import OMEImage
    from lamella.store.storage import Storage

XML = "OME/METADATA.ome.xml"
LARGEST = 256 * 2**20
"""Bytes of XML that are read: those of plates with 100,000 planes are a tenth of it."""


@dataclass
class OMEFile:
    """The XML file of a collection, parsed at most once for each opened store and content."""

    place: NodePath
    stamp: object
    has_sizes: bool = False
    has_names: bool = False
    fault: str = ""
    said: set[str] = field(default_factory=set)
    _images: dict[str, OMEImage] | None = None

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        return f"{self.place}/{XML}"

    def images(self) -> dict[str, OMEImage]:
        """Describe the images by their paths.

        Raises
        ------
        MetadataError
            If the XML cannot be read.
        """
        if self._images is None:
            root = parse_ome_xml(_data(self.place), self.name)
            described, series = describe_images(root, self.name), series_of(self.place)
            if len(described) != len(series):
                # The order is all that connects the two (BF-07): after a deletion it would name the wrong image.
                raise MetadataError(
                    f"{self.name} describes {len(described)} images, but the collection has {len(series)}: which is "
                    "which cannot be told. Restore the missing images, or the list of series in OME."
                )
            self._images = dict(zip(series, described, strict=True))
        return self._images

    def say(self, topic: str, text: str) -> None:
        """Warn once for each topic."""
        if topic not in self.said:
            self.said.add(topic)
            warnings.warn(text, MetadataWarning, stacklevel=callers_level())


class OMEXMLMethods(NGFFNode):
    """What a plate and a collection can tell from the OME-XML of bioformats2raw."""

    def ome_metadata(self) -> OME:
        """Return the whole OME-XML as a model of ``ome-types``: microscope, objectives, planes, stage.

        It is parsed at each call.

        Returns
        -------
        ome_types.OME
            Changing it changes nothing in the store.

        Raises
        ------
        MissingDependencyError
            If ``ome-types`` is not installed (an ImportError): ``pip install "lamella[ome]"``.
        NodeNotFoundError
            If there is no ``OME/METADATA.ome.xml`` (a KeyError).
        MetadataError
            If it is damaged, too large, or no OME-XML (a ValueError).

        Examples
        --------
        >>> xml = '''<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="nuclei">
        ...   <AcquisitionDate>2026-03-01T09:30:00</AcquisitionDate><Pixels ID="Pixels:0" DimensionOrder="XYZCT"
        ...   SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="4" Type="uint16"><MetadataOnly/></Pixels></Image></OME>'''
        >>> root = plate.zgroup.store.root
        >>> (root / "OME").mkdir()
        >>> _ = (root / "OME" / "METADATA.ome.xml").write_text(xml)
        >>> plate.ome_metadata().images[0].pixels.dimension_order.value
        'XYZCT'
        """
        from lamella.adapters.ome_model import load_ome_types, ome_model

        load_ome_types()  # before the file is read: what has to be installed comes first
        return ome_model(_data(self.node_path), f"{self.node_path}/{XML}")

    def ome_images(self) -> dict[str, OMEImage]:
        """Return what the OME-XML says of each image: name, time of acquisition, channel names, physical sizes.

        Returns
        -------
        dict of str to OMEImage
            By the path of the image.

        Raises
        ------
        NodeNotFoundError
            If there is no ``OME/METADATA.ome.xml`` (a KeyError).
        MetadataError
            If it is damaged, too large, no OME-XML, or describes another number of images (a ValueError).

        Examples
        --------
        >>> xml = '''<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="nuclei">
        ...   <AcquisitionDate>2026-03-01T09:30:00</AcquisitionDate><Pixels ID="Pixels:0" DimensionOrder="XYZCT"
        ...   SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="4" Type="uint16"><MetadataOnly/></Pixels></Image></OME>'''
        >>> root = plate.zgroup.store.root
        >>> (root / "OME").mkdir()
        >>> _ = (root / "OME" / "METADATA.ome.xml").write_text(xml)
        >>> _ = plate.zgroup.create_group("OME", overwrite=False, attributes={"ome": {"series": ["A/1/0"]}})
        >>> plate.ome_images()["A/1/0"].name, plate["A/1/0"].ome_image.acquired.isoformat()
        ('nuclei', '2026-03-01T09:30:00')
        """
        found = _file(self.node_path)
        if found is None:
            raise _no_file(self.node_path)
        return dict(found.images())


def _data(place: NodePath) -> bytes:
    storage, key = place.store_handle.documents.storage, place.child(XML).path
    size = storage.size(key)
    if size is None:
        raise _no_file(place)
    if size > LARGEST:
        raise MetadataError(
            f"{place}/{XML} cannot be read: it has {size} bytes, and OME-XML of more than {LARGEST} is refused; "
            "open it with a program made for such files"
        )
    data = storage.read(key)
    if data is None:
        raise _no_file(place)
    return data


def _no_file(place: NodePath) -> NodeNotFoundError:
    return NodeNotFoundError(f"There is no {XML} in {place}: no OME-XML was kept with its images.")


def series_of(place: NodePath) -> list[str]:
    """Return the paths of the images of a collection, as its OME group lists them, or else as they are numbered."""
    documents, ome = place.store_handle.documents, place.child("OME")
    if documents.kind(ome.path) == "group":
        listed = read_part(ome, Bioformats2RawMeta, documents.group(ome.path))
        if listed is not None and listed.series is not None:
            return listed.series
    return list(_numbered(place))


def _numbered(place: NodePath) -> Iterator[str]:
    """Yield 0, 1, ... while there are such groups: the series of a store that lists none."""
    number = 0
    while place.store_handle.documents.kind(place.child(str(number)).path) == "group":
        yield str(number)
        number += 1


def _file(place: NodePath) -> OMEFile | None:
    """Return the XML file of a collection; None when there is none. Looked for once for each opened store."""
    known, storage = place.store_handle.ome_files, place.store_handle.documents.storage
    key = place.child(XML).path
    found = known.get(place.path)
    if place.path in known and (found is None or found.stamp == storage.stamp(key)):
        return found
    stamp = storage.stamp(key)
    found = None
    if storage.size(key) is not None:
        found = OMEFile(place, stamp)
        try:
            data = _data(place)
            found.has_sizes, found.has_names = (
                b"PhysicalSize" in data or b"TimeIncrement" in data,
                b"Name=" in data,
            )
        except LamellaError as fault:
            found.fault = str(fault)
    known[place.path] = found
    return found


def _file_above(image: NodePath) -> tuple[OMEFile, str] | None:
    """Return the XML file of the collection that an image is in, and the path of the image there."""
    storage = image.store_handle.documents.storage
    if image.path:
        found = _file(NodePath(image.store_handle, ""))
        return None if found is None else (found, image.path)
    # Opened by itself: its collection is the folder above, its plate the third above (row/column/field).
    for levels in (1, 3):
        path, known = path_below(storage, levels), image.store_handle.ome_files
        if path and path not in known:
            known[path] = _file_outside(storage, levels)
        found = known.get(path)
        if found is not None:
            return found, path
    return None


def _file_outside(storage: Storage, levels: int) -> OMEFile | None:
    try:
        documents = group_above(storage, levels, read_only=True)
        if documents is None:
            return None
        return _file(NodePath(StoreHandle(documents, detect(documents.format, documents.group(""))), ""))
    except LamellaError:
        return None


def file_beside(image: NodePath) -> str | None:
    """Return the name of the XML file of the collection that an image is in; None when there is none."""
    found = _file_above(image)
    return None if found is None else found[0].name


def facts_of(image: NodePath) -> OMEImage | None:
    """Return what the OME-XML says of an image; None without an XML, or one that does not describe it.

    Raises
    ------
    MetadataError
        As for :meth:`OMEXMLMethods.ome_images`.
    """
    found = _file_above(image)
    return None if found is None else found[0].images().get(found[1])


def with_sizes(image: NodePath, meta: ImagesMeta) -> ImagesMeta:
    """Fill in the sizes that the metadata of an image leave open; never raises for what is wrong with the XML."""
    try:
        if not unsized_axes(meta):
            return meta
    except MetadataError:
        return meta  # whoever asks for the scale is told
    found = _file_above(image)
    if found is None:
        return meta
    facts = _facts(*found, "physical sizes", found[0].has_sizes)
    filled = meta if facts is None else fill_missing_sizes(meta, facts)
    if filled is not meta:
        found[0].say("sizes", f"Images without physical sizes: those of {found[0].name} were taken.")
    return filled


def names_from_xml(image: NodePath, count: int) -> list[str]:
    """Return the names of so many channels; empty when the XML has others, or none."""
    found = _file_above(image)
    if found is None:
        return []
    facts = _facts(*found, "channel names", found[0].has_names)
    names = () if facts is None else facts.channel_names
    if len(names) != count or not any(names):
        return []
    found[0].say("names", f"Images without channel names: those of {found[0].name} were taken.")
    return [name or f"channel_{index}" for index, name in enumerate(names)]


def _facts(file: OMEFile, path: str, what: str, may_say: bool) -> OMEImage | None:
    """Return what the XML says of an image; None, with a warning, when it cannot be read."""
    try:
        if file.fault:
            raise MetadataError(file.fault)
        return file.images().get(path) if may_say else None
    except LamellaError as fault:
        file.say("fault", f"Images without {what}: {fault}")
    return None
