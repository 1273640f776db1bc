"""Run ``lamella copy``, ``pack`` and ``unpack``: print the result, and fail for an incomplete copy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lamella.cli.messages import FAILED, QUIET, echo_json, echo_lines, echo_message, megabytes
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from lamella.ops.copying.report import CopyReport


def run_copy(context: click.Context, operation: Callable[[], CopyReport], *, as_json: bool) -> None:
    """Run a copy, and print its result; exit with FAILED if files may be missing."""
    begin = time.monotonic()
    report = operation()
    seconds = time.monotonic() - begin
    if as_json:
        echo_json(report.to_dict())
    elif not context.meta.get(QUIET):
        skipped = f" ({report.resumed} copied before)" if report.resumed else ""
        echo_lines(
            [
                f"Wrote {report.destination}: {counted(report.documents, 'document')}, "
                f"{counted(report.files, 'file')}{skipped}, {megabytes(report.nbytes)}, in {seconds:.1f} s "
                f"({report.nbytes / 1e6 / max(seconds, 0.001):.0f} MB/s)."
            ]
        )
    if report.unseen is not None:
        echo_message("error", report.unseen)
        context.exit(FAILED)
