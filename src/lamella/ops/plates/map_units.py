"""The units of `Plate.map`: a position, or a block of an array."""

from __future__ import annotations

import functools
import inspect
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import PACKAGE, InvalidArgumentError
from lamella.ops.jobs.units import is_done
from lamella.ops.plates import map_output
from lamella.ops.plates.map_blocks import Where
from lamella.ops.plates.map_records import LABELS, PositionRecord, begin_result, region_state
from lamella.spec.geometry import find_dataset, scale_and_translation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.models import TransformationMeta
    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.plates.map_blocks import BlockPlan
    from lamella.ops.regions import Region


class Failure(NamedTuple):
    """Why a unit failed, as texts, which every executor can return: the error, and where it was raised."""

    reason: str
    traceback: str


class Outcome(NamedTuple):
    """What the function returned for a unit, or why it failed; ``states`` of its files are for the journal."""

    unit: str
    value: Any = None
    skipped: bool = False
    failure: Failure | None = None
    region: Region | None = None
    states: list[str | None] | None = None
    array: str = ""


@dataclass(frozen=True)
class MappedFunction:
    """The function of the user, with the level it reads, its retries, and the names of its results.

    ``names`` is empty if results are returned, not stored; ``digest`` is None if the function has none, so that no
    result is skipped.
    """

    function: Callable[..., Any]
    digest: str | None
    names: tuple[str, ...]
    level: str
    retries: int
    resume: bool
    wants_where: bool = False

    def apply(self, argument: Any, where: Where) -> Any:
        """Call the function."""
        return self.function(argument, where=where) if self.wants_where else self.function(argument)

    def results(self, returned: Any) -> Sequence[Any]:
        """Return the results in what the function returned: one for each name."""
        if len(self.names) == 1:
            return [returned]
        if not isinstance(returned, tuple | list) or len(returned) != len(self.names):
            raise InvalidArgumentError(
                f"The function returned {type(returned).__name__}, "
                f"not a tuple of {len(self.names)} arrays for {self.names}."
            )
        return returned

    def call(self, function: Callable[[], Any]) -> tuple[Any, Failure | None]:
        """Call a function until it succeeds or the retries are used up; return its value, or the last error."""
        failure = None
        for _ in range(self.retries + 1):
            try:
                return function(), None
            except Exception as error:
                failure = Failure(f"{type(error).__name__}: {error}", traceback_of(error))
        return None, failure


def traceback_of(error: Exception) -> str:
    """Return the traceback of an error as text; if the user's function raised it, without lamella's own calls."""
    first = trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or first))


