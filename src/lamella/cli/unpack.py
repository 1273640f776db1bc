"""``lamella unpack``: write the store in an archive into a folder.

:func:`lamella.ops.copying.copy_store.unpack` writes it.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.copying import run_copy
from lamella.cli.messages import RESUMES
from lamella.cli.options import operation_options, overwrite_option


@click.command(epilog="Example: lamella unpack plate.ozx plate.zarr")
@click.argument("source", metavar="ARCHIVE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@overwrite_option
@operation_options(links=False)
def unpack(
    context: click.Context,
    source: str,
    destination: str,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Write the store in an archive into a folder.

    ARCHIVE is an .ozx or .zip file or URL. No entry is written outside of DST, which appears when it is complete. Run
    the same command again to resume an interrupted one.
    """
    from lamella.ops.copying.copy_store import unpack as run

    context.meta[RESUMES] = True
    run_copy(context, lambda: run(source, destination, overwrite=overwrite, **options), as_json=as_json)
