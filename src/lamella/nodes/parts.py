"""Parse parts of metadata documents as models, with errors that name the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lamella.errors import MetadataError

if TYPE_CHECKING:
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.base import MetaModel
    from lamella.types import JSONObject

M = TypeVar("M", bound="MetaModel")


def read_part(node_path: NodePath, kind: type[M], attributes: JSONObject) -> M | None:
    """Parse a part of a group's attributes; None if they have no such part, `MetadataError` if it is invalid."""
    try:
        return node_path.store_handle.version_of(attributes).load(kind, attributes)
    except MetadataError as fault:
        raise unreadable(node_path, fault) from fault


def ome_of(node_path: NodePath, attributes: JSONObject) -> JSONObject:
    """Return the OME part of a group's attributes; `MetadataError` if it is not an object."""
    try:
        return node_path.store_handle.version.ome(attributes)
    except MetadataError as fault:
        raise unreadable(node_path, fault) from fault


def stored_ome(node_path: NodePath) -> JSONObject:
    """Read the OME part of a group's attributes."""
    return ome_of(node_path, node_path.store_handle.documents.group(node_path.path))


def unreadable(node_path: object, fault: MetadataError) -> MetadataError:
    """Return the error of an invalid part as the error of its node."""
    text = str(fault).rstrip(".")
    return MetadataError(
        f"The metadata of {node_path} cannot be used: {text}. lamella.validate() lists all that is wrong, repair() "
        "fixes what can be fixed without guessing."
    )
