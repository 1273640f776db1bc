"""Lay out descriptions of nodes as text: blocks of fields and tables, coloured on a terminal and plain elsewhere."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lamella.cli.messages import echo_lines
from lamella.errors import clause
from lamella.nodes.describe import (
    ChannelDescription,
    CollectionDescription,
    ContainerDescription,
    Description,
    FieldDescription,
    ImageDescription,
    LevelDescription,
    PlateDescription,
    RowDescription,
    SceneDescription,
    UnreadableNode,
    WellDescription,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

MAX_DAMAGE = 5
"""Maximum number of damaged positions that are shown without ``-v``."""


MAX_DESCRIBED = 12
"""Maximum number of images whose names and dates are shown without ``-v``."""


@dataclass
class Block:
    """A heading with named values and at most one table below it.

    A row of two cells is a damaged node: its path and its problem.
    """

    heading: str
    values: list[tuple[str, str]] = field(default_factory=list)
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)


def text_of(description: Description) -> list[Block]:
    """Lay out a description as blocks of text."""
    if isinstance(description, ImageDescription):
        return list(_image(description, f"Image {description.store}"))
    return list(_wells(description))


# -- blocks ------------------------------------------------------------------------------------------------------


def _image(image: ImageDescription, heading: str) -> Iterator[Block]:
    yield Block(
        heading, [("version", image.version), ("name", image.name or "not recorded"), ("axes", _axes(image))]
    )
    if not image.levels:
        yield Block("Levels", [("none", "the image has no array yet")])
    else:
        yield _levels(
            image.levels, "Levels (stale: older than level 0, or not written yet)" * image.stale_levels
        )
    if image.channels:
        rows = [_channel_row(channel) for channel in image.channels]
        yield Block("Channels", header=("name", "color", "window", "shown"), rows=rows)
    if image.labels or image.labels_fault:
        faults = [("cannot be read", clause(image.labels_fault))] if image.labels_fault else []
        yield Block("Labels", [("", name) for name in image.labels] + faults)
    if image.tables:
        yield Block("Tables", [("", name) for name in image.tables])


def _axes(image: ImageDescription) -> str:
    described = []
    for axis in image.axes:
        unit = axis.unit or (axis.type if axis.type not in (None, "space", "channel", "time") else None)
        described.append(f"{axis.name} ({unit})" if unit else axis.name)
    return ", ".join(described)


def _levels(levels: Sequence[LevelDescription | UnreadableNode], heading: str) -> Block:
    has_sizes = any(isinstance(level, LevelDescription) and level.files is not None for level in levels)
    has_shards = any(isinstance(level, LevelDescription) and level.shards for level in levels)
    header = ["path", "shape", "dtype", "chunks", *(["shards"] if has_shards else []), "compressor", "scale"]
    block = Block(heading or "Levels", header=(*header, *(["files", "size"] if has_sizes else [])))
    for level in levels:
        if isinstance(level, UnreadableNode):
            block.rows.append((level.path, f"cannot be read: {clause(level.error)}"))
            continue
        cells = [level.path, numbers(level.shape), level.dtype, numbers(level.chunks)]
        cells += [numbers(level.shards) if level.shards else "none"] if has_shards else []
        cells += [level.compressor or "none", numbers(level.scale)]
        if has_sizes:
            cells += [str(level.files or 0), byte_size(level.stored_bytes or 0)]
        block.rows.append(tuple(cells))
    return block


def _channel_row(channel: ChannelDescription) -> tuple[str, ...]:
    window = "not recorded" if channel.window is None else f"{channel.window[0]:g} to {channel.window[1]:g}"
    active = {True: "yes", False: "no", None: ""}[channel.active]
    return channel.name, channel.color or "not recorded", window, active


def _wells(description: ContainerDescription) -> Iterator[Block]:
    kind = type(description).__name__.removesuffix("Description")
    block = Block(f"{kind} {description.store}", [("version", description.version)])
    if isinstance(description, PlateDescription):
        block.values += _plate_values(description)
    elif isinstance(description, RowDescription):
        block.values.append(("wells", first_and_last(description.wells)))
    elif isinstance(description, WellDescription):
        block.values.append(("fields", first_and_last(description.fields)))
    elif isinstance(description, CollectionDescription | SceneDescription):
        block.values.append(("images", f"{len(description.images)}: {first_and_last(description.images)}"))
    if isinstance(description, SceneDescription):
        block.values.append(("systems", first_and_last(description.systems)))
    if isinstance(description, PlateDescription | CollectionDescription):
        block.values += _acquired(description)
    if description.positions is not None and not isinstance(description, WellDescription):
        readable_count = len(description.positions) - len(description.damaged)
        block.values.append(
            (
                "positions",
                f"{readable_count}"
                + (f", {len(description.damaged)} cannot be read" if description.damaged else ""),
            )
        )
    yield block
    if isinstance(description, SceneDescription):
        yield Block(
            "Transformations",
            header=("type", "from", "to"),
            rows=[(step.type, step.input or "", step.output or "") for step in description.transformations],
        )
    if description.first is not None:
        noun = "image" if isinstance(description, CollectionDescription | SceneDescription) else "position"
        yield from _image(description.first, f"First {noun} {description.first_path}")
    if isinstance(description, PlateDescription | CollectionDescription) and description.described:
        yield _described(description)
    if description.positions is not None:
        yield _positions(description.positions)
    elif description.damaged:
        hidden_count = len(description.damaged) - MAX_DAMAGE
        rows = [
            (damage.path, f"cannot be read: {clause(damage.error)}")
            for damage in description.damaged[:MAX_DAMAGE]
        ]
        more_row = [("...", f"{hidden_count} more: see lamella info -v")] if hidden_count > 0 else []
        yield Block("Cannot be read", header=("path", "fault"), rows=[*rows, *more_row])


def _plate_values(plate: PlateDescription) -> list[tuple[str, str]]:
    values = [
        ("name", plate.name or "not recorded"),
        ("rows", f"{len(plate.rows)}: {first_and_last(plate.rows)}"),
        ("columns", f"{len(plate.columns)}: {first_and_last(plate.columns)}"),
        ("wells", f"{len(plate.wells)} of {len(plate.rows) * len(plate.columns)}"),
        ("fields", "not recorded" if plate.field_count is None else f"at most {plate.field_count} per well"),
    ]
    if plate.acquisitions:
        acquisitions = [
            f"{acquisition.id} ({acquisition.name})" if acquisition.name else str(acquisition.id)
            for acquisition in plate.acquisitions
        ]
        values.append(("acquisitions", f"{len(acquisitions)}: {first_and_last(acquisitions)}"))
    if plate.tables:
        values.append(("tables", first_and_last(plate.tables)))
    return values


def _acquired(description: PlateDescription | CollectionDescription) -> list[tuple[str, str]]:
    """Describe when the images were acquired, or why their OME-XML was not read."""
    if description.ome_fault:
        return [("OME-XML", description.ome_fault)]
    times = sorted(image.acquired for image in description.described if image.acquired)
    return (
        [("acquired", times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}")] if times else []
    )


def _described(description: PlateDescription | CollectionDescription) -> Block:
    """Lay out the facts that OME-XML states about each image; of many images, the first ones."""
    block = Block("OME-XML", header=("path", "name", "acquired", "voxel"))
    max_names = MAX_DESCRIBED if description.positions is None else len(description.described)
    for image in description.described[:max_names]:
        voxel = ", ".join(f"{axis} {size}" for axis, size in image.size.items())
        block.rows.append((image.path, image.name or "", image.acquired or "", voxel))
    if len(description.described) > max_names:
        block.rows.append(
            ("...", f"{len(description.described) - max_names} more: see lamella info -v", "", "")
        )
    return block


def _positions(positions: Sequence[FieldDescription | UnreadableNode]) -> Block:
    block = Block("Positions", header=("path", "shape", "dtype", "levels", "scale", "acquisition"))
    for position in positions:
        if isinstance(position, UnreadableNode):
            block.rows.append((position.path, f"cannot be read: {clause(position.error)}"))
            continue
        shape = "no image yet" if position.shape is None else numbers(position.shape)
        acquisition = "" if position.acquisition is None else str(position.acquisition)
        block.rows.append(
            (
                position.path,
                shape,
                position.dtype or "",
                str(position.levels),
                numbers(position.scale),
                acquisition,
            )
        )
    return block


# -- words -------------------------------------------------------------------------------------------------------


def numbers(values: Sequence[float]) -> str:
    """Format numbers in a row, with six digits at most.

    >>> numbers((1, 2, 236)), numbers([1.0, 0.5002, 1.4415926138560835])
    ('1, 2, 236', '1, 0.5002, 1.44159')
    """
    return ", ".join(str(value) if isinstance(value, int) else f"{value:g}" for value in values)


def first_and_last(names: Sequence[str]) -> str:
    """Format names in a row; of more than 12, the first 11 and the last.

    >>> first_and_last([str(n) for n in range(1, 25)])
    '1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... 24'
    """
    if len(names) <= 12:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:11])}, ... {names[-1]}"


def byte_size(size: float) -> str:
    """Format a number of bytes with a unit of 1024.

    >>> byte_size(500), byte_size(1536), byte_size(3 * 1024**3)
    ('500 B', '1.5 KiB', '3.0 GiB')
    """
    if size < 1024:
        return f"{size:.0f} B"
    power = min(int(math.log2(size) // 10), 4)
    return f"{size / 1024**power:.1f} {('', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


# -- printing ----------------------------------------------------------------------------------------------------


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print blocks: with colours on a terminal, as plain aligned text into a pipe or file."""
    if sys.stdout.isatty():
        _print_rich(blocks)
    else:
        echo_lines(plain_lines(blocks))


