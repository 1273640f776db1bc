"""Plan and run the passes of a pyramid (docs/design.md).

A pass reads each block of one level (the source) once, and computes several coarser levels (the targets) from it.
Blocks begin at multiples of the coarsest factors and contain whole chunks of the source; their order keeps few chunks
of the targets incomplete. If the grids do not align, the next pass reads a level that this one wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import lcm, prod
from threading import local
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lamella.ops.execution import Count, Workers, run
from lamella.ops.pyramids.downsample import downsample
from lamella.ops.pyramids.level_assembler import LevelAssembler, unit_shape, waits_for_requests
from lamella.ops.regions import aligned, nested, piece_shape, region_shape, shrink, whole_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.pyramids.progress import PyramidProgress
    from lamella.ops.regions import Region
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array, Shape

BLOCK_BYTES = 2**20
"""Raw size of the blocks that are read, unless a chunk is larger: such a block stays in the processor's cache."""

REQUESTED_BYTES = 32 * 2**20
"""Raw size of the blocks where files are requests: each block is one round of requests."""

PENDING_BYTES = 64 * 2**20
"""Maximum raw size of incomplete buffers in a pass of several targets."""

UNIT_BYTES = 512 * 2**20
"""Raw size of the source of one unit on an executor, unless a file needs more."""
LARGEST_UNIT_BYTES = 32 * UNIT_BYTES
"""The same for units of one process, recorded as they finish: another pass would cost more than a kill loses."""

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

    def read(self, region: Region, out: Array) -> object:
        """Fill a block with the voxels of a region."""
        ...


@dataclass(frozen=True)
class Target:
    """A level to write."""

    array: StoredArray
    step: Shape
    """Whole factors from the level before."""
    factors: Shape
    """Whole factors from the source of the pass."""
    unit: Shape
    """Shape of a source region that fills a buffer of the level (see `unit_shape`)."""
    file: Shape
    """Shape of a source region that fills a file of the level."""

    @classmethod
    def of(cls, array: StoredArray, step: Shape, factors: Shape) -> Target:
        """Describe a level to write."""
        meta = array.meta
        unit, file = (
            tuple(n * f for n, f in zip(shape, factors, strict=True))
            for shape in (unit_shape(array, meta), meta.files)
        )
        return cls(array, step, factors, unit, file)


@dataclass(frozen=True)
class ReadPass:
    """One reading of a level (``source``) that computes coarser ones (``targets``, finest first); can be pickled."""

    source: PixelReader
    targets: tuple[Target, ...]
    method: Method

    @cached_property
    def meta(self) -> ArrayMeta:
        """Description of the source, which does not change during a job."""
        return self.source.meta

    @property
    def factors(self) -> Shape:
        """Factors from the source to the coarsest target: blocks begin at multiples of them."""
        return self.targets[-1].factors

    @cached_property
    def unit(self) -> Shape:
        """Shape of source regions that fill whole files of every target: the unit of one machine."""
        unit = self.factors
        for target in self.targets:
            unit = _least_common_shape(unit, target.file, self.meta.shape)
        return unit

    @cached_property
    def chain(self) -> list[Shape]:
        """Shapes of nested source regions: a block of whole chunks, then one that fills a buffer of each target."""
        shapes = [_least_common_shape(self.meta.chunks, self.factors, self.meta.shape)]
        for target in self.targets:
            shapes.append(_least_common_shape(shapes[-1], target.unit, self.meta.shape))
        return shapes


def passes(
    source: PixelReader,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: Method,
    *,
    spread: bool = False,
    is_recorded: bool = False,
) -> list[ReadPass]:
    """Plan the passes that compute some levels, each from the coarsest target of the pass before.

    ``levels`` are arrays with their factors from the level before, finest first. Units that run on an executor
    (``spread``) or whose progress is recorded are bounded: see `UNIT_BYTES` and `LARGEST_UNIT_BYTES`.
    """
    planned: list[ReadPass] = []
    largest = UNIT_BYTES if spread else LARGEST_UNIT_BYTES if is_recorded else None
    for array, step in levels:
        targets = planned[-1].targets if planned else ()
        before = targets[-1].factors if targets else (1,) * len(step)
        target = Target.of(array, step, tuple(a * b for a, b in zip(before, step, strict=True)))
        longer = ReadPass(source, (*targets, target), method)
        if not targets:
            planned.append(longer)
        elif _fits(longer, largest):
            planned[-1] = longer
        else:
            source = targets[-1].array
            planned.append(ReadPass(source, (Target.of(array, step, step),), method))
    return planned


