"""Read tiles of the canvas: raw pixels of all fields in a square, reduced by 1, 2, 4, ...

A tile of level k covers 512 x 512 canvas pixels of 2**k units each. Each field is read from its coarsest level that is
at least as fine. Fields are read by threads and drawn in their order: where fields overlap, the later one is always on
top. The tile lists fields that cannot be read, with the reason; the other fields are drawn.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, OutOfBoundsError, StorageError, one_line
from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.ops.display.planes import BAND_PIXELS, PlaneAxes, current_levels, plane_index
from lamella.ops.display.preview import unique_names
from lamella.ops.display.render import block_mean
from lamella.ops.view.field_planes import (
    FIELDS_PER_READ,
    PlaneRequest,
    bounds_of_planes,
    load_ahead,
    read_planes,
)
from lamella.ops.view.unwritten import unwritten
from lamella.store.keys import join

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.view.scene import Field, ViewScene
    from lamella.spec.axes import AxisMeta
    from lamella.store.metadata.array_meta import ArrayMeta

SIDE = 512
"""Pixels of a tile along each side."""

CACHE_BYTES = 96 << 20
"""Maximum size of cached tiles."""

_CONTRAST_SIDE = 256
"""Approximate side of the reduced field, in pixels, from which a contrast is computed."""

_MIN_TOGETHER = 8
"""Minimum number of fields in a tile that are read together; fewer are read one by one."""

_TOLERANCE = 1.01
"""A level may be coarser than a tile by this factor, because sizes are rounded: a level of 500 pixels counts as half of
one of 1001."""


UNWRITTEN = 2
"""Value of the mask for pixels of a field that are not written."""


@dataclass(frozen=True)
class View:
    """The displayed T and Z of a tile, as indices in level 0."""

    t: int
    z: int | None
    """None for the maximum over Z."""
    acquisition: int = 0
    """Index of the acquisition in the scene."""


@dataclass(frozen=True)
class Tile:
    """The pixels of a tile."""

    planes: NDArray[Any]
    """Of images: (channel, Y, X) in the dtype of the scene.

    Of label images: one plane of ids, uint32 or uint64 (`label_ids`). If colours are stored, a second plane has
    2**24 + red * 65536 + green * 256 + blue for each pixel, or 0 for an id without a colour (`stored_colors`).
    """
    mask: NDArray[np.uint8]
    """uint8 (Y, X): 1 for pixels of a field, 2 for pixels of a field that are not written."""
    damaged: list[tuple[int, str]]
    """Index of each field that could not be read, and the reason."""


@dataclass(frozen=True)
class _TileRequest:
    """A tile, or a rectangle of the canvas that is read like one, and the channels to read by their names."""

    left: float
    top: float
    step: int
    """Width of a pixel of the tile, in units of the canvas."""
    shape: tuple[int, int]
    view: View
    names: Sequence[str]


@dataclass(frozen=True)
class _Level:
    """A level of an image, with its metadata from the time when it was opened."""

    array: ImageArray
    axes: PlaneAxes
    meta: ArrayMeta

    def is_enough(self, field: Field, step: int) -> bool:
        """Return whether the level has at least as many pixels of a field as a tile, whose pixels are ``step`` wide."""
        width, height = self.axes.width(self.meta.shape), self.axes.height(self.meta.shape)
        return width * step * _TOLERANCE >= field.width and height * step * _TOLERANCE >= field.height


@dataclass(frozen=True)
class _Image:
    """An image or label image, whose levels are opened when needed: often only the coarsest one is."""

    node: Position
    paths: Sequence[str]
    axes: Sequence[AxisMeta]
    shape: tuple[int, ...]
    """Shape of level 0."""
    opened: dict[str, _Level | None]
    """The opened levels by path; None for damaged ones."""
    plane_axes: PlaneAxes | None = None

    def level_for(self, field: Field, step: int) -> _Level:
        """Return the coarsest level with at least as many pixels as the tile, else the finest."""
        while (path := self.next_level(field, step)) is not None:
            self.open_level(path)
        opened = (self.opened[path] for path in self._from_coarsest if path in self.opened)
        coarse_enough = next(
            (level for level in opened if level is not None and level.is_enough(field, step)), None
        )
        if coarse_enough is not None:
            return coarse_enough
        finest = self.opened[self.paths[0]]
        # Opening a damaged level again raises the reason.
        return self._open(self.paths[0]) if finest is None else finest

    def next_level(self, field: Field, step: int) -> str | None:
        """Return the next level that `level_for` has to open; None without any."""
        for path in self._from_coarsest:
            if path not in self.opened:
                return path
            level = self.opened[path]
            if level is not None and level.is_enough(field, step):
                return None
        return None

    @property
    def _from_coarsest(self) -> tuple[str, ...]:
        return (*reversed(self.paths),)

    def open_level(self, path: str) -> None:
        """Open a level, or note that it is damaged: a finer one is read. Raise StorageError, which may be temporary."""
        try:
            self.opened[path] = self._open(path)
        except StorageError:
            raise
        except LamellaError:
            self.opened[path] = None

    def _open(self, path: str) -> _Level:
        array = self.node.open_level(path, self.node.document.last_shared_model.multiscales[0])
        meta = array.stored.last_meta
        axes = self.plane_axes if len(meta.shape) == len(self.shape) else None
        return _Level(array, axes or PlaneAxes.of(self.axes, len(meta.shape)), meta)


@dataclass(frozen=True)
class _FieldPixels:
    """The pixels of one field in a tile."""

    target: tuple[slice, slice]
    """Region of the tile."""
    planes: list[NDArray[Any] | None]
    """None for a channel that the field lacks."""
    mask: NDArray[np.uint8] | int


@dataclass(frozen=True)
class _FieldRegion:
    """The pixels of a field that lie in a tile: some rows and columns of a level."""

    level: _Level
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    target: tuple[slice, slice]
    """Region of the tile."""
    outer_index: dict[int, int | slice] | None
    """Index along the dimensions except Y and X; None for a time that is not recorded yet."""


class _FieldRead(NamedTuple):
    """The planes of a field that are read together with those of other fields, and their region of the tile."""

    planes: PlaneRequest
    target: tuple[slice, slice]


class Tiles:
    """Reads the tiles of a scene; recently drawn tiles are cached. Thread-safe."""

    def __init__(self, scene: ViewScene, threads: Executor, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._scene = scene
        self._limit = cache_bytes
        self._tiles: OrderedDict[tuple[Any, ...], Tile] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._cached_image = lru_cache(maxsize=8192)(self._open_image)
        self._cached_channel_indices = lru_cache(maxsize=8192)(self._channel_indices)
        self._threads = threads
        self._documents = next(
            field.node.documents for field in scene.fields if isinstance(field.node, Position)
        )
        self._acquisitions = np.array([scene.acquisition_number(field) for field in scene.fields])
        self._rectangles = np.array(
            [[field.x, field.y, field.width, field.height] for field in scene.fields]
        ).reshape(-1, 4)
        self._gap = scene.field_gap

    @property
    def levels(self) -> int:
        """Number of levels; the coarsest shows the canvas in one tile."""
        longest = max(self._scene.width, self._scene.height, 1.0)
        return max(1, 1 + int(np.ceil(np.log2(max(longest / SIDE, 1.0)))))

    def tile(
        self,
        level: int,
        column: int,
        row: int,
        view: View,
        channels: Sequence[int] = (),
        label: str | None = None,
    ) -> Tile:
        """Return the pixels of a tile: channels by their indices in the scene, or a label image by its name.

        Raise OutOfBoundsError for a tile, channel, time or Z that does not exist.
        """
        self._check_tile(level, column, row, view, channels, label)
        key = (level, column, row, view, tuple(channels), label)
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
        tile = self._read_tile(level, column, row, view, channels, label)
        if not tile.damaged and not (tile.mask == UNWRITTEN).any():
            with self._lock:
                if key not in self._tiles:
                    self._tiles[key] = tile
                    self._bytes += tile.planes.nbytes + tile.mask.nbytes
                while self._bytes > self._limit and len(self._tiles) > 1:
                    _, oldest = self._tiles.popitem(last=False)
                    self._bytes -= oldest.planes.nbytes + oldest.mask.nbytes
        return tile

    def check_view(self, view: View) -> None:
        """Raise OutOfBoundsError for a time, Z or acquisition that does not exist."""
        acquisitions = max(1, len(self._scene.acquisitions))
        for name, index, length in (
            ("t", view.t, self._scene.times),
            ("z", view.z, self._scene.depth),
            ("a", view.acquisition, acquisitions),
        ):
            if index is not None and not 0 <= index < length:
                raise OutOfBoundsError(
                    f"There is no {name}={index}: {self._scene.name} has {length} along {name}."
                )

    def coarse_planes(self, number: int, view: View) -> list[NDArray[Any] | None]:
        """Return the planes of all channels of a field, of about 256 pixels a side; None for those that it lacks."""
        field = self._scene.fields[number]
        step = 1 << max(0, int(np.ceil(np.log2(max(field.width, field.height, 1) / _CONTRAST_SIDE))))
        shape = -(-int(np.ceil(field.height)) // step), -(-int(np.ceil(field.width)) // step)
        names = [channel.name for channel in self._scene.channels]
        pixels = self._read_field(number, _TileRequest(field.x, field.y, step, shape, view, names), None)
        return [None] * len(names) if pixels is None else pixels.planes

    def _check_tile(
        self, level: int, column: int, row: int, view: View, channels: Sequence[int], label: str | None
    ) -> None:
        scene, step = self._scene, SIDE << min(max(level, 0), 62)
        if not (
            0 <= level < self.levels and 0 <= column * step < scene.width and 0 <= row * step < scene.height
        ):
            raise OutOfBoundsError(f"There is no tile {column},{row} of level {level}.")
        self.check_view(view)
        if label is not None and label not in scene.labels:
            raise InvalidArgumentError(
                f"There is no label image {label!r} in {scene.name}: it has {scene.labels}."
            )
        if label is None and not channels:
            raise InvalidArgumentError("A tile needs at least one channel.")
        if len(set(channels)) != len(channels) or any(
            not 0 <= channel < len(scene.channels) for channel in channels
        ):
            raise OutOfBoundsError(f"Channels are different numbers from 0 to {len(scene.channels) - 1}.")

    def _read_tile(
        self, level: int, column: int, row: int, view: View, channels: Sequence[int], label: str | None
    ) -> Tile:
        step = 1 << level
        left, top = column * SIDE * step, row * SIDE * step
        width = min(SIDE, int(np.ceil((self._scene.width - left) / step)))
        height = min(SIDE, int(np.ceil((self._scene.height - top) / step)))
        names = [self._scene.channels[index].name for index in channels]
        x, y, widths, heights = self._rectangles.T
        numbers_in_tile = np.flatnonzero(
            (x < left + width * step)
            & (x + widths + self._gap > left)
            & (y < top + height * step)
            & (y + heights + self._gap > top)
            & (self._acquisitions == view.acquisition)
        )
        damaged: list[tuple[int, str]] = []

        request = _TileRequest(left, top, step, (height, width), view, names)

        def read(number: int) -> _FieldPixels | None:
            try:
                return self._read_field(number, request, label)
            except LamellaError as error:
                damaged.append((number, one_line(error)))
                return None

        numbers = [number for number in numbers_in_tile.tolist() if self._scene.fields[number].shape]
        pixels: dict[int, _FieldPixels | None] = {}
        if label is None and self._documents.storage.reads_ahead:
            self._open_levels(numbers, step)
        if label is None and len(numbers) >= _MIN_TOGETHER:
            self._load_ahead(request, numbers)
            groups_of_fields = [
                numbers[first : first + FIELDS_PER_READ] for first in range(0, len(numbers), FIELDS_PER_READ)
            ]
            for pixels_of_group in self._threads.map(partial(self._read_together, request), groups_of_fields):
                pixels |= pixels_of_group
        numbers_left = [number for number in numbers if number not in pixels]
        pixels |= zip(numbers_left, self._threads.map(read, numbers_left), strict=True)
        drawn = [field_pixels for number in numbers if (field_pixels := pixels[number])]
        plane_count = (
            len(names)
            if label is None
            else max((len(field_pixels.planes) for field_pixels in drawn), default=1)
        )
        first_planes = [field_pixels.planes[0] for field_pixels in drawn]
        dtypes = [np.dtype("uint32"), *(plane.dtype for plane in first_planes if plane is not None)]
        dtype = self._scene.dtype if label is None else np.result_type(*dtypes)
        planes = np.zeros((plane_count, height, width), dtype)
        mask = np.zeros((height, width), np.uint8)
        for field_pixels in drawn:
            target = field_pixels.target
            for index, plane in enumerate(field_pixels.planes):
                planes[(index, *target)] = 0 if plane is None else plane
            planes[(slice(len(field_pixels.planes), None), *target)] = 0
            mask[target] = field_pixels.mask
        return Tile(planes, mask, sorted(damaged))

    def _open_levels(self, numbers: Sequence[int], step: int) -> None:
        """Open the levels of fields that a tile needs, with one round of requests for the next level of all fields."""
        images = {number: self._cached_image(number, None) for number in numbers}
        while images:
            needed: list[tuple[int, _Image, str]] = []
            for number, image in list(images.items()):
                path = None if image is None else image.next_level(self._scene.fields[number], step)
                if image is None or path is None:
                    del images[number]
                else:
                    needed.append((number, image, path))
            self._documents.request_ahead(
                [], arrays=[join(image.node.path, path) for _, image, path in needed]
            )
            for number, image, path in needed:
                try:
                    image.open_level(path)
                except StorageError:
                    del images[number]  # `_read_field` raises it again

    def _load_ahead(self, request: _TileRequest, numbers: Sequence[int]) -> None:
        """Load the files that `_read_together` reads next, if all fields are stored like the first one."""
        with suppress(LamellaError):  # `_read_field` raises it again
            plan = self._plan_read(numbers[0], request)
            if plan is None:
                return
            nodes = [self._scene.fields[number].node for number in numbers]
            paths = [node.path for node in nodes if isinstance(node, Position)]
            level = plan.planes.path.removeprefix(f"{paths[0]}/")
            load_ahead(self._documents, [join(path, level) for path in paths], plan.planes)

    def _read_together(self, request: _TileRequest, numbers: Sequence[int]) -> dict[int, _FieldPixels]:
        """Read fields of a tile together; fields that the result lacks must be read one by one."""
        plans: dict[int, _FieldRead] = {}
        for number in numbers:
            try:
                plan = self._plan_read(number, request)
            except LamellaError:
                continue  # `_read_field` raises it again
            if plan is not None:
                plans[number] = plan
        planes_of_fields = read_planes(self._documents, [plan.planes for plan in plans.values()])
        return {
            number: _FieldPixels(plan.target, list(planes), 1)
            for (number, plan), planes in zip(plans.items(), planes_of_fields, strict=True)
            if planes is not None
        }

    def _plan_read(self, number: int, request: _TileRequest) -> _FieldRead | None:
        """Plan a read of a field together with others; None if the field must be read by itself."""
        image = self._cached_image(number, None)
        assert image is not None
        field_region = _region_in_tile(image, self._scene.fields[number], request, self._gap)
        indices = self._cached_channel_indices(number)
        if (
            field_region is None
            or field_region.outer_index is None
            or any(name not in indices for name in request.names)
        ):
            return None
        level, rows, columns = field_region.level, field_region.rows, field_region.columns
        bounds = bounds_of_planes(
            level.meta, level.axes, field_region.outer_index, [indices[name] for name in request.names]
        )
        if bounds is None:
            return None
        block_side = min(_spacing(rows), _spacing(columns))
        planes = PlaneRequest(level.array.path, level.meta, level.axes, bounds, block_side, rows, columns)
        return _FieldRead(planes, field_region.target)

    def _read_field(self, number: int, request: _TileRequest, label: str | None) -> _FieldPixels | None:
        """Read the pixels of one field that lie in a tile; None if there are none, or no such labels."""
        image, field, names = self._cached_image(number, label), self._scene.fields[number], request.names
        field_region = None if image is None else _region_in_tile(image, field, request, self._gap)
        if image is None or field_region is None:
            return None
        level, rows, columns, target = (
            field_region.level,
            field_region.rows,
            field_region.columns,
            field_region.target,
        )
        axes, outer_index = level.axes, field_region.outer_index
        if outer_index is None:
            is_unwritten = np.ones((rows.size, columns.size), bool)
            return _FieldPixels(target, [None] * max(1, len(names)), _mask(is_unwritten))
        if label is not None:
            (ids,) = _read_channels(level, outer_index, rows, columns, [0], ids=True)
            is_unwritten = unwritten(level.array, level.meta, axes, outer_index, rows, columns, ids)
            assert isinstance(image.node, LabelImage)
            ids = label_ids(ids)
            colors = stored_colors(image.node, ids)
            return _FieldPixels(target, [ids] if colors is None else [ids, colors], _mask(is_unwritten))
        indices = self._cached_channel_indices(number)
        present_names = [name for name in names if name in indices]  # a field may lack channels
        indices_of_present = [indices[name] for name in present_names]
        planes = dict(
            zip(
                present_names,
                _read_channels(level, outer_index, rows, columns, indices_of_present),
                strict=True,
            )
        )
        is_unwritten = np.full((rows.size, columns.size), bool(present_names))
        for name, plane in planes.items():
            if not is_unwritten.any():
                break
            if axes.channel is not None:
                outer_index[axes.channel] = indices[name]
            is_unwritten &= unwritten(level.array, level.meta, axes, outer_index, rows, columns, plane)
        return _FieldPixels(target, [planes.get(name) for name in names], _mask(is_unwritten))

    def _open_image(self, number: int, label: str | None) -> _Image | None:
        """Open a field, or a label image of it; None if the field has no label image with this name."""
        field = self._scene.fields[number]
        node = field.node
        assert isinstance(node, Position)
        if label is not None and not isinstance(node, LabelImage):
            if label not in node.labels:
                return None
            node = node.labels[label]
            return _Image(node, current_levels(node), node.axes, node.data.shape, {})
        return _Image(node, field.levels, field.image_axes, field.shape, {}, field.axes)

    def _channel_indices(self, number: int) -> dict[str, int]:
        """Return the index of each channel of a field by its name in the scene."""
        field = self._scene.fields[number]
        assert isinstance(field.node, Position)
        assert field.axes is not None
        names = field.node.channel_names if field.channel_names is None else field.channel_names
        keys = unique_names(names, field.axes, field.shape)
        return {name: index for index, name in enumerate(keys)}


def _region_in_tile(image: _Image, field: Field, request: _TileRequest, gap: float) -> _FieldRegion | None:
    """Return the pixels of a field that lie in a tile; None without any.

    A gap between fields that is narrower than a pixel of the tile is filled with the last pixel of the field before it:
    else some gaps would be drawn, and others not.
    """
    step, view = request.step, request.view
    filled_gap = gap if step > gap else 0.0
    level = image.level_for(field, step)
    axes, level_shape, finest_shape = level.axes, level.meta.shape, image.shape
    height, width = axes.height(level_shape), axes.width(level_shape)
    rows, first_row = sampled_indices(
        request.top, step, request.shape[0], field.y, field.height, height, filled_gap
    )
    columns, first_column = sampled_indices(
        request.left, step, request.shape[1], field.x, field.width, width, filled_gap
    )
    if not rows.size or not columns.size:
        return None
    target = np.s_[first_row : first_row + rows.size, first_column : first_column + columns.size]
    is_recorded = axes.time is None or not 1 < finest_shape[axes.time] <= view.t
    outer_index = _outer_index(axes, finest_shape, level_shape, view) if is_recorded else None
    return _FieldRegion(level, rows, columns, target, outer_index)


def _mask(is_unwritten: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(is_unwritten, np.uint8(UNWRITTEN), np.uint8(1))


def label_ids(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the ids of a label image as uint32, or as uint64 if one of them needs more bits."""
    is_wide = pixels.dtype.itemsize > 4 and pixels.size > 0 and pixels.max() > np.iinfo(np.uint32).max
    return pixels.astype(np.uint64 if is_wide else np.uint32, copy=False)


