"""What the operating system is asked for beyond single calls: whole files, flushing, comparing entries."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING

from lamella.log import log
from lamella.store.temporary_files import private_name, remove_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.store.storage import Stamp

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags to open a file that must be new."""

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for reading; a named pipe is opened at once, and not when somebody writes to it."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Flag to refuse a last part that is a link."""

_HERE, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux."""

MET_A_LINK = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}
"""What systems say where `NO_LINK` met one: Linux and macOS; FreeBSD; NetBSD."""

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
"""What systems say where a folder is renamed to a place that something has."""


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what changes whenever a file is replaced or written: its time, size, inode, and that of any change.

    The last one is the system's own: it is now where somebody gives a file the time of another.
    """
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


def write_whole(folder: str, target: str, data: bytes, *, fsync: bool, stamped: bool = False) -> Stamp | None:
    """Write a file to take its place in one step; nothing is left when that fails.

    Returns
    -------
    tuple of int or None
        With ``stamped``, the stamp of the file with these bytes, whatever the path names by now. None where another
        program wrote into the file meanwhile.
    """
    temporary = f"{folder}/{private_name('.tmp')}"
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
                # Asked of the open file: the path may name the file of another writer already.
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
    """Write a folder of small files that is there whole in one step, or not at all.

    Returns
    -------
    list of str or None
        The folders in it. None where something but an empty folder is at its place: nothing is changed then.
    """
    temporary = f"{above}/{private_name('.tmp')}"
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
    """Write bytes to an open file."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


def copy_whole(source: str, temporary: str, target: str, *, fsync: bool) -> None:
    """Copy a file, as the system copies best, to take its place in one step; nothing is left when that fails."""
    try:
        shutil.copyfile(source, temporary)
        if fsync:
            fsync_path(temporary)
        os.replace(temporary, target)
    except BaseException:
        remove_file(temporary)
        raise
    log.debug("Wrote %s", target)


def exchange(one: str, other: str) -> bool:
    """Exchange the names of two folders in one step; False where the system or its file system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EXDEV):
        return False  # NFS, FAT, old kernels, sandboxes that know no such call, layers of containers
    raise OSError(number, os.strerror(number), other)


def same_entry(one: str, other: str) -> bool:
    """Whether two names are one entry, as ``a1`` and ``A1`` are where case does not count."""
    return os.path.samestat(os.lstat(one), os.lstat(other))


def fsync_path(path: str) -> None:
    """Flush a file or folder to the disk."""
    if os.name == "nt":  # pragma: no cover
        return  # folders cannot be opened there; NTFS journals the rename
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
