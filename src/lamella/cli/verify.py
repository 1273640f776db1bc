"""``lamella verify``: decodes everything in a store, or compares its files with a manifest.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.messages import FAILED, RESUMES, echo_json, echo_lines
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
@click.option("--manifest", metavar="FILE", type=click.Path(), help="Compare checksums instead of decoding.")
@click.option("--record", metavar="FILE", type=click.Path(), help="Keep the progress in FILE, to resume.")
@jobs_option
@json_option
@quiet_option
@verbose_option()
@follow_links_option
@storage_option
@click.pass_context
def verify(
    context: click.Context,
    path: str,
    manifest: str | None,
    record: str | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    follow_links: bool,
    storage_options: dict[str, object],
) -> None:
    """Decode every chunk and report damage.

    All documents of the store are parsed, too. With --manifest nothing is decoded: each file must have the checksum
    that `lamella checksum` wrote to the manifest. A file that the manifest does not name is reported, but does not
    count as damage.

    With --record an interrupted command is resumed by the same command: it reads the files that were not read, were
    damaged or have changed. FILE lies outside of the store and is removed at the end.
    """
    from lamella.ops.integrity.verify import verify as run

    context.meta[RESUMES] = record is not None
    report = run(
        path,
        manifest=manifest,
        record=record,
        jobs=jobs,
        progress=not quiet,
        follow_links=follow_links,
        storage_options=storage_options,
    )
    if as_json:
        echo_json(report.to_dict())
    elif not quiet:
        echo_lines(report.lines())
    if not report:
        context.exit(FAILED)
