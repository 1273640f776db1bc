"""Plan and run the passes of a pyramid (docs/design.md).

A pass reads each block of one level (the source) once, and computes several coarser levels (the targets) from it.
Blocks begin at multiples of the coarsest factors and contain whole chunks of the source; their order keeps few chunks
of the targets incomplete. If the grids do not align, the next pass reads a level that this one wrote. Example: a pass
over level 0 in blocks of 512 x 512 writes 256 x 256 voxels of level 1 and 128 x 128 of level 2 for each block.
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
from lamella.ops.pyramids.level_assembler import LevelAssembler, unit_shape, writes_by_requests
from lamella.ops.regions import aligned, bounded_shape, region_shape, shrink, split_region, whole_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.pyramids.progress import PyramidProgress
    from lamella.ops.regions import Region
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array, Shape

BLOCK_BYTES = 2**20
"""Raw size of a block, which then stays in the processor's cache; a block of one larger chunk is larger."""

REQUESTED_BYTES = 32 * 2**20
"""Raw size of a block of a store at a URL, whose files are requested together."""

PENDING_BYTES = 64 * 2**20
"""Maximum raw size of the incomplete chunks and files of all targets of a pass."""

UNIT_BYTES = 512 * 2**20
"""Maximum raw size of the source of one unit on an executor, unless a file needs more; see `_fits_one_pass`."""
LARGEST_UNIT_BYTES = 32 * UNIT_BYTES
"""The same for units of threads of this process. A kill loses one such unit, which costs less than another pass."""

_LOSSLESS = frozenset(
    (
        *("bytes", "endian", "transpose", "sharding_indexed", "crc32c", "shuffle"),
        *("blosc", "zstd", "gzip", "zlib", "bz2", "lz4", "lzma"),
    )
)
"""Lossless codecs. After a level with another codec the next pass begins, because the stored voxels differ."""


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
    buffer_source: Shape
    """Shape of the source region from which one buffer of the level is computed (see `unit_shape`)."""
    file_source: Shape
    """Shape of the source region from which one file of the level is computed."""

    @classmethod
    def of(cls, array: StoredArray, step: Shape, factors: Shape) -> Target:
        """Describe a level to write."""
        meta = array.meta
        buffer_source, file_source = (
            tuple(length * factor for length, factor in zip(shape, factors, strict=True))
            for shape in (unit_shape(array, meta), meta.files)
        )
        return cls(array, step, factors, buffer_source, file_source)


@dataclass(frozen=True)
class ReadPass:
    """A pass over a level (``source``) that computes coarser ones (``targets``, finest first); can be pickled."""

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
        """Smallest shape of source regions from which whole files of every target are computed."""
        unit = self.factors
        for target in self.targets:
            unit = _least_common_shape(unit, target.file_source, self.meta.shape)
        return unit

    @cached_property
    def nested_shapes(self) -> list[Shape]:
        """Shapes of nested source regions: the smallest block, then for each target one that fills whole buffers."""
        shapes = [_least_common_shape(self.meta.chunks, self.factors, self.meta.shape)]
        for target in self.targets:
            shapes.append(_least_common_shape(shapes[-1], target.buffer_source, self.meta.shape))
        return shapes


def passes(
    source: PixelReader,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: Method,
    *,
    on_executor: bool = False,
    is_recorded: bool = False,
) -> list[ReadPass]:
    """Plan the passes that compute some levels, each from the coarsest target of the pass before.

    ``levels`` are arrays with their factors from the level before, finest first. The size of units is limited if they
    run on an executor (`UNIT_BYTES`) or if their progress is recorded (`LARGEST_UNIT_BYTES`).
    """
    planned: list[ReadPass] = []
    max_unit_bytes = UNIT_BYTES if on_executor else LARGEST_UNIT_BYTES if is_recorded else None
    for array, step in levels:
        targets = planned[-1].targets if planned else ()
        factors_before = targets[-1].factors if targets else (1,) * len(step)
        total = tuple(factor * step_factor for factor, step_factor in zip(factors_before, step, strict=True))
        extended = ReadPass(source, (*targets, Target.of(array, step, total)), method)
        if not targets:
            planned.append(extended)
        elif _fits_one_pass(extended, max_unit_bytes):
            planned[-1] = extended
        else:
            source = targets[-1].array
            planned.append(ReadPass(source, (Target.of(array, step, step),), method))
    return planned


