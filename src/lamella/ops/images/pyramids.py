"""``compute_pyramids``: the pyramids of all images of a store, several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lamella.errors import counted
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.position import Position
from lamella.nodes.walk import images_of
from lamella.ops.array_writes import bytes_in_work
from lamella.ops.execution import LARGE_CHUNK, Workers, check_progress, counting, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.types import StrPath


@dataclass(frozen=True)
class _Image:
    """An image, and the arguments for its pyramid."""

    path: str
    position: Position
    levels: int | Literal["auto"] | None
    method: str
    overwrite: bool
    jobs: int
    resume: bool


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
    """Compute the pyramids of an image, or of all images of a row, well, collection or plate.

    A pyramid with another number of levels raises, unless ``overwrite`` deletes its lower levels first. Return the
    number of levels by path.
    """
    check_progress(progress)
    node = open_ome_zarr(path, mode="r+", disable_path_checking=follow_links, storage_options=storage_options)
    if isinstance(node, Position):
        if overwrite and levels is not None:
            node.delete_pyramid()
        node.compute_pyramid(levels, method, jobs=jobs, progress=progress)
        node.documents.storage.commit_own("Compute the pyramid")
        return {node.path or node.store_handle.name: len(node.dataset_paths)}
    counts = compute_each(
        images_of(node), levels, method, overwrite=overwrite, workers=Workers(jobs), progress=progress
    )
    node.documents.storage.commit_own(f"Compute the pyramids of {counted(len(counts), 'image')}")
    return counts


def compute_each(
    images: Mapping[str, Position],
    levels: int | Literal["auto"] | None,
    method: str,
    *,
    workers: Workers,
    progress: Progress | bool | None,
    overwrite: bool = False,
    resume: bool = True,
) -> dict[str, int]:
    """Compute the pyramids of images by path, except those without pixels; return their numbers of levels."""
    check_progress(progress)
    images = {path: position for path, position in images.items() if position.dataset_paths}
    if not images:
        return {}
    first = next(iter(images.values()))
    storage = first.documents.storage
    workers.check_reach(storage)
    workers = workers.waiting_for(storage, max(LARGE_CHUNK, bytes_in_work(first.data)))
    jobs = 1 if workers.executor is not None else max(1, workers.count // len(images))
    counts: dict[str, int] = {}
    with (
        logged("Compute the pyramids of %s", counted(len(images), "image")),
        counting(progress, "images", len(images)) as count,
    ):

        def collect(result: tuple[str, int]) -> None:
            path, level_count = result
            counts[path] = level_count
            count.add()

        units = (
            _Image(path, position, levels, method, overwrite, jobs, resume)
            for path, position in images.items()
        )
        run(_compute, units, workers, on_result=collect)
    return {path: counts[path] for path in images}


def _compute(image: _Image) -> tuple[str, int]:
    """Compute the pyramid of one image; return its path and number of levels."""
    if image.overwrite and image.levels is not None:
        image.position.delete_pyramid()
    image.position.compute_pyramid(image.levels, image.method, jobs=image.jobs, resume=image.resume)
    return image.path, len(image.position.dataset_paths)
