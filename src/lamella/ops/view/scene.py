"""Describe a node for a viewer: the rectangle of each field, channels, lengths of Z and T, label images.

All fields are placed on one canvas, whose unit is a pixel of level 0 of the first readable field: a plate of 2 x 3
wells with one field of 1000 x 1000 pixels has a canvas of about 3000 x 2000. Fields are placed at their stage
positions if these are consistent, else in a grid, always at whole units, so that tiles copy pixels. Only documents are
read, and pixels of a few fields without stored contrast.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lamella.errors import LamellaError, MetadataError, one_line
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.walk import CONTAINERS, walk
from lamella.ops.display.planes import PlaneAxes, aspect_of, shows_old_pixels
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.display.preview_plate import Tile, grid_of_wells, known_channels, with_window
from lamella.spec import geometry
from lamella.store.codec_threads import cpus, mark_codec_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.ops.display.preview import ShownChannel
    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ImagesMeta, MultiScaleMeta
    from lamella.types import JSONObject

T = TypeVar("T")

_SAMPLE = 256
"""Pixels along the larger side of the planes from which a missing contrast is computed."""

_SAMPLED_FIELDS = 64
"""Fields, spread over a plate, whose channels and windows are read."""

_WELL_GAP, _FIELD_GAP = 0.06, 0.01
"""Room between wells, and between fields in a grid, as a fraction of the larger side of a field."""

_SPARSE = 8
"""Stage positions count if the fields cover at least one part in so many of the rectangle around them."""


@dataclass(frozen=True)
class Field:
    """An image on the canvas; ``node`` is an error if the image cannot be read.

    ``x``, ``y``, ``width``, ``height`` are in canvas units, ``well`` is the index of its well, ``shape`` that of level
    0, ``acquisition`` its id in the well. ``pixel`` is the width of a pixel and its unit, if the metadata state a
    length, ``aspect`` its height divided by its width, and ``corner`` the translation along X and Y. ``levels`` are
    the paths of the arrays that show its pixels, ``image_axes`` the axes of the image.
    """

    path: str
    well: int
    node: Position | LamellaError
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    shape: tuple[int, ...] = ()
    axes: PlaneAxes | None = None
    acquisition: int | None = None
    dtype: np.dtype[Any] | None = None
    pixel: tuple[float | None, str | None] = (None, None)
    aspect: float = 1.0
    corner: tuple[float, float] | None = None
    levels: tuple[str, ...] = ()
    image_axes: tuple[AxisMeta, ...] = ()


@dataclass(frozen=True)
class WellArea:
    """A well on the canvas, by its indices of row and column."""

    path: str
    row: int
    column: int
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class ViewScene:
    """The metadata that a viewer needs before it reads pixels.

    ``pixel`` is the size of a canvas unit in ``unit``. ``acquisitions`` are the ids and names of the acquisitions, if
    there are several; each is placed by itself, and one is shown at a time. ``searched`` is the number of fields whose
    channels and label images are listed.
    """

    name: str
    store: str
    axes: str
    kind: str
    fields: list[Field]
    wells: list[WellArea]
    rows: list[str]
    columns: list[str]
    channels: list[ShownChannel]
    active: list[bool]
    dtype: np.dtype[Any]
    times: int
    depth: int
    width: float
    height: float
    pixel: float | None
    unit: str | None
    acquisitions: list[tuple[int | None, str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    searched: int = 1

    def to_dict(self) -> JSONObject:
        """Return the scene as JSON, with the reason for each field that cannot be read."""
        whole = dtype_window(self.dtype)
        limits = [whole["min"], whole["max"]]
        return {
            "name": self.name,
            "store": self.store,
            "axes": self.axes,
            "kind": self.kind,
            "width": self.width,
            "height": self.height,
            "pixel": self.pixel,
            "unit": self.unit,
            "times": self.times,
            "depth": self.depth,
            "dtype": str(self.dtype),
            "limits": limits,
            "rows": self.rows,
            "columns": self.columns,
            "labels": self.labels,
            "searched": self.searched,
            "channels": [
                {
                    "name": channel.name,
                    "color": channel.color,
                    "window": list(channel.window or limits),
                    "active": on,
                }
                for channel, on in zip(self.channels, self.active, strict=True)
            ],
            "wells": [[well.path, well.x, well.y, well.width, well.height] for well in self.wells],
            "fields": [
                [
                    *(area.path, area.well, area.x, area.y, area.width, area.height, _state(area)),
                    *_pixels(area),
                    self.acquisition_number(area),
                ]
                for area in self.fields
            ],
            "acquisitions": [name for _, name in self.acquisitions],
        }

    def acquisition_number(self, area: Field) -> int:
        """Return the index of a field's acquisition in ``acquisitions``; 0 if there is one at most."""
        ids = [number for number, _ in self.acquisitions]
        return ids.index(area.acquisition) if ids else 0


