"""``lamella rechunk`` and ``lamella upgrade``: check the destination, write the new store, and print the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.messages import echo_notes, echo_result, elapsed_seconds, megabytes
from lamella.cli.options import Lengths, ParamType, in_place_option, operation_options, overwrite_option
from lamella.errors import counted

if TYPE_CHECKING:
    from lamella.ops.rewriting.rewrite import RewriteReport
    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import VersionName


def check_destination(destination: str | None, in_place: bool) -> None:
    """Raise unless a command has either DST or --in-place."""
    if in_place == (destination is not None):
        raise click.UsageError(
            "Give either DST, the new store, or --in-place to replace PATH."
            + (" Both were given." if in_place else " Neither was given.")
        )


def finish_rewrite(context: click.Context, as_json: bool, report: RewriteReport) -> None:
    """Print the result of an operation that wrote a whole store."""
    echo_notes(context, report.notes)
    line = (
        f"Wrote {report.destination}: {counted(report.groups, 'group')}, {counted(report.arrays, 'array')} "
        f"({report.carried} copied without re-encoding), {megabytes(report.nbytes)}, "
        f"in {elapsed_seconds(context):.1f} s."
    )
    echo_result(context, as_json, report.to_dict(), line)


class _Compressor(ParamType):
    """Name of a codec, with or without its level."""

    name = "compressor"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "NAME[:LEVEL]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, colon, level = value.partition(":")
        if not name or (colon and not level.lstrip("-").isdecimal()):
            self.fail(f"{value!r} is not the name of a codec with its level, such as zstd:5", param, ctx)
        return name, int(level) if colon else None


@click.command(
    epilog="Example: lamella rechunk plate.zarr --in-place --chunks 16,256,256 --compressor zstd:3"
)
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@click.option("--chunks", type=Lengths("auto"), help="Chunk lengths of the last axes.")
@click.option("--shards", type=Lengths("auto", "none"), help="Shard lengths of the last axes.")
@click.option("--compressor", type=_Compressor(), help="blosc, zstd, gzip, lz4, zlib, bz2 or none.")
@in_place_option
@overwrite_option
@operation_options(resumes=True)
def rechunk(
    context: click.Context,
    path: str,
    destination: str | None,
    compressor: tuple[str, int | None] | None,
    in_place: bool,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Rewrite arrays with other chunks, shards or compression.

    All images, levels and labels of PATH are rewritten, to DST or in place. Settings that you leave out stay
    unchanged; versions 0.5 and 0.6 can have shards.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    if settings["chunks"] is None and settings["shards"] is None and compressor is None:
        raise click.UsageError("Give at least one of --chunks, --shards and --compressor.")
    check_destination(destination, in_place)
    from lamella.ops.rewriting.rechunk import rechunk as run

    report = run(path, destination, compressor=_compressor(compressor), **settings, **options)
    finish_rewrite(context, as_json, report)


def _compressor(name_and_level: tuple[str, int | None] | None) -> CompressorChoice:
    from dataclasses import replace

    from lamella.errors import InvalidArgumentError
    from lamella.store.metadata.array_meta import Compressor

    if name_and_level is None:
        return None
    name, level = name_and_level
    codec = Compressor.of(name)
    if level is None:
        return codec or False
    if codec is None:
        raise InvalidArgumentError(f"The compressor {name} has no level, got {level}.")
    return Compressor.of(replace(codec, clevel=level))


@click.command(epilog="Example: lamella upgrade plate.zarr plate_05.zarr --to 0.5")
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@click.option(
    "--to", required=True, type=click.Choice(["0.4", "0.5", "0.6"]), help="OME-NGFF version to write."
)
@click.option("--lossy", is_flag=True, help="Leave out what the version cannot express.")
@in_place_option
@overwrite_option
@operation_options(resumes=True)
def upgrade(
    context: click.Context,
    path: str,
    destination: str | None,
    to: VersionName,
    in_place: bool,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Convert a store to another OME-NGFF version.

    PATH is an image, a plate or a collection, and is converted as a whole, to DST or in place. Pixels stay the same.
    Between 0.5 and 0.6 only metadata change. To and from 0.4, pixels are compressed again only if their codec needs it.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    check_destination(destination, in_place)
    from lamella.ops.rewriting.upgrade import upgrade as run

    finish_rewrite(context, as_json, run(path, to, destination, **settings, **options))
