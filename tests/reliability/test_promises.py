"""Law: every test that docs/promises.md names is there, and every promise names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text()


def named() -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)


def test_every_test_that_the_page_names_is_there():
    found = named()
    assert len(found) > 20
    for name in found:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, f"{name} is not there"


def promises() -> list[str]:
    """Lines of the tables that begin with the word."""
    found, inside = [], False
    for line in PAGE.splitlines():
        inside = line.startswith("|") and (inside or line.startswith("| promise |"))
        if inside and line.startswith("| ") and not line.startswith("| promise |"):
            found.append(line)
    return found


def test_every_promise_names_a_test():
    assert len(promises()) > 40
    assert [line for line in promises() if "`tests/" not in line] == []
