"""The algebra of coordinate transformations: composing them, and deriving those of pyramid levels.

Vectors have one number per axis, in axis order and in the unit of each axis. The centre of pixel (0, 0, ...)
is at the translation. ``lamella.spec.edits`` changes the metadata of an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError, clause, counted
from lamella.spec.images import TransformationMeta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.spec.images import DatasetMeta, ImagesMeta
    from lamella.types import Shape

WHOLE = "*"
"""Name of the whole field of view in arguments that otherwise name a level."""


def find_dataset(meta: ImagesMeta, image: str) -> DatasetMeta:
    """Return a level by its path."""
    datasets = meta.multiscales[0].datasets
    for dataset in datasets:
        if dataset.path == image:
            return dataset
    listed = ", ".join(repr(dataset.path) for dataset in datasets) or "none yet"
    raise NodeNotFoundError(f"The image has no level {image!r}: its levels are {listed}.")


def effective_scale(meta: ImagesMeta, image: str) -> list[float]:
    """Return the pixel size of a level in the image's coordinates: FOV scale x level scale (CT-07).

    ``image`` is the path of a level, or "*" for the factor of the whole field of view alone.
    """
    return _effective(meta, image)[0]


def effective_translation(meta: ImagesMeta, image: str) -> list[float]:
    """Return the position of a level's first pixel: FOV scale x level shift + FOV shift (CT-07).

    ``image`` is the path of a level, or "*" for the shift of the whole field of view alone.
    """
    return _effective(meta, image)[1]


def _effective(meta: ImagesMeta, image: str) -> tuple[list[float], list[float]]:
    scales = meta.multiscales[0]
    steps = [] if image == WHOLE else list(find_dataset(meta, image).coordinate_transformations)
    steps += scales.coordinate_transformations or []
    scale, translation = stored_transform(steps, len(scales.axes), image)
    if not all(map(math.isfinite, (*scale, *translation))):
        raise MetadataError(
            f"The transformations of image {image!r} are not finite numbers: the scale is {scale}, the translation "
            f"{translation}. Set others with set_transform()."
        )
    return scale, translation


def stored_transform(
    transforms: Sequence[TransformationMeta], ndim: int, image: str
) -> tuple[list[float], list[float]]:
    """Compose transformations read from a document into a scale and a translation."""
    try:
        return _compose(transforms, ndim)
    except InvalidArgumentError as error:
        raise MetadataError(
            f"The transformations of image {image!r} cannot be used: {clause(error)}. Set others with set_transform()."
        ) from error


def _compose(transforms: Sequence[TransformationMeta], ndim: int) -> tuple[list[float], list[float]]:
    """Return the scale and translation of several transformations, applied first to last.

    Each of them is x -> scale * x, or x -> x + translation.
    """
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for transform in transforms:
        if transform.type == "identity":
            continue
        numbers = getattr(transform, transform.type)
        if numbers is None:
            raise InvalidArgumentError(
                f"A {transform.type} is stored under the path {transform.path!r}, which is not supported: "
                "write its numbers instead of the path."
            )
        if len(numbers) != ndim:
            raise InvalidArgumentError(
                f"A {transform.type} has {counted(len(numbers), 'number')}, {list(numbers)}, for {ndim} axes."
            )
        if transform.type == "scale":
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            translation = [a * b for a, b in zip(translation, numbers, strict=True)]
        else:
            translation = [a + b for a, b in zip(translation, numbers, strict=True)]
    return scale, translation


def normalize_transforms(transforms: Sequence[TransformationMeta], ndim: int) -> list[TransformationMeta]:
    """Return the valid equivalent of transformations: one scale, then at most one translation.

    The result (CT-02 to CT-05) consists of new models with the unknown keys of the old ones. It has a translation by
    zero only if ``transforms`` had a translation.
    """
    valid = _checked_transforms(transforms)
    scale, translation = finite_transform(valid, ndim)
    shifted = any(transform.type == "translation" for transform in valid) or any(translation)
    return scale_and_translation(scale, translation if shifted else None, unknown_keys_of=valid)


def finite_transform(transforms: Sequence[TransformationMeta], ndim: int) -> tuple[list[float], list[float]]:
    """Compose valid transformations into a scale and a translation; raise unless all numbers are finite."""
    scale, translation = _compose(transforms, ndim)
    if not all(map(math.isfinite, (*scale, *translation))):
        raise InvalidArgumentError(
            f"The transformations {_as_json(transforms)} are not finite numbers for every axis."
        )
    return scale, translation


def scale_and_translation(
    scale: Sequence[float],
    translation: Sequence[float] | None,
    *,
    unknown_keys_of: Sequence[TransformationMeta] = (),
) -> list[TransformationMeta]:
    """Return the transformations of a dataset: a scale, then a translation unless it is None."""
    values = {"scale": scale, "translation": translation}
    transforms = []
    for kind, numbers in values.items():
        if numbers is None:
            continue
        unknown: dict[str, Any] = {}
        for transform in unknown_keys_of:
            if transform.type == kind:
                unknown |= transform.model_extra or {}
        transforms.append(TransformationMeta.from_json({**unknown, "type": kind, kind: list(numbers)}))
    return transforms


def _checked_transforms(transforms: Sequence[TransformationMeta]) -> list[TransformationMeta]:
    # A single transformation would iterate over its fields, and text over its letters.
    if not isinstance(transforms, list | tuple) or not all(
        isinstance(t, TransformationMeta) for t in transforms
    ):
        raise InvalidArgumentError(f"Transformations are a list of TransformationMeta, not {transforms!r}.")
    try:
        return [transform.checked() for transform in transforms]
    except MetadataError as error:
        raise InvalidArgumentError(f"A transformation cannot be used: {clause(error)}.") from error


def _as_json(transforms: Sequence[TransformationMeta]) -> str:
    return str([transform.to_json() for transform in transforms])


def pyramid_shapes(
    shape: Shape, dims: Sequence[int] | Mapping[int, int], levels: int
) -> list[tuple[Shape, tuple[int, ...]]]:
    """Return shape and cumulative factors of each pyramid level; shapes are rounded up.

    ``dims`` are the axes to halve, or maps axes to their factors. Axes of length 1 stay. The cumulative factor is the
    number of pixels of level 0 that one pixel of the level spans.
    """
    if levels < 1:
        raise InvalidArgumentError(f"A pyramid cannot have {levels} levels: use 1 or more.")
    if any(not 0 <= dim < len(shape) for dim in dims):
        raise InvalidArgumentError(
            f"The axes {list(dims)} cannot be binned: the shape {shape} has {len(shape)} axes."
        )
    steps = dict(dims) if isinstance(dims, Mapping) else dict.fromkeys(dims, 2)
    lengths, factors = list(shape), [1] * len(shape)
    plan = [(tuple(lengths), tuple(factors))]
    for _ in range(levels - 1):
        for dim, step in steps.items():
            if lengths[dim] > 1:
                lengths[dim] = -(-lengths[dim] // step)
                factors[dim] *= step
        plan.append((tuple(lengths), tuple(factors)))
    return plan


def level_transforms(
    base: Sequence[TransformationMeta], factors: Sequence[int | float], method: str
) -> list[TransformationMeta]:
    """Derive the transformations of one pyramid level from those of level 0; see `transforms_of_levels`."""
    return transforms_of_levels(base, [factors], method)[0]


def transforms_of_levels(
    base: Sequence[TransformationMeta], levels: Sequence[Sequence[int | float]], method: str
) -> list[list[TransformationMeta]]:
    """Derive the transformations of pyramid levels from those of level 0, each by its factors to level 0.

    The centre of a pixel binned from ``f`` pixels lies ``(f - 1) / 2`` pixels after the centre of the first of them:
    the translation grows by (scale_N - scale_0) / 2 per axis. A pixel that is picked by a stride
    does not move. The specification does not say where pixels lie; this is the usual convention (A3).
    """
    if not levels:
        return []
    first_scale, first_translation = _compose(_checked_transforms(base), len(levels[0]))
    transforms = []
    for factors in levels:
        scale = [size * factor for size, factor in zip(first_scale, factors, strict=True)]
        translation = first_translation
        if method != "stride":
            translation = [
                start + (coarse - fine) / 2
                for start, coarse, fine in zip(first_translation, scale, first_scale, strict=True)
            ]
        transforms.append(scale_and_translation(scale, translation if any(translation) else None))
    return transforms


def level_factors(fine: Shape, coarse: Shape, ratios: Sequence[float]) -> Shape | None:
    """Return the whole factors between two stored levels; None without whole factors.

    ``ratios`` are the pixel sizes of the coarse level relative to the fine one. They decide between possible factors: 5
    voxels become 2 by a factor of 3 or of 4.

    >>> level_factors((3, 5, 100), (3, 2, 50), (1.0, 4.0, 2.0))
    (1, 4, 2)
    >>> level_factors((10,), (7,), (1.43,)) is None
    True
    """
    if len(fine) != len(coarse):
        return None
    factors = []
    for length, reduced, ratio in zip(fine, coarse, ratios, strict=True):
        if length == reduced:
            factors.append(1)
            continue
        if not 0 < reduced < length or not math.isfinite(ratio):
            return None
        # ceil(a / f) is b for the f from `low` to `high`.
        low = -(-length // reduced)
        high = (length - 1) // (reduced - 1) if reduced > 1 else max(length, round(ratio))
        if low > high:
            return None
        power = 1 << (low - 1).bit_length()
        rounded = round(ratio)
        factors.append(rounded if low <= rounded <= high else power if power <= high else low)
    return tuple(factors)


def steps_between(fine: Sequence[int], coarse: Sequence[int], ratios: Sequence[float]) -> tuple[float, ...]:
    """Return the size of a coarser level's voxel in voxels of the finer one, per axis.

    The ratio of the voxel sizes counts if it fits the shapes, except for a last voxel that is missing or incomplete.

    >>> steps_between((513, 100), (256, 40), (2.0, 1.0))
    (2.0, 2.5)
    """
    return tuple(
        ratio if abs(ratio * m - n) <= ratio else n / max(m, 1)
        for n, m, ratio in zip(fine, coarse, ratios, strict=True)
    )


def voxel_steps(
    fine: Sequence[int], coarse: Sequence[int], ratios: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Return how many voxels of the finer level one voxel of the coarser level covers, per axis.

    A last voxel that covers fewer changes nothing: 257 voxels become 17 by a factor of 16, not of 257 / 17. Without
    ``ratios`` of the voxel sizes the shapes decide.

    >>> voxel_steps((257, 9, 513), (17, 3, 256)), voxel_steps((513,), (256,), (2.0,))
    ((16, 4, 2.00390625), (2.0,))
    """
    sizes = [0.0] * len(fine) if ratios is None else ratios
    steps: list[float] = []
    for n, m, ratio in zip(fine, coarse, sizes, strict=True):
        steps += level_factors((n,), (m,), (ratio,)) or steps_between((n,), (m,), (ratio,))
    return tuple(steps)
