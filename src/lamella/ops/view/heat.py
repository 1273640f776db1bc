"""Reduce a column of a table to one number for each well of a plate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.view.scene import reader_threads, sampled
from lamella.spec.plate_names import find_well
from lamella.spec.tables import WELL_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from lamella.nodes.node import NGFFNode
    from lamella.ops.view.scene import ViewScene

_SAMPLED_FIELDS = 8
"""Number of fields, spread over a plate, whose tables are listed; the others usually have tables of the same names."""


def heat_tables(node: NGFFNode, scene: ViewScene, *, every_field: bool = False) -> list[str]:
    """Return the names of the tables of a plate, its own and those of some or all fields; none for other nodes."""
    if not isinstance(node, Plate):
        return []
    readable = [field.node for field in scene.fields if field.shape and isinstance(field.node, Position)]
    fields = sampled(readable, None if every_field else _SAMPLED_FIELDS)
    with reader_threads(node) as threads:
        tables_of_fields = list(threads.map(lambda field: list(field.tables), fields))
    return list(
        dict.fromkeys([*node.tables.stored_names(), *(name for names in tables_of_fields for name in names)])
    )


def heat_columns(node: NGFFNode, table: str) -> list[str]:
    """Return the columns of a table that have numbers; none if no column names the well."""
    return _number_columns(*_frame(node, table))


def _number_columns(frame: pd.DataFrame, well: str) -> list[str]:
    return [name for name in map(str, frame.columns) if name != well and frame[name].dtype.kind in "iufb"]


def heat_of_wells(node: NGFFNode, scene: ViewScene, table: str, column: str) -> list[float | None]:
    """Return the mean of a column for each well of the scene; None for a well without a finite value.

    Raise InvalidArgumentError for a table without such a column of numbers, or without wells.
    """
    frame, well = _frame(node, table)
    if column not in _number_columns(frame, well):
        raise InvalidArgumentError(
            f"The table {table!r} of {node.node_path} has no column {column!r} of numbers."
        )
    paths = [well.path for well in scene.wells]
    numbers = frame[column].astype("float64")
    names = frame[well].astype(str)
    # B3 and B03 may be one well.
    well_of_row = names.map({name: find_well(name, paths) for name in names.dropna().unique()})
    means = numbers[numbers.abs() < math.inf].groupby(well_of_row).mean()
    return [float(means[path]) if path in means.index else None for path in paths]


def _frame(node: NGFFNode, table: str) -> tuple[pd.DataFrame, str]:
    """Read a table of a plate, and return it with the name of the column of wells."""
    if not isinstance(node, Plate):
        raise InvalidArgumentError(f"{node.node_path} is not a plate: it has no table of wells.")
    table_frame = node.tables[table]
    table_frame = table_frame if table_frame.index.name is None else table_frame.reset_index()
    well_column = next((str(name) for name in table_frame.columns if str(name).lower() in WELL_COLUMNS), None)
    if well_column is None:
        raise InvalidArgumentError(
            f"The table {table!r} of {node.node_path} has no column that names the well: {', '.join(WELL_COLUMNS)}."
        )
    return table_frame, well_column
