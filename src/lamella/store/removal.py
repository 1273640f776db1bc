"""Removing a folder of the file system: all of it, or nothing where something in it is protected.

A folder is first looked through for what could not be removed, then renamed aside, so that a kill leaves it whole or
gone, then emptied. Where that fails all the same, what remains is put back under its name.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.store.temporary_files import private_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROTECTED = 0x10 | 0x20
"""Flags of Linux that `chattr` sets: immutable, append only."""

_GET_FLAGS = 0x80086601
"""The request ``FS_IOC_GETFLAGS`` of Linux, on machines of 64 bits."""


class PartlyRemovedError(OSError):
    """A folder of which something was removed, and the rest could not be; says what and where."""


_NOT_MOVED = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.EROFS})
"""What renaming a folder fails with although it may be emptied: a mount, a layer of a container, the folder above."""


def check_removable(path: str, *, may_stay: bool = False) -> None:
    """Look through a folder for what could not be removed: it, every folder in it and the one above must be writable.

    Parameters
    ----------
    path
        The folder.
    may_stay
        Whether it may stay, empty, where the folder above is protected.

    Raises
    ------
    OSError
        With the path of what is protected. Nothing was touched.
    """
    if not may_stay:
        _check_above(path)
    _walk(path)


def remove_folder(path: str, *, may_stay: bool = False) -> None:
    """Remove a folder with all below it; with `may_stay`, empty it where the folder above is protected.

    Raises
    ------
    PartlyRemovedError
        Something was removed and the rest could not be. It is where it was, or where the message says.
    OSError
        Nothing was removed.
    """
    if not may_stay:
        _check_above(path)
    before = _walk(path)
    aside = os.path.join(os.path.dirname(path), private_name(".deleted"))
    try:
        os.rename(path, aside)
    except OSError as error:
        if error.errno not in _NOT_MOVED:
            raise
        aside = path
    try:
        if aside == path and may_stay:
            _empty(path)
        else:
            shutil.rmtree(aside, onerror=_unless_gone)
    except OSError as error:
        raise _put_back(path, aside, before, error) from error


def _empty(path: str) -> None:
    """Remove all members of a folder, and the folder itself where that can be."""
    with os.scandir(path) as entries:
        members = sorted(entries, key=lambda member: member.is_dir(follow_symlinks=False))
    for member in members:  # files first: without its documents, what a kill leaves is no store
        if member.is_dir(follow_symlinks=False):
            shutil.rmtree(member.path, onerror=_unless_gone)
        else:
            os.unlink(member.path)
    with suppress(OSError):
        os.rmdir(path)


def _put_back(path: str, aside: str, before: Counter[str], error: OSError) -> OSError:
    """Rename what remains back, and return the error that says what is gone."""
    if not os.path.lexists(aside):
        return error
    left = Counter(dict(_count(aside)))
    where = aside
    for target in (path, os.path.join(os.path.dirname(path), private_name(".kept"))):
        if aside == path:
            break
        try:
            if not os.path.lexists(target):
                os.rename(aside, target)
                where = target
                break
        except OSError:
            continue
    gone = before - left
    names = [f"{name} ({count} of {before[name]} files)" for name, count in sorted(gone.items())]
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    text = (
        f"{error.strerror or error}. Gone are {gone.total()} of {before.total()} files"
        f"{': ' + shown if names else ''}. The rest is in {where}"
    )
    return PartlyRemovedError(error.errno, text)


def _walk(path: str) -> Counter[str]:
    """Count the files of each member of a folder; refuse where a folder in it is protected."""
    return Counter(dict(_count(path, _check_folder)))


def _count(
    path: str, check: Callable[[str, os.stat_result], None] | None = None
) -> Iterator[tuple[str, int]]:
    """Yield the number of files in each member of a folder, itself one where it is a file."""
    if check is not None:
        check(path, os.lstat(path))
    device = os.lstat(path).st_dev
    with os.scandir(path) as entries:
        members = list(entries)
    for member in members:
        yield member.name, _files_in(member, device, check)


def _files_in(
    entry: os.DirEntry[str], device: int, check: Callable[[str, os.stat_result], None] | None
) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return 1
    pending, count = [entry.path], 0
    while pending:
        folder = pending.pop()
        try:
            if check is not None:
                found = os.lstat(folder)
                if found.st_dev != device:
                    raise OSError(
                        errno.EBUSY, os.strerror(errno.EBUSY) + ", a file system is mounted there", folder
                    )
                check(folder, found)
            with os.scandir(folder) as entries:
                for member in entries:
                    if member.is_dir(follow_symlinks=False):
                        pending.append(member.path)
                    else:
                        count += 1
        except FileNotFoundError:
            continue  # somebody sweeps the same folder
    return count


def _check_above(path: str) -> None:
    """Refuse where the folder above keeps this one: it is protected, or this one is the root of a mount."""
    above = os.path.dirname(path)
    found, parent = os.lstat(path), os.stat(above)
    if found.st_dev != parent.st_dev:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY) + ", a file system is mounted there", path)
    _check_writable(above, os.W_OK | os.X_OK, (parent, found))


def _check_folder(path: str, found: os.stat_result) -> None:
    """Refuse a folder from which this user cannot remove."""
    _check_writable(path, os.W_OK | os.X_OK | os.R_OK, (found,))


def _check_writable(path: str, how: int, owners: tuple[os.stat_result, ...]) -> None:
    """Refuse a folder by its mode, a read-only mount, or flags of Linux; the first of `owners` is its own state."""
    if not os.access(path, how, effective_ids=os.access in os.supports_effective_ids):
        os.lstat(path)  # one that somebody else removed meanwhile is not protected
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    is_sticky = bool(owners[0].st_mode & stat.S_ISVTX)
    if is_sticky and hasattr(os, "geteuid") and os.geteuid() not in (0, *(one.st_uid for one in owners)):
        raise PermissionError(errno.EPERM, "only their owners may remove files of this folder", path)
    if sys.platform == "linux" and _flags(path) & _PROTECTED:
        raise PermissionError(errno.EPERM, "the folder is immutable or append only (lsattr, chattr)", path)


def _flags(path: str) -> int:
    """Return the flags of a folder that ``chattr`` sets; 0 where the file system has none."""
    import fcntl
    import struct

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        answer = fcntl.ioctl(fd, _GET_FLAGS, bytes(8))
        return int(struct.unpack("=i", answer[:4])[0])
    except OSError:
        return 0
    finally:
        os.close(fd)


def _unless_gone(_function: object, _path: str, fault: tuple[object, BaseException, object]) -> None:
    if not isinstance(fault[1], FileNotFoundError):  # somebody sweeps the same folder
        raise fault[1]
