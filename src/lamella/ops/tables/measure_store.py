"""``measure_store``: the labels of all images of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.errors import NodeNotFoundError, counted
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.walk import images_of
from lamella.ops.progress import Count, check_progress, reporting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.ops.progress import Progress
    from lamella.types import StrPath


def measure_store(
    path: StrPath | Store,
    labels: str,
    properties: Sequence[str],
    *,
    table: str | None = None,
    channels: Sequence[str] | None = None,
    level: str = "0",
    physical: bool = True,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Measure the labels of one name in an image, or in all images of a well or plate, and store them as tables.

    Images without such labels are skipped. Returns the number of rows by path.

    Raises
    ------
    NodeNotFoundError
        No image has labels of this name.
    """
    check_progress(progress)
    node = open_ome_zarr(path, mode="r+", disable_path_checking=follow_links, storage_options=storage_options)
    chosen = {path: position for path, position in images_of(node).items() if labels in position.labels}
    if not chosen:
        raise NodeNotFoundError(f"No image of {node.node_path} has labels {labels!r}.")
    rows: dict[str, int] = {}
    with (
        logged("Measure the labels %s of %s", labels, counted(len(chosen), "image")),
        reporting(progress, "images") as report_progress,
    ):
        count = Count(report_progress, "images", len(chosen))
        for where, position in chosen.items():
            frame = position.labels[labels].measure(
                properties,
                channels=channels,
                level=level,
                physical=physical,
                name=table or labels,
                jobs=jobs,
            )
            rows[where] = len(frame)
            count.add()
    node.documents.storage.commit_own(f"Measure the labels {labels}")
    return rows
