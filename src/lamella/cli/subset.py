"""``lamella subset``: create a store from a part of an image or plate.

:meth:`lamella.Plate.subset` and :meth:`lamella.Position.subset` copy it.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import opened, options_of_new_store, run_build, with_storage
from lamella.cli.options import operation_options, split_option


def _crop(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, slice] | None:
    """Parse AXIS=START:STOP; an end that is left out is that of the image."""
    region = {}
    for value in values:
        axis, equals, text = value.partition("=")
        start, colon, stop = text.partition(":")
        try:
            ends = [int(end) if end else None for end in (start, stop)]
        except ValueError:
            ends = []
        if not (axis and equals and colon and ends) or axis in region:
            raise click.BadParameter(f"{value!r} is not AXIS=START:STOP, each axis once", context, parameter)
        region[axis] = slice(*ends)
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
    "--crop", metavar="AXIS=A:B", multiple=True, callback=_crop, help="Region in pixels of level 0."
)
@operation_options()
def subset(
    context: click.Context,
    path: str,
    destination: str,
    wells: list[str] | None,
    acquisitions: list[str] | None,
    channels: list[str] | None,
    crop: dict[str, slice] | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Create a store from a part of an image or plate.

    Names, acquisitions, colours, levels, labels and tables are copied. Labels are cut as their image is.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.errors import InvalidArgumentError
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position

    def build() -> Any:
        source, target = with_storage((path, destination), options)
        node = opened(source, options)
        settings = {"channels": channels, "crop": crop, **options_of_new_store(options)}
        if isinstance(node, Plate):
            ids = None if acquisitions is None else [int(a) if a.isdecimal() else a for a in acquisitions]
            return node.subset(target, wells=wells, acquisitions=ids, **settings)
        if not isinstance(node, Position):
            raise InvalidArgumentError(f"{path} is not an image or a plate: name one of its images.")
        if wells is not None or acquisitions is not None:
            raise InvalidArgumentError(
                f"{path} is an image, so it has no wells or acquisitions to choose from: leave out --wells and "
                "--acquisitions."
            )
        return node.subset(target, **settings)

    run_build(context, build, destination, as_json=as_json)
