"""What ``lamella upgrade`` and ``lamella rechunk`` share: progress, the last line, and what is said on Ctrl-C.

Layer: cli.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import click

from lamella.cli.progress import ended_by_sigterm, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.rewriting.rewrite import Progress, RewriteReport

Operation: TypeAlias = "Callable[[Progress | None], RewriteReport]"
"""An operation that only waits for somebody to tell of its progress."""


def run_rewrite(context: click.Context, operation: Operation, *, quiet: bool) -> None:
    """Run an operation that writes a store anew, and say what it wrote; errors are the caller's."""
    from lamella.cli import INTERRUPTED

    begin = time.monotonic()
    try:
        with ended_by_sigterm(), shown(quiet, first="reading metadata", amount=_megabytes) as show:
            report = operation(show)
    except KeyboardInterrupt:
        click.echo("Interrupted: nothing is lost. Run the same command again to go on.", err=True)
        context.exit(INTERRUPTED)
    if quiet:
        return
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    groups = f"{report.groups} group{'' if report.groups == 1 else 's'}"
    arrays = f"{report.arrays} array{'' if report.arrays == 1 else 's'}"
    click.echo(
        f"{report.destination}: {groups}, {arrays} ({report.carried} with their chunks as they were), "
        f"{_megabytes(report.nbytes)}, in {time.monotonic() - begin:.1f} s"
    )


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:.1f} MB"
