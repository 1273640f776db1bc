"""Delete a local folder completely, or not at all where something in it is protected.

The folder is checked for protected entries, renamed to a temporary name, so that after a kill it is complete or gone,
and then deleted. If the deletion still fails, the remaining folder is renamed back.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections import Counter
from contextlib import suppress

from lamella.errors import StorageError
from lamella.store.files.temporary_files import temporary_name

_PROTECTED = 0x10 | 0x20
"""Flags of ``chattr`` on Linux: immutable, append only."""

_GET_FLAGS = 0x80086601
"""``FS_IOC_GETFLAGS`` of 64-bit Linux."""


class PartlyRemovedError(OSError):
    """A folder was deleted only in part."""


_CANNOT_RENAME = frozenset({errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.EROFS})
"""Errors of renaming a folder that can still be emptied: a mount, a container layer, a protected parent."""


def check_removable(path: str, *, may_stay: bool = False) -> None:
    """Raise `OSError` where a folder, one inside it, or its parent is protected; `may_stay` as for `remove_folder`."""
    if not may_stay:
        _check_above(path)
    _count_members(path)


def remove_folder(path: str, *, may_stay: bool = False) -> None:
    """Delete a folder with all below it; with `may_stay`, only its members where its parent is protected.

    Raises `OSError` where nothing was deleted, else `PartlyRemovedError`, which names the remaining folder.
    """
    if not may_stay:
        _check_above(path)
    file_counts = _count_members(path)
    temporary = os.path.join(os.path.dirname(path), temporary_name(".deleted"))
    try:
        os.rename(path, temporary)
    except OSError as error:
        if error.errno not in _CANNOT_RENAME:
            raise
        temporary = path
    try:
        if temporary == path and may_stay:
            _empty(path)
        else:
            shutil.rmtree(temporary, onerror=_raise_unless_missing)
    except OSError as error:
        raise _restore(path, temporary, file_counts, error) from error


def delete_unfinished(path: str) -> None:
    """Delete a folder that a killed call left; raise StorageError if the system refuses."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise StorageError(f"Cannot delete {path}: {error.strerror or error}.", error.errno) from error


def _empty(path: str) -> None:
    """Delete all members of a folder, and the folder itself if possible."""
    with os.scandir(path) as entries:
        members = sorted(entries, key=lambda member: member.is_dir(follow_symlinks=False))
    for member in members:  # files first: without documents, a folder that a kill leaves is not a store
        if member.is_dir(follow_symlinks=False):
            shutil.rmtree(member.path, onerror=_raise_unless_missing)
        else:
            os.unlink(member.path)
    with suppress(OSError):
        os.rmdir(path)


def _restore(path: str, temporary: str, file_counts: Counter[str], error: OSError) -> OSError:
    """Rename the remaining folder back, and return the error that lists the deleted files."""
    if not os.path.lexists(temporary):
        return error
    remaining = _count(temporary)
    where = temporary
    for target in (path, os.path.join(os.path.dirname(path), temporary_name(".kept"))):
        if temporary == path:
            break
        try:
            if not os.path.lexists(target):
                os.rename(temporary, target)
                where = target
                break
        except OSError:
            continue
    deleted = file_counts - remaining
    names = [f"{name} ({count} of {file_counts[name]} files)" for name, count in sorted(deleted.items())]
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    message = (
        f"{error.strerror or error}. Deleted were {deleted.total()} of {file_counts.total()} files"
        f"{': ' + listed if names else ''}. The rest is in {where}"
    )
    return PartlyRemovedError(error.errno, message)


def _count_members(path: str) -> Counter[str]:
    """Count the files of each member of a folder; raise where a folder in it is protected."""
    status = os.lstat(path)
    _check_folder(path, status)
    return _count(path, status.st_dev)


def _count(path: str, device: int | None = None) -> Counter[str]:
    """Count the files of each member of a folder; with its `device`, check each folder in it."""
    with os.scandir(path) as entries:
        return Counter({member.name: _files_in(member, device) for member in entries})


def _files_in(entry: os.DirEntry[str], device: int | None) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return 1
    pending, count = [entry.path], 0
    while pending:
        folder = pending.pop()
        try:
            if device is not None:
                status = os.lstat(folder)
                if status.st_dev != device:
                    raise OSError(
                        errno.EBUSY, os.strerror(errno.EBUSY) + ", a file system is mounted there", folder
                    )
                _check_folder(folder, status)
            with os.scandir(folder) as entries:
                for member in entries:
                    if member.is_dir(follow_symlinks=False):
                        pending.append(member.path)
                    else:
                        count += 1
        except FileNotFoundError:
            continue  # another process deletes from the same folder
    return count


def _check_above(path: str) -> None:
    """Raise where the parent is protected, or a file system is mounted at the folder."""
    parent_path = os.path.dirname(path)
    status, parent_status = os.lstat(path), os.stat(parent_path)
    if status.st_dev != parent_status.st_dev:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY) + ", a file system is mounted there", path)
    _check_writable(parent_path, os.W_OK | os.X_OK, (parent_status, status))


def _check_folder(path: str, status: os.stat_result) -> None:
    """Raise where this user cannot delete from a folder."""
    _check_writable(path, os.W_OK | os.X_OK | os.R_OK, (status,))


def _check_writable(path: str, mode: int, owners: tuple[os.stat_result, ...]) -> None:
    """Raise where mode, mount or Linux flags protect a folder; `owners` begins with the folder's own status."""
    if not os.access(path, mode, effective_ids=os.access in os.supports_effective_ids):
        os.lstat(path)  # raises FileNotFoundError where another process removed the folder
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    is_sticky = bool(owners[0].st_mode & stat.S_ISVTX)
    if (
        is_sticky
        and hasattr(os, "geteuid")
        and os.geteuid() not in (0, *(status.st_uid for status in owners))
    ):
        raise PermissionError(errno.EPERM, "only their owners may remove files of this folder", path)
    if sys.platform == "linux" and _flags(path) & _PROTECTED:
        raise PermissionError(errno.EPERM, "the folder is immutable or append only (lsattr, chattr)", path)


def _flags(path: str) -> int:
    """Return the ``chattr`` flags of a folder; 0 where the file system has none."""
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


def _raise_unless_missing(
    _function: object, _path: str, exc_info: tuple[object, BaseException, object]
) -> None:
    if not isinstance(exc_info[1], FileNotFoundError):  # another process deletes from the same folder
        raise exc_info[1]
