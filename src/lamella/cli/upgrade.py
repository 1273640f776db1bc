"""``lamella upgrade``: converts a store to another version of OME-NGFF.

Layer: cli. The work is :func:`lamella.ops.rewriting.upgrade.upgrade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lamella.cli.options import (
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
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def upgrade(
    context: click.Context,
    path: str,
    destination: str | None,
    to: VersionName,
    lossy: bool,
    in_place: bool,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Convert a store to another OME-NGFF version.

    PATH is an image, a plate or a collection; all that is in it is converted, to DST or in place. Pixels stay the same.
    Between 0.5 and 0.6 only metadata change; to and from 0.4 encoded chunks are copied where the codec allows it.

    DST appears when it is complete. An interrupted command is resumed by running it again.
    """
    check_destination(destination, in_place)
    from lamella.ops.rewriting.upgrade import upgrade as run

    run_rewrite(
        context,
        lambda: run(
            path,
            to,
            destination,
            lossy=lossy,
            overwrite=overwrite,
            jobs=jobs,
            progress=not quiet,
            follow_links=follow_links,
            storage_options=storage_options,
        ),
        as_json=as_json,
    )
