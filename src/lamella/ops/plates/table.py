"""What a plate holds, as one record for each position, from the documents alone.

Layer: ops. pandas is imported when a DataFrame is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lamella.errors import InvalidArgumentError, LamellaError, MissingDependencyError
from lamella.nodes.position import Position
from lamella.nodes.session import join
from lamella.nodes.well import Well

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas

    from lamella.nodes.plate import Plate

Record: TypeAlias = dict[str, Any]
"""What is known of one position; see :meth:`lamella.Plate.table`."""

OnError: TypeAlias = Literal["raise", "report"]
"""What to do at a node that is missing or damaged."""

COLUMNS = ("path", "row", "column", "acquisition", "shape", "dtype", "scale", "channels", "levels")


def plate_records(plate: Plate, on_error: OnError = "raise") -> Iterator[Record]:
    """Yield one record for each position of a plate; see :meth:`lamella.Plate.table`.

    Parameters
    ----------
    plate
        The plate.
    on_error
        "raise", or "report" for records with the text of the error.
    """
    if on_error not in ("raise", "report"):
        raise InvalidArgumentError(f"on_error is 'raise' or 'report', not {on_error!r}.")
    for well_path in plate._well_paths():
        row, _, column = well_path.partition("/")
        record: Record = dict.fromkeys(COLUMNS) | {"path": well_path, "row": row, "column": column}
        try:
            well = plate._open_listed(Well, well_path)
        except LamellaError as fault:
            if on_error == "raise":
                raise
            yield {**record, "error": str(fault)}
            continue
        for image in well._live.model.images:
            field = {**record, "path": join(well_path, image.path), "acquisition": image.acquisition}
            try:
                field |= _facts(well._open_listed(Position, image.path))
            except LamellaError as fault:
                if on_error == "raise":
                    raise
                field["error"] = str(fault)
            yield field


def _facts(position: Position) -> Record:
    paths = position.dataset_paths
    facts: Record = {"channels": position.channel_names, "levels": len(paths)}
    if paths:
        finest = position._level(paths[0])
        facts |= {"shape": finest.shape, "dtype": finest.dtype.name, "scale": position.scale}
    return facts


def as_dataframe(records: list[Record]) -> pandas.DataFrame:
    """Return records as a pandas DataFrame, with the columns of a plate's table even when there are none.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed (an ImportError).
    """
    try:
        import pandas
    except ImportError as fault:
        raise MissingDependencyError(
            "A table as a DataFrame needs pandas: pip install pandas, or take the list of dicts."
        ) from fault
    extra = ["error"] if any("error" in record for record in records) else []
    return pandas.DataFrame(records, columns=[*COLUMNS, *extra])
