"""Processes of the scenarios: workers that wait for orders, and children that each make many trials.

A child that dies or stands still is named by its trial, and the rest goes on.

A library that ends the process (a failed assertion of C++, memory that nobody has) would else end the whole run, and
nobody would know which document did it.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds without a next trial after which a process counts as hanging where not even a signal ends it.
PATIENCE = 300

_REPORTED = 50


def python(*arguments: object, **pipes: Any) -> subprocess.Popen[str]:
    """Start Python with arguments in a process that imports what this one can."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        **pipes,
    )


@contextmanager
def workers(script: str, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start processes that run a script, each with its number, and kill them in the end."""
    started: list[subprocess.Popen[str]] = []
    try:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.extend(python("-c", script, number, **pipes) for number in range(count))
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.communicate()


def answers_of(
    asked: list[subprocess.Popen[str]], order: object, turns: list[int] | None = None
) -> list[Any]:
    """Send one order to all workers, as a line of JSON; return what each answers.

    Parameters
    ----------
    asked
        The workers.
    order
        What JSON can hold.
    turns
        Numbers of the workers in the order in which they are asked.
    """
    for number in turns or range(len(asked)):
        stdin = asked[number].stdin
        assert stdin is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
    return [json.loads(worker.stdout.readline()) for worker in asked if worker.stdout is not None]


class Child:
    """A process that makes each `step`-th trial from `first` on, until a time is over.

    Parameters
    ----------
    module
        Its name; it has ``begin(folder)``, ``trial(bench, seed, number, counts)`` that yields what was unclear, and
        ``UNIT``, the name of what is counted.
    seed, first, step, most, seconds
        Which trials, up to which, and how long.
    folder
        To work in.
    """

    def __init__(
        self, module: str, seed: int, first: int, step: int, most: int, seconds: float, folder: str
    ) -> None:
        self.seed, self.step, self.most, self.folder = seed, step, most, folder
        self._module = module
        self._ends = time.monotonic() + seconds
        self._text = b""
        self._start(first)

    def _start(self, first: int) -> None:
        self._mark = Path(self.folder, "number")
        self._mark.write_bytes(first.to_bytes(8, "little"))
        self._stores = tempfile.TemporaryDirectory(dir=self.folder)
        left = max(0.0, self._ends - time.monotonic())
        arguments = [
            self._module,
            *map(str, (self.seed, first, self.step, self.most, left)),
            self._stores.name,
            str(self._mark),
        ]
        self.process = python("-m", "torture.children", *arguments, stdout=subprocess.PIPE)
        self._moved = first, time.monotonic()

    def number(self) -> int:
        """Which trial is being made."""
        return int.from_bytes(self._mark.read_bytes(), "little")

    def stands_still(self) -> bool:
        """Whether one trial has taken longer than `PATIENCE`."""
        now = self.number()
        if now != self._moved[0]:
            self._moved = now, time.monotonic()
        return time.monotonic() - self._moved[1] > PATIENCE

    def take(self, counts: Counter[str]) -> bool:
        """Add what the process has said to the counts; False when it is done."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            counts.update(json.loads(line))
        if data:
            return True
        code = self.end()
        if code == 0:
            return False
        self._fault(f"ended the process with {code}", counts)
        return time.monotonic() < self._ends

    def kill(self, counts: Counter[str]) -> None:
        """End a process that stands still, and go on with the next trial."""
        self.process.kill()
        self.end()
        self._fault("hung", counts)

    def end(self) -> int:
        """Wait for the process, and clear up."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._stores.cleanup()
        return self.process.wait()

    def _fault(self, what: str, counts: Counter[str]) -> None:
        number = self.number()
        counts[f"{what} (seed {self.seed}, number {number})"] += 1
        self._text = b""
        self._start(number + self.step)


def spread(
    module: str, seed: int, seconds: float, processes: int | None = None, most: int = 1 << 62
) -> dict[str, int]:
    """Make trials 0, 1, 2, ... of a module for some time in several processes; return what they counted.

    What a process had counted since it last reported is not counted when it dies.
    """
    counts: Counter[str] = Counter()
    n = processes or os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        running = []
        for first in range(n):
            Path(folder, str(first)).mkdir()
            running.append(Child(module, seed, first, n, most, seconds, str(Path(folder, str(first)))))
        try:
            while running:
                pipes = {child.process.stdout: child for child in running}
                for pipe in select.select(list(pipes), [], [], 1)[0]:
                    if not pipes[pipe].take(counts):
                        running.remove(pipes[pipe])
                for child in running:
                    if child.stands_still():
                        child.kill(counts)
        finally:
            for child in running:
                child.process.kill()
                child.end()
    return dict(counts)


def main(
    name: str, seed: int, number: int, step: int, most: int, seconds: float, folder: Path, mark: Path
) -> None:
    """Make trials in this process, and print what was counted as lines of JSON."""
    module = import_module(name)
    bench, counts = module.begin(folder), Counter[str]()
    ends, said = time.monotonic() + seconds, 0
    with mark.open("r+b") as file, mmap.mmap(file.fileno(), 8) as at:
        while number < most and time.monotonic() < ends:
            at[:] = number.to_bytes(8, "little")
            for found in module.trial(bench, seed, number, counts):
                counts["silent" if "silent" in found.fault else "unclear"] += 1
                counts[f"{found} (seed {seed}, number {number})"] += 1
            counts[module.UNIT] += 1
            number += step
            said += 1
            if said % _REPORTED == 0:
                print(json.dumps(counts), flush=True)
                counts.clear()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    asked, *numbers, seconds, folder, mark = sys.argv[1:]
    main(asked, *map(int, numbers), float(seconds), Path(folder), Path(mark))
