"""Tables as text and as files, for the command line."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.tables import PlateTables, Tables
from lamella.ops.tables.encoding import csv_text, json_values
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.format_v3 import fill_to_json
from lamella.store.metadata.parents import refuse_in_store
from lamella.store.paths import check_replaceable, local_path

if TYPE_CHECKING:
    import pandas as pd

    from lamella.nodes.node import NGFFNode


def tables_of(node: NGFFNode) -> Tables:
    """Return the tables of an image or a plate."""
    if isinstance(node, Plate | Position):
        return node.tables
    raise InvalidArgumentError(f"{node.node_path} is neither an image nor a plate, which have tables.")


def list_tables(tables: Tables) -> list[dict[str, Any]]:
    """Return the name, type, backend and label image of each table; only the name of tables of a plate's positions."""
    own_names = tables.stored_names() if isinstance(tables, PlateTables) else list(tables)
    rows = []
    for name in tables:
        info = tables.info(name) if name in own_names else None
        rows.append(
            {
                "name": name,
                "type": "of positions" if info is None else info.type,
                "backend": None if info is None else info.backend,
                "label": None if info is None else info.label,
            }
        )
    return rows


def print_table(tables: Tables, name: str, output: str | None, *, as_json: bool) -> str:
    """Return a table as CSV or JSON rows. With `output`, write it in the format of its suffix; then return no CSV."""
    ending = os.path.splitext(output)[1].lower() if output is not None else ".json" if as_json else ".csv"
    if ending not in (".csv", ".json", ".parquet"):
        raise InvalidArgumentError(f"--output is the name of a .csv, .json or .parquet file, not {output!r}.")
    path = None if output is None else local_path(output, "the table")
    if path is not None:
        check_replaceable(path, "the table")
        refuse_in_store(path)
    frame = tables[name]
    frame = frame if frame.index.name is None else frame.reset_index()
    text = "" if ending == ".parquet" else _rows(frame) if ending == ".json" else csv_text(frame)
    if path is None:
        return text
    content: bytes = frame.to_parquet(None, index=False) if ending == ".parquet" else text.encode()
    folder, file = os.path.split(path)
    LocalStorage(folder).write(file, content)
    return _rows(frame) if as_json else ""


def _rows(frame: pd.DataFrame) -> str:
    """Return a table as JSON, with all digits of each number; infinite numbers are texts as in Zarr, "Infinity"."""
    columns = [json_values(frame.iloc[:, index]) for index in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    rows = [dict(zip(names, map(fill_to_json, row), strict=True)) for row in zip(*columns, strict=True)]
    return f"{json.dumps(rows, ensure_ascii=False, default=str)}\n"
