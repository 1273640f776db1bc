"""What docs/versions.md shows runs, in a folder of the test's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"


def test_the_examples_of_the_page_about_versions_run(tmp_path, capsys):
    pytest.importorskip("icechunk", reason="icechunk is installed on Python 3.12 or newer")
    page = PAGE.read_text("utf-8").replace("/data/plate", f"{tmp_path}/plate")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python icechunk\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["1", "0", "['0']"]
    assert [line.partition(" ")[2] for line in lines[3:6]] == [
        "add a pyramid",
        "remove the border",
        "raw data",
    ]
