"""Count the lines of the package by kind, and the functions that three calls run, and write both into docs/design.md.

    python benchmarks/structure.py [--where | --lines [REVISION]]

The calls are `compute_pyramid(levels=4)` of an image of 8 MB, the first crop of an image that was just opened, and
`set_scale`, each in a new process after importing lamella. Counted are the modules of lamella with a called function,
their different functions, and all calls. ``--where`` lists the modules, and ``--lines`` counts the lines of each folder
at a revision of git (by default the files as they are); both write nothing.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import threading
import tokenize
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import markdown, write_block

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
SOURCES = HERE.parent / "src" / "lamella"
PAGE = HERE.parent / "docs" / "design.md"
KINDS = ("code", "docstrings", "imports", "comments", "blank")
CALLS = ("compute_pyramid", "first_crop", "set_scale")
GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def lines_of(path: Path) -> Counter[str]:
    """Return the number of lines of each kind in a file; a line of several kinds counts as the first of `KINDS`."""
    text = path.read_text(encoding="utf-8")
    kinds = ["blank" if not line.strip() else "code" for line in text.splitlines()]

    def mark(node: Any, kind: str) -> None:
        kinds[node.lineno - 1 : node.end_lineno] = [kind] * (node.end_lineno - node.lineno + 1)

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            mark(node, "imports")
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            mark(node, "docstrings")
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
                kinds[token.start[0] - 1] = "comments"
    return Counter(kinds)


def layers(sources: Path = SOURCES, depth: int = 1) -> dict[str, tuple[int, Counter[str]]]:
    """Return the number of files and lines by kind, for each folder up to a depth and for the package."""
    counts: dict[str, tuple[int, Counter[str]]] = {}
    for path in sorted(sources.rglob("*.py")):
        folders = path.relative_to(sources).parent.parts
        lines = lines_of(path)
        for name in ("/".join(folders[:depth]) or "(top)", "all"):
            files, lines_before = counts.get(name, (0, Counter()))
            counts[name] = files + 1, lines_before + lines
    counts["all"] = counts.pop("all")
    return counts


def table(counts: dict[str, tuple[int, Counter[str]]]) -> str:
    """Return the lines by folder and kind as a table."""
    lines = [
        [name, *(f"{number:,}" for number in (files, *(counted[kind] for kind in KINDS), counted.total()))]
        for name, (files, counted) in counts.items()
    ]
    return markdown(["folder", "files", *KINDS, "all"], lines)


def at_revision(revision: str) -> str:
    """Return the lines of each folder of a revision as a table."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "src"], cwd=HERE.parent, check=True, capture_output=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(folder, filter="data")
        return table(layers(Path(folder, "src", "lamella"), depth=2))


def prepared(name: str, folder: Path) -> Callable[[], object]:
    """Write the image of a call in this process, open it again, and return the call."""
    import numpy as np

    from lamella import open_ome_zarr

    path = folder / "image.zarr"
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version="0.5") as position:
        pixels = np.random.default_rng(0).integers(0, 999, (1, 1, 16, 512, 512), dtype="uint16")
        position.create_image("0", pixels, chunks=(1, 1, 4, 256, 256), shards_ratio=(1, 1, 4, 2, 2))
    position = open_ome_zarr(path, mode="r+")
    if name == "compute_pyramid":
        return lambda: position.compute_pyramid(levels=4)
    if name == "first_crop":
        return lambda: position["0"][0, 0, 2:6, 100:200, 100:200]
    return lambda: position.set_scale("*", "z", 0.5)


def calls_of(call: Callable[[], object]) -> dict[str, Counter[str]]:
    """Run a call; return the calls within lamella on all threads, by module and function."""
    calls: dict[str, Counter[str]] = {}
    frames: list[
        Any
    ] = []  # generators are resumed often, and their frames are kept so that no other has the same id
    frame_ids: set[int] = set()

    def count_call(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_name.startswith("<") or not code.co_filename.startswith(str(SOURCES)):
            return
        if not code.co_flags & inspect.CO_OPTIMIZED:
            return  # the body of a class, which runs when its module is imported
        if code.co_flags & GENERATORS:
            if id(frame) in frame_ids:
                return
            frame_ids.add(id(frame))
            frames.append(frame)
        module = str(Path(code.co_filename).relative_to(SOURCES).with_suffix("")).replace("/", ".")
        calls.setdefault(module, Counter())[code.co_qualname] += 1

    threading.setprofile(count_call)
    sys.setprofile(count_call)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def measured(name: str) -> dict[str, dict[str, int]]:
    """Measure a call in a new process."""
    command = [sys.executable, __file__, "--measure", name]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    counts: dict[str, dict[str, int]] = json.loads(run.stdout)
    return counts


def main() -> None:
    """Print both tables and write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--lines", nargs="?", const="", metavar="REVISION")
    parser.add_argument("--measure", choices=CALLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(calls_of(prepared(options.measure, Path(folder)))))
        return
    if options.lines is not None:
        print(at_revision(options.lines) if options.lines else table(layers(depth=2)))
        return
    calls = {name: measured(name) for name in CALLS}
    if options.where:
        for name, modules in calls.items():
            print(f"\n{name}")
            for module, functions in sorted(modules.items()):
                print(
                    f"  {module}: {', '.join(f'{count} x {function}' for function, count in functions.items())}"
                )
        return
    walks = [
        [
            name,
            len(modules),
            sum(map(len, modules.values())),
            sum(sum(calls_by_function.values()) for calls_by_function in modules.values()),
        ]
        for name, modules in calls.items()
    ]
    text = "\n\n".join(
        [
            table(layers()),
            markdown(
                ["call", "modules", "functions", "calls"], [[name, *map(str, row)] for name, *row in walks]
            ),
        ]
    )
    print(text)
    write_block("structure", text, PAGE)


if __name__ == "__main__":
    main()
