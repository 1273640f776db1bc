"""Run the coroutines of object stores in an event loop on a thread of its own.

`zarr.core.sync` does the same for zarr-python's stores, but takes 0.13 s to import, a third of opening a store at a
URL.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_SECONDS_TO_END = 0.2
"""How long an ending process waits for the event loop."""

_lock = threading.Lock()
_loops: dict[int, tuple[asyncio.AbstractEventLoop, threading.Thread]] = {}
"""The event loop and its thread by process: those of a parent do not run in a forked child."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result; call it from any thread but that of the event loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, _event_loop()).result()


def _event_loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if os.getpid() not in _loops:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="lamella-loop", daemon=True)
            thread.start()
            _loops[os.getpid()] = loop, thread
        return _loops[os.getpid()][0]


def _end() -> None:
    loop, thread = _loops.pop(os.getpid(), (None, None))
    if loop is not None and thread is not None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_SECONDS_TO_END)
        if not thread.is_alive():
            loop.close()


atexit.register(_end)


class PerLoop(Generic[T]):
    """A lock or semaphore of asyncio for each event loop, as it works in one only; zarr-python has another loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def __call__(self) -> T:
        """Return that of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._of_loop:
            self._of_loop[loop] = self._make()
        return self._of_loop[loop]
