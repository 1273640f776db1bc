"""``lamella rechunk``: cuts the arrays of a store into other chunks and shards, or compresses them otherwise.

Exit codes: 0 written, 1 refused, 130 interrupted.

Layer: cli. The work is :func:`lamella.ops.rewriting.rechunk.rechunk`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.links import follow_links_option
from lamella.cli.progress import Cut
from lamella.cli.rewriting import run_rewrite

if TYPE_CHECKING:
    from lamella.store.compressor import CompressorChoice


class _Codec(click.ParamType[Any]):
    """Name of a codec, and maybe its level."""

    name = "codec"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "NAME[:LEVEL]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, colon, level = value.partition(":")
        if not name or (colon and not level.lstrip("-").isdecimal()):
            self.fail(f"{value!r} is no codec with a level, as zstd:5 is", param, ctx)
        return name, int(level) if colon else None


@click.command(
    epilog="Example: lamella rechunk plate.zarr --chunks 16,256,256 --shards 64,2048,2048 --codec zstd:3"
)
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@click.option("--chunks", type=Cut("auto"), help="Chunk lengths of the last axes.")
@click.option("--shards", type=Cut("auto", "none"), help="Shard lengths of the last axes (0.5 and 0.6).")
@click.option("--codec", type=_Codec(), help="blosc, zstd, gzip, lz4, zlib, bz2 or none.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Workers; one per processor by default.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@follow_links_option
@click.pass_context
def rechunk(
    context: click.Context,
    path: str,
    destination: str | None,
    chunks: Any,
    shards: Any,
    codec: tuple[str, int | None] | None,
    jobs: int | None,
    quiet: bool,
    follow_links: bool,
) -> None:
    """Cut the arrays of an OME-Zarr store anew: all images, levels and labels of an image or a plate.

    Without DST the new store takes the place of PATH once it is complete. What is not asked for stays as it is. A
    command that was interrupted or killed is finished by running it again.
    """
    if chunks is None and shards is None and codec is None:
        raise click.UsageError("Nothing to do: give --chunks, --shards or --codec.")
    from lamella.ops.rewriting.rechunk import rechunk as run

    def operation(progress: Any) -> Any:
        return run(
            path,
            destination,
            chunks=chunks,
            shards=shards,
            codec=_compressor(codec),
            jobs=jobs,
            progress=progress,
            follow_links=follow_links,
        )

    run_rewrite(context, operation, quiet=quiet)


def _compressor(codec: tuple[str, int | None] | None) -> CompressorChoice:
    from dataclasses import replace

    from lamella.errors import InvalidArgumentError
    from lamella.store.compressor import Compressor

    if codec is None:
        return None
    name, level = codec
    found = Compressor.of(name)
    if level is None:
        return found or False
    if found is None:
        raise InvalidArgumentError(f"{name} has no level, got {level}")
    return Compressor.of(replace(found, clevel=level))
