"""Apply a function of the user over a plate, to each position or to each region of its pixels.

A unit is a position or a region. Its result is stored completely and recorded (:mod:`lamella.ops.plates.map_records`)
before the unit counts as done, so that the same call resumes a killed run. All arguments are checked before anything is
created.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import InvalidArgumentError, UnitsFailedError
from lamella.log import logged
from lamella.models import TransformationMeta
from lamella.nodes.position import Position
from lamella.nodes.position_arrays import ArrayRequest
from lamella.ops.execution import Workers, run
from lamella.ops.jobs.units import is_done
from lamella.ops.plates import map_output
from lamella.ops.plates.function_digest import NoDigestError, function_digest
from lamella.ops.plates.map_records import (
    LABELS,
    PositionRecord,
    begin_result,
    exists,
    is_recorded,
    refuse_results_of_others,
    region_journal,
    region_name,
    region_state,
    without_records,
)
from lamella.ops.plates.map_request import MapRequest, checked_request
from lamella.ops.progress import Count, reporting
from lamella.ops.regions import Region, region_shape, regions
from lamella.spec.geometry import find_dataset
from lamella.store.documents import array_like
from lamella.store.storage import with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.plate import Plate
    from lamella.ops.jobs.journal import Journal, JournalFile
    from lamella.ops.progress import Progress
    from lamella.types import StrPath


@dataclass(repr=False)
class MapReport:
    """The result of `Plate.map`. True if nothing failed.

    Attributes
    ----------
    output
        The plate with the results.
    done, skipped
        Number of computed units, and of units whose result existed already.
    values
        Return values of the function by path of the position, if they are not stored.
    failed
        Reason of each failure, by the path of the position, or of the array and the region.

    Examples
    --------
    >>> import lamella
    >>> report = plate.map(lambda position: len(position.channel_names))
    >>> bool(report), report.values["A/1/0"], report.failed
    (True, 2, {})
    """

    output: Plate
    done: int = 0
    skipped: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        numbers = f"{self.done} done, {self.skipped} skipped, {len(self.failed)} failed"
        return f"<MapReport {self.output.node_path}: {numbers}>"

    def __bool__(self) -> bool:
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary; `values` are as the function returned them.

        Examples
        --------
        >>> plate.map(lambda position: len(position.channel_names)).to_dict()["values"]["A/1/0"]
        2
        """
        return {
            "output": str(self.output.node_path),
            "done": self.done,
            "skipped": self.skipped,
            "values": dict(self.values),
            "failed": dict(self.failed),
        }

    def _add(self, outcome: _Outcome, *, keep_value: bool) -> None:
        if outcome.fault:
            self.failed[outcome.unit] = outcome.fault
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.done += 1
            if keep_value:
                self.values[outcome.unit] = outcome.value


class _Outcome(NamedTuple):
    unit: str
    value: Any = None
    skipped: bool = False
    fault: str = ""
    region: Region | None = None
    states: list[str | None] | None = None


@dataclass(frozen=True)
class _Task:
    """The settings of all units: the function, its digest, and the name of the results."""

    function: Callable[[Any], Any]
    digest: str | None
    name: str | None
    level: str
    retries: int
    resume: bool

    def call(self, make: Callable[[], Any]) -> tuple[Any, str]:
        """Call a function until it succeeds or the retries are used up; return its value, or the last error."""
        fault = ""
        for _ in range(self.retries + 1):
            try:
                return make(), ""
            except Exception as error:
                fault = f"{type(error).__name__}: {error}"
        return None, fault


@dataclass(frozen=True)
class _PositionUnit:
    task: _Task
    path: str
    source: Position
    target: Position

    def do(self) -> _Outcome:
        name = self.task.name
        if name is None:
            value, fault = self.task.call(lambda: self.task.function(self.source))
            return _Outcome(self.path, value, fault=fault)
        record = PositionRecord(self.source, self.target, name, self.task.digest)
        record.look_at_source()
        if self.task.resume and record.is_done():
            return _Outcome(self.path, skipped=True)

        def make() -> None:
            record.look_at_source()
            self._store(name, self.task.function(self.source))
            record.finish()

        return _Outcome(self.path, fault=self.task.call(make)[1])

    def _store(self, name: str, result: Any) -> None:
        if not hasattr(result, "shape"):
            raise InvalidArgumentError(
                f"the function returned {type(result).__name__} for {self.path}, not an array to store as {name!r}"
            )
        begin_result(self.target, name)
        _discard(self.target, name)
        if name.startswith(LABELS):
            self.target.labels.create(name.removeprefix(LABELS), result)
            return
        options: dict[str, Any] = {"chunks": "auto"}
        if self.task.level in self.source.dataset_paths:
            finest = self.source[self.task.level]
            options = map_output.layout_like(
                finest.meta, result.shape, self.target.store_handle.version.zarr_format
            )
            if finest.shape[-2:] == tuple(result.shape)[-2:] and finest.ndim == len(result.shape):
                options["transform"] = _transform(self.source, self.task.level, self.target)
        self.target.create_from(name, result, {"transform": None, **options}, is_result=True)


