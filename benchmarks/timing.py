"""What is told of a piece of work: wall time, processor time of all threads, and memory above what was held before.

Nothing heavy is imported here, so that no import is timed by accident.
"""

from __future__ import annotations

import gc
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = os.cpu_count() or 1
STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Figures = dict[str, float]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds() -> float:
    """User and system time until now, of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(work: Callable[[], object]) -> Figures:
    """Call `work` once: `seconds`, `cpu` (seconds), and `peak_mb` above what the process held (Linux only)."""
    gc.collect()
    idle = _reset_peak()
    cpu, start = processor_seconds(), time.perf_counter()
    work()
    figures = {"seconds": time.perf_counter() - start, "cpu": processor_seconds() - cpu}
    if idle is not None:
        figures["peak_mb"] = max(0.0, _held_mb("VmHWM") - idle)
    return figures


def best_of(times: int, work: Callable[[], object]) -> Figures:
    """Call `work` several times: the least time, the least processor time, the highest memory."""
    found = [measured(work) for _ in range(times)]
    return {
        name: (max if name == "peak_mb" else min)(figures[name] for figures in found) for name in found[0]
    }


def in_threads(work: Callable[[Any], object], items: list[Any], threads: int = THREADS) -> None:
    """Call `work` on each item from several threads; a failure is raised here."""
    with ThreadPoolExecutor(threads) as executor:
        for _ in executor.map(work, items):
            pass


def warm(path: Path) -> None:
    """Read a file through, so that the first reader does not pay the disk for all."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _reset_peak() -> float | None:
    """Let the peak begin at what is held now, and return that; None where the system has no such thing."""
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return None
    return _held_mb("VmRSS")


def _held_mb(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(found[1]) / 1024 if found else 0.0
