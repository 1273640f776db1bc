"""Write the pixels of images: all levels in one pass over each source, in this process or on an executor.

A unit is an image, or a region of a large one; :mod:`lamella.ops.pyramids.passes` computes its levels.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING

from lamella.ops.conversion.planes import PlanesArray
from lamella.ops.execution import run
from lamella.ops.jobs.units import Files, do_task, files_of_region, tasks
from lamella.ops.pyramids.passes import UNIT_BYTES, PassUnit, compute_unit, passes
from lamella.ops.regions import region_shape, shrink, split_region, whole_region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.execution import Count, Workers
    from lamella.ops.jobs.journal import Journal, LocalFile
    from lamella.ops.jobs.units import Task
    from lamella.ops.pyramids.passes import ReadPass
    from lamella.ops.regions import Region
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.storage import Storage
    from lamella.types import Shape

_SMALL_BYTES = 16 << 20
"""Images up to this size are written by one thread each, if there are many."""

_LARGE_UNIT_BYTES = 64 << 20
"""Approximate size of the units of a large image: not smaller, because each worker first lists the file's pages."""


@dataclass(frozen=True)
class ImageWrite:
    """The source of one image, and the levels to write, finest first, with factors from the level before.

    ``images`` is the number of images of a plate, which get one contrast together; 0 for an image with its own.
    """

    source: PlaneSource
    levels: Sequence[tuple[StoredArray, Shape]]
    images: int = 0

    @property
    def nbytes(self) -> int:
        """Size of the pixels of the first level."""
        return self.source.description.nbytes

    @property
    def whole(self) -> Region:
        """The region of all pixels."""
        return whole_region(self.source.description.shape)


@dataclass
class ImageUnit:
    """An image, or a region of it, as a unit of a job.

    ``source_unit`` reads the source and computes levels; ``later_passes`` compute levels that need a complete finer
    level. ``key`` names the unit in the journal; a complete image also has a line of its own (`key_of_image`).
    """

    number: int
    key: str
    source_unit: PassUnit
    later_passes: tuple[ReadPass, ...] = ()
    is_computed: bool = field(default=False, init=False)
    """Whether this call has computed the unit, and not an interrupted one."""
    units_per_task = 1

    @property
    def pixels(self) -> PlanesArray:
        """The pixels of the source."""
        pixels = self.source_unit.read_pass.source
        assert isinstance(pixels, PlanesArray)
        return pixels

    @property
    def size(self) -> int:
        """Raw size of the pixels of the region."""
        return prod(region_shape(self.source_unit.region)) * self.pixels.meta.dtype.itemsize

    @property
    def _storage(self) -> Storage:
        return self.source_unit.read_pass.targets[0].array.documents.storage

    def reads(self) -> Files:
        """Return no files: the digest of the job has those of all sources."""
        return Files(self._storage, ())

    def writes(self) -> Files:
        """Return the files of all levels."""
        keys: list[str] = []
        for read_pass, region in (
            (self.source_unit.read_pass, self.source_unit.region),
            *((later, whole_region(later.meta.shape)) for later in self.later_passes),
        ):
            for target in read_pass.targets:
                keys += files_of_region(target.array, shrink(region, target.factors))
        return Files(self._storage, keys)

    def do(self) -> None:
        """Read the source, and write all levels."""
        with closing(self.pixels.source):
            compute_unit(self.source_unit)
        if self.pixels.planes_read is not None:
            self.pixels.planes_read.add(0, "pyramid")
        for read_pass in self.later_passes:
            compute_unit(PassUnit(read_pass, whole_region(read_pass.meta.shape), self.source_unit.jobs))
        self.is_computed = True


@dataclass(frozen=True)
class _UnitResult:
    """The written planes, with fractions for some rows of a plane, and their contrast sample."""

    number: int
    planes: float
    sample: Sample


def key_of_image(number: int) -> str:
    """Return the key of an image in the journal."""
    return f"image {number}"


