"""Which class a stored node is: decided by what its document says, never by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.nodes.image_array import ImageArray
from lamella.nodes.node import NGFFNode
from lamella.nodes.parts import stored_ome
from lamella.spec.coordinate_systems import SceneMeta

if TYPE_CHECKING:
    from lamella.nodes.store_handle import NodePath
    from lamella.types import JSONObject


def node_class(ome: JSONObject, place: NodePath) -> type[NGFFNode] | None:
    """Return the class of the node whose document has this OME part; None when nothing tells.

    Parameters
    ----------
    ome
        OME part of the group's attributes.
    place
        Where the group is. A group without OME metadata directly below a plate may be one of its rows.
    """
    from lamella.nodes.collection import Collection
    from lamella.nodes.labels import LabelImage, Labels
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.scene import Scene
    from lamella.nodes.well import Row, Well

    # In this order: a converted plate is a collection too, a label image is an image too, and iohub lists the label
    # images in the document of their image.
    kinds: dict[str, type[NGFFNode]] = {
        "plate": Plate,
        "well": Well,
        "image-label": LabelImage,
        "multiscales": Position,
        "labels": Labels,
        "omero": Position,
        "bioformats2raw.layout": Collection,
    }
    if SceneMeta in place.store_handle.version.parts:
        kinds["scene"] = Scene
    for key, kind in kinds.items():
        if key in ome:
            return kind
    if place.path and is_row_of_plate(place):
        return Row
    return None


def is_row_of_plate(place: NodePath) -> bool:
    """Return whether the group above a node path is a plate that lists it as a row.

    A row has no metadata of its own, so only the plate can say.
    """
    if place.store_handle.documents.kind(place.parent.path) != "group":
        return False
    plate = stored_ome(place.parent).get("plate")
    rows = plate.get("rows") if isinstance(plate, dict) else None
    name = place.path.rpartition("/")[2]
    return isinstance(rows, list) and any(
        isinstance(row, dict) and str(row.get("name")) == name for row in rows
    )


def open_member(parent: NGFFNode, key: str) -> NGFFNode | ImageArray:
    """Open the member of a node at a relative path, as what the store says it is.

    Raises
    ------
    NodeNotFoundError
        If there is none (a KeyError).
    """
    place = parent.node_path.child(key)
    documents = place.store_handle.documents
    kind = documents.kind(place.path)
    if kind is None:
        raise parent.missing_error(key)
    if kind == "array":
        return array_at(place)
    return (node_class(stored_ome(place), place) or NGFFNode)(place)


def array_at(place: NodePath) -> ImageArray:
    """Return the array at a place, with the axes of the image that lists it."""
    from lamella.nodes.position import Position

    documents = place.store_handle.documents
    group, dataset = place.parent, place.path.rpartition("/")[2]
    while True:
        if documents.kind(group.path) == "group" and "multiscales" in stored_ome(group):
            position = Position(group)
            return ImageArray(place, position.axes if dataset in position.dataset_paths else None)
        if not group.path:
            return ImageArray(place)
        dataset = f"{group.path.rpartition('/')[2]}/{dataset}"
        group = group.parent
