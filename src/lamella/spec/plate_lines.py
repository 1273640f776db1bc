"""The rows and columns of a plate: finding one by name, adding one, keeping wells in step with them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lamella.arguments import whole_number
from lamella.errors import InvalidArgumentError
from lamella.spec.names import is_name
from lamella.spec.plate import PlateAxisMeta

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.spec.plate import PlateMeta

_MOST_ROWS = 26 + 26 * 26  # A to ZZ
_MOST_COLUMNS = 999


class NameIndex:
    """The rows or the columns of a plate, found by name; the index of a new name extends the plate's list.

    >>> rows = NameIndex("row", "row_index", [], standard_row, 702)
    >>> rows.index_of("C", 2, "C/1")
    2
    >>> [entry.name for entry in rows.entries]
    ['A', 'B', 'C']
    """

    def __init__(
        self,
        kind: str,
        argument: str,
        entries: list[PlateAxisMeta],
        standard_name: Callable[[int], str],
        most: int,
    ) -> None:
        self.kind = kind
        self.argument = argument
        self.entries = entries
        self.standard_name = standard_name
        self.most = most
        self.index: dict[str, int] = {}
        for index, entry in enumerate(entries):
            self.index.setdefault(entry.name, index)

    def index_of(self, name: str, wanted: int | None, well: str) -> int:
        """Return the index of a name; a new name is appended, after the gap before ``wanted`` is filled."""
        if wanted is not None:
            wanted = whole_number(wanted, f"{self.argument} of the well {well}", 0)
        known = self.index.get(name)
        if known is None:
            if wanted is not None and wanted > len(self.entries):
                self._fill(name, wanted, well)
            known = self._append(name)
        if wanted is not None and wanted != known:
            warnings.warn(
                f"well {well}: {self.argument}={wanted} contradicts the plate, where {self.kind} {name!r} is "
                f"number {known}; {known} is written (PL-06)",
                UserWarning,
                stacklevel=3,
            )
        return known

    def _append(self, name: str) -> int:
        self.index[name] = len(self.entries)
        self.entries.append(PlateAxisMeta(name=name))
        return self.index[name]

    def _fill(self, name: str, wanted: int, well: str) -> None:
        start = len(self.entries)
        gap = [self.standard_name(index) for index in range(start, wanted)] if wanted < self.most else []
        if not gap or name in gap or not self.index.keys().isdisjoint(gap):
            raise InvalidArgumentError(
                f"well {well}: {self.argument}={wanted} leaves a gap after the {start} {self.kind}s known so "
                f"far that names of a standard plate do not fit: create the {self.kind}s before {name!r} "
                f"first, or leave {self.argument} out"
            )
        for filler in gap:
            self._append(filler)


def standard_row(index: int) -> str:
    """Name a row of a standard plate: A to Z, AA to ZZ.

    >>> standard_row(0), standard_row(31)
    ('A', 'AF')
    """
    first, last = divmod(index, 26)
    return ("" if first == 0 else chr(ord("A") + first - 1)) + chr(ord("A") + last)


def standard_column(index: int) -> str:
    """Name a column of a standard plate: 1, 2, ..."""
    return str(index + 1)


def lines_of(plate: PlateMeta) -> tuple[NameIndex, NameIndex]:
    """Index the rows and columns of a plate, and make its wells agree with them.

    Plates with wrong indices, or with wells whose row is not listed, are found in the wild; the path of a
    well is what is on disk. The plate is changed in place.

    >>> from lamella.models import PlateMeta, WellIndexMeta
    >>> well = WellIndexMeta(path="B/1", row_index=7, column_index=0)
    >>> plate = PlateMeta(rows=[], columns=[], wells=[well])
    >>> rows, columns = lines_of(plate)
    >>> plate.wells[0].row_index, columns.index
    (0, {'1': 0})
    """
    rows = NameIndex("row", "row_index", plate.rows, standard_row, _MOST_ROWS)
    columns = NameIndex("column", "col_index", plate.columns, standard_column, _MOST_COLUMNS)
    for well in plate.wells:
        row, _, column = well.path.partition("/")
        if is_name(row) and is_name(column):
            well.row_index = rows.index_of(row, None, well.path)
            well.column_index = columns.index_of(column, None, well.path)
    return rows, columns
