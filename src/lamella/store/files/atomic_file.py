"""Write a file piece by piece under a temporary name, and rename it over its target when it is complete.

Readers never list temporary names; later writers sweep them once the process that wrote them is dead.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lamella.errors import StorageError
from lamella.log import log
from lamella.store.files.file_system import fsync_path
from lamella.store.files.temporary_files import temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.files.local import LocalStorage

_OPEN = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_CREATE = _OPEN | os.O_CREAT | os.O_EXCL


def stage(storage: LocalStorage, key: str) -> AtomicFile:
    """Open a temporary file for a key of a local store.

    >>> import tempfile
    >>> from lamella.store.files.local import LocalStorage
    >>> storage = LocalStorage(tempfile.mkdtemp())
    >>> file = stage(storage, "0/c/0")
    >>> file.write(0, b"pixels")
    >>> storage.list("0/c")
    []
    >>> file.commit()
    >>> storage.read("0/c/0")
    b'pixels'
    """
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
            self._reopen()
            while views:
                done = self._pwrite(views, offset)
                offset += done
                while views and done >= len(views[0]):
                    done -= len(views.pop(0))
                if done:
                    views[0] = views[0][done:]

    if hasattr(os, "pwritev"):

        def _pwrite(self, views: list[memoryview], offset: int) -> int:
            return os.pwritev(self._fd, views, offset)
    else:  # pragma: no cover

        def _pwrite(self, views: list[memoryview], offset: int) -> int:
            with self._lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.write(self._fd, views[0])

    def rest(self) -> None:
        """Close the file until the next write, to limit open files. Not while a write is running."""
        self._close()

    def _reopen(self) -> None:
        if self._fd < 0:
            with self._lock:
                if self._fd < 0:
                    self._fd = os.open(self.temporary, _OPEN, 0o666)

    def commit(self) -> None:
        """Replace the target in one step."""
        with self._explained():
            try:
                if self._fsync:
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
                f"cannot write {self.target}: {error.strerror or error}", error.errno
            ) from error
