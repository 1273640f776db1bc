"""Report the progress of an operation: to the caller's function, or to a bar on the terminal."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

Progress: TypeAlias = "Callable[[float, int, str], object]"
"""Called with (done, total, noun), such as (3, 10, "images"); total is 0 while unknown. One thread calls at a time."""


def check_progress(progress: object) -> None:
    """Raise WrongTypeError for a progress that is neither a function nor a bool."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise WrongTypeError(
            f"progress is True for a bar, or a function of (done, total, what), not {progress!r}."
        )


class Count:
    """Count finished work, and report it to a progress function."""

    def __init__(self, progress: Progress | None, what: str, total: int = 0) -> None:
        self._progress = progress
        self._what = what
        self._total = total
        self._done = 0.0
        self._lock = Lock()

    def expect(self, amount: int) -> None:
        """Add to the total."""
        self._total += amount

    def add(self, amount: float = 1, what: str | None = None) -> None:
        """Add to the amount that is done, on any thread; `what` replaces the noun of this report."""
        if self._progress is not None:
            with self._lock:
                self._done += amount
                done = round(self._done, 6)  # sums of fractions are off by a rounding error
                self._progress(int(done) if done.is_integer() else done, self._total, what or self._what)

    def finish(self, what: str | None = None) -> None:
        """Report that all is done."""
        if self._progress is not None:
            with self._lock:
                self._progress(self._total, self._total, what or self._what)


def is_terminal() -> bool:
    """Return whether the error stream is a terminal; variables such as FORCE_COLOR do not make a file one."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def reporting(progress: Progress | bool | None, first: str) -> Iterator[Progress | None]:
    """Return the function to call with the progress of an operation; None without one."""
    if progress is not True:
        yield progress or None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not (is_terminal() or console.is_jupyter):
        yield None
        return
    with _bar(console, first) as show:
        yield show


@contextmanager
def _bar(console: Console, first: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(first, total=None)

        begin = time.monotonic()

        def show(done: float, total: int, what: str) -> None:
            text = what if total else f"{done:,.0f} {what}"
            if what == "bytes":
                rate = done / max(time.monotonic() - begin, 0.001)
                text = f"{done / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s"
            bar.update(task, completed=done, total=total or None, description=text)

        yield show