def stored_colors(image: LabelImage, ids: NDArray[Any]) -> NDArray[np.uint32] | None:
    """Return 2**24 plus the stored colour of each id, 0 for an id without one; None if the image stores no colours."""
    colors = image.colors
    if not colors:
        return None
    distinct_ids, inverse = np.unique(ids, return_inverse=True)
    packed = [_packed_color(colors.get(int(number), ())) for number in distinct_ids]
    return np.array(packed, np.uint32)[inverse].reshape(ids.shape)


def _packed_color(color: Sequence[int]) -> int:
    """Return 2**24 plus a colour; 0 for a stored value that is not a colour (LB-10), such as two numbers."""
    if len(color) < 3 or not all(0 <= component <= 255 for component in color):
        return 0
    return 1 << 24 | color[0] << 16 | color[1] << 8 | color[2]


@lru_cache(maxsize=1024)  # equal for the fields of a row or column of wells
def sampled_indices(
    start: float, step: int, length: int, offset: float, size: float, pixels: int, gap: float = 0.0
) -> tuple[NDArray[np.intp], int]:
    """Return the pixel of a level under the centre of each pixel of a tile, and the first covered pixel of the tile.

    All lengths but ``length`` and ``pixels`` are in units of the canvas. The tile begins at ``start`` and has
    ``length`` pixels of width ``step``. The field begins at ``offset``, is ``size`` long, and its level has ``pixels``
    pixels. The last pixel of the field also covers a ``gap`` after it.

    >>> sampled_indices(0, 2, 4, offset=2.0, size=8.0, pixels=8)  # a field of 8 pixels, shown at half its size
    (array([1, 3, 5]), 1)
    """
    centers = start + (np.arange(length) + 0.5) * step
    indices = np.floor((centers - offset) * pixels / size).astype(np.intp)
    inside = np.flatnonzero((indices >= 0) & ((indices < pixels) | (centers < offset + size + gap)))
    indices = np.minimum(indices, pixels - 1)
    return (indices[inside], int(inside[0])) if inside.size else (indices[:0], 0)


