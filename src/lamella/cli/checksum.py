"""``lamella checksum``: a manifest of the files of a store, as ``sha256sum`` makes them.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option


@click.command()
@click.argument("path")
@click.option("-o", "--output", type=click.Path(), help="Write the manifest here, not to the terminal.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Workers; one per processor by default.")
@follow_links_option
@click.pass_context
def checksum(
    context: click.Context, path: str, output: str | None, jobs: int | None, follow_links: bool
) -> None:
    """Print the SHA-256 of every file of a store, sorted by name: the same on every machine.

    `lamella verify PATH --manifest FILE` compares with it; so does `sha256sum --check` inside the store.

    With -o a command that was killed is finished by the same command. It keeps what it has in OUTPUT.record, which goes
    when the manifest is written.
    """
    from lamella.cli import INTERRUPTED, echo_lines
    from lamella.cli.progress import ended_by_sigterm
    from lamella.ops.integrity.checksum import checksum as run
    from lamella.ops.integrity.checksum import manifest_lines

    try:
        with ended_by_sigterm():
            digests = run(path, output, jobs=jobs, follow_links=follow_links)
    except KeyboardInterrupt:
        go_on = "" if output is None else " Run the same command again to go on."
        click.echo(f"Interrupted.{go_on}", err=True)
        context.exit(INTERRUPTED)
    if output is None:
        echo_lines(manifest_lines(digests))
