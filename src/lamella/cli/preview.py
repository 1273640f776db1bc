"""``lamella preview``: a picture of an image or a plate.

Layer: cli.
"""

from __future__ import annotations

import click

from lamella.cli.links import follow_links_option


@click.command()
@click.argument("path")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE.png",
    help="The PNG file to write; replaced when it exists.",
)
@click.option(
    "--size",
    type=click.IntRange(16, 16384),
    help="Pixels of the larger side: of the image (default 512), or of all wells together "
    "(default 150 per field, from 512 to 2048).",
)
@click.option("--label", metavar="NAME", help="Lay this label image over the picture.")
@click.option(
    "--z", type=click.IntRange(min=0), help="Z plane, counted from 0 in the finest level; default the middle."
)
@click.option("--t", type=click.IntRange(min=0), help="Time point, counted from 0; default the first.")
@click.option(
    "--channels", metavar="NAME,...", help="Channels to show; default those that the metadata call active."
)
@follow_links_option
def preview(
    path: str,
    output: str,
    size: int | None,
    label: str | None,
    z: int | None,
    t: int | None,
    channels: str | None,
    follow_links: bool,
) -> None:
    """Draw an image or a plate into a PNG file.

    A row, a well or a collection of images is drawn like a plate.

    Channels are blended in the colours and contrast limits of the metadata; where these are missing, contrast is
    chosen from the pixels. Of a plate the wells are drawn where they are on it, empty ones empty, and fields that
    cannot be read are crossed out and named on the error stream.
    """
    from lamella.adapters.png import write_preview
    from lamella.errors import InvalidArgumentError
    from lamella.nodes.open import open_ome_zarr
    from lamella.ops.display.preview import PreviewOptions

    names = None if channels is None else tuple(name.strip() for name in channels.split(",") if name.strip())
    if names == ():
        raise InvalidArgumentError("--channels names no channel. Give names, as in --channels DAPI,GFP.")
    with open_ome_zarr(path, disable_path_checking=follow_links) as node:
        faults = write_preview(node, output, PreviewOptions(label, z, t, names), size=size)
    for fault in faults:
        click.echo(f"{fault.path}: {fault.error}", err=True)
    click.echo(f"Wrote {output}")
