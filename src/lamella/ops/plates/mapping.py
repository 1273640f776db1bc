"""A function of the user over a plate: of each position, or of each region of its pixels; on threads or any executor.

What a unit makes is in the store before the unit is done, whole, so that a run that was killed is gone on with by the
same call: what is there is not made again. Nothing else says what was done.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, UnitsFailedError
from lamella.models import TransformationMeta
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.execution import check_reach, run
from lamella.ops.integrity.status import position_status
from lamella.ops.regions import Region, region_shape, regions
from lamella.store import coverage
from lamella.store.arrays import StoredArray
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.image_array import ImageArray
    from lamella.types import StrPath

_LABELS = "labels/"


@dataclass
class MapReport:
    """What `Plate.map` did. True when nothing failed.

    Attributes
    ----------
    done, skipped
        Number of units that were worked on, and of those whose result was there already.
    values
        What the function returned for each position, by its path, where it was not stored.
    failed
        Why a unit failed, by the path of its position, or of its array and the region.
    output
        The plate that was written to.

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

    def __bool__(self) -> bool:
        return not self.failed

    def _take(self, outcome: _Outcome, *, keep_value: bool) -> None:
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


@dataclass(frozen=True)
class _Task:
    """What is the same for all units: the function, and what becomes of its results."""

    function: Callable[[Any], Any]
    name: str | None
    level: str
    retries: int
    resume: bool

    def call(self, make: Callable[[], Any]) -> tuple[Any, str]:
        """Try as often as allowed; return a value, or what was wrong the last time."""
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
        if name is not None and self.task.resume and _is_written(self.target, name):
            return _Outcome(self.path, skipped=True)

        def make() -> Any:
            result = self.task.function(self.source)
            if name is None:
                return result
            self._store(name, result)
            return None

        value, fault = self.task.call(make)
        return _Outcome(self.path, value, fault=fault)

    def _store(self, name: str, result: Any) -> None:
        if not hasattr(result, "shape"):
            raise InvalidArgumentError(
                f"the function returned {type(result).__name__} for {self.path}, not an array to store as {name!r}"
            )
        _discard(self.target, name)
        if name.startswith(_LABELS):
            self.target.labels.create(name.removeprefix(_LABELS), result)
            return
        transform = None
        if self.task.level in self.source.dataset_paths:
            finest = self.source[self.task.level]
            same_grid = finest.shape[-2:] == tuple(result.shape)[-2:] and finest.ndim == len(result.shape)
            transform = _transform(self.source, self.task.level) if same_grid else None
        self.target.create_image(name, result, chunks="auto", transform=transform)


@dataclass(frozen=True)
class _RegionUnit:
    task: _Task
    path: str
    source: ImageArray
    target: ImageArray
    region: Region

    def do(self) -> _Outcome:
        unit = f"{self.path}/{self.task.level} {[[part.start, part.stop] for part in self.region]}"
        if self.task.resume and self._is_written():
            return _Outcome(unit, skipped=True)

        def make() -> None:
            result = np.asarray(self.task.function(self.source[self.region]))
            if result.shape != region_shape(self.region):
                raise InvalidArgumentError(
                    f"the function returned an array of shape {result.shape} for one of {region_shape(self.region)}"
                )
            self.target[self.region] = result

        return _Outcome(unit, fault=self.task.call(make)[1])

    def _is_written(self) -> bool:
        """Whether all files of the region are there: each was written whole by one unit."""
        array = StoredArray(self.target._place.session.documents, self.target.path)
        meta, storage = array.meta, array.documents.storage
        return all(
            storage.exists(join(array.path, meta.chunk_key(place)))
            for place in coverage.files_of(meta, self.region)
        )


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
    progress: Callable[[int, int], None] | None = None,
) -> MapReport:
    """Apply a function over a plate; see :meth:`Plate.map`."""
    task = _Task(function, _name_of_results(over, name, level, output is not None), level, retries, resume)
    check_reach(plate._documents.storage, executor)
    chosen = _chosen(plate, positions)
    target = plate if output is None else _output(plate, chosen, output, channel_names, resume)
    if task.name is not None:
        target._require_writable("store the results")
        check_reach(target._documents.storage, executor)
    if over == "regions":
        total, units = _region_units(task, chosen, target, None if dtype is None else np.dtype(dtype))
    else:
        total, units = len(chosen), _position_units(task, chosen, target)
    report = MapReport(target)

    def take(outcome: _Outcome) -> None:
        report._take(outcome, keep_value=task.name is None)
        if progress is not None:
            progress(report.done + report.skipped + len(report.failed), total)

    run(_do, units, jobs=jobs, executor=executor, done=take)
    report.values = {path: report.values[path] for path in chosen if path in report.values}
    if check and report.failed:
        unit, fault = next(iter(report.failed.items()))
        raise UnitsFailedError(
            f"{len(report.failed)} of {total} units failed; what the others made is stored. The first, {unit}: "
            f"{fault}. Mend the cause and call again: what is there is not made again."
        )
    return report


