"""Planning the passes of a pyramid: which levels are computed from one reading, and in which order.

A pass reads each block of one level (the source) once, and computes several coarser levels (the targets) while the
block is in memory. Blocks begin at multiples of the coarsest factors, and should contain whole chunks of the source and
fill chunks of the targets soon. If the grids do not align, a pass ends early, and the next one starts from the level
that it wrote.

Example: level 0 of 4096 x 4096 voxels in chunks of 512 x 512, three lower levels by factors of 2. A block of 512 x 512
voxels fills 256 x 256 voxels of level 1, so four blocks fill a chunk of it, and 16 and 64 blocks fill a chunk of levels
2 and 3.

Layer: ops. The pass itself is in :mod:`lamella.ops.pyramids.one_pass`. Pure arithmetic on shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import TYPE_CHECKING, Protocol

from lamella.ops.pyramids.level_assembler import unit_shape
from lamella.ops.regions import piece_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.regions import Region
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.types import Array, Shape

BLOCK_BYTES = 2**20
"""Raw size of the blocks that are read, unless a chunk is larger: it stays in the cache while it is reduced.

A chunk of our own layout: one is decoded straight into its block, on the worker's own thread.
"""

PENDING_BYTES = 64 * 2**20
"""Maximum raw size of incomplete parts of targets in a pass of several targets."""

UNIT_BYTES = 512 * 2**20
"""Raw size of the source of one unit on an executor, unless a file needs more."""

LARGEST_UNIT_BYTES = 32 * UNIT_BYTES
"""The same for one process that records its progress: reading a level again costs more than a kill does."""

_LOSSLESS = frozenset(
    (
        *("bytes", "endian", "transpose", "sharding_indexed", "crc32c", "shuffle"),
        *("blosc", "zstd", "gzip", "zlib", "bz2", "lz4", "lzma"),
    )
)
"""Lossless codecs. With other codecs, a level is computed from the stored voxels of the level before."""


class PixelReader(Protocol):
    """The source of a pass: a level, or pixels that are written into the finest one."""

    @property
    def meta(self) -> ArrayMeta:
        """Shape, dtype and, as chunks, the best regions to read."""
        ...

    def read_many(self, regions: Sequence[Region], *, out: Array) -> object:
        """Fill each block of `out` with the voxels of a region."""
        ...


@dataclass(frozen=True)
class Target:
    """A level to write.

    Attributes
    ----------
    array
        The array.
    step
        Whole factor of each axis from the level before.
    factors
        Whole factors from the source of the pass.
    """

    array: StoredArray
    step: Shape
    factors: Shape


@dataclass(frozen=True)
class ReadPass:
    """One reading of a level that computes coarser ones; can be pickled.

    Attributes
    ----------
    source
        The level to read.
    targets
        The levels to write, finest first.
    method
        The method of downsampling.
    """

    source: PixelReader
    targets: tuple[Target, ...]
    method: Method

    @property
    def factors(self) -> Shape:
        """Factors from the source to the coarsest target: blocks begin at multiples of them."""
        return self.targets[-1].factors

    def aligned(self, region: Region) -> Region:
        """Return the smallest region around a region of the source that covers whole voxels of all targets."""
        return tuple(
            slice(one.start // f * f, min(-(-one.stop // f) * f, n))
            for one, f, n in zip(region, self.factors, self.source.meta.shape, strict=True)
        )


def passes(
    source: PixelReader,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: Method,
    *,
    spread: bool = False,
    noted: bool = False,
) -> list[ReadPass]:
    """Plan the passes that compute some levels, each with at least one target.

    The source of each pass is the coarsest target of the one before. ``levels`` are arrays with their factors from the
    one before, finest first. Passes that are ``spread`` over an executor consist of units of bounded size, see
    `unit_box`; those whose progress is recorded (``noted``) too, but of larger ones.
    """
    found: list[ReadPass] = []
    targets: list[Target] = []
    largest = UNIT_BYTES if spread else LARGEST_UNIT_BYTES if noted else None
    for array, step in levels:
        before = targets[-1].factors if targets else (1,) * len(step)
        target = Target(array, step, tuple(a * b for a, b in zip(before, step, strict=True)))
        if targets and not _fits(ReadPass(source, (*targets, target), method), largest):
            found.append(ReadPass(source, tuple(targets), method))
            source, targets = targets[-1].array, [Target(array, step, step)]
        else:
            targets.append(target)
    return [*found, ReadPass(source, tuple(targets), method)] if targets else found


def _fits(wanted: ReadPass, largest: int | None) -> bool:
    """Return whether several targets can be computed in one pass, in bounded memory."""
    source = wanted.source.meta
    if any(not _LOSSLESS.issuperset(target.array.meta.codecs) for target in wanted.targets[:-1]):
        return False
    if largest is not None and _nbytes(unit_box(wanted), source) > largest:
        return False
    grain, *fills = _chain(wanted)
    return (
        _nbytes(grain, source) <= _largest_block(source) and _waiting(wanted, grain, fills) <= PENDING_BYTES
    )


def _largest_block(source: ArrayMeta) -> int:
    return max(BLOCK_BYTES, _nbytes(source.chunks, source))


def _waiting(wanted: ReadPass, grain: Shape, fills: Sequence[Shape]) -> int:
    """Return the raw size of incomplete parts of the targets, at the border of two regions."""
    source = wanted.source.meta
    return 2 * sum(
        _nbytes(box, source) // prod(target.factors)
        for box, target in zip(fills, wanted.targets, strict=True)
        if box != grain  # else one block fills it completely
    )


def _nbytes(box: Shape, meta: ArrayMeta) -> int:
    return prod(box) * meta.dtype.itemsize


def _chain(wanted: ReadPass) -> list[Shape]:
    """Return nested regions of the source: a block of whole chunks, then a region that fills each target."""
    source = wanted.source.meta
    found = [_common(source.chunks, wanted.factors, source.shape)]
    for target in wanted.targets:
        found.append(_common(found[-1], _extent(target), source.shape))
    return found


def _extent(target: Target) -> Shape:
    """Return the shape of the source region that fills a buffer of a target."""
    return tuple(u * f for u, f in zip(unit_shape(target.array), target.factors, strict=True))


def _file_extent(target: Target) -> Shape:
    """Return the shape of the source region that fills a file of a target."""
    return tuple(u * f for u, f in zip(target.array.meta.files, target.factors, strict=True))


def _common(one: Shape, other: Shape, shape: Shape) -> Shape:
    """Return the smallest shape that is a multiple of both along each axis, or the whole axis."""
    return tuple(
        max(1, n if a >= n else min(n, lcm(a, b))) for a, b, n in zip(one, other, shape, strict=True)
    )


@dataclass(frozen=True)
class Order:
    """The order in which a pass reads its source.

    Attributes
    ----------
    boxes
        Shapes of nested regions, for `lamella.ops.regions.nested`: the outermost first, the last a block to read. All
        others fill a file of some target, as far as the grids align.
    apart
        Whether an outermost region is finished before the next begins, because its incomplete parts are large.
    """

    boxes: tuple[Shape, ...]
    apart: bool

    @property
    def block(self) -> Shape:
        """Shape that a worker reads at once."""
        return self.boxes[-1]


def order(wanted: ReadPass) -> Order:
    """Choose the order of a pass: memory is needed for incomplete regions."""
    source = wanted.source.meta
    grain, *fills = _chain(wanted)
    if len(fills) == 1 and max(_nbytes(grain, source), _waiting(wanted, grain, fills)) > PENDING_BYTES:
        # Grids that do not align: reading some chunks twice is better than keeping many in memory.
        grain = tuple(-(-c // f) * f for c, f in zip(source.chunks, wanted.factors, strict=True))
        fills = [_extent(wanted.targets[0])]
    apart = _waiting(wanted, grain, fills) > PENDING_BYTES
    small = [] if apart else [box for box in fills if _nbytes(box, source) <= BLOCK_BYTES]
    large = fills[len(small) :]
    whole = large[0] if large else source.shape
    block = piece_shape(whole, small[-1] if small else grain, source.dtype.itemsize, BLOCK_BYTES)
    files = [fills[-1]]  # limits open files, not memory
    for target in wanted.targets:
        files.append(_common(files[-1], _file_extent(target), source.shape))
    return Order((*reversed(files[1:]), *reversed(large), tuple(max(1, n) for n in block)), apart)


def unit_box(wanted: ReadPass) -> Shape:
    """Return the shape of source regions that fill whole files of every target: the unit of one machine."""
    shape = wanted.source.meta.shape
    found = wanted.factors
    for target in wanted.targets:
        found = _common(found, _file_extent(target), shape)
    return found


def part_box(wanted: ReadPass) -> Shape:
    """Return the shape of source regions after which progress is recorded: whole units, of bounded size.

    Rows of units along the last axes first. A small source is one region.
    """
    source = wanted.source.meta
    part = list(unit_box(wanted))
    for axis in reversed(range(len(part))):
        unit, n = part[axis], source.shape[axis]
        part[axis] = min(n, unit * max(1, UNIT_BYTES // _nbytes(tuple(part), source)))
        if part[axis] < n:
            break
    return tuple(part)
