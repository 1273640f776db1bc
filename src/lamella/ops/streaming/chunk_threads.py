"""The threads behind a stream: a bounded number of chunks under way, the first failure kept, memory used again.

Both are made ready before the first frame. The system gives memory when it is first touched, which on a virtual machine
can take three times as long as the frame itself, and a camera does not wait.

Layer: ops.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.types import Array, Shape

#: Bytes of memory that a stream touches before its first frame, at most; more is made when it is needed.
_READY = 128 << 20
#: Bytes of noise that make one chunk: more than codecs look back for something that they have seen.
_NOISE = 1 << 20
#: How often each thread encodes it. The system's allocator takes new memory twice before it uses the old again.
_WARM_UPS = 2
#: Weight of the newest job in the time that jobs take.
_RECENT = 0.2


class ChunkThreads:
    """Threads that encode and write, for all arrays of a stream.

    Parameters
    ----------
    count
        Number of threads.
    most
        Jobs that may wait or run; `submit` waits for one of them to end when there are as many. From half of them on
        it waits too, but no longer than the threads need for one: so that all frames wait a little, rather than one
        of them for the slowest job.

    Attributes
    ----------
    pending
        Jobs that wait or run.
    waits
        How often `submit` waited.
    """

    def __init__(self, count: int, most: int) -> None:
        self.most = most
        self.pending = 0
        self.waits = 0
        self.failure: BaseException | None = None
        self._count = count
        self._pace = 0.0  # seconds from the end of one job to that of the next, while there is enough to do
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
            if self._pace and self.pending > self.most // 2:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending <= self.most // 2, self._pace)
            if self.pending >= self.most:
                self.waits += 1
                self._changed.wait_for(lambda: self.pending < self.most or self.failure is not None)
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

    def prepare(
        self, shape: Shape, dtype: np.dtype[Any], chunk: Shape, encode: Callable[[Array], object]
    ) -> None:
        """Touch the memory that frames will need: for blocks, and on each thread for what it encodes into.

        Parameters
        ----------
        shape, dtype
            Of the blocks that `take` will be asked for.
        chunk, encode
            Shape of what is encoded, and what encodes it. What it returns is dropped.
        """
        size = prod(shape) * dtype.itemsize
        for _ in range(min(self.most + 1, _READY // max(1, size))):
            block = np.empty(shape, dtype)
            block.fill(0)
            self.give_back(block)
        if prod(chunk) * dtype.itemsize > _READY:
            return
        # Nothing in it repeats, so that it takes as much memory encoded as any frame can.
        noise = np.resize(np.frombuffer(os.urandom(_NOISE), "u1"), prod(chunk) * dtype.itemsize)
        everyone = threading.Barrier(self._count)

        def warm() -> None:
            everyone.wait()  # else one thread could take the turns of all
            for _ in range(_WARM_UPS):
                encode(noise.view(dtype).reshape(chunk))

        try:
            for job in [self._pool.submit(warm) for _ in range(self._count)]:
                job.result()
        except BaseException:
            everyone.abort()
            raise

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
