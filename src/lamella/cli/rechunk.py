"""``lamella rechunk``: rewrites the arrays of a store with other chunks, shards or compression.

Layer: cli. The work is :func:`lamella.ops.rewriting.rechunk.rechunk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.options import (
    Lengths,
    ParamType,
    follow_links_option,
    in_place_option,
    jobs_option,
    json_option,
    overwrite_option,
    quiet_option,
    storage_option,
    verbose_option,
)
from lamella.cli.rewriting import check_destination, run_rewrite

if TYPE_CHECKING:
    from lamella.store.compressor import CompressorChoice


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
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def rechunk(
    context: click.Context,
    path: str,
    destination: str | None,
    chunks: Any,
    shards: Any,
    compressor: tuple[str, int | None] | None,
    in_place: bool,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Rewrite arrays with other chunks, shards or compression.

    All images, levels and labels of PATH are rewritten, to DST or in place. Settings that are not given stay as they
    are; versions 0.5 and 0.6 can have shards.

    DST appears when it is complete. An interrupted command is resumed by running it again.
    """
    if chunks is None and shards is None and compressor is None:
        raise click.UsageError("Give at least one of --chunks, --shards and --compressor.")
    check_destination(destination, in_place)
    from lamella.ops.rewriting.rechunk import rechunk as run

    run_rewrite(
        context,
        lambda: run(
            path,
            destination,
            chunks=chunks,
            shards=shards,
            compressor=_compressor(compressor),
            overwrite=overwrite,
            jobs=jobs,
            progress=not quiet,
            follow_links=follow_links,
            storage_options=storage_options,
        ),
        as_json=as_json,
    )


def _compressor(given: tuple[str, int | None] | None) -> CompressorChoice:
    from dataclasses import replace

    from lamella.errors import InvalidArgumentError
    from lamella.store.compressor import Compressor

    if given is None:
        return None
    name, level = given
    found = Compressor.of(name)
    if level is None:
        return found or False
    if found is None:
        raise InvalidArgumentError(f"The compressor {name} has no level, got {level}.")
    return Compressor.of(replace(found, clevel=level))
