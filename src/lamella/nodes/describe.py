"""Describe a node as plain data, for ``lamella info`` (text and JSON), notebooks and `Plate.table`.

Only metadata documents are read, never pixels. A plate is described by its own document, its first well and its first
field, whatever its size; positions are listed on request. Attributes are named after the JSON keys of ``lamella info``
(docs/command-line.md).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.arguments import whole_number
from lamella.errors import InvalidArgumentError, LamellaError, NotDecodedError, clause, one_line
from lamella.nodes.collection import Collection
from lamella.nodes.labels import LabelImage
from lamella.nodes.ome_xml import XML
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.scene import Scene
from lamella.nodes.tables import stored_table_names
from lamella.nodes.walk import CONTAINERS, Field, ImageContainer, walk, well_paths
from lamella.nodes.well import Row, Well
from lamella.spec.channels import displayed_range
from lamella.store.keys import may_be_node_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.node import NGFFNode
    from lamella.nodes.store_handle import NodePath
    from lamella.spec.images import ChannelMeta
    from lamella.spec.transformations.base import SystemReference
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import JSON, JSONObject, Shape

MAX_XML_WITHOUT_DETAILS = 16 * 2**20
"""Size of OME-XML in bytes; larger ones are parsed only with ``details``."""


@dataclass(frozen=True)
class UnreadableNode:
    """A node that is listed but cannot be read: its path relative to the described node, and the reason."""

    path: str
    error: str


@dataclass(frozen=True)
class AxisDescription:
    """An axis: name, type and unit as stored."""

    name: str
    type: str | None
    unit: str | None


@dataclass(frozen=True)
class ChannelDescription:
    """A channel: its name, colour as six hexadecimal digits, and displayed range."""

    name: str
    color: str | None
    window: tuple[float, float] | None
    active: bool | None


@dataclass(frozen=True)
class LevelDescription:
    """An array of an image; ``files`` and ``stored_bytes`` are None unless counted."""

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
class ImageDescription:
    """An image with its levels, channels and label images; ``labels_fault`` is why these cannot be listed."""

    store: str
    version: str
    name: str | None
    axes: tuple[AxisDescription, ...]
    levels: tuple[LevelDescription | UnreadableNode, ...]
    channels: tuple[ChannelDescription, ...]
    labels: tuple[str, ...]
    kind: str = "image"
    stale_levels: bool = False
    tables: tuple[str, ...] = ()
    labels_fault: str | None = None


@dataclass(frozen=True)
class FieldDescription:
    """One field; ``shape`` and ``dtype`` are None without an image."""

    path: str
    shape: Shape | None
    dtype: str | None
    levels: int
    scale: tuple[float, ...]
    acquisition: int | None


@dataclass(frozen=True)
class AcquisitionDescription:
    """An acquisition as the plate lists it."""

    id: int
    name: str | None
    maximum_field_count: int | None


@dataclass(frozen=True)
class TransformationDescription:
    """A transformation of a scene: its type, and its input and output as "path:system"."""

    type: str
    input: str | None
    output: str | None


@dataclass(frozen=True)
class DescribedImage:
    """An image described by OME-XML; ``size`` is the voxel size with unit by axis: ``{"x": "0.65 micrometer"}``."""

    path: str
    name: str | None
    acquired: str | None
    size: dict[str, str]


@dataclass(frozen=True)
class ContainerDescription:
    """Attributes of all nodes with several images; ``first`` describes the first field that can be opened."""

    store: str
    version: str
    name: str | None
    wells: tuple[str, ...]
    first_path: str | None
    first: ImageDescription | None
    damaged: tuple[UnreadableNode, ...]
    positions: tuple[FieldDescription | UnreadableNode, ...] | None

    @property
    def is_unreadable(self) -> bool:
        """Whether none of the fields that were opened could be read."""
        return self.first is None and bool(self.damaged)


@dataclass(frozen=True)
class PlateDescription(ContainerDescription):
    """A plate.

    ``described`` are the images in the OME-XML beside its rows, ``ome_fault`` is why the XML was not read; ``tables``
    are those of the plate, not of its images.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    field_count: int | None = None
    acquisitions: tuple[AcquisitionDescription, ...] = ()
    described: tuple[DescribedImage, ...] = ()
    ome_fault: str | None = None
    tables: tuple[str, ...] = ()
    kind: str = "plate"


