"""``lamella repair``: fix the metadata of a store."""

from __future__ import annotations

import shlex
from typing import Any

import click

from lamella.cli.messages import FAILED, QUIET, UNREADABLE, echo_json, echo_lines
from lamella.cli.options import dry_run_option, operation_options


@click.command()
@click.argument("path", type=click.Path())
@dry_run_option
@click.option("--reindex", is_flag=True, help="First add wells and fields that are not listed.")
@click.option("--backup", metavar="FOLDER", type=click.Path(), help="Folder for the old documents.")
@operation_options(jobs=False)
def repair(
    context: click.Context,
    path: str,
    dry_run: bool,
    reindex: bool,
    backup: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Fix metadata that can be fixed without guessing.

    Each change is printed as a diff before it is written, and the old documents are saved in PATH.backup-DATE, beside
    the store. Findings that remain are listed after the changes; if one breaks a MUST rule, the exit code is 1. Pixels
    are never changed.
    """
    from lamella.ops.repair.repair import repair as run
    from lamella.ops.repair.repair import write_repair

    report = run(path, dry_run=True, reindex=reindex, **options)
    prints_text = not as_json and not context.meta.get(QUIET)
    if prints_text and report.changes:
        echo_lines(report.diff.splitlines())
    if not dry_run:
        report = write_repair(report, path, backup=backup, **options)
    if as_json:
        echo_json(report.to_dict())
    elif prints_text:
        if report.changes:
            echo_lines(["", str(report), "", *report.after.lines()])
        else:
            command = f"lamella validate {shlex.quote(report.after.store)}"
            hint = [f"\nAll findings: {command}"] if report.after.findings else []
            echo_lines([str(report), *report.after.lines(level="MUST"), *hint])
    if not report.after.readable:
        context.exit(UNREADABLE)
    if not report.after.valid:
        context.exit(FAILED)
