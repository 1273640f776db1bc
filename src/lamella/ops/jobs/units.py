"""Units of a job, and the one test of whether a unit is done.

A unit is done if its line in the journal has the present states of the files that it reads and writes. A state is a
digest of the fingerprints of files, and for the files read also of the job's settings (of `Plate.map`, the function).
Times alone prove nothing: a copy may be older than the file that it replaces, and clocks of machines differ.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import groupby, islice
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

from lamella.errors import LamellaError
from lamella.ops.jobs.journal import line_of
from lamella.ops.regions import region_shape
from lamella.store.keys import join
from lamella.store.pixels import chunk_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lamella.ops.jobs.journal import Journal, LocalFile
    from lamella.ops.regions import Region
    from lamella.store.pixels.arrays import StoredArray
    from lamella.store.storage import Storage


@dataclass(frozen=True)
class Files:
    """Files of one store, by their keys; some may not exist. ``others`` are files of other stores."""

    storage: Storage
    keys: Sequence[str]
    others: tuple[Files, ...] = ()


class Unit(Protocol):
    """A part of a job. It can be pickled, and repeated safely."""

    @property
    def key(self) -> str:
        """Unique name of the unit in the job's journal."""

    @property
    def size(self) -> int:
        """Raw size of its pixels in bytes, for progress."""

    @property
    def units_per_task(self) -> int:
        """Number of such units that a worker gets at once."""

    def reads(self) -> Files:
        """Return the files on which the result depends."""

    def writes(self) -> Files:
        """Return the files of the result."""

    def do(self) -> None:
        """Read, compute and write."""


class TargetUnit:
    """A `Unit` that writes a region of an array, aligned to its files."""

    target: StoredArray
    region: Region
    units_per_task = 1

    @property
    def key(self) -> str:
        """Path of the array, and start of the region."""
        return f"{self.target.path} {[span.start for span in self.region]}"

    @property
    def size(self) -> int:
        """Raw size of its pixels."""
        return prod(region_shape(self.region)) * self.target.meta.dtype.itemsize

    def writes(self) -> Files:
        """Return the files of the array."""
        return files_of(self.target, self.region)


def digest(value: Any) -> str:
    """Return a digest of any JSON value; other values count by their text."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def files_of_region(array: StoredArray, region: Region) -> list[str]:
    """Return the keys of the files of an array that overlap a region."""
    meta = array.meta
    return [
        join(array.path, meta.chunk_key(chunk_index)) for chunk_index in chunk_grid.files_of(meta, region)
    ]


def files_of(array: StoredArray, region: Region) -> Files:
    """Return the files of an array that overlap a region."""
    return Files(array.documents.storage, files_of_region(array, region))


def state_of(files: Files, *settings: Any) -> str | None:
    """Return the digest of the fingerprints of files, and of settings; None if the store has no fingerprints."""
    try:
        fingerprints = [group.storage.fingerprints(group.keys) for group in (files, *files.others)]
    except LamellaError:
        return None
    if None in fingerprints:
        return None
    text = repr((settings, fingerprints))  # faster than JSON, for jobs of millions of small files
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def is_done(line: Sequence[Any] | None, source_state: object, result_state: object) -> bool:
    """Return whether a line of the journal has these states of the files that a unit reads and writes."""
    states = [source_state, result_state]
    return line is not None and None not in states and list(line) == states


@dataclass(frozen=True)
class Task:
    """Units for one worker, each with its line in the journal of an interrupted call, or None.

    ``weight`` is the share of these units in the job, for progress; ``job`` is the digest of the job's settings.
    """

    units: tuple[tuple[Unit, list[Any] | None], ...]
    weight: float
    job: str
    journal: LocalFile | None


def tasks(
    units: Iterable[Unit],
    job: str = "",
    journal: Journal[LocalFile] | None = None,
    weight: Callable[[Unit], float] = lambda unit: unit.size,
) -> Iterator[Task]:
    """Group units into tasks; `weight` returns the share of a unit in the job."""
    for units_per_task, group in groupby(units, key=lambda unit: unit.units_per_task):
        while batch := list(islice(group, units_per_task)):
            lines = [None if journal is None else journal.get(unit.key) for unit in batch]
            file = None if journal is None else journal.file
            yield Task(tuple(zip(batch, lines, strict=True)), sum(map(weight, batch)), job, file)


def do_task(task: Task) -> float:
    """Run the units of a task that are not done, and record each in the journal; return their total weight."""
    if task.journal is None:
        for unit, _ in task.units:
            unit.do()
    else:
        with task.journal.appending() as append:
            for unit, line in task.units:
                _do_unless_done(unit, line, task.job, append)
    return task.weight


def _do_unless_done(unit: Unit, line: list[Any] | None, job: str, append: Callable[[bytes], None]) -> None:
    source_state = state_of(unit.reads(), job)
    if line is not None and is_done(line, source_state, state_of(unit.writes())):
        return
    unit.do()
    result_state = state_of(unit.writes())
    if source_state is not None and result_state is not None:
        append(line_of([unit.key, source_state, result_state]))
