"""Use the OME-XML that bioformats2raw stores beside the images of a collection; :mod:`lamella.spec.ome_xml` parses it.

It supplies metadata that an image lacks, with one warning per store handle: channel names of an image without an omero
block, and the sizes of axes with scale 1 and no unit. It never replaces stored metadata. Editing such an image stores
the supplied names and sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, MetadataError, MetadataWarning, NodeNotFoundError, clause, warn
from lamella.nodes.metadata_document import read_part
from lamella.nodes.node import NGFFNode
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.spec.ome_xml import describe_images, fill_missing_sizes, parse_ome_xml, unsized_axes
from lamella.spec.plate import Bioformats2RawMeta
from lamella.spec.versions import detect
from lamella.store.metadata.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ome_types import OME

    from lamella.spec.images import ImagesMeta
    from lamella.spec.ome_xml import OMEImage
    from lamella.store.storage import Storage

XML = "OME/METADATA.ome.xml"
MAX_XML_BYTES = 256 * 2**20
"""Maximum size of the XML: ten times that of a plate with 100,000 planes."""


@dataclass
class OMEFile:
    """The XML file of a collection, parsed at most once per store handle until the file changes."""

    collection: NodePath
    stamp: object
    has_sizes: bool = False
    has_names: bool = False
    error: str = ""
    warned_topics: set[str] = field(default_factory=set)
    _images: dict[str, OMEImage] | None = None

    @property
    def name(self) -> str:
        """Full path or URL, for messages."""
        return f"{self.collection}/{XML}"

    def images(self) -> dict[str, OMEImage]:
        """Describe the images by path; raise `MetadataError` if the XML cannot be read."""
        if self._images is None:
            root = parse_ome_xml(_read_xml(self.collection), self.name)
            described, series = describe_images(root, self.name), series_of(self.collection)
            if len(described) != len(series):
                # Only the order connects images and XML (BF-07), and after a deletion it connects the wrong ones.
                raise MetadataError(
                    f"{self.name} describes {len(described)} images, but the collection has {len(series)}: they cannot "
                    "be matched. Restore the missing images, or the list of series in OME."
                )
            self._images = dict(zip(series, described, strict=True))
        return self._images

    def warn_once(self, topic: str, text: str) -> None:
        """Warn once per topic."""
        if topic not in self.warned_topics:
            self.warned_topics.add(topic)
            warn(text, MetadataWarning)


class OMEXMLMethods(NGFFNode):
    """Methods of plates and collections that read the OME-XML of bioformats2raw."""

    def ome_metadata(self) -> OME:
        """Return the whole OME-XML as a model of ``ome-types``: microscope, objectives, planes, stage.

        The XML is parsed at each call; changing the model does not change the store.

        Raises
        ------
        MissingDependencyError
            If ``ome-types`` is not installed (an ImportError): ``pip install "lamella[ome]"``.
        NodeNotFoundError, MetadataError
            If there is no ``OME/METADATA.ome.xml`` (a KeyError), or it is damaged, too large, or not OME-XML (a
            ValueError).

        Examples
        --------
        >>> plate.ome_metadata()
        Traceback (most recent call last):
        ...
        lamella.errors.NodeNotFoundError: There is no OME/METADATA.ome.xml in ...: no OME-XML was kept with its images.
        """
        from lamella.adapters.ome_model import load_ome_types, ome_model

        load_ome_types()  # first, so that the error about a missing library comes before one about the file
        return ome_model(_read_xml(self.node_path), f"{self.node_path}/{XML}")

    def ome_images(self) -> dict[str, OMEImage]:
        """Return the name, acquisition time, channel names and physical sizes of each image in the OME-XML, by path.

        Raises
        ------
        NodeNotFoundError, MetadataError
            As for :meth:`ome_metadata`; also if the XML describes another number of images.

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
        xml_file = _find_file(self.node_path)
        if xml_file is None:
            raise _missing_file_error(self.node_path)
        return dict(xml_file.images())


def _read_xml(collection: NodePath) -> bytes:
    storage, key = collection.store_handle.documents.storage, collection.child(XML).path
    size = storage.size(key)
    if size is None:
        raise _missing_file_error(collection)
    if size > MAX_XML_BYTES:
        raise MetadataError(
            f"{collection}/{XML} cannot be read: it has {size} bytes, and OME-XML of more than {MAX_XML_BYTES} "
            "is refused. Open it with a program made for such files."
        )
    data = storage.read(key)
    if data is None:
        raise _missing_file_error(collection)
    return data


def _missing_file_error(collection: NodePath) -> NodeNotFoundError:
    return NodeNotFoundError(f"There is no {XML} in {collection}: no OME-XML was kept with its images.")


