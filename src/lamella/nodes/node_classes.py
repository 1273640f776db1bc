"""Choose the class of a node by its document, not by its name: attributes with the key "plate" are a `Plate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.nodes.image_array import ImageArray
from lamella.nodes.metadata_document import stored_ome
from lamella.nodes.node import NGFFNode
from lamella.spec.coordinate_systems import SceneMeta

if TYPE_CHECKING:
    from lamella.nodes.store_handle import NodePath
    from lamella.types import JSONObject


def node_class(ome: JSONObject, node_path: NodePath) -> type[NGFFNode] | None:
    """Return the class of a node with these OME attributes; None if it is unknown.

    A group without OME metadata directly below a plate may be one of its rows.
    """
    from lamella.nodes.collection import Collection
    from lamella.nodes.labels import LabelImage, Labels
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.scene import Scene
    from lamella.nodes.well import Row, Well

    # The order matters: a converted plate is a collection too, a label image is an image too, and iohub lists the
    # label images in the document of their image.
    classes: dict[str, type[NGFFNode]] = {
        "plate": Plate,
        "well": Well,
        "image-label": LabelImage,
        "multiscales": Position,
        "labels": Labels,
        "omero": Position,
        "bioformats2raw.layout": Collection,
    }
    if SceneMeta in node_path.store_handle.version.parts:
        classes["scene"] = Scene
    for key, node_type in classes.items():
        if key in ome:
            return node_type
    if node_path.path and is_row_of_plate(node_path):
        return Row
    return None


def is_row_of_plate(node_path: NodePath) -> bool:
    """Return whether the plate above a group lists it as a row; a row has no metadata of its own."""
    if node_path.store_handle.documents.kind(node_path.parent.path) != "group":
        return False
    plate = stored_ome(node_path.parent).get("plate")
    rows = plate.get("rows") if isinstance(plate, dict) else None
    name = node_path.path.rpartition("/")[2]
    return isinstance(rows, list) and any(
        isinstance(row, dict) and str(row.get("name")) == name for row in rows
    )


def open_member(parent: NGFFNode, key: str) -> NGFFNode | ImageArray:
    """Open the node or array at a path below a node; raise `NodeNotFoundError` if there is none."""
    node_path = parent.node_path.child(key)
    kind = node_path.store_handle.documents.kind(node_path.path)
    if kind is None:
        raise parent.missing_error(key)
    if kind == "array":
        return array_at(node_path)
    return (node_class(stored_ome(node_path), node_path) or NGFFNode)(node_path)


def array_at(node_path: NodePath) -> ImageArray:
    """Return the array at a node path, with the axes of the image that lists it."""
    from lamella.nodes.position import Position

    documents = node_path.store_handle.documents
    group, dataset = node_path.parent, node_path.path.rpartition("/")[2]
    while True:
        if documents.kind(group.path) == "group" and "multiscales" in stored_ome(group):
            position = Position(group)
            return ImageArray(node_path, position.axes if dataset in position.dataset_paths else None)
        if not group.path:
            return ImageArray(node_path)
        dataset = f"{group.path.rpartition('/')[2]}/{dataset}"
        group = group.parent
