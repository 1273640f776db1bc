"""``lamella preview``: draw an image or a plate."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import open_node, options_of_new_store
from lamella.cli.messages import echo_message, echo_result
from lamella.cli.options import NumberOr, Region, operation_options, split_option


@click.command()
@click.argument("path", type=click.Path())
@click.option(
    "-o", "--output", required=True, metavar="FILE.png", type=click.Path(), help="PNG file to write."
)
@click.option("--size", type=click.IntRange(16, 16384), metavar="PIXELS", help="Length of the larger side.")
@click.option("--label", metavar="NAME", help="Label image to draw over the picture.")
@click.option("--z", type=NumberOr(0, "max"), help="Z plane, or maximum; the middle by default.")
@click.option("--t", type=click.IntRange(min=0), metavar="N", help="Time point; the first, 0, by default.")
@click.option(
    "--channels", metavar="NAME,...", callback=split_option,
    help="Channels to draw; the active ones by default.",
)  # fmt: skip
@click.option("--level", metavar="NAME", help="Level to read; by default one that suits the size.")
@click.option("--region", type=Region(), metavar="x=0:9,y=0:9", help="Region in pixels of level 0.")
@operation_options()
def preview(
    context: click.Context,
    path: str,
    output: str,
    size: int | None,
    channels: list[str] | None,
    as_json: bool,
    options: dict[str, Any],
    **settings: Any,
) -> None:
    """Draw an image or a plate into a PNG file.

    Channels are blended in the colours and contrast limits of the metadata; a single channel is grey. Where contrast
    limits are missing, they are computed from the pixels. A row, well or collection is drawn like a plate, with a
    blank place for each empty well. Fields that cannot be read are crossed out and named on the error stream. An
    existing FILE.png is replaced.

    Without --size, the picture of an image is 512 pixels wide or high, or as large as the level if --level is used.
    That of a plate has 150 pixels per field, and from 512 to 2048 pixels in all.
    """
    from lamella.adapters.png import write_preview
    from lamella.ops.display.preview import PreviewOptions

    preview_options = PreviewOptions(channels=None if channels is None else tuple(channels), **settings)
    with open_node(path, options, storage_options=options["storage_options"]) as node:
        problems = write_preview(node, output, preview_options, size=size, **options_of_new_store(options))
    for problem in problems:
        echo_message("warning", f"{problem.path}: {problem.error}")
    document = {"output": output, "faults": [problem.to_dict() for problem in problems]}
    echo_result(context, as_json, document, f"Wrote {output}.")
