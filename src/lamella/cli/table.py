"""``lamella table``: list the tables of an image or a plate, or print one of them."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import echo_json, echo_lines
from lamella.cli.options import follow_links_option, json_option, storage_option, verbose_option


@click.command()
@click.argument("path", type=click.Path())
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(), help="Write it to a .csv, .json or .parquet file.")
@json_option
@verbose_option()
@follow_links_option
@storage_option
def table(
    path: str,
    name: str | None,
    output: str | None,
    as_json: bool,
    follow_links: bool,
    storage_options: dict[str, Any],
) -> None:
    """List the tables of an image or plate, or print one.

    Without NAME the names, types and formats are listed. A table is printed as CSV, and with --json as a list of its
    rows. That of a plate has the tables of all its positions, with their well and field.
    """
    from lamella.errors import InvalidArgumentError
    from lamella.nodes.open import open_ome_zarr
    from lamella.ops.tables.listing import list_tables, print_table, tables_of

    with open_ome_zarr(path, disable_path_checking=follow_links, storage_options=storage_options) as node:
        tables = tables_of(node)
        if name is None:
            if output is not None:
                raise InvalidArgumentError("--output writes one table: give its NAME too.")
            rows = list_tables(tables)
            if as_json:
                echo_json(rows)
            else:
                echo_lines(
                    "  ".join(str(value) for value in row.values() if value is not None) for row in rows
                )
            return
        text = print_table(tables, name, output, as_json=as_json)
    if text:
        click.echo(text, nl=False)
