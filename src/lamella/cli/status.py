"""``lamella status``: report which pixels of a store are written, missing or damaged, without decoding."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import FAILED, echo_report
from lamella.cli.options import operation_options


@click.command()
@click.argument("path", type=click.Path())
@click.option("--complete", is_flag=True, help="Fail also when pixels were never written.")
@operation_options()
def status(context: click.Context, path: str, complete: bool, as_json: bool, options: dict[str, Any]) -> None:
    """Report which pixels are written, missing or damaged.

    By position, time and channel. Only indexes and sizes of files are read; `lamella verify` decodes the chunks. Some
    programs do not store chunks that have only the fill value: these count as never written.
    """
    from lamella.ops.integrity.status import status as run

    report = run(path, **options)
    echo_report(context, report, as_json)
    states = {image.state for image in report.images}
    if states & {"damaged", "unread"} or (complete and states & {"partly", "missing"}):
        context.exit(FAILED)
