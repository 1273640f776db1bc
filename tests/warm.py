"""Run scripts in forks of one process that has imported lamella, instead of starting an interpreter for each.

An interpreter that imports lamella, numpy and zarr needs half a second of a processor, a fork some milliseconds. Not
for tests of what is imported, and not for scripts whose functions are sent to processes that are spawned.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER = """
import importlib, json, os, signal, sys, traceback

signal.signal(signal.SIGINT, signal.default_int_handler)
for name in (
    "numpy", "xarray", "dask.array", "zarr", "zarr.storage", "zarr.core.sync", "numcodecs",
    "lamella.ops.pyramids.pyramid",
    "lamella.ops.conversion.convert", "lamella.ops.rewriting.upgrade", "lamella.ops.rewriting.rechunk",
    "lamella.ops.integrity.verify", "lamella.ops.integrity.checksum", "lamella.store.pixels.engine",
    "lamella.store.pixels.engine_zarr", "lamella.ops.plates.from_positions", "lamella.ops.plates.members",
):
    importlib.import_module(name)


def run(task):
    for number, name in enumerate((os.devnull, task["out"], task["err"])):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["environment"])
    sys.argv = ["-c", *task["arguments"]]
    sys.path[:] = ["", *(path for path in sys.path if path)]
    status = 0
    try:
        exec(compile(task["code"], "<string>", "exec"), vars(sys.modules["__main__"]))
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


for line in sys.stdin:
    child = os.fork()
    if not child:
        run(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process, once for each process of the tests."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    atexit.register(server.communicate)  # it ends with its standard input
    return server


def run(
    code: str,
    *arguments: object,
    cwd: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run code as ``python -c`` does; return exit code and output."""
    if not hasattr(os, "fork"):
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        task: dict[str, Any] = {
            "code": code,
            "arguments": [str(item) for item in arguments],
            "cwd": os.fspath(cwd or Path.cwd()),
            "environment": {**os.environ, **(environment or {})},
            "out": f"{folder}/out",
            "err": f"{folder}/err",
        }
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        out, err = (Path(task[name]).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess([sys.executable, "-c", code], status, out, err)
