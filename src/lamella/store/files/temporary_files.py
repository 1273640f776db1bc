"""Name temporary files by machine and process, rename complete ones over their targets, remove those of dead processes.

Records in documents, such as that of an unfinished label image, also have such names, which show whether the call that
wrote them still runs.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from stat import S_ISREG
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, StorageError
from lamella.log import log
from lamella.store.keys import LONGEST_PART, PRIVATE_PREFIX, is_tensorstore_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.store.files.local import LocalStorage

#: Age after which a temporary file of an unknown process is removed.
_STALE_SECONDS = 24 * 3600

_OWN_NAME = re.compile(
    rf"{re.escape(PRIVATE_PREFIX)}(?P<host>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]+\.(?P<end>tmp|deleted|replacing-(?P<target>.+))",
    re.ASCII | re.DOTALL,
)
"""Matches `temporary_name` of temporary files and of folders that are being deleted, and `replacing_name`."""

_serial_numbers = count()

_abandoned: set[str] = set()
"""Temporary names of calls of this process that failed; their files may remain."""

_shown_names: dict[str, str] = {}
"""The names in messages of temporary folders; a later folder may be inside an earlier one."""


@cache
def _host() -> str:
    node = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    with suppress(OSError):  # process ids are unique within one namespace of a machine only
        node += os.readlink("/proc/self/ns/pid")
    with suppress(OSError), open("/etc/machine-id", encoding="ascii", errors="replace") as file:
        node += file.read()  # several machines may have one name
    return f"{zlib.crc32(node.encode()):08x}"


@cache
def _own_prefix() -> str:
    return f"{PRIVATE_PREFIX}{_host()}-{os.getpid()}-"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own_prefix.cache_clear)


def temporary_name(suffix: str) -> str:
    """Return a new name for a temporary file of this process, such as ``.lamella-<host>-<pid>-<n>.tmp``."""
    return f"{_own_prefix()}{next(_serial_numbers):x}{suffix}"


def replacing_name(name: str, target: str) -> str | None:
    """Return the name of a complete temporary folder while the folder ``target`` that it replaces is deleted.

    After a kill, `sweep_folder` renames it to ``target``, if that is missing. None if the name is not that of a
    temporary folder, or would be too long.
    """
    new = f"{name.removesuffix('.tmp')}.replacing-{target}"
    is_temporary = _OWN_NAME.fullmatch(name) is not None and name.endswith(".tmp")
    return new if is_temporary and len(os.fsencode(new)) <= LONGEST_PART else None


def abandon(name: str) -> None:
    """Remember that the call which used a temporary name failed, and could not delete its files."""
    _abandoned.add(name)


@contextmanager
def abandoned_on_errors(name: str) -> Iterator[None]:
    """Call `abandon` after an error: the written keys may remain, if the service refuses to delete them too."""
    try:
        yield
    except BaseException:
        abandon(name)
        raise


@contextmanager
def shown_as(folder: str, name: str) -> Iterator[None]:
    """In messages, name the destination of a store instead of the temporary folder in which it is written.

    Errors of the system name both, because they may be on different disks, and only one of them is full.
    """
    _shown_names[folder] = name
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
        _shown_names.pop(folder, None)


def shown_name(name: str) -> str:
    """Return the name of a store for messages; see `shown_as`."""
    for folder, final_name in reversed([*_shown_names.items()]):
        if name == folder or name.startswith((f"{folder}/", f"{folder}{os.sep}")):
            name = final_name + name[len(folder) :]
    return name


def is_abandoned(name: str) -> bool:
    """Whether a temporary name is certainly that of a killed process of this machine, or of a failed call."""
    match = _OWN_NAME.fullmatch(name)
    if match is None or match["host"] != _host():
        return False
    return name in _abandoned or not _is_alive(int(match["process"]))


def is_running(name: str) -> bool:
    """Whether a temporary name is that of a process of this machine that may still run."""
    match = _OWN_NAME.fullmatch(name)
    return match is not None and match["host"] == _host() and not is_abandoned(name)


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
    """Remove temporary files of killed writers in a folder, or finish their replacements; return their number."""
    try:
        names = os.listdir(folder)
    except OSError:  # missing or unreadable
        return 0
    stale = [name for name in names if _is_stale(folder, name)]
    for name in stale:
        match = _OWN_NAME.fullmatch(name)
        with suppress(OSError):  # a temporary file that remains does no harm
            if match is not None and match["target"]:
                target = os.path.join(folder, match["target"])
                if not os.path.lexists(target):
                    os.rename(os.path.join(folder, name), target)
                    continue
            _discard(os.path.join(folder, name))
    return len(stale)


def _is_stale(folder: str, name: str) -> bool:
    """Whether a name is certainly that of a temporary file whose process has ended."""
    if not (name.startswith(PRIVATE_PREFIX) or name.endswith(".__lock")):
        return False
    match = _OWN_NAME.fullmatch(name)
    if match is None and not is_tensorstore_lock(name):
        return False  # a lock, the unfinished store of a command, or a foreign file
    if match is not None and match["end"] == "deleted":
        return True
    if match is not None and match["host"] == _host():
        return not _is_alive(int(match["process"]))
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


_OPEN = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CREATE = _OPEN | os.O_CREAT | os.O_EXCL


def fsync_path(path: str) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt":  # pragma: no cover
        return  # folders cannot be opened there; NTFS journals the rename
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def stage(storage: LocalStorage, key: str) -> AtomicFile:
    """Open a temporary file for a key of a local store."""
    storage.check_writable(key)
    target = storage._base + key
    temporary = f"{target.rpartition('/')[0]}/{temporary_name('.tmp')}"
    return storage.in_folder("write", key, lambda: AtomicFile(temporary, target, fsync=storage.fsync))


class AtomicFile:
    """A temporary file in the folder of its target.

    With ``fsync``, `commit` flushes the file and its folder to the disk before it returns.
    """

    def __init__(self, temporary: str, target: str, *, fsync: bool) -> None:
        self.temporary = temporary
        self.target = target
        self._fsync = fsync
        self._lock = threading.Lock()
        self._fd = os.open(temporary, _CREATE, 0o666)

    def write(self, offset: int, *parts: bytes | memoryview) -> None:
        """Write bytes at an offset, one part after the other; threads may write at several offsets at once."""
        views = [memoryview(part) for part in parts if len(part)]
        with self._explained():
            if self._fd < 0:
                self._reopen()
            while views:
                written = self._pwrite(views, offset)
                offset += written
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if written:
                    views[0] = views[0][written:]

    if hasattr(os, "pwritev"):

        def _pwrite(self, views: list[memoryview], offset: int) -> int:
            return os.pwritev(self._fd, views, offset)
    else:  # pragma: no cover

        def _pwrite(self, views: list[memoryview], offset: int) -> int:
            with self._lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.write(self._fd, views[0])

    def suspend(self) -> None:
        """Close the file until the next write, to limit open files; not while a write is running."""
        self._close()

    def _reopen(self) -> None:
        with self._lock:
            if self._fd < 0:
                self._fd = os.open(self.temporary, _OPEN, 0o666)

    def commit(self) -> None:
        """Replace the target in one step."""
        with self._explained():
            try:
                if self._fsync:
                    if self._fd < 0:
                        self._reopen()
                    os.fsync(self._fd)
                self._close()
                os.replace(self.temporary, self.target)
            except BaseException:
                self.discard()
                raise
            if self._fsync:
                fsync_path(os.path.dirname(self.target))
        log.debug("Wrote %s", self.target)

    def discard(self) -> None:
        """Remove the temporary file; the target stays as it was."""
        self._close()
        with suppress(OSError):
            os.unlink(self.temporary)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"Cannot write {self.target}: {error.strerror or error}.", error.errno
            ) from error
