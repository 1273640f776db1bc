"""Provide the threads of this process that encode and decode chunks.

The pool starts on first use, and again after a fork. A task of the pool must not wait for another task of it.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from math import ceil

_threads: list[ThreadPoolExecutor] = []
_pool_lock = threading.Lock()
_here = threading.local()

_GROUPS = "/sys/fs/cgroup"


def cpus() -> int:
    """Return the number of CPUs that affinity, SLURM_CPUS_PER_TASK and the container's quota allow to this process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allowed.isascii() and allowed.isdigit() and int(allowed):
        count = min(count, int(allowed))
    return max(1, min(count, _quota(_GROUPS, "/proc/self/cgroup") or count))


@cache
def _quota(groups: str, membership: str) -> int | None:
    """Return the CPUs that the control groups of this process allow, rounded up; None without a limit."""
    limits: list[float] = []
    with suppress(OSError):
        with open(membership, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        for _, controllers, path in (line for line in lines if len(line) == 3):
            if controllers not in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
                continue
            folder = groups if not controllers else f"{groups}/{controllers}"
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts) + 1):
                limits += _limit("/".join([folder, *parts[:depth]]))
    return None if not limits else max(1, ceil(min(limits)))


def _limit(folder: str) -> list[float]:
    """Return the CPU limit of one control group, of version 2 (``cpu.max``) or 1, in a list; empty without a limit."""
    names = [["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]]
    for files in names:
        words: list[str] = []
        with suppress(OSError):
            for name in files:
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    words += file.read().split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            return [int(words[0]) / int(words[1])]
    return []


def codec_threads() -> ThreadPoolExecutor:
    """Return the pool."""
    with _pool_lock:
        if not _threads:
            _threads.append(ThreadPoolExecutor(cpus(), "lamella-codec", initializer=mark_codec_thread))
        return _threads[0]


def is_codec_thread() -> bool:
    """Whether the current thread belongs to the pool."""
    return getattr(_here, "is_codec", False)


def mark_codec_thread() -> None:
    """Mark the current thread as one that decodes what it reads, like those of the pool: for many small reads."""
    _here.is_codec = True


def _forget_after_fork() -> None:
    global _pool_lock, _threads  # the threads do not exist in the child, and one may have locked it
    _pool_lock, _threads = threading.Lock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
