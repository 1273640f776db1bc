"""Load the compiled kernels while the first blocks are read.

Loading kernels takes 0.06 s of one processor, and compiling them seconds: the first blocks of a process wait in memory
until then.

Layer: ops.
"""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.pyramids.downsample import downsample

if TYPE_CHECKING:
    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.regions import Region
    from lamella.types import Array

_loaded: set[tuple[str, str]] = set()


class BlockQueue:
    """A queue of blocks that were read before their kernels were loaded; at most ``most`` raw bytes.

    A thread loads the kernels of the method and dtype, unless this process has loaded them before.
    """

    def __init__(self, method: Method, dtype: np.dtype[np.generic], most: int) -> None:
        self._key = method, dtype.str
        self._bytes_left = most
        self._lock = Lock()
        self._blocks: list[tuple[Region, Array]] = []
        self._are_loaded = Event()
        if self._key in _loaded or method == "stride":
            self._are_loaded.set()
        else:
            Thread(target=self._load, args=(method, dtype), name="lamella-kernels", daemon=True).start()

    def _load(self, method: Method, dtype: np.dtype[np.generic]) -> None:
        try:
            downsample(np.zeros((2, 2), dtype), (2, 2), method)
            _loaded.add(self._key)
        finally:  # an error is raised when the kernel is called
            self._are_loaded.set()

    def put(self, region: Region, block: Array) -> bool:
        """Queue a block if the kernels are not loaded yet; wait for them if the queue is full."""
        if self._are_loaded.is_set():
            return False
        with self._lock:
            if self._bytes_left >= block.nbytes:
                self._bytes_left -= block.nbytes
                self._blocks.append((region, block))
                return True
        self._are_loaded.wait()
        return False

    def get(self) -> tuple[Region, Array] | None:
        """Return one of the queued blocks, if the kernels are loaded."""
        if not self._are_loaded.is_set():
            return None
        with self._lock:
            return self._blocks.pop() if self._blocks else None

    def rest(self) -> list[tuple[Region, Array]]:
        """Wait for the kernels, and return all queued blocks."""
        self._are_loaded.wait()
        with self._lock:
            blocks, self._blocks = self._blocks, []
        return blocks
