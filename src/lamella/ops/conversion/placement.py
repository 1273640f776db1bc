"""Place files on a plate, by a regular expression on file names or by a CSV table.

A placement is the well and field of a file, and the channel, z and t of its planes.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, SourceError, clause, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lamella.types import StrPath

GROUPS = ("row", "column", "well", "field", "channel", "z", "t")
"""Fields of a placement, as named by a pattern's groups and a table's columns."""

_NUMBERS = re.compile(r"\d+")
_SIGNED = re.compile(r"\s*([+\-\u2212]?)(\d+)\s*")
_HYPHEN_OR_SIGN = re.compile(r"[+\-\u2212]\d")
_WELL = re.compile(r"([A-Za-z]{1,2})[ _/-]*(\d{1,3})")


@dataclass(frozen=True)
class Placement:
    """The position of a file's planes. Row and column are empty without a plate; None means all channels, z or t."""

    row: str
    column: str
    field: str
    channel: str | None = None
    z: int | None = None
    t: int | None = None

    def __str__(self) -> str:
        fields = [("", self.path), ("channel ", self.channel), ("z ", self.z), ("t ", self.t)]
        return ", ".join(f"{name}{text}" for name, text in fields if text not in ("", None))

    @property
    def path(self) -> str:
        """Path of the position in the plate; empty for an image without a plate."""
        return f"{self.row}/{self.column}/{self.field}" if self.row else ""


@dataclass(frozen=True)
class PlacedFile:
    """A file and its placement; messages call it ``origin``: the file, or the table and its line."""

    path: str
    placement: Placement
    origin: str


def place_by_regex(
    names: Iterable[str], pattern: str, relative: Mapping[str, str] | None = None
) -> tuple[list[PlacedFile], list[str]]:
    r"""Place files by a regular expression that is searched in their names; also return the files that do not match.

    Its named groups are row and column (or col), or well, for a plate, or none of them for a single image, and
    optionally field ("0" by default), channel, z and t. ``relative`` has the path of each file in the folder that the
    user named, with slashes: the pattern is searched in it instead of in the name.
    """
    expression = _compile(pattern)
    placed: list[PlacedFile] = []
    unmatched: list[str] = []
    example = ""
    for name in names:
        searched = (relative or {}).get(name) or os.path.basename(name)
        match = expression.search(searched)
        if match is None:
            example = example or f', for example "{searched}"'
            unmatched.append(name)
            continue
        texts = {group: text for group, text in match.groupdict().items() if text is not None}
        if "col" in texts:
            texts["column"] = texts.pop("col")
        placed.append(PlacedFile(name, _placement(texts, name), name))
    if not placed:
        raise SourceError(
            f"The pattern '{pattern}' matches none of {counted(len(unmatched), 'file name')}{example}."
        )
    return placed, unmatched


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' is not a regular expression: {clause(error)}."
        ) from error
    groups = set(expression.groupindex)
    unknown = groups - {*GROUPS, "col"}
    if unknown:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' has the group {sorted(unknown)[0]!r}: the groups are {', '.join(GROUPS)}."
        )
    if {"col", "column"} <= groups:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' has both a group col and a group column: use one of them."
        )
    if "well" in groups and groups & {"row", "column", "col"}:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' has both a group well and a group row or column: use one of them."
        )
    plate_groups = {"row", "column"} & {"column" if group == "col" else group for group in groups}
    if "well" in groups:
        return expression
    if len(plate_groups) == 1:
        missing = "column" if "row" in plate_groups else "row"
        raise InvalidArgumentError(
            f"The pattern '{pattern}' has no group for the {missing}: a plate needs both "
            r"(?P<row>...) and (?P<column>...)."
        )
    if not plate_groups and not groups & {"channel", "z", "t"}:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' places nothing: name groups like (?P<row>[A-P]) and (?P<column>\\d+); "
            f"there are {', '.join(GROUPS)}."
        )
    if not plate_groups and "field" in groups:
        raise InvalidArgumentError(
            f"The pattern '{pattern}' has a field but no row and column: fields are in wells."
        )
    return expression


