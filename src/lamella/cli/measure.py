"""``lamella measure``: measure the labels of images.

The work is :func:`lamella.ops.tables.measure_store.measure_store`.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.messages import QUIET, echo_json, echo_lines
from lamella.cli.options import operation_options
from lamella.errors import counted


@click.command(epilog="Example: lamella measure plate.zarr nuclei --properties area,intensity_mean")
@click.argument("path", type=click.Path())
@click.argument("labels")
@click.option(
    "--properties", metavar="NAME,...", default="area,centroid,intensity_mean", help="Of scikit-image."
)
@click.option("--channel", metavar="NAME", multiple=True, help="A channel; may be repeated.")
@click.option("--at-level", "level", default="0", metavar="NAME", help="Level; 0 by default.")
@click.option("--voxels", is_flag=True, help="Measure in voxels, not in physical units.")
@click.option("--save-as", "name", metavar="NAME", help="Name of the table; LABELS by default.")
@operation_options()
def measure(
    context: click.Context,
    path: str,
    labels: str,
    properties: str,
    channel: tuple[str, ...],
    level: str,
    voxels: bool,
    name: str | None,
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """Measure the labels of an image or plate by scikit-image.

    LABELS is the name of a label image. The result is a table of each image, which `lamella table` prints.
    """
    from lamella.ops.tables.measure_store import measure_store

    rows = measure_store(
        path,
        labels,
        _parts(properties),
        table=name,
        channels=list(channel) or None,
        level=level,
        physical=not voxels,
        **options,
    )
    if as_json:
        echo_json({"rows": rows})
    elif not context.meta.get(QUIET):
        total = counted(sum(rows.values()), "label")
        echo_lines([f"{total} of {counted(len(rows), 'image')} in the table {name or labels}."])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
