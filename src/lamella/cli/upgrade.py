"""``lamella upgrade``: gives a store in another version of OME-NGFF.

Exit codes: 0 written, 1 refused, 130 interrupted.

Layer: cli. The work is :func:`lamella.ops.rewriting.upgrade.upgrade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lamella.cli.links import follow_links_option
from lamella.cli.rewriting import run_rewrite

if TYPE_CHECKING:
    from lamella.types import VersionName


@click.command(epilog="Example: lamella upgrade plate.zarr plate_05.zarr --to 0.5")
@click.argument("path", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@click.option(
    "--to", required=True, type=click.Choice(["0.4", "0.5", "0.6"]), help="OME-NGFF version to write."
)
@click.option("--in-place", is_flag=True, help="Replace PATH, once the new store is complete.")
@click.option("--lossy", is_flag=True, help="Leave out what the version cannot say, instead of refusing.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Workers; one per processor by default.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@follow_links_option
@click.pass_context
def upgrade(
    context: click.Context,
    path: str,
    destination: str | None,
    to: VersionName,
    in_place: bool,
    lossy: bool,
    jobs: int | None,
    quiet: bool,
    follow_links: bool,
) -> None:
    """Give an OME-Zarr store in another version: an image, a plate or a collection, with all that is in it.

    Pixels stay the same. Between 0.5 and 0.6 only metadata change; to and from 0.4 the encoded chunks are carried over
    where the codec allows, so that most stores are copied, not encoded anew.

    Nothing shows under the name of DST before it is complete. A command that was interrupted or killed is finished by
    running it again.
    """
    if in_place == (destination is not None):
        raise click.UsageError("Name the store to make, DST, or give --in-place to replace PATH; not both.")
    from lamella.ops.rewriting.upgrade import upgrade as run

    run_rewrite(
        context,
        lambda progress: run(
            path, to, destination, lossy=lossy, jobs=jobs, progress=progress, follow_links=follow_links
        ),
        quiet=quiet,
    )
