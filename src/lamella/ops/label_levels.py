"""Compute the lower levels of a label image, with the number and shapes of its image's levels.

Where levels shrink by whole factors, labels are reduced with "mode". Elsewhere (bioformats2raw and OMERO shrink 513
voxels to 256) each voxel gets the label at its centre in the level before, so no new label appears.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lamella._version import __version__
from lamella.errors import InvalidArgumentError
from lamella.nodes.image_array import ImageArray
from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.pyramids.progress import create_unlisted_arrays, finish_edit, publish_levels
from lamella.ops.pyramids.pyramid import compute_unlisted_levels, recompute_levels
from lamella.ops.pyramids.update import begin_update
from lamella.ops.regions import Region, regions
from lamella.spec import edits, geometry
from lamella.store.pixels.arrays import PinnedArray, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lamella.nodes.labels import LabelImage
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import Shape


def fill_levels(image: LabelImage) -> None:
    """Compute the pixels of all levels of a label image below the finest."""
    if len(image.dataset_paths) < 2:
        return
    levels = [image.open_level(path) for path in image.dataset_paths]
    sizes = [image.get_effective_scale(path) for path in image.dataset_paths]
    if whole_factors([level.shape for level in levels], sizes) is not None:
        recompute_levels(image, "mode", THREADS)
        return
    fill_with_nearest(levels, sizes)
    image.document.edit(describe_nearest)


def create_levels(
    image: LabelImage,
    planned: Mapping[str, ArrayMeta],
    list_levels: Callable[[ImagesMeta], ImagesMeta],
    workers: Workers,
) -> None:
    """Create the lower levels of a label image that has only the finest one.

    ``list_levels`` adds them to the metadata, which is written when their pixels are complete.
    """
    base, model = image.data, list_levels(image.document.shared_model)
    source = pinned(base.stored)
    sizes = [geometry.effective_scale(model, path) for path in (image.dataset_paths[0], *planned)]
    factors_of_levels = whole_factors([source.meta.shape, *(meta.shape for meta in planned.values())], sizes)
    if factors_of_levels is not None:
        compute_unlisted_levels(
            image,
            source,
            planned,
            dict(zip(planned, factors_of_levels, strict=True)),
            list_levels,
            "mode",
            workers,
        )
        return
    mark = create_unlisted_arrays(image, planned, lambda _: begin_update(image, planned))
    arrays = [base, *(ImageArray(image.node_path.child(path)) for path in planned)]
    fill_with_nearest(arrays, sizes, workers.jobs)
    arrays_to_finish = [
        source,
        *(
            PinnedArray(source.documents, array.path, meta)
            for array, meta in zip(arrays[1:], planned.values(), strict=True)
        ),
    ]
    whole_image = (0,) * base.ndim, source.meta.shape
    publish_levels(
        image,
        planned,
        mark,
        lambda meta: describe_nearest(list_levels(meta)),
        finish_edit(mark, arrays_to_finish, lambda: [whole_image]),
    )


def whole_factors(shapes: Sequence[Shape], sizes: Sequence[Sequence[float]]) -> list[Shape] | None:
    """Return the factors from each level to the next; None if some are not whole."""
    factors_or_none = [
        geometry.level_factors(fine, coarse, size_ratios(small, large))
        for (fine, coarse), (small, large) in zip(pairwise(shapes), pairwise(sizes), strict=True)
    ]
    factors_of_levels = [factors for factors in factors_or_none if factors is not None]
    return factors_of_levels if len(factors_of_levels) == len(factors_or_none) else None


def fill_with_nearest(
    levels: Sequence[ImageArray], sizes: Sequence[Sequence[float]], jobs: int | None = None
) -> None:
    """Fill each level from the level before: a voxel gets the label of the finer voxel that contains its centre."""
    for (fine, coarse), (fine_size, coarse_size) in zip(pairwise(levels), pairwise(sizes), strict=True):
        _fill_level_with_nearest(
            fine,
            coarse,
            geometry.steps_between(fine.shape, coarse.shape, size_ratios(fine_size, coarse_size)),
            jobs,
        )


def describe_nearest(meta: ImagesMeta) -> ImagesMeta:
    """Record that levels were computed by `fill_with_nearest`."""
    details = {
        "description": "Each voxel is the label at its centre in the level before: the image has no whole factors.",
        "method": "lamella.labels",
        "version": __version__,
    }
    return edits.describe_levels(meta, "nearest", details)


def size_ratios(small: Sequence[float], large: Sequence[float]) -> list[float]:
    """Return the ratio of two levels' voxel sizes along each axis; 0 for an axis without a size."""
    return [coarse / fine if fine else 0.0 for fine, coarse in zip(small, large, strict=True)]


def check_levels(name: str, levels: Sequence[ImageArray]) -> None:
    """Raise for an image whose levels differ in their number of axes: it cannot have label images."""
    for level in levels[1:]:
        if level.ndim != levels[0].ndim:
            raise InvalidArgumentError(
                f"The labels {name!r} cannot have the levels of their image: {level!r} has {level.ndim} axes, and "
                f"the finest level {levels[0].ndim}. Delete that level, or call delete_pyramid() first."
            )


def _fill_level_with_nearest(
    fine: ImageArray, coarse: ImageArray, factors: Sequence[float], jobs: int | None
) -> None:

    def fill(region: Region) -> None:
        indices = [
            np.minimum(((np.arange(span.start, span.stop) + 0.5) * factor).astype(np.int64), length - 1)
            for span, factor, length in zip(region, factors, fine.shape, strict=True)
        ]
        block = fine[
            tuple(slice(int(axis_indices[0]), int(axis_indices[-1]) + 1) for axis_indices in indices)
        ]
        coarse[region] = block[np.ix_(*(axis_indices - axis_indices[0] for axis_indices in indices))]

    run(fill, regions(coarse.shape, coarse.write_unit), Workers(jobs))