def plain_lines(blocks: Sequence[Block]) -> Iterator[str]:
    """Lay out blocks as lines without control sequences; columns are aligned and no line is broken."""
    for number, block in enumerate(blocks):
        if number:
            yield ""
        yield block.heading
        width = max((len(name) for name, _ in block.values), default=0)
        for name, value in block.values:
            yield f"  {name:<{width}}  {value}".rstrip() if width else f"  {value}"
        if block.header:
            yield from _plain_table([block.header, *block.rows], len(block.header))


def _plain_table(rows: Sequence[tuple[str, ...]], columns: int) -> Iterator[str]:
    complete = [row for row in rows if len(row) == columns]
    widths = [max(len(row[index]) for row in complete) for index in range(columns)]
    widths[0] = max(len(row[0]) for row in rows)
    for row in rows:
        # A damaged node has one long text instead of its values.
        cells = [
            f"{cell:<{widths[index]}}" for index, cell in enumerate(row[: len(row) - (len(row) < columns)])
        ]
        cells += row[-1:] if len(row) < columns else ()
        yield f"  {'  '.join(cells)}".rstrip()


def _print_rich(blocks: Sequence[Block]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        console.print(Text(block.heading, style="bold cyan"))
        grid = Table.grid(padding=(0, 2))
        for name, value in block.values:
            grid.add_row(Text(f"  {name}", style="dim"), Text(value))
        if block.values:
            console.print(grid)
        if not block.header:
            continue
        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=True)
        for name in block.header:
            table.add_column(
                name, overflow="fold", no_wrap=name in ("path", "dtype", "files", "size", "shown")
            )
        for row in block.rows:
            if len(row) == len(block.header):
                table.add_row(*(_cell(name, cell) for name, cell in zip(block.header, row, strict=True)))
        console.print(table)
        for row in block.rows:
            if len(row) < len(block.header):
                console.print(Text(f"  {row[0]}  {row[1]}", style="red"))


def _cell(header: str, cell: str) -> Text:
    from rich.text import Text

    is_color = header == "color" and len(cell) == 6 and not set(cell.lower()) - set("0123456789abcdef")
    return Text.assemble(("■ ", f"#{cell}"), cell) if is_color else Text(cell)
