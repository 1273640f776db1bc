"""Update the lower levels of an image after writes to level 0: compute only voxels that depend on the writes.

:mod:`lamella.spec.stale_levels` describes the record of stale regions, which
:mod:`lamella.nodes.level_writes` writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from lamella.errors import InvalidArgumentError
from lamella.ops.execution import Workers, check_progress
from lamella.ops.pyramids.passes import make_levels
from lamella.ops.pyramids.plan import PlannedLevels, method_of_image, planned_arrays
from lamella.ops.pyramids.progress import finish_edit, reading_again, stored_stale
from lamella.ops.regions import overlap, region_shape, whole_region
from lamella.spec.stale_levels import StaleLevels, add_region, read_stale, with_stale
from lamella.store.pixels.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.pyramids.plan import PlannedArrays
    from lamella.spec.stale_levels import Bounds
    from lamella.types import JSONObject


def update_pyramid(
    position: Position,
    region: Any = None,
    method: str | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
) -> None:
    """Update the lower levels; ``method`` is used if the metadata name none. See :meth:`Position.update_pyramid`."""
    from lamella.ops.pyramids.pyramid import recompute_levels, reported_levels

    position.require_writable("update the pyramid")
    workers = Workers(jobs, executor)
    check_progress(progress)
    workers.check_reach(position.documents.storage)
    with position.documents.storage.reading_once(position.path):
        method = _method_of_levels(position, method)
        requested = None if region is None else _requested_regions(position.data, region)
        position.store_handle.writes.settle(position.path)
        planned = planned_arrays(position)
        regions = _stale_regions(stale_levels(position), planned, requested)
        if regions is not None and not regions:
            return
        levels = PlannedLevels.of(position, planned)
    with reported_levels(position, len(position.dataset_paths), progress) as count:
        update = None if regions is None else _begin_update_of_regions(position, planned, requested)
        if update is None:
            recompute_levels(position, method, workers, count=count)
            return
        levels.resize()
        source = levels.arrays[0]
        for bounds in update.regions:
            region = overlap(tuple(map(slice, *bounds)), whole_region(source.meta.shape))
            if 0 not in region_shape(region):
                make_levels(
                    source, levels.targets, cast("Method", method), workers, region=region, count=count
                )
        with reading_again(position, levels.arrays):
            position.documents.edit_group(
                position.path,
                finish_edit(update.name, levels.arrays, lambda: update.regions, is_alone=update.is_alone),
            )


def _stale_regions(
    stale: StaleLevels, planned: PlannedArrays, requested: Sequence[Bounds] | None
) -> tuple[Bounds, ...] | None:
    """Return the regions of level 0 to update from, by default all stale ones; None if they are unknown."""
    (finest, *_), outgrown = planned
    ndim = finest.meta.ndim
    is_unknown = stale.writers or stale.unwritten or any(len(start) != ndim for start, _ in stale.regions)
    if requested is None and is_unknown:
        return None
    regions: tuple[Bounds, ...] = ()
    for bounds in (*(stale.regions if requested is None else requested), *(bounds for _, bounds in outgrown)):
        regions = add_region(regions, bounds)
    return regions


@dataclass(frozen=True)
class _Update:
    """A running update: its mark, the stale regions of level 0, and whether no other process wrote when it began."""

    name: str
    regions: tuple[Bounds, ...]
    is_alone: bool


def _begin_update_of_regions(
    position: Position, planned: PlannedArrays, requested: Sequence[Bounds] | None
) -> _Update | None:
    """Record that stale regions are being updated; return None if other programs wrote meanwhile."""
    name, updates = uuid4().hex[:8], list[_Update]()

    def with_mark(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        regions = _stale_regions(stale, planned, requested)
        if regions is None:
            return attributes
        updates.append(_Update(name, regions, not stale.writers))
        # An interrupted pyramid may have another method: its finished regions no longer count.
        stale = replace(stale, job=None)
        # Before anything is read: later writes into these regions stay stale at the end.
        for bounds in regions:
            stale = stale.without(bounds)
        return with_stale(attributes, stale.with_writer(name))

    position.documents.edit_group(position.path, with_mark)
    return updates[0] if updates else None


def _method_of_levels(position: Position, requested: str | None) -> str:
    """Return the method of the existing levels, which is that of the regions to update too."""
    from lamella.nodes.labels import LabelImage

    if len(position.dataset_paths) < 2:
        raise InvalidArgumentError(
            f"{position.node_path} has no lower levels to update. Make them with compute_pyramid(), unless the image "
            "is too small for any."
        )
    recorded = method_of_image(position)
    if recorded is None and requested is None and isinstance(position, LabelImage):
        return "mode"
    if recorded is None and requested is None:
        raise InvalidArgumentError(
            f"The metadata of {position.node_path} do not name the method of its levels. Pass method=, or compute all "
            "levels again with compute_pyramid()."
        )
    if None not in (recorded, requested) and recorded != requested:
        raise InvalidArgumentError(
            f"The levels of {position.node_path} were computed with {recorded!r}: parts of them cannot be computed "
            f"with {requested!r}. Compute all levels again with compute_pyramid()."
        )
    return recorded or requested or ""


def _requested_regions(base: ImageArray, region: Any) -> list[Bounds]:
    bounds = basic_or_fancy(region, base.shape).bounds
    return [] if bounds is None else [bounds]


# -- the document -----------------------------------------------------------------------------------------------


def stale_levels(position: Position) -> StaleLevels:
    """Return the stale regions of level 0; an empty record without lower levels."""
    if len(position.dataset_paths) < 2:
        return StaleLevels()
    return stored_stale(position)


def begin_update(position: Position, unlisted: Iterable[str] = ()) -> str:
    """Mark all lower levels stale until `lamella.ops.pyramids.progress.finish_edit`; return the name of the mark.

    The mark names unlisted levels. It replaces the marks of programs that write level 0: when such a program finds its
    mark missing, it adds it again.
    """
    name, paths = uuid4().hex[:8], tuple(unlisted)
    position.store_handle.writes.forget(position.path)
    position.documents.edit_group(
        position.path, lambda old: with_stale(old, StaleLevels((name,), unlisted=paths))
    )
    return name


def forget(position: Position) -> None:
    """Remove the record of stale regions of an image without lower levels."""
    position.store_handle.writes.forget(position.path)
    if stored_stale(position):
        position.documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))
