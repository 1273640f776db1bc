"""The table of which library reads what: gathered while the tests run, written as Markdown."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from peers import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

BEGIN, END = "<!-- interop: begin -->", "<!-- interop: end -->"

PARTS = {
    "test_ours_elsewhere": "What lamella writes, opened and judged elsewhere",
    "test_theirs_here": "What others write, opened by lamella",
}
"""The part of the page that the tests of a module fill."""

KINDS = {
    "image": "image",
    "tiled": "image of tiles",
    "labels": "label image",
    "plate": "plate",
}
"""How the page calls the kinds of stores; the others are called what they are."""

Row = tuple[str, str, str]


class Matrix:
    """Outcomes of tests by part, kind and form of store, and library."""

    def __init__(self) -> None:
        self.outcomes: dict[Row, dict[str, list[str]]] = {}
        self._notes: list[str] = []

    @property
    def cells(self) -> int:
        """Count the cells of both tables that have an outcome."""
        return sum(len(cells) for cells in self.outcomes.values())

    def add(self, module: str, params: Mapping[str, Any], passed: bool, told: Mapping[str, Any]) -> None:
        """Take the outcome of one test with its parameters; tests without library and kind are left out."""
        if module not in PARTS or not {"library", "kind", "form"} <= set(params):
            return
        if not passed:
            outcome = "**no**"
        elif told.get("cannot"):
            outcome = f"cannot {self._note(told['cannot'])}"
        elif told.get("breaks"):
            outcome = f"yes {self._note(told['breaks'])}"
        else:
            outcome = "yes"
        row = module, KINDS.get(params["kind"], params["kind"]), str(params["form"])
        self.outcomes.setdefault(row, {}).setdefault(params["library"], []).append(outcome)

    def _note(self, words: str) -> str:
        if words not in self._notes:
            self._notes.append(words)
        return f"[{self._notes.index(words) + 1}]"

    def markdown(self) -> str:
        """Give the tables, a row for each kind and form of store, the notes, and the releases that were run."""
        packages = {
            name: package or name for name, package in LIBRARIES.items() if name != "official schemas"
        }
        releases = ", ".join(f"{name} {version(package)}" for name, package in packages.items())
        lines = [f"Run with {releases}: {self.cells} cells."]
        for module, title in PARTS.items():
            rows = [row for row in self.outcomes if row[0] == module]
            columns = [name for name in LIBRARIES if any(name in self.outcomes[row] for row in rows)]
            lines += [
                "",
                f"## {title}",
                "",
                _line(["", "version", *columns]),
                _line(["---"] * (len(columns) + 2)),
            ]
            kinds = list(dict.fromkeys([*KINDS.values(), *(row[1] for row in rows)]))
            for row in sorted(rows, key=lambda row: (kinds.index(row[1]), row[2])):
                cells = self.outcomes[row]
                lines.append(_line([row[1], row[2], *(_cell(cells.get(name)) for name in columns)]))
        lines += ["", "Notes:", ""] if self._notes else []
        lines += [f"{number}. {words}" for number, words in enumerate(self._notes, 1)]
        return "\n".join(lines)

    def write(self, page: Path) -> None:
        """Put the tables between the markers of a page."""
        stored = page.read_text(encoding="utf-8")
        before, _, rest = stored.partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{self.markdown()}\n{END}{after}", encoding="utf-8")


def _cell(outcomes: list[str] | None) -> str:
    """Say the worst of what came out: one failure is enough for a no."""
    return max(outcomes, key=lambda outcome: outcome.startswith("**")) if outcomes else "-"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
