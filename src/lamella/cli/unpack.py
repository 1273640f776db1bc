"""``lamella unpack``: writes the store in an archive into a folder.

Layer: cli. The work is :func:`lamella.ops.copying.copy_store.unpack`.
"""

from __future__ import annotations

import click

from lamella.cli.copying import run_copy
from lamella.cli.messages import RESUMES
from lamella.cli.options import (
    jobs_option,
    json_option,
    overwrite_option,
    quiet_option,
    storage_option,
    verbose_option,
)


@click.command(epilog="Example: lamella unpack plate.ozx plate.zarr")
@click.argument("source", metavar="ARCHIVE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@overwrite_option
@jobs_option
@json_option
@quiet_option
@verbose_option()
@storage_option
@click.pass_context
def unpack(
    context: click.Context,
    source: str,
    destination: str,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    storage_options: dict[str, object],
) -> None:
    """Write the store in an archive into a folder.

    ARCHIVE is an .ozx or .zip file or URL. No entry leads out of DST, which appears when it is complete. An interrupted
    command is resumed by running it again.
    """
    from lamella.ops.copying.copy_store import unpack as run

    context.meta[RESUMES] = True
    run_copy(
        context,
        lambda: run(
            source,
            destination,
            overwrite=overwrite,
            jobs=jobs,
            progress=not quiet,
            storage_options=storage_options,
        ),
        as_json=as_json,
    )
