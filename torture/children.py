"""Start the processes of the scenarios: workers that wait for orders, and children that each run many trials.

A trial may end its process, by a failed C++ assertion or for lack of memory. So trials run in child processes: the
count names the trial that ended one, and the other trials continue.
"""

from __future__ import annotations

import json
import mmap
import os
import selectors
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

#: Seconds after which a trial counts as hanging, if not even a signal ends it.
PATIENCE = 300

_REPORTED = 50


def python(*arguments: object, **pipes: Any) -> subprocess.Popen[str]:
    """Start Python in a process that can import the same modules."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        **pipes,
    )


@contextmanager
def workers(script: str, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start processes that run a script, each with its number as argument; kill them at the end."""
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
    processes: list[subprocess.Popen[str]], order: object, turns: list[int] | None = None
) -> list[Any]:
    """Send one order to all workers, as a line of JSON, in the order ``turns``; return their answers."""
    for number in turns or range(len(processes)):
        stdin = processes[number].stdin
        assert stdin is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
    return [json.loads(worker.stdout.readline()) for worker in processes if worker.stdout is not None]


class Child:
    """A process that runs trials first, first + step, ... of a module until a time is over.

    The module has ``begin(folder)``, ``trial(bench, seed, number, counts)`` which yields unclear outcomes, and
    ``UNIT``, the name of the count of trials. Trials end before number ``most``.
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
        """Return the number of the current trial."""
        return int.from_bytes(self._mark.read_bytes(), "little")

    def stands_still(self) -> bool:
        """Return whether the current trial has taken longer than `PATIENCE`."""
        now = self.number()
        if now != self._moved[0]:
            self._moved = now, time.monotonic()
        return time.monotonic() - self._moved[1] > PATIENCE

    def take(self, counts: Counter[str]) -> bool:
        """Add the counts that the process printed; return False when it is finished."""
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
        """Kill a process that hangs, and continue with the next trial in a new one."""
        self.process.kill()
        self.end()
        self._fault("hung", counts)

    def end(self) -> int:
        """Wait for the process, and delete its folder."""
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
    """Run trials 0, 1, 2, ... of a module for some time in several processes; return their counts.

    If a process dies, the counts since its last report are lost.
    """
    counts: Counter[str] = Counter()
    process_count = processes or os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        running = []
        for first in range(process_count):
            Path(folder, str(first)).mkdir()
            running.append(
                Child(module, seed, first, process_count, most, seconds, str(Path(folder, str(first))))
            )
        try:
            while running:
                for child in _readable(running):
                    if not child.take(counts):
                        running.remove(child)
                for child in running:
                    if child.stands_still():
                        child.kill(counts)
        finally:
            for child in running:
                child.process.kill()
                child.end()
    return dict(counts)


def _readable(children: list[Child]) -> list[Child]:
    """Return the children whose output can be read, after a second at most."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            assert child.process.stdout is not None
            selector.register(child.process.stdout, selectors.EVENT_READ, child)
        return [key.data for key, _ in selector.select(1)]


def main(
    name: str, seed: int, number: int, step: int, most: int, seconds: float, folder: Path, mark: Path
) -> None:
    """Run trials in this process, and print counts as lines of JSON."""
    module = import_module(name)
    bench, counts = module.begin(folder), Counter[str]()
    ends, reported = time.monotonic() + seconds, 0
    with mark.open("r+b") as file, mmap.mmap(file.fileno(), 8) as at:
        while number < most and time.monotonic() < ends:
            at[:] = number.to_bytes(8, "little")
            for unclear in module.trial(bench, seed, number, counts):
                counts["silent" if "silent" in unclear.problem else "unclear"] += 1
                counts[f"{unclear} (seed {seed}, number {number})"] += 1
            counts[module.UNIT] += 1
            number += step
            reported += 1
            if reported % _REPORTED == 0:
                print(json.dumps(counts), flush=True)
                counts.clear()
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    module_name, *numbers, seconds, folder, mark = sys.argv[1:]
    main(module_name, *map(int, numbers), float(seconds), Path(folder), Path(mark))
