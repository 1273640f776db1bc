"""What the README and the pages of docs show runs as it stands."""

from __future__ import annotations

import codeop
import csv
import os
import re
import shlex
from pathlib import Path

import click
import pytest
from tests.coming_from import FOLDER, LIBRARIES, TASKS, calls_table, length_of, lengths_table, with_rows
from tests.warm import run

from fields import cut_fields
from lamella.cli import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


#: Runs scripts one after the other, each as a main module of its own: processes find its functions in its file.
RUN = """
import sys
import warnings
from types import ModuleType

warnings.simplefilter("error")
for path in sys.argv[1:]:
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__file__ = path
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), path, "exec"), vars(main))
"""


def name_of(page):
    """The path of a page from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def python_of(page):
    """The blocks of a page that are to run: a fence with more than the word names what it needs."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=name_of)
def test_the_python_of_a_page_runs_in_an_empty_folder(tmp_path, page):
    if page.stem == "tutorial":  # begins with what `make demo` leaves
        cut_fields(
            ROOT / "tests" / "data" / "samples" / "idr0062_nuclei.ome.tif", tmp_path / "demo/out/fields"
        )
    scripts = [tmp_path / f"block{number}.py" for number in range(len(python_of(page)))]
    for script, code in zip(scripts, python_of(page), strict=True):
        script.write_text(code, encoding="utf-8")
    done = run(RUN, *scripts, cwd=tmp_path, environment={"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0, done.stderr


def refused_at_the_prompt(code):
    """The first line that Python's prompt refuses of a pasted script, where a blank line ends a block."""
    pasted = []
    for line in [*code.splitlines(), ""]:
        pasted.append(line)
        try:
            if codeop.compile_command("\n".join(pasted)):
                pasted = []
        except SyntaxError:
            return line
    return "\n".join(pasted).strip() or None


def test_the_python_of_a_page_can_be_pasted_into_the_prompt():
    refused = [(name_of(page), refused_at_the_prompt(code)) for page in PAGES for code in python_of(page)]
    assert [(page, line) for page, line in refused if line] == []


def test_pages_import_from_public_modules_alone():
    pattern = r"(?:from|import) lamella\.(\w+)"
    found = {name for page in PAGES for code in python_of(page) for name in re.findall(pattern, code)}
    assert found <= {"errors", "models", "readers", "torch"}


def test_the_readme_shows_how_to_use_it_from_python():
    assert "from lamella import open_ome_zarr" in python_of(README)[0]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_points_to_are_in_the_repository(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_make_targets_that_the_readme_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()


def test_each_task_is_at_most_as_long_as_with_another_library():
    """tests/interop runs the scripts."""
    longer = [
        (task.page.name, task.title, library, count, other)
        for task in TASKS
        for library, code in task.others.items()
        for count, other in zip(length_of(task.lamella), length_of(code), strict=True)
        if count > other
    ]
    assert longer == []


@pytest.mark.parametrize("name", ["compared", *LIBRARIES.values()])
def test_tables_of_other_libraries_follow_from_the_tasks(name):
    """`COMPARED_PAGE=1` writes them."""
    page = FOLDER / f"{name}.md"
    library = next((library for library, stem in LIBRARIES.items() if stem == name), None)
    text = page.read_text(encoding="utf-8")
    expected = with_rows(text, lengths_table() if library is None else calls_table(library))
    if os.environ.get("COMPARED_PAGE"):
        page.write_text(expected, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == expected


#: Blocks that other tests run, by the word after the language.
RUN_ELSEWHERE = {"icechunk", "remote", "lamella", *LIBRARIES}


def fenced(page):
    """The kinds and texts of the code blocks of a page."""
    return re.findall(r"^```([^\n`]+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_each_example_is_run_or_listed_with_the_reason_why_it_cannot_be():
    kinds = {
        (name_of(page), kind)
        for page in PAGES
        for kind, _ in fenced(page)
        if kind != "python" and kind.partition(" ")[2] not in RUN_ELSEWHERE
    }
    with open(ROOT / "tests" / "examples_not_run.csv", newline="", encoding="utf-8") as lines:
        listed = list(csv.DictReader(lines))
    assert {(row["page"], row["block"]) for row in listed} == kinds
    for row in listed:
        paths = re.findall(r"tests/[\w/]+(?:\.py)?", row["reason"])
        assert all((ROOT / path).exists() for path in paths), row


def test_commands_that_pages_show_have_these_names_and_options():
    shells = [
        (name_of(page), text.replace("\\\n", " "))
        for page in PAGES
        for kind, text in fenced(page)
        if kind in ("console", "bash", "sh")
    ]
    found = [
        (page, line)
        for page, text in shells
        for line in re.findall(r"^(?:\$ )?lamella (.*)$", text, re.MULTILINE)
    ]
    assert len(found) > 20
    for page, line in found:
        words = shlex.split(line, comments=True)
        if words[0].startswith("-"):
            continue
        command = main.get_command(click.Context(main), words[0])
        assert command is not None, (page, line)
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {
            "--help"
        }
        used = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        assert used <= known, (page, line, used - known)