@dataclass(frozen=True)
class _RegionUnit:
    task: _Task
    path: str
    source: ImageArray
    target: ImageArray
    region: Region
    line: list[Any] | None
    """Its line in the journal."""

    def do(self) -> _Outcome:
        unit = f"{self.path}/{self.task.level} {[[part.start, part.stop] for part in self.region]}"
        if self.line is not None and is_done(
            self.line, region_state(self.source, self.region), region_state(self.target, self.region)
        ):
            return _Outcome(unit, skipped=True)
        states: list[str | None] = []

        def make() -> None:
            before = region_state(self.source, self.region) if self.task.digest else None
            result = np.asarray(self.task.function(self.source[self.region]))
            if result.shape != region_shape(self.region):
                raise InvalidArgumentError(
                    f"the function returned an array of shape {result.shape} for one of {region_shape(self.region)}"
                )
            self.target[self.region] = result
            states[:] = before, region_state(self.target, self.region) if self.task.digest else None

        fault = self.task.call(make)[1]
        return _Outcome(unit, fault=fault, region=self.region, states=None if None in states else states)


def map_plate(
    plate: Plate,
    function: Callable[[Any], Any],
    *,
    over: str = "positions",
    level: str = "0",
    name: str | None = None,
    output: StrPath | Store | None = None,
    channel_names: Sequence[str] | None = None,
    dtype: DTypeLike | None = None,
    positions: Iterable[str] | None = None,
    retries: int = 0,
    resume: bool = True,
    check: bool = True,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> MapReport:
    """Apply a function over a plate; see :meth:`Plate.map`."""
    workers = Workers(jobs, executor)
    workers.check_reach(plate.documents.storage)
    request = checked_request(
        plate,
        function,
        over,
        level,
        name,
        with_options(output, storage_options),
        channel_names,
        dtype,
        positions,
        retries,
        resume,
        progress,
        workers,
    )
    target = _target(plate, request, workers)
    task = _task(request, target)
    journals: dict[str, Journal[JournalFile]] = {}
    if over == "regions":
        total, units = _region_units(task, request, target, journals)
    else:
        total, units = len(request.chosen), _position_units(task, request.chosen, target)
    report = MapReport(target)
    with logged("Apply %r over %s of %s", function, over, plate.node_path), reporting(progress, over) as show:
        _run(units, report, task, journals, Count(show, over, total), workers)
    report.values = {path: report.values[path] for path in request.chosen if path in report.values}
    if check and report.failed:
        unit, fault = next(iter(report.failed.items()))
        raise UnitsFailedError(
            f"{len(report.failed)} of {total} units failed; the results of the others are stored. The first, {unit}: "
            f"{fault}. Fix the cause and make the same call again: finished work is skipped."
        )
    return report


def _run(
    units: Iterator[_PositionUnit | _RegionUnit],
    report: MapReport,
    task: _Task,
    journals: dict[str, Journal[JournalFile]],
    progress: Count,
    workers: Workers,
) -> None:
    """Run all units; results are recorded even if one of the units ends the run."""

    def collect(outcome: _Outcome) -> None:
        report._add(outcome, keep_value=task.name is None)
        if outcome.region is not None and outcome.states:
            before, after = outcome.states
            journals[outcome.unit.partition(" ")[0]].add(region_name(outcome.region), before, [after])
        progress.add()

    try:
        run(_do, units, workers, done=collect)
    finally:
        for journal in journals.values():
            journal.close()


def _do(unit: _PositionUnit | _RegionUnit) -> _Outcome:
    return unit.do()


def _target(plate: Plate, request: MapRequest, workers: Workers) -> Plate:
    """Return the plate for the results, with all its positions; arguments are checked before anything is created."""
    if request.output is None:
        if request.name is not None:
            plate.require_writable("store the results")
            _refuse_others(plate, request)
        return plate
    target = map_output.open_output(request.output) if request.resume else None
    if target is not None:
        workers.check_reach(target.documents.storage)
        _refuse_others(target, request)
    else:
        target = map_output.create_output(
            plate, request.chosen, request.output, request.channel_names, workers
        )
    map_output.create_positions(target, plate, request.chosen, request.channel_names)
    return target


def _refuse_others(target: Plate, request: MapRequest) -> None:
    """Raise for results that `map` did not create, and for arrays that do not fit."""
    assert request.name is not None
    existing = {path for path, _ in target.positions()}
    for path, source in request.chosen.items():
        if path not in existing:
            continue
        position = _position(target, path)
        if request.resume:
            refuse_results_of_others(position, request.name, empty_is_free=request.over == "regions")
        if request.over == "regions" and _is_begun(position, request.name):
            stored, array = position[request.name], source[request.level]
            if stored.shape != array.shape or stored.dtype != (request.dtype or array.dtype):
                raise InvalidArgumentError(
                    f"{stored!r} exists and has another shape or data type: remove it, or use another name"
                )


def _task(request: MapRequest, target: Plate) -> _Task:
    """Return the shared settings; warn if results cannot be skipped because the function has no digest."""
    digest = None
    if request.name is not None:
        try:
            digest = function_digest(request.function)
        except NoDigestError as error:
            if request.resume and any(
                exists(position, request.name) and is_recorded(position, request.name)
                for position in (_position(target, path) for path in list(request.chosen)[:1])
            ):
                warnings.warn(
                    f"Nothing is skipped: whether {request.function!r} is the function of the last run cannot be "
                    f"known, because it uses {error}.",
                    UserWarning,
                    stacklevel=4,
                )
    return _Task(request.function, digest, request.name, request.level, request.retries, request.resume)


def _position(plate: Plate, path: str) -> Position:
    node = plate[path]
    if not isinstance(node, Position):
        raise InvalidArgumentError(f"{path!r} is not a position of {plate!r}: paths are 'row/column/field'")
    return node


def _position_units(
    task: _Task, chosen: Mapping[str, Position], target: Plate
) -> Iterator[_PositionUnit | _RegionUnit]:
    for path, position in chosen.items():
        same = position.documents.storage == target.documents.storage
        yield _PositionUnit(task, path, position, position if same else _position(target, path))


def _region_units(
    task: _Task, request: MapRequest, target: Plate, journals: dict[str, Journal[JournalFile]]
) -> tuple[int, Iterator[_PositionUnit | _RegionUnit]]:
    """Return the number of regions between the shards of all arrays, and an iterator over them."""
    pairs = _pairs(task, request, target)

    def units() -> Iterator[_PositionUnit | _RegionUnit]:
        for path, source, target_array in pairs:
            work = task.digest and f"{task.digest} {task.level} {source.dtype} {target_array.dtype}"
            journal = region_journal(target_array, work) if work else None
            if journal is not None:
                journals[f"{path}/{task.level}"] = journal
            for region in regions(target_array.shape, target_array.write_unit):
                line = journal.get(region_name(region)) if journal is not None and task.resume else None
                yield _RegionUnit(task, path, source, target_array, region, line)
            if journal is not None:
                journal.end_reading()

    return sum(prod(_grid(target_array)) for _, _, target_array in pairs), units()


def _pairs(task: _Task, request: MapRequest, target: Plate) -> list[tuple[str, ImageArray, ImageArray]]:
    """Return each array to read with the array to write, created if missing: equal but for the data type."""
    name = task.name or task.level
    pairs = []
    for path, position in request.chosen.items():
        source, target_position = position[task.level], _position(target, path)
        if _is_begun(target_position, name):
            target_array: ImageArray = target_position[name]
            if not is_recorded(target_position, name):
                begin_result(target_position, name)
        else:
            begin_result(target_position, name)
            target_array = _create_like(
                target_position,
                name,
                source,
                request.dtype or source.dtype,
                _transform(position, task.level, target_position),
            )
        pairs.append((path, source, target_array))
    return pairs


def _is_begun(position: Position, name: str) -> bool:
    """Return whether an array exists, listed or not, except for the remainder of a killed creation."""
    if name in position.dataset_paths:
        return True
    return position.documents.kind(
        position.node_path.child(name).path
    ) == "array" and not position.is_unwritten(name)


def _create_like(
    position: Position,
    name: str,
    source: ImageArray,
    dtype: np.dtype[Any],
    transform: list[TransformationMeta],
) -> ImageArray:
    """Create an array with the layout, fill value and custom attributes of another one."""
    model = position.document.shared_model
    axes = model.multiscales[0].axes
    array = array_like(
        source.meta,
        zarr_format=position.store_handle.version.zarr_format,
        dtype=dtype,
        dimension_names=[axis.name for axis in axes] if len(axes) == source.ndim else None,
        attributes=without_records(source.meta.attributes),
    )
    return position._create_zeros(name, ArrayRequest(array, transform, True, is_result=True))


def _grid(image: ImageArray) -> Iterator[int]:
    return (-(-n // unit) for n, unit in zip(image.shape, image.write_unit, strict=True))


def _transform(source: Position, level: str, target: Position) -> list[TransformationMeta]:
    """Return the transformations of a level for an array of another position."""
    if target.document.shared_model.multiscales[
        0
    ].coordinate_transformations:  # of all levels, copied with the metadata of the source
        return find_dataset(source.document.shared_model, level).coordinate_transformations
    scale = source.get_effective_scale(level)
    offset = source.get_effective_translation(level)
    transforms = [TransformationMeta(type="scale", scale=scale)]
    return (
        [*transforms, TransformationMeta(type="translation", translation=offset)]
        if any(offset)
        else transforms
    )


def _discard(position: Position, name: str) -> None:
    if name.startswith(LABELS):
        label = name.removeprefix(LABELS)
        if label in position.labels:
            del position.labels[label]
        elif position.documents.storage.exists(position.node_path.child(name).path):
            position.documents.delete(position.node_path.child(name).path)  # the remainder of a killed run
    elif name in position.dataset_paths or name in position.array_keys():
        del position[name]
