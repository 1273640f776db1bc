"""Record a pyramid that is being computed in the image's document, and check the record after a kill.

The record has a mark, the random name of the job, and the unfinished regions of each level, as regions of level 0.
After a kill, the same call computes these regions, and those whose files contradict the record: missing or truncated
files of a level, files of level 0 younger than the job. The image lists new levels when their pixels are complete. A
"source" is the level that a pass reads; `Bounds` are start and stop of a region: ((0, 0), (512, 512)).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from lamella._version import __version__
from lamella.errors import LamellaError, NodeExistsError, NodeNotFoundError
from lamella.ops.jobs.units import digest
from lamella.ops.pyramids import passes
from lamella.ops.regions import aligned, enlarge, overlap, region_shape, shrink
from lamella.spec.stale_levels import (
    MAX_REGIONS_OF_LEVEL,
    PyramidJob,
    StaleLevels,
    add_region,
    read_stale,
    subtract_region,
    with_stale,
)
from lamella.store.keys import is_key, join
from lamella.store.pixels.chunk_grid import files_of
from lamella.store.pixels.stored_files import inspect_stored_file
from lamella.store.storage import times_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.ops.pyramids.passes import ReadPass
    from lamella.ops.regions import Region
    from lamella.spec.images import ImagesMeta
    from lamella.spec.stale_levels import Bounds
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.storage import Stamp
    from lamella.types import JSONObject, Shape

_UNLIMITED = 2**31
"""Limit above which `add_region` merges regions: those in memory are never merged, those of the stored record are."""

_MAX_DAMAGED = 100
"""A level with more damaged files than this is computed again as a whole."""


def begin_pyramid(
    position: Position,
    source: StoredArray,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: str,
    stale: StaleLevels,
    *,
    resume: bool,
    planned: Mapping[str, ArrayMeta] | None = None,
) -> PyramidProgress:
    """Mark all levels as stale until `PyramidProgress.finish_edit`, and find the unfinished regions.

    ``levels`` are arrays with whole factors from the level before, ``stale`` is the present record, and ``planned`` has
    the metadata of levels that the image does not list yet, by path. With ``resume`` the finished regions of a killed
    call of the same job are skipped.
    """
    steps = [step for _, step in levels]
    metas = [array.meta for array, _ in levels] if planned is None else list(planned.values())
    digest = _digest(
        position, [source.path, *(array.path for array, _ in levels)], [source.meta, *metas], steps, method
    )
    name = uuid4().hex[:8]
    writes = position.store_handle.writes
    if resume and stale.job is not None:
        writes.settle(position.path)  # regions that this process wrote to level 0 are computed again
    writes.forget(position.path)
    resumed: list[PyramidJob] = []

    def write_mark(attributes: JSONObject) -> JSONObject:
        stale = read_stale(attributes)
        if resume and _can_resume(stale, digest, len(levels), len(source.meta.shape)):
            resumed.append(_job_with_written_regions(stale, name))
        job = resumed[0] if resumed else None
        if planned and job is None:  # so that another call can compare its own job with this one
            level_0 = (0,) * len(source.meta.shape), source.meta.shape
            job = PyramidJob(name, digest, None, ((level_0,),) * len(levels))
        return with_stale(attributes, StaleLevels((name,), (), job, tuple(planned or ())))

    _, stamp = position.documents.edit_group(position.path, write_mark)
    return PyramidProgress(position, name, digest, source, levels, stamp, resumed[0] if resumed else None)


def _digest(
    position: Position, paths: Sequence[str], metas: Sequence[ArrayMeta], steps: Sequence[Shape], method: str
) -> str:
    """Return a digest of a job: a job with another version, array or method does not resume."""
    image = position.path
    arrays = [
        [path.removeprefix(image), {**meta.document, "attributes": None}]
        for path, meta in zip(paths, metas, strict=True)
    ]
    return digest([__version__, method, arrays, steps])


def _can_resume(stale: StaleLevels, digest: str, level_count: int, ndim: int) -> bool:
    """Return whether a killed job was the same, and no other writer left unknown regions."""
    job = stale.job
    return (
        job is not None
        and job.digest == digest
        and stale.writers == (job.writer,)
        and len(job.unfinished) == level_count
        and all(
            len(start) == len(stop) == ndim
            for start, stop in (*stale.regions, *sum(job.unfinished, start=()))
        )
    )


def _job_with_written_regions(stale: StaleLevels, name: str) -> PyramidJob:
    """Return the stored job with a new name; regions of level 0 that were written meanwhile are unfinished too."""
    assert stale.job is not None
    remaining = []
    for regions in stale.job.unfinished:
        for bounds in stale.regions:
            regions = add_region(regions, bounds, _UNLIMITED)  # noqa: PLW2901
        remaining.append(regions)
    return replace(stale.job, writer=name, unfinished=tuple(remaining))


def finish_edit(
    name: str,
    arrays: Sequence[StoredArray],
    mixed_regions: Callable[[], Iterable[Bounds]],
    *,
    is_alone: bool = True,
) -> Callable[[JSONObject], JSONObject]:
    """Return the edit of an image's document that removes the mark of unfinished levels with a given name.

    Regions that others wrote meanwhile stay stale, and all levels do if an array no longer has its planned shape. With
    ``is_alone`` false another job may have computed the levels at the same time, so that files of a level may be those
    of either job: then the regions of level 0 that ``mixed_regions`` returns become stale.
    """

    def without_mark(attributes: JSONObject) -> JSONObject:
        stale, regions = read_stale(attributes), resized_region(arrays)
        if not regions and (not is_alone or name not in stale.writers):
            regions = list(mixed_regions())
        return with_stale(attributes, replace(stale.without_writer(name, regions), unlisted=()))

    return without_mark


@contextmanager
def reading_again(position: Position, arrays: Sequence[StoredArray]) -> Iterator[None]:
    """Read the documents of an image and of its levels again, in one round, for the end of a job."""
    documents = position.documents
    with documents.storage.reading_once(position.path):
        documents.request_ahead([position.path], arrays=[array.path for array in arrays], at_once=True)
        yield


def resized_region(arrays: Sequence[StoredArray]) -> list[Bounds]:
    """Return the whole region of level 0, the first of the arrays, if an array no longer has its planned shape."""
    shapes = [array.documents.array(array.path).shape for array in arrays]
    if all(shapes[0]) and shapes != [array.meta.shape for array in arrays]:
        return [((0,) * len(shapes[0]), shapes[0])]
    return []


def _region(bounds: Bounds) -> Region:
    return tuple(map(slice, *bounds))


def _bounds(region: Region) -> Bounds:
    return tuple(span.start for span in region), tuple(span.stop for span in region)


class PyramidProgress:
    """The unfinished regions of the levels of one image.

    ``name`` marks the job in the image's document, and ``digest`` identifies its settings. ``stamp`` is that of the
    document with the mark; None in stores without stamps. `resume` continues from ``record``, which a killed call of
    the same job has written; the arrays of all levels must exist then.
    """

    def __init__(
        self,
        position: Position,
        name: str,
        digest: str,
        source: StoredArray,
        levels: Sequence[tuple[StoredArray, Shape]],
        stamp: Stamp | None,
        record: PyramidJob | None = None,
    ) -> None:
        self.name = name
        self.digest = digest
        self._position = position
        self._source = source
        self._shape = source.meta.shape
        self._levels = [array for array, _ in levels]
        self._factors: dict[str, Shape] = {}
        factors = (1,) * len(self._shape)
        for array, step in levels:
            factors = tuple(factor * step_factor for factor, step_factor in zip(factors, step, strict=True))
            self._factors[array.path] = factors
        self._whole_level_0: Bounds = ((0,) * len(self._shape), self._shape)
        self._unfinished: dict[str, tuple[Bounds, ...]] = {
            array.path: (self._whole_level_0,) for array in self._levels
        }
        self._finished_by_levels: dict[tuple[str, ...], list[Bounds]] = {}
        self._unrecorded_bytes = 0
        # The document was written before level 0 was read: files of level 0 that are younger were written meanwhile.
        times = None if stamp is None else times_of(stamp)
        self._start_time = None if times is None else times[0]
        self._killed_record = record

    # -- while levels are computed ------------------------------------------------------------------------------------

    def remaining(self, read_pass: ReadPass) -> list[Region]:
        """Return the unfinished regions of a pass's source, extended to whole files of all targets."""
        factors, unit = self._factors_of(read_pass), read_pass.unit
        regions: tuple[Bounds, ...] = ()
        for target in read_pass.targets:
            for bounds in self._unfinished[target.array.path]:
                files = aligned(shrink(_region(bounds), factors), unit, read_pass.meta.shape)
                regions = add_region(regions, _bounds(files), _UNLIMITED)
        return [_region(bounds) for bounds in sorted(regions)]

    def record(self, read_pass: ReadPass, region: Region) -> None:
        """Record that the targets of a pass are finished for a region of its source; write the record every 512 MiB."""
        in_level_0 = enlarge(region, self._factors_of(read_pass), self._shape)
        levels = tuple(target.array.path for target in read_pass.targets)
        self._finished_by_levels.setdefault(levels, []).append(_bounds(in_level_0))
        self._unrecorded_bytes += prod(region_shape(region)) * read_pass.meta.dtype.itemsize
        if self._unrecorded_bytes >= passes.UNIT_BYTES:
            self._unrecorded_bytes = 0
            self._subtract_finished()
            if any(self._unfinished.values()):
                self._write_record()

    def _subtract_finished(self) -> None:
        """Subtract finished regions from the unfinished ones; stop before one that would leave too many regions."""
        for levels, regions in self._finished_by_levels.items():
            regions.sort(reverse=True)
            while regions:
                # The levels of a pass often have equal unfinished regions: compute the difference once for them.
                remaining = {
                    unfinished: subtract_region(unfinished, regions[-1], _UNLIMITED)
                    for unfinished in {self._unfinished[path] for path in levels}
                }
                if any(
                    len(after) > max(MAX_REGIONS_OF_LEVEL, len(before)) for before, after in remaining.items()
                ):
                    break
                self._unfinished.update({path: remaining[self._unfinished[path]] for path in levels})
                regions.pop()

    def _factors_of(self, read_pass: ReadPass) -> Shape:
        """Return the factors from level 0 to the source of a pass."""
        first = read_pass.targets[0]
        return tuple(
            to_target // to_source
            for to_target, to_source in zip(self._factors[first.array.path], first.factors, strict=True)
        )

    def _write_record(self) -> None:
        job = PyramidJob(self.name, self.digest, self._start_time, tuple(self._unfinished.values()))

        def write_record(attributes: JSONObject) -> JSONObject:
            stale = read_stale(attributes)
            is_ours = self.name in stale.writers  # else another process computes the levels
            return with_stale(attributes, replace(stale, job=job)) if is_ours else attributes

        self._position.documents.edit_group(self._position.path, write_record)

    # -- after a kill ---------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Skip the regions that a killed call finished, if their files agree with its record."""
        job, self._killed_record = self._killed_record, None
        if job is None:
            return
        if job.since is not None and self._start_time is None:
            return  # the store was copied to one without times, so the files cannot be compared with the record
        for array, regions in zip(self._levels, job.unfinished, strict=True):
            self._unfinished[array.path] = tuple(self._clipped(regions))
            self._add_unfinished([array.path], self._damaged(array))
        if job.since is not None:
            finished = {bounds for array in self._levels for bounds in self._finished_regions(array.path)}
            self._add_unfinished(list(self._unfinished), self._written_after(job.since, sorted(finished)))

    def _add_unfinished(self, levels: Sequence[str], regions: Iterable[Bounds]) -> None:
        """Add regions to the unfinished ones of levels; all of level 0 if there are more than `_MAX_DAMAGED`."""
        added = list(islice(regions, _MAX_DAMAGED + 1))
        for bounds in added if len(added) <= _MAX_DAMAGED else [self._whole_level_0]:
            for path in levels:
                self._unfinished[path] = add_region(self._unfinished[path], bounds, _UNLIMITED)

    def _clipped(self, regions: Sequence[Bounds]) -> Iterator[Bounds]:
        """Limit regions to level 0, which may have been resized."""
        for bounds in regions:
            region = overlap(_region(bounds), _region(self._whole_level_0))
            if 0 not in region_shape(region):
                yield _bounds(region)

    def _finished_regions(self, path: str) -> tuple[Bounds, ...]:
        """Return the regions of level 0 that are finished for a level."""
        regions: tuple[Bounds, ...] = (self._whole_level_0,)
        for bounds in self._unfinished[path]:
            regions = subtract_region(regions, bounds, _UNLIMITED)
        return regions

    def _damaged(self, array: StoredArray) -> Iterator[Bounds]:
        """Yield the regions of files of a level that the record calls finished, and that are missing or damaged."""
        factors, meta = self._factors[array.path], array.meta
        for bounds in self._finished_regions(array.path):
            for file_index in files_of(meta, shrink(_region(bounds), factors)):
                if not is_complete(array, file_index):
                    yield _bounds(enlarge(meta.file_region(file_index), factors, self._shape))

    def _written_after(self, since: int, regions: Iterable[Bounds]) -> Iterator[Bounds]:
        """Yield the regions of the files of level 0 that overlap some regions, and were written after a time."""
        meta = self._source.meta
        for bounds in regions:
            for file_index in files_of(meta, _region(bounds)):
                if self._is_written_after(meta.chunk_key(file_index), since):
                    yield _bounds(meta.file_region(file_index))

    def _is_written_after(self, key: str, since: int) -> bool:
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

    def finish_edit(self) -> Callable[[JSONObject], JSONObject]:
        """Return the change of the image's document that marks the levels as finished."""
        return finish_edit(self.name, [self._source, *self._levels], self._written_since)

    def _written_since(self) -> Iterator[Bounds]:
        """Yield the regions of level 0 that were written since the job began; all of it in stores without times."""
        return (
            iter([self._whole_level_0])
            if self._start_time is None
            else self._written_after(self._start_time, [self._whole_level_0])
        )


