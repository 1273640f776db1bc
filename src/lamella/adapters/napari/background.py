"""Read tiles beside napari's window: what is read already is drawn at once, the rest when it has arrived."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, one_line
from lamella.ops.view.tiles import Tile

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.view.tiles import Tiles, View

_KEPT = 256
"""Tiles that stay in memory for one store."""

Key = tuple[int, int, int, "View", tuple[int, ...], "str | None"]


class BackgroundTiles:
    """Tiles of a scene; ``arrived`` is called on a reading thread after tiles that were missing have been read.

    Without ``arrived``, missing tiles are read at once.
    """

    def __init__(self, tiles: Tiles, arrived: Callable[[], None] | None) -> None:
        self._tiles = tiles
        self._arrived = arrived
        self._lock = threading.Lock()
        self._read: OrderedDict[Key, Tile] = OrderedDict()
        self._waiting: set[Key] = set()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lamella-napari")

    @property
    def levels(self) -> int:
        """Number of levels."""
        return self._tiles.levels

    def tile(self, *key: Any) -> Tile | None:
        """Return a tile, or None while it is being read."""
        if self._arrived is None:
            return self._tiles.tile(*key)
        with self._lock:
            if key in self._read:
                self._read.move_to_end(key)
                return self._read[key]
            if key not in self._waiting:
                self._waiting.add(key)
                self._threads.submit(self._fetch, key)
        return None

    def _fetch(self, key: Any) -> None:
        try:
            tile = self._tiles.tile(*key)
        except LamellaError as error:
            empty = np.zeros((1, 0, 0), np.uint8)
            tile = Tile(empty, empty[0], [(-1, one_line(error))])
        with self._lock:
            self._read[key] = tile
            self._waiting.discard(key)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        if self._arrived is not None:
            self._arrived()


def redraw_when_read(levels: list[Any]) -> Callable[[], None] | None:
    """Return a function that draws again the layers of some levels in the present window; None without a window.

    ``levels`` may be filled later. The function can be called on any thread.
    """
    try:
        from qtpy.QtWidgets import QApplication
        from superqt.utils import ensure_main_thread

        from napari import current_viewer
    except (ImportError, RuntimeError):  # qtpy raises without any Qt
        return None
    if QApplication.instance() is None or current_viewer() is None:
        return None

    @ensure_main_thread  # type: ignore[untyped-decorator]
    def redraw() -> None:
        viewer = current_viewer()
        for layer in () if viewer is None else viewer.layers:
            data = layer.data if getattr(layer, "multiscale", False) else [layer.data]
            if any(level is ours for level in data for ours in levels):
                layer.refresh()

    def call() -> None:
        redraw()

    return call
