"""Run ``lamella upgrade`` and ``lamella rechunk``: check the destination, and print the result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from lamella.cli.messages import QUIET, RESUMES, echo_json, echo_lines, echo_notes, megabytes
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.rewriting.rewrite import RewriteReport


def check_destination(destination: str | None, in_place: bool) -> None:
    """Raise unless a command has either DST or --in-place."""
    if in_place == (destination is not None):
        raise click.UsageError(
            "Give either DST, the new store, or --in-place to replace PATH."
            + (" Both were given." if in_place else " Neither was given.")
        )


def run_rewrite(context: click.Context, operation: Callable[[], RewriteReport], *, as_json: bool) -> None:
    """Run an operation that writes a whole store, and print its result."""
    context.meta[RESUMES] = True
    begin = time.monotonic()
    report = operation()
    echo_notes(context, report.notes)
    if as_json:
        echo_json(report.to_dict())
    elif not context.meta.get(QUIET):
        echo_lines(
            [
                f"Wrote {report.destination}: {counted(report.groups, 'group')}, {counted(report.arrays, 'array')} "
                f"({report.carried} copied without re-encoding), {megabytes(report.nbytes)}, "
                f"in {time.monotonic() - begin:.1f} s."
            ]
        )
