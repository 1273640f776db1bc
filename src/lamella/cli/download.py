"""``lamella download``: copy a store to this machine.

:func:`lamella.ops.copying.copy_store.copy_store` copies.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import click

from lamella.cli.copying import run_copy
from lamella.cli.messages import RESUMES
from lamella.cli.options import fields_option, levels_option, operation_options, overwrite_option


@click.command(epilog="Example: lamella download https://host/plate.zarr --fields A/1/0,B/2/0 --levels 1,2")
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("destination", metavar="[DST]", required=False, type=click.Path())
@fields_option
@levels_option
@overwrite_option
@operation_options()
def download(
    context: click.Context,
    source: str,
    destination: str | None,
    *,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Copy a store, or a part of it, to this machine.

    SRC is a URL. DST is a folder or an archive (.ozx, .zip); by default the name of SRC in the current folder. All else
    is as for `lamella copy`.
    """
    from lamella.ops.copying.copy_store import copy_store
    from lamella.store.addresses import clean_url
    from lamella.store.paths import local_path

    context.meta[RESUMES] = True
    path = local_path(
        destination or unquote(clean_url(source).rpartition("/")[2]), "the destination of a download"
    )
    run_copy(context, lambda: copy_store(source, path, **settings, **options), as_json=as_json)