def _placement(texts: Mapping[str, str], origin: str) -> Placement:
    """Check the texts of row, column, well, field, channel, z and t, and return the placement."""
    row, column = _well(texts["well"], origin) if texts.get("well") else ("", "")
    row, column = texts.get("row", row), texts.get("column", column)
    if bool(row) != bool(column):
        raise SourceError(
            f"{origin}: there is a {'row' if row else 'column'} but no {'column' if row else 'row'}."
        )
    field = texts.get("field", "0")
    for group, name in (("row", row), ("column", column), ("field", field)):
        if name and not (name.isascii() and name.isalnum()):
            raise SourceError(
                f"{origin}: {name!r} cannot be the name of a {group}: only letters and digits can."
            )
    return Placement(
        row,
        column,
        field,
        texts.get("channel"),
        _number(texts.get("z"), "z", origin),
        _number(texts.get("t"), "t", origin),
    )


def _well(name: str, origin: str) -> tuple[str, str]:
    """Split the name of a well ("B03", "B-3") into row and column."""
    match = _WELL.fullmatch(name.strip())
    if match is None:
        raise SourceError(f"{origin}: {name!r} is not the name of a well, such as B03.")
    return match[1], match[2]


def _number(text: str | None, group: str, origin: str) -> int | None:
    """Read a number with its sign, or one surrounded by letters (``z003``)."""
    if text is None:
        return None
    signed = _SIGNED.fullmatch(text)
    if signed:
        return -int(signed[2]) if signed[1] in ("-", "\u2212") else int(signed[2])
    numbers: list[str] = _NUMBERS.findall(text)
    if len(numbers) != 1:
        raise SourceError(f"{origin}: {text!r} is not a number along {group}.")
    if _HYPHEN_OR_SIGN.search(text):
        raise SourceError(
            f"{origin}: {text!r} may be {numbers[0]} or -{numbers[0]} along {group}: let it be the number alone, "
            f"with its sign where it has one, such as (?P<{group}>-?\\d+) in a pattern."
        )
    return int(numbers[0])


def place_by_map(table: StrPath, locate: Callable[[str], str | None]) -> list[PlacedFile]:
    """Place files by a CSV table with the header ``file,row,column,field[,channel,z,t]``, in its order.

    One column ``well`` ("B03") may stand for row and column. The table has commas, semicolons or tabs, in UTF-8.
    ``locate`` returns the file of an entry, or None.
    """
    path = os.fspath(table)
    rows = read_table(path)
    header = [cell.strip().lower() for cell in rows[0][1]]
    header = ["column" if cell == "col" else cell for cell in header]
    well_columns = ("well",) if "well" in header else ("row", "column")
    missing = [name for name in ("file", *well_columns) if name not in header]
    unknown = [name for name in header if name not in ("file", *GROUPS)]
    if well_columns == ("well",):
        unknown += [name for name in ("row", "column") if name in header]
    if missing or unknown:
        problem = f"no column {missing[0]!r}" if missing else f"an unknown column {unknown[0]!r}"
        raise SourceError(
            f"{path} has {problem}: its first line must be file,row,column,field[,channel,z,t], or file,well and "
            "others."
        )
    placed = []
    for line, cells in rows[1:]:
        origin = f"{path} line {line}"
        if len(cells) != len(header):
            raise SourceError(
                f"{origin} has {counted(len(cells), 'cell')}, the first line has {len(header)}."
            )
        texts = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
        for name in ("file", *well_columns):
            if name not in texts:
                raise SourceError(f"{origin} has no {name}.")
        entry = texts.pop("file")
        try:
            file = locate(entry)
        except SourceError as error:
            raise SourceError(f"{origin}: {error}") from error
        if file is None:
            raise SourceError(f"{origin}: there is no file {entry!r} beside the table or among the sources.")
        placed.append(PlacedFile(file, _placement(texts, origin), f"{file} ({origin})"))
    if not placed:
        raise SourceError(f"{path} places no file: it has no line below the first.")
    return placed


def read_table(path: str) -> list[tuple[int, list[str]]]:
    """Return the non-empty lines of a table, each with its number from 1."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise SourceError(f"The table {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"The table {path} is not written in UTF-8.") from error
    first = text.partition("\n")[0]
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    if not rows:
        raise SourceError(f"The table {path} is empty.")
    return rows
