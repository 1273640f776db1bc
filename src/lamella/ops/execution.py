"""Running the units of an operation on an executor, with a bounded number under way.

Layer: ops.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

U = TypeVar("U")
R = TypeVar("R")


def workers(jobs: int | None = None) -> int:
    """Return how many workers to use: as asked, or one for each processor this process may run on.

    >>> workers(3)
    3
    """
    if jobs is not None:
        return max(1, jobs)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def run(
    work: Callable[[U], R],
    units: Iterable[U],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    done: Callable[[R], None] | None = None,
) -> None:
    """Do the work for each unit, at most two units per worker under way at a time.

    Parameters
    ----------
    work
        Function of one unit. Any executor but threads has to be able to pickle it.
    units
        The units; taken one by one, so they may be many.
    jobs
        Number of workers; one per processor by default.
    executor
        Where to run; a thread pool of its own by default.
    done
        Called in this thread with each result.

    Raises
    ------
    Exception
        The first that a unit raises. Units not begun are left out, those under way end first.
    """
    count = workers(jobs)
    if executor is None and count == 1:
        for unit in units:
            result = work(unit)
            if done is not None:
                done(result)
        return
    with nullcontext(executor) if executor is not None else ThreadPoolExecutor(count, "lamella") as pool:
        pending: set[Future[R]] = set()
        try:
            for unit in units:
                pending.add(pool.submit(work, unit))
                if len(pending) >= 2 * count:
                    pending = _collect(pending, done)
            while pending:
                pending = _collect(pending, done)
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


def _collect(pending: set[Future[R]], done: Callable[[R], None] | None) -> set[Future[R]]:
    finished, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in finished:
        result = future.result()
        if done is not None:
            done(result)
    return set(rest)