def _state(area: Field) -> str:
    """Return why a field shows no pixels: an error, or no array yet; empty if it has pixels."""
    if isinstance(area.node, LamellaError):
        return one_line(area.node)
    return "" if area.shape else "No pixels are written yet."


def _pixels(area: Field) -> tuple[int, int]:
    """Return the number of pixels of level 0 along X and Y."""
    return (0, 0) if area.axes is None else (area.axes.width(area.shape), area.axes.height(area.shape))


def view_scene(
    node: NGFFNode, seen: Callable[[Field], None] | None = None, *, every_field: bool = False
) -> ViewScene:
    """Read the documents of a node and place its fields on a canvas; raise MetadataError without any image.

    ``seen`` is called with each field when its documents have been read. Channels and label images are those of 64 to
    127 fields, spread over the plate, unless ``every_field`` is set.
    """
    if isinstance(node, Labels):
        raise MetadataError(
            f"{node.node_path} is a group of label images. View the image above it, or one of them."
        )
    fields, wells, rows, columns = _members(node, seen)
    first = next((area for area in fields if area.shape), None)
    if first is None:
        reason = next((_state(area) for area in fields), "It contains no image.")
        raise MetadataError(f"{node.node_path} has nothing to show. {reason}")
    pixel, unit = first.pixel
    fields = [_sized(area, first) for area in fields]
    fields, wells, width, height = _arranged(fields, wells, pixel)
    searched = spread([area for area in fields if area.shape], None if every_field else _SAMPLED_FIELDS)
    channels, active = ([], []) if isinstance(first.node, LabelImage) else _channels(searched)
    shapes = [(area.shape, area.axes) for area in fields if area.axes is not None]
    return ViewScene(
        name=scene_name(node),
        store=str(node.node_path),
        axes=_letters(first),
        kind=type(node).__name__.lower(),
        fields=fields,
        wells=wells,
        rows=rows,
        columns=columns,
        channels=channels,
        active=active,
        dtype=_common_dtype(fields),
        times=max(1 if axes.time is None else shape[axes.time] for shape, axes in shapes),
        depth=max(1 if axes.z is None else shape[axes.z] for shape, axes in shapes),
        width=width,
        height=height,
        pixel=pixel,
        unit=unit,
        acquisitions=_acquisitions(node, fields),
        labels=_label_names(searched),
        searched=len(searched),
    )


