"""``lamella pack``: write a store into one file.

:func:`lamella.ops.copying.pack.pack` writes it.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.copying import run_copy
from lamella.cli.options import fields_option, levels_option, operation_options, overwrite_option


@click.command(epilog="Example: lamella pack plate.zarr plate.ozx")
@click.argument("source", metavar="STORE", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options(jobs=False)
def pack(
    context: click.Context,
    source: str,
    destination: str,
    fields: list[str] | None,
    levels: list[int] | None,
    overwrite: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Write a store into one file, an .ozx or .zip archive.

    STORE is a folder, a URL or another archive. Chunks are copied as they are encoded, and the metadata come first, as
    RFC-9 asks. DST appears when it is complete. Archives are read like any store, and never changed.
    """
    from lamella.ops.copying.pack import pack as run

    settings = {"fields": fields, "levels": levels, "overwrite": overwrite, **options}
    run_copy(context, lambda: run(source, destination, **settings), as_json=as_json)
