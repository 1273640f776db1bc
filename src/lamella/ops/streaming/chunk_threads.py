"""The threads of a stream: a bounded number of pending chunks, the first error, and reused memory.

Threads and memory are prepared before the first frame: the system assigns memory on first use, which on a virtual
machine can take three times as long as a frame, and a camera does not wait.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, StorageError, clause

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.types import Array, Shape

#: Maximum memory that a stream prepares before its first frame; more is allocated when it is needed.
_READY = 128 << 20
#: Bytes of noise that are repeated in a chunk: more than the window of codecs.
_NOISE = 1 << 20
#: How often each thread encodes the noise. The system's allocator uses new memory twice before it reuses the old.
_WARM_UPS = 2
#: Weight of the newest job in the mean duration of jobs.
_RECENT = 0.2


class ChunkThreads:
    """Threads that encode and write, for all arrays of a stream.

    At most ``max_pending`` jobs are pending (waiting or running): then `submit` waits until one ends. With more than
    half as many it waits too, but at most as long as the threads need for one job: many frames wait a little, instead
    of one frame as long as the slowest job takes. ``waits`` counts how often `submit` waited.
    """

    def __init__(self, count: int, max_pending: int) -> None:
        self.max_pending = max_pending
        self.pending = 0
        self.waits = 0
        self.failure: BaseException | None = None
        self._count = count
        self._pace = 0.0  # seconds from the end of one job to the end of the next, while jobs are waiting
        self._pool = ThreadPoolExecutor(count, "lamella-stream")
        self._changed = threading.Condition()
        self._free: dict[tuple[Shape, np.dtype[Any]], list[Array]] = {}

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a thread; wait while too many are pending; raise the error of an earlier job."""
        with self._changed:
            if self._pace and self.pending > self.max_pending // 2:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending <= self.max_pending // 2, self._pace)
            if self.pending >= self.max_pending:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending < self.max_pending or self.failure is not None)
            self.check()
            self.pending += 1
        self._pool.submit(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        failure: BaseException | None = None
        start = time.perf_counter()
        try:
            if self.failure is None:
                job()
        except BaseException as error:
            failure = error
        pace = (time.perf_counter() - start) / self._count
        with self._changed:
            self._pace += _RECENT * (pace - self._pace) if self._pace else pace
            self.failure = self.failure or failure
            self.pending -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until no job is pending; raise the error of a failed job."""
        with self._changed:
            self._changed.wait_for(lambda: self.pending == 0)
        self.check()

    def check(self) -> None:
        """Raise the error of a failed job."""
        if self.failure is None:
            return
        if isinstance(self.failure, OSError) and not isinstance(self.failure, LamellaError):
            raise StorageError(
                f"The stream cannot be written: {clause(self.failure)}.", self.failure.errno
            ) from self.failure
        raise self.failure

    def close(self) -> None:
        """Wait for the pending jobs, and end the threads."""
        self._pool.shutdown()
        self._free.clear()

    def prepare(
        self, shape: Shape, dtype: np.dtype[Any], chunk: Shape, encode: Callable[[Array], object]
    ) -> None:
        """Touch the memory of blocks (``shape``, ``dtype``) and of encoders once; ``encode`` gets a chunk of noise."""
        size = prod(shape) * dtype.itemsize
        for _ in range(min(self.max_pending + 1, _READY // max(1, size))):
            block = np.empty(shape, dtype)
            block.fill(0)
            self.release(block)
        if prod(chunk) * dtype.itemsize > _READY:
            return
        # Noise does not compress, so its encoded form needs as much memory as that of any frame.
        noise = np.resize(np.frombuffer(os.urandom(_NOISE), "u1"), prod(chunk) * dtype.itemsize)
        everyone = threading.Barrier(self._count)

        def warm() -> None:
            everyone.wait()  # otherwise one thread could run the jobs of all
            for _ in range(_WARM_UPS):
                encode(noise.view(dtype).reshape(chunk))

        try:
            for job in [self._pool.submit(warm) for _ in range(self._count)]:
                job.result()
        except BaseException:
            everyone.abort()
            raise

    def allocate(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return memory with arbitrary content, reused if possible: its pages are assigned already."""
        with self._changed:
            free = self._free.get((shape, dtype))
            if free:
                return free.pop()
        return np.empty(shape, dtype)

    def release(self, block: Array) -> None:
        """Keep memory for the next `allocate`."""
        with self._changed:
            self._free.setdefault((block.shape, block.dtype), []).append(block)