@dataclass(frozen=True)
class RowDescription(ContainerDescription):
    """A row of a plate."""

    kind: str = "row"


@dataclass(frozen=True)
class WellDescription(ContainerDescription):
    """A well; ``fields`` are the names of its positions in the order of its metadata."""

    fields: tuple[str, ...] = ()
    kind: str = "well"


@dataclass(frozen=True)
class CollectionDescription(ContainerDescription):
    """Several images in one store, as bioformats2raw writes them; ``described`` and ``ome_fault`` as for a plate."""

    images: tuple[str, ...] = ()
    described: tuple[DescribedImage, ...] = ()
    ome_fault: str | None = None
    kind: str = "collection"


@dataclass(frozen=True)
class SceneDescription(ContainerDescription):
    """Images in common coordinate systems; ``images`` are their paths, ``systems`` the names of its own systems."""

    images: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    transformations: tuple[TransformationDescription, ...] = ()
    kind: str = "scene"


Description: TypeAlias = ImageDescription | ContainerDescription
"""Result of :func:`describe`."""


def describe(
    node: NGFFNode, *, details: bool = False, on_field: Callable[[], object] | None = None
) -> Description:
    """Describe an image, plate, row, well, collection or scene from its documents.

    ``details`` counts files and bytes of an image's arrays, and lists every position of a container; ``on_field`` is
    called after each of its fields.

    >>> image = describe(position)
    >>> image.levels[0].shape, image.channels[0].color
    ((1, 2, 4, 8, 8), '0000FF')
    """
    if isinstance(node, Position):
        return describe_image(node, count_files=details)
    if isinstance(node, CONTAINERS):
        return _describe_container(node, details, on_field)
    raise InvalidArgumentError(
        f"{node!r} is not an image, plate, row, well, collection or scene, so there is nothing to describe."
    )


def describe_image(position: Position, *, count_files: bool = False) -> ImageDescription:
    """Describe an image; a level that cannot be read becomes an :class:`UnreadableNode`."""
    meta = position.document.shared_model
    labels, labels_fault = _labels(position)
    return ImageDescription(
        store=str(position.node_path),
        version=position.version,
        name=meta.multiscales[0].name,
        axes=tuple(AxisDescription(axis.name, axis.type, axis.unit) for axis in position.axes),
        levels=tuple(_level(position, path, count_files) for path in position.dataset_paths),
        channels=_channels(position),
        labels=labels,
        labels_fault=labels_fault,
        stale_levels=position.stale_levels,
        tables=() if isinstance(position, LabelImage) else stored_table_names(position),
    )


