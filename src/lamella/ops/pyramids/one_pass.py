"""One pass over the pixels of a level that computes several coarser ones.

Each block is read once, reduced to one level after the other while it is in the processor's cache, and passed to the
assembler of each level. A worker does all of this for one block, then takes the next: while one waits for the disk,
others decode, reduce or encode.

Layer: ops. :mod:`lamella.ops.pyramids.passes` plans the passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from threading import local
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.execution import Workers, run
from lamella.ops.progress import Count
from lamella.ops.pyramids.downsample import downsample
from lamella.ops.pyramids.kernels_loading import KeptBlocks
from lamella.ops.pyramids.level_assembler import LevelAssembler
from lamella.ops.pyramids.passes import ReadPass, order, part_box, passes, unit_box
from lamella.ops.regions import nested, region_shape, shrink, whole_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.pyramids.passes import PixelReader
    from lamella.ops.pyramids.progress import PyramidProgress
    from lamella.ops.regions import Region
    from lamella.store.arrays import StoredArray
    from lamella.types import Array, Shape

_BLOCKS_BYTES = 256 * 2**20
"""Maximum raw size of the blocks of all workers together, for more than two workers."""

_KEPT_BYTES = 128 * 2**20
"""Maximum raw size of the blocks that wait while the kernels are loaded."""


@dataclass(frozen=True)
class PassUnit:
    """A region of a pass that one machine computes: can be pickled, and repeated safely.

    Attributes
    ----------
    work
        The pass.
    region
        Region of its source.
    jobs
        Number of workers on that machine; one per processor for None.
    count
        Counts the voxels that are read; None for units that are sent elsewhere.
    """

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
    shape ``ceil(n / f)`` per axis. Only what depends on ``region`` of the source is computed, by default everything.
    ``progress`` knows the unfinished regions and records finished ones. ``count`` counts the voxels of the sources of
    all passes.
    """
    workers.check_reach(source.documents.storage)
    if 0 in source.meta.shape:
        return
    count = count or Count(None, "voxels")
    changed = region
    wholes = []
    for work in passes(
        source, levels, method, spread=workers.executor is not None, noted=progress is not None
    ):
        whole = work.aligned(changed or whole_region(work.source.meta.shape))
        wholes.append((work, whole))
        count.expect(_voxels(whole))
        changed = shrink(whole, work.factors)
    for work, whole in wholes:
        boxes = [whole] if progress is None else list(progress.remaining(work))
        count.add(_voxels(whole) - sum(_voxels(box) for box in boxes))
        for box in boxes:
            _make(work, box, workers, progress, count)


def _voxels(box: Region) -> int:
    return prod(region_shape(box))


def _make(
    work: ReadPass,
    box: Region,
    workers: Workers,
    progress: PyramidProgress | None,
    count: Count,
) -> None:
    """Compute what depends on a region of the source of a pass, in units."""

    def made(region: Region) -> None:
        if progress is not None:
            progress.record(work, region)

    if workers.executor is None:
        for part in [box] if progress is None else nested(box, [part_box(work)]):
            made(compute_unit(PassUnit(work, part, workers.jobs, count)))
    else:

        def done(region: Region) -> None:
            made(region)
            count.add(_voxels(region))

        units = (PassUnit(work, part, 1) for part in nested(box, [unit_box(work)]))
        run(compute_unit, units, workers, done=done)


def compute_unit(unit: PassUnit) -> Region:
    """Compute the parts of a pass's levels that depend on a region of its source; return the region."""
    work, region, way = unit.work, unit.region, order(unit.work)
    dtype = work.source.meta.dtype
    most = max(2, _BLOCKS_BYTES // (prod(way.block) * dtype.itemsize))
    threads = Workers(min(Workers(unit.jobs).count, most))
    sinks = [LevelAssembler(target.array, shrink(region, target.factors)) for target in work.targets]
    reduced = any(max(target.step, default=1) > 1 for target in work.targets)
    kept = KeptBlocks(work.method if reduced else "stride", dtype, _KEPT_BYTES if threads.count > 1 else 0)
    room = local()

    def reduce(box: Region, block: Array) -> None:
        for target, sink in zip(work.targets, sinks, strict=True):
            if max(target.step, default=1) > 1:  # not if the first target is the finest level itself
                block = downsample(block, target.step, work.method)
            box = shrink(box, target.step)
            sink.add(box, block)

    def compute(box: Region) -> None:
        block = _read(work.source, box, room)
        if unit.count is not None:
            unit.count.add(_voxels(box))
        if kept.keep(box, block):
            room.memory = None
            return
        reduce(box, block)
        while (other := kept.take()) is not None:
            reduce(*other)

    try:
        for part in nested(region, way.boxes[:1]) if way.apart else [region]:
            run(compute, nested(part, way.boxes), threads)
            run(lambda block: reduce(*block), kept.rest(), threads)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return region


def _read(source: PixelReader, box: Region, room: local) -> Array:
    """Read a block into the worker's own buffer, which is reused: new pages cost as much as decoding."""
    shape, dtype = region_shape(box), source.meta.dtype
    if getattr(room, "memory", None) is None or room.memory.size < prod(shape):
        room.memory = np.empty(prod(shape), dtype)
    block: Array = room.memory[: prod(shape)].reshape(shape)
    source.read_many([box], out=block[None])  # on this thread: the other workers are busy
    return block
