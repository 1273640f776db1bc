"""Run the units of an operation, a bounded number at once, on threads or any executor, and report the progress.

A unit describes what to read and write (paths and regions, never pixels or open files). It writes whole files that no
other unit writes, so that it can be pickled, sent to another machine, and repeated if its worker dies.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from lamella.arguments import is_whole_number
from lamella.errors import (
    InvalidArgumentError,
    WorkerLostError,
    WrongTypeError,
    clause,
    users_frame,
    warning_user,
)
from lamella.store.files.local import LocalStorage
from lamella.store.flat_storage import FlatStorage
from lamella.store.process_limits import cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    from lamella.store.storage import Storage

UnitType = TypeVar("UnitType")
ResultType = TypeVar("ResultType")

_NO_UNIT: Final = object()

_MAX_WAITING_BYTES: Final = 512 << 20
"""Maximum memory of all units that wait for a store at the same time, see `Workers.waiting_for`."""

LARGE_CHUNK: Final = 64 << 20
"""Bytes of a large chunk: an estimate of the memory of a unit that decodes one chunk at a time."""

_MAX_SUBMITTED = 1024
"""Maximum number of submitted units of an executor: enough for any cluster, and they are small."""

_MAX_REPEATS = 3
"""How often a unit is submitted again after the executor lost its result."""


@dataclass(frozen=True)
class Workers:
    """The workers of an operation: their number (``jobs``) and executor; by default threads, one per processor."""

    jobs: int | None = None
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and not is_whole_number(self.jobs, 1):
            raise InvalidArgumentError(f"jobs={self.jobs!r} is not a number of workers from 1.")
        if self.executor is not None:
            _check_executor(self.executor)

    @property
    def count(self) -> int:
        """Number of workers: as requested, or one for each processor that this process may use."""
        return self.jobs or cpus()

    def waiting_for(self, storage: Storage, nbytes: int = 0) -> Workers:
        """Return workers for units that mostly wait for a store: as many threads as it answers requests at once.

        ``nbytes`` is the memory that one unit needs; all units together need at most 512 MiB.
        """
        if self.jobs is not None or self.executor is not None or not isinstance(storage, FlatStorage):
            return self
        return Workers(max(self.count, min(storage.max_requests, _MAX_WAITING_BYTES // max(1, nbytes))))

    def check_reach(self, *storages: Storage) -> None:
        """Raise for an executor in other processes if the store is in memory or in a ZIP file."""
        if self.executor is None or isinstance(self.executor, ThreadPoolExecutor):
            return
        for storage in storages:
            if isinstance(storage, LocalStorage):
                continue
            store = storage.zarr_store()
            store_classes = {store_class.__name__ for store_class in type(store).__mro__}
            file_system = getattr(store, "fs", None)
            if store_classes & {"MemoryStore", "ZipStore"} or "memory" in getattr(
                file_system, "protocol", ()
            ):
                raise InvalidArgumentError(
                    f"{storage.name} belongs to this process alone: the workers of {type(self.executor).__name__} "
                    "would not see it, or would damage it. Use a thread pool, or put the store into a folder."
                )


THREADS: Final = Workers()
"""Threads of this process, one per processor."""


def _check_executor(executor: object) -> None:
    if not callable(getattr(executor, "submit", None)):
        hint = f" Pass ThreadPoolExecutor({executor})." if isinstance(executor, int) else ""
        raise InvalidArgumentError(f"executor={executor!r} is not a concurrent.futures.Executor.{hint}")
    # Only Python's own pools are tested: a task of other executors may be expensive.
    from concurrent.futures import ProcessPoolExecutor

    if type(executor) in (ThreadPoolExecutor, ProcessPoolExecutor):
        try:
            cast("Executor", executor).submit(int).cancel()
        except RuntimeError as error:
            raise InvalidArgumentError(
                f"The executor accepts no units: {clause(error)}. Nothing was begun."
            ) from error


def run(
    work: Callable[[UnitType], ResultType],
    units: Iterable[UnitType],
    workers: Workers = THREADS,
    *,
    on_result: Callable[[ResultType], None] | None = None,
) -> None:
    """Call a function for each unit, with a bounded number at once; call ``on_result`` in this thread with each result.

    ``work`` must be picklable for executors: a function of a module. Units are consumed as needed. One worker runs in
    this thread. An executor receives 1024 units at once, or twice ``jobs``, and is not shut down. The first error of a
    unit is raised after the running units have ended, and no further unit starts. WorkerLostError means that the
    executor lost a process, or was closed and cancelled the units.
    """
    executor = workers.executor
    if executor is None and workers.count == 1:
        for unit in units:
            result = work(unit)
            if on_result is not None:
                on_result(result)
        return
    if executor is None and on_result is None:
        _run_without_results(work, units, workers.count)
        return
    limit = _MAX_SUBMITTED if executor is not None and workers.jobs is None else 2 * workers.count
    with nullcontext(executor) if executor is not None else ThreadPoolExecutor(limit // 2, "lamella") as pool:
        try:
            _submit_all(pool, work, units, limit, on_result)
        except BrokenExecutor as error:
            raise WorkerLostError(
                f"The executor lost a worker: {clause(error)}. What was written is whole; run the same again, on a new "
                "executor, to complete it."
            ) from error
        except CancelledError as error:
            raise WorkerLostError(
                "The executor cancelled units that had not ended: it was closed, or lost its cluster. What was written "
                "is whole; run the same again, on a new executor, to complete it."
            ) from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            # From Python 3.13 on a lambda is a "local object" that cannot be got; before, one that cannot be pickled.
            if executor is not None and any(word in str(error) for word in ("pickle", "local object")):
                raise InvalidArgumentError(
                    f"The executor cannot send work to its workers: {clause(error)}."
                ) from error
            raise


def run_at_store(
    work: Callable[[UnitType], ResultType],
    units: Iterable[UnitType],
    storage: Storage,
    workers: Workers = THREADS,
    *,
    on_result: Callable[[ResultType], None] | None = None,
) -> None:
    """Call a function for each unit: one after the other in a folder, many at once where each request takes a while.

    ``workers`` limit how many run at once where they state a number, see `Workers.waiting_for`.
    """
    if not isinstance(storage, FlatStorage):
        run(work, units, Workers(1), on_result=on_result)
        return
    queue = iter(units)
    # Alone: the first unit reads the documents that all units need.
    run(work, islice(queue, 1), Workers(1), on_result=on_result)
    as_this_thread, frame = storage.handed_over(), users_frame()

    def work_as_this_thread(unit: UnitType) -> ResultType:
        with as_this_thread(), warning_user(frame):
            return work(unit)

    run(work_as_this_thread, queue, workers.waiting_for(storage), on_result=on_result)


def _run_without_results(work: Callable[[UnitType], object], units: Iterable[UnitType], count: int) -> None:
    """Run units on ``count`` threads, each of which fetches its next unit itself; run a single unit in this thread."""
    queue = iter(units)
    first = list(islice(queue, count))
    if len(first) <= 1:
        for unit in first:
            work(unit)
        return
    all_units, lock, stopped = chain(first, queue), threading.Lock(), threading.Event()

    def run_units() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    unit = next(all_units, _NO_UNIT)
                if unit is _NO_UNIT:
                    return
                work(cast("UnitType", unit))
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(len(first), "lamella") as pool:
        futures = [pool.submit(run_units) for _ in first]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            stopped.set()


def _submit_all(
    pool: Executor,
    work: Callable[[UnitType], ResultType],
    units: Iterable[UnitType],
    limit: int,
    on_result: Callable[[ResultType], None] | None,
) -> None:
    """Submit all units, at most ``limit`` at a time, and wait for them; submit a unit again if its result was lost."""
    pending: dict[Future[ResultType], tuple[UnitType, int]] = {}
    finished: SimpleQueue[Future[ResultType]] = SimpleQueue()

    def submit(unit: UnitType, repeats: int = _MAX_REPEATS) -> None:
        try:
            future = pool.submit(work, unit)
        except BrokenExecutor:
            raise
        except RuntimeError as error:  # it was closed meanwhile
            raise WorkerLostError(
                f"The executor accepts no more units: {clause(error)}. What was written is whole; run the same again, "
                "on a new executor, to complete it."
            ) from error
        pending[future] = unit, repeats
        future.add_done_callback(finished.put)

    def collect() -> None:
        future = finished.get()
        unit, repeats = pending.pop(future)
        try:
            result = future.result()
        except (AttributeError, TypeError, ValueError) as error:
            if not repeats or not _result_lost(error):
                raise
            submit(unit, repeats - 1)
            return
        if on_result is not None:
            on_result(result)

    try:
        for unit in units:
            submit(unit)
            if len(pending) >= limit:
                collect()
        while pending:
            collect()
    finally:
        # A cancelled future may never report its end: Dask's do not after their cluster was closed.
        wait([future for future in pending if not future.cancel()])


def _result_lost(error: Exception) -> bool:
    """Return whether an error is one of Dask's executor itself, and not of the unit.

    When a worker dies while its result is fetched, Dask schedules the unit again, but the executor treats the missing
    result as the unit's error and fails (``_cascade_future`` in distributed/cfexecutor.py, 2026.8).
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__") == "distributed.cfexecutor"


