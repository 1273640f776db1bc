"""``lamella status``: what of a store is written, never written, or damaged, without decoding anything.

Exit codes: 0 nothing is damaged and all could be read (with ``--complete``: and all is written), 1 otherwise.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@click.option("--complete", is_flag=True, help="Fail also when something was never written.")
@follow_links_option
@click.pass_context
def status(context: click.Context, path: str, as_json: bool, complete: bool, follow_links: bool) -> None:
    """Say what of an OME-Zarr store is written, never written, or damaged, by position, time and channel.

    Looks at indexes and sizes of files alone; `lamella verify` decodes them. Some writers (not lamella) do not store
    chunks that hold nothing but the fill value: these count as never written.
    """
    import json

    from lamella.cli import echo_lines
    from lamella.ops.integrity.status import status as look

    found = look(path, follow_links=follow_links)
    echo_lines([json.dumps(found.to_json(), indent=2, ensure_ascii=False)] if as_json else found.lines())
    states = {image.state for image in found.images}
    if states & {"damaged", "unread"} or (complete and states & {"partly", "missing"}):
        context.exit(1)
