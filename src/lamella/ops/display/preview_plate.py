"""Draw a plate: arrange its fields, and choose one contrast for all of them.

A row is drawn as a plate of one row; a well, or a collection of images, as a plate of one well.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from lamella.errors import LamellaError, StorageError
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import Field, ImageContainer, walk
from lamella.nodes.well import Row, Well
from lamella.ops.conversion.contrast import are_usual, joint_window
from lamella.ops.display.montage import MAX_FIELDS
from lamella.ops.display.preview import (
    PreviewOptions,
    ShownChannel,
    all_channels,
    channel_planes,
    choose_channels,
)
from lamella.ops.display.render import Window, auto_window
from lamella.ops.execution import THREADS, Workers, run
from lamella.store.keys import STORE_ENDINGS, natural_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from lamella.nodes.node import NGFFNode

    Unread: TypeAlias = Callable[[Position, LamellaError], object]

T = TypeVar("T")

MAX_SAMPLES = 24
"""Maximum number of fields that are read to choose a contrast, spread over the plate."""

_MAX_PIXELS = 1 << 19
"""Maximum number of pixels of all sampled fields from which a contrast is computed."""


@dataclass(frozen=True)
class Tile:
    """One field of the picture, by the indices of its well and its ``slot`` in the well."""

    row: int
    column: int
    slot: int
    path: str
    node: Position | LamellaError
    """The position, or the error because of which it cannot be opened."""
    whole_well: bool = False
    """Whether the error concerns the whole well, whose path is ``path``."""


@dataclass(frozen=True)
class PlatePlan:
    """The content of a plate's picture."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: frozenset[tuple[int, int]]
    """Indices of the wells that the plate lists; the others were not imaged."""
    tiles: tuple[Tile, ...]
    """The fields to draw, at most 9 per well."""
    max_fields: int
    """Number of slots of a well."""
    fields: int | None
    """Number of all fields; None if only some were listed."""


def plan_plate(node: ImageContainer, max_fields: int = MAX_FIELDS) -> PlatePlan:
    """Read the documents of a plate, row or well, and arrange its fields; unlisted rows and columns come last."""
    rows, columns, grid_index = grid_of_wells(node)
    fields_by_well: dict[str, list[Field]] = {}
    for field in walk(node, max_fields if max_fields < MAX_FIELDS else None):
        fields_by_well.setdefault(field.well, []).append(field)
    slot_by_name = {} if max_fields == 1 else _shared_slots(list(fields_by_well.values()))
    tiles: list[Tile] = []
    for well, fields in fields_by_well.items():
        for index, field in enumerate(fields):
            slot = slot_by_name.get(_field_name(field), index)
            if slot < MAX_FIELDS:
                tiles.append(Tile(*grid_index[well], slot, field.path, field.node, field.path == well))
    return PlatePlan(
        name=shown_name(node),
        rows=rows,
        columns=columns,
        wells=frozenset(grid_index.values()),
        tiles=tuple(tiles),
        max_fields=1 + max((tile.slot for tile in tiles), default=0),
        fields=sum(map(len, fields_by_well.values())) if max_fields == MAX_FIELDS else None,
    )


def _field_name(field: Field) -> str:
    return field.path.rpartition("/")[2]


def _shared_slots(wells: Sequence[Sequence[Field]]) -> dict[str, int]:
    """Return the slot of each name of a field, so that the field "5" is at the same place in every well.

    Empty if wells share few names, or if some well has none of the first 9 names: then each well fills its slots in
    order.
    """
    counts = Counter(_field_name(field) for fields in wells for field in fields if field.path != field.well)
    slot_by_name = {name: index for index, name in enumerate(sorted(counts, key=natural_order))}
    are_shared = len(wells) > 1 and 2 * sum(count > 1 for count in counts.values()) >= len(counts)
    all_drawn = all(
        any(slot_by_name.get(_field_name(field), 0) < MAX_FIELDS for field in well) for well in wells
    )
    return slot_by_name if are_shared and all_drawn else {}


def grid_of_wells(
    node: ImageContainer,
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[int, int]]]:
    """Return names of rows and columns, and the indices of each well by its path in :func:`walk`."""
    if isinstance(node, Row):
        names = list(node)
        return (node.name,), tuple(names), {name: (0, index) for index, name in enumerate(names)}
    if not isinstance(node, Plate):
        return ("",), ("",), {"": (0, 0)}
    meta = node.document.shared_model
    rows, columns = [row.name for row in meta.rows], [column.name for column in meta.columns]
    grid_index = {}
    for well in meta.wells:
        row, _, column = well.path.partition("/")
        # The path locates the pixels; contradicting indices are an error of the metadata (PL-07).
        for names, name in ((rows, row), (columns, column)):
            if name not in names:
                names.append(name)
        grid_index[well.path] = rows.index(row), columns.index(column)
    return tuple(rows), tuple(columns), grid_index


def shown_name(node: NGFFNode) -> str:
    """Return the name of a plate, else the path in its store, else the last part of the path of the store."""
    stored_name = node.document.shared_model.name if isinstance(node, Plate) else None
    names = str(node.node_path).rstrip("/").split("/")
    depth = next((depth for depth, name in enumerate(reversed(names)) if name.endswith(STORE_ENDINGS)), None)
    if depth is None:  # a store without an ending: the row of a well is a part of its name
        depth = 2 if isinstance(node, Well) else 1
    return stored_name or "/".join(names[-depth:] if depth else names[-1:])


