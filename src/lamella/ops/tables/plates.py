"""Read the tables of all positions of a plate, one by one or concatenated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lamella.arguments import items_of
from lamella.errors import NodeNotFoundError
from lamella.nodes.tables import Tables
from lamella.ops.execution import Workers, run
from lamella.ops.tables.frames import pandas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from lamella.nodes.plate import Plate


def _tables(plate: Plate, positions: Iterable[str] | None) -> Iterator[tuple[str, Tables]]:
    if positions is not None:
        for name in items_of(positions, "The argument positions is a list of paths"):
            path = plate._exact_path(str(name).strip("/"))
            yield path, Tables(plate[path].node_path.child("tables"), False)
        return
    for path, position in plate.positions():
        yield path, position.tables


def parts(
    plate: Plate, name: str, positions: Iterable[str] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Read the tables with a name from all positions that have one; see :meth:`PlateTables.parts`."""
    for path, tables in _tables(plate, positions):
        if name in tables:
            yield path, tables[name]


def concatenated(plate: Plate, name: str, positions: Iterable[str] | None, jobs: int | None) -> pd.DataFrame:
    """Read and concatenate tables; see :meth:`PlateTables.concatenate`."""
    units = list(_tables(plate, positions))
    tables_by_path: dict[str, pd.DataFrame] = {}

    def read(unit: tuple[str, Tables]) -> None:
        path, tables = unit
        frame = tables.get(name, None)
        if frame is not None:
            tables_by_path[path] = frame

    run(read, units, Workers(jobs))
    if not tables_by_path:
        raise NodeNotFoundError(
            f"There is no table {name!r} in {plate.node_path} or in one of its positions."
        )
    frames = []
    for path, _ in units:
        if path not in tables_by_path:
            continue
        frame = tables_by_path[path]
        frame = frame if frame.index.name is None else frame.reset_index()
        well, _, field = path.rpartition("/")
        own_names = [column for column in ("well", "field") if column in frame.columns]
        frame = frame.rename(columns={column: f"{column}_of_table" for column in own_names})
        frame.insert(0, "well", well)
        frame.insert(1, "field", field)
        frame.attrs.clear()
        frames.append(frame)
    columns = list(dict.fromkeys(column for frame in frames for column in frame.columns))
    # Without empty frames: pandas warns that their columns will count for the data types.
    filled = [frame for frame in frames if len(frame)]
    rows = [_exact(frame, filled) for frame in filled] or frames[:1]
    return pandas().concat(rows, ignore_index=True).reindex(columns=columns)


def _exact(frame: pd.DataFrame, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a frame whose integers above 2**53 stay exact when it is concatenated with the others.

    Without a nullable type, a column that another frame lacks, or has as other integers, would become float64.
    """
    types = pandas().api.types
    exact = {}
    for name in frame.columns:
        columns = [other[name].dropna() for other in frames if name in other.columns]
        dtypes = {getattr(column.dtype, "numpy_dtype", column.dtype) for column in columns}
        if not all(map(types.is_integer_dtype, dtypes)):
            continue
        if len(columns) == len(frames) and np.result_type(*dtypes).kind != "f":
            continue
        extremes = [
            int(number) for column in columns if len(column) for number in (column.min(), column.max())
        ]
        if not any(abs(number) > 2**53 for number in extremes):
            continue
        if max(extremes) < 2**63:
            exact[name] = "Int64"
        elif min(extremes) >= 0:  # no type has both negative numbers and these
            exact[name] = "UInt64"
    return frame.astype(exact) if exact else frame
