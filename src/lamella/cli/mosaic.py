"""``lamella mosaic``: write the fields of a well, or the tiles of an image, as one image.

:meth:`lamella.Mosaic.write` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.building import opened, options_of_new_store, run_build, with_storage
from lamella.cli.options import Lengths, NumberOr, operation_options, overwrite_option

if TYPE_CHECKING:
    from lamella.ops.mosaics.mosaic import Blend


@click.command(epilog="Example: lamella mosaic plate.zarr well.zarr --well B03 --blend linear")
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--well", metavar="B03", help="The well of a plate.")
@click.option("--acquisition", type=int, metavar="ID", help="Only this acquisition.")
@click.option(
    "--blend",
    type=click.Choice(["nearest", "linear"]),
    default="nearest",
    help="Pixels where fields overlap (nearest).",
)
@click.option("--levels", type=NumberOr(1, "auto"), help="Pyramid levels; by default as the fields have.")
@click.option("--chunks", type=Lengths("auto"), default="auto", help="Chunk lengths of the last axes.")
@overwrite_option
@operation_options()
def mosaic(
    context: click.Context,
    path: str,
    destination: str,
    well: str | None,
    acquisition: int | None,
    blend: Blend,
    levels: Any,
    chunks: Any,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Write the fields of a well, or tiles, as one image.

    PATH is a plate with --well, a well, or an image of tiles. Fields are placed by their translations, at whole pixels.
    Overlaps come from the field whose centre is nearest, or are a mean with weights that fall linearly to the edges.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.mosaics.positions import mosaic_of

    def build() -> Any:
        source, target = with_storage((path, destination), options)
        fields = mosaic_of(opened(source, options), well, blend, acquisition)
        return fields.write(
            target,
            levels=levels,
            chunks=chunks if chunks == "auto" else (*(1,) * (fields.ndim - len(chunks)), *chunks),
            overwrite=overwrite,
            **options_of_new_store(options),
        )

    run_build(context, build, destination, as_json=as_json)
