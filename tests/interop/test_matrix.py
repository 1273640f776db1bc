"""The table of the page: one failure is enough for a no, and what a library says for itself is a note."""

from __future__ import annotations

from interop_matrix import BEGIN, END, Matrix
from peer import Form

HERE = "test_theirs_here"


def params(library, form, kind="image"):
    return {"library": library, "form": form, "kind": kind}


def test_one_failure_is_a_no_and_what_was_not_asked_is_a_dash(tmp_path):
    old, new = Form("0.4", False), Form("0.5", True)
    matrix = Matrix()
    matrix.add(HERE, params("iohub", old), True, {})
    matrix.add(HERE, params("iohub", old), False, {})
    matrix.add(HERE, params("ngio", old), True, {})
    matrix.add(HERE, params("ngio", new), True, {"breaks": "AX-04 (SHOULD)"})
    matrix.add(HERE, params("ngio", new, "plate"), True, {"cannot": "no shards"})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    matrix.write(page)
    lines = page.read_text().splitlines()
    assert "| image | 0.4 | **no** | yes |" in lines
    assert "| image | 0.5, sharded | - | yes [1] |" in lines
    assert "| plate | 0.5, sharded | - | cannot [2] |" in lines
    assert lines[-4:] == ["1. AX-04 (SHOULD)", "2. no shards", END, "after"]
    assert lines[0] == "before"
    assert "old" not in lines
    assert matrix.cells == 4


def test_tests_without_a_library_are_no_row():
    matrix = Matrix()
    matrix.add("test_ours_elsewhere", {"form": Form("0.4", False)}, True, {})
    matrix.add("test_samples", params("iohub", Form("0.4", False)), True, {})
    assert matrix.outcomes == {}
