"""Bringing the lower levels of an image up to date after writes to level 0: only what depends on them is computed.

Layer: ops. What is stale is known from :mod:`lamella.spec.stale_levels`; writers tell it through
:mod:`lamella.nodes.level_writes`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.ops.execution import Workers
from lamella.ops.progress import check_progress
from lamella.ops.pyramids.level import recorded_method
from lamella.spec import geometry
from lamella.spec.stale_levels import StaleLevels, read_stale, with_box, with_stale
from lamella.store.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.progress import Progress
    from lamella.spec.stale_levels import Box
    from lamella.types import JSONObject, Shape


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

    position._require_writable("update the pyramid")
    workers = Workers(jobs, executor)
    check_progress(progress)
    workers.check_reach(position._documents.storage)
    chosen = _method(position, method)
    base = position.data
    boxes = None if region is None else _boxes(base, region)
    position._session.writes.settle(position.path)
    stale, outgrown = stale_levels(position), outgrown_levels(position)
    unknown = stale.writers or stale.unwritten
    if boxes is None and (unknown or any(len(start) != base.ndim for start, _ in stale.regions)):
        with reported_levels(position, len(position.dataset_paths), progress) as count:
            recompute_levels(position, chosen, workers, count=count)
        return
    parts: tuple[Box, ...] = ()
    for box in (*(stale.regions if boxes is None else boxes), *(level.box for level in outgrown)):
        parts = with_box(parts, box)
    if not parts:
        return
    with (
        reported_levels(position, len(position.dataset_paths), progress) as count,
        _updating(position, parts),
    ):
        resize_levels(outgrown)
        for start, stop in parts:
            part = tuple(slice(a, min(b, n)) for a, b, n in zip(start, stop, base.shape, strict=True))
            if all(one.start < one.stop for one in part):
                compute_parts(position, chosen, part, workers, count=count)


def _method(position: Position, asked: str | None) -> str:
    """Return how the levels were made, which is how parts of them have to be made."""
    from lamella.nodes.labels import LabelImage

    if len(position.dataset_paths) < 2:
        raise InvalidArgumentError(
            f"{position._place} has no lower levels to update. Make them with compute_pyramid()."
        )
    made = made_by(position)
    if made is None and asked is None and isinstance(position, LabelImage):
        return "mode"
    if made is None and asked is None:
        raise InvalidArgumentError(
            f"Nothing says how the levels of {position._place} were made. Say it with method=, or make all of them "
            "anew with compute_pyramid()."
        )
    if None not in (made, asked) and made != asked:
        raise InvalidArgumentError(
            f"The levels of {position._place} were made with {made!r}: parts of them cannot be made with {asked!r}. "
            "Make all of them anew with compute_pyramid()."
        )
    return made or asked or ""


def made_by(position: Position) -> str | None:
    """Return the method with which lamella made the levels of an image; None where it did not."""
    details = position._live.model.multiscales[0].metadata
    return recorded_method({"metadata": details}) if isinstance(details, dict) else None


def _boxes(base: ImageArray, region: Any) -> list[Box]:
    bounds = basic_or_fancy(region, base.shape).bounds
    return [] if bounds is None else [bounds]


# -- levels that level 0 outgrew ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outgrown:
    """A level whose shape is not the one that level 0 gives it any more.

    Attributes
    ----------
    level
        The level.
    shape
        What its shape has to be.
    box
        The part of level 0 that it does not show.
    """

    level: ImageArray
    shape: Shape
    box: Box


def outgrown_levels(position: Position) -> list[Outgrown]:
    """Find the levels that lamella made and that level 0 was resized since.

    The scale of a level says by which factor it shrinks each axis. Its shape alone could not tell a film that became
    twice as long from one that is to be halved. Scales that do not grow from level to level were set by somebody else,
    and tell nothing.
    """
    paths = position.dataset_paths
    if len(paths) < 2 or made_by(position) is None:
        return []
    finest, found, before = position._level(paths[0])._meta, [], 1
    for path in paths[1:]:
        level, factors = position._level(path), _total_factors(position, path)
        meta = level._meta
        if factors is None or not len(factors) == meta.ndim == finest.ndim:
            continue
        if prod(factors) <= before:
            return []
        before = prod(factors)
        shape = tuple(-(-n // f) for n, f in zip(finest.shape, factors, strict=True))
        if shape != meta.shape:
            start = tuple(
                0 if m == n else max(0, min(m, n) - (f > 1)) * f
                for m, n, f in zip(meta.shape, shape, factors, strict=True)
            )
            found.append(Outgrown(level, shape, (start, finest.shape)))
    return found


def resize_levels(outgrown: Sequence[Outgrown]) -> None:
    """Give levels the shapes that level 0 gives them."""
    for one in outgrown:
        one.level._stored.resize(one.shape)


def _total_factors(position: Position, path: str) -> Shape | None:
    """Return the whole factors from level 0 to a level, by their scales."""
    model = position._live.model
    try:
        coarse, fine = (geometry.effective_scale(model, one) for one in (path, position.dataset_paths[0]))
    except MetadataError:
        return None
    factors = tuple(round(a / b) if b else 0 for a, b in zip(coarse, fine, strict=True))
    exact = all(
        f >= 1 and abs(f * b - a) <= 1e-6 * abs(a) for f, a, b in zip(factors, coarse, fine, strict=True)
    )
    return factors if exact else None


# -- what the document says ---------------------------------------------------------------------------------------


def stale_levels(position: Position) -> StaleLevels:
    """Return what of level 0 the lower levels of an image do not show; nothing where there are none."""
    if len(position.dataset_paths) < 2:
        return StaleLevels()
    return read_stale(position._documents.group(position.path))


def begin_update(position: Position, unlisted: Iterable[str] = ()) -> str:
    """Say that all levels are being made anew: until `ended` they count as stale, and so after a kill.

    Levels that the image does not list yet are named. Of levels whose arrays are there, and may be made in part, it is
    `lamella.ops.pyramids.progress.begin_pyramid` that says so.

    Returns
    -------
    str
        The name under which it is said. Writers of level 0 find theirs gone, and put it there again.
    """
    name, paths = uuid4().hex[:8], tuple(unlisted)
    position._session.writes.forget(position.path)
    position._documents.edit_group(
        position.path, lambda old: with_stale(old, StaleLevels((name,), unlisted=paths))
    )
    return name


def ended(name: str) -> Callable[[JSONObject], JSONObject]:
    """Return the change of a document that removes the name under which levels were marked as being made.

    What others wrote meanwhile stays stale. Levels that were made are listed in the same write.
    """

    def told(attributes: JSONObject) -> JSONObject:
        return with_stale(attributes, replace(read_stale(attributes).ended(name, ()), unlisted=()))

    return told


def forget(position: Position) -> None:
    """Say nothing any more: there are no lower levels."""
    position._session.writes.forget(position.path)
    if read_stale(position._documents.group(position.path)):
        position._documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))


@contextmanager
def _updating(position: Position, boxes: Sequence[Box]) -> Iterator[None]:
    name = uuid4().hex[:8]

    def told(attributes: dict[str, Any]) -> dict[str, Any]:
        # A pyramid that was cut short may be of another method: what it has made is not known any more.
        stale = replace(read_stale(attributes), making=None)
        # Before anything is read: what is written into these regions from now on stays stale at the end.
        for box in boxes:
            stale = stale.without(box)
        return with_stale(attributes, stale.begun(name))

    position._documents.edit_group(position.path, told)
    yield
    position._documents.edit_group(position.path, ended(name))
