"""House rules that a machine can hold: sizes, leftovers, paths of one machine, examples, the changelog."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from functools import cache, cached_property
from pathlib import Path

import pytest

import lamella
import lamella.errors
import lamella.models

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))

MAX_LINES_OF_A_FILE = 700
MAX_LINES_OF_A_FUNCTION = 60
LEFTOVERS = re.compile(
    r"\b(TODO|FIXME|XXX|for now|not yet supported|raise NotImplementedError)\b", re.IGNORECASE
)
# Absolute paths under somebody's home or a scratch folder, and this checkout's own place, whatever it is.
MACHINE_PATHS = re.compile(
    rf"(?<![\w.~$}}])/(?:home|root|Users|tmp)/\w|{re.escape(str(ROOT))}/|\.\./shared\b"
)


@cache
def trees() -> dict[Path, ast.Module]:
    """Return the syntax trees of all source files."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def tracked_files() -> list[Path]:
    """Text files under version control, except data that others wrote."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in run.stdout.split("\0") if name and not name.startswith("tests/data/")]
    return [
        ROOT / name for name in names if (ROOT / name).is_file() and b"\0" not in (ROOT / name).read_bytes()
    ]


def imported_packages() -> dict[str, set[str]]:
    """Packages that the sources import by name, and the files that do."""
    found: dict[str, set[str]] = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(relative(path))
    return {name: files for name, files in found.items() if name not in {*sys.stdlib_module_names, "lamella"}}


def declared_packages() -> set[str]:
    """Names of what pyproject.toml installs, core and extras, as they are imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.split(r"[\[<>=!; ]", line)[0].lower().replace("-", "_") for line in lines}
    return {{"pillow": "PIL", "scikit_image": "skimage"}.get(name, name) for name in names}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public_callables() -> dict[str, object]:
    """Classes and functions that users import, except errors, whose names say it all."""
    found = {}
    for module in (lamella, lamella.models):
        for name in module.__all__:
            item = getattr(module, name)
            is_error = inspect.isclass(item) and issubclass(item, Exception)
            if (inspect.isclass(item) or inspect.isfunction(item)) and not is_error:
                found[f"{module.__name__}.{name}"] = item
    return found


#: What nodes are to operations and adapters: no user calls it.
INTERNAL = {
    "region_written", "create_from", "has_moved", "is_unwritten", "missing_error", "recording_write", "open_level",
    "require_writable", "warn_unfinished",
}  # fmt: skip


def public_members() -> dict[str, tuple[str, object]]:
    """Methods and properties of the classes of the front door, also those that a base of ours gives them."""
    found = {}
    for name in lamella.__all__:
        item = getattr(lamella, name)
        if inspect.isclass(item):
            for cls in (c for c in item.__mro__ if c.__module__.startswith("lamella.")):
                for key, member in vars(cls).items():
                    if key.startswith("_") or key in INTERNAL:
                        continue
                    if isinstance(member, property | cached_property):
                        found[f"{cls.__name__}.{key}"] = "property", member
                    elif inspect.isroutine(member):
                        found[f"{cls.__name__}.{key}"] = "method", getattr(member, "__func__", member)
    return found


def test_a_source_file_holds_one_idea():
    lines = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > MAX_LINES_OF_A_FILE} == {}


def test_functions_are_short():
    long = {}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)
                if lines > MAX_LINES_OF_A_FUNCTION:
                    long[relative(path), node.name] = lines
    assert not long


def test_a_module_says_what_it_does():
    bare = [relative(path) for path, tree in trees().items() if not ast.get_docstring(tree)]
    assert [name for name in bare if (ROOT / name).read_text(encoding="utf-8").strip()] == []


def test_source_has_no_leftovers():
    leftovers = {
        f"{relative(path)}:{number}": line.strip()
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFTOVERS.search(line)
    }
    assert leftovers == {}


