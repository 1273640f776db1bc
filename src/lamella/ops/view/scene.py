"""Describe a node for a viewer: the rectangle of each field, channels, lengths of Z and T, label images.

All fields are on one canvas, whose unit is a pixel of level 0 of the first readable field: 2 x 3 wells with one field
of 1000 x 1000 pixels each need about 3000 x 2000 units. Fields are at their stage positions if these are consistent,
else in a grid. Their positions are whole numbers, so that tiles copy pixels without interpolation. Pixels are read only
of a few fields, to choose a contrast for channels without a stored one.
"""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lamella.errors import LamellaError, MetadataError, StorageError, clause, one_line, warn
from lamella.nodes.labels import LabelImage, Labels
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.walk import CONTAINERS, walk
from lamella.ops.display.planes import PlaneAxes, aspect_of, shows_old_pixels
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.display.preview_plate import (
    channels_of_fields,
    grid_of_wells,
    shown_name,
    spread,
    with_windows,
)
from lamella.ops.execution import THREADS
from lamella.spec import edits, geometry
from lamella.store.keys import join
from lamella.store.process_limits import cpus, mark_codec_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.ops.display.preview import ShownChannel
    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ImagesMeta, MultiScaleMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject

T = TypeVar("T")

_SAMPLE_SIDE = 256
"""Pixels along the larger side of the planes from which a missing contrast is computed."""

_SAMPLED_FIELDS = 64
"""Number of fields, spread over a plate, whose label images and contrast windows are read. More are read if these lack
the name of a channel."""

_MAX_AHEAD = 8192
"""Maximum number of fields whose levels are requested with the scene: documents are cached for a few seconds only, and
those of more fields would be dropped before a tile needs them."""

_WELL_GAP, _FIELD_GAP = 0.06, 0.01
"""Gap between wells, and between fields in a grid, as a fraction of the larger side of a cell."""

_MAX_SPARSENESS = 8
"""Stage positions are used if the fields cover at least 1/8 of the rectangle around them."""


@dataclass(frozen=True)
class Field:
    """An image on the canvas, with its rectangle in canvas units."""

    path: str
    well: int
    """Index of the well."""
    node: Position | LamellaError
    """The image, or the error because of which it cannot be read."""
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    shape: tuple[int, ...] = ()
    """Shape of level 0."""
    axes: PlaneAxes | None = None
    acquisition: int | None = None
    """Id of the acquisition."""
    dtype: np.dtype[Any] | None = None
    pixel: tuple[float | None, str | None] = (None, None)
    """Width of a pixel and its unit, if the metadata state them."""
    aspect: float = 1.0
    """Height of a pixel divided by its width."""
    corner: tuple[float, float] | None = None
    """Translation along X and Y."""
    levels: tuple[str, ...] = ()
    """Paths of the levels that show the pixels of level 0."""
    image_axes: tuple[AxisMeta, ...] = ()
    channel_names: tuple[str, ...] | None = None
    """Stored names of the channels; None if they do not fit the pixels."""


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
    """The metadata that a viewer needs before it reads pixels."""

    name: str
    store: str
    axes: str
    kind: str
    fields: list[Field]
    wells: list[WellArea]
    rows: list[str]
    columns: list[str]
    channels: list[ShownChannel]
    """The channels of all fields."""
    active: list[bool]
    """Whether each channel is shown by default."""
    dtype: np.dtype[Any]
    times: int
    depth: int
    """``times`` and ``depth``: the largest lengths of T and Z."""
    width: float
    height: float
    pixel: float | None
    """Size of a canvas unit in ``unit``."""
    unit: str | None
    acquisitions: list[tuple[int | None, str]] = dataclasses.field(default_factory=list)
    """Ids and names, if there are several; each is placed by itself, and one is shown at a time."""
    labels: list[str] = dataclasses.field(default_factory=list)
    searched: int = 1
    """Number of fields whose label images are listed."""

    def to_dict(self) -> JSONObject:
        """Return the scene as JSON, with the reason for each field that cannot be read."""
        dtype_limits = dtype_window(self.dtype)
        limits = [dtype_limits["min"], dtype_limits["max"]]
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
            "types": sorted({str(field.dtype) for field in self.fields if field.dtype is not None}),
            "limits": limits,
            "rows": self.rows,
            "columns": self.columns,
            "labels": self.labels,
            "searched": self.searched,
            "gap": self.field_gap,
            "channels": [
                {
                    "name": channel.name,
                    "color": channel.color,
                    "window": list(channel.window or limits),
                    "active": is_active,
                }
                for channel, is_active in zip(self.channels, self.active, strict=True)
            ],
            "wells": [[well.path, well.x, well.y, well.width, well.height] for well in self.wells],
            "fields": [
                [
                    *(
                        field.path,
                        field.well,
                        field.x,
                        field.y,
                        field.width,
                        field.height,
                        _reason_not_shown(field),
                    ),
                    *_count_pixels(field),
                    self.acquisition_number(field),
                ]
                for field in self.fields
            ],
            "acquisitions": [name for _, name in self.acquisitions],
        }

    @property
    def field_gap(self) -> float:
        """Gap between the first two fields of a well in a grid; 0 if they are not side by side."""
        for left, right in pairwise(self.fields):
            if left.well == right.well:
                gap = right.x - left.x - left.width
                return gap if right.y == left.y and 0 < gap < 2 * _FIELD_GAP * left.width + 1 else 0.0
        return 0.0

    def acquisition_number(self, field: Field) -> int:
        """Return the index of a field's acquisition in ``acquisitions``; 0 if it is unknown, as in unreadable wells."""
        ids = [number for number, _ in self.acquisitions]
        return ids.index(field.acquisition) if field.acquisition in ids else 0


