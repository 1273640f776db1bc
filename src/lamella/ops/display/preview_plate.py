"""The picture of a plate: the position of each field, and one contrast for all of them.

A row is drawn as a plate of one row; a well, or a collection of images, as a plate of one well.

Layer: ops. Geometry in pixels is in ``lamella.ops.display.montage``, the picture of one field in
``lamella.ops.display.preview``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import LamellaError
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import Holder, walk
from lamella.nodes.well import Row, Well
from lamella.ops.display.montage import MOST_FIELDS
from lamella.ops.display.preview import (
    PreviewOptions,
    ShownChannel,
    all_channels,
    channel_planes,
    choose_channels,
)
from lamella.ops.display.render import Window, auto_window

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_SAMPLES = 24
"""Maximum number of fields that are read to choose a contrast, spread over the plate."""


@dataclass(frozen=True)
class Tile:
    """One field of the picture.

    Attributes
    ----------
    row, column
        Indices of its well, from 0.
    slot
        Index in the well, from 0.
    path
        Path of the field, or of its well if the well itself is damaged.
    node
        The position, or the error that prevents it.
    whole_well
        Whether the error concerns the whole well.
    """

    row: int
    column: int
    slot: int
    path: str
    node: Position | LamellaError
    whole_well: bool = False


@dataclass(frozen=True)
class PlatePlan:
    """The content of a plate's picture.

    Attributes
    ----------
    name
        Of the plate.
    rows, columns
        Names along the sides.
    wells
        Indices of the wells that the plate lists; the others were not imaged.
    tiles
        Every field that is drawn, at most 9 per well.
    most_fields
        Largest number of tiles in a well.
    fields
        Number of all fields, drawn or not.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: frozenset[tuple[int, int]]
    tiles: tuple[Tile, ...]
    most_fields: int
    fields: int


def plan_plate(node: Holder) -> PlatePlan:
    """Read the documents of a plate, row or well, and arrange its fields.

    A well is arranged by the names in its path; unlisted rows and columns are added at the end.
    """
    rows, columns, places = _grid(node)
    tiles: list[Tile] = []
    counts: dict[str, int] = {}
    for field in walk(node):
        slot = counts.get(field.well, 0)
        counts[field.well] = slot + 1
        if slot < MOST_FIELDS:
            tiles.append(Tile(*places[field.well], slot, field.path, field.node, field.path == field.well))
    name = (node.metadata.name if isinstance(node, Plate) else None) or _store_name(node)
    return PlatePlan(
        name=name,
        rows=rows,
        columns=columns,
        wells=frozenset(places.values()),
        tiles=tuple(tiles),
        most_fields=min(max(counts.values(), default=1), MOST_FIELDS),
        fields=sum(counts.values()),
    )


def _grid(node: Holder) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[int, int]]]:
    """Return names of rows and columns, and the indices of each well by its path in :func:`walk`."""
    if isinstance(node, Row):
        names = list(node)
        return (node.name,), tuple(names), {name: (0, index) for index, name in enumerate(names)}
    if not isinstance(node, Plate):
        return ("",), ("",), {"": (0, 0)}
    meta = node.metadata
    rows, columns = [row.name for row in meta.rows], [column.name for column in meta.columns]
    places = {}
    for well in meta.wells:
        row, _, column = well.path.partition("/")
        # The path locates the pixels; contradicting indices are an error of the metadata (PL-07).
        for names, name in ((rows, row), (columns, column)):
            if name not in names:
                names.append(name)
        places[well.path] = rows.index(row), columns.index(column)
    return tuple(rows), tuple(columns), places


def _store_name(node: Holder) -> str:
    parts = str(node.node_path).rstrip("/").split("/")
    return "/".join(parts[-2:]) if isinstance(node, Well) else parts[-1]


def plate_channels(
    tiles: Sequence[Tile], options: PreviewOptions, size: int, where: str
) -> list[ShownChannel]:
    """Choose the channels of a plate and one contrast window for each; empty if no field can be read.

    Channels are matched by name, because fields may differ; the first field with a channel determines its colour. The
    window is the median of those in the fields, because each may fit only its own field, and the first may be an empty
    control. If no field has one, it is the median of windows computed for up to 24 fields, spread over the plate.
    """
    known: dict[str, tuple[ShownChannel, bool]] = {}
    owners: dict[str, list[Position]] = {}
    stated: dict[str, list[Window]] = {}
    for tile in tiles:
        if not isinstance(tile.node, Position):
            continue
        try:
            channels = all_channels(tile.node)
        except LamellaError:
            continue  # drawn as damaged later, with its error
        for name, entry in channels.items():
            known.setdefault(name, entry)
            owners.setdefault(name, []).append(tile.node)
            if entry[0].window is not None:
                stated.setdefault(name, []).append(entry[0].window)
    if not known:
        return []
    chosen = choose_channels(known, options.channels, where)
    return [
        replace(
            channel,
            window=_median(
                stated.get(channel.name) or _suited(channel.name, owners[channel.name], options, size)
            ),
        )
        for channel in chosen
    ]


def _suited(name: str, owners: Sequence[Position], options: PreviewOptions, size: int) -> list[Window]:
    """Return windows that are computed for one channel of some evenly spread fields."""
    windows = []
    step = max(1, len(owners) / MOST_SAMPLES)
    for position in (owners[int(index * step)] for index in range(min(len(owners), MOST_SAMPLES))):
        try:
            windows.append(auto_window(channel_planes(position, [name], options, size)[name]))
        except LamellaError:
            continue  # as above
    return windows


def _median(windows: Sequence[Window]) -> Window:
    if not windows:
        return 0.0, 1.0
    return float(np.median([start for start, _ in windows])), float(np.median([end for _, end in windows]))
