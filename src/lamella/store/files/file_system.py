"""Use the file system for a store in a folder: write files in one step, create folders, refuse paths that leave it.

On file systems that ignore case ``a`` opens the entry ``A``, and macOS equates composed and decomposed letters. In
metadata these are different names, so only the listed spelling counts (`PathGuard`).
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import unicodedata
from stat import S_ISLNK, S_ISREG
from typing import TYPE_CHECKING, NoReturn

from lamella.errors import InvalidNameError, NodeNotFoundError, StorageError
from lamella.log import log
from lamella.store.files.temporary_files import fsync_path, remove_file, sweep_folder, temporary_name
from lamella.store.keys import DOCUMENTS, ancestors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lamella.store.storage import Stamp

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file that must be new."""

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for reading, without waiting for the writer of a named pipe."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Flag to refuse a symbolic link as the last part of a path."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Arguments of ``renameat2`` of Linux: paths are relative to the current folder; exchange the two names."""

REFUSED_LINK = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}
"""Error numbers where `NO_LINK` refused a link: Linux and macOS; FreeBSD; NetBSD."""

_TARGET_EXISTS = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
"""Error numbers where the target of renaming a folder exists."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file: mtime, size, inode and ctime; programs can set back mtime, but not ctime."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


if hasattr(os, "pread"):
    _pread = os.pread
else:  # pragma: no cover
    _seeking = threading.Lock()

    def _pread(fd: int, length: int, start: int, /) -> bytes:
        with _seeking:
            os.lseek(fd, start, os.SEEK_SET)
            return os.read(fd, length)


