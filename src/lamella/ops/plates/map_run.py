"""Run a map: list its units, run them, and collect their results.

A unit is a position, or a block of an array. Each array that is computed by blocks has a journal, which stays open
during the run. Label images that are computed by blocks are joined at the end.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from lamella.nodes.array_creation import create_empty_array
from lamella.nodes.array_request import ArrayRequest
from lamella.ops.execution import run
from lamella.ops.jobs.journal import Journal, stored_journal
from lamella.ops.plates.map_labels import BlockFiles, LabelUnit, StitchUnit
from lamella.ops.plates.map_records import (
    REGIONS_FILE,
    PositionRecord,
    array_exists,
    begin_result,
    is_recorded,
    region_name,
    without_records,
)
from lamella.ops.plates.map_request import position_of
from lamella.ops.plates.map_units import PositionUnit, RegionUnit, transform_of
from lamella.ops.pyramids.downsample import downsampled_shape
from lamella.ops.regions import regions
from lamella.store.keys import join
from lamella.store.metadata.array_creation import array_like

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from lamella.models import TransformationMeta
    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.execution import Count, Workers
    from lamella.ops.jobs.journal import JournalFile
    from lamella.ops.plates.map_request import MappedPlate, MapRequest
    from lamella.ops.plates.map_units import BlockUnit, MappedFunction, Outcome
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.regions import Region
    from lamella.types import Shape


class MapRun:
    """One run of a map, which adds the outcome of each unit to its report."""

    def __init__(
        self,
        request: MapRequest,
        target: MappedPlate,
        function: MappedFunction,
        workers: Workers,
        report: MapReport,
    ) -> None:
        self._request = request
        self._target = target
        self._function = function
        self._workers = workers
        self._report = report
        self._journals: dict[
            str, Journal[JournalFile]
        ] = {}  # of each array that is computed by blocks, by its path
        self._label_images: list[StitchUnit] = []
        self._units: Iterator[PositionUnit | BlockUnit] = iter(())

    def begin(self) -> int:
        """Create missing arrays of the results, and return the number of units."""
        if self._request.labels_by_blocks:
            total, self._units = self._plan_labels()
        elif self._request.call.over == "regions":
            total, self._units = self._plan_regions()
        else:
            total, self._units = len(self._request.positions), self._position_units()
        return total

    def compute(self, progress: Count) -> None:
        """Run all units; results are recorded even if one of the units ends the run."""

        def collect(outcome: Outcome) -> None:
            self._collect(outcome)
            progress.add()

        try:
            run(_do, self._units, self._workers, on_result=collect)
        finally:
            for journal in self._journals.values():
                journal.close()

    def stitch(self) -> None:
        """Write the label images of the positions without a failed block."""
        failed = {unit.partition(" ")[0].rpartition("/")[0] for unit in self._report.failed}
        complete = [unit for unit in self._label_images if unit.path not in failed]
        run(_do, complete, self._workers, on_result=self._collect_failure)

    def _collect(self, outcome: Outcome) -> None:
        """Add an outcome to the report, and record the files of a block in the journal of its array."""
        if outcome.failure is not None:
            self._collect_failure(outcome)
        elif outcome.skipped:
            self._report.skipped += 1
        else:
            self._report.done += 1
            if not self._function.names:
                self._report.values[outcome.unit] = outcome.value
        if outcome.region is not None and outcome.states:
            before, after = outcome.states
            self._journals[outcome.array].add(region_name(outcome.region), before, [after])

    def _collect_failure(self, outcome: Outcome) -> None:
        if outcome.failure is not None:
            self._report.failed[outcome.unit], self._report.tracebacks[outcome.unit] = outcome.failure

    # -- units ----------------------------------------------------------------------------------------------------

    def _position_units(self) -> Iterator[PositionUnit | BlockUnit]:
        for path, position in self._request.positions.items():
            is_same_store = position.documents.storage == self._target.documents.storage
            target = position if is_same_store else position_of(self._target, path)
            yield PositionUnit(self._function, path, position, target)

    def _plan_regions(self) -> tuple[int, Iterator[PositionUnit | BlockUnit]]:
        """Create the arrays of the results; return the number of blocks of all arrays, and their units."""
        function, request = self._function, self._request
        arrays = [
            (path, position[function.level], self._result_arrays(position, position_of(self._target, path)))
            for path, position in request.positions.items()
        ]

        def units() -> Iterator[PositionUnit | BlockUnit]:
            for path, source, targets in arrays:
                plan = request.block_plan(request.positions[path])
                first = targets[0]
                settings = f"{function.digest} {function.level} {source.dtype} {first.dtype}{plan.settings()}"
                file = stored_journal(first.stored.documents.storage, join(first.path, REGIONS_FILE))
                blocks = regions(first.shape, first.write_unit)
                for region, line in self._with_lines(blocks, path, file, settings):
                    yield RegionUnit(function, path, source, plan, region, line, targets)

        first_targets = [targets[0] for _, _, targets in arrays]
        total = sum(prod(downsampled_shape(target.shape, target.write_unit)) for target in first_targets)
        return total, units()

    def _plan_labels(self) -> tuple[int, Iterator[PositionUnit | BlockUnit]]:
        """List the label images to compute; return the number of their blocks, and their units."""
        function, request = self._function, self._request
        name = function.names[0]
        total = 0
        for path, position in request.positions.items():
            plan = request.block_plan(position)
            target = position_of(self._target, path)
            files = BlockFiles.of(target, name, position[function.level], plan)
            record = PositionRecord(
                position, target, name, function.digest and f"{function.digest}{plan.settings()}"
            )
            record.read_source()
            if function.resume and record.is_done():
                files.storage.delete(files.folder)  # remains if a run was killed after its last step
                continue
            if not function.resume:
                files.storage.delete(files.folder)
            self._label_images.append(StitchUnit(function, path, target, files, record))
            total += sum(1 for _ in files.regions())

        def units() -> Iterator[PositionUnit | BlockUnit]:
            for unit in self._label_images:
                source, files = request.positions[unit.path][function.level], unit.files
                settings = f"{function.digest} {source.dtype}{files.plan.settings()}"
                file = stored_journal(files.storage, f"{files.folder}/journal")
                for region, line in self._with_lines(files.regions(), unit.path, file, settings):
                    yield LabelUnit(function, unit.path, source, files.plan, region, line, files)

        return total, units()

    def _with_lines(
        self, blocks: Iterable[Region], path: str, file: JournalFile, settings: str
    ) -> Iterator[tuple[Region, list[Any] | None]]:
        """Yield the blocks of an array with their lines in its journal, which exists if the function has a digest."""
        function = self._function
        journal = None
        if function.digest:
            journal = self._journals[f"{path}/{function.level}"] = Journal(
                file, {"job": "map", "work": settings}
            )
        for region in blocks:
            yield (
                region,
                journal.get(region_name(region)) if journal is not None and function.resume else None,
            )
        if journal is not None:
            journal.end_reading()

    def _result_arrays(self, source_position: Position, position: Position) -> tuple[ImageArray, ...]:
        """Return the arrays to write; missing ones are created like the source but for data type and dropped axes."""
        source = source_position[self._function.level]
        shape = self._request.block_plan(source_position).result_shape
        targets: list[ImageArray] = []
        for name in self._function.names:
            if array_exists(position, name):
                targets.append(position[name])
                if not is_recorded(position, name):
                    begin_result(position, name)
                continue
            begin_result(position, name)
            transform = transform_of(source_position, self._function.level, position)
            dtype = self._request.dtype(source)
            targets.append(_create_like(position, name, source, shape, dtype, transform))
        return tuple(targets)


def _do(unit: PositionUnit | BlockUnit | StitchUnit) -> Outcome:
    return unit.do()


def _create_like(
    position: Position,
    name: str,
    source: ImageArray,
    shape: Shape,
    dtype: np.dtype[Any],
    transform: list[TransformationMeta],
) -> ImageArray:
    """Create an array with the layout, fill value and custom attributes of another one."""
    axes = position.document.shared_model.multiscales[0].axes
    array = array_like(
        source.meta,
        zarr_format=position.store_handle.version.zarr_format,
        shape=shape,
        dtype=dtype,
        dimension_names=[axis.name for axis in axes] if len(axes) == source.ndim else None,
        attributes=without_records(source.meta.attributes),
    )
    request = ArrayRequest(array, transform, shape == source.shape, is_result=True)
    return create_empty_array(position, name, request)