def _reason_not_shown(field: Field) -> str:
    """Return why a field shows no pixels: an error, or no array yet; empty if it has pixels."""
    if isinstance(field.node, LamellaError):
        return one_line(field.node)
    return "" if field.shape else "No pixels are written yet."


def _count_pixels(field: Field) -> tuple[int, int]:
    """Return the number of pixels of level 0 along X and Y."""
    return (0, 0) if field.axes is None else (field.axes.width(field.shape), field.axes.height(field.shape))


def view_scene(
    node: NGFFNode,
    on_field: Callable[[Field], None] | None = None,
    *,
    every_field: bool = False,
    for_tiles: bool = False,
) -> ViewScene:
    """Read the documents of a node and place its fields on a canvas; raise MetadataError without any image.

    ``on_field`` is called with each field when its documents have been read. Label images of some fields are listed
    (`sampled`), of all with ``every_field``. ``for_tiles`` requests the documents that `Tiles` opens next from a remote
    store, while the contrast is computed.
    """
    if isinstance(node, Labels):
        raise MetadataError(
            f"{node.node_path} is a group of label images. View the image above it, or one of them."
        )
    fields, wells, rows, columns = _members(node, on_field)
    first = next((field for field in fields if field.shape), None)
    if first is None:
        reason = next((_reason_not_shown(field) for field in fields), "It contains no image.")
        raise MetadataError(f"{node.node_path} has nothing to show. {reason}")
    pixel, unit = first.pixel
    fields = [_with_size(field, first) for field in fields]
    fields, wells, width, height = _arrange(fields, wells, pixel)
    readable = [field for field in fields if field.shape]
    searched_fields = _add_missing_channels(
        sampled(readable, None if every_field else _SAMPLED_FIELDS), readable
    )
    with ThreadPoolExecutor(2, "lamella-view-scene") as threads:
        names = threads.submit(_label_names, searched_fields)
        if for_tiles:
            sampled_ids = set(map(id, searched_fields))  # the levels of these are read for the contrast
            other_fields = [field for field in fields if id(field) not in sampled_ids]
            threads.submit(_request_coarsest_levels, other_fields, node.documents)
        is_label = isinstance(first.node, LabelImage)
        channels, active = ([], []) if is_label else _channels(searched_fields, node.documents)
    shapes = [(field.shape, field.axes) for field in fields if field.axes is not None]
    return ViewScene(
        name=shown_name(node),
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
        labels=names.result(),
        searched=len(searched_fields),
    )


def sampled(items: Sequence[T], count: int | None) -> Sequence[T]:
    """Return ``count`` items, spread over all; all items for None, or if there are fewer than twice as many."""
    return items if count is None or len(items) < 2 * count else spread(items, count)


