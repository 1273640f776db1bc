"""Read a level once, and compute several coarser levels from it.

A worker reads one block, reduces it to one level after the other while it is in the processor's cache, passes each
result to the assembler of its level, and continues with the next block. While one worker waits for the disk, others
decode, reduce or encode.

:mod:`lamella.ops.pyramids.passes` plans the passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from threading import local
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.execution import Count, Workers, run
from lamella.ops.pyramids.downsample import downsample
from lamella.ops.pyramids.level_assembler import LevelAssembler, waits_for_requests
from lamella.ops.pyramids.passes import ReadPass, order, part_box, passes, unit_box
from lamella.ops.regions import nested, region_shape, shrink, whole_region
from lamella.store.codec_threads import codec_threads, is_codec_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.pyramids.passes import PixelReader
    from lamella.ops.pyramids.progress import PyramidProgress
    from lamella.ops.regions import Region
    from lamella.store.arrays import StoredArray
    from lamella.types import Array, Shape

_BLOCKS_BYTES = 256 * 2**20
"""Maximum raw size of the blocks of all workers together, for more than two workers."""


@dataclass(frozen=True)
class PassUnit:
    """A region of a pass's source for one machine with ``jobs`` threads; ``count`` counts the voxels read."""

    work: ReadPass
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
    """Compute the pixels of levels, each from the one before.

    ``levels`` are arrays with their whole factors from the one before, finest first, of the source's dtype and the
    shape ``ceil(n / f)`` per axis. With ``region`` only voxels that depend on this region of the source are computed.
    ``progress`` knows the unfinished regions and records finished ones. ``count`` counts the voxels of the sources of
    all passes.
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
        source_region = read_pass.aligned(changed or whole_region(read_pass.source.meta.shape))
        regions_of_passes.append((read_pass, source_region))
        count.expect(_voxels(source_region))
        changed = shrink(source_region, read_pass.factors)
    for read_pass, source_region in regions_of_passes:
        remaining = [source_region] if progress is None else list(progress.remaining(read_pass))
        count.add(_voxels(source_region) - sum(_voxels(unfinished) for unfinished in remaining))
        for unfinished in remaining:
            _make(read_pass, unfinished, workers, progress, count)


def _voxels(region: Region) -> int:
    return prod(region_shape(region))


def _make(
    work: ReadPass,
    source_region: Region,
    workers: Workers,
    progress: PyramidProgress | None,
    count: Count,
) -> None:
    """Compute, in units, the voxels that depend on a region of the source of a pass."""

    def record(region: Region) -> None:
        if progress is not None:
            progress.record(work, region)

    if workers.executor is None:
        for part in [source_region] if progress is None else nested(source_region, [part_box(work)]):
            record(compute_unit(PassUnit(work, part, workers.jobs, count)))
    else:

        def done(region: Region) -> None:
            record(region)
            count.add(_voxels(region))

        units = (PassUnit(work, part, 1) for part in nested(source_region, [unit_box(work)]))
        run(compute_unit, units, workers, done=done)


def compute_unit(unit: PassUnit) -> Region:
    """Compute the regions of a pass's levels that depend on a region of its source; return the region."""
    work, region, reading_order = unit.work, unit.region, order(unit.work)
    dtype = work.source.meta.dtype
    most_threads = max(2, _BLOCKS_BYTES // (prod(reading_order.block) * dtype.itemsize))
    threads = Workers(min(Workers(unit.jobs).count, most_threads))
    assemblers = [LevelAssembler(target.array, shrink(region, target.factors)) for target in work.targets]
    buffer = local()
    needs_kernel = any(max(target.step, default=1) > 1 for target in work.targets)
    await_kernel = _loading_kernel(dtype, work.method) if needs_kernel else None

    at_once = len(work.targets) > 1 and waits_for_requests(work.targets[0].array)

    def reduce(box: Region, block: Array) -> None:
        blocks: list[tuple[LevelAssembler, Region, Array]] = []
        for target, assembler in zip(work.targets, assemblers, strict=True):
            if max(target.step, default=1) > 1:  # not if the first target is the finest level itself
                if await_kernel is not None:
                    await_kernel()
                block = downsample(block, target.step, work.method)
            box = shrink(box, target.step)
            if at_once:
                blocks.append((assembler, box, block))
            else:
                assembler.add(box, block)
        if blocks:
            run(_add, blocks, Workers(len(blocks)))  # the requests of all levels are sent together

    def compute(box: Region) -> None:
        block = _read(work.source, box, buffer)
        if unit.count is not None:
            unit.count.add(_voxels(box))
        reduce(box, block)

    try:
        for part in nested(region, reading_order.boxes[:1]) if reading_order.apart else [region]:
            run(compute, nested(part, reading_order.boxes), threads)
    except BaseException:
        for assembler in assemblers:
            assembler.abort()
        raise
    return region


def _loading_kernel(dtype: np.dtype[np.generic], method: Method) -> Callable[[], object] | None:
    """Load the kernel of a method once per process, while blocks are read and encoded; return what waits for it."""
    key = dtype.str, method
    if key in _LOADED:
        return None

    def load() -> None:
        downsample(np.zeros((2, 2), dtype), (2, 2), method)
        _LOADED.add(key)

    if is_codec_thread():  # these threads never wait for each other
        load()
        return None
    return codec_threads().submit(load).result


_LOADED: set[tuple[str, Method]] = set()
"""Dtypes and methods whose kernels this process has loaded."""


def _add(part: tuple[LevelAssembler, Region, Array]) -> None:
    assembler, box, block = part
    assembler.add(box, block)


def _read(source: PixelReader, region: Region, buffer: local) -> Array:
    """Read a block into the worker's own buffer, which is reused: new pages cost as much as decoding."""
    shape, dtype = region_shape(region), source.meta.dtype
    if getattr(buffer, "memory", None) is None or buffer.memory.size < prod(shape):
        buffer.memory = np.empty(prod(shape), dtype)
    block: Array = buffer.memory[: prod(shape)].reshape(shape)
    source.read_many([region], out=block[None])  # on this thread: the other workers are busy
    return block