def read_at(fd: int, start: int, length: int) -> bytes:
    """Return bytes of an open file; fewer at its end."""
    data = _pread(fd, length, start)
    while len(data) < length:  # a signal interrupted the read, or it exceeds the limit of one call
        more = _pread(fd, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


def write_whole(folder: str, target: str, data: bytes, *, fsync: bool, stamped: bool = False) -> Stamp | None:
    """Write a file in one step; with ``stamped``, return its stamp.

    The stamp is that of these bytes, even if another writer has replaced the file again; None where another program
    wrote into this file.
    """
    temporary = f"{folder}/{temporary_name('.tmp')}"
    stamped = stamped and os.name != "nt"  # an open file cannot be renamed there
    stamp = None
    fd = os.open(temporary, CREATE, 0o666)
    try:
        try:
            write_all(fd, data)
            if fsync:
                os.fsync(fd)
            if stamped:
                before_rename = os.fstat(fd)
                os.replace(temporary, target)
                # The path may already name the file of another writer, so read the status of the open file.
                after_rename = os.fstat(fd)
                if (after_rename.st_mtime_ns, after_rename.st_size) == (before_rename.st_mtime_ns, len(data)):
                    stamp = stamp_of(after_rename)
        finally:
            os.close(fd)
        if not stamped:
            os.replace(temporary, target)
    except BaseException:
        remove_file(temporary)
        raise
    if fsync:
        fsync_path(folder)
    log.debug("Wrote %s", target)
    return stamp


def write_new_folder(
    above: str, target: str, files: Iterable[tuple[str, bytes]], *, fsync: bool
) -> list[str] | None:
    """Write a folder of small files that appears complete or not at all; return the folders in it.

    Where the target exists and is not an empty folder, changes nothing and returns None.
    """
    temporary = f"{above}/{temporary_name('.tmp')}"
    folders_inside: list[str] = []
    os.mkdir(temporary)
    try:
        for name, data in files:
            folder, _, _ = name.rpartition("/")
            if folder and folder not in folders_inside:
                names = folder.split("/")
                for path in ("/".join(names[: depth + 1]) for depth in range(len(names))):
                    if path not in folders_inside:
                        os.mkdir(f"{temporary}/{path}")
                        folders_inside.append(path)
            fd = os.open(f"{temporary}/{name}", CREATE, 0o666)
            try:
                write_all(fd, data)
                if fsync:
                    os.fsync(fd)
            finally:
                os.close(fd)
        for path in ["", *folders_inside] if fsync else []:
            fsync_path(f"{temporary}/{path}")
        os.rename(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename2 is not None and error.errno in _TARGET_EXISTS:
            return None
        raise
    if fsync:
        fsync_path(above)
    return folders_inside


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes to an open file."""
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])


def copy_whole(source: str, temporary: str, target: str, *, fsync: bool) -> None:
    """Copy a file in one step, by the fastest method of the system."""
    try:
        shutil.copyfile(source, temporary)
        if fsync:
            fsync_path(temporary)
        os.replace(temporary, target)
    except BaseException:
        remove_file(temporary)
        raise
    log.debug("Wrote %s", target)


def exchange(first: str, second: str) -> bool:
    """Exchange the names of two folders in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    error_number = ctypes.get_errno()
    if error_number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EXDEV):
        return False  # NFS, FAT, old kernels, sandboxes that know no such call, layers of containers
    raise OSError(error_number, os.strerror(error_number), second)


MAX_FOLDERS = 200_000
"""Limit of folders that one store handle remembers."""


class PathGuard:
    """The boundary of a store in a folder; with `accepts_all`, all links are followed and all names accepted."""

    def __init__(self, root: str, accepts_all: bool) -> None:
        self.root = root
        self.accepts_all = accepts_all
        self.base = root.rstrip(os.sep) + "/"
        self._real_root: str | None = None
        self._ignores_case: bool | None = None
        #: Folders that were checked to lie in the store.
        self.checked_folders = {""}

    def forget(self) -> None:
        """Check every folder again: one was moved or removed."""
        self.checked_folders = {""}

    def check_folder(self, path: str) -> bool:
        """Check a folder once; return False where it does not exist.

        Raises `InvalidNameError` where a symbolic link leads out of the store, and `NodeNotFoundError` where the folder
        exists only under another spelling.
        """
        if self.accepts_all or path in self.checked_folders:
            return True
        above = path.rpartition("/")[0]
        if above not in self.checked_folders and not self.check_folder(above):
            return False
        try:
            os.readlink(self.base + path)
        except OSError as error:  # not a link; `readlink` is twice as fast as `lstat`
            if error.errno != errno.EINVAL:  # missing, or no permission: the next call reports it
                return error.errno != errno.ENOENT
        else:
            self.check_links(path)
        if self.is_alias(path):
            raise NodeNotFoundError(f"There is no {path!r} in {self.root}: {self.describe_alias(path)}.")
        self.remember([path])
        return True

    def remember(self, paths: Iterable[str]) -> None:
        """Remember that folders lie in the store."""
        if len(self.checked_folders) > MAX_FOLDERS:
            self.forget()
        self.checked_folders.update(paths)

    def check_file(self, key: str) -> None:
        """Check a file that a library will open, if it exists.

        Raises `InvalidNameError` where a link leads out of the store, and `MisplacedError` where it is not a file.
        """
        folder = key.rpartition("/")[0]
        if folder not in self.checked_folders:
            self.check_folder(folder)
        path = self.base + key
        try:
            mode = os.stat(path).st_mode if self.accepts_all else os.lstat(path).st_mode
            if S_ISLNK(mode):
                self.check_links(key)
                mode = os.stat(path).st_mode
        except OSError:  # missing, or refused: the library that opens it reports why
            return
        if not S_ISREG(mode):
            from lamella.store.pixels.stored_chunks import require_file

            require_file(mode, path)

    def check_links(self, path: str) -> None:
        """Raise where symbolic links lead a path out of the store."""
        if self.accepts_all:
            return
        if self._real_root is None:
            self._real_root = os.path.realpath(self.root)
        real = os.path.realpath(self.base + path) if path else self._real_root
        if real != self._real_root and not real.startswith(self._real_root.rstrip(os.sep) + os.sep):
            raise InvalidNameError(
                f"{path!r} leaves the store {self.root}: a symbolic link leads to {real}. Open that path as a store "
                "of its own, or follow the links of this one: disable_path_checking=True to open it, follow_links=True "
                "of functions, --follow-links of commands."
            )

    def is_alias(self, path: str) -> bool:
        """Whether the entry at a path has another spelling, which the file system equates."""
        above, _, name = path.rpartition("/")
        if not name or self.accepts_all or name in DOCUMENTS or (name.isascii() and name.isdigit()):
            return False
        if name.isascii() and self.ignores_case() is False:
            return False
        try:
            return not _is_listed(name, os.listdir(self.base + above))
        except OSError:
            return False  # the folder cannot be listed

    def describe_alias(self, path: str) -> str:
        """Return words that name the true spelling of an alias."""
        above, _, name = path.rpartition("/")
        folded = _folded(name)
        names = [other for other in os.listdir(self.base + above) if _folded(other) == folded]
        spellings = " and ".join(map(ascii, names)) or "another one"
        return f"{spellings} is there, which this file system takes for the same name, and others do not"

    def ignores_case(self) -> bool | None:
        """Whether the file system ignores case; None while the store has no document to test with."""
        if self._ignores_case is None:
            for file in DOCUMENTS:
                try:
                    status = os.lstat(self.base + file)
                except OSError:
                    continue
                try:
                    self._ignores_case = os.path.samestat(status, os.lstat(self.base + file.upper()))
                except OSError:
                    self._ignores_case = False
                break
        return self._ignores_case


def _is_listed(name: str, names: list[str]) -> bool:
    if name in names:
        return True
    # HFS+ lists all names decomposed.
    decomposed = unicodedata.normalize("NFD", name)
    return decomposed in names and all(unicodedata.is_normalized("NFD", other) for other in names)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


class Folders:
    """The folders that a store handle writes into; each is checked once per handle.

    `fail` raises a `StorageError` from a verb, a path and a system error. With `fsync`, parent folders are flushed.
    """

    def __init__(self, guard: PathGuard, fsync: bool, fail: Callable[[str, str, OSError], NoReturn]) -> None:
        self._root = guard.root
        self._base = guard.base
        self._guard = guard
        self._fsync = fsync
        self._fail = fail
        self._existing: set[str] = set()

    def __contains__(self, folder: str) -> bool:
        return folder in self._existing

    def forget(self) -> None:
        """Check every folder again: one was moved or removed."""
        self._existing.clear()

    def create(self, folder: str) -> None:
        """Create a folder and its parents; each is checked once to lie inside the store."""
        if folder in self._existing:
            return
        created: list[str] = []
        for path in [*ancestors(folder), folder]:
            if path in self._existing:
                continue
            try:
                if path:
                    os.mkdir(self._base + path)
                    created.append(path)
                else:
                    self._create_root()
            except FileExistsError:
                self._check(path)
                sweep_folder(self._base + path)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and "" in self._existing:
                    self._existing.clear()  # a remembered folder was removed
                    self.create(folder)
                    return
                self._fail("make the folder", path, error)
            if self._fsync and path:
                # Flush an existing folder too: its creator may not have flushed it yet.
                self.flush(path.rpartition("/")[0])
            self._existing.add(path)
        if created:
            self._remember(created)

    def add_written(self, folder: str, inside: Iterable[str]) -> None:
        """Remember a folder that was just written, and folders inside it."""
        self._remember([folder, *inside])

    def flush(self, folder: str) -> None:
        """Flush the names in a folder to the disk."""
        try:
            fsync_path(self._base + folder)
        except OSError as error:
            self._fail("flush the folder", folder, error)

    def _remember(self, created: Sequence[str]) -> None:
        if len(self._existing) > MAX_FOLDERS:
            self._existing.clear()
        self._existing.update(created)
        self._guard.remember(created)

    def _check(self, folder: str) -> None:
        """Raise where a path is not a folder, or is outside the store; the folder above was checked."""
        try:
            self._guard.check_folder(folder)
        except NodeNotFoundError:
            raise InvalidNameError(
                f"Cannot make the folder {folder!r} in {self._root}: {self._guard.describe_alias(folder)}."
            ) from None
        if not os.path.isdir(self._base + folder):
            raise StorageError(
                f"Cannot make the folder {folder!r} in {self._root}: a file of that name is there. Remove it, or "
                "choose another name.",
                errno.ENOTDIR,
            ) from None

    def _create_root(self) -> None:
        missing, path = [], self._root
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        os.makedirs(self._root, exist_ok=True)
        if not missing:
            sweep_folder(self._base)
        for folder in missing if self._fsync else ():
            fsync_path(os.path.dirname(folder))


def names_in(base: str, prefix: str) -> list[str]:
    """List a folder `prefix` of the store folder `base`; leave out links to the folder itself or to one above it."""
    folder = base + prefix
    names, links = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_symlink():
                links.append(entry.name)
    if not links:
        return names
    folder_names = prefix.split("/") if prefix else []
    folders_above = {
        os.path.realpath(base + "/".join(folder_names[:depth])) for depth in range(len(folder_names) + 1)
    }
    loops = {name for name in links if _leads_to(os.path.realpath(os.path.join(folder, name)), folders_above)}
    return [name for name in names if name not in loops]


def _leads_to(target: str, folders_above: set[str]) -> bool:
    """Whether a folder equals, or contains, one of the folders above."""
    inside = target.rstrip(os.sep) + os.sep
    return any(folder == target or folder.startswith(inside) for folder in folders_above)
