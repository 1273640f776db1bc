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
    return _effective_transform(meta, image)[0]


def effective_translation(meta: ImagesMeta, image: str) -> list[float]:
    """Return the position of a level's first pixel: FOV scale x level shift + FOV shift (CT-07).

    ``image`` is the path of a level, or "*" for the shift of the whole field of view alone.
    """
    return _effective_transform(meta, image)[1]


def has_finite_transform(meta: ImagesMeta, image: str) -> bool:
    """Return whether the effective scale and translation can be computed, and are finite."""
    try:
        _effective_transform(meta, image)
    except MetadataError:
        return False
    return True


def _effective_transform(meta: ImagesMeta, image: str) -> tuple[list[float], list[float]]:
    scales = meta.multiscales[0]
    transforms = [] if image == WHOLE else list(find_dataset(meta, image).coordinate_transformations)
    transforms += scales.coordinate_transformations or []
    scale, translation = stored_transform(transforms, len(scales.axes), image)
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
    """Return the scale and translation of several scales and translations, applied first to last."""
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
            scale = [size * factor for size, factor in zip(scale, numbers, strict=True)]
            translation = [shift and shift * size for shift, size in zip(translation, numbers, strict=True)]
        else:
            translation = [shift + number for shift, number in zip(translation, numbers, strict=True)]
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
        documents = [transform.to_json() for transform in transforms]
        raise InvalidArgumentError(f"The transformations {documents} are not finite numbers for every axis.")
    return scale, translation


def scale_and_translation(
    scale: Sequence[float],
    translation: Sequence[float] | None,
    *,
    unknown_keys_of: Sequence[TransformationMeta] = (),
) -> list[TransformationMeta]:
    """Return the transformations of a dataset: a scale, then a translation unless it is None."""
    transforms = []
    for kind, numbers in {"scale": scale, "translation": translation}.items():
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
        isinstance(transform, TransformationMeta) for transform in transforms
    ):
        raise InvalidArgumentError(f"Transformations are a list of TransformationMeta, not {transforms!r}.")
    try:
        return [transform.checked() for transform in transforms]
    except MetadataError as error:
        raise InvalidArgumentError(f"A transformation cannot be used: {clause(error)}.") from error


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
    factor_of_dim = dict(dims) if isinstance(dims, Mapping) else dict.fromkeys(dims, 2)
    lengths, cumulative = list(shape), [1] * len(shape)
    shapes_and_factors = [(tuple(lengths), tuple(cumulative))]
    for _ in range(levels - 1):
        for dim, factor in factor_of_dim.items():
            if lengths[dim] > 1:
                lengths[dim] = -(-lengths[dim] // factor)
                cumulative[dim] *= factor
        shapes_and_factors.append((tuple(lengths), tuple(cumulative)))
    return shapes_and_factors


def level_transforms(
    finest: Sequence[TransformationMeta], factors: Sequence[int | float], method: str
) -> list[TransformationMeta]:
    """Derive the transformations of one pyramid level from those of level 0; see `transforms_of_levels`."""
    return transforms_of_levels(finest, [factors], method)[0]


def transforms_of_levels(
    finest: Sequence[TransformationMeta], factors_of_levels: Sequence[Sequence[int | float]], method: str
) -> list[list[TransformationMeta]]:
    """Derive the transformations of pyramid levels from those of level 0, each by its factors to level 0.

    The centre of a pixel that is binned from 4 pixels lies 1.5 pixels after the centre of the first of them: the
    translation grows by (scale_N - scale_0) / 2 per axis. With ``method="stride"`` the first pixel is picked, and its
    position stays. The specification does not say where pixels lie; this is the usual convention (A3).
    """
    if not factors_of_levels:
        return []
    first_scale, first_translation = _compose(_checked_transforms(finest), len(factors_of_levels[0]))
    transforms = []
    for factors in factors_of_levels:
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
    """Return the integer factors between the shapes of two levels; None if no integers lead from one to the other.

    Several factors may be possible: 5 voxels become 2 by a factor of 3 or of 4. Then the pixel size of the coarse level
    relative to the fine one, in ``ratios``, decides; if it is not one of them, a power of two is preferred.

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
        # ceil(length / factor) is reduced for all factors from `smallest` to `largest`.
        smallest = -(-length // reduced)
        largest = (length - 1) // (reduced - 1) if reduced > 1 else max(length, round(ratio))
        if smallest > largest:
            return None
        power_of_two = 1 << (smallest - 1).bit_length()
        if smallest <= round(ratio) <= largest:
            factors.append(round(ratio))
        else:
            factors.append(power_of_two if power_of_two <= largest else smallest)
    return tuple(factors)


def steps_between(fine: Sequence[int], coarse: Sequence[int], ratios: Sequence[float]) -> tuple[float, ...]:
    """Return the size of a voxel of the coarser level in voxels of the finer one, per axis.

    That is the ratio of the voxel sizes if it agrees with the shapes up to one coarse voxel, else the ratio of the
    shapes.

    >>> steps_between((513, 100), (256, 40), (2.0, 1.0))
    (2.0, 2.5)
    """
    return tuple(
        ratio if abs(ratio * reduced - length) <= ratio else length / max(reduced, 1)
        for length, reduced, ratio in zip(fine, coarse, ratios, strict=True)
    )


def voxel_steps(
    fine: Sequence[int], coarse: Sequence[int], ratios: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Return how many voxels of the finer level one voxel of the coarser level covers, per axis.

    The last voxel may cover fewer: 257 voxels become 17 by a factor of 16, not of 257 / 17. Without ``ratios`` of the
    voxel sizes the shapes decide.

    >>> voxel_steps((257, 9, 513), (17, 3, 256)), voxel_steps((513,), (256,), (2.0,))
    ((16, 4, 2.00390625), (2.0,))
    """
    sizes = [0.0] * len(fine) if ratios is None else ratios
    steps: list[float] = []
    for length, reduced, ratio in zip(fine, coarse, sizes, strict=True):
        factors = level_factors((length,), (reduced,), (ratio,))
        steps += factors or steps_between((length,), (reduced,), (ratio,))
    return tuple(steps)