def _fits(read_pass: ReadPass, largest: int | None) -> bool:
    """Return whether several targets can be computed in one pass, in bounded memory."""
    source = read_pass.meta
    if any(not _LOSSLESS.issuperset(target.array.meta.codecs) for target in read_pass.targets[:-1]):
        return False
    if largest is not None and _nbytes(read_pass.unit, source) > largest:
        return False
    block, *fills = read_pass.chain
    largest_block = max(BLOCK_BYTES, _nbytes(source.chunks, source))
    return (
        _nbytes(block, source) <= largest_block and _pending_bytes(read_pass, block, fills) <= PENDING_BYTES
    )


def _pending_bytes(read_pass: ReadPass, block: Shape, fills: Sequence[Shape]) -> int:
    """Return the raw size of incomplete buffers of the targets, at the border of two regions."""
    source = read_pass.meta
    return 2 * sum(
        _nbytes(extent, source) // prod(target.factors)
        for extent, target in zip(fills, read_pass.targets, strict=True)
        if extent != block  # else one block fills it completely
    )


def _nbytes(shape: Shape, meta: ArrayMeta) -> int:
    return prod(shape) * meta.dtype.itemsize


def _least_common_shape(first: Shape, second: Shape, shape: Shape) -> Shape:
    """Return the smallest shape that is a multiple of both along each axis, or the whole axis."""
    return tuple(
        max(1, n if a >= n else min(n, lcm(a, b))) for a, b, n in zip(first, second, shape, strict=True)
    )


@dataclass(frozen=True)
class Order:
    """The order in which a pass reads its source."""

    shapes: tuple[Shape, ...]
    """Shapes of nested regions, for `nested`: the outermost first, the last a block to read; those between fill a file
    of some target, if the grids align."""
    one_by_one: bool
    """Whether an outermost region is finished before the next one begins: its incomplete buffers are large."""

    @property
    def block(self) -> Shape:
        """Shape that a worker reads at once."""
        return self.shapes[-1]


