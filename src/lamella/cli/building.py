"""Run ``lamella merge``, ``subset`` and ``mosaic``, which create a store from others: open them, print the result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lamella.cli.messages import QUIET, RESUMES, echo_json, echo_lines
from lamella.errors import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from lamella.nodes.node import NGFFNode


def opened(path: str, options: dict[str, Any]) -> NGFFNode:
    """Open a source; options of a URL are for those arguments that are URLs."""
    from lamella.nodes.open import open_ome_zarr
    from lamella.store.paths import is_url

    storage_options = options["storage_options"] if is_url(path) else None
    node: NGFFNode = open_ome_zarr(
        path, disable_path_checking=options["follow_links"], storage_options=storage_options
    )
    return node


def options_of_new_store(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options for the call that writes the new store."""
    from lamella.store.paths import is_url

    storage_options = options["storage_options"] if is_url(path) else None
    return {
        "jobs": options["jobs"],
        "progress": options["progress"],
        "storage_options": storage_options or None,
    }


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
