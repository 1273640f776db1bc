"""Walking the fields of a plate, row, well or collection without stopping at damage.

Nothing is changed and no pixel is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import LamellaError
from lamella.nodes.ahead import members_ahead, wells_ahead
from lamella.nodes.collection import Collection
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.scene import Scene
from lamella.nodes.store_handle import join
from lamella.nodes.well import Row, Well

if TYPE_CHECKING:
    from collections.abc import Iterator

ImageContainer: TypeAlias = Plate | Row | Well | Collection | Scene
"""A node that contains several images."""

CONTAINERS = (Plate, Row, Well, Collection, Scene)
"""The same, for ``isinstance``."""


@dataclass(frozen=True)
class Field:
    """A field as its well lists it, opened or with the fault that prevents it.

    Attributes
    ----------
    well
        Path of its well, seen from the node that was walked: "A/1" from a plate, "" from the well itself and in a
        collection or scene, which have none.
    path
        Its own path, seen from the same node. That of the well when the well itself is damaged.
    acquisition
        Id of its acquisition, when the well states one.
    node
        The position, or what was wrong with it.
    """

    well: str
    path: str
    acquisition: int | None
    node: Position | LamellaError


def well_paths(node: ImageContainer) -> list[str]:
    """List the wells that a node has, by their paths seen from it, along rows, then columns."""
    if isinstance(node, Plate):
        return node._well_paths()
    return list(node) if isinstance(node, Row) else [""]


def walk(node: ImageContainer) -> Iterator[Field]:
    """Iterate over the fields of a node; a damaged one is yielded with its error, and the walk continues.

    Reads one document per well and one per field, each when it is reached.
    """
    if isinstance(node, Collection | Scene):
        names = node._image_paths() if isinstance(node, Scene) else list(node)
        for name in members_ahead(node.documents, node.path, names):
            yield Field("", name, None, _opened(node, name))
        return
    for path, well in wells_ahead(
        node.documents,
        node.path,
        well_paths(node),
        lambda path: node if isinstance(node, Well) else node._open_listed(Well, path),
    ):
        if isinstance(well, LamellaError):
            yield Field(path, path, None, well)
            continue
        for image in well.metadata.images:
            yield Field(path, join(path, image.path), image.acquisition, _opened(well, image.path))


def _opened(parent: Well | Collection | Scene, name: str) -> Position | LamellaError:
    try:
        return parent._open_listed(Position, name)
    except LamellaError as fault:
        return fault
