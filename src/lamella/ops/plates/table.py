"""List the content of a plate as one record for each position, from the documents alone.

pandas is imported for DataFrames only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from lamella.errors import InvalidArgumentError, LamellaError
from lamella.nodes.describe import describe_field
from lamella.nodes.walk import walk
from lamella.ops.tables.frames import pandas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.walk import Field

Record: TypeAlias = dict[str, Any]
"""The record of one position; see :meth:`lamella.Plate.table`."""

OnError: TypeAlias = Literal["raise", "report"]
"""The reaction to a missing or damaged node."""

COLUMNS = (
    "path",
    "well",
    "row",
    "column",
    "field",
    "acquisition",
    "shape",
    "dtype",
    "scale",
    "channels",
    "levels",
)


def plate_records(plate: Plate, on_error: OnError = "raise") -> Iterator[Record]:
    """Yield one record for each position of a plate; see :meth:`lamella.Plate.table`."""
    if on_error not in ("raise", "report"):
        raise InvalidArgumentError(f"on_error={on_error!r} is neither 'raise' nor 'report'.")
    for field in walk(plate):
        record: Record = dict.fromkeys(COLUMNS)
        record |= {"path": field.path, "acquisition": field.acquisition}
        # A damaged well has no field.
        record |= zip(("row", "column", "field"), field.path.split("/"), strict=False)
        record["well"] = "/".join(field.path.split("/")[:2])
        try:
            record |= _image_columns(field)
        except LamellaError as error:
            if on_error == "raise":
                raise
            record["error"] = str(error)
        yield record


def _image_columns(field: Field) -> Record:
    image = describe_field(field)
    columns: Record = {"channels": cast("Position", field.node).channel_names, "levels": image.levels}
    if image.levels:
        columns |= {"shape": image.shape, "dtype": image.dtype, "scale": list(image.scale)}
    return columns


def as_dataframe(records: list[Record], columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return records as a pandas DataFrame, with the same columns even without records."""
    error_column = ["error"] if any("error" in record for record in records) else []
    return pandas().DataFrame(records, columns=[*columns, *error_column])


def joined_records(records_by_path: Mapping[str, Any]) -> pd.DataFrame:
    """Return the records of positions as one DataFrame, with the path of the position in the first column."""
    pd, tables = pandas(), []
    for path, returned in records_by_path.items():
        is_value = returned is not None and pd.api.types.is_scalar(returned)
        record = {"value": returned} if is_value else returned
        records = [record] if isinstance(record, Mapping) else returned
        is_list = isinstance(records, list | tuple) and all(isinstance(record, Mapping) for record in records)
        if not is_list and not isinstance(records, pd.DataFrame):
            raise InvalidArgumentError(
                f"The function returned {type(returned).__name__} for {path}; a table needs numbers or texts, "
                "dictionaries, lists of dictionaries, or DataFrames."
            )
        table = pd.DataFrame(records).drop(columns="path", errors="ignore")
        table.insert(0, "path", path)
        tables.append(table)
    not_empty = [table for table in tables if len(table)]
    return pd.concat(not_empty or tables, ignore_index=True) if tables else pd.DataFrame(columns=["path"])
