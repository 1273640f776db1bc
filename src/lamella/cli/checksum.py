"""``lamella checksum``: a manifest of the files of a store, as ``sha256sum`` makes them.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.messages import RESUMES, echo_json, echo_lines
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
@click.option("-o", "--output", type=click.Path(), help="Write the manifest to this file.")
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def checksum(
    context: click.Context,
    path: str,
    output: str | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Write checksums of all files.

    One line for each file, sorted by name, with its SHA-256: the same on every machine. `lamella verify PATH --manifest
    FILE` compares the files with it; so does `sha256sum --check` inside the store.

    With -o an interrupted command is resumed by the same command. It keeps the checksums so far in OUTPUT.record, which
    is removed when the manifest is written.
    """
    from lamella.ops.integrity.checksum import checksum as run

    context.meta[RESUMES] = output is not None
    report = run(
        path,
        output,
        jobs=jobs,
        progress=not quiet,
        follow_links=follow_links,
        storage_options=storage_options,
    )
    if as_json:
        echo_json(report.to_dict())
    elif output is None:
        echo_lines(report.lines())
