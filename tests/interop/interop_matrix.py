"""The table of which library reads what: gathered while the tests run, written as Markdown."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from peers import PEERS, Peer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGIN, END = "<!-- interop: begin -->", "<!-- interop: end -->"

LIBRARIES = {**{name: name for name in PEERS}, "zarr-python": "zarr", "TensorStore": "tensorstore"}
"""Names of the columns, and the distributions behind them."""

OURS = "What lamella writes, opened elsewhere"
THEIRS = "What others write, opened by lamella"

ROWS = {
    "test_peer_reads_every_level_and_the_physical_size_of_our_image": (
        OURS,
        "an image: pixels of every level, and the physical size where the library has one",
    ),
    "test_zarr_python_reads_every_level": (
        OURS,
        "an image: pixels of every level, and the physical size where the library has one",
    ),
    "test_tensorstore_reads_every_level": (
        OURS,
        "an image: pixels of every level, and the physical size where the library has one",
    ),
    "test_peer_reads_every_field_of_our_plate": (OURS, "a plate: pixels of every field"),
    "test_axes_in_capitals_are_read_by_libraries_that_accept_them": (OURS, "an image with axes in capitals"),
    "test_images_of_fewer_axes_are_read": (OURS, "images of fewer axes: yx, zyx, czyx"),
    "test_demo_image_is_read_with_its_physical_size": (OURS, "converted TIFFs: pixels and physical size"),
    "test_demo_plate_is_read": (OURS, "a converted plate: pixels of every field"),
    "test_image_opens_as_a_position_of_the_version_it_was_written_in": (THEIRS, "an image: its version"),
    "test_pixels_of_the_finest_level_are_what_was_written": (THEIRS, "an image: pixels"),
    "test_every_level_that_is_listed_opens_by_its_path": (THEIRS, "an image: every level"),
    "test_physical_size_is_what_was_written": (THEIRS, "an image: physical size"),
    "test_an_image_written_by_a_peer_can_be_extended": (THEIRS, "an image: writing into it"),
    "test_plate_lists_rows_wells_and_fields": (THEIRS, "a plate: rows, wells and fields"),
    "test_pixels_of_every_field_are_what_was_written": (THEIRS, "a plate: pixels of every field"),
}
"""The part of the page and the row of each test that has a library."""

Row = tuple[str, str, str]


class Matrix:
    """Outcomes of tests by row and library."""

    def __init__(self) -> None:
        self.outcomes: dict[Row, dict[str, list[bool]]] = {}

    def add(self, test: str, params: dict[str, Any], passed: bool) -> None:
        """Take the outcome of one test with its parameters; tests that are no row are left out."""
        name = test.partition("[")[0]
        library = _library(name, params)
        if name not in ROWS or library is None:
            return
        part, what = ROWS[name]
        cells = self.outcomes.setdefault((part, what, _store(params)), {})
        cells.setdefault(library, []).append(passed)

    def markdown(self) -> str:
        """Give the tables, a row for each kind of store, and the releases that were run."""
        releases = ", ".join(f"{name} {version(package)}" for name, package in LIBRARIES.items())
        lines = [f"Run with {releases}."]
        for part in (OURS, THEIRS):
            columns = [
                name
                for name in LIBRARIES
                if any(name in cells for row, cells in self.outcomes.items() if row[0] == part)
            ]
            lines += ["", f"## {part}", ""]
            lines += [_line(["", "version", *columns]), _line(["---"] * (len(columns) + 2))]
            order = list(dict.fromkeys(ROWS.values()))
            for row in sorted(self.outcomes, key=lambda row: (order.index(row[:2]), row[2])):
                if row[0] == part:
                    cells = self.outcomes[row]
                    lines.append(_line([row[1], row[2], *(_cell(cells.get(name)) for name in columns)]))
        return "\n".join(lines)

    def write(self, page: Path) -> None:
        """Put the tables between the markers of a page."""
        stored = page.read_text(encoding="utf-8")
        before, _, rest = stored.partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{self.markdown()}\n{END}{after}", encoding="utf-8")


def _library(test: str, params: dict[str, Any]) -> str | None:
    if "zarr_python" in test:
        return "zarr-python"
    if "tensorstore" in test:
        return "TensorStore"
    for value in params.values():
        if isinstance(value, Peer):
            return value.name
        if isinstance(value, str) and value in PEERS:
            return value
    return None


def _store(params: dict[str, Any]) -> str:
    """Name the version of a store, and whether it has shards, from the parameters of its test."""
    if "made" in params:
        release, sharded = params["made"]
        return f"{release}, sharded" if sharded else str(release)
    if "version" in params:
        return str(params["version"])
    if str(params.get("plate", "")).startswith("plate_"):
        return str(params["plate"]).removeprefix("plate_")
    return "0.5"  # of the tests that make one version only


def _cell(outcomes: list[bool] | None) -> str:
    if outcomes is None:
        return "-"
    return "yes" if all(outcomes) else "**no**"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
