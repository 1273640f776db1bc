"""The threads that encode and decode chunks: one per CPU for the whole process.

Made on first use, and anew after a fork. Work for them must not wait for other work of theirs.

Layer: store.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

_threads: list[ThreadPoolExecutor] = []
_making = threading.Lock()


def cpus() -> int:
    """CPUs that this process may use; a batch system gives fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def codec_threads() -> ThreadPoolExecutor:
    """Return the threads."""
    with _making:
        if not _threads:
            _threads.append(ThreadPoolExecutor(cpus(), "lamella-codec"))
        return _threads[0]


def _forget_after_fork() -> None:
    global _making, _threads  # the threads do not exist in the child, and one may have held the lock
    _making, _threads = threading.Lock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
