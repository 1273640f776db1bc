"""``lamella validate``: report which rules of the specification a store breaks."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import FAILED, UNREADABLE, echo_json, echo_report, error_line
from lamella.cli.options import operation_options


@click.command()
@click.argument("path", type=click.Path())
@click.option("--strict", is_flag=True, help="Fail also for a broken SHOULD.")
@click.option("--pixels", is_flag=True, help="Also decode every chunk and check pyramids.")
@operation_options()
def validate(
    context: click.Context, path: str, strict: bool, pixels: bool, as_json: bool, options: dict[str, Any]
) -> None:
    """Check a store against the OME-NGFF specification.

    Images, labels, plates, wells and collections are checked by the rules of their version. Each finding has the id of
    a rule, its level (MUST or SHOULD), where it is in the metadata, what was found, and what to do. Nothing is written.
    """
    from lamella.errors import LamellaError
    from lamella.ops.validation.validate import validate as run

    try:
        report = run(path, strict=strict, pixels=pixels, **options)
    except (LamellaError, OSError) as error:  # a missing or unreachable store
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
    echo_report(context, report, as_json)
    if not report.readable:
        context.exit(UNREADABLE)
    if not report:
        context.exit(FAILED)
