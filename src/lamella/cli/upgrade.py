"""``lamella upgrade``: convert a store to another version of OME-NGFF.

:func:`lamella.ops.rewriting.upgrade.upgrade` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lamella.cli.options import in_place_option, operation_options, overwrite_option
from lamella.cli.rewriting import check_destination, run_rewrite

if TYPE_CHECKING:
    from lamella.types import VersionName


@click.command(epilog="Example: lamella upgrade plate.zarr plate_05.zarr --to 0.5")
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@click.option(
    "--to", required=True, type=click.Choice(["0.4", "0.5", "0.6"]), help="OME-NGFF version to write."
)
@click.option("--lossy", is_flag=True, help="Leave out what the version cannot express.")
@in_place_option
@overwrite_option
@operation_options()
def upgrade(
    context: click.Context,
    path: str,
    destination: str | None,
    to: VersionName,
    lossy: bool,
    in_place: bool,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Convert a store to another OME-NGFF version.

    PATH is an image, a plate or a collection, and is converted as a whole, to DST or in place. Pixels stay the same.
    Between 0.5 and 0.6 only metadata change; to and from 0.4 encoded chunks are copied where the codec allows it.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    check_destination(destination, in_place)
    from lamella.ops.rewriting.upgrade import upgrade as run

    settings = {"lossy": lossy, "overwrite": overwrite, **options}
    run_rewrite(context, lambda: run(path, to, destination, **settings), as_json=as_json)
