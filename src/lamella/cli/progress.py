"""What commands that take long show of their progress, and how they end when they are asked to.

Layer: cli. Nothing here knows an operation.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Cut(click.ParamType[Any]):
    """Lengths of the last axes, separated by commas, or a word."""

    name = "lengths"

    def __init__(self, *words: str) -> None:
        self._words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Show what may be given."""
        del param, ctx
        return "|".join(["N,N,...", *self._words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse lengths; a word stays a word."""
        if not isinstance(value, str) or value in self._words:
            return value
        try:
            lengths = tuple(int(part) for part in value.split(","))
        except ValueError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            words = "".join(f"{word} nor " for word in self._words)
            self.fail(f"{value!r} is neither {words}lengths like 16,256,256", param, ctx)
        return lengths


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let a batch system's request to end clean up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def shown(
    quiet: bool, *, first: str, amount: Callable[[int], str]
) -> Iterator[Callable[[float, int, str], None] | None]:
    """Show progress on stderr: a bar on a terminal, lines otherwise.

    Parameters
    ----------
    quiet
        Show nothing.
    first
        What is done before there is anything to count.
    amount
        Spells the amount of all there is to do, "12 planes".
    """
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar(first) as show:
            yield show
    else:
        yield _Lines(amount).show


@contextmanager
def _bar(first: str) -> Iterator[Callable[[float, int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(first, total=None)

        def show(done: float, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


class _Lines:
    """A line for each tenth of all there is to do, and one for a pyramid."""

    def __init__(self, amount: Callable[[int], str]) -> None:
        self._amount = amount
        self._tenth = 0
        self._last = ""

    def show(self, done: float, total: int, what: str) -> None:
        """Print a line when there is something new to say."""
        tenth = int(10 * done / total) if total else 0
        if tenth > self._tenth:
            self._tenth = tenth
            self._print(f"{10 * tenth} % of {self._amount(total)}")
        if what == "pyramid" and done == total:
            self._print("pyramid")

    def _print(self, text: str) -> None:
        if text != self._last:
            click.echo(text, err=True)
            self._last = text
