"""The table of the page: every row has its test, and one failure is enough for a no."""

from __future__ import annotations

import ast
from pathlib import Path

from interop_matrix import BEGIN, END, ROWS, Matrix

ROW = "test_pixels_of_the_finest_level_are_what_was_written"


def test_every_row_has_a_test():
    modules = [ast.parse(path.read_text()) for path in Path(__file__).parent.glob("test_*.py")]
    tests = {node.name for module in modules for node in module.body if isinstance(node, ast.FunctionDef)}
    assert set(ROWS) <= tests


def test_one_failure_is_a_no_and_what_was_not_asked_is_a_dash(tmp_path):
    matrix = Matrix()
    for version, peer, passed in (
        ("0.4", "iohub", True),
        ("0.4", "iohub", False),
        ("0.4", "ngio", True),
        ("0.5", "ngio", True),
    ):
        matrix.add(f"{ROW}[x]", {"version": version, "image": peer}, passed)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    matrix.write(page)
    lines = page.read_text().splitlines()
    assert "| an image: pixels | 0.4 | **no** | yes |" in lines
    assert "| an image: pixels | 0.5 | - | yes |" in lines
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines


def test_tests_without_a_library_are_no_row():
    matrix = Matrix()
    matrix.add("test_no_consolidated_metadata_that_could_go_stale[x]", {"made": ("0.4", False)}, True)
    assert matrix.outcomes == {}