def _level(position: Position, path: str, count_files: bool) -> LevelDescription | UnreadableNode:
    documents = position.documents
    try:
        array = position.open_level(path).meta
        scale, translation = position.get_effective_scale(path), position.get_effective_translation(path)
        files, size = (
            disk_usage(documents.storage, position.node_path.child(path).path)
            if count_files
            else (None, None)
        )
    except LamellaError as error:
        return UnreadableNode(path, one_line(error))
    return LevelDescription(
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
    """Return the compressor as text: "blosc zstd 1 bitshuffle"."""
    compressor = array.compressor
    if compressor is None:
        return None
    settings = (compressor.name, compressor.cname, compressor.clevel, compressor.shuffle)
    return " ".join(str(setting) for setting in settings if setting is not None)


def _channels(position: Position) -> tuple[ChannelDescription, ...]:
    omero = position.document.shared_model.omero
    stored = omero.channels if omero is not None else []
    names = position.channel_names
    return tuple(
        _channel(name, stored[index] if index < len(stored) else None) for index, name in enumerate(names)
    )


def _channel(name: str, stored: ChannelMeta | None) -> ChannelDescription:
    if stored is None:
        return ChannelDescription(name, None, None, None)
    return ChannelDescription(name, stored.color, displayed_range(stored), stored.active)


def _labels(position: Position) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the label images, or the reason why they cannot be listed."""
    if isinstance(position, LabelImage):
        return (), None
    try:
        return tuple(position.labels), None
    except LamellaError as error:
        return (), one_line(error)


def disk_usage(storage: Storage, path: str) -> tuple[int, int]:
    """Return the number of files below a folder of a store, and their bytes."""
    files = size = 0
    for name in storage.list(path):
        key = f"{path}/{name}" if path else name
        file_size = storage.size(key)
        member_usage = disk_usage(storage, key) if file_size is None else (1, file_size)
        files, size = files + member_usage[0], size + member_usage[1]
    return files, size


# -- plates, rows, wells ---------------------------------------------------------------------------------------


def _describe_container(
    node: ImageContainer, details: bool, on_field: Callable[[], object] | None
) -> ContainerDescription:
    first, damaged, positions = _read_fields(node, details, on_field)
    container: dict[str, Any] = {
        "store": str(node.node_path),
        "version": node.version,
        "name": node.document.shared_model.name if isinstance(node, Plate) else node.name or None,
        "wells": tuple(well_paths(node)) if isinstance(node, Plate | Row) else (),
        "first_path": None if first is None else first[0],
        "first": None if first is None else first[1],
        "damaged": tuple(damaged),
        "positions": positions,
    }
    if isinstance(node, Row):
        return RowDescription(**container)
    if isinstance(node, Collection):
        described, reason = _described_images(node, details)
        return CollectionDescription(**container, images=tuple(node), described=described, ome_fault=reason)
    if isinstance(node, Scene):
        return _scene(node, container)
    if isinstance(node, Well):
        return WellDescription(
            **container, fields=tuple(image.path for image in node.document.shared_model.images)
        )
    meta = node.document.shared_model
    described, reason = _described_images(node, details)
    return PlateDescription(
        **container,
        described=described,
        ome_fault=reason,
        rows=tuple(row.name for row in meta.rows),
        columns=tuple(column.name for column in meta.columns),
        field_count=meta.field_count,
        acquisitions=tuple(
            AcquisitionDescription(acquisition.id, acquisition.name, acquisition.maximum_field_count)
            for acquisition in meta.acquisitions or []
        ),
        tables=stored_table_names(node),
    )


def _scene(node: Scene, container: dict[str, Any]) -> SceneDescription:
    def reference_text(system: SystemReference | None) -> str | None:
        """Return "path:system"."""
        return None if system is None else ":".join(name for name in (system.path, system.name) if name)

    meta = node.document.shared_model
    return SceneDescription(
        **container,
        images=tuple(node._image_paths()),
        systems=tuple(system.name for system in meta.coordinate_systems or ()),
        transformations=tuple(
            TransformationDescription(step.type, reference_text(step.input), reference_text(step.output))
            for step in meta.coordinate_transformations
        ),
    )


def _read_fields(
    node: ImageContainer, details: bool, on_field: Callable[[], object] | None
) -> tuple[
    tuple[str, ImageDescription] | None,
    list[UnreadableNode],
    tuple[FieldDescription | UnreadableNode, ...] | None,
]:
    """Return the first field that opens, unreadable fields, and all fields if requested."""
    first: tuple[str, ImageDescription] | None = None
    damaged: list[UnreadableNode] = []
    fields: list[FieldDescription | UnreadableNode] = []
    for field in walk(node):
        try:
            fields.append(describe_field(field))
        except LamellaError as error:
            damaged.append(UnreadableNode(field.path, one_line(error)))
            fields.append(damaged[-1])
        else:
            if first is None and isinstance(field.node, Position):
                first = field.path, describe_image(field.node)
        if on_field is not None:
            on_field()
        if first is not None and not details:
            break
    return first, damaged, tuple(fields) if details else None


def describe_field(field: Field) -> FieldDescription:
    """Describe a field; raise its error if it is damaged."""
    position = field.node
    if not isinstance(position, Position):
        raise position
    paths = position.dataset_paths
    array = position.open_level(paths[0]) if paths else None
    return FieldDescription(
        path=field.path,
        shape=None if array is None else array.shape,
        dtype=None if array is None else array.dtype.name,
        levels=len(paths),
        scale=tuple(position.scale),
        acquisition=field.acquisition,
    )


def _described_images(
    node: Collection | Plate, details: bool
) -> tuple[tuple[DescribedImage, ...], str | None]:
    """Describe the images of a node by their OME-XML, or return the reason why it was not read."""
    try:
        size = node.documents.storage.size(node.node_path.child(XML).path)
        if size is None:
            return (), None
        if size > MAX_XML_WITHOUT_DETAILS and not details:
            return (), f"{XML} of {size} bytes was not read. lamella info -v reads it."
        images = node.ome_images()
    except LamellaError as error:
        return (), one_line(error)
    return tuple(
        DescribedImage(
            path,
            image.name,
            None if image.acquired is None else image.acquired.isoformat(),
            {axis: f"{size:g} {image.units[axis]}" for axis, size in image.scale.items()},
        )
        for path, image in images.items()
    ), None


def to_json(description: Description) -> JSONObject:
    """Convert a description to JSON values; NaN and infinity become null.

    >>> to_json(ImageDescription("a.zarr", "0.5", None, (), (), (), ()))["kind"]
    'image'
    """
    document: JSONObject = _json_value(description)
    return document


def _json_value(value: Any) -> JSON:
    if isinstance(value, dict):
        return {str(key): _json_value(element) for key, element in value.items()}
    if dataclasses.is_dataclass(value):
        attributes = {
            field.name: _json_value(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        return {"kind": attributes.pop("kind"), **attributes} if "kind" in attributes else attributes
    if isinstance(value, tuple | list):
        return [_json_value(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def tree_lines(node_path: NodePath, depth: int | None = None) -> Iterator[str]:
    """Yield one line per node, indented below its parent, down to a depth; arrays with shape and dtype.

    Damaged nodes, and arrays with unsupported codecs, have a line with the problem.
    """
    if depth is not None:
        depth = whole_number(depth, "The argument level", 0)
    yield f"/{node_path.path}"
    yield from _tree_below(node_path, "", depth)


def _tree_below(node_path: NodePath, indent: str, depth: int | None) -> Iterator[str]:
    if depth is not None and depth <= 0:
        return
    try:
        members = [
            (name, *_tree_text(node_path.child(name)))
            for name in node_path.store_handle.documents.storage.list(node_path.path)
            if may_be_node_name(name)
        ]
    except LamellaError as error:
        yield f"{indent}└── ? ({clause(error)})"
        return
    members = [(name, text, is_group) for name, text, is_group in members if text is not None]
    for index, (name, text, is_group) in enumerate(members):
        is_last = index == len(members) - 1
        yield f"{indent}{'└── ' if is_last else '├── '}{name}{text}"
        if is_group:
            deeper = indent + ("    " if is_last else "│   ")
            yield from _tree_below(node_path.child(name), deeper, None if depth is None else depth - 1)


def _tree_text(node_path: NodePath) -> tuple[str | None, bool]:
    """Return the text after the name of a node, and whether it is a group; None if there is no node."""
    documents = node_path.store_handle.documents
    try:
        kind = documents.kind(node_path.path)
        if kind != "array":
            return (None if kind is None else ""), kind == "group"
        meta = documents.array(node_path.path)
        return f" {meta.shape} {meta.dtype}", False
    except NotDecodedError as error:
        return f" (not decoded here: {clause(error)})", False
    except LamellaError as error:
        return f" (damaged: {clause(error)})", False
