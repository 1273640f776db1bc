"""The lower levels of a label image: as many as its image has, of the shapes that those have.

Most images shrink by whole factors, and labels are reduced with "mode" then. Others do not: bioformats2raw and OMERO
cut odd sizes off (513 voxels become 256), and scanners write levels of any size. There each voxel takes the label that
lies at its centre in the level before: no label is made that level 0 has not.

Layer: ops.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lamella._version import __version__
from lamella.errors import InvalidArgumentError
from lamella.ops.execution import run
from lamella.ops.pyramids.level import level_factors
from lamella.ops.pyramids.pyramid import recompute_levels
from lamella.ops.regions import Region, regions
from lamella.spec import edits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage


def fill_levels(image: LabelImage) -> None:
    """Compute the pixels of all levels that a label image lists below the finest."""
    levels = [image._level(path) for path in image.dataset_paths]
    sizes = [image.get_effective_scale(path) for path in image.dataset_paths]
    steps = list(pairwise(zip(levels, sizes, strict=True)))
    ratios = [
        [b / a if a else 0.0 for a, b in zip(small, large, strict=True)] for (_, small), (_, large) in steps
    ]
    shapes = pairwise([level.shape for level in levels])
    if all(level_factors(fine, coarse, ratio) for (fine, coarse), ratio in zip(shapes, ratios, strict=True)):
        recompute_levels(image, "mode")
        return
    for ((fine, _), (coarse, _)), ratio in zip(steps, ratios, strict=True):
        _take_centres(fine, coarse, steps_between(fine.shape, coarse.shape, ratio))
    details = {
        "description": "Each voxel is the label at its centre in the level before: the image has no whole factors.",
        "method": "lamella.labels",
        "version": __version__,
    }
    image._live.edit(lambda meta: edits.describe_levels(meta, "nearest", details))


def steps_between(fine: Sequence[int], coarse: Sequence[int], ratios: Sequence[float]) -> tuple[float, ...]:
    """Tell how many voxels of the finer level one of the coarser spans, per axis.

    What the metadata say counts where it fits the shapes but for a last voxel that was cut off or is not whole.

    Examples
    --------
    >>> steps_between((513, 100), (256, 40), (2.0, 1.0))
    (2.0, 2.5)
    """
    return tuple(
        ratio if abs(ratio * m - n) <= ratio else n / max(m, 1)
        for n, m, ratio in zip(fine, coarse, ratios, strict=True)
    )


def check_levels(name: str, levels: Sequence[ImageArray]) -> None:
    """Refuse an image whose levels differ in their number of axes: no label image can follow it.

    Raises
    ------
    InvalidArgumentError
        They do; the message names the level.
    """
    for level in levels[1:]:
        if level.ndim != levels[0].ndim:
            raise InvalidArgumentError(
                f"The labels {name!r} cannot have the levels of their image: {level!r} has {level.ndim} axes, and "
                f"the finest level {levels[0].ndim}. Delete that level, or call delete_pyramid() first."
            )


def _take_centres(fine: ImageArray, coarse: ImageArray, steps: Sequence[float]) -> None:
    """Fill a level with the voxels of the one before that its voxels' centres lie in."""

    def fill(region: Region) -> None:
        picks = [
            np.minimum(((np.arange(part.start, part.stop) + 0.5) * step).astype(np.int64), n - 1)
            for part, step, n in zip(region, steps, fine.shape, strict=True)
        ]
        block = fine[tuple(slice(int(pick[0]), int(pick[-1]) + 1) for pick in picks)]
        coarse[region] = block[np.ix_(*(pick - pick[0] for pick in picks))]

    run(fill, regions(coarse.shape, coarse.write_unit))
