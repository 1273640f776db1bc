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

#: Maximum number of bytes that a stream prepares before its first frame; more is allocated when it is needed.
_MAX_PREPARED = 128 << 20
#: Bytes of noise that are repeated in a chunk. Codecs look for repetitions in a shorter window, so they find none.
_NOISE = 1 << 20
#: How often each thread encodes the noise. The system's allocator uses new memory twice before it reuses the old.
_WARM_UPS = 2
#: Weight of the newest job in the mean duration of jobs.
_RECENT = 0.2


class ChunkThreads:
    """Threads that encode and write, for all arrays of a stream.

    A job is pending while it waits or runs. With ``max_pending`` pending jobs `submit` waits until one ends. With more
    than half as many, it waits for at most the mean time from the end of one job to the end of the next: so many frames
    wait a little, and no frame waits as long as the slowest job takes. ``waits`` counts how often `submit` waited.
    """

    def __init__(self, count: int, max_pending: int) -> None:
        self.max_pending = max_pending
        self.pending = 0
        self.waits = 0
        self.failure: BaseException | None = None
        self._count = count
        self._seconds_per_job = (
            0.0  # seconds from the end of one job to the end of the next, while jobs are waiting
        )
        self._pool = ThreadPoolExecutor(count, "lamella-stream")
        self._changed = threading.Condition()
        self._free_blocks: dict[tuple[Shape, np.dtype[Any]], list[Array]] = {}

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a thread; wait while too many are pending; raise the error of an earlier job."""
        with self._changed:
            if self._seconds_per_job and self.pending > self.max_pending // 2:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending <= self.max_pending // 2, self._seconds_per_job)
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
        seconds = (time.perf_counter() - start) / self._count
        with self._changed:
            self._seconds_per_job += (
                _RECENT * (seconds - self._seconds_per_job) if self._seconds_per_job else seconds
            )
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
        self._free_blocks.clear()

    def prepare(
        self, shape: Shape, dtype: np.dtype[Any], chunk: Shape, encode: Callable[[Array], object]
    ) -> None:
        """Touch the memory of blocks (``shape``, ``dtype``) and of encoders once; ``encode`` gets a chunk of noise."""
        size = prod(shape) * dtype.itemsize
        for _ in range(min(self.max_pending + 1, _MAX_PREPARED // max(1, size))):
            block = np.empty(shape, dtype)
            block.fill(0)
            self.release(block)
        if prod(chunk) * dtype.itemsize > _MAX_PREPARED:
            return
        # Noise does not compress, so its encoded form needs as much memory as that of any frame.
        noise = np.resize(np.frombuffer(os.urandom(_NOISE), "u1"), prod(chunk) * dtype.itemsize)
        all_started = threading.Barrier(self._count)

        def warm_up() -> None:
            all_started.wait()  # else one thread could run all jobs
            for _ in range(_WARM_UPS):
                encode(noise.view(dtype).reshape(chunk))

        try:
            for job in [self._pool.submit(warm_up) for _ in range(self._count)]:
                job.result()
        except BaseException:
            all_started.abort()
            raise

    def allocate(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """Return memory with arbitrary content, reused if possible: its pages are assigned already."""
        with self._changed:
            free_blocks = self._free_blocks.get((shape, dtype))
            if free_blocks:
                return free_blocks.pop()
        return np.empty(shape, dtype)

    def release(self, block: Array) -> None:
        """Keep memory for the next `allocate`."""
        with self._changed:
            self._free_blocks.setdefault((block.shape, block.dtype), []).append(block)