def test_no_tracked_file_names_a_place_on_one_machine():
    files = tracked_files()
    if not files:
        pytest.skip("not a git checkout")
    named = {}
    for path in files:
        found = MACHINE_PATHS.search(path.read_text(encoding="utf-8", errors="replace"))
        if found:
            named[relative(path)] = found.group()
    assert not named


def test_a_public_name_has_a_docstring_with_an_example():
    found = public_callables()
    assert len(found) > 50
    assert [name for name, item in found.items() if ">>>" not in (inspect.getdoc(item) or "")] == []


def test_a_public_member_has_a_docstring_and_a_method_an_example():
    docstrings = {
        name: (kind, inspect.getdoc(member) or "") for name, (kind, member) in public_members().items()
    }
    assert len(docstrings) > 100
    assert [name for name, (_, docstring) in docstrings.items() if not docstring.strip()] == []
    assert [name for name, (kind, text) in docstrings.items() if kind == "method" and ">>>" not in text] == []
    assert [name for name, (_, text) in docstrings.items() if re.search(r"\w -{3,}", text)] == []


#: The start of a message: a capital, a quote, a digit, a placeholder, or a name in code with what it names.
STARTS = re.compile(r"[^a-z]|[a-z_][\w.\[\]{}]*(=|:|\(\))")


def texts_of(message: ast.expr) -> list[str]:
    """Return the texts of a message, one for each branch; placeholders are "{}"."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return [message.value]
    if isinstance(message, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "{}" for part in message.values)]
    if isinstance(message, ast.BinOp) and isinstance(message.op, ast.Add):
        left, right = texts_of(message.left) or ["{}"], texts_of(message.right) or ["{}"]
        return [first + last for first in left for last in right]
    if isinstance(message, ast.IfExp):
        return [*texts_of(message.body), *texts_of(message.orelse)]
    return []


def messages() -> list[tuple[str, str]]:
    """Return the literal messages of all errors and warnings, with their places."""
    kinds = {name for name in vars(lamella.errors) if name.endswith("Error")}
    kinds |= {"BadParameter", "ClickException", "UsageError", "importing", "warn"}
    subjects = {"items_of", "whole_number", "whole_numbers"}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(
                getattr(base, "id", "") in kinds for base in node.bases
            ):
                kinds.add(node.name)
    found = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                texts = texts_of(node.args[0]) if name in kinds else []
                if name in subjects:  # which these functions complete
                    texts = [f"{text}." for text in texts_of(node.args[1])]
                found += [(f"{relative(path)}:{node.lineno}", text) for text in texts]
    return found


def test_a_message_is_a_sentence():
    found = messages()
    assert len(found) > 1000
    assert [item for item in found if not STARTS.match(item[1])] == []
    assert [item for item in found if not item[1].rstrip().endswith((".", "?", "{}"))] == []


def test_a_warning_names_the_line_of_the_user():
    texts = {relative(path): path.read_text() for path in SOURCES}
    assert sum(len(re.findall(r"(?<![.\w])warn\(", text)) for text in texts.values()) > 20
    # `errors.warn` finds the line; no other module warns by itself.
    assert [path for path, text in texts.items() if "warnings.warn_" in text or "warnings.warn(" in text] == [
        "src/lamella/errors.py"
    ]


def test_changelog_begins_with_unreleased_and_knows_the_version():
    headings = re.findall(
        r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    assert headings[1] == lamella.__version__


def test_the_design_page_says_why_each_dependency_is_needed():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = page.partition("## What an install brings")[2].partition("\n## ")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    assert [name for name in names if not re.search(rf"^\|[^|]*\b{name}\b", table, re.MULTILINE)] == []
    assert [
        name for name in project["optional-dependencies"] if name != "all" and f"`{name}`" not in table
    ] == []


def test_every_imported_package_is_declared():
    optional = {"pandas", "fsspec", "aiohttp", "boto3"}  # asked for by name where they are missing
    optional |= {"napari", "pint", "qtpy", "superqt"}  # of napari, which runs the plugin
    missing = {
        name: files
        for name, files in imported_packages().items()
        if name not in declared_packages() | optional
    }
    assert not missing
