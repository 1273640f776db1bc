"""What a store holds, as plain data: for ``lamella info``, and for scripts that read its JSON.

Only metadata documents are read, never pixels. A plate's summary reads the plate, its first well and its first
field, whatever the size of the plate; positions are listed on demand.

Layer: ops. Printing is the command line's.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.errors import InvalidArgumentError, LamellaError, one_line
from lamella.nodes.collection import Collection
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.scene import Scene
from lamella.nodes.well import Row, Well
from lamella.ops.ome_summary import DescribedImage, described_images
from lamella.ops.walk import HOLDERS, Field, Holder, walk, well_paths

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode
    from lamella.spec.omero import ChannelMeta
    from lamella.spec.transformations.base import SystemReference
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import JSON, JSONObject, Shape


@dataclass(frozen=True)
class Damage:
    """A node that is listed but cannot be read.

    Attributes
    ----------
    path
        Where it is, seen from the node that was summarised.
    error
        What is wrong, in one sentence.
    """

    path: str
    error: str


@dataclass(frozen=True)
class AxisSummary:
    """An axis: name, type and unit as stored."""

    name: str
    type: str | None
    unit: str | None


@dataclass(frozen=True)
class ChannelSummary:
    """A channel: its name, six hex digits of colour, and the displayed range of pixel values."""

    name: str
    color: str | None
    window: tuple[float, float] | None
    active: bool | None


@dataclass(frozen=True)
class LevelSummary:
    """An array of an image.

    Attributes
    ----------
    path
        Its path in the image.
    shape, dtype, chunks, shards
        In the order of the image's axes; ``shards`` is None where chunks are files.
    compressor
        Name and settings; None when chunks are stored as they are.
    scale, translation
        Size of a voxel and place of the first one, per axis, in the axis' unit.
    files, stored_bytes
        Number and size of its files, document included; None unless they were counted.
    """

    path: str
    shape: Shape
    dtype: str
    chunks: Shape
    shards: Shape | None
    compressor: str | None
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    files: int | None = None
    stored_bytes: int | None = None


@dataclass(frozen=True)
class ImageSummary:
    """An image with its levels, channels and label images."""

    store: str
    version: str
    name: str | None
    axes: tuple[AxisSummary, ...]
    levels: tuple[LevelSummary | Damage, ...]
    channels: tuple[ChannelSummary, ...]
    labels: tuple[str, ...]
    kind: str = "image"
    stale_levels: bool = False


@dataclass(frozen=True)
class PositionSummary:
    """One line for one field; ``shape`` and ``dtype`` are None while it holds no image."""

    path: str
    shape: Shape | None
    dtype: str | None
    levels: int
    scale: tuple[float, ...]
    acquisition: int | None


@dataclass(frozen=True)
class AcquisitionSummary:
    """An acquisition as the plate lists it."""

    id: int
    name: str | None
    maximum_field_count: int | None


@dataclass(frozen=True)
class TransformationSummary:
    """A transformation of a scene: its type, and where it leads from and to, as "path:system"."""

    type: str
    input: str | None
    output: str | None


@dataclass(frozen=True)
class WellsSummary:
    """What all nodes that hold several images have in common: fields, and what the first of them is like.

    Attributes
    ----------
    first
        The first field that opens; None when there is none.
    first_path
        Its path, seen from the node.
    damaged
        What was met on the way and cannot be read; all of it when ``positions`` is there.
    positions
        All fields, damaged ones too; None unless they were asked for.
    """

    store: str
    version: str
    name: str | None
    wells: tuple[str, ...]
    first_path: str | None
    first: ImageSummary | None
    damaged: tuple[Damage, ...]
    positions: tuple[PositionSummary | Damage, ...] | None

    @property
    def nothing_opens(self) -> bool:
        """Whether everything that was looked at is damaged."""
        return self.first is None and bool(self.damaged)


@dataclass(frozen=True)
class PlateSummary(WellsSummary):
    """A plate; ``field_count`` is the recorded maximum per well, None when it is not recorded.

    ``described`` is what an OME-XML beside the rows says of the images, ``ome_fault`` why it was not read.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    field_count: int | None = None
    acquisitions: tuple[AcquisitionSummary, ...] = ()
    described: tuple[DescribedImage, ...] = ()
    ome_fault: str | None = None
    kind: str = "plate"


@dataclass(frozen=True)
class RowSummary(WellsSummary):
    """A row of a plate."""

    kind: str = "row"


