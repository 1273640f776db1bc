"""Show a plate as one array: napari reads only the region on the screen.

The array is a canvas of all fields in tiles of SIDE x SIDE pixels. Tiles in memory are returned at once; others are
black until threads beside the window have read them, and then napari draws the layer again.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import clause, one_line, warn
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

    An axis T or Z of length 1 is left out. The canvas is enlarged to a multiple of the factor of its coarsest level
    (1,001 columns to 1,004 with factor 4), because napari derives the sizes of pixels from the shapes of levels. Fields
    that cannot be read are black, with one warning for each, and so are tiles that `BackgroundTiles` is still reading.
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
        self._has_axes = (scene.times > 1, scene.depth > 1)
        lengths = (scene.times, scene.depth)
        self.shape = (
            *(length for length, has_axis in zip(lengths, self._has_axes, strict=True) if has_axis),
            *sides,
        )
        self.dtype = np.dtype("uint64") if label is not None else scene.dtype
        self._reported: set[int] = set()

    def _read(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        *outer, y, x = index
        remaining = iter(outer)
        full_index = [*(next(remaining) if has_axis else 0 for has_axis in self._has_axes), y, x]
        times, depths, rows, columns = (
            range(length)[number] if isinstance(number, slice) else range(length)[number : number + 1 or None]
            for number, length in zip(
                full_index, (self._scene.times, self._scene.depth, *self.shape[-2:]), strict=True
            )
        )
        pixels = np.empty((len(times), len(depths), len(rows), len(columns)), self.dtype)
        for time_index, t in enumerate(times):
            for depth_index, z in enumerate(depths):
                pixels[time_index, depth_index] = self._plane(View(t, z, self._acquisition), rows, columns)
        return pixels[tuple(slice(None) if isinstance(number, slice) else 0 for number in full_index)]

    def _plane(self, view: View, rows: range, columns: range) -> NDArray[Any]:
        """Read rows and columns of a plane from the tiles that contain them."""
        plane = np.zeros((len(rows), len(columns)), self.dtype)
        y, x = np.asarray(rows), np.asarray(columns)
        for row in np.unique(y // SIDE):
            for column in np.unique(x // SIDE):
                finest_side = SIDE << self._level
                if row * finest_side >= self._scene.height or column * finest_side >= self._scene.width:
                    continue  # in the margin by which the canvas was enlarged
                tile = self._tiles.tile(self._level, int(column), int(row), view, self._channels, self._label)
                if tile is None:
                    continue  # napari draws the layer again when the tile has been read
                self._report(tile.damaged)
                pixels = tile.planes[0]
                tile_y, tile_x = y - row * SIDE, x - column * SIDE
                inside_y = np.flatnonzero((tile_y >= 0) & (tile_y < pixels.shape[0]))
                inside_x = np.flatnonzero((tile_x >= 0) & (tile_x < pixels.shape[1]))
                plane[np.ix_(inside_y, inside_x)] = pixels[np.ix_(tile_y[inside_y], tile_x[inside_x])]
        return plane

    def _report(self, damaged: list[tuple[int, str]]) -> None:
        for number, reason in damaged:
            if number not in self._reported:
                self._reported.add(number)
                path = self._scene.store if number < 0 else self._scene.fields[number].path
                warn(f"{path} could not be read: {clause(reason)}.")


_MAX_TILES = 256
"""Maximum number of tiles that stay in memory for one store."""

Key = tuple[int, int, int, "View", tuple[int, ...], "str | None"]


class BackgroundTiles:
    """Tiles of a scene that two threads read; ``on_arrival`` is called on such a thread after each tile.

    Without ``on_arrival``, tiles are read by the caller.
    """

    def __init__(self, tiles: Tiles, on_arrival: Callable[[], None] | None) -> None:
        self._tiles = tiles
        self._on_arrival = on_arrival
        self._lock = threading.Lock()
        self._cached: LastUsed[Key, Tile] = LastUsed(_MAX_TILES)
        self._waiting: set[Key] = set()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lamella-napari")

    @property
    def levels(self) -> int:
        """Number of levels."""
        return self._tiles.levels

    def tile(self, *key: Any) -> Tile | None:
        """Return a tile, or None while it is being read."""
        if self._on_arrival is None:
            return self._tiles.tile(*key)
        with self._lock:
            tile = self._cached.get(key)
            if tile is None and key not in self._waiting:
                self._waiting.add(key)
                self._threads.submit(self._fetch, key)
        return tile

    def _fetch(self, key: Any) -> None:
        try:
            tile = self._tiles.tile(*key)
        except Exception as error:  # a thread's error reaches nobody: the layer's warning reports it
            empty = np.zeros((1, 0, 0), np.uint8)
            tile = Tile(empty, empty[0], [(-1, one_line(error))])
        with self._lock:
            self._cached.put(key, tile)
            self._waiting.discard(key)
        if self._on_arrival is not None:
            self._on_arrival()


def redraw_when_read(levels: list[Any]) -> Callable[[], None] | None:
    """Return a function for any thread that redraws the layers with ``levels`` in the open window of napari.

    The caller may add levels to the list later. Return None without a window.
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