def order(read_pass: ReadPass) -> Order:
    """Choose the order of a pass that bounds the memory of incomplete regions."""
    source = read_pass.meta
    smallest, *fills = read_pass.chain
    if (
        len(fills) == 1
        and max(_nbytes(smallest, source), _pending_bytes(read_pass, smallest, fills)) > PENDING_BYTES
    ):
        # The grids do not align: reading some chunks twice is better than keeping many in memory.
        smallest = tuple(-(-c // f) * f for c, f in zip(source.chunks, read_pass.factors, strict=True))
        fills = [read_pass.targets[0].unit]
    one_by_one = _pending_bytes(read_pass, smallest, fills) > PENDING_BYTES
    max_bytes = REQUESTED_BYTES if waits_for_requests(read_pass.targets[0].array) else BLOCK_BYTES
    in_cache = [] if one_by_one else [shape for shape in fills if _nbytes(shape, source) <= max_bytes]
    beyond_cache = fills[len(in_cache) :]
    extent = beyond_cache[0] if beyond_cache else source.shape
    block = piece_shape(extent, in_cache[-1] if in_cache else smallest, source.dtype.itemsize, max_bytes)
    files = [fills[-1]]  # limits open files, not memory
    for target in read_pass.targets:
        files.append(_least_common_shape(files[-1], target.file, source.shape))
    return Order((*reversed(files[1:]), *reversed(beyond_cache), tuple(max(1, n) for n in block)), one_by_one)


def recorded_source_shape(read_pass: ReadPass) -> Shape:
    """Return the shape of source regions after which progress is recorded: rows of units of bounded size."""
    source = read_pass.meta
    part = list(read_pass.unit)
    for axis in reversed(range(len(part))):
        unit, n = part[axis], source.shape[axis]
        part[axis] = min(n, unit * max(1, UNIT_BYTES // _nbytes(tuple(part), source)))
        if part[axis] < n:
            break
    return tuple(part)


_BLOCKS_BYTES = 256 * 2**20
"""Maximum raw size of the blocks of all workers together, for more than two workers."""


@dataclass(frozen=True)
class PassUnit:
    """A region of a pass's source for one worker with ``jobs`` threads; ``count`` counts the voxels read."""

    read_pass: ReadPass
    region: Region
    jobs: int | None = None
    count: Count | None = None


def make_levels(
    source: StoredArray,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: Method,
    workers: Workers,
    *,
    region: Region | None = None,
    progress: PyramidProgress | None = None,
    count: Count | None = None,
) -> None:
    """Compute the pixels of levels, each from the level before.

    ``levels`` are arrays of the source's dtype and the shape ``ceil(n / f)`` per axis, finest first, with their whole
    factors from the level before. With ``region`` only voxels that depend on this region of the source are computed.
    ``progress`` has the unfinished regions; ``count`` counts the voxels that all passes read.
    """
    workers.check_reach(source.documents.storage)
    if 0 in source.meta.shape:
        return
    count = count or Count(None, "voxels")
    changed = region
    regions_of_passes = []
    for read_pass in passes(
        source, levels, method, spread=workers.executor is not None, is_recorded=progress is not None
    ):
        shape = read_pass.meta.shape
        source_region = aligned(changed or whole_region(shape), read_pass.factors, shape)
        regions_of_passes.append((read_pass, source_region))
        count.expect(_voxels(source_region))
        changed = shrink(source_region, read_pass.factors)
    for read_pass, source_region in regions_of_passes:
        remaining = [source_region] if progress is None else list(progress.remaining(read_pass))
        count.add(_voxels(source_region) - sum(_voxels(unfinished) for unfinished in remaining))
        for unfinished in remaining:
            _compute_region(read_pass, unfinished, workers, progress, count)


def _voxels(region: Region) -> int:
    return prod(region_shape(region))


def _compute_region(
    read_pass: ReadPass,
    source_region: Region,
    workers: Workers,
    progress: PyramidProgress | None,
    count: Count,
) -> None:
    """Compute the voxels of a pass that depend on a region of its source, unit by unit."""

    def record(region: Region) -> None:
        if progress is not None:
            progress.record(read_pass, region)

    if workers.executor is None:
        for part in (
            [source_region] if progress is None else nested(source_region, [recorded_source_shape(read_pass)])
        ):
            record(compute_unit(PassUnit(read_pass, part, workers.jobs, count)))
    else:

        def done(region: Region) -> None:
            record(region)
            count.add(_voxels(region))

        units = (PassUnit(read_pass, part, 1) for part in nested(source_region, [read_pass.unit]))
        run(compute_unit, units, workers, done=done)


def compute_unit(unit: PassUnit) -> Region:
    """Compute the regions of a pass's levels that depend on a region of its source; return the region."""
    read_pass, region, reading_order = unit.read_pass, unit.region, order(unit.read_pass)
    dtype = read_pass.meta.dtype
    max_threads = max(2, _BLOCKS_BYTES // (prod(reading_order.block) * dtype.itemsize))
    threads = Workers(min(Workers(unit.jobs).count, max_threads))
    assemblers = [
        LevelAssembler(target.array, shrink(region, target.factors)) for target in read_pass.targets
    ]
    buffer = local()
    if any(max(target.step, default=1) > 1 for target in read_pass.targets):
        # Load the kernel here, so that not every thread does.
        downsample(np.zeros((2, 2), dtype), (2, 2), read_pass.method)
    at_once = len(read_pass.targets) > 1 and waits_for_requests(read_pass.targets[0].array)

    def reduce(part: Region, block: Array) -> None:
        blocks: list[tuple[LevelAssembler, Region, Array]] = []
        for target, assembler in zip(read_pass.targets, assemblers, strict=True):
            if max(target.step, default=1) > 1:  # not if the first target is the finest level itself
                block = downsample(block, target.step, read_pass.method)
            part = shrink(part, target.step)
            if at_once:
                blocks.append((assembler, part, block))
            else:
                assembler.add(part, block)
        if blocks:
            run(_add, blocks, Workers(len(blocks)))  # the requests of all levels are sent together

    def compute(part: Region) -> None:
        shape = region_shape(part)
        block = _memory(shape, dtype, buffer)
        read_pass.source.read(part, block)
        if unit.count is not None:
            unit.count.add(prod(shape))
        reduce(part, block)

    try:
        for part in nested(region, reading_order.shapes[:1]) if reading_order.one_by_one else [region]:
            run(compute, nested(part, reading_order.shapes), threads)
    except BaseException:
        for assembler in assemblers:
            assembler.abort()
        raise
    return region


def _add(part: tuple[LevelAssembler, Region, Array]) -> None:
    assembler, region, block = part
    assembler.add(region, block)


def _memory(shape: Shape, dtype: np.dtype[np.generic], buffer: local) -> Array:
    """Return a block in the worker's own buffer, which is reused: new pages cost as much as decoding."""
    if getattr(buffer, "memory", None) is None or buffer.memory.size < prod(shape):
        buffer.memory = np.empty(prod(shape), dtype)
    block: Array = buffer.memory[: prod(shape)].reshape(shape)
    return block