def _fits_one_pass(read_pass: ReadPass, max_unit_bytes: int | None) -> bool:
    """Return whether one pass can compute all its targets from lossless levels, in bounded memory."""
    source = read_pass.meta
    if any(not _LOSSLESS.issuperset(target.array.meta.codecs) for target in read_pass.targets[:-1]):
        return False
    if max_unit_bytes is not None and _nbytes(read_pass.unit, source) > max_unit_bytes:
        return False
    block, *buffer_shapes = read_pass.nested_shapes
    largest_block = max(BLOCK_BYTES, _nbytes(source.chunks, source))
    return (
        _nbytes(block, source) <= largest_block
        and _pending_bytes(read_pass, block, buffer_shapes) <= PENDING_BYTES
    )


def _pending_bytes(read_pass: ReadPass, block: Shape, buffer_shapes: Sequence[Shape]) -> int:
    """Return the raw size of incomplete buffers of the targets, of a region and of the next one at their border."""
    source = read_pass.meta
    return 2 * sum(
        _nbytes(extent, source) // prod(target.factors)
        for extent, target in zip(buffer_shapes, read_pass.targets, strict=True)
        if extent != block  # else each block completes its buffer
    )


def _nbytes(shape: Shape, meta: ArrayMeta) -> int:
    return prod(shape) * meta.dtype.itemsize


def _least_common_shape(first: Shape, second: Shape, shape: Shape) -> Shape:
    """Return the smallest shape that is a multiple of both along each axis, or the whole axis."""
    return tuple(
        max(1, length if first_length >= length else min(length, lcm(first_length, second_length)))
        for first_length, second_length, length in zip(first, second, shape, strict=True)
    )


@dataclass(frozen=True)
class Order:
    """The order in which a pass reads its source."""

    shapes: tuple[Shape, ...]
    """Shapes of nested regions, the outermost first. The last is the block that a worker reads at once; the others fill
    whole files or buffers of a target."""
    one_by_one: bool
    """Whether an outermost region is finished before the next one begins, because its incomplete buffers are large."""

    @property
    def block(self) -> Shape:
        """Shape that a worker reads at once."""
        return self.shapes[-1]


