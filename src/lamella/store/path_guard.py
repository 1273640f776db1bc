"""Refuse paths that symbolic links lead out of a store, and names that match only because case is ignored.

On file systems that ignore case (macOS, Windows, many network shares) ``a`` opens the entry ``A``; macOS also equates
composed and decomposed letters. In metadata these are different names, so only the listed spelling counts.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from stat import S_ISLNK, S_ISREG

from lamella.errors import InvalidNameError, NodeNotFoundError
from lamella.store.keys import DOCUMENTS

MAX_FOLDERS = 200_000
"""Limit of folders that one store handle remembers."""


class PathGuard:
    """The boundary of a store in a folder; with `unchecked`, all links are followed and all names accepted."""

    def __init__(self, root: str, unchecked: bool) -> None:
        self.root = root
        self.unchecked = unchecked
        self.base = root.rstrip(os.sep) + "/"
        self._real_root: str | None = None
        self._ignores_case: bool | None = None
        #: Folders that are known to lie in the store.
        self.known = {""}

    def forget(self) -> None:
        """Check every folder again: one was moved or removed."""
        self.known = {""}

    def check_folder(self, path: str) -> bool:
        """Check a folder once; return False where it does not exist.

        Raises `InvalidNameError` where a symbolic link leads out of the store, and `NodeNotFoundError` where the
        folder exists under another spelling only.
        """
        if self.unchecked or path in self.known:
            return True
        above = path.rpartition("/")[0]
        if above not in self.known and not self.check_folder(above):
            return False
        try:
            os.readlink(self.base + path)
        except OSError as error:  # not a link; `readlink` is twice as fast as `lstat`
            if error.errno != errno.EINVAL:  # missing, or no permission: the next call reports it
                return error.errno != errno.ENOENT
        else:
            self.check(path)
        if self.is_alias(path):
            raise NodeNotFoundError(f"there is no {path!r} in {self.root}: {self.describe_alias(path)}")
        self.remember(path)
        return True

    def remember(self, path: str) -> None:
        """Remember that a folder lies in the store."""
        if len(self.known) > MAX_FOLDERS:
            self.forget()
        self.known.add(path)

    def check_file(self, key: str) -> bool:
        """Check a file that a library will open: True for a file that is not a link, False for a missing one.

        Raises `InvalidNameError` where a link leads out of the store, and `MisplacedError` where it is not a file.
        """
        folder = key.rpartition("/")[0]
        if folder not in self.known:
            self.check_folder(folder)
        path = self.base + key
        try:
            mode = os.stat(path).st_mode if self.unchecked else os.lstat(path).st_mode
            is_link = S_ISLNK(mode)
            if is_link:
                self.check(key)
                mode = os.stat(path).st_mode
        except OSError:  # missing, or refused: the library that opens it reports why
            return False
        if not S_ISREG(mode):
            from lamella.store.misplaced import require_file

            require_file(mode, path)
        return not is_link  # links are checked each time, since their targets may change

    def check(self, path: str) -> None:
        """Raise where symbolic links lead a path out of the store."""
        if self.unchecked:
            return
        if self._real_root is None:
            self._real_root = os.path.realpath(self.root)
        real = os.path.realpath(self.base + path) if path else self._real_root
        if real != self._real_root and not real.startswith(self._real_root.rstrip(os.sep) + os.sep):
            raise InvalidNameError(
                f"{path!r} leaves the store {self.root}: a symbolic link leads to {real}; open that place as a store "
                "of its own, or follow the links of this one: disable_path_checking=True to open it, follow_links=True "
                "of functions, --follow-links of commands"
            )

    def is_alias(self, path: str) -> bool:
        """Whether the entry at a path has another spelling, which the file system equates."""
        above, _, name = path.rpartition("/")
        if not name or self.unchecked or name in DOCUMENTS or (name.isascii() and name.isdigit()):
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
