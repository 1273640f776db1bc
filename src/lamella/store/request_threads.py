"""Wait for the answers of an object store in threads, many at a time.

A coroutine of obstore wakes the event loop twice for each answer and costs 0.3 ms of a processor; a thread that waits
for the answer itself costs 0.1 ms. The event loop is woken once for all requests that are sent together.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

_IDLE: Final = 10.0
"""Seconds after which an idle thread ends."""

_PATIENCE: Final = 1.0
"""Seconds that an ending process waits for answers."""

_running: set[_Batch[Any, Any]] = set()
"""The batches of all stores whose answers are awaited."""


class RequestThreads:
    """Up to ``limit`` threads, started when they are needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: Each batch once for each thread that works on it.
        self._batches: SimpleQueue[_Batch[Any, Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        #: Number of idle threads minus the length of `_batches`.
        self._free = 0

    async def outcomes(self, function: Callable[[T], R], items: Sequence[T]) -> list[R | BaseException]:
        """Call a function with each item; return the result of each, or its error."""
        if not items:
            return []
        batch = _Batch(function, items)
        _running.add(batch)
        batch.done.add_done_callback(lambda _: _running.discard(batch))
        try:
            self._start(batch, min(len(items), self._limit))
            await asyncio.wrap_future(batch.done)
        except BaseException:  # cancelled, or no thread could be started
            batch.abandon()
            raise
        return batch.outcomes

    def _start(self, batch: _Batch[Any, Any], count: int) -> None:
        with self._lock:
            while self._free < count and self._count < self._limit:
                try:
                    threading.Thread(target=self._work, name="lamella-request", daemon=True).start()
                except RuntimeError:  # the system allows no more
                    if not self._count:
                        raise
                    break
                self._free += 1
                self._count += 1
            self._free -= count
        for _ in range(count):
            self._batches.put(batch)

    def _work(self) -> None:
        while self._work_once():
            with self._lock:
                self._free += 1

    def _work_once(self) -> bool:
        """Work on the next batch; return False where the thread is to end."""
        while True:
            try:
                batch = self._batches.get(timeout=_IDLE)
            except Empty:
                with self._lock:
                    if self._free > 0:
                        self._free -= 1
                        self._count -= 1
                        return False
            else:
                batch.work()
                return True


class _Batch(Generic[T, R]):
    """Items that wait for a thread, and the outcomes of the others."""

    def __init__(self, function: Callable[[T], R], items: Sequence[T]) -> None:
        self._function = function
        self._waiting = deque(enumerate(items))
        self._left = len(items)
        self._lock = threading.Lock()
        self.outcomes: list[Any] = [None] * len(items)
        self.done: Future[None] = Future()
        self.done.set_running_or_notify_cancel()

    def work(self) -> None:
        """Call the function with one item after the other, until none waits."""
        with suppress(IndexError):
            while True:
                number, item = self._waiting.popleft()
                try:
                    self.outcomes[number] = self._function(item)
                except BaseException as error:  # also a panic of Rust
                    self.outcomes[number] = error
                self._count_done()

    def abandon(self) -> None:
        """Drop the items that wait."""
        with suppress(IndexError):
            while True:
                number, _ = self._waiting.pop()
                self.outcomes[number] = RuntimeError("was not sent: the program ends, or nobody waits for it")
                self._count_done()

    def _count_done(self) -> None:
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self.done.set_result(None)


def end_requests() -> None:
    """Send no more requests that nobody waits for any more, and wait a moment for the answers to the last ones.

    A thread that an ending process stops inside obstore aborts the process.
    """
    end = time.monotonic() + _PATIENCE
    batches = list(_running)
    for batch in batches:
        batch.abandon()
    for batch in batches:
        with suppress(TimeoutError):
            batch.done.result(max(0.0, end - time.monotonic()))
