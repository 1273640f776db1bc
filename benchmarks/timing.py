"""Measure a call: wall time, processor time of all threads, and memory above the level before it.

The module imports nothing large, so that no measurement includes imports by accident.
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
    """Return the wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds() -> float:
    """Return user and system time of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(work: Callable[[], object]) -> Figures:
    """Call `work` once; return `seconds`, `cpu` (seconds), and `peak_mb` above the memory before (Linux only)."""
    gc.collect()
    idle = _reset_peak()
    cpu, start = processor_seconds(), time.perf_counter()
    work()
    figures = {"seconds": time.perf_counter() - start, "cpu": processor_seconds() - cpu}
    if idle is not None:
        figures["peak_mb"] = max(0.0, _held_mb("VmHWM") - idle)
    return figures


def best_of(times: int, work: Callable[[], object]) -> Figures:
    """Call `work` several times; return the least wall time, the least processor time, and the highest memory."""
    runs = [measured(work) for _ in range(times)]
    return {name: (max if name == "peak_mb" else min)(figures[name] for figures in runs) for name in runs[0]}


def in_threads(work: Callable[[Any], object], items: list[Any], threads: int = THREADS) -> None:
    """Call `work` on each item from several threads; raise the first error."""
    with ThreadPoolExecutor(threads) as executor:
        for _ in executor.map(work, items):
            pass


def warm(path: Path) -> None:
    """Read a file once, so that the first measurement does not include the disk."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _reset_peak() -> float | None:
    """Reset the peak memory to the present memory, and return it; None if the system cannot."""
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return None
    return _held_mb("VmRSS")


def resident_mb() -> float:
    """Return the peak resident memory of this process since `measured` began (Linux only)."""
    return _held_mb("VmHWM")


def _held_mb(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(match[1]) / 1024 if match else 0.0
