"""Bringing the lower levels of an image up to date after writes to level 0: only what depends on them is computed.

Layer: ops. What is stale is known from :mod:`lamella.spec.stale_levels`; writers tell it through
:mod:`lamella.nodes.level_writes`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lamella.errors import InvalidArgumentError
from lamella.ops.execution import Workers
from lamella.ops.progress import check_progress
from lamella.ops.pyramids.level_factors import made_by
from lamella.ops.pyramids.plan import PlannedLevels, ended, planned_arrays
from lamella.spec.stale_levels import StaleLevels, read_stale, with_box, with_stale
from lamella.store.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.progress import Progress
    from lamella.ops.pyramids.plan import PlannedArrays
    from lamella.spec.stale_levels import Box
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
    """Compute what of the lower levels depends on parts of level 0; see :meth:`Position.update_pyramid`.

    Parameters
    ----------
    position
        The image.
    region
        Index of level 0; what is known to be stale by default.
    method
        As for `compute_pyramid`, where the metadata do not say how the levels were made.
    jobs
        Number of workers; one per processor by default.
    executor
        Where to run; in threads of this process by default.
    progress
        True for a bar, or a function: see :mod:`lamella.ops.progress`.
    """
    from lamella.ops.pyramids.pyramid import compute_parts, recompute_levels, reported_levels

    position.require_writable("update the pyramid")
    workers = Workers(jobs, executor)
    check_progress(progress)
    workers.check_reach(position.documents.storage)
    chosen = _method(position, method)
    boxes = None if region is None else _boxes(position.data, region)
    position.store_handle.writes.settle(position.path)
    planned = planned_arrays(position)
    parts = _parts(stale_levels(position), planned, boxes)
    if parts is not None and not parts:
        return
    levels = PlannedLevels.of(position, planned)
    with reported_levels(position, len(position.dataset_paths), progress) as count:
        update = None if parts is None else _begin_parts(position, planned, boxes)
        if update is None:
            recompute_levels(position, chosen, workers, count=count)
            return
        levels.resize()
        for box in update.parts:
            compute_parts(levels, chosen, box, workers, count=count)
        position.documents.edit_group(
            position.path, ended(update.name, levels.arrays, lambda: update.parts, is_alone=update.is_alone)
        )


def _parts(stale: StaleLevels, planned: PlannedArrays, boxes: Sequence[Box] | None) -> tuple[Box, ...] | None:
    """Return which boxes of level 0 the levels are to be made of, given those that were asked for; None for all."""
    (finest, *_), outgrown = planned
    ndim = finest.meta.ndim
    unknown = stale.writers or stale.unwritten or any(len(start) != ndim for start, _ in stale.regions)
    if boxes is None and unknown:
        return None
    parts: tuple[Box, ...] = ()
    for box in (*(stale.regions if boxes is None else boxes), *(box for _, box in outgrown)):
        parts = with_box(parts, box)
    return parts


@dataclass(frozen=True)
class _Update:
    """An update that the document says is under way.

    Attributes
    ----------
    name
        Under which it does.
    parts
        Boxes of level 0 that levels are made of.
    is_alone
        Whether nobody else may have been writing, or making levels, when it began.
    """

    name: str
    parts: tuple[Box, ...]
    is_alone: bool


def _begin_parts(position: Position, planned: PlannedArrays, boxes: Sequence[Box] | None) -> _Update | None:
    """Say that parts of the levels are being made anew; None where all have to be, as others wrote meanwhile."""
    name, begun = uuid4().hex[:8], list[_Update]()

    def told(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        parts = _parts(stale, planned, boxes)
        if parts is None:
            return attributes
        begun.append(_Update(name, parts, not stale.writers))
        # A pyramid that was cut short may be of another method: what it has made is not known any more.
        stale = replace(stale, making=None)
        # Before anything is read: what is written into these regions from now on stays stale at the end.
        for box in parts:
            stale = stale.without(box)
        return with_stale(attributes, stale.begun(name))

    position.documents.edit_group(position.path, told)
    return begun[0] if begun else None


def _method(position: Position, asked: str | None) -> str:
    """Return how the levels were made, which is how parts of them have to be made."""
    from lamella.nodes.labels import LabelImage

    if len(position.dataset_paths) < 2:
        raise InvalidArgumentError(
            f"{position.node_path} has no lower levels to update. Make them with compute_pyramid()."
        )
    made = made_by(position)
    if made is None and asked is None and isinstance(position, LabelImage):
        return "mode"
    if made is None and asked is None:
        raise InvalidArgumentError(
            f"Nothing says how the levels of {position.node_path} were made. Say it with method=, or make all of them "
            "anew with compute_pyramid()."
        )
    if None not in (made, asked) and made != asked:
        raise InvalidArgumentError(
            f"The levels of {position.node_path} were made with {made!r}: parts of them cannot be made with {asked!r}. "
            "Make all of them anew with compute_pyramid()."
        )
    return made or asked or ""


def _boxes(base: ImageArray, region: Any) -> list[Box]:
    bounds = basic_or_fancy(region, base.shape).bounds
    return [] if bounds is None else [bounds]


# -- what the document says ---------------------------------------------------------------------------------------


def stale_levels(position: Position) -> StaleLevels:
    """Return what of level 0 the lower levels of an image do not show; nothing where there are none."""
    if len(position.dataset_paths) < 2:
        return StaleLevels()
    return read_stale(position.documents.group(position.path))


def begin_update(position: Position, unlisted: Iterable[str] = ()) -> str:
    """Say that all levels are being made anew: they count as stale until `lamella.ops.pyramids.plan.ended`.

    Levels that the image does not list yet are named. Of levels whose arrays are there, and may be made in part, it is
    `lamella.ops.pyramids.progress.begin_pyramid` that says so.

    Returns
    -------
    str
        The name under which it is said. Writers of level 0 find theirs gone, and put it there again.
    """
    name, paths = uuid4().hex[:8], tuple(unlisted)
    position.store_handle.writes.forget(position.path)
    position.documents.edit_group(
        position.path, lambda old: with_stale(old, StaleLevels((name,), unlisted=paths))
    )
    return name


def forget(position: Position) -> None:
    """Say nothing any more: there are no lower levels."""
    position.store_handle.writes.forget(position.path)
    if read_stale(position.documents.group(position.path)):
        position.documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))
