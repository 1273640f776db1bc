"""The levels of an image as a job plans them, and whether they are unchanged when it ends.

A job reads the metadata of each array once: shapes from two moments, while frames are appended, would look as if levels
shrank along time. When the job ends, the stored arrays must be the planned ones, or the levels stay stale.

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
        Lower levels that still have another shape, because level 0 was resized, each with its missing region of level
        0.
    """

    arrays: list[PinnedArray]
    steps: dict[str, Shape]
    outgrown: list[tuple[PinnedArray, Box]]

    @classmethod
    def of(cls, position: Position, planned: PlannedArrays | None = None) -> PlannedLevels:
        """Read the levels of an image, unless they are planned already."""
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
        """Resize the outgrown levels, which must be marked as stale before."""
        for array, _ in self.outgrown:
            StoredArray(array.documents, array.path).resize(array.meta.shape)


def planned_arrays(position: Position) -> PlannedArrays:
    """Return the levels of an image as they will be, and the outgrown ones; see `PlannedLevels`."""
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
    """Return the change of a document that removes the mark of unfinished levels with a given name.

    Regions that others wrote meanwhile stay stale, and all levels do if an array no longer has its planned shape.
    Finished levels are listed in the same write. Unless the job ``is_alone``, another one may have computed levels at
    the same time and its results may mix with ours: then ``redone`` returns the stale regions of level 0.
    """

    def told(attributes: JSONObject) -> JSONObject:
        stale, boxes = read_stale(attributes), resized(arrays)
        if not boxes and (not is_alone or name not in stale.writers):
            boxes = list(redone())
        return with_stale(attributes, replace(stale.ended(name, boxes), unlisted=()))

    return told


def resized(arrays: Sequence[StoredArray]) -> list[Box]:
    """Return level 0, the first of the arrays, as a region if one no longer has its planned shape."""
    shapes = [array.documents.array(array.path).shape for array in arrays]
    if all(shapes[0]) and shapes != [array.meta.shape for array in arrays]:
        return [((0,) * len(shapes[0]), shapes[0])]
    return []


def _outgrown(
    position: Position, paths: Sequence[str], arrays: Sequence[PinnedArray]
) -> dict[int, tuple[Shape, Box]]:
    """Return the levels that level 0 has outgrown: number to required shape and missing region.

    The scale of a level shows its factor for each axis. Its shape alone could not distinguish a film that became twice
    as long from one that is to be halved. Scales that do not grow from level to level show nothing, and those of other
    programs only show which axes, other than those of space, keep their length.
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
    """Return the scale of a level relative to level 0; None if scales are unusable."""
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
    """Return the factor of each axis from one stored level to the next."""
    meta, prefix = position.metadata, len(position.path) + 1 if position.path else 0
    try:
        sizes = [geometry.effective_scale(meta, array.path[prefix:]) for array in (coarse, fine)]
    except MetadataError:  # unusable transforms are replaced anyway
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
