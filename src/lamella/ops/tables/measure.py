"""Measure labels with scikit-image in bounded memory.

First the bounding boxes of all labels are computed. Then labels near each other are measured together, from the
smallest region that contains them (about 32 MiB); a larger label is measured alone.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.arguments import items_of, text_of_name
from lamella.errors import (
    InvalidArgumentError,
    NodeNotFoundError,
    clause,
    counted,
    did_you_mean,
    first_of,
    importing,
)
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.position import Position
from lamella.nodes.walk import images_of
from lamella.ops.execution import Workers, check_progress, counting, run
from lamella.ops.regions import bounded_shape
from lamella.ops.tables.frames import DESCRIPTION, as_ids, pandas
from lamella.ops.tables.labels import bounding_boxes
from lamella.spec.axes import channel_axis, space_axes
from lamella.spec.tables import FEATURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from zarr.abc.store import Store

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage
    from lamella.ops.execution import Progress
    from lamella.ops.regions import Region
    from lamella.ops.tables.labels import Boxes
    from lamella.types import StrPath


_UNIT_BYTES = 32 << 20
_ARRAY_PROPERTIES = (
    *("coords", "coords_scaled", "slice"),
    *("image", "image_convex", "image_filled", "image_intensity"),
)
_POSITION_PROPERTIES = ("centroid", "centroid_weighted")


@dataclass(frozen=True)
class _Request:
    """A checked call of `measure`: the properties, and the arrays to measure."""

    labels: ImageArray
    image: ImageArray | None
    """None if no intensities are measured."""
    axes: tuple[str, ...]
    """Axis names of the labels."""
    image_axes: tuple[str, ...]
    """Axis names of the image, with "c" for channels."""
    space: tuple[str, ...]
    """Names of the space axes along which labels extend; without z if there is one plane."""
    channels: tuple[tuple[int, str], ...]
    """Index and name of each channel; empty without a channel axis."""
    properties: tuple[str, ...]
    spacing: tuple[float, ...]
    """Size of a voxel along the axes of ``space``."""
    origin: tuple[float, ...]
    """Position of the first voxel along the axes of ``space``."""

    @property
    def lengths(self) -> dict[str, int]:
        """Length of each axis of the labels and of the image, by name."""
        lengths = dict(zip(self.axes, self.labels.shape, strict=True))
        if self.image is not None:
            lengths |= dict(zip(self.image_axes, self.image.shape, strict=True))
        return lengths

    @property
    def separate_axes(self) -> list[str]:
        """Names of the axes along which each index is measured separately, such as time."""
        return [name for name in self.lengths if name not in self.space and name != "c"]

    def label_region(self, index: dict[str, int], box: dict[str, slice]) -> Region:
        """Return the region of the labels array for a box of space axes, at an index of the separate axes."""
        return _region(self.axes, {**index, "c": 0}, box)

    def read_labels(self, index: dict[str, int], box: dict[str, slice]) -> NDArray[Any]:
        """Read the labels of a region as an array with the axes of ``space``."""
        block = np.asarray(self.labels[self.label_region(index, box)])
        return block.reshape([box[name].stop - box[name].start for name in self.space])

    def read_image(self, index: dict[str, int], box: dict[str, slice]) -> NDArray[Any] | None:
        """Read the pixels of a region, with channels along a last axis if there is a channel axis."""
        image = self.image
        if image is None:
            return None
        shape = [box[name].stop - box[name].start for name in self.space]

        def read(channel: int) -> NDArray[Any]:
            region = _region(self.image_axes, {**index, "c": channel}, box)
            return np.asarray(image[region]).reshape(shape)

        if not self.channels:
            return read(0)
        return np.stack([read(channel) for channel, _ in self.channels], axis=-1)


def _region(axes: Sequence[str], indices: dict[str, int], box: dict[str, slice]) -> Region:
    """Return the region of an array for a box of some axes, at one index along each other axis."""
    return tuple(box[name] if name in box else slice(indices[name], indices[name] + 1) for name in axes)


def measure(
    labels: LabelImage,
    properties: Sequence[str],
    channels: Sequence[str | int] | None,
    level: str,
    physical: bool,
    workers: Workers,
    progress: Progress | bool | None,
) -> pd.DataFrame:
    """Measure all labels of a label image; see :meth:`LabelImage.measure`."""
    regionprops = _regionprops_table()
    check_progress(progress)
    request = _request(labels, properties, channels, level, physical)
    units = list(_units(labels, request, workers))
    total = sum(len(ids) for _, ids, _ in units)
    tables: list[dict[str, Any]] = []
    with logged("Measure %s", labels.node_path), counting(progress, "labels", total) as count:

        def collect(table: dict[str, Any]) -> None:
            tables.append(table)
            count.add(len(table["label"]))

        run(partial(_measure_unit, request, regionprops), units, workers, on_result=collect)
    return _frame(labels, request, tables or [_empty_table(request, regionprops)])


def _regionprops_table() -> Any:
    with importing("Measurements need scikit-image (pip install 'lamella[measure]')."):
        from skimage.measure import regionprops_table
    return regionprops_table


def _needs_intensity(name: str) -> bool:
    return name.startswith("intensity_") or "weighted" in name


def _request(
    labels: LabelImage,
    properties: Sequence[str],
    channels: Sequence[str | int] | None,
    level: str,
    physical: bool,
) -> _Request:
    from skimage.measure import regionprops

    pixel = np.ones((1, 1), "uint8")
    available = sorted(
        {*regionprops(pixel, pixel)[0], "intensity_median", "num_pixels"} - {*_ARRAY_PROPERTIES, "label"}
    )
    names = (
        (properties,)
        if isinstance(properties, str)
        else tuple(items_of(properties, "The argument properties is a list of names of properties"))
    )
    for name in names:
        if name not in (*available, "label"):
            raise InvalidArgumentError(
                f"{name!r} is not a property with one or more numbers for each label."
                f"{did_you_mean(str(name), available)} They are: {', '.join(available)}."
            )
    position = Position(labels.node_path.parent.parent)
    paths, level = position.dataset_paths, str(level)
    if level not in paths or paths.index(level) >= len(labels.dataset_paths):
        raise InvalidArgumentError(
            f"level={level!r} is not a level of {position.node_path} and of {labels.node_path}: "
            f"{', '.join(paths[: len(labels.dataset_paths)]) or 'none'}."
        )
    label_level = labels.dataset_paths[paths.index(level)]
    image = position[level] if any(map(_needs_intensity, names)) else None
    channel = channel_axis(position.axes)
    axes, image_axes = (_named_axes(node) for node in (labels, position))
    space = [axes[axis] for axis in space_axes(labels.axes)]
    lengths = dict(zip(axes, labels[label_level].shape, strict=True))
    if (channels_of_labels := lengths.pop("c", 1)) != 1:
        raise InvalidArgumentError(
            f"The labels {labels.node_path} have {channels_of_labels} channels, and only labels with "
            "one or none can be measured. Write each channel as a label image of its own."
        )
    _check_same_shape(labels, position, lengths, image_axes, image)
    while len(space) > 2 and lengths[space[0]] == 1:
        space = space[1:]
    scale = dict(zip(axes, labels.get_effective_scale(label_level), strict=True))
    origin = dict(zip(axes, labels.get_effective_translation(label_level), strict=True))
    # Names of channels are checked even if no intensities are measured.
    measured_channels = () if channel is None else _channels(position, channels)
    return _Request(
        labels[label_level],
        image,
        axes,
        image_axes,
        tuple(space),
        () if image is None else measured_channels,
        tuple(name for name in dict.fromkeys(names) if name != "label"),
        tuple(scale[name] if physical else 1.0 for name in space),
        tuple(origin[name] if physical else 0.0 for name in space),
    )


def _named_axes(image: Position) -> tuple[str, ...]:
    """Return the names of the axes of an image, with "c" for channels."""
    channel = channel_axis(image.axes)
    return tuple("c" if number == channel else name for number, name in enumerate(image.axis_names))


def _check_same_shape(
    labels: LabelImage,
    position: Position,
    lengths: dict[str, int],
    image_axes: Sequence[str],
    image: ImageArray | None,
) -> None:
    if image is None:
        return
    image_lengths = dict(zip(image_axes, image.shape, strict=True))
    differing = [name for name, length in lengths.items() if image_lengths.get(name) != length]
    if differing:
        raise InvalidArgumentError(
            f"The labels {labels.node_path} have {lengths[differing[0]]} voxels along {differing[0]!r} and the "
            f"image {position.node_path} has {image_lengths.get(differing[0], 'no such axis')}: intensities "
            "cannot be measured."
        )


def _channels(position: Position, channels: Sequence[str | int] | None) -> tuple[tuple[int, str], ...]:
    names = position.channel_names
    if channels is None:
        return tuple(enumerate(names))
    requested: list[Any] = (
        items_of(channels, "The argument channels is a list of names")
        if text_of_name(channels) is None
        else [channels]
    )
    indexes = [
        position.get_channel_index(name)
        if isinstance(name, str) or text_of_name(name) is None
        else operator.index(name)
        for name in requested
    ]
    outside = [index for index in indexes if not 0 <= index < len(names)]
    if outside:
        raise InvalidArgumentError(f"There is no channel {outside[0]}: the channels are {names}.")
    return tuple((index, names[index]) for index in indexes)


def _units(
    labels: LabelImage, request: _Request, workers: Workers
) -> Iterator[tuple[dict[str, int], NDArray[Any], dict[str, slice]]]:
    """Yield units: an index of the separate axes, labels near each other, and the box that contains them."""
    lengths, separate_axes = request.lengths, request.separate_axes
    whole_box = {name: slice(0, lengths[name]) for name in request.space}
    region_of_boxes: Region | None = None
    boxes: Boxes | None = None
    for indices in product(*(range(lengths[name]) for name in separate_axes)):
        index = dict(zip(separate_axes, indices, strict=True))
        region = request.label_region(index, whole_box)
        if region != region_of_boxes or boxes is None:
            region_of_boxes, level = region, request.labels.path.rpartition("/")[2]
            # Threads of this process suffice, because they only read: no executor is passed.
            boxes = bounding_boxes(labels, level, within=region, workers=Workers(workers.jobs))
        yield from ((index, *batch) for batch in _batches(request, boxes))


def _batches(request: _Request, boxes: Boxes) -> Iterator[tuple[NDArray[Any], dict[str, slice]]]:
    """Yield groups of labels that lie near each other, each with the box that contains them."""
    if not len(boxes):
        return
    axes = [request.axes.index(name) for name in request.space]
    start, stop = boxes.start[:, axes], boxes.stop[:, axes]
    shape = [request.labels.shape[axis] for axis in axes]
    # Each voxel also needs 24 bytes for the intermediate arrays of `_measure_unit`.
    voxel_bytes = request.labels.dtype.itemsize + 24
    if request.image is not None:
        voxel_bytes += 2 * request.image.dtype.itemsize * max(1, len(request.channels))
    chunk = [min(length, request.labels.chunks[axis]) for length, axis in zip(shape, axes, strict=True)]
    tile = bounded_shape(shape, chunk, voxel_bytes, _UNIT_BYTES)
    is_large = (stop - start).prod(axis=1) > prod(tile)
    _, group = np.unique(start // np.asarray(tile), axis=0, return_inverse=True)
    group = np.where(is_large, -1 - np.arange(len(boxes)), group.reshape(-1))
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        box_start, box_stop = start[members].min(axis=0), stop[members].max(axis=0)
        box = {
            name: slice(int(first), int(end))
            for name, first, end in zip(request.space, box_start, box_stop, strict=True)
        }
        yield boxes.ids[members], box


def _measure_unit(
    request: _Request, regionprops: Any, unit: tuple[dict[str, int], NDArray[Any], dict[str, slice]]
) -> dict[str, Any]:
    """Measure the labels of a unit; return columns with their final names and the index of the separate axes."""
    index, ids, box = unit
    ids = np.sort(ids)
    block = request.read_labels(index, box)
    # Renumber the labels of this unit from 1, and remove others: scikit-image allocates memory up to the largest label.
    row = np.minimum(np.searchsorted(ids, block), len(ids) - 1)
    renumbered = np.where(ids[row] == block, row + 1, 0).astype(np.int32)
    measured = _compute_properties(request, regionprops, renumbered, request.read_image(index, box))
    columns: dict[str, Any] = {**index, "label": ids[measured.pop("label") - 1]}
    starts = [box[name].start for name in request.space]
    for name, values in measured.items():
        columns[_column(request, name)] = _relative_to_image(request, name, values, starts)
    return columns


def _compute_properties(
    request: _Request, regionprops: Any, labels: NDArray[Any], image: NDArray[Any] | None
) -> dict[str, Any]:
    """Return the properties of labels under the names that they have in scikit-image."""
    try:
        measured: dict[str, Any] = regionprops(
            labels, image, properties=("label", *request.properties), spacing=request.spacing
        )
    except (NotImplementedError, ValueError) as error:
        raise InvalidArgumentError(
            f"{request.labels.node_path} cannot be measured: {clause(error)}. Some properties need two space axes, "
            "or voxels of equal size along all axes (physical=False)."
        ) from error
    return measured


def _empty_table(request: _Request, regionprops: Any) -> dict[str, Any]:
    """Return the columns of an image without labels: those that labels would have, without rows."""
    # One label: scikit-image computes a single voxel for an image without labels, which has no hull in 3-D.
    labels = np.pad(np.ones([3] * len(request.space), np.int32), 1)
    image = None
    if request.image is not None:
        channels = [len(request.channels)] if request.channels else []
        # Not zeros, which no property can weight: scikit-image would warn of divisions by 0.
        image = np.ones([*labels.shape, *channels], request.image.dtype)
    measured = _compute_properties(request, regionprops, labels, image)
    names = [_column(request, name) for name in measured if name != "label"]
    return {name: [] for name in (*request.separate_axes, "label", *names)}


def _column(request: _Request, name: str) -> str:
    """Return the name of a column with names instead of numbers: "intensity_mean-DAPI", "centroid-y"."""
    property_name, *numbers = name.split("-")
    if request.channels and _needs_intensity(property_name):
        numbers[-1] = request.channels[int(numbers[-1])][1]
    if property_name in _POSITION_PROPERTIES:
        numbers[0] = request.space[int(numbers[0])]
    if property_name == "bbox":
        is_stop, axis = divmod(int(numbers[0]), len(request.space))
        numbers = ["stop" if is_stop else "start", request.space[axis]]
    return "-".join([property_name, *numbers])


def _relative_to_image(request: _Request, name: str, values: Any, starts: Sequence[int]) -> Any:
    """Convert positions in the region to positions in the image; return other values unchanged."""
    property_name, *numbers = name.split("-")
    if property_name in _POSITION_PROPERTIES:
        axis = int(numbers[0])
        return values + starts[axis] * request.spacing[axis] + request.origin[axis]
    if property_name == "bbox":
        return values + starts[int(numbers[0]) % len(request.space)]
    return values


def _frame(labels: LabelImage, request: _Request, tables: list[dict[str, Any]]) -> pd.DataFrame:
    pd = pandas()
    lengths, separate_axes = request.lengths, request.separate_axes
    frame = pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)
    frame = frame.sort_values([*separate_axes, "label"], kind="stable")
    frame["label"] = as_ids(frame["label"])
    frame = frame.drop(columns=[name for name in separate_axes if lengths[name] == 1]).set_index("label")
    frame.attrs[DESCRIPTION] = {"type": FEATURE, "label": labels.name}
    return frame


def measure_store(
    path: StrPath | Store,
    labels: str,
    properties: Sequence[str],
    *,
    table: str | None = None,
    channels: Sequence[str] | None = None,
    level: str = "0",
    physical: bool = True,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Measure the labels of a name in all images that have them; store the tables, and return row counts by path."""
    check_progress(progress)
    node = open_ome_zarr(path, mode="r+", disable_path_checking=follow_links, storage_options=storage_options)
    all_images = images_of(node)
    images = {path: position for path, position in all_images.items() if labels in position.labels}
    if not images:
        names = sorted({name for position in all_images.values() for name in position.labels})
        raise NodeNotFoundError(
            f"No image of {node.node_path} has labels {labels!r}. The label images are: {first_of(names)}."
        )
    rows: dict[str, int] = {}
    with (
        logged("Measure the labels %s of %s", labels, counted(len(images), "image")),
        counting(progress, "images", len(images)) as count,
    ):
        for path_in_node, position in images.items():
            frame = position.labels[labels].measure(
                properties, channels=channels, level=level, physical=physical, name=table or labels, jobs=jobs
            )
            rows[path_in_node] = len(frame)
            count.add()
    node.documents.storage.commit_own(f"Measure the labels {labels}")
    return rows
