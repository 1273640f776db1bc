"""The names of image files as instruments write them: each layout is a pattern that places the files of a plate."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, LamellaError, SourceError, counted, short_repr
from lamella.ops.conversion.placement import place_by_regex
from lamella.spec.plate_names import standard_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.ops.conversion.placement import PlacedFile


@dataclass(frozen=True)
class FileLayout:
    """How one instrument names its files; with ``numbers_rows``, names have numbers of rows from 1, not letters."""

    name: str
    title: str
    pattern: str
    example: str
    numbers_rows: bool = False

    def place(
        self, files: Sequence[str], relative: Mapping[str, str] | None = None
    ) -> tuple[list[PlacedFile], list[str]]:
        """Place files by the pattern; also return the files that do not match. See `place_by_regex`."""
        search = re.compile(self.pattern).search
        if not any(search((relative or {}).get(file) or os.path.basename(file)) for file in files):
            example = f", such as {files[0]}" if files else ""
            raise SourceError(
                f"None of {counted(len(files), 'file')}{example} has a name of {self.title}, such as {self.example}."
            )
        placed, unmatched = place_by_regex(files, self.pattern, relative)
        if self.numbers_rows:
            placed = [
                replace(
                    file, placement=replace(file.placement, row=standard_row(int(file.placement.row) - 1))
                )
                for file in placed
            ]
        return placed, unmatched


_TIFF = r"(?i:\.tiff?)$"
_WELL = r"(?P<row>[A-Z]{1,2})(?P<column>\d\d)"

LAYOUTS = (
    FileLayout(
        "operetta",
        "Opera Phenix, Operetta",
        r"(?:^|/)r(?P<row>\d+)c(?P<column>\d+)f(?P<field>\d+)p(?P<z>\d+)-ch(?P<channel>\d+)sk(?P<t>\d+)fk\d+fl\d+"
        + _TIFF,
        "r02c05f01p03-ch2sk1fk1fl1.tiff",
        numbers_rows=True,
    ),
    FileLayout(
        "imagexpress",
        "ImageXpress",
        r"(?:(?i:TimePoint)_(?P<t>\d+)/)?(?:(?i:ZStep)_(?P<z>\d+)/)?[^/]*_"
        + _WELL
        + r"_s(?P<field>\d+)_w(?P<channel>\d+?)(?:[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?"
        + _TIFF,
        "TimePoint_1/plate_B03_s2_w1.tif",
    ),
    FileLayout(
        "cellvoyager",
        "CellVoyager",
        "_" + _WELL + r"_T(?P<t>\d+)F(?P<field>\d+)L\d+A\d+Z(?P<z>\d+)C(?P<channel>\d+)" + _TIFF,
        "plate_C07_T0001F003L01A02Z04C02.tif",
    ),
    FileLayout(
        "incell",
        "InCell Analyzer",
        r"(?P<row>[A-Z]{1,2}) - (?P<column>\d+)\(fld (?P<field>\d+) wv (?P<channel>[^()/]+? - [^()/]+?)(?: wix \d+)?"
        r"(?: z (?P<z>\d+))?(?: time (?P<t>\d+) - [^()/]*)?\)" + _TIFF,
        "D - 12(fld 3 wv DAPI - DAPI).tif",
    ),
    FileLayout(
        "scanr",
        "ScanR",
        r"(?:^|/)(?P<row>[A-Z]{1,2})(?P<column>\d+)--W\d+--P(?P<field>\d+)--Z(?P<z>\d+)--T(?P<t>\d+)--"
        r"(?P<channel>[^/]+)" + _TIFF,
        "A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    ),
    FileLayout(
        "cellomics",
        "Cellomics ArrayScan",
        "_" + _WELL + r"f(?P<field>\d+)d(?P<channel>\d+)" + _TIFF,
        "AS_09047_050428030001_O14f01d2.TIF",
    ),
    FileLayout(
        "lamella",
        "lamella export",
        r"(?:^|/)(?P<row>[A-Z]{1,2}(?=\d+_)|[A-Za-z0-9]+(?=-))-?(?P<column>[A-Za-z0-9]+)_f(?P<field>[A-Za-z0-9]+)"
        r"(?:_(?P<channel>[^_/]+))?\.ome" + _TIFF,
        "B3_f0_DAPI.ome.tif",
    ),
)
"""All layouts; each pattern matches the names of one instrument only."""


def find_layout(name: str) -> FileLayout:
    """Return a layout by its name; raise InvalidArgumentError for an unknown one."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise InvalidArgumentError(
        f"There is no layout {short_repr(name)}: the layouts are {', '.join(layout.name for layout in LAYOUTS)}."
    )


def recognise_layout(files: Sequence[str], relative: Mapping[str, str]) -> FileLayout | None:
    """Return the layout whose pattern matches the name of every file, with a placement of its own for each, or None."""
    for layout in LAYOUTS:
        try:
            layout.place(files[:1], relative)
            placed, unmatched = layout.place(files, relative)
        except LamellaError:
            continue
        if not unmatched and len({file.placement for file in placed}) == len(files):
            return layout
    return None
