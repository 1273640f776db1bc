"""The folders of a store that were made, or found to be there, by one opening of it: each is asked for once."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NoReturn

from lamella.errors import InvalidNameError, StorageError
from lamella.store.file_system import fsync_path
from lamella.store.path_guard import MOST_FOLDERS
from lamella.store.temporary_files import sweep_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lamella.store.path_guard import PathGuard


class Folders:
    """Folders to write into.

    Parameters
    ----------
    bounds
        What lies in the store, and its root.
    fsync
        Flush the folder above each to the disk.
    fail
        Raises what the system says as an error of the store: of what was tried, and where.
    """

    def __init__(self, bounds: PathGuard, fsync: bool, fail: Callable[[str, str, OSError], NoReturn]) -> None:
        self._root = bounds.root
        self._base = bounds.base
        self._guard = bounds
        self._fsync = fsync
        self._fail = fail
        self._known: set[str] = set()

    def __contains__(self, folder: str) -> bool:
        return folder in self._known

    def forget(self) -> None:
        """Ask for every folder anew: one was moved or removed."""
        self._known.clear()

    def make(self, folder: str) -> None:
        """Make a folder and those above; each is checked once to lie inside the store."""
        if folder in self._known:
            return
        try:
            if folder:
                above = folder.rpartition("/")[0]
                if above not in self._known:
                    self.make(above)
                os.mkdir(self._base + folder)
                self._guard.remember(folder)
            else:
                self._make_root()
        except FileExistsError:
            self._check(folder)
            sweep_folder(self._base + folder)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and "" in self._known:  # one that we remember was removed
                self._known.clear()
                self.make(folder)
                return
            self._fail("make the folder", folder, error)
        if self._fsync and folder:
            # Also of a folder that was there: who made it may not have flushed it yet.
            self.flush(folder.rpartition("/")[0])
        self._note(folder)

    def written(self, folder: str, inside: Iterable[str]) -> None:
        """Note a folder that was just written, with folders in it."""
        for path in (folder, *inside):
            self._guard.remember(path)
            self._note(path)

    def flush(self, folder: str) -> None:
        """Flush the names in a folder to the disk."""
        try:
            fsync_path(self._base + folder)
        except OSError as error:
            self._fail("flush the folder", folder, error)

    def _note(self, folder: str) -> None:
        if len(self._known) > MOST_FOLDERS:
            self._known.clear()
        self._known.add(folder)

    def _check(self, folder: str) -> None:
        """Refuse what is at the place of a folder and is none, or is not the store's."""
        self._guard.check(folder)
        if self._guard.is_alias(folder):
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
        for made in missing if self._fsync else ():
            fsync_path(os.path.dirname(made))
