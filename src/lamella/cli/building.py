"""Run ``lamella merge``, ``subset`` and ``mosaic``, which create a store from others: open them, print the result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lamella.cli.messages import QUIET, RESUMES, echo_json, echo_lines
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

    from lamella.nodes.node import NGFFNode


def with_storage(paths: Sequence[str], options: dict[str, Any]) -> list[str]:
    """Return the sources and the destination with the options of ``--storage``, each that knows them."""
    from lamella.store.storage import share_options

    return share_options(paths, options["storage_options"])


def opened(path: str, options: dict[str, Any]) -> NGFFNode:
    """Open a source of `with_storage`."""
    from lamella.nodes.open import open_ome_zarr

    node: NGFFNode = open_ome_zarr(path, disable_path_checking=options["follow_links"])
    return node


def options_of_new_store(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options for the call that writes the new store to a path of `with_storage`."""
    return {"jobs": options["jobs"], "progress": options["progress"]}


def run_build(
    context: click.Context, operation: Callable[[], NGFFNode], destination: str, *, as_json: bool
) -> None:
    """Run an operation that returns the new plate or image, and print what was written."""
    from lamella.nodes.plate import Plate

    context.meta[RESUMES] = True
    begin = time.monotonic()
    with operation() as node:
        node.documents.storage.commit_own(f"lamella {context.info_name}")
        is_plate = isinstance(node, Plate)
        images = [path for path, _ in node.positions()] if isinstance(node, Plate) else [""]
    seconds = time.monotonic() - begin
    if as_json:
        echo_json({"destination": destination, "layout": "hcs" if is_plate else "fov", "images": images})
    elif not context.meta.get(QUIET):
        count = counted(len(images), "image")
        echo_lines(
            [f"Wrote {destination}: {f'a plate of {count}' if is_plate else count}, in {seconds:.1f} s."]
        )
