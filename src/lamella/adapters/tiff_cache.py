"""Cache the pages of files with several images, parsed once for all of them, and the decoders of equal files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.adapters.tiff_pages import PageBytes

Pages = list["PageBytes | None"]

_FILES = 4
"""Maximum number of cached files: a list of pages may be long."""

_FRAMES = 64
"""Maximum number of kinds of pages of which one stands for all."""

_PLAIN_CODECS = {1, 5, 8, 32773, 32946, 34925, 50000}
"""Compressions without parameters in other tags: none, LZW, deflate, PackBits, LZMA, Zstandard."""

FileKey = tuple[str, int, int, int]
"""Path, size, time and inode of a file: another key means that it has changed."""


class PageCache:
    """The pages of each image of the most recently read files; a file that changed is parsed again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[FileKey, list[Pages]] = OrderedDict()

    def put(self, path: str, pages: list[Pages]) -> None:
        """Cache the pages of a file that was just parsed."""
        with self._lock:
            self._keep(file_key(path), pages)

    def get(self, path: str, parse: Callable[[], list[Pages]]) -> list[Pages]:
        """Return the pages of each image of a file; concurrent threads wait for a single parse."""
        with self._lock:
            key = file_key(path)
            pages = self._files.get(key)
            if pages is None:
                pages = parse()
            self._keep(key, pages)
            return pages

    def _keep(self, key: FileKey, pages: list[Pages]) -> None:
        self._files[key] = pages
        self._files.move_to_end(key)
        while len(self._files) > _FILES:
            self._files.popitem(last=False)

    def unlock_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have locked when the process was forked."""
        self._lock = threading.Lock()


class FrameCache:
    """Pages that stand for all pages which are decoded alike, so that thousands of files need the memory of one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def shared(self, frame: Any) -> Any | None:
        """Return the page for a page of tifffile; None if its decoder may depend on more than the layout of pixels."""
        if frame.compression not in _PLAIN_CODECS:
            return None
        if not frame.is_final:
            frame.decode  # noqa: B018 (built on first use, and not safely in threads)
        # `hash` covers what the decoder of a page depends on, except its fill value.
        key = (
            frame.hash,
            frame.shaped,
            frame.compression,
            frame.is_final,
            frame.nodata,
            frame.parent.byteorder,
        )
        with self._lock:
            shared = self._frames.setdefault(key, frame)
            self._frames.move_to_end(key)
            if len(self._frames) > _FRAMES:
                self._frames.popitem(last=False)
        return shared

    def unlock_in_child(self) -> None:
        """Replace the lock: see `PageCache.unlock_in_child`."""
        self._lock = threading.Lock()


PAGES = PageCache()
FRAMES = FrameCache()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PAGES.unlock_in_child)
    os.register_at_fork(after_in_child=FRAMES.unlock_in_child)


def file_key(path: str) -> FileKey:
    """Return the key of a file; an impossible one if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return path, -1, -1, -1  # opening the file raises the error
    return path, stat.st_size, stat.st_mtime_ns, stat.st_ino