MarkType = TypeVar("MarkType")


def stored_stale(position: Position) -> StaleLevels:
    """Read the record of stale and unlisted levels of an image."""
    stored, _ = position.documents.stored_group(position.path)
    return read_stale(stored.attributes)


def unlisted_levels(stale: StaleLevels, listed: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of levels that a running or killed call records but that the image does not list."""
    return tuple(path for path in stale.unlisted if is_key(path) and path not in listed)


def create_unlisted_arrays(
    position: Position, levels: Mapping[str, ArrayMeta], mark: Callable[[StaleLevels], MarkType]
) -> MarkType:
    """Create the arrays of new levels, or reuse equal ones of a killed call; ``mark`` records the levels before.

    Return the result of ``mark``.
    """
    documents = position.documents
    new_arrays = {position.node_path.child(path).path: meta for path, meta in levels.items()}
    with documents.lock(position.path):  # so that no other process creates levels meanwhile
        documents.request_ahead([position.path, *new_arrays], arrays=new_arrays, at_once=True)
        listed = refuse_other_levels(position, position.document.refresh())
        stale = stored_stale(position)
        unlisted = unlisted_levels(stale, listed)
        refuse_occupied(position, {path: meta for path, meta in levels.items() if path not in unlisted})
        reusable = [path for path in levels if path in unlisted and _is_stored(position, path, levels[path])]
        _delete_arrays(position, (path for path in unlisted if path not in reusable))
        marked = mark(stale)
        # Reusable arrays too: a kill may have happened between the files of their documents.
        documents.put_arrays(new_arrays, is_new=not unlisted)  # `refuse_occupied` has checked the others
    return marked


def publish_levels(
    position: Position,
    levels: Iterable[str],
    name: str,
    change: Callable[[ImagesMeta], ImagesMeta],
    finish: Callable[[JSONObject], JSONObject],
    digest: str | None = None,
) -> None:
    """List levels whose pixels are complete, and remove their mark, in one write of the document.

    If two calls compute the same levels, the first to finish lists them, and they stay stale until the other finishes.
    ``change`` lists the levels, ``finish`` removes the mark of the job with this name, and ``digest`` identifies its
    settings. Raise NodeExistsError if another call has begun other levels or another method, and NodeNotFoundError if
    the levels were deleted.
    """
    paths = list(levels)
    listed: list[str] = []

    def list_levels(meta: ImagesMeta) -> ImagesMeta:
        listed.extend(meta.multiscales[0].get_dataset_paths())
        return change(meta)

    def without_mark(attributes: JSONObject) -> JSONObject:
        _check_not_overtaken(position, paths, listed, read_stale(attributes), name, digest)
        return finish(attributes)

    try:
        position.document.edit(list_levels, edit_attributes=without_mark)
    except NodeExistsError:
        _mark_as_mixed(position, name)
        raise


def refuse_overtaken(position: Position, levels: Iterable[str], name: str, digest: str | None) -> None:
    """Raise, as `publish_levels` does, if another call has replaced or deleted the levels."""
    listed = position.document.refresh().multiscales[0].get_dataset_paths()
    stale = stored_stale(position)
    try:
        _check_not_overtaken(position, list(levels), listed, stale, name, digest)
    except NodeExistsError:
        _mark_as_mixed(position, name)
        raise


def _check_not_overtaken(
    position: Position, paths: list[str], listed: list[str], stale: StaleLevels, name: str, digest: str | None
) -> None:
    """Raise if the document no longer has the mark of the job ``name``, and does not list its levels either."""
    if stale.has_writer(name):
        return
    is_other_job = stale.job is not None and stale.job.digest != digest
    if stale.unlisted and (is_other_job or set(stale.unlisted) != set(paths)):
        raise NodeExistsError(
            f"The levels {paths} of {position.node_path} are not listed: another call began to make the levels "
            f"{list(stale.unlisted)} meanwhile. Call compute_pyramid() again when it has ended."
        )
    if not set(paths) <= {*listed, *stale.unlisted}:
        raise NodeNotFoundError(
            f"The levels {paths} of {position.node_path} are not listed: they were deleted while they were computed."
        )


def _mark_as_mixed(position: Position, name: str) -> None:
    """Record that our pixels may mix with those of another job, so that its levels stay stale when it finishes."""
    position.documents.edit_group(
        position.path, lambda old: with_stale(old, read_stale(old).with_writer(name))
    )


def delete_unlisted_levels(position: Position) -> None:
    """Delete unlisted levels of a killed call, and their mark."""
    with position.documents.lock(position.path):
        delete_unlisted_levels_under_lock(position)


def delete_unlisted_levels_under_lock(position: Position) -> None:
    """Delete unlisted levels, as `delete_unlisted_levels` does, for callers that have locked the image."""
    documents = position.documents
    stale = stored_stale(position)
    if stale.unlisted:
        _delete_arrays(position, unlisted_levels(stale, position.dataset_paths))
        position.store_handle.writes.forget(position.path)
        documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))


def refuse_other_levels(position: Position, meta: ImagesMeta) -> list[str]:
    """Return the only level of an image; raise if another call has created levels since this one began."""
    paths = meta.multiscales[0].get_dataset_paths()
    if len(paths) != 1:
        raise NodeExistsError(
            f"Cannot create levels of {position.node_path}: another call created some meanwhile. "
            f"Its levels are {paths}."
        )
    return paths


def refuse_occupied(position: Position, levels: Mapping[str, ArrayMeta]) -> None:
    """Raise if unlisted nodes exist at the paths of new levels."""
    occupied = [path for path, array in levels.items() if not _is_free(position, path, array)]
    if occupied:
        raise NodeExistsError(
            f"The levels {occupied} of {position.node_path} are there already, but its metadata do not list them. "
            "Delete these arrays first."
        )


def _is_free(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Return whether a level's path is empty, or has an empty array of the same killed call."""
    node_path = position.node_path.child(path)
    documents = node_path.store_handle.documents
    kind = documents.kind(node_path.path)
    if kind != "array" or not position.is_unwritten(path):
        return kind is None
    stored = documents.array(node_path.path)
    return (stored.shape, stored.dtype) == (planned.shape, planned.dtype)


def _is_stored(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Return whether a level's array has the planned document."""
    node_path = position.node_path.child(path).path
    if position.documents.kind(node_path) != "array":
        return False
    return bool(position.documents.array(node_path).document == planned.document)


def _delete_arrays(position: Position, levels: Iterable[str]) -> None:
    for path in levels:
        node_path = position.node_path.child(path).path
        if position.documents.kind(node_path) == "array":
            position.documents.delete(node_path)


def is_complete(array: StoredArray, file_index: Shape) -> bool:
    """Return whether a file exists with all of its chunks, by its size, header and index."""
    meta = array.meta
    try:
        file = inspect_stored_file(array.documents.storage, array.path, meta, file_index)
    except LamellaError:
        return False
    if file is None or file.reason:
        return False
    lengths = region_shape(meta.file_region(file_index))
    chunks_inside = tuple(
        slice(0, -(-length // chunk)) for length, chunk in zip(lengths, meta.chunks, strict=True)
    )
    return bool(file.present[chunks_inside].all())
