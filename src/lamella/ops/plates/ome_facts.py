"""Copy facts from the OME-XML of bioformats2raw into the metadata of copied images.

The XML describes all images of its store in order, so it cannot be copied to another plate. The copy of an image whose
channel names and voxel sizes are in the XML alone (:mod:`lamella.nodes.ome_xml`) gets them in its own metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import warn
from lamella.nodes.metadata_document import read_part
from lamella.nodes.ome_xml import file_beside, names_from_xml
from lamella.spec import edits
from lamella.spec.images import ImagesMeta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath


def meta_with_facts(source: Position) -> ImagesMeta:
    """Return the metadata of an image, with channel names from an OME-XML if it has none of its own."""
    meta = source.document.shared_model
    if file_beside(source.node_path) is not None and not edits.channel_names(meta):
        names = names_from_xml(source.node_path, len(source.channel_names))
        meta = edits.name_channels(meta, names) if names else meta
    return meta


def write_facts(source: Position, target: NodePath) -> None:
    """Write channel names and sizes from the OME-XML of an image into the metadata of its copy."""
    if file_beside(source.node_path) is None:
        return
    meta = meta_with_facts(source)
    stored_meta = read_part(source.node_path, ImagesMeta, source.documents.group(source.path))
    if stored_meta is None or meta == stored_meta:
        return
    version = target.store_handle.version
    target.store_handle.documents.edit_group(target.path, lambda attributes: version.dump(meta, attributes))


def warn_of_files(sources: Iterable[Position]) -> None:
    """Warn about each OME-XML that describes copied images: the file is not copied."""
    xml_files = dict.fromkeys(file_beside(source.node_path) for source in sources)
    for xml_file in filter(None, xml_files):
        warn(
            f"{xml_file} was not copied: it describes the images of its own store, in their order. Channel names and "
            "sizes that images have from it were written into the metadata of their copies."
        )
