"""``lamella convert``: convert microscopy files to OME-Zarr."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lamella.cli.messages import (
    QUIET,
    echo_json,
    echo_lines,
    echo_notes,
    echo_result,
    elapsed_seconds,
    megabytes,
)
from lamella.cli.options import (
    Lengths,
    NumberOr,
    dry_run_option,
    operation_options,
    overwrite_option,
    split_option,
)
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.conversion.convert import ConvertReport, PlannedImage


_WATCH_OPTIONS = ("stop_file", "idle", "settle", "files_per_position")
"""Parameters that need --watch."""


def _sizes(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Parse one size, or several separated by commas."""
    if value is None:
        return None
    try:
        sizes = [float(size) for size in value.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither a number nor numbers like 0.5,0.1,0.1.", context, parameter
        ) from None
    return sizes[0] if len(sizes) == 1 else sizes


def _list_formats(context: click.Context, _: click.Parameter, is_set: bool) -> None:
    """Print the table of formats instead of converting."""
    if not is_set or context.resilient_parsing:
        return
    from lamella.adapters.formats import list_formats

    formats = list_formats()
    width = max(len(file_format.name) for file_format in formats)
    lines = []
    for file_format in formats:
        needs = ""
        if file_format.missing:
            needs = f" (needs {', '.join(file_format.missing)}: lamella[{file_format.extra}])"
        endings = ", ".join(file_format.endings)
        lines.append(f"{file_format.name:{width}}  {file_format.title} {endings}{needs}".rstrip())
    echo_lines(lines)
    context.exit()


@click.command(
    epilog="Example: lamella convert plate/ plate.zarr --well-regex '(?P<row>[A-P])(?P<col>[0-9]+)_f(?P<field>[0-9]+)'"
)
@click.argument("sources", nargs=-1, metavar="SRC...", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--well-regex", metavar="REGEX", help="Find wells and fields in paths of files.")
@click.option("--map", "map_file", metavar="CSV", type=click.Path(), help="Find wells and fields in a table.")
@click.option("--layout", metavar="NAME", help="Instrument that named the files, such as incell.")
@click.option(
    "--series", type=NumberOr(0, "all", "fields"), help="Number of the image to read, or all images."
)
@click.option("--format", metavar="NAME", help="Read all files as this format.")
@click.option(
    "--list-formats", is_flag=True, is_eager=True, expose_value=False, callback=_list_formats,
    help="List the formats that can be read, and exit.",
)  # fmt: skip
@click.option(
    "--version",
    type=click.Choice(["0.4", "0.5", "0.6"]),
    default="0.5",
    help="OME-NGFF version to write (0.5).",
)
@click.option("--chunks", type=Lengths("auto"), default="auto", help="Chunk lengths of the last axes.")
@click.option(
    "--shards", type=Lengths("auto", "none"), default="auto", help="Shard lengths of the last axes."
)
@click.option(
    "--levels", type=NumberOr(1, "auto"), default="auto", help="Pyramid levels; auto stops at 256 pixels."
)
@click.option("--axes", metavar="LETTERS", help="Correct names of the axes, such as tyx.")
@click.option(
    "--pixel-size", callback=_sizes, metavar="N[,N,N]", help="Size along y and x, or along z, y, x."
)
@click.option("--unit", metavar="UNIT", help="Unit of the sizes, such as nanometer.")
@click.option("--channel-names", callback=split_option, metavar="NAME,...", help="A name for each channel.")
@click.option(
    "--colors", callback=split_option, metavar="COLOR,...", help="A colour for each channel: blue,00FF00."
)
@click.option("--time-step", type=float, metavar="SECONDS", help="Time between time points.")
@click.option("--name", metavar="NAME", help="Name of the image or plate.")
@click.option("--dtype", metavar="TYPE", help="Type of the stored pixels, such as uint16.")
@click.option("--take-what-is-there", is_flag=True, help="Read incomplete files; the rest is zeros.")
@click.option("--watch", is_flag=True, help="Convert positions as an instrument writes.")
@click.option("--stop-file", type=click.Path(), metavar="FILE", help="With --watch: a file that ends it.")
@click.option(
    "--idle", type=float, default=600, metavar="S", help="With --watch: end after S idle seconds (600)."
)
@click.option(
    "--settle", type=float, default=5, metavar="S", help="With --watch: wait S after a file changed (5)."
)
@click.option(
    "--files-per-position", type=click.IntRange(1), metavar="N", help="With --watch: files of a position."
)
@dry_run_option
@overwrite_option
@operation_options(links=False, resumes=True)
def convert(
    context: click.Context,
    /,
    sources: tuple[str, ...],
    destination: str,
    *,
    as_json: bool,
    options: dict[str, Any],
    watch: bool,
    **settings: Any,
) -> None:
    """Convert microscopy files to OME-Zarr.

    SRC is an image file, such as a TIFF, ND2 or CZI (--list-formats), or a folder whose files are the planes of one
    image. Pixel sizes, units, channel names, colours and time steps are kept.

    The folder of an Opera Phenix, Operetta, ImageXpress or CellVoyager becomes a plate, by its index or its file names.
    So do folders with the file names of incell, scanr and cellomics: they are recognised, or named by --layout.

    For other names, --well-regex is a pattern of the path of each file below SRC. It has the groups row, column (or
    col), field, channel, z and t; a group well ("B03") can replace row and column. Or --map names a table with these
    columns: file,row,column,field[,channel,z,t].

    Run the same command again to resume an interrupted one.
    """
    if not sources and settings["map_file"] is None:
        raise click.UsageError(
            "Missing argument 'SRC...': name the files to convert, and then the new store."
        )
    if watch:
        if len(sources) != 1:
            raise click.UsageError("--watch needs one folder as SRC.")
        del options["progress"]
        _watch(context, sources[0], destination, as_json, settings | options)
        return
    for name in _WATCH_OPTIONS:
        del settings[name]
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --watch.")
    from lamella.ops.conversion.convert import convert as run

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)  # deprecation warnings, for programmers, stay hidden
        # Gaps and guesses are printed before anything is written: the user may stop it.
        report = run(
            sources, destination, on_note=lambda note: echo_notes(context, [note]), **settings, **options
        )
    if as_json:
        echo_json(report.to_dict())
    elif not context.meta.get(QUIET):
        echo_lines(
            _plan_lines(report) if report.dry_run else _closing_lines(report, elapsed_seconds(context))
        )