def reading_order(read_pass: ReadPass) -> Order:
    """Choose the order of a pass in which few buffers are incomplete at a time."""
    source = read_pass.meta
    smallest, *buffer_shapes = read_pass.nested_shapes
    if (
        len(buffer_shapes) == 1
        and max(_nbytes(smallest, source), _pending_bytes(read_pass, smallest, buffer_shapes)) > PENDING_BYTES
    ):
        # The grids do not align: reading some chunks twice is better than keeping many in memory.
        smallest = tuple(
            -(-chunk // factor) * factor
            for chunk, factor in zip(source.chunks, read_pass.factors, strict=True)
        )
        buffer_shapes = [read_pass.targets[0].buffer_source]
    one_by_one = _pending_bytes(read_pass, smallest, buffer_shapes) > PENDING_BYTES
    max_bytes = REQUESTED_BYTES if writes_by_requests(read_pass.targets[0].array) else BLOCK_BYTES
    in_cache = [] if one_by_one else [shape for shape in buffer_shapes if _nbytes(shape, source) <= max_bytes]
    beyond_cache = buffer_shapes[len(in_cache) :]
    extent = beyond_cache[0] if beyond_cache else source.shape
    block = bounded_shape(extent, in_cache[-1] if in_cache else smallest, source.dtype.itemsize, max_bytes)
    files = [buffer_shapes[-1]]  # whole files one after the other: few are open at a time
    for target in read_pass.targets:
        files.append(_least_common_shape(files[-1], target.file_source, source.shape))
    return Order(
        (*reversed(files[1:]), *reversed(beyond_cache), tuple(max(1, length) for length in block)), one_by_one
    )


def recorded_source_shape(read_pass: ReadPass) -> Shape:
    """Return the shape of source regions after which progress is recorded: whole units, together up to `UNIT_BYTES`."""
    source = read_pass.meta
    shape = list(read_pass.unit)
    for axis in reversed(range(len(shape))):
        length = source.shape[axis]
        shape[axis] = min(length, shape[axis] * max(1, UNIT_BYTES // _nbytes(tuple(shape), source)))
        if shape[axis] < length:
            break
    return tuple(shape)


_ALL_BLOCKS_BYTES = 256 * 2**20
"""Maximum raw size of the blocks of all threads together; two threads may need more."""


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

    ``levels`` are arrays of the source's dtype and the shape ``ceil(length / factor)`` per axis, finest first, with
    their whole factors from the level before. With ``region`` only voxels that depend on this region of the source are
    computed. ``progress`` has the unfinished regions; ``count`` counts the voxels that all passes read.
    """
    workers.check_reach(source.documents.storage)
    if 0 in source.meta.shape:
        return
    count = count or Count(None, "voxels")
    changed_region = region
    regions_of_passes = []
    for read_pass in passes(
        source, levels, method, on_executor=workers.executor is not None, is_recorded=progress is not None
    ):
        shape = read_pass.meta.shape
        source_region = aligned(changed_region or whole_region(shape), read_pass.factors, shape)
        regions_of_passes.append((read_pass, source_region))
        count.expect(_voxels(source_region))
        changed_region = shrink(source_region, read_pass.factors)
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
        regions = (
            [source_region]
            if progress is None
            else split_region(source_region, [recorded_source_shape(read_pass)])
        )
        for region in regions:
            record(compute_unit(PassUnit(read_pass, region, workers.jobs, count)))
    else:

        def record_and_count(region: Region) -> None:
            record(region)
            count.add(_voxels(region))

        units = (PassUnit(read_pass, region, 1) for region in split_region(source_region, [read_pass.unit]))
        run(compute_unit, units, workers, on_result=record_and_count)


def compute_unit(unit: PassUnit) -> Region:
    """Compute the regions of a pass's levels that depend on a region of its source; return the region."""
    read_pass, region, order = unit.read_pass, unit.region, reading_order(unit.read_pass)
    dtype = read_pass.meta.dtype
    max_threads = max(2, _ALL_BLOCKS_BYTES // (prod(order.block) * dtype.itemsize))
    threads = Workers(min(Workers(unit.jobs).count, max_threads))
    assemblers = [
        LevelAssembler(target.array, shrink(region, target.factors)) for target in read_pass.targets
    ]
    thread_memory = local()
    if any(max(target.step, default=1) > 1 for target in read_pass.targets):
        # Load the kernel here, so that not every thread does.
        downsample(np.zeros((2, 2), dtype), (2, 2), read_pass.method)
    sends_together = len(read_pass.targets) > 1 and writes_by_requests(read_pass.targets[0].array)

    def add_to_targets(target_region: Region, block: Array) -> None:
        additions: list[tuple[LevelAssembler, Region, Array]] = []
        for target, assembler in zip(read_pass.targets, assemblers, strict=True):
            # The step is 1 if the source is written into this target, the finest level.
            if max(target.step, default=1) > 1:
                block = downsample(block, target.step, read_pass.method)
            target_region = shrink(target_region, target.step)
            if sends_together:
                additions.append((assembler, target_region, block))
            else:
                assembler.add(target_region, block)
        if additions:
            run(_add, additions, Workers(len(additions)))  # the requests of all levels are sent together

    def compute(region_part: Region) -> None:
        shape = region_shape(region_part)
        block = _reused_block(shape, dtype, thread_memory)
        read_pass.source.read(region_part, block)
        if unit.count is not None:
            unit.count.add(prod(shape))
        add_to_targets(region_part, block)

    try:
        for region_part in split_region(region, order.shapes[:1]) if order.one_by_one else [region]:
            run(compute, split_region(region_part, order.shapes), threads)
    except BaseException:
        for assembler in assemblers:
            assembler.abort()
        raise
    return region


def _add(addition: tuple[LevelAssembler, Region, Array]) -> None:
    assembler, region, block = addition
    assembler.add(region, block)


def _reused_block(shape: Shape, dtype: np.dtype[np.generic], thread_memory: local) -> Array:
    """Return a block in the thread's own memory, which is reused: new memory costs as much as decoding."""
    if getattr(thread_memory, "voxels", None) is None or thread_memory.voxels.size < prod(shape):
        thread_memory.voxels = np.empty(prod(shape), dtype)
    block: Array = thread_memory.voxels[: prod(shape)].reshape(shape)
    return block