Progress: TypeAlias = "Callable[[float, int, str], object]"
"""Called with (done, total, noun), such as (3, 10, "images"); total is 0 while unknown. One thread calls at a time."""


def check_progress(progress: object) -> None:
    """Raise WrongTypeError for a progress that is neither a function nor a bool."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise WrongTypeError(
            f"progress={progress!r} is neither True, for a bar, nor a function of (done, total, noun)."
        )


class Count:
    """Counts what is finished, such as voxels or files (``noun``), and reports it to a progress function."""

    def __init__(self, progress: Progress | None, noun: str, total: int = 0) -> None:
        self._progress = progress
        self._noun = noun
        self._total = total
        self._done = 0.0
        self._lock = Lock()

    def expect(self, amount: int) -> None:
        """Add to the total."""
        self._total += amount

    def add(self, amount: float = 1, noun: str | None = None) -> None:
        """Add to the amount that is done, on any thread; ``noun`` replaces that of the counter in this report."""
        if self._progress is not None:
            with self._lock:
                self._done += amount
                done = round(self._done, 6)  # sums of fractions are off by a rounding error
                self._progress(int(done) if done.is_integer() else done, self._total, noun or self._noun)

    def finish(self, noun: str | None = None) -> None:
        """Report that all is done."""
        if self._progress is not None:
            with self._lock:
                self._progress(self._total, self._total, noun or self._noun)


def is_terminal() -> bool:
    """Return whether the error stream is a terminal; variables such as FORCE_COLOR do not make a file one."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def reporting(progress: Progress | bool | None, noun: str) -> Iterator[Progress | None]:
    """Yield the function to call with the progress of an operation, or None; a bar is first labelled with ``noun``."""
    if progress is not True:
        yield progress or None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not (is_terminal() or console.is_jupyter):
        yield None
        return
    with _bar(console, noun) as show:
        yield show


@contextmanager
def counting(progress: Progress | bool | None, noun: str, total: int = 0) -> Iterator[Count]:
    """Yield a counter of what an operation has finished, which reports as `reporting` does."""
    with reporting(progress, noun) as report_progress:
        yield Count(report_progress, noun, total)


@contextmanager
def _bar(console: Console, noun: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=None)
        start = time.monotonic()

        def show(done: float, total: int, noun: str) -> None:
            text = noun if total else f"{done:,.0f} {noun}"
            if noun == "bytes":
                rate = done / max(time.monotonic() - start, 0.001)
                text = f"{done / 1e6:,.0f} MB, {rate / 1e6:,.0f} MB/s"
            bar.update(task, completed=done, total=total or None, description=text)

        yield show
