"""``lamella info``: show what a store contains. `info_text` lays out the text.

docs/command-line.md lists the keys of ``--json``: keys may be added, never renamed.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import open_node
from lamella.cli.messages import echo_json
from lamella.cli.options import operation_options, verbose_option


@click.command()
@click.argument("path", type=click.Path())
@operation_options(
    jobs=False,
    quiet=False,
    verbose=verbose_option("List every position; count files and bytes.", expose=True),
)
def info(context: click.Context, path: str, as_json: bool, verbose: int, options: dict[str, Any]) -> None:
    """Show what a store contains.

    PATH is an image, plate, row, well, collection or scene. Only metadata are read, never pixels. Damaged positions are
    listed as such.
    """
    from lamella.cli.info_text import print_blocks, text_of
    from lamella.errors import MetadataError
    from lamella.nodes.describe import ContainerDescription, describe, to_json
    from lamella.ops.execution import counting

    del context
    with (
        open_node(path, options, storage_options=options["storage_options"]) as node,
        counting(True, "positions") as count,
    ):
        description = describe(node, details=verbose > 0, on_field=count.add)
    if as_json:
        echo_json(to_json(description))
    else:
        print_blocks(text_of(description))
    if isinstance(description, ContainerDescription) and description.is_unreadable:
        raise MetadataError(f"No position of {description.store} can be opened.")
