"""Plates as one array, read where napari draws it: tiles in memory are drawn at once, others when they have arrived."""

from __future__ import annotations

import math
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import LamellaError, clause, one_line
from lamella.ops.last_used import LastUsed
from lamella.ops.view.level_arrays import LazyArray
from lamella.ops.view.tiles import SIDE, Tile, View

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lamella.ops.view.scene import ViewScene
    from lamella.ops.view.tiles import Tiles


class CanvasArray(LazyArray):
    """A channel, or a label image, of all fields of a scene in one level of its canvas: (T, Z, Y, X).

    T and Z are left out where the scene has one of them. The canvas is enlarged to whole pixels of its coarsest level,
    because napari derives the sizes of pixels from the shapes of levels. Fields that cannot be read are black, and a
    warning states why, once for each. Tiles that are not read yet are black too, if ``tiles`` reads beside the window.
    """

    def __init__(
        self,
        scene: ViewScene,
        tiles: BackgroundTiles,
        level: int,
        channels: tuple[int, ...],
        label: str | None,
        acquisition: int,
    ) -> None:
        self._scene, self._tiles, self._level = scene, tiles, level
        self._channels, self._label, self._acquisition = channels, label, acquisition
        coarsest = 1 << (tiles.levels - 1)
        sides = [math.ceil(side / coarsest) * coarsest >> level for side in (scene.height, scene.width)]
        self._over = (scene.times > 1, scene.depth > 1)
        lengths = (scene.times, scene.depth)
        self.shape = (
            *(length for length, shown in zip(lengths, self._over, strict=True) if shown),
            *sides,
        )
        self.dtype = np.dtype("uint64") if label is not None else scene.dtype
        self._reported: set[int] = set()

    def _read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        *outer, y, x = index
        rows, columns = (
            range(length)[entry] if isinstance(entry, slice) else range(length)[entry : entry + 1 or None]
            for entry, length in zip((y, x), self.shape[-2:], strict=True)
        )
        steps = [iter(outer)] * 2
        entries = [next(steps[0]) if shown else 0 for shown in self._over]
        numbers = [
            range(length)[entry] if isinstance(entry, slice) else [range(length)[entry]]
            for entry, length in zip(entries, (self._scene.times, self._scene.depth), strict=True)
        ]
        values = np.empty((len(numbers[0]), len(numbers[1]), len(rows), len(columns)), self.dtype)
        for first, t in enumerate(numbers[0]):
            for second, z in enumerate(numbers[1]):
                values[first, second] = self._plane(View(t, z, self._acquisition), rows, columns)
        dimensions = [*entries, y, x]
        return values[tuple(slice(None) if isinstance(entry, slice) else 0 for entry in dimensions)]

    def _plane(self, view: View, rows: range, columns: range) -> NDArray[Any]:
        """Read a plane at some rows and columns, out of the tiles that they meet."""
        plane = np.zeros((len(rows), len(columns)), self.dtype)
        y, x = np.asarray(rows), np.asarray(columns)
        for row in np.unique(y // SIDE):
            for column in np.unique(x // SIDE):
                step = SIDE << self._level
                if row * step >= self._scene.height or column * step >= self._scene.width:
                    continue  # beyond the canvas
                tile = self._tiles.tile(self._level, int(column), int(row), view, self._channels, self._label)
                if tile is None:
                    continue  # it is drawn when it has been read
                self._report(tile.damaged)
                pixels = tile.planes[0]
                down, across = y - row * SIDE, x - column * SIDE
                into_y = np.flatnonzero((down >= 0) & (down < pixels.shape[0]))
                into_x = np.flatnonzero((across >= 0) & (across < pixels.shape[1]))
                plane[np.ix_(into_y, into_x)] = pixels[np.ix_(down[into_y], across[into_x])]
        return plane

    def _report(self, damaged: list[tuple[int, str]]) -> None:
        for number, reason in damaged:
            if number not in self._reported:
                self._reported.add(number)
                path = self._scene.store if number < 0 else self._scene.fields[number].path
                warnings.warn(f"{path} could not be read: {clause(reason)}.", UserWarning, stacklevel=2)


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
        self._read: LastUsed[Key, Tile] = LastUsed(_KEPT)
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
            tile = self._read.get(key)
            if tile is None and key not in self._waiting:
                self._waiting.add(key)
                self._threads.submit(self._fetch, key)
        return tile

    def _fetch(self, key: Any) -> None:
        try:
            tile = self._tiles.tile(*key)
        except LamellaError as error:
            empty = np.zeros((1, 0, 0), np.uint8)
            tile = Tile(empty, empty[0], [(-1, one_line(error))])
        with self._lock:
            self._read.put(key, tile)
            self._waiting.discard(key)
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
