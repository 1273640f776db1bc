"""``lamella validate``: which rules of the specification a store breaks.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.messages import FAILED, UNREADABLE, echo_json, echo_lines, error_line
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
@click.option("--strict", is_flag=True, help="Fail also for a broken SHOULD.")
@click.option("--pixels", is_flag=True, help="Also decode every chunk and check pyramids.")
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def validate(
    context: click.Context,
    path: str,
    strict: bool,
    pixels: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Check a store against the OME-NGFF specification.

    Images, labels, plates, wells and collections are checked by the rules of their version. Each finding has the id of
    a rule, its level (MUST or SHOULD), where it is in the metadata, what was found, and what to do. Nothing is written.
    """
    from lamella.errors import LamellaError
    from lamella.ops.validation.validate import validate as run

    try:
        report = run(
            path,
            strict=strict,
            pixels=pixels,
            jobs=jobs,
            progress=not quiet,
            follow_links=follow_links,
            storage_options=storage_options,
        )
    except (LamellaError, OSError) as error:  # nothing at the path, or a store that cannot be reached
        if as_json:
            from lamella.store.addresses import clean_url
            from lamella.store.paths import is_url

            echo_json(
                {
                    "store": clean_url(path) if is_url(path) else path,
                    "readable": False,
                    "valid": False,
                    "error": error_line(error),
                }
            )
        raise
    if as_json:
        echo_json(report.to_dict())
    elif not quiet:
        echo_lines(report.lines())
    if not report.readable:
        context.exit(UNREADABLE)
    if not report:
        context.exit(FAILED)
