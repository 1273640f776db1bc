"""How a pyramid is made in few passes over the pixels: which levels come from one reading, and in which order.

A pass reads each block of one level (the source) once and makes several coarser levels (the targets) of it while it
is in memory. That is right for blocks that begin at multiples of the coarsest factors, and frugal where blocks hold
whole chunks of the source and fill the chunks of the targets soon. Where the grids do not fit each other a pass ends
early, and the next one begins from the level that it wrote.

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
"""Raw size of the parts of targets that may wait for their rest in a pass of several targets."""

UNIT_BYTES = 512 * 2**20
"""Raw size of the source that one unit reads when the work is spread over an executor, unless a file needs more."""

LARGEST_UNIT_BYTES = 32 * UNIT_BYTES
"""As much for one process that takes note of how far it is: to read a level again costs more than a kill does."""

_LOSSLESS = frozenset(
    (
        *("bytes", "endian", "transpose", "sharding_indexed", "crc32c", "shuffle"),
        *("blosc", "zstd", "gzip", "zlib", "bz2", "lz4", "lzma"),
    )
)
"""Codecs that give back what they were given. After others a level is made of what is stored, not of what was put."""


class PixelReader(Protocol):
    """What a pass reads: a level, or pixels on their way into the finest one."""

    @property
    def meta(self) -> ArrayMeta:
        """Shape, dtype, and as chunks the boxes that are best read whole."""
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
        Where to write.
    step
        Whole factor of each axis from the level before.
    factors
        Those from the source of the pass.
    """

    array: StoredArray
    step: Shape
    factors: Shape


@dataclass(frozen=True)
class Pass:
    """One reading of a level that makes coarser ones; can be pickled.

    Attributes
    ----------
    source
        The level to read.
    targets
        The levels to write, finest first.
    method
        How voxels become one.
    """

    source: PixelReader
    targets: tuple[Target, ...]
    method: Method

    @property
    def factors(self) -> Shape:
        """Factors from the source to the coarsest target: blocks begin at multiples of them."""
        return self.targets[-1].factors

    def aligned(self, region: Region) -> Region:
        """Return the smallest box around a region of the source that makes whole voxels of all targets."""
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
) -> list[Pass]:
    """Plan the passes that make some levels.

    Parameters
    ----------
    source
        The level to begin from.
    levels
        The levels to make, finest first: array, and factors from the one before.
    method
        How voxels become one.
    spread
        Whether the passes are cut into units of bounded size, see `unit_box`.
    noted
        Whether note is taken of how far they are; units are of bounded size then too, but larger.

    Returns
    -------
    list of Pass
        At least one target in each; the source of each is the coarsest target of the one before.
    """
    found: list[Pass] = []
    targets: list[Target] = []
    largest = UNIT_BYTES if spread else LARGEST_UNIT_BYTES if noted else None
    for array, step in levels:
        before = targets[-1].factors if targets else (1,) * len(step)
        target = Target(array, step, tuple(a * b for a, b in zip(before, step, strict=True)))
        if targets and not _fits(Pass(source, (*targets, target), method), largest):
            found.append(Pass(source, tuple(targets), method))
            source, targets = targets[-1].array, [Target(array, step, step)]
        else:
            targets.append(target)
    return [*found, Pass(source, tuple(targets), method)] if targets else found


def _fits(wanted: Pass, largest: int | None) -> bool:
    """Whether several targets can be made in one pass, in bounded memory."""
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


def _waiting(wanted: Pass, grain: Shape, fills: Sequence[Shape]) -> int:
    """Raw size of the parts of targets that wait for their rest, at the border of two boxes."""
    source = wanted.source.meta
    return 2 * sum(
        _nbytes(box, source) // prod(target.factors)
        for box, target in zip(fills, wanted.targets, strict=True)
        if box != grain  # else one block fills it: nothing waits
    )


def _nbytes(box: Shape, meta: ArrayMeta) -> int:
    return prod(box) * meta.dtype.itemsize


def _chain(wanted: Pass) -> list[Shape]:
    """Boxes of the source, each a multiple of those before: a block of whole chunks, then what fills each target."""
    source = wanted.source.meta
    found = [_common(source.chunks, wanted.factors, source.shape)]
    for target in wanted.targets:
        found.append(_common(found[-1], _extent(target), source.shape))
    return found


def _extent(target: Target) -> Shape:
    """Shape of the box of the source that fills what is put together of a target."""
    return tuple(u * f for u, f in zip(unit_shape(target.array), target.factors, strict=True))


def _file_extent(target: Target) -> Shape:
    """Shape of the box of the source that fills a file of a target."""
    return tuple(u * f for u, f in zip(target.array.meta.files, target.factors, strict=True))


def _common(one: Shape, other: Shape, shape: Shape) -> Shape:
    """Smallest box that is a multiple of both along each axis, or the whole axis."""
    return tuple(
        max(1, n if a >= n else min(n, lcm(a, b))) for a, b, n in zip(one, other, shape, strict=True)
    )


@dataclass(frozen=True)
class Order:
    """The order in which a pass goes through its source.

    Attributes
    ----------
    boxes
        Shapes of boxes within boxes, for `lamella.ops.regions.nested`: the outermost first, the last a block to read.
        All others fill a file of some target, as far as the grids fit each other.
    apart
        Whether an outermost box is to be done before the next begins, because what waits in it is large.
    """

    boxes: tuple[Shape, ...]
    apart: bool

    @property
    def block(self) -> Shape:
        """Shape of what a worker reads at a time."""
        return self.boxes[-1]


def order(wanted: Pass) -> Order:
    """Choose the order of a pass: memory is what waits in the boxes that are not complete yet."""
    source = wanted.source.meta
    grain, *fills = _chain(wanted)
    if len(fills) == 1 and max(_nbytes(grain, source), _waiting(wanted, grain, fills)) > PENDING_BYTES:
        # Grids that do not fit each other: some chunks are read by two blocks rather than many held at once.
        grain = tuple(-(-c // f) * f for c, f in zip(source.chunks, wanted.factors, strict=True))
        fills = [_extent(wanted.targets[0])]
    apart = _waiting(wanted, grain, fills) > PENDING_BYTES
    small = [] if apart else [box for box in fills if _nbytes(box, source) <= BLOCK_BYTES]
    large = fills[len(small) :]
    whole = large[0] if large else source.shape
    block = piece_shape(whole, small[-1] if small else grain, source.dtype.itemsize, BLOCK_BYTES)
    files = [fills[-1]]  # what few files are open at a time for, not memory
    for target in wanted.targets:
        files.append(_common(files[-1], _file_extent(target), source.shape))
    return Order((*reversed(files[1:]), *reversed(large), tuple(max(1, n) for n in block)), apart)


def unit_box(wanted: Pass) -> Shape:
    """Shape of the boxes of the source that fill whole files of every target: what one machine does alone."""
    shape = wanted.source.meta.shape
    found = wanted.factors
    for target in wanted.targets:
        found = _common(found, _file_extent(target), shape)
    return found


def part_box(wanted: Pass) -> Shape:
    """Shape of the boxes of the source after which one process takes note: of whole units, of bounded size.

    Rows of units along the last axes first. A source that is not larger is one part.
    """
    source = wanted.source.meta
    part = list(unit_box(wanted))
    for axis in reversed(range(len(part))):
        unit, n = part[axis], source.shape[axis]
        part[axis] = min(n, unit * max(1, UNIT_BYTES // _nbytes(tuple(part), source)))
        if part[axis] < n:
            break
    return tuple(part)
