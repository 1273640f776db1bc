"""The levels of an image that a job computes: their arrays and factors.

A job reads the metadata of each array once: shapes that were read at different times might not fit each other, because
another program may append frames meanwhile. A `Bounds` is a region as stored: (start, stop), such as ((0, 0), (512,
512)).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeAlias, get_args

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.ops.pyramids.downsample import Method, downsampled_shape
from lamella.spec import geometry
from lamella.spec.axes import space_axes
from lamella.spec.edits import MAKER
from lamella.store.pixels.arrays import PinnedArray, StoredArray, pinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.position import Position
    from lamella.spec.stale_levels import Bounds
    from lamella.types import JSONObject, Shape

    PlannedArrays: TypeAlias = tuple[list[PinnedArray], list[tuple[PinnedArray, Bounds]]]


@dataclass(frozen=True)
class PlannedLevels:
    """The levels of an image, finest first, as they will be at the end of the job."""

    arrays: list[PinnedArray]
    steps: dict[str, Shape]
    """Factors of each lower level from the level before, by path."""
    outgrown: list[tuple[PinnedArray, Bounds]]
    """Lower levels that must be resized, because level 0 was, each with the region of level 0 that it lacks."""

    @classmethod
    def of(cls, position: Position, planned: PlannedArrays | None = None) -> PlannedLevels:
        """Read the levels of an image, unless `planned_arrays` has read them before."""
        arrays, outgrown = planned or planned_arrays(position)
        steps = [_factors_between(position, fine, coarse) for fine, coarse in itertools.pairwise(arrays)]
        return cls(arrays, dict(zip(position.dataset_paths[1:], steps, strict=True)), outgrown)

    @property
    def targets(self) -> list[tuple[StoredArray, Shape]]:
        """The lower levels, with their factors."""
        return list(zip(self.arrays[1:], self.steps.values(), strict=True))

    def resize(self) -> None:
        """Resize the outgrown levels, which must be marked as stale before."""
        for array, _ in self.outgrown:
            StoredArray(array.documents, array.path).resize(array.meta.shape)


def planned_arrays(position: Position) -> PlannedArrays:
    """Return the levels of an image at the end of the job, and the outgrown ones; see `PlannedLevels`."""
    paths = position.dataset_paths
    arrays = [pinned(position.open_level(path).stored) for path in paths]
    outgrown = []
    for number, (shape, lacking_region) in _outgrown(position, paths, arrays).items():
        array = arrays[number]
        arrays[number] = PinnedArray(array.documents, array.path, array.meta.with_shape(shape))
        outgrown.append((arrays[number], lacking_region))
    return arrays, outgrown


def _outgrown(
    position: Position, paths: Sequence[str], arrays: Sequence[PinnedArray]
) -> dict[int, tuple[Shape, Bounds]]:
    """Return the required shape, and the region of level 0 that it lacks, of each outgrown level by its number.

    Factors come from the scales. Shapes are not enough: if level 0 grew from 10 to 20 frames, level 1 with 10 frames
    would seem to be downscaled by 2 along time. Scales that do not grow from level to level are ignored. Of a pyramid
    that another program made, only axes that are not of space and have a ratio of 1 are resized.
    """
    if len(paths) < 2:
        return {}
    finest, outgrown, last_product = arrays[0].meta.shape, {}, 1.0
    is_made_by_lamella, space = method_of_image(position) is not None, space_axes(position.axes)
    for number, path in enumerate(paths[1:], 1):
        ratios, shape = _ratios(position, paths[0], path), arrays[number].meta.shape
        if ratios is None or not len(ratios) == len(shape) == len(finest):
            continue
        if prod(ratios) <= last_product:
            return {}
        last_product = prod(ratios)
        factors = _whole_factors(ratios)
        if factors is not None and is_made_by_lamella:
            required = downsampled_shape(finest, factors)
        else:
            factors = tuple(max(1, round(ratio)) for ratio in ratios)
            required = tuple(
                finest_length if ratio == 1 and axis not in space else length
                for axis, (finest_length, length, ratio) in enumerate(zip(finest, shape, ratios, strict=True))
            )
        if required != shape:
            start = tuple(
                # The last voxel of a shorter level is of an incomplete block: it is computed again.
                0 if length == new_length else max(0, min(length, new_length) - (factor > 1)) * factor
                for length, new_length, factor in zip(shape, required, factors, strict=True)
            )
            outgrown[number] = required, (start, finest)
    return outgrown


def _ratios(position: Position, fine: str, coarse: str) -> list[float] | None:
    """Return the scale of a level relative to a finer one; None if scales are unusable."""
    model = position.document.shared_model
    try:
        coarse_scale, fine_scale = (geometry.effective_scale(model, path) for path in (coarse, fine))
    except MetadataError:
        return None
    return [
        coarse_size / fine_size if fine_size else 0.0
        for coarse_size, fine_size in zip(coarse_scale, fine_scale, strict=True)
    ]


def _whole_factors(ratios: Sequence[float]) -> Shape | None:
    factors = tuple(round(ratio) for ratio in ratios)
    is_exact = all(
        factor >= 1 and abs(factor - ratio) <= 1e-6 * ratio
        for factor, ratio in zip(factors, ratios, strict=True)
    )
    return factors if is_exact else None


def _factors_between(position: Position, fine: PinnedArray, coarse: PinnedArray) -> Shape:
    """Return the factor of each axis from one stored level to the next."""
    prefix = len(position.path) + 1 if position.path else 0
    paths = [array.path[prefix:] for array in (fine, coarse)]
    ratios = _ratios(position, *paths) or [1.0] * fine.meta.ndim  # the job replaces unusable scales
    is_usable = len(ratios) == fine.meta.ndim
    factors = geometry.level_factors(fine.meta.shape, coarse.meta.shape, ratios) if is_usable else None
    if factors is None or fine.meta.dtype != coarse.meta.dtype:
        images = [position.open_level(path) for path in paths]
        raise InvalidArgumentError(
            f"The pyramid of {position.node_path} has no whole factor from {images[0]!r} to "
            f"{images[1]!r}. Call delete_pyramid() and compute it again."
        )
    return factors


def recorded_method(multiscale: JSONObject) -> Method | None:
    """Return the method by which lamella computed a pyramid; None if another program did."""
    details = multiscale.get("metadata")
    if not isinstance(details, dict) or details.get("method") != MAKER:
        return None
    arguments = details.get("kwargs")
    name = arguments.get("method") if isinstance(arguments, dict) else None
    return name if name in get_args(Method) else None


def method_of_image(position: Position) -> Method | None:
    """Return the method by which lamella computed the levels of an image; None if another program did."""
    details = position.document.shared_model.multiscales[0].metadata
    return recorded_method({"metadata": details}) if isinstance(details, dict) else None
