"""Show nodes in notebooks as HTML: a small picture, and a map of the plate, or levels, axes, channels and labels.

All text from a store is escaped. Nothing raises: damage is shown instead.
"""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, clause, counted
from lamella.nodes.ahead import wells_ahead
from lamella.nodes.describe import UnreadableNode, describe_image
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.well import Well

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lamella.nodes.describe import ImageDescription
    from lamella.nodes.node import NGFFNode

_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})")
_CELL = "padding:2px 6px;border:1px solid #8884;text-align:center"
_MAX_WELLS = 1536
_MAX_MEMBERS = 50


def node_html(node: NGFFNode) -> str:
    """Return a node as HTML: its repr, and a table for its class.

    >>> import lamella, tempfile
    >>> plate = lamella.open_ome_zarr(tempfile.mkdtemp() + "/p.zarr", layout="hcs", mode="w", channel_names=["DAPI"])
    >>> position = plate.create_position("A", "1", "0")
    >>> "<th" in node_html(plate), node_html(position).startswith("<div>")
    (True, True)
    """
    try:
        if isinstance(node, Plate):
            body = _plate_html(node)
        elif isinstance(node, Position):
            body = _image_html(node)
        else:
            body = _members_html(node)
    except Exception as error:  # a damaged node must not raise in a notebook
        body = f"<p>damaged: {escape(str(error))}</p>"
    return f"<div><p><code>{escape(repr(node))}</code></p>{_picture_html(node)}{body}</div>"


def _picture_html(node: NGFFNode) -> str:
    """Return a small picture of an image or a plate; "" if it cannot be drawn quickly."""
    from lamella.adapters.thumbnail import thumbnail

    try:
        png = thumbnail(node)
    except Exception:  # the tables show what can be read
        return ""
    if png is None:
        return ""
    return f'<img alt="preview" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _table_html(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of HTML cells; the first cell of each row is its heading."""
    header = "".join(f'<th style="{_CELL}">{cell}</th>' for cell in headings)
    lines = [
        f'<tr><th style="{_CELL}">{row[0]}</th>'
        + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    return f'<table style="border-collapse:collapse"><tr>{header}</tr>{"".join(lines)}</table>'


def _plate_html(plate: Plate) -> str:
    meta = plate.document.shared_model
    if len(meta.wells) > _MAX_WELLS:
        return f"<p>{counted(len(meta.wells), 'well')}</p>"
    wells = wells_ahead(
        plate.documents, plate.path, plate.well_paths(), lambda path: plate._open_listed(Well, path)
    )
    counts = {path: _field_count(well) for path, well in wells}
    rows = [
        [escape(row.name), *(counts.get(f"{row.name}/{column.name}", "") for column in meta.columns)]
        for row in meta.rows
    ]
    title = f"<p>{escape(meta.name or 'plate')}: number of fields per well</p>"
    return title + _table_html(["", *(escape(column.name) for column in meta.columns)], rows)


def _field_count(well: Well | LamellaError) -> str:
    try:
        if not isinstance(well, LamellaError):
            return str(len(well.document.shared_model.images))
        reason = well
    except LamellaError as error:
        reason = error
    return f'<span title="{escape(str(reason))}">&#9888;</span>'


def _image_html(position: Position) -> str:
    image = describe_image(position)
    return (
        _levels_html(image)
        + _channels_html(image)
        + _names_html("labels", image.labels)
        + (f"<p>labels: damaged: {escape(clause(image.labels_fault))}</p>" if image.labels_fault else "")
        + _names_html("tables", image.tables)
    )


def _levels_html(image: ImageDescription) -> str:
    head = ["level", "shape", "dtype", "chunks", "shards"]
    head += [f"{escape(axis.name)}<br><small>{escape(axis.unit or '')}</small>" for axis in image.axes]
    rows = []
    for level in image.levels:
        if isinstance(level, UnreadableNode):
            cells = [f"damaged: {clause(level.error)}"]
        else:
            cells = [str(level.shape), level.dtype, str(level.chunks), str(level.shards or "none")]
            cells += [f"{size:g}" for size in level.scale]
        rows.append([escape(level.path), *map(escape, cells)])
    return _table_html(head, rows) if rows else "<p>no image yet</p>"


def _channels_html(image: ImageDescription) -> str:
    spans = []
    for channel in image.channels:
        color = _COLOR.fullmatch(str(channel.color))
        swatch = f"background:#{color[1]};" if color else ""
        square = (
            f'<span style="display:inline-block;width:1em;height:1em;border:1px solid #888;{swatch}"></span>'
        )
        spans.append(f'<span style="margin-right:1em">{square} {escape(channel.name)}</span>')
    return f"<p>{''.join(spans)}</p>" if spans else ""


def _names_html(subject: str, names: Sequence[str]) -> str:
    """Return the names of label images or tables; "" if there are none."""
    more = f" and {len(names) - _MAX_MEMBERS} more" if len(names) > _MAX_MEMBERS else ""
    return f"<p>{subject}: {escape(', '.join(names[:_MAX_MEMBERS]))}{more}</p>" if names else ""


def _members_html(node: NGFFNode) -> str:
    names = list(node)
    shown = "".join(f"<li>{escape(name)}</li>" for name in names[:_MAX_MEMBERS])
    more = f"<p>and {len(names) - _MAX_MEMBERS} more</p>" if len(names) > _MAX_MEMBERS else ""
    return f"<ul>{shown}</ul>{more}"
