"""Law: docs/promises-tested.md names existing tests for every promise of docs/promises.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISES = re.findall(r"^- \*\*(.+?)\.\*\*", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE)
TESTED = (ROOT / "docs" / "promises-tested.md").read_text()


def rows() -> dict[str, str]:
    """Return the row of the tables that belongs to each promise."""
    lines = [
        line for line in TESTED.splitlines() if line.startswith("| ") and not line.startswith("| promise |")
    ]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", TESTED)
    assert len(named) > 20
    for name in named:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, f"{name} is not there"


def test_every_promise_names_a_test():
    assert len(PROMISES) > 40
    assert [promise for promise in PROMISES if "`tests/" not in rows().get(promise, "")] == []


def test_every_tested_promise_is_on_the_page_of_promises():
    assert [promise for promise in rows() if promise not in PROMISES] == []