def plate_channels(
    tiles: Sequence[Tile],
    options: PreviewOptions,
    size: int,
    plate_name: str,
    workers: Workers = THREADS,
    unread: Unread | None = None,
) -> list[ShownChannel]:
    """Choose the channels of a plate and one contrast window for each; empty if no field can be read.

    Channels are matched by name; the first field with a channel determines its colour. The window comes from the
    stored windows (`joint_window`), or from the pixels of up to 24 fields, spread over the plate. ``unread`` is called
    with each field whose channels or pixels could not be read.
    """
    channels = channels_of_fields((tile.node for tile in tiles), unread=unread)
    if not channels:
        return []
    shown_by_name = {name: (channel.shown_channel, channel.is_shown) for name, channel in channels.items()}
    chosen_channels = choose_channels(shown_by_name, options.channels, plate_name)
    return with_windows(
        [channels[channel.name] for channel in chosen_channels], options, size, workers, unread
    )


@dataclass(frozen=True)
class FieldsChannel:
    """A channel of several fields: as the first field describes it, and the stored windows of all fields."""

    shown_channel: ShownChannel
    is_shown: bool
    fields: list[Position]
    windows: list[Window]


def channels_of_fields(
    nodes: Iterable[Position | LamellaError], threads: Executor | None = None, unread: Unread | None = None
) -> dict[str, FieldsChannel]:
    """Return the channels of all fields by name, read by ``threads``; ``unread`` is called with unreadable fields."""

    def channels_of(position: Position) -> dict[str, tuple[ShownChannel, bool]]:
        try:
            return all_channels(position)
        except LamellaError as error:
            if unread is not None:
                unread(position, error)
            return {}

    fields = [node for node in nodes if isinstance(node, Position)]
    channels_by_name: dict[str, FieldsChannel] = {}
    channels_by_field = (map if threads is None else threads.map)(channels_of, fields)
    for position, channels in zip(fields, channels_by_field, strict=True):
        for name, (channel, is_shown) in channels.items():
            fields_channel = channels_by_name.setdefault(name, FieldsChannel(channel, is_shown, [], []))
            fields_channel.fields.append(position)
            if channel.window is not None:
                fields_channel.windows.append(channel.window)
    return channels_by_name


def with_windows(
    channels: Sequence[FieldsChannel],
    options: PreviewOptions,
    size: int,
    workers: Workers = THREADS,
    unread: Unread | None = None,
) -> list[ShownChannel]:
    """Return channels with one window for all fields: from their stored windows, or computed if none is stored.

    ``unread`` is called with each field whose pixels cannot be read; without it, StorageError is raised, and damaged
    fields are left out.
    """
    without_window = [channel for channel in channels if not channel.windows]
    computed_windows = _computed_windows(without_window, options, size, workers, unread)
    return [
        replace(
            channel.shown_channel,
            window=joint_window(channel.windows)
            if channel.windows
            else computed_windows[channel.shown_channel.name],
        )
        for channel in channels
    ]


def _computed_windows(
    channels: Sequence[FieldsChannel],
    options: PreviewOptions,
    size: int,
    workers: Workers,
    unread: Unread | None,
) -> dict[str, Window]:
    """Compute a window for each channel from some evenly spread fields; all channels of a field are read at once."""
    pixels_by_channel: dict[str, list[NDArray[Any]]] = {
        channel.shown_channel.name: [] for channel in channels
    }
    names_by_field: dict[int, tuple[Position, list[str]]] = {}
    for channel in channels:
        for position in spread(channel.fields, MAX_SAMPLES):
            names_by_field.setdefault(id(position), (position, []))[1].append(channel.shown_channel.name)

    def read(position_and_names: tuple[Position, list[str]]) -> None:
        position, names = position_and_names
        try:
            planes = channel_planes(position, names, options, size)
        except LamellaError as error:
            if len(names) > 1:  # maybe only one channel is damaged
                for name in names:
                    read((position, [name]))
            elif unread is not None:
                unread(position, error)
            elif isinstance(error, StorageError):
                raise
            return
        for name, plane in planes.items():
            pixels_by_channel[name].append(plane.ravel())

    run(read, names_by_field.values(), workers)
    return {name: _window_of_fields(planes) for name, planes in pixels_by_channel.items()}


def _window_of_fields(pixels_of_fields: Sequence[NDArray[Any]]) -> Window:
    """Return one window for the pixels of several fields, without fields of unusual brightness."""
    if not pixels_of_fields:
        return 0.0, 1.0
    are_included = are_usual([auto_window(pixels) for pixels in pixels_of_fields])
    included = [pixels for pixels, is_usual in zip(pixels_of_fields, are_included, strict=True) if is_usual]
    max_pixels = _MAX_PIXELS // len(included)
    return auto_window(np.concatenate([pixels[:: -(-pixels.size // max_pixels) or 1] for pixels in included]))


def spread(items: Sequence[T], count: int) -> Sequence[T]:
    """Return up to ``count`` items from all over the sequence, at uneven distances.

    At even distances, 8 of the 96 wells of a plate (every 12th) would all be in one column.
    """
    if len(items) <= count:
        return items
    shift = (math.sqrt(5) - 1) / 2  # the golden ratio: its multiples modulo 1 are spread evenly
    indices = (int((index + index * shift % 1) * len(items) / count) for index in range(count))
    return [items[index] for index in dict.fromkeys(indices)]
