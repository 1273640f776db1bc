"""``lamella pyramid``: compute the lower-resolution levels of images."""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import echo_result
from lamella.cli.options import NumberOr, operation_options
from lamella.errors import counted


@click.command(epilog="Example: lamella pyramid plate.zarr --levels 4")
@click.argument("path", type=click.Path())
@click.option("--levels", type=NumberOr(1, "auto"), help="Number of levels; auto stops at 256 pixels.")
@click.option(
    "--method",
    type=click.Choice(["mean", "median", "mode", "min", "max", "stride"]),
    default="mean",
    metavar="METHOD",
    help="mean (default), median, mode, min, max, stride.",
)
@click.option("--replace", is_flag=True, help="First delete the present lower levels.")
@operation_options(resumes=True)
def pyramid(
    context: click.Context, path: str, replace: bool, as_json: bool, options: dict[str, Any], **settings: Any
) -> None:
    """Compute the lower-resolution levels of images.

    PATH is an image. If it is a row, well, plate or collection, the levels of all its images are computed. Without
    --levels, existing lower levels are computed again; an image without any gets as many as by --levels auto.

    Run the same command again to resume an interrupted one.
    """
    from lamella.ops.images.pyramids import compute_pyramids

    counts = compute_pyramids(path, overwrite=replace, **settings, **options)
    level_counts = sorted(set(counts.values()))
    minimum = f"{level_counts[0]} to " if len(level_counts) > 1 else ""
    maximum = counted(max(level_counts, default=0), "level")
    line = f"{counted(len(counts), 'image')} with {minimum}{maximum}."
    echo_result(context, as_json, {"levels": counts}, line)