def _add_missing_channels(chosen_fields: Sequence[Field], fields: Sequence[Field]) -> list[Field]:
    """Add a field for each channel name that the chosen fields lack."""
    name_groups = {field.channel_names for field in chosen_fields}
    names = {name for group in name_groups for name in group or ()}
    added_fields = []
    for field in fields:
        if field.channel_names not in name_groups:
            name_groups.add(field.channel_names)
            if field.channel_names is None or not names.issuperset(field.channel_names):
                names.update(field.channel_names or ())
                added_fields.append(field)
    return [*chosen_fields, *added_fields]


def _letters(field: Field) -> str:
    """Return a letter for each dimension of a field: t, c, z, y, x, or _ for other dimensions, shown at index 0."""
    assert field.axes is not None
    axes = field.axes
    roles = {axes.y: "y", axes.x: "x", axes.z: "z", axes.channel: "c", axes.time: "t"}
    return "".join(roles.get(axis, "_") for axis in range(len(field.shape)))


def _members(
    node: NGFFNode, on_field: Callable[[Field], None] | None
) -> tuple[list[Field], list[WellArea], list[str], list[str]]:
    """Return the fields and the wells of a node, without their rectangles, and the names of rows and columns."""
    if isinstance(node, Position):
        return [_read_documents("", 0, node)], [WellArea("", 0, 0)], [""], [""]
    if not isinstance(node, CONTAINERS):
        raise MetadataError(
            f"{node.node_path} is a {type(node).__name__}: only images and plates can be viewed."
        )
    rows, columns, indices = grid_of_wells(node)
    wells = [WellArea(path, row, column) for path, (row, column) in indices.items()]
    well_numbers = {well.path: well_number for well_number, well in enumerate(wells)}
    fields = []
    for member in walk(node):
        field = _read_documents(member.path, well_numbers[member.well], member.node, member.acquisition)
        fields.append(field)
        if on_field is not None:
            on_field(field)
    return fields, wells, list(rows), list(columns)


@dataclass(frozen=True)
class _ImageFacts:
    """What a scene needs of an image's document; fields with equal documents share it."""

    image: MultiScaleMeta
    paths: tuple[str, ...]
    axes: tuple[AxisMeta, ...]
    scale: list[float]
    translation: list[float]
    channel_names: tuple[str, ...]
    plane_axes: dict[int, PlaneAxes]

    @classmethod
    def of(cls, meta: ImagesMeta) -> _ImageFacts:
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
        axes = tuple(axis.copied() for axis in image.axes)
        return cls(image, paths, axes, scale, translation, tuple(edits.channel_names(meta)), {})

    def axes_of(self, ndim: int) -> PlaneAxes:
        """Return the axes of a plane of an array with a number of dimensions."""
        if ndim not in self.plane_axes:
            self.plane_axes[ndim] = PlaneAxes.of(self.axes, ndim)
        return self.plane_axes[ndim]


def _read_documents(
    path: str, well: int, node: Position | LamellaError, acquisition: int | None = None
) -> Field:
    """Return a field without its rectangle; each document is read once, because a plate has thousands."""
    unreadable = Field(path, well, node, acquisition=acquisition)
    if isinstance(node, LamellaError):
        return unreadable
    try:
        facts = node.document.cached_result(_ImageFacts.of)
        if not facts.paths:
            return unreadable
        meta = node.open_level(facts.paths[0], facts.image).stored.last_meta
        axes = facts.axes_of(len(meta.shape))
    except LamellaError as error:
        return replace(unreadable, node=error)
    if 0 in meta.shape:
        return unreadable
    optional_facts: dict[str, Any] = {}
    scale, offset = facts.scale, len(facts.axes) - len(meta.shape)
    if scale and min(scale) <= 0:
        with suppress(LamellaError):
            node.get_effective_scale(facts.paths[0])  # for its warning
    if scale:
        size, unit = scale[axes.x + offset], facts.axes[axes.x + offset].unit
        optional_facts = {
            "aspect": aspect_of(scale, facts.axes, axes, len(meta.shape)),
            "pixel": (size, unit) if unit and math.isfinite(size) and size > 0 else (None, None),
            "corner": (facts.translation[axes.x + offset], facts.translation[axes.y + offset]),
        }
    count = 1 if axes.channel is None else meta.shape[axes.channel]
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
        channel_names=facts.channel_names if len(facts.channel_names) == count else None,
        **optional_facts,
    )