def spread(items: Sequence[T], count: int | None) -> Sequence[T]:
    """Return at least ``count`` items and fewer than twice as many, at equal distances; all of them for None.

    >>> spread(range(100), 10), spread("abc", 10)
    (range(0, 100, 10), 'abc')
    """
    return items if count is None else items[:: max(1, len(items) // count)]


def _letters(area: Field) -> str:
    """Return a letter for each dimension of a field: t, c, z, y, x, or _ for other dimensions, shown at index 0."""
    assert area.axes is not None
    axes = area.axes
    roles = {axes.y: "y", axes.x: "x", axes.z: "z", axes.channel: "c", axes.time: "t"}
    return "".join(roles.get(axis, "_") for axis in range(len(area.shape)))


def scene_name(node: NGFFNode) -> str:
    """Return the name of a plate, else the last part of the path."""
    stated = node.metadata.name if isinstance(node, Plate) else None
    return stated or str(node.node_path).rstrip("/").split("/")[-1]


def _members(
    node: NGFFNode, seen: Callable[[Field], None] | None
) -> tuple[list[Field], list[WellArea], list[str], list[str]]:
    """Return the fields of a node, without rectangles, its wells, and the names of rows and columns."""
    if isinstance(node, Position):
        return [_opened("", 0, node)], [WellArea("", 0, 0)], [""], [""]
    if not isinstance(node, CONTAINERS):
        raise MetadataError(
            f"{node.node_path} is a {type(node).__name__}: only images and plates can be viewed."
        )
    rows, columns, indices = grid_of_wells(node)
    wells = [WellArea(path, row, column) for path, (row, column) in indices.items()]
    numbers = {well.path: number for number, well in enumerate(wells)}
    fields = []
    for member in walk(node):
        area = _opened(member.path, numbers[member.well], member.node, member.acquisition)
        fields.append(area)
        if seen is not None:
            seen(area)
    return fields, wells, list(rows), list(columns)


@dataclass(frozen=True)
class _Facts:
    """The content of an image's document; fields with equal documents share it."""

    image: MultiScaleMeta
    paths: tuple[str, ...]
    axes: tuple[AxisMeta, ...]
    scale: list[float]
    translation: list[float]
    plane_axes: dict[int, PlaneAxes]

    @classmethod
    def of(cls, meta: ImagesMeta) -> _Facts:
        """Return the facts; no scale and translation if these are inconsistent."""
        image = meta.multiscales[0]
        paths = tuple(dict.fromkeys(image.get_dataset_paths()))
        scale: list[float] = []
        translation: list[float] = []
        with suppress(LamellaError):
            if paths:
                scale, translation = (
                    geometry.effective_scale(meta, paths[0]),
                    geometry.effective_translation(meta, paths[0]),
                )
        return cls(image, paths, tuple(axis.copied() for axis in image.axes), scale, translation, {})

    def axes_of(self, ndim: int) -> PlaneAxes:
        """Return the axes of a plane of an array with a number of dimensions."""
        if ndim not in self.plane_axes:
            self.plane_axes[ndim] = PlaneAxes.of(self.axes, ndim)
        return self.plane_axes[ndim]


def _opened(path: str, well: int, node: Position | LamellaError, acquisition: int | None = None) -> Field:
    """Read the documents of a field, each once: a plate has thousands."""
    unreadable = Field(path, well, node, acquisition=acquisition)
    if isinstance(node, LamellaError):
        return unreadable
    try:
        facts = node.document.derived(_Facts.of)
        if not facts.paths:
            return unreadable
        meta = node.open_level(facts.paths[0], facts.image).stored.last_meta
        axes = facts.axes_of(len(meta.shape))
    except LamellaError as error:
        return replace(unreadable, node=error)
    if 0 in meta.shape:
        return unreadable
    known: dict[str, Any] = {}
    scale, offset = facts.scale, len(facts.axes) - len(meta.shape)
    if scale and min(scale) <= 0:
        with suppress(LamellaError):
            node.get_effective_scale(facts.paths[0])  # warns
    if scale:
        size, unit = scale[axes.x + offset], facts.axes[axes.x + offset].unit
        known = {
            "aspect": aspect_of(scale, facts.axes, axes, len(meta.shape)),
            "pixel": (size, unit) if unit and math.isfinite(size) and size > 0 else (None, None),
            "corner": (facts.translation[axes.x + offset], facts.translation[axes.y + offset]),
        }
    return Field(
        path,
        well,
        node,
        shape=meta.shape,
        axes=axes,
        acquisition=acquisition,
        dtype=meta.dtype,
        levels=facts.paths[:1] if shows_old_pixels(node) else facts.paths,
        image_axes=facts.axes,
        **known,
    )


def _sized(area: Field, first: Field) -> Field:
    """Return a field with width and height; an unreadable field has the size of the first."""
    shown = area if area.shape else first
    assert shown.axes is not None
    (mine, my_unit), (base, unit) = shown.pixel, first.pixel
    ratio = mine / base if mine and base and my_unit == unit else 1.0
    ratio = ratio if 1 / 64 <= ratio <= 64 else 1.0
    width, height = shown.axes.width(shown.shape), shown.axes.height(shown.shape)
    return replace(area, width=width * ratio, height=height * ratio * shown.aspect)


def _acquisitions(node: NGFFNode, fields: Sequence[Field]) -> list[tuple[int | None, str]]:
    """Return id and name of each acquisition that has fields, in the order of ids; none if there is one only."""
    ids = sorted({area.acquisition for area in fields}, key=lambda number: (number is None, number or 0))
    if len(ids) < 2:
        return []
    listed = (node.metadata.acquisitions or []) if isinstance(node, Plate) else []
    names = {acquisition.id: acquisition.name for acquisition in listed}
    return [
        (number, "without acquisition" if number is None else names.get(number) or f"acquisition {number}")
        for number in ids
    ]


def _arranged(
    fields: Sequence[Field], wells: Sequence[WellArea], pixel: float | None
) -> tuple[list[Field], list[WellArea], float, float]:
    """Place fields in wells, and wells in rows and columns of equal cells."""
    members: dict[int, list[Field]] = {number: [] for number in range(len(wells))}
    for area in fields:
        members[area.well].append(area)
    placed = {number: _within_well(areas, pixel) for number, areas in members.items()}
    sizes = [_extent(areas) for areas in placed.values()]
    cell_width = max((width for width, _ in sizes), default=1.0)
    cell_height = max((height for _, height in sizes), default=1.0)
    cell_width, cell_height = math.ceil(cell_width), math.ceil(cell_height)
    gap = math.ceil(_WELL_GAP * max(cell_width, cell_height)) if len(wells) > 1 else 0
    moved: list[Field] = []
    areas: list[WellArea] = []
    for number, well in enumerate(wells):
        x, y = well.column * (cell_width + gap), well.row * (cell_height + gap)
        areas.append(replace(well, x=x, y=y, width=cell_width, height=cell_height))
        moved += [replace(area, x=area.x + x, y=area.y + y) for area in placed[number]]
    columns, rows = (
        1 + max((getattr(well, name) for well in wells), default=0) for name in ("column", "row")
    )
    return moved, areas, columns * (cell_width + gap) - gap, rows * (cell_height + gap) - gap


def _extent(areas: Sequence[Field]) -> tuple[float, float]:
    return (
        max((area.x + area.width for area in areas), default=0.0),
        max((area.y + area.height for area in areas), default=0.0),
    )


def _within_well(areas: Sequence[Field], pixel: float | None) -> list[Field]:
    """Place the fields of a well from (0, 0), those of each acquisition by themselves, in the order of the well."""
    ids = dict.fromkeys(area.acquisition for area in areas)
    if len(ids) > 1:
        groups = {
            number: iter(_placed([area for area in areas if area.acquisition == number], pixel))
            for number in ids
        }
        return [next(groups[area.acquisition]) for area in areas]
    return _placed(areas, pixel)


def _placed(areas: Sequence[Field], pixel: float | None) -> list[Field]:
    """Place fields by their stage positions, or in a grid."""
    staged = _staged(areas, pixel)
    if staged is not None:
        return staged
    count = len(areas)
    columns = max(1, math.ceil(math.sqrt(count)))
    width = max((area.width for area in areas), default=0.0)
    height = max((area.height for area in areas), default=0.0)
    width, height = math.ceil(width), math.ceil(height)
    gap = math.ceil(_FIELD_GAP * max(width, height))
    return [
        replace(area, x=(slot % columns) * (width + gap), y=(slot // columns) * (height + gap))
        for slot, area in enumerate(areas)
    ]


def _staged(areas: Sequence[Field], pixel: float | None) -> list[Field] | None:
    """Place fields by their translations; None if these are missing, equal, or far apart."""
    if len(areas) < 2 or pixel is None:
        return None
    corners = []
    for area in areas:
        if area.corner is None:
            return None
        corners.append((area.corner[0] / pixel, area.corner[1] / pixel))
    if len(set(corners)) < len(corners) or not np.isfinite(corners).all():
        return None
    left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
    placed = [
        replace(area, x=float(round(x - left)), y=float(round(y - top)))
        for area, (x, y) in zip(areas, corners, strict=True)
    ]
    width, height = _extent(placed)
    covered = sum(area.width * area.height for area in placed)
    return placed if width * height <= _SPARSE * covered else None


def _channels(fields: Sequence[Field]) -> tuple[list[ShownChannel], list[bool]]:
    """Return all channels of the fields, each with a window, and the channels shown by default."""
    known = known_channels([Tile(0, 0, 0, area.path, area.node) for area in fields])
    channels = [with_window(channel, PreviewOptions(), _SAMPLE) for channel in known.values()]
    return channels, [channel.is_shown for channel in known.values()]


def _label_names(fields: Sequence[Field]) -> list[str]:
    """Return the names of label images of the fields, in the order of their first field."""

    def names(area: Field) -> list[str]:
        assert isinstance(area.node, Position)
        try:
            return list(area.node.labels)
        except LamellaError:
            return []

    first = fields[0].node
    if isinstance(first, LabelImage):
        return [label_name(first)]
    assert isinstance(first, Position)
    with reader_threads(first) as threads:
        return list(dict.fromkeys(name for found in threads.map(names, fields) for name in found))


def reader_threads(node: NGFFNode) -> ThreadPoolExecutor:
    """Return threads that read for a viewer: as many as processors, or 32 where each read waits for a server.

    They decode by themselves: thousands of small fields are read, and each hand-over costs more than its chunk.
    """
    count = 32 if node.documents.storage.reads_ahead else max(2, min(8, cpus()))
    return ThreadPoolExecutor(count, "lamella-view", initializer=mark_codec_thread)


def label_name(image: LabelImage) -> str:
    """Return the last part of the path of a label image."""
    return str(image.node_path).rstrip("/").split("/")[-1]


def _common_dtype(fields: Sequence[Field]) -> np.dtype[Any]:
    """Return a dtype that a browser can draw and that fits all fields: uint8, uint16 or float32."""
    dtypes = {area.dtype for area in fields if area.dtype is not None}
    for dtype in (np.dtype("uint8"), np.dtype("uint16")):
        if all(np.can_cast(other, dtype) for other in dtypes):
            return dtype
    return np.dtype("float32")