def _outer_index(
    axes: PlaneAxes, finest_shape: tuple[int, ...], shape: tuple[int, ...], view: View
) -> dict[int, int | slice]:
    """Return the index of each dimension except Y and X; a field with fewer planes shows its last plane."""
    z = None if view.z is None or axes.z is None else min(view.z, finest_shape[axes.z] - 1)
    t = None if axes.time is None else min(view.t, finest_shape[axes.time] - 1)
    outer_index: dict[int, int | slice] = dict(plane_index(axes, finest_shape, shape, z, t))
    if view.z is None and axes.z is not None:
        outer_index[axes.z] = slice(None)
    return outer_index


def _read_channels(
    level: _Level,
    outer_index: dict[int, int | slice],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    channels: Sequence[int],
    *,
    ids: bool = False,
) -> list[NDArray[Any]]:
    """Read channels at some rows and columns: the mean of the block around each pixel, or its label id."""
    axis = level.axes.channel
    if axis is None or ids:
        return [plane for _ in channels for plane in _read_planes(level, outer_index, rows, columns, ids=ids)]
    if channels and list(channels) == list(range(channels[0], channels[-1] + 1)):
        return _read_planes(level, {**outer_index, axis: slice(channels[0], channels[-1] + 1)}, rows, columns)
    indices = [{**outer_index, axis: channel} for channel in channels]
    return [plane for index in indices for plane in _read_planes(level, index, rows, columns)]


