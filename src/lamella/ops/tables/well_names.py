"""Change the names of wells and fields in the tables of a plate, after wells or positions got other names.

A row names its well by a path ("A/1") or as on the plate ("A01"), in a column such as "well", and its position by the
column "field" beside it, or by a path ("A/1/0") in the column "path". A table that cannot be changed stays as it is,
with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidNameError, LamellaError, clause
from lamella.nodes.reporting import warn_of
from lamella.nodes.tables import Tables
from lamella.ops.tables.frames import pandas
from lamella.ops.tables.write import content_path, write_locked_table
from lamella.spec.plate_names import find_well, is_temporary_well
from lamella.spec.tables import WELL_COLUMNS, member_names
from lamella.store.keys import METADATA_FILES, join

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from lamella.nodes.plate import Plate

_SHORT = re.compile(r"[A-Za-z]+(\d+)", re.ASCII)
_TEMPORARY = re.compile(r"([^#]+)#(\d+)", re.ASCII)
"""The temporary path of a well that swaps names, and how many digits its name on the plate had."""

_ANNDATA_PARTS = ("layers", "obsm", "obsp", "uns", "varm", "varp")

Key = tuple[Any, ...]
"""The values of the naming columns of a row."""


@dataclass(frozen=True)
class NewNames:
    """The new paths of wells and positions by the old ones; those without an entry keep their names.

    Several new paths repeat the rows of an old one, and no new path removes them.
    """

    known: Sequence[str]
    """Paths of all wells before the change."""
    wells: Mapping[str, Sequence[str]] = field(default_factory=dict)
    positions: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def are_old(self) -> bool:
        """Whether all names are as before."""
        return all(list(new) == [old] for old, new in [*self.wells.items(), *self.positions.items()])

    def of(self, well: str, name: str | None) -> list[tuple[str, str | None]] | None:
        """Return the new well and field of an old well and field; None if they did not change."""
        paths = None if name is None else self.positions.get(f"{well}/{name}")
        if paths is not None:
            return [(new, field_name) for new, _, field_name in (path.rpartition("/") for path in paths)]
        return [(new, name) for new in self.wells[well]] if well in self.wells else None


@dataclass(frozen=True)
class _Columns:
    """The columns of a table that name wells and positions."""

    well: str | None
    field: str | None
    path: str | None

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Columns:
        by_name = {str(name).lower(): str(name) for name in reversed(list(frame.columns))}
        well = next((by_name[name] for name in by_name if name in WELL_COLUMNS), None)
        return cls(well, by_name.get("field") if well is not None else None, by_name.get("path"))

    @property
    def names(self) -> list[str]:
        return [name for name in (self.well, self.field, self.path) if name is not None]

    def renamed(self, key: Key, names: NewNames) -> list[Key]:
        """Return the values of these columns for each new name of a row; the same values if it has no other name."""
        row = dict(zip(self.names, key, strict=True))
        well, name, digits = self._reference(row, names)
        new = None if well is None else names.of(well, name)
        if new is None:
            return [key]
        return [tuple({**row, **self._written(row, *pair, digits)}.values()) for pair in new]

    def _reference(self, row: dict[str, Any], names: NewNames) -> tuple[str | None, str | None, int]:
        """Return the path of the well and the name of the field of a row, and the digits of the name on the plate."""
        path, text = row.get(self.path or ""), row.get(self.well or "")
        digits, well = 0, None
        if isinstance(text, str):
            temporary, short = _TEMPORARY.fullmatch(text), _SHORT.fullmatch(text)
            well = temporary[1] if temporary else find_well(text, names.known)
            digits = int(temporary[2]) if temporary else len(short[1]) if short else 0
        if isinstance(path, str) and path.count("/") == 2:
            well, _, name = path.rpartition("/")
            return well, name, digits
        return well, None if self.field is None else _text(row[self.field]), digits

    def _written(self, row: dict[str, Any], well: str, name: str | None, digits: int) -> dict[str, Any]:
        """Return the values of the columns for a well and a field, written as the old ones."""
        values: dict[str, Any] = {}
        if self.well is not None and isinstance(row[self.well], str):
            values[self.well] = _name_of(well, digits)
        if self.field is not None and name is not None and name != _text(row[self.field]):
            old = row[self.field]
            values[self.field] = name if isinstance(old, str) or not name.isdecimal() else type(old)(name)
        if self.path is not None and name is not None and isinstance(row[self.path], str):
            values[self.path] = f"{well}/{name}"
        return values


def _name_of(path: str, digits: int) -> str:
    """Return the name of a well: its path, or as on the plate with at least so many digits.

    >>> _name_of("B/3", 2), _name_of("B/3", 0)
    ('B03', 'B/3')
    """
    if not digits:
        return path
    if is_temporary_well(path):
        return f"{path}#{digits}"
    row, _, column = path.partition("/")
    return f"{row}{column.zfill(digits)}" if column.isdecimal() else path


def _text(field: Any) -> str:
    """Return the name of a field; numbers of a column with missing values are floats.

    >>> _text("a"), _text(1), _text(1.0)
    ('a', '1', '1')
    """
    return str(int(field)) if isinstance(field, float) and field.is_integer() else str(field)


def names_of_copies(plate: Plate, copies: Mapping[str, Sequence[str]]) -> NewNames:
    """Return the new names for tables of a plate whose positions were copied: its other positions have no new name."""
    well_paths = plate.well_paths()
    try:
        positions = dict.fromkeys(plate.position_paths(), ()) | dict(copies)
    except LamellaError:  # positions of a damaged plate can be copied
        positions = dict(copies)
    wells: dict[str, dict[str, None]] = {well: {} for well in well_paths}
    for old, new in copies.items():
        wells.setdefault(old.rpartition("/")[0], {}).update(
            dict.fromkeys(path.rpartition("/")[0] for path in new)
        )
    return NewNames(well_paths, {well: list(new) for well, new in wells.items()}, positions)


def rename_in_tables(plate: Plate, names: NewNames, table_names: Iterable[str]) -> None:
    """Write the new names into tables that are stored for a whole plate; the caller has locked its members.

    Rows without a new name are left out.
    """
    if names.are_old:
        return
    tables, notes = Tables(plate.node_path.child("tables"), False), []
    for table in table_names:
        try:
            problem = _rename_in_table(tables, table, names)
        except InvalidNameError:  # listed by another program, and no table
            continue
        except LamellaError as error:
            problem = clause(error)
        except (TypeError, ValueError) as error:  # other programs write lists, or two columns of one name
            problem = f"it has values that are no names: {clause(error)}"
        if problem:
            notes.append(
                f"The table {tables.node_path.child(table)} names wells as before, although the plate has other names "
                f"for them now: {problem}. Change the names in the table and write it again."
            )
    warn_of(notes)


def _rename_in_table(tables: Tables, table: str, names: NewNames) -> str:
    """Write the new names into a table; return why it does not change although rows have other names."""
    stored = tables[table]
    index = stored.index.name
    frame = stored if index is None else stored.reset_index()
    columns = _Columns.of(frame)
    old: list[Key] = list(zip(*(frame[name].tolist() for name in columns.names), strict=True))
    new = {key: columns.renamed(key, names) for key in dict.fromkeys(old)}
    if all(keys == [key] for key, keys in new.items()):
        return ""
    moved = {key for own, keys in new.items() if keys != [own] for key in keys}
    if taken := next((key for key, keys in new.items() if keys == [key] and key in moved), None):
        return f"it has rows of {' '.join(map(str, taken))} already"
    if tables.info(table).backend == "anndata" and _has_other_parts(tables, table, stored):
        return "it has parts that lamella does not write, such as layers, or float numbers in obs"
    rows = [number for number, key in enumerate(old) for _ in new[key]]
    renamed = frame.iloc[rows].reset_index(drop=True)
    keys = [key for own in old for key in new[own]]
    for number, column in enumerate(columns.names):
        renamed[column] = _like(frame[column], [key[number] for key in keys])
    if index is not None:
        renamed = renamed.set_index(index)
    elif not isinstance(frame.index, pandas().RangeIndex):  # names of rows in a table of another program
        renamed.index = frame.index[rows]
    renamed.attrs = stored.attrs
    write_locked_table(tables, table, renamed)
    return ""


def _like(column: pd.Series[Any], values: list[Any]) -> Any:
    """Return values as a column of the type of another one, or of texts where they do not fit."""
    pd = pandas()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Series(values, dtype="category")
    try:
        return pd.Series(values, dtype=column.dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Series([None if pd.isna(value) else _text(value) for value in values], dtype="object")


def _has_other_parts(tables: Tables, table: str, frame: pd.DataFrame) -> bool:
    """Return whether a table of AnnData has layers or other parts that lamella does not write as columns."""
    documents, path = tables.documents, content_path(tables, table)
    in_obs = set(member_names(documents.group(join(path, "obs"))))
    dtypes = {name: dtype for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype)}
    if any((dtype.kind == "f") == (name in in_obs) for name, dtype in dtypes.items()):
        return True
    if member_names(documents.group(join(path, "var")))[1:]:
        return True
    parts = [part for part in _ANNDATA_PARTS if documents.kind(join(path, part)) == "group"]
    return any(set(documents.storage.list(join(path, part))) - set(METADATA_FILES) for part in parts)
