"""``lamella status``: which pixels of a store are written, missing or damaged, without decoding any.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.messages import FAILED, echo_json, echo_lines
from lamella.cli.options import (
    follow_links_option,
    jobs_option,
    json_option,
    quiet_option,
    storage_option,
    verbose_option,
)


@click.command()
@click.argument("path", type=click.Path())
@click.option("--complete", is_flag=True, help="Fail also when pixels were never written.")
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def status(
    context: click.Context,
    path: str,
    complete: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Report which pixels are written, missing or damaged.

    By position, time and channel. Only indexes and sizes of files are read; `lamella verify` decodes the chunks. Some
    programs do not store chunks that hold nothing but the fill value: these count as never written.
    """
    from lamella.ops.integrity.status import status as run

    report = run(
        path,
        jobs=jobs,
        progress=not quiet,
        follow_links=follow_links,
        storage_options=storage_options,
    )
    if as_json:
        echo_json(report.to_dict())
    elif not quiet:
        echo_lines(report.lines())
    states = {image.state for image in report.images}
    if states & {"damaged", "unread"} or (complete and states & {"partly", "missing"}):
        context.exit(FAILED)