def _name_of_results(over: str, name: str | None, level: str, to_output: bool) -> str | None:
    """Return where results are stored, None when they are not; refuse what cannot be."""
    if over not in ("positions", "regions"):
        raise InvalidArgumentError(f"over is 'positions' or 'regions', got {over!r}")
    if over == "regions" and (name or "").startswith(_LABELS):
        raise InvalidArgumentError("label images are made from whole positions: use over='positions'")
    if name is None and (to_output or over == "regions"):
        name = level
    if over == "regions" and not to_output and name == level:
        raise InvalidArgumentError(
            f"the image {level!r} would be written while it is read: give another name, or an output"
        )
    return name


def _do(unit: _PositionUnit | _RegionUnit) -> _Outcome:
    return unit.do()


def _chosen(plate: Plate, paths: Iterable[str] | None) -> dict[str, Position]:
    """Return the positions to work on, by their paths."""
    if paths is None:
        return dict(plate.positions())
    return {path: _position(plate, path) for path in (str(path).strip("/") for path in paths)}


def _position(plate: Plate, path: str) -> Position:
    found = plate[path]
    if not isinstance(found, Position):
        raise InvalidArgumentError(f"{path!r} is no position of {plate!r}: paths are 'row/column/field'")
    return found


def _output(
    plate: Plate,
    chosen: Mapping[str, Position],
    output: StrPath | Store,
    channel_names: Sequence[str] | None,
    resume: bool,
) -> Plate:
    """Make the plate for the results with all its positions, or open the one that an earlier run made."""
    from lamella.nodes.open import open_ome_zarr

    first = next(iter(chosen.values()), None)
    made = open_ome_zarr(
        output,
        layout="hcs",
        mode="a" if resume else "w-",
        channel_names=list(channel_names or (first.channel_names if first is not None else [])),
        axes=first.axes if first is not None else None,
        version=plate._session.version.written_as,
    )
    if not isinstance(made, Plate):
        raise InvalidArgumentError(
            f"{made!r} is no plate: the results need one of their own, at another path"
        )
    there = {path for path, _ in made.positions()}
    made.create_positions([tuple(path.split("/")) for path in chosen if path not in there])
    return made


def _position_units(
    task: _Task, chosen: Mapping[str, Position], target: Plate
) -> Iterator[_PositionUnit | _RegionUnit]:
    for path, position in chosen.items():
        same = position._documents.storage == target._documents.storage
        yield _PositionUnit(task, path, position, position if same else _position(target, path))


def _region_units(
    task: _Task, chosen: Mapping[str, Position], target: Plate, dtype: np.dtype[Any] | None
) -> tuple[int, Iterator[_PositionUnit | _RegionUnit]]:
    """Return the number of regions between the shards of all arrays, and these one by one."""
    pairs = _pairs(task, chosen, target, dtype)
    return sum(prod(_grid(made)) for _, _, made in pairs), (
        _RegionUnit(task, path, source, made, region)
        for path, source, made in pairs
        for region in regions(made.shape, made.write_unit)
    )


def _pairs(
    task: _Task, chosen: Mapping[str, Position], target: Plate, dtype: np.dtype[Any] | None
) -> list[tuple[str, ImageArray, ImageArray]]:
    """Return each array to read with the one to write, made where it is not there: alike, but for the data type."""
    name = task.name or task.level
    found = []
    for path, position in chosen.items():
        source, place = position[task.level], _position(target, path)
        if name in place.dataset_paths:
            made: ImageArray = place[name]
            if made.shape != source.shape or (dtype is not None and made.dtype != dtype):
                raise InvalidArgumentError(
                    f"{made!r} is there already and has another shape or data type: remove it, or give another name"
                )
        else:
            shards = source.shards
            made = place.create_zeros(
                name,
                source.shape,
                dtype or source.dtype,
                chunks=source.chunks,
                shards_ratio=shards and [s // c for s, c in zip(shards, source.chunks, strict=True)],
                transform=_transform(position, task.level),
            )
        found.append((path, source, made))
    return found


def _grid(image: ImageArray) -> Iterator[int]:
    return (-(-n // unit) for n, unit in zip(image.shape, image.write_unit, strict=True))


def _transform(position: Position, level: str) -> list[TransformationMeta]:
    scale = position.get_effective_scale(level)
    offset = position.get_effective_translation(level)
    found = [TransformationMeta(type="scale", scale=scale)]
    return [*found, TransformationMeta(type="translation", translation=offset)] if any(offset) else found


def _is_written(position: Position, name: str) -> bool:
    """Whether an image or label image is listed and all its chunks are there."""
    try:
        if name.startswith(_LABELS):
            label = name.removeprefix(_LABELS)
            return label in position.labels and position_status(position.labels[label]).state == "written"
        status = position_status(position)
        return any(level.path.endswith(f"/{name}") and level.state == "written" for level in status.levels)
    except LamellaError:
        return False


def _discard(position: Position, name: str) -> None:
    """Remove what an earlier run made of a result."""
    if name.startswith(_LABELS):
        if name.removeprefix(_LABELS) in position.labels:
            del position.labels[name.removeprefix(_LABELS)]
    elif name in position.dataset_paths or name in position.array_keys():
        del position[name]
