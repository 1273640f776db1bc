"""Load files of a folder into the page cache of the system before they are read, many at a time.

A disk answers many requests at once sooner than one after the other. The bytes are discarded here, and readers read the
files themselves, so they never get old bytes. Only Linux can report whether a file is cached; elsewhere nothing is
loaded.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lamella.errors import LamellaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_THREADS: Final = 8
"""Number of files that are loaded at a time."""

_MAX_BYTES: Final = 1 << 20
"""Maximum number of bytes that are loaded of a file; its reader reads the rest."""


def load_ahead(open_file: Callable[[str], int], keys: Sequence[str]) -> None:
    """Start to load files in their order, unless three of them are cached; unreadable files are skipped.

    ``open_file`` returns the descriptor of a file that is open for reading. The threads do not keep the process alive.
    """
    if not keys or all(is_cached(open_file, key) for key in (keys[0], keys[len(keys) // 2], keys[-1])):
        return
    remaining = deque(keys)
    with suppress(RuntimeError):  # the system allows no more threads; the files are read without
        for _ in range(min(_THREADS, len(keys))):
            threading.Thread(
                target=_load, args=(open_file, remaining), name="lamella-ahead", daemon=True
            ).start()


def is_cached(open_file: Callable[[str], int], key: str) -> bool:
    """Whether the start of a file is in the page cache; True also for a file that cannot be read."""
    if not hasattr(os, "RWF_NOWAIT"):
        return True
    try:
        descriptor = open_file(key)
    except (OSError, LamellaError):
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # the file system does not know
        return True
    finally:
        os.close(descriptor)
    return True


def _load(open_file: Callable[[str], int], remaining: deque[str]) -> None:
    while True:
        try:
            key = remaining.popleft()
        except IndexError:
            return
        with suppress(OSError, LamellaError):
            descriptor = open_file(key)
            try:
                os.pread(descriptor, _MAX_BYTES, 0)
            finally:
                os.close(descriptor)