@dataclass(frozen=True)
class WellSummary(WellsSummary):
    """A well; ``fields`` are the names of its positions in the order of its metadata."""

    fields: tuple[str, ...] = ()
    kind: str = "well"


@dataclass(frozen=True)
class CollectionSummary(WellsSummary):
    """Several images in one store, as bioformats2raw writes them; ``images`` are their paths.

    ``described`` and ``ome_fault`` as for a plate.
    """

    images: tuple[str, ...] = ()
    described: tuple[DescribedImage, ...] = ()
    ome_fault: str | None = None
    kind: str = "collection"


@dataclass(frozen=True)
class SceneSummary(WellsSummary):
    """Images in common coordinate systems; ``images`` are their paths, ``systems`` the names of the scene's own."""

    images: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    transformations: tuple[TransformationSummary, ...] = ()
    kind: str = "scene"


Summary: TypeAlias = ImageSummary | WellsSummary
"""What :func:`summarize` returns; of a node that holds several images, the subclass for its kind."""


def summarize(node: NGFFNode, *, details: bool = False) -> Summary:
    """Summarise an image, plate, row, well, collection or scene from its documents.

    Parameters
    ----------
    node
        The node.
    details
        Count files and bytes of an image's arrays; list every position of a plate, row or well.

    Raises
    ------
    InvalidArgumentError
        The node is none of these.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/image.zarr"
    >>> with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"]) as position:
    ...     position["0"] = np.zeros((1, 1, 4, 8, 8), "uint16")
    >>> summary = summarize(lamella.open_ome_zarr(path))
    >>> summary.levels[0].shape, summary.channels[0].color
    ((1, 1, 4, 8, 8), '0000FF')
    """
    if isinstance(node, Position):
        return image_summary(node, count_files=details)
    if isinstance(node, HOLDERS):
        return _wells_summary(node, details)
    raise InvalidArgumentError(
        f"{node!r} is no image, plate, row, well, collection or scene, so there is nothing to summarise."
    )


def image_summary(position: Position, *, count_files: bool = False) -> ImageSummary:
    """Summarise an image; a level that cannot be read becomes a :class:`Damage`."""
    meta = position.metadata
    return ImageSummary(
        store=str(position._place),
        version=position.version,
        name=meta.multiscales[0].name,
        axes=tuple(AxisSummary(axis.name, axis.type, axis.unit) for axis in position.axes),
        levels=tuple(_level(position, path, count_files) for path in position.dataset_paths),
        channels=_channels(position),
        labels=_labels(position),
        stale_levels=position.stale_levels,
    )


def _level(position: Position, path: str, count_files: bool) -> LevelSummary | Damage:
    documents = position._documents
    try:
        array = position._level(path)._meta
        scale, translation = position.get_effective_scale(path), position.get_effective_translation(path)
        files, size = (
            disk_usage(documents.storage, position._place.child(path).path) if count_files else (None, None)
        )
    except LamellaError as fault:
        return Damage(path, one_line(fault))
    return LevelSummary(
        path=path,
        shape=array.shape,
        dtype=array.dtype.name,
        chunks=array.chunks,
        shards=array.shards,
        compressor=_compressor(array),
        scale=tuple(scale),
        translation=tuple(translation),
        files=files,
        stored_bytes=size,
    )


def _compressor(array: ArrayMeta) -> str | None:
    """Describe the compressor: "blosc zstd 1 bitshuffle"."""
    if array.compressor is None:
        return None
    choice = array.compressor
    parts = (choice.name, choice.cname, choice.clevel, choice.shuffle)
    return " ".join(str(part) for part in parts if part is not None)


def _channels(position: Position) -> tuple[ChannelSummary, ...]:
    omero = position.metadata.omero
    stored = omero.channels if omero is not None else []
    names = position.channel_names
    return tuple(
        _channel(name, stored[index] if index < len(stored) else None) for index, name in enumerate(names)
    )


def _channel(name: str, stored: ChannelMeta | None) -> ChannelSummary:
    if stored is None:
        return ChannelSummary(name, None, None, None)
    return ChannelSummary(name, stored.color, displayed_range(stored), stored.active)


def displayed_range(channel: ChannelMeta) -> tuple[float, float] | None:
    """Return start and end of a channel's window; None where either is missing or no number."""
    window = channel.window or {}
    start, end = window.get("start"), window.get("end")
    try:
        found = None if start is None or end is None else (float(start), float(end))
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if found is not None and all(map(math.isfinite, found)) else None


