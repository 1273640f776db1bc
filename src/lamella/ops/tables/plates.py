"""Read the tables of all positions of a plate, one by one or concatenated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.arguments import items_of
from lamella.errors import NodeNotFoundError
from lamella.nodes.tables import Tables
from lamella.ops.execution import Workers, run
from lamella.ops.tables.frames import pandas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    found: dict[str, pd.DataFrame] = {}

    def read(unit: tuple[str, Tables]) -> None:
        path, tables = unit
        frame = tables.get(name, None)
        if frame is not None:
            found[path] = frame

    run(read, units, Workers(jobs))
    if not found:
        raise NodeNotFoundError(
            f"There is no table {name!r} in {plate.node_path} or in one of its positions."
        )
    frames = []
    for path, _ in units:
        if path not in found:
            continue
        frame = found[path]
        frame = frame if frame.index.name is None else frame.reset_index()
        well, _, field = path.rpartition("/")
        clash = [column for column in ("well", "field") if column in frame.columns]
        frame = frame.rename(columns={column: f"{column}_of_table" for column in clash})
        frame.insert(0, "well", well)
        frame.insert(1, "field", field)
        frame.attrs.clear()
        frames.append(frame)
    # pandas warns of empty frames, whose columns would no longer be left out of the data types.
    columns = list(dict.fromkeys(column for frame in frames for column in frame.columns))
    rows = [frame for frame in frames if len(frame)] or frames[:1]
    return pandas().concat(rows, ignore_index=True).reindex(columns=columns)