def _with_size(field: Field, first: Field) -> Field:
    """Return a field with width and height; an unreadable field has the size of the first."""
    sized = field if field.shape else first
    assert sized.axes is not None
    (pixel, unit), (first_pixel, first_unit) = sized.pixel, first.pixel
    ratio = pixel / first_pixel if pixel and first_pixel and unit == first_unit else 1.0
    ratio = ratio if 1 / 64 <= ratio <= 64 else 1.0  # beyond, an error of the metadata is likelier
    width, height = sized.axes.width(sized.shape), sized.axes.height(sized.shape)
    return replace(field, width=width * ratio, height=height * ratio * sized.aspect)


def _acquisitions(node: NGFFNode, fields: Sequence[Field]) -> list[tuple[int | None, str]]:
    """Return id and name of each acquisition that has fields, in the order of ids; empty if there is only one."""
    stored_ids = {
        field.acquisition
        for field in fields
        if field.acquisition is not None or not isinstance(field.node, LamellaError)
    }
    ids = sorted(stored_ids, key=lambda acquisition_id: (acquisition_id is None, acquisition_id or 0))
    if len(ids) < 2:
        return []
    listed_acquisitions = (node.document.shared_model.acquisitions or []) if isinstance(node, Plate) else []
    names = {acquisition.id: acquisition.name for acquisition in listed_acquisitions}
    return [
        (
            acquisition_id,
            "without acquisition"
            if acquisition_id is None
            else names.get(acquisition_id) or f"acquisition {acquisition_id}",
        )
        for acquisition_id in ids
    ]


def _arrange(
    fields: Sequence[Field], wells: Sequence[WellArea], pixel: float | None
) -> tuple[list[Field], list[WellArea], float, float]:
    """Place fields in wells, and wells in rows and columns of equal cells."""
    fields_by_well: dict[int, list[Field]] = {well_number: [] for well_number in range(len(wells))}
    for field in fields:
        fields_by_well[field.well].append(field)
    placed_by_well = {
        well_number: _place_in_well(group, pixel) for well_number, group in fields_by_well.items()
    }
    sizes = [_extent(group) for group in placed_by_well.values()]
    cell_width = max((width for width, _ in sizes), default=1.0)
    cell_height = max((height for _, height in sizes), default=1.0)
    cell_width, cell_height = math.ceil(cell_width), math.ceil(cell_height)
    gap = math.ceil(_WELL_GAP * max(cell_width, cell_height)) if len(wells) > 1 else 0
    moved_fields: list[Field] = []
    placed_wells: list[WellArea] = []
    for well_number, well in enumerate(wells):
        x, y = well.column * (cell_width + gap), well.row * (cell_height + gap)
        placed_wells.append(replace(well, x=x, y=y, width=cell_width, height=cell_height))
        moved_fields += [
            replace(field, x=field.x + x, y=field.y + y) for field in placed_by_well[well_number]
        ]
    columns, rows = (
        1 + max((getattr(well, name) for well in wells), default=0) for name in ("column", "row")
    )
    return moved_fields, placed_wells, columns * (cell_width + gap) - gap, rows * (cell_height + gap) - gap


def _extent(fields: Sequence[Field]) -> tuple[float, float]:
    return (
        max((field.x + field.width for field in fields), default=0.0),
        max((field.y + field.height for field in fields), default=0.0),
    )


def _place_in_well(fields: Sequence[Field], pixel: float | None) -> list[Field]:
    """Place the fields of a well, each acquisition by itself from (0, 0); return them in the order of the well."""
    ids = dict.fromkeys(field.acquisition for field in fields)
    if len(ids) > 1:
        groups = {
            acquisition_id: iter(
                _place_fields([field for field in fields if field.acquisition == acquisition_id], pixel)
            )
            for acquisition_id in ids
        }
        return [next(groups[field.acquisition]) for field in fields]
    return _place_fields(fields, pixel)


