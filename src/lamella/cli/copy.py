"""``lamella copy``: copy a store from anywhere to anywhere.

:func:`lamella.ops.copying.copy_store.copy_store` copies.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.copying import run_copy
from lamella.cli.messages import RESUMES
from lamella.cli.options import fields_option, levels_option, operation_options, overwrite_option


@click.command(
    epilog="Example: lamella copy https://host/plate.zarr plate.zarr --fields A/1/0,B/2/0 --levels 1,2"
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options()
def copy(
    context: click.Context,
    source: str,
    destination: str,
    fields: list[str] | None,
    levels: list[int] | None,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Copy a store, or a part of it, to another place.

    SRC and DST are folders, URLs or archives (.ozx, .zip). Chunks are copied as they are encoded, with labels, tables
    and all other files. Of a store that cannot be listed, as over http, only files that its metadata name are copied,
    and the exit code is 1.

    DST becomes a store when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.copying.copy_store import copy_store

    context.meta[RESUMES] = True
    settings = {"fields": fields, "levels": levels, "overwrite": overwrite, **options}
    run_copy(context, lambda: copy_store(source, destination, **settings), as_json=as_json)
