"""``lamella verify``: reads all that a store holds, or compares its files with a manifest.

Exit codes: 0 all whole, 1 something is damaged or could not be read, 2 there is nothing to verify, 130 interrupted.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option

DAMAGED = 1
UNREADABLE = 2


@click.command()
@click.argument("path")
@click.option(
    "--manifest",
    type=click.Path(),
    help="Compare each file with this manifest of `lamella checksum` instead.",
)
@click.option(
    "--record",
    type=click.Path(),
    help="Keep in this file, outside of the store, what is known to be whole: the same command goes on after a kill.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Workers; one per processor by default.")
@follow_links_option
@click.pass_context
def verify(
    context: click.Context,
    path: str,
    manifest: str | None,
    record: str | None,
    as_json: bool,
    jobs: int | None,
    follow_links: bool,
) -> None:
    """Decode every chunk of an OME-Zarr store and parse every document, to know that all of it can be read.

    With --manifest nothing is decoded: every file must have the checksum that it had. What the manifest does not name
    is told and is no damage.

    With --record a command that was killed is finished by the same command: it reads what was not read yet, what was
    damaged, and what has changed since. The file goes when it is done.
    """
    import json

    from lamella.cli import INTERRUPTED, echo_lines, error_line
    from lamella.cli.progress import ended_by_sigterm
    from lamella.errors import LamellaError
    from lamella.ops.integrity.verify import verify as run

    try:
        with ended_by_sigterm():
            report = run(path, manifest=manifest, record=record, jobs=jobs, follow_links=follow_links)
    except KeyboardInterrupt:
        go_on = "" if record is None else " Run the same command again to go on."
        click.echo(f"Interrupted.{go_on}", err=True)
        context.exit(INTERRUPTED)
    except (LamellaError, OSError) as error:
        click.echo(f"Error: {error_line(error)}", err=True)
        context.exit(UNREADABLE)
    echo_lines([json.dumps(report.to_json(), indent=2, ensure_ascii=False)] if as_json else report.lines())
    if not report:
        context.exit(DAMAGED)
