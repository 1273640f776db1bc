"""The table of laws that are held elsewhere names tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

from .covered import COVERED

ROOT = Path(__file__).parents[2]


def names_in(module):
    """Names in a module that pytest collects: test functions, and test classes by definition or assignment."""
    for node in ast.parse((ROOT / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def test_the_test_of_the_law_exists():
    for law, test in COVERED.items():
        module, _, name = test.partition("::")
        assert name.lower().startswith("test"), law
        assert name in names_in(module), law
