"""``lamella pack``: writes a store into one file.

Layer: cli. The work is :func:`lamella.ops.copying.pack.pack`.
"""

from __future__ import annotations

import click

from lamella.cli.copying import run_copy
from lamella.cli.options import (
    fields_option,
    follow_links_option,
    json_option,
    levels_option,
    overwrite_option,
    quiet_option,
    storage_option,
    verbose_option,
)


@click.command(epilog="Example: lamella pack plate.zarr plate.ozx")
@click.argument("source", metavar="STORE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@json_option
@quiet_option
@verbose_option()
@storage_option
@follow_links_option
@click.pass_context
def pack(
    context: click.Context,
    source: str,
    destination: str,
    fields: list[str] | None,
    levels: list[int] | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    storage_options: dict[str, object],
    follow_links: bool,
) -> None:
    """Write a store into one file, an .ozx or .zip archive.

    STORE is a folder, a URL or another archive. Chunks are copied as they are encoded, and the metadata come first, as
    RFC-9 asks. DST appears when it is complete. Archives are read like any store, and never changed.
    """
    from lamella.ops.copying.pack import pack as run

    run_copy(
        context,
        lambda: run(
            source,
            destination,
            fields=fields,
            levels=levels,
            overwrite=overwrite,
            progress=not quiet,
            follow_links=follow_links,
            storage_options=storage_options,
        ),
        as_json=as_json,
    )
