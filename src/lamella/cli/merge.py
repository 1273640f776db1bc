"""``lamella merge``: create a plate with the positions of several plates.

:func:`lamella.ops.plates.subset.merge` copies them.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import opened, options_of_new_store, run_build, with_storage
from lamella.cli.options import operation_options


@click.command(epilog="Example: lamella merge monday.zarr tuesday.zarr week.zarr --renumber")
@click.argument("plates", nargs=-1, required=True, metavar="PLATE...", type=click.Path())
@click.argument("destination", metavar="DST", type=click.Path())
@click.option("--renumber", is_flag=True, help="Rename fields whose path an earlier plate has.")
@operation_options()
def merge(
    context: click.Context,
    plates: tuple[str, ...],
    destination: str,
    renumber: bool,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Create a plate with the positions of several plates.

    Chunks are copied as they are encoded, with names, acquisitions, channels, levels, labels and tables. If two plates
    have a field of the same path, nothing is written, unless --renumber is given.

    DST appears when it is complete. Run the same command again to resume an interrupted one.
    """
    from lamella.ops.plates.subset import merge as run

    def build() -> Any:
        *sources, target = with_storage((*plates, destination), options)
        nodes: list[Any] = [opened(path, options) for path in sources]
        return run(nodes, target, renumber=renumber, **options_of_new_store(options))

    run_build(context, build, destination, as_json=as_json)
