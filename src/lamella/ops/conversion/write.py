"""Writing the pixels of images: all levels in one pass over each source, in this process or on an executor.

Defines the units and runs them. ``store`` writes metadata, ``planes`` reads blocks, and
:mod:`lamella.ops.pyramids.one_pass` is the pass itself.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from lamella.ops.conversion.planes import PlanesArray
from lamella.ops.execution import run
from lamella.ops.jobs.journal import line_of
from lamella.ops.jobs.units import Files, files_of_region, is_done, state_of
from lamella.ops.pyramids.one_pass import PassUnit, compute_unit
from lamella.ops.pyramids.passes import UNIT_BYTES, passes, unit_box
from lamella.ops.regions import nested, region_shape, shrink, whole_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.execution import Workers
    from lamella.ops.jobs.journal import Journal, LocalFile
    from lamella.ops.progress import Count
    from lamella.ops.pyramids.passes import ReadPass
    from lamella.ops.regions import Region
    from lamella.store.arrays import StoredArray
    from lamella.types import Shape

_ALONE_BYTES = 16 << 20
"""Images up to this size are written by one thread each, if there are many."""

_PART_BYTES = 64 << 20
"""Minimum size of a unit of a large image, because each worker first lists the pages of the file."""


@dataclass(frozen=True)
class Work:
    """The pixels of one image: where they come from and where they go.

    Attributes
    ----------
    source : PlaneSource
        The pixels.
    levels : sequence of (StoredArray, tuple of int)
        The arrays to write, finest first, each with its factors from the one before: 1 for the first.
    """

    source: PlaneSource
    levels: Sequence[tuple[StoredArray, Shape]]

    @property
    def nbytes(self) -> int:
        """Size of the pixels of the first level."""
        return self.source.description.nbytes

    @property
    def whole(self) -> Region:
        """The region of all pixels."""
        return whole_region(self.source.description.shape)


@dataclass(frozen=True)
class _Unit:
    """An image, or a region of it; see `lamella.ops.jobs.units.Unit`.

    Attributes
    ----------
    number : int
        Of the image.
    first : PassUnit
        Levels that are computed from the source.
    rest : tuple of ReadPass
        Levels that are computed afterwards, from the levels of the whole image.
    """

    number: int
    first: PassUnit
    rest: tuple[ReadPass, ...] = ()

    @property
    def key(self) -> str:
        """Number of the image, and start of the region."""
        return f"{self.number} {[one.start for one in self.first.region]}"

    def writes(self) -> Files:
        """Return the files of all levels that the unit fills."""
        keys: list[str] = []
        storage = self.first.work.targets[0].array.documents.storage
        for work, region in (
            (self.first.work, self.first.region),
            *((one, whole_region(one.source.meta.shape)) for one in self.rest),
        ):
            for target in work.targets:
                keys += files_of_region(target.array, shrink(region, target.factors))
        return Files(storage, keys)


@dataclass(frozen=True)
class _Task:
    """A unit with its line in the journal, and the journal to record it in."""

    unit: _Unit
    line: list[Any] | None
    job: WriteJob


@dataclass(frozen=True)
class WriteJob:
    """The settings that all units of a conversion share.

    Attributes
    ----------
    digest : str
        Of the sources (their files by size, inode and times) and settings.
    place : LocalFile
        The journal.
    """

    digest: str
    place: LocalFile


@dataclass(frozen=True)
class _Done:
    """The result of a unit."""

    number: int
    planes: float
    sample: Sample


def write_images(
    images: Callable[[], Iterator[tuple[int, Work]]],
    sizes: Sequence[int],
    tally: Count,
    written: Callable[[int, Sample], None],
    journal: Journal[LocalFile],
    job: str,
    workers: Workers,
) -> None:
    """Write the pixels of all levels of images, and skip units that an interrupted call has finished.

    ``images`` yields the images with their numbers, each with its arrays, when it is needed; ``sizes`` are their sizes
    in bytes. ``written`` is called in this thread with the number and the contrast sample of each complete image.
    """
    executor = workers.executor
    many = len(sizes) >= workers.count and max(sizes) <= _ALONE_BYTES
    large: list[tuple[int, Work]] = []

    def task(unit: _Unit) -> _Task:
        return _Task(unit, journal.get(unit.key), WriteJob(job, journal.place))

    def small() -> Iterator[_Task]:
        for number, work in images():
            if executor is not None and work.nbytes > UNIT_BYTES:
                large.append((number, work))
            else:
                yield task(_whole(number, work, None if executor else tally, 1))

    def keep(done: _Done) -> None:
        if executor is not None:
            tally.add(done.planes)
        written(done.number, done.sample)

    if executor is not None or many:
        run(write_unit, small(), workers, done=keep)
        for number, work in large:
            written(number, _spread(number, work, tally, workers, task))
        return
    for number, work in images():
        for unit in _parts(_whole(number, work, tally, workers.jobs)):
            done = write_unit(task(unit))
        keep(done)


def write_unit(task: _Task) -> _Done:
    """Write a unit; of a finished one, read only the contrast sample."""
    unit, job = task.unit, task.job
    pixels, first = unit.first.work.source, unit.first
    assert isinstance(pixels, PlanesArray)
    done = task.line is not None and is_done(task.line, job.digest, state_of(unit.writes()))
    try:
        if done:
            pixels.sample(first.region)
        else:
            compute_unit(first)
    finally:
        pixels.source.close()
    if pixels.tally is not None:
        pixels.tally.add(0, "pyramid")
    if not done:
        for work in unit.rest:
            compute_unit(PassUnit(work, whole_region(work.source.meta.shape), first.jobs))
        job.place.append(line_of([unit.key, job.digest, state_of(unit.writes())]))
    box, height = region_shape(first.region), pixels.meta.shape[-2]
    return _Done(unit.number, prod(box[:-2]) * box[-2] / max(1, height), pixels.sampler.sample)


def _passes(work: Work, tally: Count | None, *, spread: bool) -> list[ReadPass]:
    pixels = PlanesArray(work.source, work.levels[0][0], tally)
    return passes(pixels, work.levels, "mean", spread=spread)


def _whole(number: int, work: Work, tally: Count | None, jobs: int | None) -> _Unit:
    first, *rest = _passes(work, tally, spread=False)
    return _Unit(number, PassUnit(first, work.whole, jobs), tuple(rest))


def _parts(whole: _Unit) -> Iterator[_Unit]:
    """Split a unit at file boundaries of its first pass; all parts share one contrast sampler."""
    boxes = list(nested(whole.first.region, [_part_shape(whole.first.work, UNIT_BYTES)]))
    for box in boxes:
        rest = whole.rest if box == boxes[-1] else ()
        yield replace(whole, first=replace(whole.first, region=box), rest=rest)


def _spread(
    number: int,
    work: Work,
    tally: Count,
    workers: Workers,
    task: Callable[[_Unit], _Task],
) -> Sample:
    """Write one image in parts on an executor; return the sample of all parts."""
    first, *rest = _passes(work, None, spread=True)
    sampler = PlanesArray(work.source, work.levels[0][0]).sampler

    def keep(done: _Done) -> None:
        tally.add(done.planes)
        sampler.merge(done.sample)

    parts = nested(work.whole, [_part_shape(first, _PART_BYTES)])
    units = (task(_Unit(number, PassUnit(first, part, 1))) for part in parts)
    run(write_unit, units, workers, done=keep)
    tally.add(0, "pyramid")
    for later in rest:
        later_units = (
            PassUnit(later, part, 1)
            for part in nested(whole_region(later.source.meta.shape), [unit_box(later)])
        )
        run(compute_unit, later_units, workers)
    return sampler.sample


def _part_shape(first: ReadPass, most: int) -> Shape:
    """Return the shape of the parts of a source: whole rows that fill whole files of every level, near a given size."""
    meta = first.source.meta
    part = [*unit_box(first)[:-1], meta.shape[-1]]
    for axis in reversed(range(meta.ndim - 1)):
        while part[axis] < meta.shape[axis] and 2 * prod(part) * meta.dtype.itemsize <= most:
            part[axis] = min(2 * part[axis], meta.shape[axis])
    return tuple(part)