def _labels(position: Position) -> tuple[str, ...]:
    try:
        return tuple(position.labels)
    except LamellaError as fault:
        return (f"damaged: {one_line(fault)}",)


def disk_usage(storage: Storage, path: str) -> tuple[int, int]:
    """Count the files below a folder of a store, and their bytes."""
    files = size = 0
    for name in storage.list(path):
        key = f"{path}/{name}" if path else name
        found = storage.size(key)
        below = disk_usage(storage, key) if found is None else (1, found)
        files, size = files + below[0], size + below[1]
    return files, size


# -- plates, rows, wells ---------------------------------------------------------------------------------------


def _wells_summary(node: Holder, details: bool) -> WellsSummary:
    first, damaged, positions = _look(node, details)
    common: dict[str, Any] = {
        "store": str(node._place),
        "version": node.version,
        "name": node.metadata.name if isinstance(node, Plate) else node.name or None,
        "wells": tuple(well_paths(node)) if isinstance(node, Plate | Row) else (),
        "first_path": None if first is None else first[0],
        "first": None if first is None else first[1],
        "damaged": tuple(damaged),
        "positions": positions,
    }
    if isinstance(node, Row):
        return RowSummary(**common)
    if isinstance(node, Collection):
        described, fault = described_images(node, details)
        return CollectionSummary(**common, images=tuple(node), described=described, ome_fault=fault)
    if isinstance(node, Scene):
        return _scene(node, common)
    if isinstance(node, Well):
        return WellSummary(**common, fields=tuple(image.path for image in node.metadata.images))
    meta = node.metadata
    described, fault = described_images(node, details)
    return PlateSummary(
        **common,
        described=described,
        ome_fault=fault,
        rows=tuple(row.name for row in meta.rows),
        columns=tuple(column.name for column in meta.columns),
        field_count=meta.field_count,
        acquisitions=tuple(
            AcquisitionSummary(item.id, item.name, item.maximum_field_count)
            for item in meta.acquisitions or []
        ),
    )


def _scene(node: Scene, common: dict[str, Any]) -> SceneSummary:
    def end(place: SystemReference | None) -> str | None:
        return None if place is None else ":".join(part for part in (place.path, place.name) if part)

    meta = node.metadata
    return SceneSummary(
        **common,
        images=tuple(node._image_paths()),
        systems=tuple(system.name for system in meta.coordinate_systems or ()),
        transformations=tuple(
            TransformationSummary(step.type, end(step.input), end(step.output))
            for step in meta.coordinate_transformations
        ),
    )


def _look(
    node: Holder, details: bool
) -> tuple[tuple[str, ImageSummary] | None, list[Damage], tuple[PositionSummary | Damage, ...] | None]:
    """Return the first field that opens, the damage met, and all fields when they are asked for."""
    first: tuple[str, ImageSummary] | None = None
    damaged: list[Damage] = []
    positions: list[PositionSummary | Damage] = []
    for field in walk(node):
        line = _position(field)
        positions.append(line)
        if isinstance(line, Damage):
            damaged.append(line)
        elif first is None and isinstance(field.node, Position):
            first = field.path, image_summary(field.node)
        if first is not None and not details:
            break
    return first, damaged, tuple(positions) if details else None


def _position(field: Field) -> PositionSummary | Damage:
    position = field.node
    if not isinstance(position, Position):
        return Damage(field.path, one_line(position))
    try:
        paths = position.dataset_paths
        array = position._level(paths[0]) if paths else None
        return PositionSummary(
            path=field.path,
            shape=None if array is None else array.shape,
            dtype=None if array is None else array.dtype.name,
            levels=len(paths),
            scale=tuple(position.scale),
            acquisition=field.acquisition,
        )
    except LamellaError as fault:
        return Damage(field.path, one_line(fault))


def to_json(summary: Summary) -> JSONObject:
    """Turn a summary into JSON values: dataclasses to objects, tuples to lists, numbers that JSON lacks to null.

    >>> to_json(ImageSummary("a.zarr", "0.5", None, (), (), (), ()))["kind"]
    'image'
    """
    document: JSONObject = _plain(summary)
    return document


def _plain(value: Any) -> JSON:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        document = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": document.pop("kind"), **document} if "kind" in document else document
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
