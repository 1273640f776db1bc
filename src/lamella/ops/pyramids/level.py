"""The pixels of one pyramid level, from those of the level before.

Every write unit (shard, or chunk) of a level is written once and whole, and every chunk of the level before is read
once where the two grids allow it, as those of our own pyramids do. Memory is a piece per worker, and a shard where a
shard is larger than a piece.

Layer: ops. Which levels there are is in :mod:`lamella.ops.pyramids.pyramid`, the arithmetic of a block in
:mod:`lamella.ops.pyramids.downsample`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.execution import run, workers
from lamella.ops.pyramids.downsample import downsample
from lamella.ops.regions import PIECE_BYTES, Region, enlarge, piece_shape, region_shape, regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.pyramids.downsample import Method
    from lamella.types import Array, Shape

_LEAST_BYTES = 2**20
"""Smaller pieces cost more to hand out than to compute."""


def level_factors(fine: Shape, coarse: Shape, ratios: Sequence[float]) -> Shape | None:
    """Find the whole factors by which a stored level shrinks to the next.

    Parameters
    ----------
    fine, coarse
        Shapes of the two levels.
    ratios
        Pixel size of the coarse level over that of the fine one, per axis: it decides where the shapes leave a
        choice, as 5 voxels become 2 by a factor of 3 or of 4.

    Returns
    -------
    tuple of int or None
        One factor per axis; None when no whole factor turns one shape into the other.

    Examples
    --------
    >>> level_factors((3, 5, 100), (3, 2, 50), (1.0, 4.0, 2.0))
    (1, 4, 2)
    >>> level_factors((10,), (7,), (1.43,)) is None
    True
    """
    if len(fine) != len(coarse):
        return None
    factors = []
    for a, b, ratio in zip(fine, coarse, ratios, strict=True):
        if a == b:
            factors.append(1)
            continue
        if not 0 < b < a:
            return None
        # ceil(a / f) is b for the f from `low` to `high`.
        low, high = -(-a // b), (a - 1) // (b - 1) if b > 1 else max(a, round(ratio))
        if low > high:
            return None
        power = 1 << (low - 1).bit_length()
        asked = round(ratio)
        factors.append(asked if low <= asked <= high else power if power <= high else low)
    return tuple(factors)


@dataclass(frozen=True)
class Step:
    """From one level to the next.

    Attributes
    ----------
    fine, coarse
        The level before, and the one to write: of shape ``ceil(n / f)`` per axis, and of the same dtype.
    factors
        Whole factor of each axis.
    method
        How voxels become one.
    """

    fine: ImageArray
    coarse: ImageArray
    factors: Shape
    method: Method

    @property
    def volume(self) -> int:
        """Bytes that one voxel of the coarse level is made of."""
        return prod(self.factors) * self.coarse.dtype.itemsize

    @property
    def grain(self) -> Shape:
        """The smallest box of the coarse level, per axis, whose source ends where chunks end."""
        return tuple(lcm(c, f) // f for c, f in zip(self.fine.chunks, self.factors, strict=True))

    def source(self, region: Region) -> Array:
        """Read what a box of the coarse level is made of."""
        return np.asarray(self.fine[enlarge(region, self.factors, self.fine.shape)])


def compute_level(step: Step, jobs: int | None = None) -> None:
    """Compute all pixels of a level from the one before.

    Parameters
    ----------
    step
        The two levels.
    jobs
        Number of workers; one per processor by default. The result is the same for any.
    """
    coarse = step.coarse
    if 0 in coarse.shape:
        return
    unit = tuple(min(u, n) for u, n in zip(coarse.write_unit, coarse.shape, strict=True))
    pieces = piece_shape(unit, step.grain, step.volume, PIECE_BYTES)
    if pieces == unit:
        _compute_units(step, jobs)
        return
    for shard in regions(coarse.shape, coarse.write_unit):
        _compute_shard(step, shard, pieces, jobs)


def _compute_units(step: Step, jobs: int | None) -> None:
    """Compute write units that are no larger than a piece of work: each worker reads, reduces and writes some."""

    def compute(region: Region) -> None:
        step.coarse[region] = downsample(step.source(region), step.factors, step.method)

    run(compute, regions(step.coarse.shape, _batch(step, jobs)), jobs=jobs)


def _batch(step: Step, jobs: int | None) -> Shape:
    """Return how many write units a worker takes at a time: about a piece, along the grid of the source's chunks."""
    fine, coarse = step.fine, step.coarse
    aligned = tuple(
        min(lcm(u, g), -(-n // u) * u)
        for u, g, n in zip(coarse.write_unit, step.grain, coarse.shape, strict=True)
    )
    chunk = prod(fine.chunks) * fine.dtype.itemsize
    if prod(aligned) * step.volume > max(PIECE_BYTES, chunk * prod(step.factors)):
        aligned = coarse.write_unit  # grids that do not fit: read some chunks twice rather than all at once
    share = fine.nbytes // (2 * workers(jobs))
    return piece_shape(coarse.shape, aligned, step.volume, min(PIECE_BYTES, max(_LEAST_BYTES, share)))


def _compute_shard(step: Step, shard: Region, pieces: Shape, jobs: int | None) -> None:
    """Put a large shard together from pieces of several workers, and write it whole."""
    buffer: Array = np.empty(region_shape(shard), step.coarse.dtype)

    def fill(piece: Region) -> None:
        target = tuple(slice(p.start + s.start, p.stop + s.start) for p, s in zip(piece, shard, strict=True))
        downsample(step.source(target), step.factors, step.method, out=buffer[piece])

    run(fill, regions(buffer.shape, pieces), jobs=jobs)
    step.coarse[shard] = buffer
