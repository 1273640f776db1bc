"""Reaching nodes for inspection: opening a path of any kind, and walking fields without stopping at damage.

Here: what ``info`` and ``preview`` share. Nothing is changed and no pixel is read.

Layer: ops.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, MetadataError
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.session import join
from lamella.nodes.well import Row, Well

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.node import NGFFNode
    from lamella.types import StrPath


@dataclass(frozen=True)
class Field:
    """A field as its well lists it, opened or with the fault that prevents it.

    Attributes
    ----------
    well
        Path of its well, seen from the node that was walked ("A/1" from a plate, "" from the well itself).
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


def open_node(path: StrPath) -> NGFFNode:
    """Open a plate, row, well or image for reading, by its own path on disk.

    A row has no metadata of its own: it is found through the plate that holds its folder.

    Parameters
    ----------
    path
        A path or URL.

    Raises
    ------
    StoreNotFoundError
        There is nothing at the path (a FileNotFoundError).
    MetadataError
        It holds no OME-NGFF metadata that can be read (a ValueError).
    """
    try:
        node: NGFFNode = open_ome_zarr(path)
    except MetadataError:
        row = _row_of_plate(os.fspath(path))
        if row is None:
            raise
        return row
    return node


def _row_of_plate(path: str) -> Row | None:
    whole = path if "://" in path else os.path.abspath(path)
    above, _, name = whole.replace(os.sep, "/").rstrip("/").rpartition("/")
    try:
        plate = open_ome_zarr(above)
        if isinstance(plate, Plate) and name in {row.name for row in plate.metadata.rows}:
            row = plate[name]
            return row if isinstance(row, Row) else None
    except LamellaError:
        pass  # then the fault of the path itself is the one to report
    return None


def well_paths(node: Plate | Row | Well) -> list[str]:
    """List the wells that a node has, by their paths seen from it, along rows, then columns."""
    if isinstance(node, Plate):
        return node._well_paths()
    return list(node) if isinstance(node, Row) else [""]


def walk(node: Plate | Row | Well) -> Iterator[Field]:
    """Iterate over the fields of a plate, row or well; a damaged one comes with its fault, the walk goes on.

    Reads one document per well and one per field, each when it is reached.
    """
    for path in well_paths(node):
        try:
            well = node if isinstance(node, Well) else node._open_listed(Well, path)
        except LamellaError as fault:
            yield Field(path, path, None, fault)
            continue
        for image in well.metadata.images:
            opened: Position | LamellaError
            try:
                opened = well._open_listed(Position, image.path)
            except LamellaError as fault:
                opened = fault
            yield Field(path, join(path, image.path), image.acquisition, opened)
