"""Limits of this process: CPUs, the threads that encode and decode chunks, and memory.

The pool of threads starts on first use, and again after a fork; none of its tasks may wait for another one. Sizes are
checked before memory is allocated, because documents may state lengths up to 2**62.
"""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

from lamella.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import Shape

_threads: list[ThreadPoolExecutor] = []
_pool_lock = threading.Lock()
_codec_calls: list[None] = []
_thread_state = threading.local()

_CGROUP_FOLDER = "/sys/fs/cgroup"
_MEMBERSHIP = "/proc/self/cgroup"


def cpus() -> int:
    """Return the number of CPUs that affinity, SLURM_CPUS_PER_TASK and the container's quota allow to this process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allowed.isascii() and allowed.isdigit() and int(allowed):
        count = min(count, int(allowed))
    return max(1, min(count, _quota(_CGROUP_FOLDER, _MEMBERSHIP) or count))


@cache
def _quota(cgroup_folder: str, membership: str) -> int | None:
    """Return the CPUs that the control groups of this process allow, rounded up; None without a limit."""
    limits = [
        limit for folder in _control_groups("cpu", cgroup_folder, membership) for limit in _cpu_limit(folder)
    ]
    return None if not limits else max(1, ceil(min(limits)))


def _control_groups(controller: str, cgroup_folder: str, membership: str) -> list[str]:
    """Return the folders of the control groups whose limits of one resource apply to this process."""
    folders: list[str] = []
    with suppress(OSError):
        with open(membership, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
        for _, controllers, path in (line for line in lines if len(line) == 3):
            if controllers and controller not in controllers.split(","):
                continue
            folder = cgroup_folder if not controllers else f"{cgroup_folder}/{controllers}"
            names = [name for name in path.split("/") if name not in ("", "..")]
            folders += ["/".join([folder, *names[:depth]]) for depth in range(len(names) + 1)]
    return folders


def _cpu_limit(folder: str) -> list[float]:
    """Return the CPU limit of one control group, of version 2 (``cpu.max``) or 1, in a list; empty without a limit."""
    for files in [["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]]:
        words: list[str] = []
        with suppress(OSError):
            for name in files:
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    words += file.read().split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            return [int(words[0]) / int(words[1])]
    return []


def codec_threads() -> ThreadPoolExecutor:
    """Return the threads of the process that encode and decode chunks."""
    with _pool_lock:
        if not _threads:
            _threads.append(ThreadPoolExecutor(cpus(), "lamella-codec", initializer=mark_codec_thread))
        return _threads[0]


@contextmanager
def cpu_share() -> Iterator[int]:
    """Count a call that encodes or decodes until the end of the ``with`` block; yield the CPUs for each such call."""
    _codec_calls.append(None)
    try:
        yield cpus() // len(_codec_calls)
    finally:
        _codec_calls.pop()


def is_codec_thread() -> bool:
    """Whether the current thread encodes and decodes chunks itself, instead of handing them to `codec_threads`."""
    return getattr(_thread_state, "is_codec", False)


def mark_codec_thread() -> None:
    """Mark the current thread as one that decodes what it reads, as `codec_threads` do: faster for many small reads."""
    _thread_state.is_codec = True


def _forget_after_fork() -> None:
    global _pool_lock, _threads  # the child has no such threads, and one of them may have had the lock
    _pool_lock, _threads = threading.Lock(), []
    _codec_calls.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


_INDEX_BYTES_PER_CHUNK = 16
"""Bytes per inner chunk in a shard index."""

_UNLIMITED = 1 << 40


@cache
def memory_bytes() -> int:
    """Return the memory of the machine, or the limit of this process or its container, in bytes."""
    limits = [_UNLIMITED, *_container_limits()]
    if hasattr(os, "sysconf"):
        with suppress(ValueError, OSError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        import resource

        address_limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits.append(_UNLIMITED if address_limit == resource.RLIM_INFINITY else address_limit)
    return min(limit for limit in limits if limit > 0)


def _container_limits() -> list[int]:
    """Return the memory limits of control groups, of version 2 (``memory.max``) or 1."""
    limits: list[int] = []
    for folder in _control_groups("memory", _CGROUP_FOLDER, _MEMBERSHIP):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError), open(f"{folder}/{name}", encoding="ascii") as file:
                text = file.read().strip()
                limits += [int(text)] if text.isdigit() else []  # "max" without a limit
    return limits


def check_memory(shape: Shape, itemsize: int, subject: Callable[[], str]) -> None:
    """Raise `TooLargeError` for an array that does not fit into memory; ``subject`` begins the message."""
    size = math.prod(shape) * itemsize
    if size > memory_bytes():
        raise TooLargeError(
            f"{subject()} needs {binary_size(size)} for the shape {tuple(shape)}, and this process may use "
            f"{binary_size(memory_bytes())}: read a smaller region, or dask_array()."
        )


def check_bytes(size: int, subject: str) -> None:
    """Raise `TooLargeError` for a file that does not fit into memory."""
    if size > memory_bytes():
        raise TooLargeError(
            f"{subject} needs {binary_size(size)}, and this process may use {binary_size(memory_bytes())}."
        )


def check_files(meta: ArrayMeta, where: str) -> None:
    """Raise `TooLargeError` for an array with single chunks or shard indexes that do not fit into memory."""
    chunk_bytes = math.prod(meta.chunks) * meta.dtype.itemsize
    if chunk_bytes > memory_bytes():
        raise TooLargeError(
            f"The chunks {meta.chunks} of array {where} need {binary_size(chunk_bytes)} each, and this process may use "
            f"{binary_size(memory_bytes())}. Its document may be damaged: compare it with the files beside it."
        )
    if meta.shards is None:
        return
    count = math.prod(meta.chunks_per_file)
    if count * _INDEX_BYTES_PER_CHUNK > memory_bytes():
        raise TooLargeError(
            f"Each shard {meta.shards} of array {where} has {count} chunks {meta.chunks}, and this process may "
            f"use {binary_size(memory_bytes())} for the index of one. Its document may be damaged: compare it with the "
            "files beside it."
        )


def binary_size(size: int) -> str:
    """Return a number of bytes as text, such as "1.5 KiB"."""
    amount: float = min(size, 1 << 100)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            return f"{round(amount, 1):g} {unit}"
        amount /= 1024
    return f"{amount:.4g} EiB" if amount < 1e6 else "more than any machine has"
