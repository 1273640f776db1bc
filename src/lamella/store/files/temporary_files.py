"""Name temporary files by machine and process, and remove those that killed processes left.

A record in a document, such as that of an unfinished label image, has such a name too where no lock shows whether the
call that wrote it still runs.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from stat import S_ISREG
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, StorageError
from lamella.store.keys import PRIVATE_PREFIX, is_of_tensorstore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Age after which a temporary file of an unknown process is removed.
_STALE_SECONDS = 24 * 3600

_OWN_NAME = re.compile(
    rf"{re.escape(PRIVATE_PREFIX)}(?P<host>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]+\.(?P<end>tmp|deleted)",
    re.ASCII,
)
"""Matches `temporary_name` of temporary files and of folders that are being deleted."""

_serial = count()

_abandoned: set[str] = set()

_shown: dict[str, str] = {}
"""What messages name in place of temporary folders, of which a later one may lie in an earlier one."""


@cache
def _host() -> str:
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    with suppress(OSError):  # process ids are unique within one namespace of a machine only
        node += os.readlink("/proc/self/ns/pid")
    with suppress(OSError), open("/etc/machine-id", encoding="ascii", errors="replace") as file:
        node += file.read()  # several machines may have one name
    return f"{zlib.crc32(node.encode()):08x}"


@cache
def _mine() -> str:
    return f"{PRIVATE_PREFIX}{_host()}-{os.getpid()}-"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mine.cache_clear)


def temporary_name(suffix: str) -> str:
    """Return a new name for a temporary file of this process."""
    return f"{_mine()}{next(_serial):x}{suffix}"


def abandon(name: str) -> None:
    """Remember that the call of this process failed that used a temporary name, and could not clean up."""
    _abandoned.add(name)


@contextmanager
def abandoned_on_errors(name: str) -> Iterator[None]:
    """Call `abandon` after an error: the service that failed may refuse to delete what was written, too."""
    try:
        yield
    except BaseException:
        abandon(name)
        raise


@contextmanager
def shown_as(folder: str, name: str) -> Iterator[None]:
    """Name in messages the store that the user asked for, not the temporary folder in which it is written.

    An error of the system names both: a disk may be full at one and not at the other.

    >>> with shown_as("/data/new", "s3://bucket/new.zarr"):
    ...     shown_name("/data/new"), shown_name("/data/new/A"), shown_name("/data/newer")
    ('s3://bucket/new.zarr', 's3://bucket/new.zarr/A', '/data/newer')
    """
    _shown[folder] = name
    try:
        yield
    except LamellaError as error:
        if folder in (text := str(error)):
            if isinstance(error, StorageError):
                text += f" {folder} is the unfinished {shown_name(name)}."
            else:
                text = text.replace(folder, name)
            error.args = (text,)
        raise
    finally:
        _shown.pop(folder, None)


def shown_name(name: str) -> str:
    """Return the name of a store for messages; see `shown_as`."""
    for folder, shown in reversed([*_shown.items()]):
        if name == folder or name.startswith((f"{folder}/", f"{folder}{os.sep}")):
            name = shown + name[len(folder) :]
    return name


def is_abandoned(name: str) -> bool:
    """Whether what has a temporary name is certainly left by a killed process of this machine, or by a failed call.

    >>> name = temporary_name(".tmp")
    >>> before = is_abandoned(name)
    >>> abandon(name)
    >>> before, is_abandoned(name)
    (False, True)
    """
    own = _OWN_NAME.fullmatch(name)
    if own is None or own["host"] != _host():
        return False
    return name in _abandoned or not _is_alive(int(own["process"]))


def is_running(name: str) -> bool:
    """Whether what has a temporary name belongs to a process of this machine that runs, as far as is known."""
    own = _OWN_NAME.fullmatch(name)
    return own is not None and own["host"] == _host() and not is_abandoned(name)


def remove_file(path: str) -> None:
    """Remove a file that may be missing."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def _discard(path: str) -> None:
    """Remove a temporary file or folder, which another process may be removing too."""
    ignore: Callable[..., None] = lambda *_: None  # noqa: E731
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, onerror=ignore)
    else:
        remove_file(path)


def sweep_folder(folder: str) -> int:
    """Remove temporary files of killed writers in a folder; return their number."""
    try:
        names = os.listdir(folder)
    except OSError:  # missing or unreadable
        return 0
    stale = [name for name in names if _is_stale(folder, name)]
    for name in stale:
        with suppress(OSError):  # a temporary file that remains does no harm
            _discard(os.path.join(folder, name))
    return len(stale)


def _is_stale(folder: str, name: str) -> bool:
    """Whether a name is certainly that of a temporary file whose process is certainly dead."""
    if not (name.startswith(PRIVATE_PREFIX) or name.endswith(".__lock")):
        return False
    own = _OWN_NAME.fullmatch(name)
    if own is None and not is_of_tensorstore(name):
        return False  # a lock, the unfinished store of a command, or a foreign file
    if own is not None and own["end"] == "deleted":
        return True
    if own is not None and own["host"] == _host():
        return not _is_alive(int(own["process"]))
    try:
        status = os.lstat(os.path.join(folder, name))
    except FileNotFoundError:
        return False
    return S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE_SECONDS


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