def _place_fields(fields: Sequence[Field], pixel: float | None) -> list[Field]:
    """Place fields by their stage positions, or in a grid."""
    staged = _place_by_stage(fields, pixel)
    if staged is not None:
        return staged
    columns = max(1, math.ceil(math.sqrt(len(fields))))
    width = max((field.width for field in fields), default=0.0)
    height = max((field.height for field in fields), default=0.0)
    width, height = math.ceil(width), math.ceil(height)
    gap = math.ceil(_FIELD_GAP * max(width, height))
    return [
        replace(field, x=(slot % columns) * (width + gap), y=(slot // columns) * (height + gap))
        for slot, field in enumerate(fields)
    ]


def _place_by_stage(fields: Sequence[Field], pixel: float | None) -> list[Field] | None:
    """Place fields by their translations; None if these are missing, equal, or far apart."""
    if len(fields) < 2 or pixel is None:
        return None
    corners = []
    for field in fields:
        if field.corner is None:
            return None
        corners.append((field.corner[0] / pixel, field.corner[1] / pixel))
    if len(set(corners)) < len(corners) or not np.isfinite(corners).all():
        return None
    left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
    placed_fields = [
        replace(field, x=float(round(x - left)), y=float(round(y - top)))
        for field, (x, y) in zip(fields, corners, strict=True)
    ]
    width, height = _extent(placed_fields)
    covered = sum(field.width * field.height for field in placed_fields)
    return placed_fields if width * height <= _MAX_SPARSENESS * covered else None


def _channels(fields: Sequence[Field], documents: Documents) -> tuple[list[ShownChannel], list[bool]]:
    """Return all channels with their windows, and which are shown by default; warn of fields that cannot be read."""
    error_by_field: dict[str, LamellaError] = {}

    def collect_error(position: Position, error: LamellaError) -> None:
        error_by_field.setdefault(str(position.node_path), error)

    paths = [(field.node.path, field.levels[0]) for field in fields if isinstance(field.node, Position)]
    arrays = [join(path, level) for path, level in paths]
    documents.request_ahead([path for path, _ in paths], arrays=arrays, attributes_only=True)
    nodes = [field.node for field in fields]
    if documents.storage.reads_ahead:
        with _reader_threads(documents) as threads:
            channels_by_name = channels_of_fields(nodes, threads, collect_error)
    else:
        channels_by_name = channels_of_fields(nodes, unread=collect_error)
    workers = THREADS.waiting_for(documents.storage, 8 * 4 * _SAMPLE_SIDE**2)
    channels = with_windows(
        [*channels_by_name.values()], PreviewOptions(), _SAMPLE_SIDE, workers, collect_error
    )
    for path, error in error_by_field.items():
        if isinstance(error, StorageError):
            warn(f"{path} could not be read for the contrast, which fits the other fields: {clause(error)}.")
    return channels, [channel.is_shown for channel in channels_by_name.values()]


def _request_coarsest_levels(fields: Sequence[Field], documents: Documents) -> None:
    """Request the documents of the coarsest levels, which tiles open first."""
    if len(fields) <= _MAX_AHEAD:
        paths = [
            join(field.node.path, field.levels[-1])
            for field in fields
            if isinstance(field.node, Position) and len(field.levels) > 1
        ]
        documents.request_ahead([], arrays=paths)


def _label_names(fields: Sequence[Field]) -> list[str]:
    """Return the names of label images of the fields, in the order of their first field."""

    def names(field: Field) -> list[str]:
        assert isinstance(field.node, Position)
        try:
            return list(field.node.labels)
        except LamellaError:
            return []

    first = fields[0].node
    if isinstance(first, LabelImage):
        return [first.node_path.name]
    assert isinstance(first, Position)
    groups = [join(field.node.path, "labels") for field in fields if isinstance(field.node, Position)]
    first.documents.request_ahead(groups, attributes_only=True)
    with reader_threads(first) as threads:
        return list(dict.fromkeys(name for labels in threads.map(names, fields) for name in labels))


def reader_threads(node: NGFFNode) -> ThreadPoolExecutor:
    """Return threads that read for a viewer and decode chunks themselves: small ones are not worth a second thread."""
    return _reader_threads(node.documents)


def _reader_threads(documents: Documents) -> ThreadPoolExecutor:
    """Return as many threads as processors, or 32 where each read waits for a server."""
    count = 32 if documents.storage.reads_ahead else max(2, min(8, cpus()))
    return ThreadPoolExecutor(count, "lamella-view", initializer=mark_codec_thread)


def _common_dtype(fields: Sequence[Field]) -> np.dtype[Any]:
    """Return a dtype that a browser can draw and that fits all fields: uint8, uint16 or float32."""
    dtypes = {field.dtype for field in fields if field.dtype is not None}
    for dtype in (np.dtype("uint8"), np.dtype("uint16")):
        if all(np.can_cast(other, dtype) for other in dtypes):
            return dtype
    return np.dtype("float32")
