"""Loading the compiled kernels while the first blocks are read.

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


class KeptBlocks:
    """Blocks that were read before the kernels of a method and a dtype were loaded; at most ``most`` raw bytes.

    A thread loads the kernels, unless this process has them.
    """

    def __init__(self, method: Method, dtype: np.dtype[np.generic], most: int) -> None:
        self._key = method, dtype.str
        self._most = most
        self._lock = Lock()
        self._kept: list[tuple[Region, Array]] = []
        self._there = Event()
        if self._key in _loaded or method == "stride":
            self._there.set()
        else:
            Thread(target=self._load, args=(method, dtype), name="lamella-kernels", daemon=True).start()

    def _load(self, method: Method, dtype: np.dtype[np.generic]) -> None:
        try:
            downsample(np.zeros((2, 2), dtype), (2, 2), method)
            _loaded.add(self._key)
        finally:  # an error is raised when the kernel is called
            self._there.set()

    def keep(self, region: Region, block: Array) -> bool:
        """Keep a block if the kernels are not loaded yet; wait for them if too many blocks are kept already."""
        if self._there.is_set():
            return False
        with self._lock:
            if self._most >= block.nbytes:
                self._most -= block.nbytes
                self._kept.append((region, block))
                return True
        self._there.wait()
        return False

    def take(self) -> tuple[Region, Array] | None:
        """Return one of the kept blocks, if the kernels are loaded."""
        if not self._there.is_set():
            return None
        with self._lock:
            return self._kept.pop() if self._kept else None

    def rest(self) -> list[tuple[Region, Array]]:
        """Wait for the kernels, and return all kept blocks."""
        self._there.wait()
        with self._lock:
            kept, self._kept = self._kept, []
        return kept
