"""``lamella export``: write images and plates as OME-TIFF, ImageJ TIFF, pictures and movies."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from lamella.cli.building import add_storage_options, open_node, options_of_new_store
from lamella.cli.messages import echo_result
from lamella.cli.options import NumberOr, Region, operation_options, overwrite_option, split_option
from lamella.errors import counted


@click.command(epilog="Example: lamella export plate.zarr tiffs --channels DAPI --z max --level 1")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option(
    "--format",
    type=click.Choice(["ome-tiff", "imagej", "png", "gif", "mp4"]),
    metavar="NAME",
    help="ome-tiff, imagej, png, gif or mp4.",
)
@click.option("--level", metavar="N", help="Finest level to write, by number or name (0).")
@click.option("--channels", metavar="NAME,...", callback=split_option, help="Only these channels.")
@click.option("--z", type=NumberOr(0, "max"), help="One Z plane, or the maximum.")
@click.option("--t", type=click.IntRange(min=0), metavar="N", help="One time point.")
@click.option("--region", type=Region(), metavar="x=0:9,y=0:9", help="Region in pixels of level 0.")
@click.option("--labels", metavar="NAME,...|all", callback=split_option, help="Write label images too.")
@overwrite_option
@operation_options(resumes=True)
def export(
    context: click.Context,
    stores: tuple[str, ...],
    destination: str,
    level: str | None,
    labels: list[str] | None,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Write images as OME-TIFF, ImageJ TIFF, pictures or movies.

    DST is a file for an image, whose ending names the format without --format: .ome.tif, .tif (ImageJ), .png, .gif or
    .mp4. For a plate, a collection or several STOREs, it is a folder; the files of a plate are named by well, field and
    channel. OME-TIFF is tiled, with lower levels.

    Run the same command again to resume an interrupted one.
    """
    from lamella.adapters.export.export import export as run

    settings["level"] = 0 if level is None else int(level) if level.isdecimal() else level
    settings["labels"] = True if labels == ["all"] else labels or False
    settings |= options_of_new_store(options)
    with ExitStack() as nodes:
        sources = [
            nodes.enter_context(open_node(store, options)) for store in add_storage_options(stores, options)
        ]
        files = run(sources[0] if len(sources) == 1 else sources, destination, **settings)
    echo_result(context, as_json, {"files": files}, f"Wrote {destination}: {counted(len(files), 'file')}.")
