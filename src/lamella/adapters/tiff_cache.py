"""Cache the pages of files with several images, parsed once for all of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.adapters.tiff_pages import PageBytes

Pages = list["PageBytes | None"]

_FILES = 4
"""Maximum number of cached files: a list of pages may be long."""

_Key = tuple[str, int, int, int]


class PageCache:
    """The pages of each image of the most recently read files; a file that changed is parsed again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[_Key, list[Pages]] = OrderedDict()

    def put(self, path: str, pages: list[Pages]) -> None:
        """Cache the pages of a file that was just parsed."""
        with self._lock:
            self._keep(_key(path), pages)

    def get(self, path: str, parse: Callable[[], list[Pages]]) -> list[Pages]:
        """Return the pages of each image of a file; concurrent threads wait for a single parse."""
        with self._lock:
            key = _key(path)
            pages = self._files.get(key)
            if pages is None:
                pages = parse()
            self._keep(key, pages)
            return pages

    def _keep(self, key: _Key, pages: list[Pages]) -> None:
        self._files[key] = pages
        self._files.move_to_end(key)
        while len(self._files) > _FILES:
            self._files.popitem(last=False)

    def unlock_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have locked when the process was forked."""
        self._lock = threading.Lock()


PAGES = PageCache()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PAGES.unlock_in_child)


def _key(path: str) -> _Key:
    try:
        stat = os.stat(path)
    except OSError:
        return path, -1, -1, -1  # opening the file raises the error
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino
