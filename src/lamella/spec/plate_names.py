"""The names of rows, columns and wells of a plate: which are valid, which collide, and what they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.arguments import whole_number
from lamella.errors import InvalidArgumentError, InvalidNameError
from lamella.spec.plate import PlateAxisMeta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lamella.spec.plate import PlateMeta

_MAX_ROWS = 26 + 26 * 26  # A to ZZ
_MAX_COLUMNS = 999


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
        max_count: int,
    ) -> None:
        self.kind = kind
        self.argument = argument
        self.entries = entries
        self.standard_name = standard_name
        self.max_count = max_count
        self.notes: list[str] = []
        """What the user should know: requested indices that contradict the plate."""
        self.index: dict[str, int] = {}
        for index, entry in enumerate(entries):
            self.index.setdefault(entry.name, index)

    def index_of(self, name: str, requested: int | None, well: str) -> int:
        """Return the index of a name; a new name is appended, after the gap before ``requested`` is filled."""
        if requested is not None:
            requested = whole_number(requested, f"The {self.argument} of the well {well}", 0)
        index = self.index.get(name)
        if index is None:
            if requested is not None and requested > len(self.entries):
                self._fill_gap(name, requested, well)
            index = self._append(name)
        if requested is not None and requested != index:
            self.notes.append(
                f"The {self.argument}={requested} of the well {well} contradicts the plate, where {self.kind} {name!r} "
                f"is number {index}: {index} is written (PL-06)."
            )
        return index

    def _append(self, name: str) -> int:
        self.index[name] = len(self.entries)
        self.entries.append(PlateAxisMeta(name=name))
        return self.index[name]

    def _fill_gap(self, name: str, requested: int, well: str) -> None:
        start = len(self.entries)
        gap = (
            [self.standard_name(index) for index in range(start, requested)]
            if requested < self.max_count
            else []
        )
        if not gap or name in gap or not self.index.keys().isdisjoint(gap):
            raise InvalidArgumentError(
                f"The {self.argument}={requested} of the well {well} leaves a gap after the {start} {self.kind}s known "
                f"so far that names of a standard plate do not fit: create the {self.kind}s before {name!r} first, or "
                f"leave {self.argument} out."
            )
        for standard_name in gap:
            self._append(standard_name)


def standard_row(index: int) -> str:
    """Name a row of a standard plate: A to Z, AA to ZZ.

    >>> standard_row(0), standard_row(31)
    ('A', 'AF')
    """
    first, last = divmod(index, 26)
    return ("" if first == 0 else chr(ord("A") + first - 1)) + chr(ord("A") + last)


def name_indexes(plate: PlateMeta) -> tuple[NameIndex, NameIndex]:
    """Index the rows and columns of a plate, and make its wells agree with them.

    Some programs write wrong indices, or do not list the row of a well. The paths of the wells are those of their
    folders, so they count. The lists of the plate are changed in place, their entries are not.

    >>> from lamella.models import PlateMeta, WellIndexMeta
    >>> well = WellIndexMeta(path="B/1", row_index=7, column_index=0)
    >>> plate = PlateMeta(rows=[], columns=[], wells=[well])
    >>> rows, columns = name_indexes(plate)
    >>> plate.wells[0].row_index, columns.index
    (0, {'1': 0})
    """
    rows = NameIndex("row", "row_index", plate.rows, standard_row, _MAX_ROWS)
    columns = NameIndex("column", "col_index", plate.columns, lambda index: str(index + 1), _MAX_COLUMNS)
    for number, well in enumerate(plate.wells):
        row, _, column = well.path.partition("/")
        if is_name(row) and is_name(column):
            indices = rows.index_of(row, None, well.path), columns.index_of(column, None, well.path)
            if (well.row_index, well.column_index) != indices:
                update = {"row_index": indices[0], "column_index": indices[1]}
                plate.wells[number] = well.model_copy(update=update)
    return rows, columns


_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
_TEMPORARY_WELL = re.compile(r"[^/]+/lamella[0-9a-f]{8}")
_WELL = re.compile(r"([A-Za-z]+)0*([0-9]+)", re.ASCII)


def is_name(text: str) -> bool:
    """Return whether a text consists of ASCII letters and digits only."""
    return _ALPHANUMERIC.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return the name; raise InvalidNameError unless it is ASCII letters and digits (PL-03, WL-02, A19)."""
    if not isinstance(name, str):
        raise InvalidNameError(f"{name!r} is not a name: use a string of letters A-Z, a-z and digits 0-9.")
    if not name:
        raise InvalidNameError("'' is not a name: it is empty. Use letters A-Z, a-z and digits 0-9.")
    if not is_name(name):
        invalid = sorted({repr(letter) for letter in name if not (letter.isascii() and letter.isalnum())})
        raise InvalidNameError(
            f"{name!r} is not a name: {' and '.join(invalid)} {'is' if len(invalid) == 1 else 'are'} not allowed, "
            "only the letters A-Z, a-z and the digits 0-9 (PL-03, WL-02)."
        )
    return name


def case_collisions(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return names that differ only by case: one folder on many file systems (PL-03).

    >>> case_collisions(["A", "B", "a"])
    [('A', 'a')]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name.lower(), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def is_well_name(text: str) -> bool:
    """Return whether a text is the name of a well on the plate, such as "B03"."""
    return _WELL.fullmatch(text) is not None


def temporary_well(path: str, token: str) -> str:
    """Return the temporary path of a well that swaps names with others; `token` are hex digits of the swap.

    >>> temporary_well("B/3", "0123456789"), is_temporary_well("B/lamella01234567"), is_temporary_well("B/3")
    ('B/lamella01234567', True, False)
    """
    return f"{path.partition('/')[0]}/lamella{token[:8]}"


def is_temporary_well(path: str) -> bool:
    """Return whether a well path is a temporary one of wells that swap names."""
    return _TEMPORARY_WELL.fullmatch(path) is not None


def find_well(name: str, paths: Iterable[str]) -> str | None:
    """Return the path of the well that a name such as "B03" means; None if no well, or several, fit.

    An equal path is preferred, then an equal column, then a column that differs in leading zeros.

    >>> find_well("B03", ["A/3", "B/3"]), find_well("B3", ["B/03"]), find_well("B/3", ["B/03"])
    ('B/3', 'B/03', None)
    """
    paths = list(paths)
    if name in paths:
        return name
    match = _WELL.fullmatch(name)
    if match is None:
        return None
    exact = [path for path in paths if path.replace("/", "") == name]
    fitting = exact or [
        path
        for path in paths
        for row, _, column in [path.partition("/")]
        if row == match[1] and column.isdecimal() and int(column) == int(match[2])
    ]
    return fitting[0] if len(fitting) == 1 else None


def new_well(name: str, paths: Iterable[str], columns: Iterable[str]) -> str:
    """Return the path of a new well from its name on the plate: "B03" is "B/3" if the plate has a column "3".

    Return the name itself if it is a path, or if not exactly one column fits.

    >>> new_well("B03", ["A/3"], ["3"]), new_well("A3", ["A/3"], ["3"]), new_well("B04", ["A/3"], ["3"])
    ('B/3', 'A/3', 'B04')
    """
    path = find_well(name, paths)
    match = _WELL.fullmatch(name)
    if path is not None or match is None:
        return path or name
    fitting = [column for column in columns if column.isdecimal() and int(column) == int(match[2])]
    return f"{match[1]}/{fitting[0]}" if len(fitting) == 1 else name
