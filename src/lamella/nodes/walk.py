"""Walk over the fields of a plate, row, well, collection or scene, without stopping at damage or reading pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import InvalidArgumentError, LamellaError
from lamella.nodes.ahead import members_ahead, opened, wells_ahead
from lamella.nodes.collection import Collection
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.scene import Scene
from lamella.nodes.well import Row, Well
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from lamella.nodes.node import NGFFNode

ImageContainer: TypeAlias = Plate | Row | Well | Collection | Scene
"""A node that contains several images."""

CONTAINERS = (Plate, Row, Well, Collection, Scene)
"""The classes of `ImageContainer`, for ``isinstance``."""


@dataclass(frozen=True)
class Field:
    """A field that its well lists: its position, or the error of opening it."""

    well: str
    """Path of its well relative to the walked node: "A/1" from a plate; "" from a well, a collection or a scene."""
    path: str
    """Path of the field relative to the walked node, such as "A/1/0"; of a damaged well, the path of the well."""
    acquisition: int | None
    """Id of its acquisition, if the well states one."""
    node: Position | LamellaError
    """The position, or the error."""


def images_of(node: NGFFNode) -> dict[str, Position]:
    """Return the images of a node by path, or an image itself; raise InvalidArgumentError for another node."""
    if isinstance(node, Position):
        return {node.path or node.store_handle.name: node}
    if isinstance(node, Scene):
        return dict(node.images())
    if isinstance(node, Row):
        fields = ((name, well.positions()) for name, well in node.wells())
        return {join_names(name, path): position for name, listed in fields for path, position in listed}
    if isinstance(node, Plate | Well | Collection):
        return dict(node.positions())
    raise InvalidArgumentError(f"{node!r} has no images: open an image, a row, a well or a plate.")


def well_paths(node: ImageContainer) -> list[str]:
    """List the paths of the wells of a node, relative to it, along rows, then columns."""
    if isinstance(node, Plate):
        return node.well_paths()
    return list(node) if isinstance(node, Row) else [""]


def walk(
    node: ImageContainer, max_fields: int | None = None, wells: Container[str] | None = None
) -> Iterator[Field]:
    """Iterate over the fields of a node; a damaged one is yielded with its error.

    Reads one document per well and one per field, each when it is reached. ``max_fields`` limits the fields of each
    well; ``wells`` are the paths of the wells to read, all by default.
    """
    if isinstance(node, Collection | Scene):
        names = node._image_paths() if isinstance(node, Scene) else list(node)
        for name in members_ahead(node.documents, node.path, names):
            yield Field("", name, None, opened(partial(node._open_listed, Position), name))
        return
    for path, well in wells_ahead(
        node.documents,
        node.path,
        [path for path in well_paths(node) if wells is None or path in wells],
        lambda path: node if isinstance(node, Well) else node._open_listed(Well, path),
    ):
        if isinstance(well, LamellaError):
            yield Field(path, path, None, well)
            continue
        for image in well.document.shared_model.images[:max_fields]:
            position = opened(partial(well._open_listed, Position), image.path)
            yield Field(path, join_names(path, image.path), image.acquisition, position)
