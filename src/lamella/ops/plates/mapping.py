"""Apply a function of the user over a plate, to each position or to each region of its pixels.

The result of a unit is stored completely and recorded (:mod:`lamella.ops.plates.map_records`) before it counts as done,
so that the same call resumes. All arguments are checked before anything is created.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, UnitsFailedError, clause, warn
from lamella.log import logged
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.execution import Workers, counting
from lamella.ops.plates import map_output
from lamella.ops.plates.function_digest import NoDigestError, function_digest
from lamella.ops.plates.map_records import array_exists, exists, is_recorded, refuse_results_of_others
from lamella.ops.plates.map_request import OneImage, checked_request, position_of
from lamella.ops.plates.map_run import MapRun
from lamella.ops.plates.map_units import MappedFunction, wants_where

if TYPE_CHECKING:
    import pandas

    from lamella.ops.plates.map_request import MapCall, MappedPlate, MapRequest


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

        A record is a dictionary; the function may also return a list of them, a DataFrame, or one number or text, which
        is in the column "value". The first column, "path", is the path of the position.

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


def map_nodes(node: Plate | Position, call: MapCall) -> MapReport:
    """Apply a function over a plate or an image; see :meth:`Plate.map` and :meth:`Position.map`."""
    workers = Workers(call.jobs, call.executor)
    workers.check_reach(node.documents.storage)
    plate = OneImage(node) if isinstance(node, Position) else node
    request = checked_request(plate, call, workers)
    call = request.call
    target = _target(plate, request, workers)
    report = MapReport(target if isinstance(target, Plate) else node)
    map_run = MapRun(request, target, _mapped_function(request, target), workers, report)
    total = map_run.begin()
    with (
        logged("Apply %r over %s of %s", call.function, call.over, node.node_path),
        counting(call.progress, call.over, total) as count,
    ):
        map_run.compute(count)
        map_run.stitch()
    if call.output is not None:
        target.documents.storage.commit_own(f"Results of {node.node_path}")
    report.values = {path: report.values[path] for path in request.positions if path in report.values}
    if call.check:
        _raise_failures(report, total, node)
    return report


def _raise_failures(report: MapReport, total: int, node: Plate | Position) -> None:
    if report.failed:
        unit, reason = next(iter(report.failed.items()))
        error = UnitsFailedError(
            f"{len(report.failed)} of {total} units of {node.node_path} failed; the results of the others are stored. "
            f"The first, {unit}: {clause(reason)}. Fix the cause and make the same call again: finished work is "
            "skipped. The error's `report` has all failures and the values of the other units; with check=False, map "
            "returns it."
        )
        error.report = report
        error.add_note(f"\nThe first failure, {unit}, was raised here:\n{report.tracebacks[unit]}")
        raise error


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
            plate, request.positions, request.call.output, request.call.channel_names, workers
        )
    map_output.create_positions(target, plate, request.positions, request.call.channel_names)
    return target


def _refuse_others(target: MappedPlate, request: MapRequest) -> None:
    """Raise for results that `map` did not create, and for arrays that do not fit."""
    existing = {path for path, _ in target.positions()}
    for path, source in request.positions.items():
        if path not in existing:
            continue
        position = position_of(target, path)
        for name in request.names:
            if request.call.resume:
                refuse_results_of_others(position, name, empty_is_free=request.call.over == "regions")
            if request.call.over == "regions" and array_exists(position, name):
                stored, array = position[name], source[request.call.level]
                shape = request.block_plan(source).result_shape
                if stored.shape != shape or stored.dtype != request.dtype(array):
                    raise InvalidArgumentError(
                        f"{stored!r} exists and has another shape or data type: remove it, or use another name."
                    )


def _mapped_function(request: MapRequest, target: MappedPlate) -> MappedFunction:
    """Return the settings of all units; warn if results cannot be skipped because the function has no digest."""
    digest = None
    if request.names:
        try:
            digest = function_digest(request.call.function)
        except NoDigestError as error:
            first = position_of(target, next(iter(request.positions))) if request.positions else None
            name = request.names[0]
            if request.call.resume and first is not None and exists(first, name) and is_recorded(first, name):
                warn(
                    f"Nothing is skipped: whether {request.call.function!r} is the function of the last run cannot be "
                    f"known: {clause(error)}."
                )
    return MappedFunction(
        request.call.function,
        digest,
        request.names,
        request.call.level,
        request.call.retries,
        request.call.resume,
        wants_where(request.call.function),
    )
