"""Record the progress of a large pyramid in the image's document, and check the record against the disk after a kill.

The record lists the unfinished regions of level 0. After a kill, the same call computes these regions, and also regions
whose files contradict the record: files of a level that are missing or cut off, and files of level 0 that are younger
than the job. A "source" is the level that a pass reads; a `Bounds` is a region as stored, ((0, 0), (512, 512)).

The record is described in :mod:`lamella.spec.stale_levels`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING
from uuid import uuid4

from lamella._version import __version__
from lamella.ops.pyramids import passes
from lamella.ops.pyramids.file_checks import is_complete
from lamella.ops.pyramids.plan import ended
from lamella.ops.regions import enlarge, region_shape, shrink
from lamella.spec.stale_levels import (
    MAX_UNFINISHED,
    PyramidJob,
    StaleLevels,
    add_region,
    read_stale,
    subtract_region,
    with_stale,
)
from lamella.store.chunk_grid import files_of
from lamella.store.keys import join
from lamella.store.storage import times_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.ops.pyramids.passes import ReadPass
    from lamella.ops.regions import Region
    from lamella.spec.stale_levels import Bounds
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.store.storage import Stamp
    from lamella.types import JSONObject, Shape

_EXACT = 2**31
"""Number of regions that are kept in memory; only the stored record merges regions to a few."""

_MOST_FAULTS = 100
"""A level with more damaged files than this is computed again as a whole."""


def begin_pyramid(
    position: Position,
    source: StoredArray,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: str,
    *,
    resume: bool,
    planned: Mapping[str, ArrayMeta] | None = None,
) -> PyramidProgress:
    """Mark all levels as stale until `PyramidProgress.ended`, and find the unfinished regions.

    ``levels`` are arrays with whole factors from the one before, ``planned`` describes levels that are not listed yet.
    With ``resume`` the finished regions of a killed call of the same job are skipped.
    """
    steps = [step for _, step in levels]
    metas = [array.meta for array, _ in levels] if planned is None else list(planned.values())
    work = _digest(position, source, [array.path for array, _ in levels], metas, steps, method)
    name = uuid4().hex[:8]
    writes = position.store_handle.writes
    if resume and read_stale(position.documents.group(position.path)).job is not None:
        writes.settle(position.path)  # regions that this process wrote to level 0 are computed again
    writes.forget(position.path)
    resumed: list[PyramidJob] = []

    def mark(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        if resume and _can_resume(stale, work, len(levels), len(source.meta.shape)):
            resumed.append(_with_regions(stale, name))
        job = resumed[0] if resumed else None
        if planned and job is None:  # so that another call can compare the job
            level_0 = (0,) * len(source.meta.shape), source.meta.shape
            job = PyramidJob(name, work, None, ((level_0,),) * len(levels))
        return with_stale(attributes, StaleLevels((name,), (), job, tuple(planned or ())))

    _, stamp = position.documents.edit_group(position.path, mark)
    return PyramidProgress(position, name, work, source, levels, stamp, resumed[0] if resumed else None)


def _digest(
    position: Position,
    source: StoredArray,
    paths: Sequence[str],
    metas: Sequence[ArrayMeta],
    steps: Sequence[Shape],
    method: str,
) -> str:
    """Return a digest of a job: a job with another version, array or method does not resume."""
    arrays = [
        [
            path.removeprefix(position.path),
            {key: value for key, value in meta.document.items() if key != "attributes"},
        ]
        for path, meta in zip([source.path, *paths], [source.meta, *metas], strict=True)
    ]
    text = json.dumps([__version__, method, arrays, steps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _can_resume(stale: StaleLevels, work: str, levels: int, ndim: int) -> bool:
    """Return whether a killed job was the same, and no other writer left unknown regions."""
    job = stale.job
    return (
        job is not None
        and job.work == work
        and stale.writers == (job.writer,)
        and len(job.rest) == levels
        and all(len(start) == len(stop) == ndim for start, stop in (*stale.regions, *sum(job.rest, start=())))
    )


def _with_regions(stale: StaleLevels, name: str) -> PyramidJob:
    """Add regions that were written meanwhile to the unfinished ones."""
    assert stale.job is not None
    rest = []
    for boxes in stale.job.rest:
        for box in stale.regions:
            boxes = add_region(boxes, box, _EXACT)  # noqa: PLW2901
        rest.append(boxes)
    return replace(stale.job, writer=name, rest=tuple(rest))


class PyramidProgress:
    """The unfinished regions of the levels of one image.

    ``name`` marks the job in the image's document, and ``work`` is its digest. ``stamp`` is that of the document with
    the mark; None in stores without stamps. ``before`` is the record of a killed call of the same job, from which
    `resume` continues; then the arrays of all levels must exist.
    """

    def __init__(
        self,
        position: Position,
        name: str,
        work: str,
        source: StoredArray,
        levels: Sequence[tuple[StoredArray, Shape]],
        stamp: Stamp | None,
        before: PyramidJob | None = None,
    ) -> None:
        self.name = name
        self.work = work
        self._position = position
        self._source = source
        self._shape = source.meta.shape
        self._levels = [array for array, _ in levels]
        self._factors: dict[str, Shape] = {}
        factors = (1,) * len(self._shape)
        for array, step in levels:
            factors = tuple(a * b for a, b in zip(factors, step, strict=True))
            self._factors[array.path] = factors
        self._whole: Bounds = ((0,) * len(self._shape), self._shape)
        self._rest: dict[str, tuple[Bounds, ...]] = {array.path: (self._whole,) for array in self._levels}
        self._finished: dict[tuple[str, ...], list[Bounds]] = {}
        self._unrecorded_bytes = 0
        # The document was written before level 0 was read: younger files were written meanwhile.
        times = None if stamp is None else times_of(stamp)
        self._since = None if times is None else times[0]
        self._before = before

    # -- while levels are made ------------------------------------------------------------------------------------

    def remaining(self, read_pass: ReadPass) -> list[Region]:
        """Return the unfinished regions of a pass's source, extended to whole files of all targets."""
        factors, shape, unit = (
            self._factors_of(read_pass),
            read_pass.source.meta.shape,
            passes.unit_box(read_pass),
        )
        boxes: tuple[Bounds, ...] = ()
        for target in read_pass.targets:
            for start, stop in self._rest[target.array.path]:
                box = shrink(tuple(map(slice, start, stop)), factors)
                files = [
                    (span.start // length * length, min(-(-span.stop // length) * length, size))
                    for span, length, size in zip(box, unit, shape, strict=True)
                ]
                boxes = add_region(boxes, (tuple(a for a, _ in files), tuple(b for _, b in files)), _EXACT)
        return [tuple(map(slice, start, stop)) for start, stop in sorted(boxes)]

    def record(self, read_pass: ReadPass, region: Region) -> None:
        """Record that the targets of a pass are finished for a region of its source; write the record every 512 MiB."""
        box = enlarge(region, self._factors_of(read_pass), self._shape)
        levels = tuple(target.array.path for target in read_pass.targets)
        done = tuple(span.start for span in box), tuple(span.stop for span in box)
        self._finished.setdefault(levels, []).append(done)
        self._unrecorded_bytes += prod(region_shape(region)) * read_pass.source.meta.dtype.itemsize
        if self._unrecorded_bytes >= passes.UNIT_BYTES:
            self._unrecorded_bytes = 0
            self._subtract_finished()
            if any(self._rest.values()):
                self._write_record()

    def _subtract_finished(self) -> None:
        """Subtract finished regions in order, while they stay few: every hole slows down later units."""
        for levels, boxes in self._finished.items():
            boxes.sort(reverse=True)
            while boxes:
                # Levels that are computed together remain together.
                remaining = {
                    unfinished: subtract_region(unfinished, boxes[-1], _EXACT)
                    for unfinished in {self._rest[path] for path in levels}
                }
                if any(len(after) > max(MAX_UNFINISHED, len(before)) for before, after in remaining.items()):
                    break
                self._rest.update({path: remaining[self._rest[path]] for path in levels})
                boxes.pop()

    def _factors_of(self, read_pass: ReadPass) -> Shape:
        """Return the factors from level 0 to the source of a pass."""
        first = read_pass.targets[0]
        return tuple(a // b for a, b in zip(self._factors[first.array.path], first.factors, strict=True))

    def _write_record(self) -> None:
        job = PyramidJob(self.name, self.work, self._since, tuple(self._rest.values()))

        def mark(attributes: JSONObject) -> JSONObject:
            stale = read_stale(attributes)
            # Another process that computes the levels has replaced our name.
            mine = self.name in stale.writers
            return with_stale(attributes, replace(stale, job=job)) if mine else attributes

        self._position.documents.edit_group(self._position.path, mark)

    # -- after a kill ---------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Skip the regions that a killed call finished, if their files agree with its record."""
        job, self._before = self._before, None
        if job is None:
            return
        if job.since is not None and self._since is None:
            return  # a copy in a store without times
        for array, boxes in zip(self._levels, job.rest, strict=True):
            self._rest[array.path] = tuple(self._clipped(boxes))
            for number, box in enumerate(self._missing(array)):
                is_few = number < _MOST_FAULTS
                self._rest[array.path] = (
                    add_region(self._rest[array.path], box, _EXACT) if is_few else (self._whole,)
                )
                if not is_few:
                    break
        if job.since is not None:
            done = {box for array in self._levels for box in self._done(array.path)}
            for number, box in enumerate(self._younger(job.since, sorted(done))):
                for path, boxes in self._rest.items():
                    self._rest[path] = (
                        add_region(boxes, box, _EXACT) if number < _MOST_FAULTS else (self._whole,)
                    )
                if number >= _MOST_FAULTS:
                    break

    def _clipped(self, boxes: Sequence[Bounds]) -> Iterator[Bounds]:
        """Limit regions to level 0, which may have been resized."""
        for start, stop in boxes:
            first = tuple(max(0, a) for a in start)
            last = tuple(min(b, n) for b, n in zip(stop, self._shape, strict=True))
            if all(a < b for a, b in zip(first, last, strict=True)):
                yield first, last

    def _done(self, path: str) -> tuple[Bounds, ...]:
        """Return the regions of level 0 that are finished for a level."""
        boxes: tuple[Bounds, ...] = (self._whole,)
        for box in self._rest[path]:
            boxes = subtract_region(boxes, box, _EXACT)
        return boxes

    def _missing(self, array: StoredArray) -> Iterator[Bounds]:
        """Yield the regions of files of a level that should be finished, and are missing or damaged."""
        factors, meta = self._factors[array.path], array.meta
        for start, stop in self._done(array.path):
            for file_index in files_of(meta, shrink(tuple(map(slice, start, stop)), factors)):
                if not is_complete(array, file_index):
                    region = enlarge(meta.file_region(file_index), factors, self._shape)
                    yield tuple(span.start for span in region), tuple(span.stop for span in region)

    def _younger(self, since: int, boxes: Iterable[Bounds]) -> Iterator[Bounds]:
        """Yield the regions of level 0's files, among some regions, that were written after a time."""
        meta = self._source.meta
        for start, stop in boxes:
            for file_index in files_of(meta, tuple(map(slice, start, stop))):
                if self._is_younger(meta.chunk_key(file_index), since):
                    region = meta.file_region(file_index)
                    yield tuple(span.start for span in region), tuple(span.stop for span in region)

    def _is_younger(self, key: str, since: int) -> bool:
        """Return whether a file of level 0 (for a missing file, its folder) was written at or after a time."""
        while True:
            stamp = self._source.documents.storage.stamp(join(self._source.path, key))
            if stamp is not None:
                times = times_of(stamp)
                return times is not None and max(times) >= since
            if not key:
                return False
            key = key.rpartition("/")[0]

    # -- at the end -----------------------------------------------------------------------------------------------

    def ended(self) -> Callable[[JSONObject], JSONObject]:
        """Return the change of the image's document that marks the levels as finished."""
        return ended(self.name, [self._source, *self._levels], self._written_since)

    def _written_since(self) -> Iterator[Bounds]:
        """Yield the regions of level 0 that were written since the job began; all of it in stores without times."""
        return iter([self._whole]) if self._since is None else self._younger(self._since, [self._whole])
