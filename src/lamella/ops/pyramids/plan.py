"""The levels of an image as a job plans them, and whether they still are so when it ends.

A job looks at each array once: shapes that were read at two moments say, while frames are appended, that levels shrink
along time. When it ends, the arrays that are stored must be those that it planned, or the levels stay stale.

Layer: ops.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.ops.pyramids.level_factors import level_factors, made_by
from lamella.spec import geometry
from lamella.spec.axes import space_axes
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.arrays import StoredArray
from lamella.store.pinned_array import PinnedArray, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lamella.nodes.position import Position
    from lamella.spec.stale_levels import Box
    from lamella.types import JSONObject, Shape

    PlannedArrays: TypeAlias = tuple[list[PinnedArray], list[tuple[PinnedArray, Box]]]


@dataclass(frozen=True)
class PlannedLevels:
    """The levels of an image, which fit each other.

    Attributes
    ----------
    arrays
        Each level, finest first, as it will be.
    steps
        Path of each lower level to its factors from the level before.
    outgrown
        Lower levels that have another shape yet, as level 0 was resized, each with the box of level 0 that it lacks.
    """

    arrays: list[PinnedArray]
    steps: dict[str, Shape]
    outgrown: list[tuple[PinnedArray, Box]]

    @classmethod
    def of(cls, position: Position, planned: PlannedArrays | None = None) -> PlannedLevels:
        """Look at the levels of an image, unless that was done.

        Raises
        ------
        InvalidArgumentError
            A level has no whole factor from the one before.
        """
        arrays, outgrown = planned or planned_arrays(position)
        steps = [_factors(position, fine, coarse) for fine, coarse in itertools.pairwise(arrays)]
        return cls(arrays, dict(zip(position.dataset_paths[1:], steps, strict=True)), outgrown)

    @property
    def targets(self) -> list[tuple[StoredArray, Shape]]:
        """The arrays but the finest, with their factors."""
        return [
            (coarse, factors) for coarse, factors in zip(self.arrays[1:], self.steps.values(), strict=True)
        ]

    def resize(self) -> None:
        """Resize the levels that level 0 has outgrown, which have to be marked as stale by now."""
        for array, _ in self.outgrown:
            StoredArray(array.documents, array.path).resize(array.meta.shape)


def planned_arrays(position: Position) -> PlannedArrays:
    """Return the levels of an image as they will be, and the outgrown of them; see `PlannedLevels`."""
    paths = position.dataset_paths
    arrays = [pinned(position.open_level(path).stored) for path in paths]
    outgrown = []
    for number, (shape, box) in _outgrown(position, paths, arrays).items():
        known = arrays[number]
        arrays[number] = PinnedArray(known.documents, known.path, known.meta.with_shape(shape))
        outgrown.append((arrays[number], box))
    return arrays, outgrown


def ended(
    name: str, arrays: Sequence[StoredArray], redone: Callable[[], Iterable[Box]], *, is_alone: bool = True
) -> Callable[[JSONObject], JSONObject]:
    """Return the change of a document that removes the name under which levels were marked as being made.

    What others wrote meanwhile stays stale. Levels that were made are listed in the same write.

    Parameters
    ----------
    name
        The name.
    arrays
        Level 0 and the levels that were made of it, as they were planned: where one has another shape by now, all is
        stale.
    redone
        Return the boxes of level 0 that are stale where another call may have made levels at the same time: what was
        made here may lie over what that one made of younger pixels, or the other way round.
    is_alone
        Whether nobody else was making levels when this began. Whoever began later took the name away.
    """

    def told(attributes: JSONObject) -> JSONObject:
        stale, boxes = read_stale(attributes), resized(arrays)
        if not boxes and (not is_alone or name not in stale.writers):
            boxes = list(redone())
        return with_stale(attributes, replace(stale.ended(name, boxes), unlisted=()))

    return told


def resized(arrays: Sequence[StoredArray]) -> list[Box]:
    """Return level 0, the first of the arrays, as a box where one is no longer of the shape that was planned for it."""
    shapes = [array.documents.array(array.path).shape for array in arrays]
    if all(shapes[0]) and shapes != [array.meta.shape for array in arrays]:
        return [((0,) * len(shapes[0]), shapes[0])]
    return []


def _outgrown(
    position: Position, paths: Sequence[str], arrays: Sequence[PinnedArray]
) -> dict[int, tuple[Shape, Box]]:
    """Find the levels that level 0 was resized since: number to what its shape has to be, and the box that it lacks.

    The scale of a level says by which factor it shrinks each axis. Its shape alone could not tell a film that became
    twice as long from one that is to be halved. Scales that do not grow from level to level tell nothing, and those
    of levels that others made tell only which axes beside those of space they leave as they are.
    """
    if len(paths) < 2:
        return {}
    finest, found, before = arrays[0].meta.shape, {}, 1.0
    is_ours, space = made_by(position) is not None, space_axes(position.axes)
    for number, path in enumerate(paths[1:], 1):
        ratios, shape = _ratios(position, paths[0], path), arrays[number].meta.shape
        if ratios is None or not len(ratios) == len(shape) == len(finest):
            continue
        if prod(ratios) <= before:
            return {}
        before = prod(ratios)
        factors = _whole(ratios)
        if factors is not None and is_ours:
            wanted = tuple(-(-n // f) for n, f in zip(finest, factors, strict=True))
        else:
            factors = tuple(max(1, round(ratio)) for ratio in ratios)
            wanted = tuple(
                n if ratio == 1 and axis not in space else m
                for axis, (n, m, ratio) in enumerate(zip(finest, shape, ratios, strict=True))
            )
        if wanted != shape:
            start = tuple(
                0 if m == n else max(0, min(m, n) - (f > 1)) * f
                for m, n, f in zip(shape, wanted, factors, strict=True)
            )
            found[number] = wanted, (start, finest)
    return found


def _ratios(position: Position, fine: str, coarse: str) -> list[float] | None:
    """Return by what factors the scale of a level is that of level 0; None where scales cannot be used."""
    model = position.document.own_model
    try:
        large, small = (geometry.effective_scale(model, path) for path in (coarse, fine))
    except MetadataError:
        return None
    return [a / b if b else 0.0 for a, b in zip(large, small, strict=True)]


def _whole(ratios: Sequence[float]) -> Shape | None:
    factors = tuple(round(ratio) for ratio in ratios)
    exact = all(f >= 1 and abs(f - ratio) <= 1e-6 * ratio for f, ratio in zip(factors, ratios, strict=True))
    return factors if exact else None


def _factors(position: Position, fine: PinnedArray, coarse: PinnedArray) -> Shape:
    """Return by what each axis shrinks from one stored level to the next."""
    meta, prefix = position.metadata, len(position.path) + 1 if position.path else 0
    try:
        sizes = [geometry.effective_scale(meta, array.path[prefix:]) for array in (coarse, fine)]
    except MetadataError:  # transforms that cannot be used: they are computed anew anyway
        sizes = [[1.0] * fine.meta.ndim] * 2
    ratios = [a / b if b else 0.0 for a, b in zip(*sizes, strict=True)]
    known = len(ratios) == fine.meta.ndim
    factors = level_factors(fine.meta.shape, coarse.meta.shape, ratios) if known else None
    if factors is None or fine.meta.dtype != coarse.meta.dtype:
        images = [position.open_level(array.path[prefix:]) for array in (fine, coarse)]
        raise InvalidArgumentError(
            f"The pyramid of {position.node_path} has no whole factor where {images[0]!r} is followed by "
            f"{images[1]!r}. Call delete_pyramid() and compute it anew."
        )
    return factors