def series_of(collection: NodePath) -> list[str]:
    """Return the paths of the images of a collection: those that its OME group lists, or else "0", "1", ..."""
    documents, ome = collection.store_handle.documents, collection.child("OME")
    if documents.kind(ome.path) == "group":
        meta = read_part(ome, Bioformats2RawMeta, documents.group(ome.path))
        if meta is not None and meta.series is not None:
            return meta.series
    return list(_numbered(collection))


def _numbered(collection: NodePath) -> Iterator[str]:
    """Yield "0", "1", ... while groups of these names exist: the images of a collection that lists none."""
    number = 0
    while collection.store_handle.documents.kind(collection.child(str(number)).path) == "group":
        yield str(number)
        number += 1


def _find_file(collection: NodePath) -> OMEFile | None:
    """Return the XML file of a collection; None if missing, which a handle of a remote store asks once."""
    files, storage = collection.store_handle.ome_files, collection.store_handle.documents.storage
    key = collection.child(XML).path
    xml_file = files.get(collection.path)
    if xml_file is None and collection.path in files and not storage.has_folders:
        return None
    stamp = storage.stamp(key)
    if xml_file is not None and xml_file.stamp == stamp:
        return xml_file
    xml_file = None
    if storage.size(key) is not None:
        xml_file = OMEFile(collection, stamp)
        try:
            data = _read_xml(collection)
            xml_file.has_sizes, xml_file.has_names = (
                b"PhysicalSize" in data or b"TimeIncrement" in data,
                b"Name=" in data,
            )
        except LamellaError as error:
            xml_file.error = str(error)
    files[collection.path] = xml_file
    return xml_file


def _file_above(image: NodePath) -> tuple[OMEFile, str] | None:
    """Return the XML file of an image's collection, and the path of the image there; None if missing."""
    storage = image.store_handle.documents.storage
    if image.path:
        xml_file = _find_file(NodePath(image.store_handle, ""))
        return None if xml_file is None else (xml_file, image.path)
    # An image that was opened directly: its collection is the folder above, its plate the third (row/column/field).
    for levels in (1, 3):
        path, files = path_below(storage, levels), image.store_handle.ome_files
        if path and path not in files:
            files[path] = _file_outside(storage, levels)
        xml_file = files.get(path)
        if xml_file is not None:
            return xml_file, path
    return None


def _file_outside(storage: Storage, levels: int) -> OMEFile | None:
    try:
        documents = group_above(storage, levels, read_only=True)
        if documents is None:
            return None
        return _find_file(NodePath(StoreHandle(documents, detect(documents.format, documents.group(""))), ""))
    except LamellaError:
        return None


def file_beside(image: NodePath) -> str | None:
    """Return the path of the XML file of an image's collection; None if missing."""
    file_and_path = _file_above(image)
    return None if file_and_path is None else file_and_path[0].name


def described_image(image: NodePath) -> OMEImage | None:
    """Return an image's description in the OME-XML; None if missing."""
    file_and_path = _file_above(image)
    return None if file_and_path is None else file_and_path[0].images().get(file_and_path[1])


def with_sizes(image: NodePath, meta: ImagesMeta) -> ImagesMeta:
    """Fill in missing physical sizes of an image from the OME-XML; damage of the XML only causes a warning."""
    try:
        if not unsized_axes(meta):
            return meta
    except MetadataError:
        return meta  # reading the scale raises the error
    file_and_path = _file_above(image)
    if file_and_path is None:
        return meta
    xml_file, path = file_and_path
    described = _readable_image(xml_file, path, "physical sizes", xml_file.has_sizes)
    filled = meta if described is None else fill_missing_sizes(meta, described)
    if filled is not meta:
        xml_file.warn_once("sizes", f"Images without physical sizes: those of {xml_file.name} were used.")
    return filled


def names_from_xml(image: NodePath, count: int) -> list[str]:
    """Return `count` channel names from the OME-XML; empty if it has another number of names, or none."""
    file_and_path = _file_above(image)
    if file_and_path is None:
        return []
    xml_file, path = file_and_path
    described = _readable_image(xml_file, path, "channel names", xml_file.has_names)
    names = () if described is None else described.channel_names
    if len(names) != count or not any(names):
        return []
    xml_file.warn_once("names", f"Images without channel names: those of {xml_file.name} were used.")
    return [name or f"channel_{index}" for index, name in enumerate(names)]


def _readable_image(file: OMEFile, path: str, subject: str, has_subject: bool) -> OMEImage | None:
    """Return an image's description in the OME-XML, if the XML has the subject; warn if it cannot be read."""
    try:
        if file.error:
            raise MetadataError(file.error)
        return file.images().get(path) if has_subject else None
    except LamellaError as error:
        file.warn_once("fault", f"Images without {subject}: {clause(error)}.")
    return None
