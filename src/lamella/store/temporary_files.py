"""Temporary files: how they are named, and which of them a killed process left behind.

A name says the machine and the process that made it, so that what its writer cannot remove any more is told from what
another one is writing just now.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import zlib
from contextlib import suppress
from functools import cache
from itertools import count
from stat import S_ISREG
from typing import TYPE_CHECKING

from lamella.store.keys import PRIVATE_PREFIX, is_of_tensorstore

if TYPE_CHECKING:
    from collections.abc import Callable

#: Age after which a temporary file of an unknown process is litter.
_STALE_SECONDS = 24 * 3600

_OURS = re.compile(
    rf"{re.escape(PRIVATE_PREFIX)}(?P<host>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]+\.(?P<end>tmp|deleted)",
    re.ASCII,
)
"""What `private_name` makes, of temporary files and of what is being deleted."""

_serial = count()


@cache
def _host() -> str:
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    with suppress(OSError):  # numbers of processes count within one namespace of a machine only
        node += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(node.encode()):08x}"


@cache
def _mine() -> str:
    return f"{PRIVATE_PREFIX}{_host()}-{os.getpid()}-"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mine.cache_clear)


def private_name(suffix: str) -> str:
    """Return a new name for a temporary file of this process."""
    return f"{_mine()}{next(_serial):x}{suffix}"


def remove_file(path: str) -> None:
    """Remove a file that may be gone already."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _discard(path: str) -> None:
    """Remove litter; another sweeper may be at it too."""
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, onerror=ignore)
    else:
        remove_file(path)


def sweep_folder(folder: str) -> int:
    """Remove what killed writers left in a folder; return how many."""
    try:
        names = os.listdir(folder)
    except OSError:  # not there, or not ours to read: then nothing of it is ours to remove
        return 0
    litter = [name for name in names if _is_litter(folder, name)]
    for name in litter:
        with suppress(OSError):  # it harms nobody where it cannot be removed
            _discard(os.path.join(folder, name))
    return len(litter)


def _is_litter(folder: str, name: str) -> bool:
    """Whether a name is certainly of lamella or TensorStore, and its writer is certainly gone."""
    if not (name.startswith(PRIVATE_PREFIX) or name.endswith(".__lock")):
        return False
    ours = _OURS.fullmatch(name)
    if ours is None and not is_of_tensorstore(name):
        return False  # a lock, a store that a killed command resumes, or a file of somebody else
    if ours is not None and ours["end"] == "deleted":
        return True  # what is being deleted may be deleted
    if ours is not None and ours["host"] == _host():
        return not _is_alive(int(ours["process"]))
    try:
        found = os.lstat(os.path.join(folder, name))
    except FileNotFoundError:
        return False
    return S_ISREG(found.st_mode) and time.time() - found.st_mtime > _STALE_SECONDS


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # pragma: no cover
        return True  # os.kill would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
