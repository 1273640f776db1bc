"""Operations on local files beyond single system calls: atomic writes, flushing, exchanging names."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING

from lamella.log import log
from lamella.store.temporary_files import remove_file, temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.store.storage import Stamp

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file that must be new."""

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for reading, without waiting for the writer of a named pipe."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Flag to refuse a symbolic link as the last part of a path."""

_HERE, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux."""

MET_A_LINK = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}
"""Error numbers where `NO_LINK` refused a link: Linux and macOS; FreeBSD; NetBSD."""

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
"""Error numbers where the target of renaming a folder exists."""


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file: mtime, size, inode and ctime; programs can set back mtime, but not ctime."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def write_whole(folder: str, target: str, data: bytes, *, fsync: bool, stamped: bool = False) -> Stamp | None:
    """Write a file in one step; with ``stamped``, return its stamp.

    The stamp is that of these bytes, whatever the path names by now; None where another program wrote into the file.
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
                written = os.fstat(fd)
                os.replace(temporary, target)
                # The path may already name the file of another writer, so the open file is asked.
                placed = os.fstat(fd)
                if (placed.st_mtime_ns, placed.st_size) == (written.st_mtime_ns, len(data)):
                    stamp = stamp_of(placed)
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

    None, and nothing is changed, where the target exists and is not an empty folder.
    """
    temporary = f"{above}/{temporary_name('.tmp')}"
    inside: list[str] = []
    os.mkdir(temporary)
    try:
        for name, data in files:
            folder, _, _ = name.rpartition("/")
            if folder and folder not in inside:
                parts = folder.split("/")
                for path in ("/".join(parts[: n + 1]) for n in range(len(parts))):
                    if path not in inside:
                        os.mkdir(f"{temporary}/{path}")
                        inside.append(path)
            fd = os.open(f"{temporary}/{name}", CREATE, 0o666)
            try:
                write_all(fd, data)
                if fsync:
                    os.fsync(fd)
            finally:
                os.close(fd)
        for path in ["", *inside] if fsync else []:
            fsync_path(f"{temporary}/{path}")
        os.rename(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.filename2 is not None and error.errno in _TAKEN:
            return None
        raise
    if fsync:
        fsync_path(above)
    return inside


def write_all(fd: int, data: bytes) -> None:
    """Write all bytes to an open file."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


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
    if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EXDEV):
        return False  # NFS, FAT, old kernels, sandboxes that know no such call, layers of containers
    raise OSError(number, os.strerror(number), second)


def same_entry(first: str, second: str) -> bool:
    """Whether two names are one directory entry, like ``a1`` and ``A1`` on a file system that ignores case."""
    return os.path.samestat(os.lstat(first), os.lstat(second))


def fsync_path(path: str) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt":  # pragma: no cover
        return  # folders cannot be opened there; NTFS journals the rename
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
