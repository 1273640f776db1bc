"""Create the folders of a store, and remember which of them exist, so that each is checked once per store handle."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

from lamella.errors import InvalidNameError, NodeNotFoundError, StorageError
from lamella.store.file_system import fsync_path
from lamella.store.path_guard import MAX_FOLDERS
from lamella.store.temporary_files import sweep_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lamella.store.path_guard import PathGuard


class Folders:
    """The folders that a store handle writes into.

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

    def make(self, folder: str) -> None:
        """Create a folder and its parents; each is checked once to lie inside the store."""
        if folder in self._existing:
            return
        try:
            if folder:
                above = folder.rpartition("/")[0]
                if above not in self._existing:
                    self.make(above)
                os.mkdir(self._base + folder)
                self._guard.remember(folder)
            else:
                self._make_root()
        except FileExistsError:
            self._check(folder)
            sweep_folder(self._base + folder)
        except OSError as error:
            if (
                isinstance(error, FileNotFoundError) and "" in self._existing
            ):  # a remembered folder was removed
                self._existing.clear()
                self.make(folder)
                return
            self._fail("make the folder", folder, error)
        if self._fsync and folder:
            # Flush an existing folder too: its creator may not have flushed it yet.
            self.flush(folder.rpartition("/")[0])
        self._add(folder)

    def add_written(self, folder: str, inside: Iterable[str]) -> None:
        """Remember a folder that was just written, and folders inside it."""
        for path in (folder, *inside):
            self._guard.remember(path)
            self._add(path)

    def flush(self, folder: str) -> None:
        """Flush the names in a folder to the disk."""
        try:
            fsync_path(self._base + folder)
        except OSError as error:
            self._fail("flush the folder", folder, error)

    def _add(self, folder: str) -> None:
        if len(self._existing) > MAX_FOLDERS:
            self._existing.clear()
        self._existing.add(folder)

    def _check(self, folder: str) -> None:
        """Raise where a path is not a folder, or is outside the store; the folder above was checked."""
        try:
            self._guard.check_folder(folder)
        except NodeNotFoundError:
            raise InvalidNameError(
                f"cannot make the folder {folder!r} in {self._root}: {self._guard.describe_alias(folder)}"
            ) from None
        if not os.path.isdir(self._base + folder):
            raise StorageError(
                f"cannot make the folder {folder!r} in {self._root}: a file of that name is there",
                errno.ENOTDIR,
            ) from None

    def _make_root(self) -> None:
        missing, path = [], self._root
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        os.makedirs(self._root, exist_ok=True)
        if not missing:
            sweep_folder(self._base)
        for folder in missing if self._fsync else ():
            fsync_path(os.path.dirname(folder))
