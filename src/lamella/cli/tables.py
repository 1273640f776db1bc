"""``lamella measure`` and ``lamella table``: measure labels into tables, list tables, and print one."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import open_node
from lamella.cli.messages import echo_json, echo_lines, echo_result
from lamella.cli.options import operation_options, split_option
from lamella.errors import counted


@click.command()
@click.argument("path", type=click.Path())
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(), help="Write it to a .csv, .json or .parquet file.")
@operation_options(jobs=False, quiet=False)
def table(
    context: click.Context,
    path: str,
    name: str | None,
    output: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """List the tables of an image or plate, or print one.

    Without NAME, the names, types and formats of all tables are listed. A table is printed as CSV, or with --json as a
    JSON list of rows. If PATH is a plate, a table that its positions have is printed as one table, with columns for
    well and field.
    """
    from lamella.errors import InvalidArgumentError
    from lamella.ops.tables.listing import list_tables, print_table, tables_of

    del context
    with open_node(path, options, storage_options=options["storage_options"]) as node:
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
    try:
        click.echo(text, nl=False)
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"The table has characters that {error.encoding}, the encoding of the standard output, lacks: write it "
            "with --output FILE, or set PYTHONIOENCODING=utf-8."
        ) from error


@click.command(epilog="Example: lamella measure plate.zarr nuclei --properties area,intensity_mean")
@click.argument("path", type=click.Path())
@click.argument("labels")
@click.option(
    "--properties", metavar="NAME,...", default="area,centroid,intensity_mean", callback=split_option,
    help="Names of scikit-image's properties.",
)  # fmt: skip
@click.option("--channel", metavar="NAME", multiple=True, help="A channel; may be repeated.")
@click.option("--at-level", "level", default="0", metavar="NAME", help="Level; 0 by default.")
@click.option("--voxels", is_flag=True, help="Measure in voxels, not in physical units.")
@click.option("--save-as", "name", metavar="NAME", help="Name of the table; LABELS by default.")
@operation_options()
def measure(
    context: click.Context,
    path: str,
    labels: str,
    properties: list[str],
    channel: tuple[str, ...],
    level: str,
    voxels: bool,
    name: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Measure the labels of an image or plate by scikit-image.

    LABELS is the name of a label image. Each image gets a table with one row for each label, which `lamella
    table` prints.
    """
    from lamella.ops.tables.measure import measure_store

    settings: dict[str, Any] = {
        "table": name,
        "channels": list(channel) or None,
        "level": level,
        "physical": not voxels,
    }
    rows = measure_store(path, labels, properties, **settings, **options)
    total = counted(sum(rows.values()), "label")
    line = f"{total} of {counted(len(rows), 'image')} in the table {name or labels}."
    echo_result(context, as_json, {"rows": rows}, line)
