"""``lamella info``: show what a store contains.

The objects that ``--json`` prints, all with ``kind`` first; unknown values are null:

``image``
    ``store``, ``version``, ``name``, ``axes`` (list of ``name``, ``type``, ``unit``), ``levels`` (list of ``path``,
    ``shape``, ``dtype``, ``chunks``, ``shards``, ``compressor``, ``scale``, ``translation``, and with ``-v``
    ``files``, ``stored_bytes``), ``channels`` (list of ``name``, ``color``, ``window`` [start, end], ``active``),
    ``labels``, ``tables`` (lists of names), ``stale_levels`` (whether level 0 was written since the others were made).
``plate``
    ``store``, ``version``, ``name``, ``rows``, ``columns``, ``wells`` (paths), ``field_count``, ``acquisitions`` (list
    of ``id``, ``name``, ``maximum_field_count``), ``first_path`` and ``first`` (path and ``image`` object of the
    first field that opens), ``damaged``, ``positions``.
``row``, ``well``, ``collection``, ``scene``
    As a plate, without its own keys; a well has ``fields`` (names), a collection ``images`` (paths). A scene
    has ``images``, ``systems`` (names of its coordinate systems) and ``transformations`` (list of ``type``, ``input``,
    ``output``; the last two as path:system).

A plate and a collection also have ``described``, facts from the OME-XML of bioformats2raw (list of ``path``, ``name``,
``acquired``, ``size`` by axis), and ``ome_fault``, why it was not read.

``positions`` is null without ``-v``, else a list of ``path``, ``shape``, ``dtype``, ``levels``, ``scale``,
``acquisition``. A damaged node has only ``path`` and ``error``, in ``levels``, ``positions`` and ``damaged``.
Keys may be added, never renamed.

``lamella.cli.info_text`` lays out the text.
"""

from __future__ import annotations

from typing import Any

import click

from lamella.cli.building import opened
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
    from lamella.ops.execution import Count, reporting

    del context
    with (
        opened(path, options, storage_options=options["storage_options"]) as node,
        reporting(True, "positions") as report_progress,
    ):
        count = Count(report_progress, "positions")
        description = describe(node, details=verbose > 0, on_field=count.add)
    if as_json:
        echo_json(to_json(description))
    else:
        print_blocks(text_of(description))
    if isinstance(description, ContainerDescription) and description.nothing_opens:
        raise MetadataError(f"No position of {description.store} can be opened.")