def _watch(
    context: click.Context, source: str, destination: str, as_json: bool, options: dict[str, Any]
) -> None:
    """Watch a folder, and print each position when it is converted."""
    from lamella.ops.conversion.watch import watch

    for name in [name for name in options if name not in signature(watch).parameters]:
        del options[name]
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with --watch.")
    is_quiet = as_json or context.meta.get(QUIET)
    report = watch(
        source, destination, on_position=lambda path: None if is_quiet else echo_lines([path]), **options
    )
    line = (
        f"Wrote {report.destination}: {counted(len(report.positions), 'position')} ({report.present} before)."
    )
    echo_result(context, as_json, report.to_dict(), line)


def _plan_lines(report: ConvertReport) -> Iterator[str]:
    """Yield the plate or image that would be written."""
    first = report.positions[0]
    sizes = ", ".join(f"{axis} {length}" for axis, length in zip(first.axes, first.shape, strict=True))
    yield (
        f"Would write {report.destination}: {_contents(report)}, {counted(report.planes, 'plane')}, "
        f"{megabytes(report.nbytes)}."
    )
    yield f"channels: {', '.join(first.channels)}"
    yield f"scale:    {', '.join(f'{axis} {step:g}' for axis, step in first.scale.items()) or 'unknown'}"
    if report.layout != "hcs":
        yield f"shape:    {sizes} {first.dtype}"
        return
    shapes = {(image.axes, image.shape, image.dtype) for image in report.positions}
    if len(shapes) == 1:
        yield f"fields:   {sizes} {first.dtype}"
    wells: dict[str, list[PlannedImage]] = {}
    for image in report.positions:
        wells.setdefault(image.path.rpartition("/")[0], []).append(image)
    for well, images in wells.items():
        names = ", ".join(image.path.rpartition("/")[2] for image in images)
        files = counted(sum(image.files for image in images), "file")
        yield f"{well}: {counted(len(images), 'field')} ({names}), {files}"


def _closing_lines(report: ConvertReport, seconds: float) -> list[str]:
    """Describe the store, and which metadata of the files it has, and which it lacks."""
    speed = report.nbytes / 1e6 / max(seconds, 1e-3)
    lines = [
        f"Wrote {report.destination}: {_contents(report)}, {counted(report.planes, 'plane')}, "
        f"{megabytes(report.nbytes)}, {counted(report.levels, 'level')}, in {seconds:.1f} s ({speed:.1f} MB/s)."
    ]
    for title, facts in (
        ("Kept", report.kept),
        ("Not in the file", report.lacking),
        ("Left out", report.dropped),
    ):
        if facts:
            lines.append(f"{title}: {', '.join(facts)}.")
    return lines


def _contents(report: ConvertReport) -> str:
    images = counted(report.images, "image")
    return {"hcs": f"a plate of {images}", "collection": f"a collection of {images}"}.get(
        report.layout, images
    )
