"""Running the units of an operation, with a bounded number under way: on threads, or on any executor.

An operation over much data is planned as units: small values that say where to read and what to write (paths and
regions, never pixels or open files), whose outputs are whole files that no other unit writes. So a unit can be
pickled, run on another machine that sees the same store, and run again when its worker died. Every operation that
takes ``executor=`` goes through :func:`run`.

Layer: ops.
"""

from __future__ import annotations

import operator
import pickle
import threading
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar, cast

from lamella.errors import InvalidArgumentError, WorkerLostError
from lamella.store.codec_threads import cpus
from lamella.store.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lamella.store.storage import Storage

U = TypeVar("U")
R = TypeVar("R")

_NONE_LEFT: Final = object()

_MOST_SUBMITTED = 1024
"""Units handed to an executor of the caller at a time: enough for any cluster, and they are small."""


@dataclass(frozen=True)
class Workers:
    """Where the units of an operation run, and how many of them at a time.

    Attributes
    ----------
    jobs
        Number of workers; one per processor by default.
    executor
        Where to run: any ``concurrent.futures.Executor``; in threads of this process by default.

    Raises
    ------
    InvalidArgumentError
        `jobs` is not a number from 1, or `executor` is not an executor that accepts work.

    Examples
    --------
    >>> Workers(2).count
    2
    >>> Workers("2")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: jobs is a number of workers from 1, not '2'.
    >>> Workers(None, 4)
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: executor is a concurrent.futures.Executor, not 4. Pass ThreadPoolExecutor(4).
    """

    jobs: int | None = None
    executor: Executor | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run, before anything is created."""
        if self.jobs is not None:
            _check_jobs(self.jobs)
        if self.executor is not None:
            _check_executor(self.executor)

    @property
    def count(self) -> int:
        """Number of workers: as asked, or one for each processor that this process may use."""
        return self.jobs or cpus()

    def check_reach(self, *storages: Storage) -> None:
        """Refuse an executor whose workers cannot share a store: one in memory or a ZIP file, from another process.

        Raises
        ------
        InvalidArgumentError
            With what to do.
        """
        if self.executor is None or isinstance(self.executor, ThreadPoolExecutor):
            return
        for storage in storages:
            if isinstance(storage, LocalStorage):
                continue
            store = storage.zarr_store()
            kinds = {kind.__name__ for kind in type(store).__mro__}
            if kinds & {"MemoryStore", "ZipStore"} or "memory" in getattr(
                getattr(store, "fs", None), "protocol", ()
            ):
                raise InvalidArgumentError(
                    f"{storage.name} belongs to this process alone: the workers of {type(self.executor).__name__} "
                    "would not see or would spoil it. Use a thread pool, or put the store into a folder."
                )


THREADS: Final = Workers()
"""Threads of this process, one per processor."""


def _check_jobs(jobs: object) -> None:
    try:
        number = operator.index(jobs)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise InvalidArgumentError(f"jobs is a number of workers from 1, not {jobs!r}.")


def _check_executor(executor: object) -> None:
    if not callable(getattr(executor, "submit", None)):
        hint = f" Pass ThreadPoolExecutor({executor})." if isinstance(executor, int) else ""
        raise InvalidArgumentError(f"executor is a concurrent.futures.Executor, not {executor!r}.{hint}")
    # Only pools of Python's own are asked: a task of others may cost something.
    if type(executor) in (ThreadPoolExecutor, ProcessPoolExecutor):
        try:
            cast("Executor", executor).submit(int).cancel()
        except RuntimeError as fault:
            raise InvalidArgumentError(f"The executor takes no work: {fault}. Nothing was begun.") from fault


def run(
    work: Callable[[U], R],
    units: Iterable[U],
    workers: Workers = THREADS,
    *,
    done: Callable[[R], None] | None = None,
) -> None:
    """Do the work for each unit, a bounded number of them under way at a time.

    Parameters
    ----------
    work
        Function of one unit. Any executor but threads has to be able to pickle it: a function of a module, and not
        one made inside another.
    units
        The units; taken one by one as they are needed, so they may be many.
    workers
        Where, and how many units at a time. Each worker has two units at most, and one worker needs no thread. An
        executor is left open; it is sent twice as many units at a time as there are workers, by default 1024.
    done
        Called in this thread with each result, in the order in which they come.

    Raises
    ------
    Exception
        The first that a unit raises. Units not begun are left out, those under way end first.
    WorkerLostError
        The executor lost a process, or cannot run any more.
    InvalidArgumentError
        The executor cannot send a unit to its workers.

    Examples
    --------
    >>> told = []
    >>> run(abs, [-1, 2, -3], Workers(2), done=told.append)
    >>> sorted(told)
    [1, 2, 3]
    """
    executor = workers.executor
    if executor is None and workers.count == 1:
        for unit in units:
            result = work(unit)
            if done is not None:
                done(result)
        return
    if executor is None and done is None:
        _share(work, units, workers.count)
        return
    most = _MOST_SUBMITTED if executor is not None and workers.jobs is None else 2 * workers.count
    with nullcontext(executor) if executor is not None else ThreadPoolExecutor(most // 2, "lamella") as pool:
        try:
            _drive(pool, work, units, most, done)
        except BrokenExecutor as fault:
            raise WorkerLostError(
                f"The executor lost a worker: {fault} What was written is whole; run the same again, on a new "
                "executor, to complete it."
            ) from fault
        except (pickle.PicklingError, AttributeError, TypeError) as fault:
            # From Python 3.13 on a lambda is a "local object" that cannot be got; before, one that cannot be pickled.
            if executor is not None and any(word in str(fault) for word in ("pickle", "local object")):
                raise InvalidArgumentError(
                    f"The executor cannot send work to its workers: {fault}"
                ) from fault
            raise


def _share(work: Callable[[U], object], units: Iterable[U], count: int) -> None:
    """Have threads take one unit after the other until all are done.

    Nobody is told of results, so that this thread sleeps meanwhile: one that handed out each unit would want the
    interpreter's lock as often as they do, and all of them would wait for it.
    """
    waiting, turn, ended = iter(units), threading.Lock(), threading.Event()

    def work_on() -> None:
        try:
            while not ended.is_set():
                with turn:
                    unit = next(waiting, _NONE_LEFT)
                if unit is _NONE_LEFT:
                    return
                work(cast("U", unit))
        except BaseException:
            ended.set()
            raise

    with ThreadPoolExecutor(count, "lamella") as pool:
        futures = [pool.submit(work_on) for _ in range(count)]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            ended.set()


def _drive(
    pool: Executor,
    work: Callable[[U], R],
    units: Iterable[U],
    most: int,
    done: Callable[[R], None] | None,
) -> None:
    """Keep up to `most` units under way until all are done."""
    pending: set[Future[R]] = set()
    finished: SimpleQueue[Future[R]] = SimpleQueue()

    def collect() -> None:
        future = finished.get()
        pending.discard(future)
        result = future.result()
        if done is not None:
            done(result)

    try:
        for unit in units:
            future = pool.submit(work, unit)
            pending.add(future)
            future.add_done_callback(finished.put)
            if len(pending) >= most:
                collect()
        while pending:
            collect()
    finally:
        for future in pending:
            future.cancel()
        wait(pending)
