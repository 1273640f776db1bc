"""``lamella checksum``: write a manifest of the files of a store, in the format of ``sha256sum``."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import RESUMES, echo_json, echo_lines
from lamella.cli.options import operation_options


@click.command()
@click.argument("path", type=click.Path())
@click.option("-o", "--output", type=click.Path(), help="Write the manifest to this file.")
@operation_options()
def checksum(
    context: click.Context, path: str, output: str | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Write checksums of all files.

    One line for each file, sorted by name, with its SHA-256: the same on every machine. `lamella verify PATH --manifest
    FILE` compares the files with it; so does `sha256sum --check` inside the store.

    With -o the same command resumes an interrupted one. It keeps the checksums so far in OUTPUT.record, which is
    removed when the manifest is written.
    """
    from lamella.ops.integrity.checksum import checksum as run

    context.meta[RESUMES] = output is not None
    report = run(path, output, **options)
    if as_json:
        echo_json(report.to_dict())
    elif output is None:
        echo_lines(report.lines())
