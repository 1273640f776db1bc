"""``lamella verify``: decode everything in a store, or compare its files with a manifest."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import FAILED, RESUMES, echo_report
from lamella.cli.options import operation_options


@click.command()
@click.argument("path", type=click.Path())
@click.option("--manifest", metavar="FILE", type=click.Path(), help="Compare checksums instead of decoding.")
@click.option("--record", metavar="FILE", type=click.Path(), help="Keep the progress in FILE, to resume.")
@operation_options()
def verify(
    context: click.Context,
    path: str,
    manifest: str | None,
    record: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Decode every chunk and report damage.

    All documents of the store are parsed, too. With --manifest nothing is decoded: each file must have the checksum
    that `lamella checksum` wrote to the manifest. A file that the manifest does not name is reported, but does not
    count as damage.

    With --record the same command resumes an interrupted one: it reads the files that were not read, were damaged or
    have changed. FILE must be outside of the store, and is removed at the end.
    """
    from lamella.ops.integrity.verify import verify as run

    context.meta[RESUMES] = record is not None
    report = run(path, manifest=manifest, record=record, **options)
    echo_report(context, report, as_json)
    if not report:
        context.exit(FAILED)
