"""``lamella convert``: parse the arguments, show how far it is, print what was made.

Layer: cli. The work is :func:`lamella.ops.convert.convert`.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lamella.errors import LamellaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from lamella.ops.convert import ConvertReport


class _Cut(click.ParamType[Any]):
    """Lengths of the last axes, separated by commas, or a word."""

    name = "lengths"

    def __init__(self, *words: str) -> None:
        self._words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(["N,N,...", *self._words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in self._words:
            return value
        try:
            lengths = tuple(int(part) for part in value.split(","))
        except ValueError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            self.fail(
                f"{value!r} is neither {' nor '.join(self._words)} nor lengths like 16,256,256", param, ctx
            )
        return lengths


class _Levels(click.ParamType[Any]):
    """A number of levels, or auto."""

    name = "levels"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "auto" or isinstance(value, int):
            return value
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither auto nor a number from 1 on", param, ctx)
        return int(value)


@click.command(
    epilog="Example: lamella convert plate/ plate.zarr --well-regex '(?P<row>[A-P])(?P<col>[0-9]+)_f(?P<field>[0-9]+)'"
)
@click.argument("sources", nargs=-1, metavar="SRC...", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option(
    "--well-regex",
    metavar="REGEX",
    help="Place files in a plate by their names; groups row, column (or col), field, channel, z, t.",
)
@click.option(
    "--map",
    "map_file",
    metavar="CSV",
    type=click.Path(),
    help="Place files in a plate by a table: file,row,column,field[,channel,z,t].",
)
@click.option(
    "--series",
    type=click.IntRange(min=0),
    help="Which image to take of a file that holds several; counts from 0.",
)
@click.option(
    "--version", type=click.Choice(["0.4", "0.5"]), default="0.5", show_default=True, help="OME-NGFF version."
)
@click.option(
    "--chunks", type=_Cut("auto"), default="auto", show_default=True, help="Chunk lengths of the last axes."
)
@click.option(
    "--shards",
    type=_Cut("auto", "none"),
    default="auto",
    show_default=True,
    help="Shard lengths of the last axes (0.5).",
)
@click.option(
    "--levels",
    type=_Levels(),
    default="auto",
    show_default=True,
    help="Pyramid levels; auto ends at 256 pixels.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Threads that read; one per processor by default.")
@click.option(
    "--overwrite", is_flag=True, help="Replace an existing Zarr store, once the new one is complete."
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def convert(sources: tuple[str, ...], destination: str, *, quiet: bool, **options: Any) -> None:
    """Convert TIFF files to an OME-Zarr store.

    SRC is a TIFF, OME-TIFF or ImageJ TIFF, or a folder of them, whose files are the planes of one image. With
    --well-regex or --map the files become the fields of a plate. Pixel sizes, units, channel names, colours and time
    increments are kept.
    """
    if not sources and options["map_file"] is None:
        raise click.UsageError(
            "Missing argument 'SRC...': name the files to convert, and then the store to make."
        )
    from lamella.ops.convert import convert as run

    begin = time.monotonic()
    try:
        with _ended_by_sigterm(), warnings.catch_warnings(record=True) as caught, _shown(quiet) as show:
            warnings.simplefilter("always")
            report = run(sources, destination, progress=show, **options)
    except KeyboardInterrupt:
        _fail(f"interrupted: {destination} was not written", 130)
    except LamellaError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    if not quiet:
        for note in dict.fromkeys([*report.notes, *(str(warning.message) for warning in caught)]):
            click.echo(f"note: {note}", err=True)
        click.echo(_summary(report, time.monotonic() - begin))


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"lamella convert: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _summary(report: ConvertReport, seconds: float) -> str:
    images = f"{report.images} image{'s' if report.images > 1 else ''}"
    what = f"a plate of {images}" if report.layout == "hcs" else images
    levels = f"{report.levels} level{'s' if report.levels > 1 else ''}"
    size = report.nbytes / 1e6
    return (
        f"{report.destination}: {what}, {report.planes} planes, {size:.1f} MB, {levels}, in {seconds:.1f} s"
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
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
def _shown(quiet: bool) -> Iterator[Callable[[float, int, str], None] | None]:
    """Show progress on stderr: a bar on a terminal, lines otherwise."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines().show


@contextmanager
def _bar() -> Iterator[Callable[[float, int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading headers", total=None)

        def show(done: float, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show


class _Lines:
    """A line for each tenth of the planes, and one for the pyramid of a single image."""

    def __init__(self) -> None:
        self._tenth = 0
        self._last = ""

    def show(self, done: float, total: int, what: str) -> None:
        """Print a line when there is something new to say."""
        tenth = int(10 * done / total)
        if tenth > self._tenth:
            self._tenth = tenth
            self._print(f"{10 * tenth} % of {total} planes")
        if what == "pyramid" and done == total:
            self._print("pyramid")

    def _print(self, text: str) -> None:
        if text != self._last:
            click.echo(text, err=True)
            self._last = text
