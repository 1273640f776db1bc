"""Create and describe the store that ``convert`` writes: nodes, arrays and metadata. ``write`` writes the pixels."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, SourceError
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.ops.contrast import choose_windows
from lamella.ops.conversion.contrast import ContrastSampler, check_dtype, type_limits, window_of
from lamella.ops.conversion.layout import choose_layout
from lamella.ops.conversion.placement import line_order
from lamella.ops.conversion.write import ImageWrite
from lamella.ops.jobs.units import Files, files_of_region, state_of
from lamella.ops.pyramids.pyramid import begin_levels
from lamella.ops.regions import whole_region
from lamella.spec.axes import axes as usual_axes
from lamella.spec.channels import distinct_colors
from lamella.spec.transforms import TransformationMeta
from lamella.spec.versions import by_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.inputs import ImagePlan
    from lamella.ops.conversion.source import ImageDescription, SourceChannel
    from lamella.ops.execution import Workers
    from lamella.spec.axes import AxisMeta
    from lamella.spec.omero import WindowDict
    from lamella.spec.plate import PlateMeta
    from lamella.store.layout import Cut
    from lamella.types import JSONObject, VersionName


@dataclass(frozen=True)
class ImageSettings:
    """How images are stored; see `convert`."""

    version: VersionName
    chunks: Cut
    shards: Cut
    levels: int | Literal["auto"]

    @property
    def sharded(self) -> bool:
        """Whether the version has shards, as Zarr v3 does."""
        version = by_name(self.version)
        if not version.writable:
            raise InvalidArgumentError(
                f"version {self.version!r} cannot be written, only read: use {version.written_as} or later"
            )
        return version.zarr_format == 3

    def check(self) -> None:
        """Raise for settings that fit no image."""
        sharded = self.sharded
        if self.levels != "auto" and (not isinstance(self.levels, int) or self.levels < 1):
            raise InvalidArgumentError(f"levels {self.levels!r} is neither a number from 1 on nor 'auto'")
        for what, cut, words in (
            ("chunks", self.chunks, ("auto",)),
            ("shards", self.shards, ("auto", "none")),
        ):
            if isinstance(cut, str) and cut not in words:
                raise InvalidArgumentError(f"{what}={cut!r} is neither {' nor '.join(words)} nor lengths")
        # An image with all axes accepts every setting that any image accepts.
        choose_layout("tczyx", (1, 1, 1, 1, 1), 1, chunks=self.chunks, shards=self.shards, sharded=sharded)


@contextmanager
def create_positions(
    path: str, images: Sequence[ImagePlan], settings: ImageSettings, *, name: str
) -> Iterator[list[Position]]:
    """Create or resume a store with a position per image, yield the positions, and close the store."""
    first = images[0].source.description
    names = channel_labels(first)
    for image in images:
        check_dtype(image.source.description.dtype, image.source.description.name)
        labels = channel_labels(image.source.description)
        if labels != names:
            raise SourceError(
                f"{image.source.description.name} has the channels {', '.join(labels)}, but {first.name} has "
                f"{', '.join(names)}: all positions of a plate have the same channels"
            )
    layout: Literal["hcs", "fov"] = "hcs" if images[0].path else "fov"
    resumed = _resumed_positions(path, images)
    if resumed is not None:
        node: Plate | Position = resumed[0]
    else:
        node = open_ome_zarr(
            path,
            layout=layout,
            mode="w-",
            channel_names=names,
            axes=image_axes(first),
            version=settings.version,
        )
    with node:
        if not isinstance(node, Plate):
            yield [node]
            return
        specs = [tuple(image.path.split("/")) for image in images]
        positions = resumed[1] if resumed else node.create_positions(specs)
        node.metadata.name = name
        _sort_lines(node.metadata)
        node.dump_meta()
        yield positions


def _sort_lines(plate: PlateMeta) -> None:
    """Sort the rows and columns of a plate by name instead of by the order of its wells."""
    plate.rows.sort(key=lambda row: line_order(row.name))
    plate.columns.sort(key=lambda column: line_order(column.name))
    rows = {row.name: index for index, row in enumerate(plate.rows)}
    columns = {column.name: index for index, column in enumerate(plate.columns)}
    for well in plate.wells:
        row, _, column = well.path.partition("/")
        well.row_index, well.column_index = rows[row], columns[column]


def _resumed_positions(
    path: str, images: Sequence[ImagePlan]
) -> tuple[Plate | Position, list[Position]] | None:
    """Open the store of a killed call; None, and delete the store, if it lacks positions: then it has no pixels."""
    if not os.path.lexists(path):
        return None
    with suppress(LamellaError):  # cut off in its first documents
        node = open_ome_zarr(path, mode="r+")
        if isinstance(node, Position) and not images[0].path:
            return node, [node]
        stored = dict(node.positions()) if isinstance(node, Plate) else {}
        if stored.keys() == {image.path for image in images}:
            return node, [stored[image.path] for image in images]
        node.close()
    shutil.rmtree(path)
    return None


def begin_image(image: ImagePlan, position: Position, settings: ImageSettings) -> ImageWrite:
    """Create the missing arrays of one image, without pixels and contrast; return its source and arrays."""
    description = image.source.description
    chunks, shards = choose_layout(
        description.axes,
        description.shape,
        description.dtype.itemsize,
        chunks=settings.chunks,
        shards=settings.shards,
        sharded=settings.sharded,
    )
    ratio = None if shards is None else tuple(s // c for s, c in zip(shards, chunks, strict=True))
    scale = [description.scale.get(axis, 1.0) for axis in description.axes]
    if position.dataset_paths:  # by a killed call
        array = position["0"]
    else:
        array = position.create_zeros(
            "0",
            description.shape,
            description.dtype,
            chunks,
            ratio,
            [TransformationMeta(type="scale", scale=scale)],
        )
    lower = begin_levels(position, settings.levels, "mean")
    return ImageWrite(image.source, [(array.stored, (1,) * array.ndim), *lower])


def state_of_image(position: Position) -> str | None:
    """Return a fingerprint of the files of all levels."""
    arrays = [position[path].stored for path in position.dataset_paths]
    keys = [key for array in arrays for key in files_of_region(array, whole_region(array.meta.shape))]
    return state_of(Files(position.documents.storage, keys))


def end_image(image: ImagePlan, position: Position, sample: Sample) -> None:
    """Finish an image: describe it, unless it belongs to a plate, whose images are described together at the end."""
    description = image.source.description
    if not image.path:
        sampler = ContrastSampler(description.axes, description.shape, description.dtype)
        sampler.merge(sample)
        windows = [
            sampler.window(index, channel.window) for index, channel in enumerate(_channels(description))
        ]
        _describe(position, description, windows)
    _add_source(position, description)


def describe_plate(images: Sequence[ImagePlan], positions: Sequence[Position], workers: Workers) -> None:
    """Describe the images of a plate. Windows are the median of the files' windows, else computed from all fields."""
    descriptions = [image.source.description for image in images]
    names = channel_labels(descriptions[0])
    windows: list[WindowDict] = []
    chosen: dict[tuple[str, int], WindowDict] = {}
    for index, name in enumerate(names):
        file_windows = [
            window for description in descriptions if (window := _channels(description)[index].window)
        ]
        if len(file_windows) < len(descriptions) and not chosen:
            chosen = choose_windows(positions, workers)
        windows.append(
            chosen[name, 0]
            if len(file_windows) < len(descriptions)
            else _stated(file_windows, descriptions[0].dtype)
        )
    for description, position in zip(descriptions, positions, strict=True):
        _describe(position, description, windows)


