"""``lamella merge``, ``mosaic`` and ``subset``: open stores, create one from them, and print the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.messages import echo_result, elapsed_seconds
from lamella.cli.options import Lengths, NumberOr, Region, operation_options, overwrite_option, split_option
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.ops.mosaics.mosaic import Blend


def add_storage_options(paths: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Return paths, each with the options of ``--storage`` attached if it is a URL that accepts them."""
    from lamella.store.storage import share_options

    return share_options(paths, options["storage_options"])


def open_node(path: str, options: dict[str, Any], **settings: Any) -> NGFFNode:
    """Open a store. For ``--storage``, pass a path from `add_storage_options`, or ``storage_options`` in `settings`."""
    from lamella.nodes.open import open_ome_zarr

    node: NGFFNode = open_ome_zarr(path, disable_path_checking=options["follow_links"], **settings)
    return node


def options_of_new_store(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the command that are arguments of the operation."""
    return {"jobs": options["jobs"], "progress": options["progress"]}


def finish_build(context: click.Context, as_json: bool, new_node: NGFFNode, destination: str) -> None:
    """Publish and close the new plate or image that an operation returned, and print what was written."""
    from lamella.nodes.plate import Plate

    with new_node as node:
        node.documents.storage.commit_own(f"lamella {context.info_name}")
        is_plate = isinstance(node, Plate)
        images = [path for path, _ in node.positions()] if isinstance(node, Plate) else [""]
    count = counted(len(images), "image")
    summary = {"destination": destination, "layout": "hcs" if is_plate else "fov", "images": images}
    subject = f"a plate of {count}" if is_plate else count
    echo_result(
        context, as_json, summary, f"Wrote {destination}: {subject}, in {elapsed_seconds(context):.1f} s."
    )


@click.command(epilog="Example: lamella merge monday.zarr tuesday.zarr week.zarr --renumber")
@click.argument("plates", nargs=-1, required=True, metavar="PLATE...", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--renumber", is_flag=True, help="Rename fields with a path of an earlier plate.")
@operation_options(resumes=True)
def merge(
    context: click.Context,
    plates: tuple[str, ...],
    destination: str,
    renumber: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Create a plate with the positions of several plates.

    Chunks are copied as they are encoded, with names, acquisitions, channels, levels, labels and tables. If two plates
    have a field of the same path, nothing is written, unless you pass --renumber.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.plates.subset import merge as run

    *sources, target = add_storage_options((*plates, destination), options)
    nodes: list[Any] = [open_node(path, options) for path in sources]
    new_node = run(nodes, target, renumber=renumber, **options_of_new_store(options))
    finish_build(context, as_json, new_node, destination)


def _crop_of(
    context: click.Context,
    parameter: click.Parameter,
    values: tuple[dict[str, tuple[int | None, int | None]], ...],
) -> dict[str, slice] | None:
    """Join the regions of one or several options."""
    region: dict[str, slice] = {}
    for value in values:
        if twice := sorted(region.keys() & value.keys()):
            raise click.BadParameter(f"The axis {twice[0]!r} is there twice.", context, parameter)
        region |= {axis: slice(*ends) for axis, ends in value.items()}
    return region or None


@click.command(
    epilog="Example: lamella subset plate.zarr dapi.zarr --wells B03,C03 --channels DAPI --crop z=2:8"
)
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--wells", metavar="B03,C/4,...", callback=split_option, help="Only these wells.")
@click.option("--acquisitions", metavar="ID,...", callback=split_option, help="Only these, by id or name.")
@click.option("--channels", metavar="NAME,...", callback=split_option, help="Only these, in this order.")
@click.option(
    "--crop",
    type=Region(),
    metavar="x=0:9,y=0:9",
    multiple=True,
    callback=_crop_of,
    help="Region in pixels of level 0.",
)
@operation_options(resumes=True)
def subset(
    context: click.Context,
    path: str,
    destination: str,
    wells: list[str] | None,
    acquisitions: list[str] | None,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Create a store from a part of an image or plate.

    Names, acquisitions, colours, levels, labels and tables are copied. Labels are cut as their image is.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.errors import InvalidArgumentError
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position

    source, target = add_storage_options((path, destination), options)
    node = open_node(source, options)
    settings |= options_of_new_store(options)
    new_node: NGFFNode
    if isinstance(node, Plate):
        new_node = node.subset(target, wells=wells, acquisitions=acquisitions, **settings)
    elif not isinstance(node, Position):
        raise InvalidArgumentError(f"{node.node_path} is not an image or a plate: name one of its images.")
    elif wells is not None or acquisitions is not None:
        raise InvalidArgumentError(
            f"{node.node_path} is an image, so it has no wells or acquisitions to choose from: leave out --wells and "
            "--acquisitions."
        )
    else:
        new_node = node.subset(target, **settings)
    finish_build(context, as_json, new_node, destination)


@click.command(epilog="Example: lamella mosaic plate.zarr well.zarr --well B03 --blend linear")
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--well", metavar="B03", help="The well of a plate.")
@click.option("--acquisition", metavar="ID", help="Only this acquisition, by id or name.")
@click.option(
    "--blend",
    type=click.Choice(["nearest", "linear"]),
    default="nearest",
    help="Source of overlapping pixels (nearest).",
)
@click.option("--levels", type=NumberOr(1, "auto"), help="Pyramid levels; by default as the fields have.")
@click.option("--chunks", type=Lengths("auto"), default="auto", help="Chunk lengths of the last axes.")
@overwrite_option
@operation_options(resumes=True)
def mosaic(
    context: click.Context,
    path: str,
    destination: str,
    well: str | None,
    acquisition: str | None,
    blend: Blend,
    chunks: Any,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Write the fields of a well, or tiles, as one image.

    PATH is a plate with --well, a well, or an image of tiles. Fields are placed by their stage positions, in
    whole pixels.
    Where fields overlap, --blend nearest uses the field whose centre is nearest. --blend linear computes a weighted
    mean: the weight of a field falls linearly towards its edges.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.mosaics.positions import mosaic_of

    source, target = add_storage_options((path, destination), options)
    image = mosaic_of(open_node(source, options), well, blend, acquisition)
    lengths = chunks if chunks == "auto" else (*(1,) * (image.ndim - len(chunks)), *chunks)
    new_node = image.write(target, chunks=lengths, **settings, **options_of_new_store(options))
    finish_build(context, as_json, new_node, destination)
