"""The threads behind a stream: a bounded number of chunks under way, the first failure kept, memory used again.

Layer: ops.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.types import Array, Shape


class Workers:
    """Threads that encode and write, for all arrays of a stream.

    Parameters
    ----------
    count
        Number of threads.
    most
        Jobs that may wait or run; `submit` waits for one of them to end when there are as many.

    Attributes
    ----------
    pending
        Jobs that wait or run.
    waits
        How often `submit` had to wait.
    """

    def __init__(self, count: int, most: int) -> None:
        self.most = most
        self.pending = 0
        self.waits = 0
        self.failure: BaseException | None = None
        self._pool = ThreadPoolExecutor(count, "lamella-stream")
        self._changed = threading.Condition()
        self._free: dict[tuple[Shape, np.dtype[Any]], list[Array]] = {}

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a thread; waits while too many are under way.

        Raises
        ------
        StorageError
            A job before failed.
        """
        with self._changed:
            if self.pending >= self.most:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending < self.most or self.failure is not None)
            self.check()
            self.pending += 1
        self._pool.submit(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            if self.failure is None:
                job()
        except BaseException as error:
            failure = error
        with self._changed:
            self.failure = self.failure or failure
            self.pending -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until nothing is under way.

        Raises
        ------
        StorageError
            A job failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.pending == 0)
        self.check()

    def check(self) -> None:
        """Raise what made a job fail."""
        if self.failure is None:
            return
        if isinstance(self.failure, LamellaError):
            raise self.failure
        raise StorageError(f"the stream cannot be written: {self.failure}") from self.failure

    def close(self) -> None:
        """End the threads, after what is under way."""
        self._pool.shutdown()
        self._free.clear()

    def take(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return memory that may hold anything: pages that are used again cost the system nothing."""
        with self._changed:
            free = self._free.get((shape, dtype))
            if free:
                return free.pop()
        return np.empty(shape, dtype)

    def give_back(self, block: Array) -> None:
        """Keep memory for the next `take`."""
        with self._changed:
            self._free.setdefault((block.shape, block.dtype), []).append(block)
