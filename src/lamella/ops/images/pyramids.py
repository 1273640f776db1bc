"""``compute_pyramids``: the pyramids of all images of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lamella.errors import counted
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.position import Position
from lamella.nodes.walk import images_of
from lamella.ops.execution import Count, check_progress, reporting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.types import StrPath


def compute_pyramids(
    path: StrPath | Store,
    levels: int | Literal["auto"] | None = None,
    method: str = "mean",
    *,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Compute the pyramids of an image, or of all images of a well, collection or plate.

    Images without pixels are skipped. A pyramid with another number of levels raises, unless ``overwrite`` deletes its
    lower levels first. Return the number of levels by path.
    """
    check_progress(progress)
    node = open_ome_zarr(path, mode="r+", disable_path_checking=follow_links, storage_options=storage_options)
    if isinstance(node, Position):
        _compute(node, levels, method, overwrite, jobs, progress)
        node.documents.storage.commit_own("Compute the pyramid")
        return {node.path or node.store_handle.name: len(node.dataset_paths)}
    images = {path: position for path, position in images_of(node).items() if position.dataset_paths}
    with (
        logged("Compute the pyramids of %s", counted(len(images), "image")),
        reporting(progress, "images") as report_progress,
    ):
        count = Count(report_progress, "images", len(images))
        for position in images.values():
            _compute(position, levels, method, overwrite, jobs, None)
            count.add()
    node.documents.storage.commit_own(f"Compute the pyramids of {counted(len(images), 'image')}")
    return {path: len(position.dataset_paths) for path, position in images.items()}


def _compute(
    position: Position,
    levels: int | Literal["auto"] | None,
    method: str,
    overwrite: bool,
    jobs: int | None,
    progress: Progress | bool | None,
) -> None:
    if overwrite and levels is not None:
        position.delete_pyramid()
    position.compute_pyramid(levels, method, jobs=jobs, progress=progress)
