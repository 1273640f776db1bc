"""The process whose children are killed: started once, given one work after the other.

Used by tests and by ``torture``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .works import WORKS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Killer:
    """Has works done in children that are killed, one step later each time."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    @property
    def errors(self) -> str:
        """What the children have printed when something failed."""
        return self._errors.read_text()

    def kill(
        self, work: str, version: str, folder: Path, engine: str, most: int | None
    ) -> list[dict[str, Any]]:
        """Do a work whole, and then in children that are killed: after the first step of each kind, at most so many.

        Returns
        -------
        list of dict
            What became of each, the whole one first; see ``killed.py``. The template is ``folder / "template"``.
        """
        template, out = folder / "template", folder / "out"
        for made in (template, out):
            made.mkdir()
        WORKS[work].prepare(template, version)
        task = {
            "work": work,
            "version": version,
            "engine": engine,
            "most": most,
            "template": str(template),
            "out": str(out),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline()).strip():
            lines.append({**json.loads(line), "work": work})
        assert line, self.errors
        assert lines[0]["status"] == 0, self.errors
        return lines


@contextmanager
def started() -> Iterator[Killer]:
    """Start the process, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder) / "errors"
        with (
            errors.open("w") as file,
            subprocess.Popen(
                [sys.executable, "-W", "ignore", str(Path(__file__).with_name("killed.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            ) as process,
        ):  # fmt: skip
            yield Killer(process, errors)
