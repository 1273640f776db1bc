"""The tasks of the pages "coming from ...": scripts of lamella and of other libraries that do the same.

`tests/interop` runs them, and `tests/test_docs.py` counts them. ``COMPARED_PAGE=1`` writes the tables that follow.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "coming-from"
LIBRARIES = {"iohub": "iohub", "ngff-zarr": "ngff-zarr", "ngio": "ngio", "ome-zarr": "ome-zarr-py"}
"""Word after ``python`` at a block: name of the library, and of its page."""

PAGES = ("reading", "creating", "editing", "plates", "labels", "files")

_TABLE = re.compile(r"(?<=\|---\|\n)(\|[^\n]*\n)+")


@dataclass(frozen=True)
class Task:
    """A heading of a page with its scripts, by library."""

    page: Path
    title: str
    lamella: str
    others: dict[str, str]

    @property
    def anchor(self) -> str:
        """The name of the heading in a link."""
        return re.sub(r"[^\w\s-]", "", self.title.lower()).strip().replace(" ", "-")

    @property
    def link(self) -> str:
        """A link to the task from another page of the folder."""
        return f"[{self.title}]({self.page.name}#{self.anchor})"


def tasks_of(page: Path) -> list[Task]:
    """Return the tasks of a page: each has one script of lamella, and at most one of each other library."""
    tasks = []
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.M)[1:]:
        blocks = re.findall(r"^```python ([\w-]+)\n(.*?)^```", section, re.M | re.S)
        if blocks:
            title, scripts = section.partition("\n")[0], dict(blocks)
            assert len(scripts) == len(blocks), f"{page.name}: a library has two scripts for {title!r}"
            assert scripts.keys() <= {"lamella", *LIBRARIES}, f"{page.name}: {title}"
            tasks.append(Task(page, title, scripts.pop("lamella"), scripts))
    return tasks


TASKS = [task for page in PAGES for task in tasks_of(FOLDER / f"{page}.md")]


def length_of(code: str) -> tuple[int, int]:
    """Return the statements of a script, and its words: names, keywords, numbers and texts."""
    words = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
    return (
        sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(code))),
        sum(token.type in words for token in tokenize.generate_tokens(io.StringIO(code).readline)),
    )


def call_of(code: str) -> str | None:
    """Return the one call of a script without its imports; None if it has more."""
    body = [node for node in ast.parse(code).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    if len(body) != 1:
        return None
    node: ast.AST = body[0]
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        node = node.value
    source = ast.get_source_segment(code, node)
    return None if source is None or "\n" in source else source


def lengths_table() -> list[str]:
    """Return the rows of the table of all tasks: statements and words with each library."""
    rows = []
    for task in TASKS:
        lengths = {name: length_of(code) for name, code in {"lamella": task.lamella, **task.others}.items()}
        counts = [lengths.get(name) for name in ("lamella", *LIBRARIES)]
        cells = [f"{count[0]} / {count[1]}" if count else "" for count in counts]
        rows.append(f"| {task.link} | {' | '.join(cells)} |")
    return rows


def calls_table(library: str) -> list[str]:
    """Return the rows of the table of calls of a library, for the tasks that need one call on both sides."""
    rows = []
    for task in TASKS:
        calls = [call_of(task.lamella), call_of(task.others.get(library, ""))]
        if None not in calls:
            rows.append(f"| {task.link} | `{calls[1]}` | `{calls[0]}` |")
    return rows


def with_rows(text: str, rows: list[str]) -> str:
    """Return the text of a page with other rows in its first table."""
    return _TABLE.sub(lambda _: "\n".join(rows) + "\n", text, count=1)
