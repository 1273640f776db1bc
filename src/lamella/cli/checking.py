"""``lamella checksum``, ``status``, ``validate`` and ``verify``: print the report of a check."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import (
    FAILED,
    RESUMES,
    UNREADABLE,
    echo_json,
    echo_lines,
    echo_report,
    echo_result,
    error_line,
)
from lamella.cli.options import operation_options
from lamella.errors import counted


@click.command()
@click.argument("path", type=click.Path())
@click.option("--complete", is_flag=True, help="Fail also when pixels were never written.")
@operation_options()
def status(context: click.Context, path: str, complete: bool, as_json: bool, options: dict[str, Any]) -> None:
    """Report which pixels are written, missing or damaged.

    The report has a line for each position, and lists the times and channels that are incomplete. Only sizes of files
    and indexes of shards are read; `lamella verify` decodes the chunks. Some programs do not store chunks of zeros:
    these count as never written.
    """
    from lamella.ops.integrity.status import status as run

    report = run(path, **options)
    echo_report(context, as_json, report)
    states = {image.state for image in report.images}
    if states & {"damaged", "unread"} or (complete and states & {"partly", "missing"}):
        context.exit(FAILED)


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

    With --record, run the same command again to resume an interrupted one: it skips files that were read without damage
    and have not changed. FILE must be outside of the store, and is removed at the end.
    """
    from lamella.ops.integrity.verify import verify as run

    context.meta[RESUMES] = record is not None
    report = run(path, manifest=manifest, record=record, **options)
    echo_report(context, as_json, report)
    if not report:
        context.exit(FAILED)


@click.command()
@click.argument("path", type=click.Path())
@click.option("-o", "--output", type=click.Path(), help="Write the manifest to this file.")
@operation_options()
def checksum(
    context: click.Context, path: str, output: str | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Write checksums of all files.

    The list (the manifest) has one line for each file: its SHA-256 checksum and its name, sorted by name. It is the
    same on every machine. `lamella verify PATH --manifest FILE` compares a store with it; so does `sha256sum --check`
    inside the store.

    With -o, run the same command again to resume an interrupted one. Until the manifest is complete, the checksums are
    in OUTPUT.record.
    """
    from lamella.ops.integrity.checksum import checksum as run

    context.meta[RESUMES] = output is not None
    report = run(path, output, **options)
    if output is None and not as_json:
        echo_lines(report.lines())  # also with --quiet: the user asked for these lines
    else:
        echo_result(
            context,
            as_json,
            report.to_dict(),
            f"Wrote {output}: checksums of {counted(len(report), 'file')}.",
        )


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
            from lamella.store.objects.addresses import clean_url
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
    echo_report(context, as_json, report)
    if not report.readable:
        context.exit(UNREADABLE)
    if not report:
        context.exit(FAILED)
