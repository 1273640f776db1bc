"""Apply a function of the user over a plate, to each position or to each region of its pixels.

The result of a unit is stored completely and recorded (:mod:`lamella.ops.plates.map_records`) before it counts as done,
so that the same call resumes. All arguments are checked before anything is created.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, UnitsFailedError, clause
from lamella.log import logged
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.position_arrays import ArrayRequest
from lamella.ops.execution import Count, Workers, reporting, run
from lamella.ops.jobs.journal import Journal, stored_journal
from lamella.ops.plates import map_output
from lamella.ops.plates.function_digest import NoDigestError, function_digest
from lamella.ops.plates.map_labels import BlockFiles, LabelUnit, StitchUnit
from lamella.ops.plates.map_records import (
    REGIONS_FILE,
    PositionRecord,
    begin_result,
    exists,
    is_recorded,
    refuse_results_of_others,
    region_name,
    without_records,
)
from lamella.ops.plates.map_request import OneImage, checked_request, position_of
from lamella.ops.plates.map_units import PositionUnit, RegionUnit, Task, transform_of, wants_where
from lamella.ops.pyramids.downsample import downsampled_shape
from lamella.ops.regions import regions
from lamella.store.keys import join
from lamella.store.metadata.array_creation import array_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    import pandas

    from lamella.models import TransformationMeta
    from lamella.nodes.image_array import ImageArray
    from lamella.ops.jobs.journal import JournalFile
    from lamella.ops.plates.map_request import MapCall, MappedPlate, MapRequest
    from lamella.ops.plates.map_units import Outcome
    from lamella.ops.regions import Region
    from lamella.types import Shape


@dataclass(repr=False)
class MapReport:
    """The result of `Plate.map` or `Position.map`. True if nothing failed.

    Attributes
    ----------
    output
        The plate or image with the results.
    done, skipped
        Number of computed units, and of units whose result existed already.
    values
        Return values of the function by path of the position, if they are not stored.
    failed
        Reason of each failure, by the path of the position, or of the array and the region.
    tracebacks
        Where each failure was raised, as Python prints it, by the same names.

    Examples
    --------
    >>> import lamella
    >>> report = plate.map(lambda position: len(position.channel_names))
    >>> bool(report), report.values["A/1/0"], report.failed
    (True, 2, {})
    """

    output: Plate | Position
    done: int = 0
    skipped: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)

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
            "tracebacks": dict(self.tracebacks),
        }

    def to_frame(self) -> pandas.DataFrame:
        """Return the records that the function returned as one table, a row for each record.

        A record is a dictionary; the function may also return a list of them, or a DataFrame. The first column, "path",
        is the path of the position.

        Raises
        ------
        InvalidArgumentError
            The function returned something else for a position.
        MissingDependencyError
            pandas is not installed (an ImportError).

        Examples
        --------
        >>> def objects(position):
        ...     return [{"channel": name, "length": len(name)} for name in position.channel_names]
        >>> plate.map(objects, positions=["A/1/0"]).to_frame()
            path channel  length
        0  A/1/0    DAPI       4
        1  A/1/0     GFP       3
        """
        from lamella.ops.plates.table import joined_records

        return joined_records(self.values)

    def _add(self, outcome: Outcome, *, keep_value: bool) -> None:
        if outcome.failure is not None:
            self.failed[outcome.unit], self.tracebacks[outcome.unit] = outcome.failure
        elif outcome.skipped:
            self.skipped += 1
        else:
            self.done += 1
            if keep_value:
                self.values[outcome.unit] = outcome.value


def map_nodes(node: Plate | Position, call: MapCall) -> MapReport:
    """Apply a function over a plate or an image; see :meth:`Plate.map` and :meth:`Position.map`."""
    workers = Workers(call.jobs, call.executor)
    workers.check_reach(node.documents.storage)
    plate = OneImage(node) if isinstance(node, Position) else node
    request = checked_request(plate, call, workers)
    call = request.call
    target = _target(plate, request, workers)
    task = _task(request, target)
    journals: dict[str, Journal[JournalFile]] = {}
    to_stitch: list[StitchUnit] = []
    total, units = _units(task, request, target, journals, to_stitch)
    report = MapReport(target if isinstance(target, Plate) else node)
    with (
        logged("Apply %r over %s of %s", call.function, call.over, node.node_path),
        reporting(call.progress, call.over) as show,
    ):
        _run(units, report, task, journals, Count(show, call.over, total), workers)
        _stitch(to_stitch, report, workers)
    if call.output is not None:
        target.documents.storage.commit_own(f"Results of {node.node_path}")
    report.values = {path: report.values[path] for path in request.chosen if path in report.values}
    if call.check:
        _raise_failures(report, total, node)
    return report


def _units(
    task: Task,
    request: MapRequest,
    target: MappedPlate,
    journals: dict[str, Journal[JournalFile]],
    to_stitch: list[StitchUnit],
) -> tuple[int, Iterator[PositionUnit | RegionUnit | LabelUnit]]:
    """Return the number of units, and an iterator over them."""
    if request.labels_by_blocks:
        return _label_units(task, request, target, journals, to_stitch)
    if request.call.over == "regions":
        return _region_units(task, request, target, journals)
    return len(request.chosen), _position_units(task, request.chosen, target)


def _raise_failures(report: MapReport, total: int, node: Plate | Position) -> None:
    """Raise for units that failed."""
    if report.failed:
        unit, reason = next(iter(report.failed.items()))
        error = UnitsFailedError(
            f"{len(report.failed)} of {total} units of {node.node_path} failed; the results of the others are stored. "
            f"The first, {unit}: {clause(reason)}. Fix the cause and make the same call again: finished work is "
            "skipped."
        )
        error.add_note(f"\nThe first failure, {unit}, was raised here:\n{report.tracebacks[unit]}")
        raise error


def _run(
    units: Iterator[PositionUnit | RegionUnit | LabelUnit],
    report: MapReport,
    task: Task,
    journals: dict[str, Journal[JournalFile]],
    progress: Count,
    workers: Workers,
) -> None:
    """Run all units; results are recorded even if one of the units ends the run."""

    def collect(outcome: Outcome) -> None:
        report._add(outcome, keep_value=not task.names)
        if outcome.region is not None and outcome.states:
            before, after = outcome.states
            journals[outcome.array].add(region_name(outcome.region), before, [after])
        progress.add()

    try:
        run(_do, units, workers, done=collect)
    finally:
        for journal in journals.values():
            journal.close()


def _do(unit: PositionUnit | RegionUnit | LabelUnit | StitchUnit) -> Outcome:
    return unit.do()


def _stitch(to_stitch: list[StitchUnit], report: MapReport, workers: Workers) -> None:
    """Write the label images of the positions of which no block failed."""
    failed = {unit.partition(" ")[0].rpartition("/")[0] for unit in report.failed}

    def collect(outcome: Outcome) -> None:
        if outcome.failure is not None:
            report.failed[outcome.unit], report.tracebacks[outcome.unit] = outcome.failure

    run(_do, [unit for unit in to_stitch if unit.path not in failed], workers, done=collect)


def _target(plate: MappedPlate, request: MapRequest, workers: Workers) -> MappedPlate:
    """Return the plate for the results, with all its positions; arguments are checked before anything is created."""
    if request.call.output is None:
        if request.names:
            plate.require_writable("store the results")
            _refuse_others(plate, request)
        return plate
    assert isinstance(plate, Plate)  # an image has no output
    target = map_output.open_output(request.call.output) if request.call.resume else None
    if target is not None:
        workers.check_reach(target.documents.storage)
        _refuse_others(target, request)
    else:
        target = map_output.create_output(
            plate, request.chosen, request.call.output, request.call.channel_names, workers
        )
    map_output.create_positions(target, plate, request.chosen, request.call.channel_names)
    return target


def _refuse_others(target: MappedPlate, request: MapRequest) -> None:
    """Raise for results that `map` did not create, and for arrays that do not fit."""
    existing = {path for path, _ in target.positions()}
    for path, source in request.chosen.items():
        if path not in existing:
            continue
        position = position_of(target, path)
        for name in request.names:
            if request.call.resume:
                refuse_results_of_others(position, name, empty_is_free=request.call.over == "regions")
            if request.call.over == "regions" and _array_exists(position, name):
                stored, array = position[name], source[request.call.level]
                shape = request.block_plan(source).result_shape
                if stored.shape != shape or stored.dtype != request.dtype(array):
                    raise InvalidArgumentError(
                        f"{stored!r} exists and has another shape or data type: remove it, or use another name."
                    )


def _task(request: MapRequest, target: MappedPlate) -> Task:
    """Return the settings of all units; warn if results cannot be skipped because the function has no digest."""
    digest = None
    if request.names:
        try:
            digest = function_digest(request.call.function)
        except NoDigestError as error:
            first = position_of(target, next(iter(request.chosen))) if request.chosen else None
            name = request.names[0]
            if request.call.resume and first is not None and exists(first, name) and is_recorded(first, name):
                warnings.warn(
                    f"Nothing is skipped: whether {request.call.function!r} is the function of the last run cannot be "
                    f"known: {clause(error)}.",
                    UserWarning,
                    stacklevel=4,
                )
    return Task(
        request.call.function,
        digest,
        request.names,
        request.call.level,
        request.call.retries,
        request.call.resume,
        wants_where(request.call.function),
    )


def _position_units(
    task: Task, chosen: Mapping[str, Position], target: MappedPlate
) -> Iterator[PositionUnit | RegionUnit | LabelUnit]:
    for path, position in chosen.items():
        same = position.documents.storage == target.documents.storage
        yield PositionUnit(task, path, position, position if same else position_of(target, path))


def _region_units(
    task: Task, request: MapRequest, target: MappedPlate, journals: dict[str, Journal[JournalFile]]
) -> tuple[int, Iterator[PositionUnit | RegionUnit | LabelUnit]]:
    """Return the number of blocks of all arrays, and an iterator over their units."""
    arrays = [
        (path, position[task.level], _targets(task, request, position, position_of(target, path)))
        for path, position in request.chosen.items()
    ]

    def units() -> Iterator[PositionUnit | RegionUnit | LabelUnit]:
        for path, source, targets in arrays:
            plan = request.block_plan(request.chosen[path])
            first = targets[0]
            digest = f"{task.digest} {task.level} {source.dtype} {first.dtype}{plan.settings()}"
            file = stored_journal(first.stored.documents.storage, join(first.path, REGIONS_FILE))
            blocks = regions(first.shape, first.write_unit)
            for region, line in _with_lines(blocks, task, path, file, digest, journals):
                yield RegionUnit(task, path, source, plan, region, line, targets)

    first_targets = [targets[0] for _, _, targets in arrays]
    count = sum(prod(downsampled_shape(target.shape, target.write_unit)) for target in first_targets)
    return count, units()


def _label_units(
    task: Task,
    request: MapRequest,
    target: MappedPlate,
    journals: dict[str, Journal[JournalFile]],
    to_stitch: list[StitchUnit],
) -> tuple[int, Iterator[PositionUnit | RegionUnit | LabelUnit]]:
    """Return the number of blocks to label, and an iterator over their units; fill the list ``to_stitch``."""
    name = task.names[0]
    total = 0
    for path, position in request.chosen.items():
        plan = request.block_plan(position)
        result = position_of(target, path)
        files = BlockFiles.of(result, name, position[task.level], plan)
        record = PositionRecord(position, result, name, task.digest and f"{task.digest}{plan.settings()}")
        record.read_source()
        if task.resume and record.is_done():
            files.storage.delete(files.folder)  # remains if a run was killed after its last step
            continue
        if not task.resume:
            files.storage.delete(files.folder)
        to_stitch.append(StitchUnit(task, path, result, files, record))
        total += sum(1 for _ in files.regions())

    def units() -> Iterator[PositionUnit | RegionUnit | LabelUnit]:
        for unit in to_stitch:
            source, files = request.chosen[unit.path][task.level], unit.files
            digest = f"{task.digest} {source.dtype}{files.plan.settings()}"
            file = stored_journal(files.storage, f"{files.folder}/journal")
            for region, line in _with_lines(files.regions(), task, unit.path, file, digest, journals):
                yield LabelUnit(task, unit.path, source, files.plan, region, line, files)

    return total, units()


def _with_lines(
    blocks: Iterable[Region],
    task: Task,
    path: str,
    file: JournalFile,
    digest: str,
    journals: dict[str, Journal[JournalFile]],
) -> Iterator[tuple[Region, list[Any] | None]]:
    """Yield the blocks of an array with their lines in its journal, which exists if the function has a digest."""
    journal = None
    if task.digest:
        journal = journals[f"{path}/{task.level}"] = Journal(file, {"job": "map", "work": digest})
    for region in blocks:
        yield region, journal.get(region_name(region)) if journal is not None and task.resume else None
    if journal is not None:
        journal.end_reading()


def _targets(
    task: Task, request: MapRequest, source_position: Position, position: Position
) -> tuple[ImageArray, ...]:
    """Return the arrays to write; missing ones are created like the source, except for data type and dropped axes."""
    source = source_position[task.level]
    shape = request.block_plan(source_position).result_shape
    targets: list[ImageArray] = []
    for name in task.names:
        if _array_exists(position, name):
            targets.append(position[name])
            if not is_recorded(position, name):
                begin_result(position, name)
            continue
        begin_result(position, name)
        transform = transform_of(source_position, task.level, position)
        targets.append(_create_like(position, name, source, shape, request.dtype(source), transform))
    return tuple(targets)


def _array_exists(position: Position, name: str) -> bool:
    """Return whether an array exists, listed or not; an unlisted array without pixels is left from a kill."""
    if name in position.dataset_paths:
        return True
    kind = position.documents.kind(position.node_path.child(name).path)
    return kind == "array" and not position.is_unwritten(name)


def _create_like(
    position: Position,
    name: str,
    source: ImageArray,
    shape: Shape,
    dtype: np.dtype[Any],
    transform: list[TransformationMeta],
) -> ImageArray:
    """Create an array with the layout, fill value and custom attributes of another one."""
    model = position.document.shared_model
    axes = model.multiscales[0].axes
    array = array_like(
        source.meta,
        zarr_format=position.store_handle.version.zarr_format,
        shape=shape,
        dtype=dtype,
        dimension_names=[axis.name for axis in axes] if len(axes) == source.ndim else None,
        attributes=without_records(source.meta.attributes),
    )
    return position._create_zeros(name, ArrayRequest(array, transform, shape == source.shape, is_result=True))
