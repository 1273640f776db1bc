"""Parts of documents as models, with errors that name the node.

What a part is, is in :mod:`lamella.spec.versions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lamella.errors import MetadataError

if TYPE_CHECKING:
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")


def read_part(place: NodePath, kind: type[M], attributes: JSONObject) -> M | None:
    """Read a part of the attributes of the group at a place; None when they have no such part.

    Raises
    ------
    MetadataError
        The part cannot be represented: with the place, the fault and what to do.
    """
    try:
        return place.store_handle.version_of(attributes).load(kind, attributes)
    except MetadataError as fault:
        raise unreadable(place, fault) from fault


def ome_of(place: NodePath, attributes: JSONObject) -> JSONObject:
    """Return the OME part of the attributes of the group at a place.

    Raises
    ------
    MetadataError
        It is no object: with the place.
    """
    try:
        return place.store_handle.version.ome(attributes)
    except MetadataError as fault:
        raise unreadable(place, fault) from fault


def stored_ome(place: NodePath) -> JSONObject:
    """Read the OME part of the group at a place."""
    return ome_of(place, place.store_handle.documents.group(place.path))


def unreadable(place: object, fault: MetadataError) -> MetadataError:
    """Return the error of a part of a document as the error of the node at a place."""
    text = str(fault).rstrip(".")
    return MetadataError(
        f"The metadata of {place} cannot be used: {text}. lamella.validate() lists all that is wrong, repair() fixes "
        "what can be fixed without guessing."
    )
