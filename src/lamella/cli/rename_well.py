"""``lamella rename-well``: renames wells of a plate.

The work is :func:`lamella.ops.plates.rename_wells.rename_wells`.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import QUIET, RESUMES, echo_json, echo_lines
from lamella.cli.options import dry_run_option, operation_options


@click.command(epilog="Example: lamella rename-well plate.zarr A/1 B/2")
@click.argument("path", type=click.Path())
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option("--table", metavar="CSV", type=click.Path(), help="Old and new names, one pair on each line.")
@dry_run_option
@operation_options(jobs=False)
def rename_well(
    context: click.Context,
    path: str,
    old: str | None,
    new: str | None,
    table: str | None,
    dry_run: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Rename wells of a plate.

    Give the OLD and the NEW name of a well, such as A/1 and B/2 or A01 and B02, or a table of them. A new name may be
    one that another line of the table frees, and wells may swap names. An interrupted command is resumed by running it
    again.
    """
    from lamella.ops.plates.rename_wells import read_renames, rename_wells

    if (table is None) == (new is None):
        raise click.UsageError("Give either OLD and NEW, or --table.")
    context.meta[RESUMES] = table is not None
    renames = {str(old): str(new)} if table is None else read_renames(table)
    options.pop("progress")
    done = rename_wells(path, renames, dry_run=dry_run, **options)
    if as_json:
        echo_json({"renamed": [{"old": before, "new": after} for before, after in done], "dry_run": dry_run})
    elif not context.meta.get(QUIET):
        verb = "Would rename" if dry_run else "Renamed"
        echo_lines(
            [f"{verb} {before} to {after}." for before, after in done] or ["Nothing is left to rename."]
        )