def _stated(windows: Sequence[tuple[float, float]], dtype: np.dtype[np.generic]) -> WindowDict:
    """Return the median of the windows in the files."""
    start, end = (float(np.median([window[side] for window in windows])) for side in (0, 1))
    return window_of(start, end, type_limits(dtype) or (start, end), dtype)


def _describe(position: Position, description: ImageDescription, windows: Sequence[WindowDict]) -> None:
    """Write the description of the source into the metadata of the position."""
    meta = position.metadata
    image = meta.multiscales[0]
    image.name = description.name
    image.axes = image_axes(description)
    if meta.omero is not None:
        meta.omero.name = description.name
        if meta.omero.rdefs is not None:
            meta.omero.rdefs.default_z = description.length("z") // 2
        channels = _channels(description)
        colors = distinct_colors(channel_labels(description), [channel.color for channel in channels])
        for shown, channel, color, window in zip(meta.omero.channels, channels, colors, windows, strict=True):
            shown.active = channel.active
            shown.color = color
            shown.window = window
    position.dump_meta()


def _add_source(position: Position, description: ImageDescription) -> None:
    """Record the source of an image in its document."""
    names = [_base(file) for file in description.files] or [description.name]
    own: JSONObject = {"source": names[0] if len(names) == 1 else names}
    if description.title:
        own["title"] = description.title
    if description.is_rgb:
        own["samples"] = "rgb"

    def add(attributes: JSONObject) -> JSONObject:
        return {**attributes, "lamella": {**attributes.get("lamella", {}), **own}}

    position.documents.edit_group(position.path, add)


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def image_axes(description: ImageDescription) -> list[AxisMeta]:
    """Return the lower-case axes of an image, with the units of its source if known.

    >>> import numpy as np
    >>> from lamella.ops.conversion.source import ArraySource
    >>> source = ArraySource(np.zeros((2, 2)), "yx", units={"y": "nanometer"})
    >>> [axis.to_json() for axis in image_axes(source.description)]
    [{'name': 'y', 'type': 'space', 'unit': 'nanometer'}, {'name': 'x', 'type': 'space'}]
    """
    axes = usual_axes(description.axes)
    for axis in axes:
        axis.unit = description.units.get(axis.name)
    return axes


def channel_labels(description: ImageDescription) -> list[str]:
    """Return distinct names of the channels of an image.

    Channels without a name become ``channel_0``, ``channel_1``, ...; a repeated name gets a number.

    >>> import numpy as np
    >>> from lamella.ops.conversion.source import ArraySource, SourceChannel
    >>> channels = (SourceChannel("GFP"), SourceChannel("GFP"), SourceChannel(""))
    >>> channel_labels(ArraySource(np.zeros((3, 2, 2)), "cyx", channels=channels).description)
    ['GFP', 'GFP (2)', 'channel_2']
    """
    labels: list[str] = []
    for index, channel in enumerate(_channels(description)):
        label = channel.label.strip() or f"channel_{index}"
        repeats = sum(other == label or other.startswith(f"{label} (") for other in labels)
        labels.append(f"{label} ({repeats + 1})" if repeats else label)
    return labels


def _channels(description: ImageDescription) -> Sequence[SourceChannel]:
    from lamella.ops.conversion.source import SourceChannel

    count = description.length("c")
    described = description.channels
    return described if len(described) == count else [SourceChannel("")] * count
