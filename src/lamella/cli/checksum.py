"""``lamella checksum``: a manifest of the files of a store, as ``sha256sum`` makes them.

Layer: cli.
"""

from __future__ import annotations

import click


@click.command()
@click.argument("path")
@click.option("-o", "--output", type=click.Path(), help="Write the manifest here, not to the terminal.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Workers; one per processor by default.")
def checksum(path: str, output: str | None, jobs: int | None) -> None:
    """Print the SHA-256 of every file of a store, sorted by name: the same on every machine.

    `lamella verify PATH --manifest FILE` compares with it; so does `sha256sum --check` inside the store.
    """
    from lamella.cli import echo_lines
    from lamella.ops.integrity.checksum import checksum as run
    from lamella.ops.integrity.checksum import manifest_lines, write_manifest

    digests = run(path, jobs=jobs)
    if output is None:
        echo_lines(manifest_lines(digests))
    else:
        write_manifest(digests, output)
