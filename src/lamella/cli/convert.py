"""``lamella convert``: parse the arguments, show how far it is, print what was made.

Layer: cli. The work is :func:`lamella.ops.conversion.convert.convert`.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lamella.cli.progress import Cut, ended_by_sigterm, shown
from lamella.errors import LamellaError

if TYPE_CHECKING:
    from lamella.ops.conversion.convert import ConvertReport


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
    "--version",
    type=click.Choice(["0.4", "0.5", "0.6"]),
    default="0.5",
    show_default=True,
    help="OME-NGFF version.",
)
@click.option(
    "--chunks", type=Cut("auto"), default="auto", show_default=True, help="Chunk lengths of the last axes."
)
@click.option(
    "--shards",
    type=Cut("auto", "none"),
    default="auto",
    show_default=True,
    help="Shard lengths of the last axes (0.5 and 0.6).",
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
    increments are kept. A command that was interrupted or killed is finished by running it again.
    """
    if not sources and options["map_file"] is None:
        raise click.UsageError(
            "Missing argument 'SRC...': name the files to convert, and then the store to make."
        )
    from lamella.ops.conversion.convert import convert as run

    begin = time.monotonic()
    try:
        with (
            ended_by_sigterm(),
            warnings.catch_warnings(record=True) as caught,
            shown(quiet, first="reading headers", amount="{} planes".format) as show,
        ):
            warnings.simplefilter("always")
            report = run(sources, destination, progress=show, **options)
    except KeyboardInterrupt:
        _fail(f"interrupted: {destination} was not written; the same command goes on", 130)
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
