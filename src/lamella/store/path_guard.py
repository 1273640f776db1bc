"""Which names of a folder are names of the store: none that a link leads out of it, and none in other letters.

Where case does not count (macOS, Windows, folders of ext4 with casefold, many network shares), ``a`` opens what is
called ``A``; macOS also takes composed and decomposed letters for the same. Elsewhere these are two names, and so they
are in the metadata of a store. Here they are two everywhere: a name counts as the folder lists it.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from stat import S_ISLNK, S_ISREG

from lamella.errors import InvalidNameError, NodeNotFoundError
from lamella.store.formats import DOCUMENTS

MOST_FOLDERS = 200_000
"""Folders that one opening of a store remembers."""


class PathGuard:
    """The bounds of a store in a folder.

    Parameters
    ----------
    root : str
        The folder.
    unchecked : bool
        Follow all links, and take names as the system does.
    """

    def __init__(self, root: str, unchecked: bool) -> None:
        self.root = root
        self.unchecked = unchecked
        self.base = root.rstrip(os.sep) + "/"
        self._real_root: str | None = None
        self._merges: bool | None = None
        #: Folders that were seen to lie in the store.
        self.known = {""}

    def forget(self) -> None:
        """Look at every folder anew: one was moved or removed."""
        self.known = {""}

    def check_folder(self, path: str) -> bool:
        """Refuse a folder that symbolic links lead out of the store; each folder is looked at once.

        Returns
        -------
        bool
            False where there is no such folder: then nothing below it need be asked for.

        Raises
        ------
        InvalidNameError
            A link leads out.
        NodeNotFoundError
            The folder is there under another name only.
        """
        if self.unchecked or path in self.known:
            return True
        above = path.rpartition("/")[0]
        if above not in self.known and not self.check_folder(above):
            return False
        try:
            os.readlink(self.base + path)
        except OSError as error:  # no link: half as much work as all that `lstat` tells
            if error.errno != errno.EINVAL:  # missing, or not ours to see: who asks next is told
                return error.errno != errno.ENOENT
        else:
            self.check(path)
        if self.is_alias(path):
            raise NodeNotFoundError(f"there is no {path!r} in {self.root}: {self.describe_alias(path)}")
        self.remember(path)
        return True

    def remember(self, path: str) -> None:
        """Note that a folder lies in the store: it was looked at, or just made."""
        if len(self.known) > MOST_FOLDERS:
            self.forget()
        self.known.add(path)

    def check_file(self, key: str) -> bool:
        """Look at a file that a library will open: True where it is there and no link, False where it is missing.

        Raises
        ------
        InvalidNameError
            It, or a folder above it, is a link that leads out of the store.
        MisplacedError
            It is no file.
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
        return not is_link  # a link is looked at each time: it is led elsewhere with one call

    def check(self, path: str) -> None:
        """Refuse a path that symbolic links lead out of the store."""
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
        """Whether what is at a path is called something else, which the file system takes for the same."""
        above, _, name = path.rpartition("/")
        if not name or self.unchecked or name in DOCUMENTS or (name.isascii() and name.isdigit()):
            return False
        if name.isascii() and self.merges_case() is False:
            return False
        try:
            return not _is_listed(name, os.listdir(self.base + above))
        except OSError:
            return False  # it can be entered and not listed: nothing tells

    def describe_alias(self, path: str) -> str:
        """Return what an alias is called, for messages."""
        above, _, name = path.rpartition("/")
        folded = _folded(name)
        names = [other for other in os.listdir(self.base + above) if _folded(other) == folded]
        found = " and ".join(map(ascii, names)) or "another one"
        return f"{found} is there, which this file system takes for the same name, and others do not"

    def merges_case(self) -> bool | None:
        """Whether case does not count in the store's folder; None while it has no document to tell by."""
        if self._merges is None:
            for file in DOCUMENTS:
                try:
                    found = os.lstat(self.base + file)
                except OSError:
                    continue
                try:
                    self._merges = os.path.samestat(found, os.lstat(self.base + file.upper()))
                except OSError:
                    self._merges = False
                break
        return self._merges


def _is_listed(name: str, names: list[str]) -> bool:
    if name in names:
        return True
    # HFS+ lists all names decomposed, whatever they were given as.
    decomposed = unicodedata.normalize("NFD", name)
    return decomposed in names and all(unicodedata.is_normalized("NFD", other) for other in names)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
