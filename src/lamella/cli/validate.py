"""``lamella validate``: what is wrong with a store.

Exit codes: 0 valid, 1 not valid (a MUST is broken; with ``--strict`` also a SHOULD), 2 nothing there could be judged.
``--json`` prints what `lamella.ops.validation.validate.ValidationReport.to_json` gives.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option

INVALID = 1
UNREADABLE = 2


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@click.option("--strict", is_flag=True, help="Fail for a broken SHOULD, too.")
@click.option(
    "--pixels", is_flag=True, help="Also decode every chunk, and compare pyramids with their level 0."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Workers for --pixels; one per processor by default."
)
@follow_links_option
@click.pass_context
def validate(
    context: click.Context,
    path: str,
    as_json: bool,
    strict: bool,
    pixels: bool,
    jobs: int | None,
    follow_links: bool,
) -> None:
    """Judge an OME-Zarr store by the rules of its version: images, labels, plates, wells, collections.

    Each finding has the id of a rule, its level (MUST or SHOULD), the place in the metadata, what was found, and what
    to do. Nothing is written. Exit code 0: valid; 1: not valid; 2: nothing could be judged.
    """
    import json

    from lamella.cli import echo_lines, error_line
    from lamella.errors import LamellaError
    from lamella.ops.validation.validate import validate as judge

    try:
        report = judge(path, strict=strict, pixels=pixels, jobs=jobs, follow_links=follow_links)
    except (LamellaError, OSError) as error:  # nothing at the path, or a place that cannot be reached
        if as_json:
            echo_lines(
                [json.dumps({"store": path, "readable": False, "valid": False, "error": error_line(error)})]
            )
        click.echo(f"Error: {error_line(error)}", err=True)
        context.exit(UNREADABLE)
    if as_json:
        echo_lines([json.dumps(report.to_json(), indent=2, ensure_ascii=False)])
    else:
        echo_lines(report.lines())
    if not report.readable:
        context.exit(UNREADABLE)
    if not report:
        context.exit(INVALID)