def _read_planes(
    level: _Level,
    outer_index: dict[int, int | slice],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    *,
    ids: bool = False,
) -> list[NDArray[Any]]:
    """Read one plane, or the planes of a slice of channels; reduce a slice of Z to its maximum."""
    block_side = 1 if ids else min(_spacing(rows), _spacing(columns))
    shape = level.meta.shape
    depth = math.prod(
        len(range(shape[axis])[index]) for axis, index in outer_index.items() if isinstance(index, slice)
    )
    pixel_count = int(rows[-1] - rows[0] + 1) * int(columns[-1] - columns[0] + 1) * depth
    # A field without coarse levels is read in bands, in bounded memory.
    bands = np.array_split(rows, min(rows.size, -(-pixel_count // BAND_PIXELS)))
    if len(bands) == 1:
        return _read_band(level, outer_index, rows, columns, block_side)
    bands_of_planes = [_read_band(level, outer_index, band, columns, block_side) for band in bands]
    return [np.concatenate(planes) for planes in zip(*bands_of_planes, strict=True)]


def _read_band(
    level: _Level,
    outer_index: dict[int, int | slice],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    block_side: int,
) -> list[NDArray[Any]]:
    """Read some rows of `_read_planes`; ``block_side`` is the side of the blocks whose mean is returned."""
    axes, shape = level.axes, level.meta.shape
    first_row, first_column = (
        int(rows[0]) // block_side * block_side,
        int(columns[0]) // block_side * block_side,
    )
    index: dict[int, int | slice] = {
        **outer_index,
        axes.y: slice(first_row, min(int(rows[-1]) // block_side * block_side + block_side, shape[axes.y])),
        axes.x: slice(
            first_column, min(int(columns[-1]) // block_side * block_side + block_side, shape[axes.x])
        ),
    }
    pixels = np.asarray(level.array[tuple(index[axis] for axis in range(len(shape)))])
    sliced = [axis for axis in range(len(shape)) if isinstance(index[axis], slice)]
    order = [axis for axis in (axes.channel, axes.z, axes.y, axes.x) if axis in sliced]
    pixels = pixels.transpose([sliced.index(axis) for axis in order])
    if pixels.dtype.kind == "c":
        pixels = np.abs(pixels)
    if axes.z in sliced:
        pixels = pixels.max(axis=-3)
    rows_and_columns = np.ix_((rows - first_row) // block_side, (columns - first_column) // block_side)
    return [
        block_mean(plane, block_side)[rows_and_columns] for plane in pixels.reshape(-1, *pixels.shape[-2:])
    ]


def _spacing(indices: NDArray[np.intp]) -> int:
    """Return the distance between neighbouring indices in pixels, at least 1."""
    return 1 if indices.size < 2 else max(1, int(indices[-1] - indices[0]) // (indices.size - 1))
