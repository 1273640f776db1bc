"""``lamella copy``: copies a store from anywhere to anywhere.

Layer: cli. The work is :func:`lamella.ops.copying.copy_store.copy_store`.
"""

from __future__ import annotations

import click

from lamella.cli.copying import run_copy
from lamella.cli.messages import RESUMES
from lamella.cli.options import (
    fields_option,
    follow_links_option,
    jobs_option,
    json_option,
    levels_option,
    overwrite_option,
    quiet_option,
    storage_option,
    verbose_option,
)


@click.command(
    epilog="Example: lamella copy https://host/plate.zarr plate.zarr --fields A/1/0,B/2/0 --levels 1,2"
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@jobs_option
@json_option
@quiet_option
@verbose_option()
@storage_option
@follow_links_option
@click.pass_context
def copy(
    context: click.Context,
    source: str,
    destination: str,
    fields: list[str] | None,
    levels: list[int] | None,
    overwrite: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    storage_options: dict[str, object],
    follow_links: bool,
) -> None:
    """Copy a store, or a part of it, to another place.

    SRC and DST are folders, URLs or archives (.ozx, .zip). Chunks are copied as they are encoded, with labels, tables
    and all else. A store that cannot be listed, as over http, is copied as far as its metadata name what there is, and
    the exit code is 1.

    DST becomes a store when it is complete. An interrupted command is resumed by running it again.
    """
    from lamella.ops.copying.copy_store import copy_store

    context.meta[RESUMES] = True
    run_copy(
        context,
        lambda: copy_store(
            source,
            destination,
            fields=fields,
            levels=levels,
            overwrite=overwrite,
            jobs=jobs,
            progress=not quiet,
            follow_links=follow_links,
            storage_options=storage_options,
        ),
        as_json=as_json,
    )