@dataclass(frozen=True)
class ImageWriter:
    """Write the pixels of all levels of images, and skip units that an interrupted call has finished."""

    tally: Count
    journal: Journal[LocalFile]
    job: str
    workers: Workers

    def write(
        self,
        images: Iterable[tuple[int, ImageWrite]],
        sizes: Sequence[int],
        finish_image: Callable[[int, Sample, bool], None],
    ) -> None:
        """Write images.

        ``images`` yields each image with its number, and creates its arrays, when it is needed; ``sizes`` are the sizes
        of all images in bytes. ``finish_image`` is called in this thread for each complete image with its number, its
        contrast sample, and whether its line is in the journal already: that of an image of one unit is.
        """
        are_many_small = len(sizes) >= self.workers.count and max(sizes) <= _SMALL_BYTES
        if self.workers.executor is not None or are_many_small:
            self._write_together(images, finish_image)
            return
        for number, image in images:
            units = list(_split_unit(_whole_unit(number, image, self.tally, self.workers.jobs)))
            for task in tasks(units, self.job, self.journal):
                result = write_unit(task)
            finish_image(number, result.sample, len(units) == 1)

    def _write_together(
        self, images: Iterable[tuple[int, ImageWrite]], finish_image: Callable[[int, Sample, bool], None]
    ) -> None:
        """Write many images at once; on an executor, write large images afterwards, each in regions."""
        executor = self.workers.executor
        large: list[tuple[int, ImageWrite]] = []  # filled while `_run` iterates over `small_units`

        def small_units() -> Iterator[ImageUnit]:
            for number, image in images:
                if executor is not None and image.nbytes > UNIT_BYTES:
                    large.append((number, image))
                else:
                    yield _whole_unit(number, image, None if executor else self.tally, 1)

        def collect(result: _UnitResult) -> None:
            if executor is not None:
                self.tally.add(result.planes)
            finish_image(result.number, result.sample, True)

        self._run(small_units(), collect)
        for number, image in large:
            finish_image(number, self._write_large(number, image), False)

    def _write_large(self, number: int, image: ImageWrite) -> Sample:
        """Write one image in regions on an executor; return the sample of the whole image."""
        first, *later = _passes(image, None, spread=True)
        sampler = PlanesArray(image.source, image.levels[0][0], images=image.images).sampler

        def collect(result: _UnitResult) -> None:
            self.tally.add(result.planes)
            sampler.merge(result.sample)

        regions = split_region(image.whole, [_unit_shape(first, _LARGE_UNIT_BYTES)])
        units = (
            ImageUnit(number, _key_of_region(number, region), PassUnit(first, region, 1))
            for region in regions
        )
        self._run(units, collect)
        self.tally.add(0, "pyramid")
        for read_pass in later:
            units_of_pass = (
                PassUnit(read_pass, region, 1)
                for region in split_region(whole_region(read_pass.meta.shape), [read_pass.unit])
            )
            run(compute_unit, units_of_pass, self.workers)
        return sampler.sample

    def _run(self, units: Iterable[ImageUnit], collect: Callable[[_UnitResult], None]) -> None:
        run(write_unit, tasks(units, self.job, self.journal), self.workers, on_result=collect)


def write_unit(task: Task) -> _UnitResult:
    """Write the unit of a task; of a finished one, read only the contrast sample."""
    ((unit, _),) = task.units
    assert isinstance(unit, ImageUnit)
    do_task(task)
    pixels, region = unit.pixels, unit.source_unit.region
    if not unit.is_computed:
        with closing(pixels.source):
            pixels.sample(region)
    shape, height = region_shape(region), pixels.meta.shape[-2]
    return _UnitResult(unit.number, prod(shape[:-2]) * shape[-2] / max(1, height), pixels.sampler.sample)


def _passes(image: ImageWrite, tally: Count | None, *, spread: bool) -> list[ReadPass]:
    pixels = PlanesArray(image.source, image.levels[0][0], tally, images=image.images)
    return passes(pixels, image.levels, "mean", on_executor=spread)


def _whole_unit(number: int, image: ImageWrite, tally: Count | None, jobs: int | None) -> ImageUnit:
    first, *later = _passes(image, tally, spread=False)
    return ImageUnit(number, key_of_image(number), PassUnit(first, image.whole, jobs), tuple(later))


def _split_unit(unit: ImageUnit) -> Iterator[ImageUnit]:
    """Split a unit at file boundaries of its first pass; all units share one contrast sampler."""
    source_unit = unit.source_unit
    regions = list(split_region(source_unit.region, [_unit_shape(source_unit.read_pass, UNIT_BYTES)]))
    if len(regions) == 1:
        yield unit
        return
    for region in regions:
        yield replace(
            unit,
            key=_key_of_region(unit.number, region),
            source_unit=replace(source_unit, region=region),
            later_passes=unit.later_passes if region == regions[-1] else (),
        )


def _key_of_region(number: int, region: Region) -> str:
    return f"{number} {[span.start for span in region]}"


def _unit_shape(first: ReadPass, nbytes: int) -> Shape:
    """Return the shape of units of a source: whole rows that fill whole files of every level, near a size in bytes."""
    meta = first.meta
    shape = [*first.unit[:-1], meta.shape[-1]]
    for axis in reversed(range(meta.ndim - 1)):
        while shape[axis] < meta.shape[axis]:
            longer = [*shape[:axis], min(2 * shape[axis], meta.shape[axis]), *shape[axis + 1 :]]
            if prod(longer) * meta.dtype.itemsize > nbytes:
                break
            shape = longer
    return tuple(shape)
