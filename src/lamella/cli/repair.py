"""``lamella repair``: mends the metadata of a store.

Exit codes: 0 valid afterwards, 1 not valid, or refused; 2 nothing there could be judged. With ``--dry-run`` they are
those that the repair would have. ``--json`` prints what `lamella.ops.mending.repair.RepairReport.to_json` gives.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option

INVALID = 1
UNREADABLE = 2


@click.command()
@click.argument("path")
@click.option("--dry-run", "-n", is_flag=True, help="Only show what would change.")
@click.option("--reindex", is_flag=True, help="First rebuild plate and wells from the images that are there.")
@click.option(
    "--backup", type=click.Path(), help="Folder for the old documents; beside the store by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@follow_links_option
@click.pass_context
def repair(
    context: click.Context,
    path: str,
    dry_run: bool,
    reindex: bool,
    backup: str | None,
    as_json: bool,
    follow_links: bool,
) -> None:
    """Mend the metadata of an OME-Zarr store, as far as that can be done without guessing.

    Each change is shown as a diff before it is written, and the old documents are kept in PATH.backup-DATE. What
    cannot be mended is listed at the end. Pixels are never touched.
    """
    import json

    from lamella.cli import echo_lines
    from lamella.errors import StoreNotFoundError
    from lamella.ops.mending.repair import repair as mend
    from lamella.ops.mending.repair import write_repair

    try:
        result = mend(path, dry_run=True, reindex=reindex, follow_links=follow_links)
    except StoreNotFoundError as error:
        click.echo(f"Error: {error}", err=True)
        context.exit(UNREADABLE)
    if not as_json and result.changes:
        echo_lines(result.diff.splitlines())
    if not dry_run:
        result = write_repair(result, path, backup=backup, follow_links=follow_links)
    if as_json:
        echo_lines([json.dumps(result.to_json(), indent=2, ensure_ascii=False)])
    else:
        echo_lines(
            ["", str(result), "", *result.after.lines()]
            if result.changes
            else [str(result), *result.after.lines()]
        )
    if not result.after.readable:
        context.exit(UNREADABLE)
    if not result.after.valid:
        context.exit(INVALID)