def wants_where(function: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter named ``where`` that no argument is bound to."""
    innermost = function
    while isinstance(innermost, functools.partial):
        if "where" in innermost.keywords:
            return False
        innermost = innermost.func
    package = str(getattr(innermost, "__module__", "")).partition(".")[0]
    if isinstance(innermost, np.ufunc) or package in ("numpy", "jax"):  # their ``where`` is a mask
        return False
    try:
        return "where" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # functions of C may have no signature
        return False


@dataclass(frozen=True)
class PositionUnit:
    """A position; the function computes values or images from it."""

    function: MappedFunction
    path: str
    source: Position
    target: Position

    def do(self) -> Outcome:
        """Call the function, and store its results."""
        where = Where(self.path, self.function.level)
        if not self.function.names:
            value, failure = self.function.call(lambda: self.function.apply(self.source, where))
            return Outcome(self.path, value, failure=failure)
        records = [
            PositionRecord(self.source, self.target, name, self.function.digest)
            for name in self.function.names
        ]
        for record in records:
            record.read_source()
        if self.function.resume and all(record.is_done() for record in records):
            return Outcome(self.path, skipped=True)

        def compute_and_store() -> None:
            for record in records:
                record.read_source()
            results = self.function.results(self.function.apply(self.source, where))
            for name, result in zip(self.function.names, results, strict=True):
                self._store(name, result)
            for record in records:
                record.finish()

        return Outcome(self.path, failure=self.function.call(compute_and_store)[1])

    def _store(self, name: str, result: Any) -> None:
        if not hasattr(result, "shape"):
            raise InvalidArgumentError(
                f"The function returned {type(result).__name__} for {self.path}, not an array to store as {name!r}."
            )
        begin_result(self.target, name)
        discard(self.target, name)
        if name.startswith(LABELS):
            self.target.labels.create(name.removeprefix(LABELS), result)
            return
        options: dict[str, Any] = {"chunks": "auto"}
        if self.function.level in self.source.dataset_paths:
            finest = self.source[self.function.level]
            options = map_output.layout_like(
                finest.meta, result.shape, self.target.store_handle.version.zarr_format
            )
            if finest.shape[-2:] == tuple(result.shape)[-2:] and finest.ndim == len(result.shape):
                options["transform"] = transform_of(self.source, self.function.level, self.target)
        self.target.create_from(name, result, {"transform": None, **options}, is_result=True)


@dataclass(frozen=True)
class BlockUnit(ABC):
    """A block of an array, from which the function computes a block of a result."""

    function: MappedFunction
    path: str
    source: ImageArray
    plan: BlockPlan
    region: Region
    line: list[Any] | None
    """Line of the block in the journal."""

    def do(self) -> Outcome:
        """Read the block, call the function, and write its result; skip a finished block."""
        array = f"{self.path}/{self.function.level}"
        unit = f"{array} {[[span.start, span.stop] for span in self.region]}"
        if self.line is not None and is_done(self.line, self._source_state(), self._result_state()):
            return Outcome(unit, skipped=True)
        states: list[str | None] = []
        region_read = self.plan.region_to_read(self.region)
        where = Where(self.path, self.function.level, self.plan.region_without_halo(self.region), region_read)

        def compute_and_write() -> None:
            # The source is looked at first: if it changes while it is read, the line in the journal is not valid.
            source_state = self._source_state() if self.function.digest else None
            self._write(self.function.apply(self.source[region_read], where), region_read)
            states[:] = source_state, self._result_state() if self.function.digest else None

        failure = self.function.call(compute_and_write)[1]
        known_states = None if None in states else states
        return Outcome(unit, failure=failure, region=self.region, states=known_states, array=array)

    def _source_state(self) -> str | None:
        return region_state(self.source, self.plan.region_to_read(self.region))

    @abstractmethod
    def _result_state(self) -> str | None:
        """Return the state of the files of the result; None where one is missing."""

    @abstractmethod
    def _write(self, result: Any, region_read: Region) -> None:
        """Write what the function returned for the region that was read."""


@dataclass(frozen=True)
class RegionUnit(BlockUnit):
    """A block whose results are blocks of one or several arrays."""

    targets: tuple[ImageArray, ...]

    def _write(self, result: Any, region_read: Region) -> None:
        blocks = [self.plan.without_halo(block, self.region) for block in self.function.results(result)]
        for target, block in zip(self.targets, blocks, strict=True):
            target[self.region] = block

    def _result_state(self) -> str | None:
        states = [region_state(target, self.region) for target in self.targets]
        return None if None in states else " ".join(map(str, states))


def transform_of(source: Position, level: str, target: Position) -> list[TransformationMeta]:
    """Return the transformations of a level for an array of equal geometry in another position."""
    shared_transforms = target.document.shared_model.multiscales[0].coordinate_transformations
    if shared_transforms:  # those of all levels together, copied with the metadata of the source
        return find_dataset(source.document.shared_model, level).coordinate_transformations
    offset = source.get_effective_translation(level)
    return scale_and_translation(source.get_effective_scale(level), offset if any(offset) else None)


def discard(position: Position, name: str) -> None:
    """Delete the image or label image of an earlier run."""
    if name.startswith(LABELS):
        label = name.removeprefix(LABELS)
        if label in position.labels:
            del position.labels[label]
        elif position.documents.storage.exists(position.node_path.child(name).path):
            # A killed run has left it unlisted.
            position.documents.delete(position.node_path.child(name).path)
    elif name in position.dataset_paths or name in position.array_keys():
        del position[name]
