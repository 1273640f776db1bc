"""A process that does one work again and again, each time in a forked child that is killed one step later.

``python killed.py`` reads a task a line as JSON from standard input and prints a line of JSON for each child, and an
empty one when it has done the task. The children are forked from a process that has imported everything (also what the
first child of a task has imported) and never started a thread: each costs some milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reliability.faults import Faults, chosen, die
from tests.reliability.states import digest
from tests.reliability.works import WORKS

#: What a work may import: in the parent, once.
_IMPORTED = (
    *("numba", "zarr", "zarr.storage", "zarr.core.sync", "numcodecs", "lamella.store.pixels.engine_zarr"),
    *("lamella.ops.pyramids.pyramid", "lamella.ops.conversion.convert", "lamella.ops.rewriting.upgrade"),
    *("lamella.store.pixels.engine_zarr", "lamella.store.pixels.engine", "lamella.ops.rewriting.rechunk"),
    *("lamella.ops.repair.reindex", "lamella.ops.plates.members", "lamella.ops.plates.from_positions"),
    *("tifffile", "lamella.adapters.export.export", "lamella.ops.conversion.watch"),
)


def child(task: dict[str, Any], folder: Path, at: int | None, pipe: int) -> None:
    """Do the work; tell through the pipe what was acknowledged, and which documents were written."""
    from lamella.store.pixels import engine

    if task["engine"] == "zarr":
        engine.coding_of = lambda _: None

    def tell(**message: Any) -> None:
        os.write(pipe, json.dumps(message).encode() + b"\n")

    def replaced(path: str, data: bytes) -> None:
        if path.endswith((".json", ".zattrs", ".zgroup", ".zarray", ".tif")):
            tell(document=digest(path, data))

    faults = Faults(folder, at, lambda step: (tell(killed=step), die(step))[1], on_replace=replaced)
    with faults:
        WORKS[task["work"]].run(folder, task["version"], lambda what: tell(acknowledged=what))
    tell(steps=faults.steps, modules=list(sys.modules))


def once(task: dict[str, Any], at: int | None) -> dict[str, Any]:
    """Run one child in a copy of the template; return what it told."""
    folder = Path(task["out"]) / str(at or "finished")
    shutil.copytree(task["template"], folder, symlinks=True)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            child(task, folder, at, write)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as lines:
        told = [json.loads(line) for line in lines]
    _, status = os.waitpid(pid, 0)
    return {
        "n": at,
        "folder": str(folder),
        "status": os.waitstatus_to_exitcode(status),
        "step": next((one["killed"] for one in told if "killed" in one), None),
        "acknowledged": [one["acknowledged"] for one in told if "acknowledged" in one],
        "documents": sorted({one["document"] for one in told if "document" in one}),
        "steps": next((one["steps"] for one in told if "steps" in one), []),
        "modules": next((one["modules"] for one in told if "modules" in one), []),
    }


def main() -> None:
    """For each task: run the work whole, and then once for each chosen step; an empty line ends it."""
    for module in _IMPORTED:
        importlib.import_module(module)
    for line in sys.stdin:
        task = json.loads(line)
        whole = once(task, None)
        for module in whole.pop("modules"):
            if module not in sys.modules:
                with suppress(ImportError):
                    importlib.import_module(module)
        print(json.dumps(whole), flush=True)
        for n in chosen(whole["steps"], task["most"]) if whole["status"] == 0 else ():
            print(json.dumps(once(task, n)), flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
