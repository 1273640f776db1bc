"""Lock files between the threads of this process and between processes.

A lock file lies beside the file that it guards. The operating system unlocks it when its process ends; it is unlinked
after use.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from lamella.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
    import time

    def _acquire(fd: int) -> None:
        while True:
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
                time.sleep(0.005)  # LK_LOCK polls once a second; documents are locked for less than this
            else:
                return

    def _release(fd: int, path: str) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        os.close(fd)
        # Windows refuses this while another process waits with the file open; that process unlinks it later.
        with suppress(OSError):
            os.unlink(path)
else:
    import fcntl

    def _acquire(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)

    def _release(fd: int, path: str) -> None:
        try:
            os.unlink(path)  # while locked: no other process can own this inode's path
        except OSError:
            pass  # a lock file that remains does no harm
        finally:
            # Explicit, because a child forked meanwhile shares the open file and would keep it locked.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


class _ThreadLocks:
    """One lock per name, kept while a thread holds or awaits it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    def join(self, name: str) -> threading.Lock:
        with self._guard:
            lock, users = self._locks.get(name) or (threading.Lock(), 0)
            self._locks[name] = (lock, users + 1)
        return lock

    def leave(self, name: str) -> None:
        with self._guard:
            lock, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, users - 1)


class ThreadLock:
    """Lock a name between the threads of this process; a class, because a generator takes 3 µs more."""

    __slots__ = ("_lock", "_locks", "_name")

    def __init__(self, name: str) -> None:
        self._locks, self._name = _threads, name

    def __enter__(self) -> None:
        self._lock = self._locks.join(self._name)
        try:
            self._lock.acquire()
        except BaseException:
            self._locks.leave(self._name)
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._locks.leave(self._name)


_threads = _ThreadLocks()


def _forget_after_fork() -> None:
    # The threads that held these locks do not exist in the child.
    global _threads  # noqa: PLW0603
    _threads = _ThreadLocks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@contextmanager
def file_lock(path: str) -> Iterator[None]:
    """Lock a file between all threads and processes; `StorageError` where the file system has no locks."""
    with ThreadLock(path):
        fd = _open_locked(path)
        try:
            yield
        finally:
            _release(fd, path)


class ReplacementLock:
    """Lock a file for one replacement by a rename, without a lock file.

    The file itself is locked. The rename ends the lock: waiting processes see that the path names another file, and
    wait for that one. A section of several steps needs `file_lock`. Entering returns the descriptor of the locked file,
    open for reading. Where the file is missing or not writable, it enters the lock that ``otherwise`` returns, and
    returns None. ``fail`` raises the error of a system that refuses a lock.
    """

    __slots__ = ("_fail", "_fd", "_other_lock", "_otherwise", "_path", "_turn")

    def __init__(
        self,
        path: str,
        otherwise: Callable[[], AbstractContextManager[None]],
        fail: Callable[[OSError], NoReturn],
    ) -> None:
        self._path = path
        self._otherwise = otherwise
        self._fail = fail
        self._other_lock: AbstractContextManager[None] | None = None

    def __enter__(self) -> int | None:
        self._turn = ThreadLock(self._path)
        self._turn.__enter__()
        try:
            return self._enter()
        except BaseException as error:
            self._turn.__exit__(None, None, None)
            if isinstance(error, OSError):
                self._fail(error)
            raise

    def _enter(self) -> int | None:
        while True:
            try:
                self._fd = _open_locked(self._path, create=False)
            except (FileNotFoundError, NotADirectoryError, PermissionError) as refusal:
                is_missing = not isinstance(refusal, PermissionError)
            else:
                return self._fd
            other_lock = self._otherwise()
            other_lock.__enter__()
            if not (is_missing and os.path.lexists(self._path)):
                self._other_lock = other_lock
                return None
            # The file was missing, and another process has created it meanwhile: lock the file itself.
            other_lock.__exit__(None, None, None)

    def __exit__(self, *error: Any) -> None:
        try:
            if self._other_lock is not None:
                self._other_lock.__exit__(*error)
            else:
                # Explicit, because a child forked meanwhile shares the open file and would keep it locked.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                os.close(self._fd)
        finally:
            self._turn.__exit__(None, None, None)


def _open_locked(path: str, *, create: bool = True) -> int:
    flags = os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        fd = os.open(path, flags, 0o666)
        try:
            _acquire(fd)
            # The previous holder may have unlinked the file between open and lock: then no other process finds the
            # file locked here, and the loop opens the path again.
            if _same_file(fd, path):
                return fd
        except OSError as error:
            os.close(fd)
            if error.errno in _NO_LOCKS:
                raise StorageError(
                    f"Cannot lock {path}: its file system has no file locks, so writers cannot be kept apart. Write to "
                    "another one (Lustre has locks when it is mounted with -o flock).",
                    error.errno,
                ) from error
            raise
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _same_file(fd: int, path: str) -> bool:
    if sys.platform == "win32":  # pragma: no cover
        return True  # an open file cannot be unlinked there
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
