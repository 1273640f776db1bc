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
from lamella.ops.conversion.facts import frame_times, list_series, voxel_transforms, write_facts
from lamella.ops.conversion.layout import choose_layout
from lamella.ops.conversion.placement import line_order
from lamella.ops.conversion.write import ImageWrite
from lamella.ops.jobs.units import Files, files_of_region, state_of
from lamella.ops.pyramids.pyramid import begin_levels
from lamella.ops.regions import whole_region
from lamella.spec.axes import axes as usual_axes
from lamella.spec.channels import distinct_colors
from lamella.spec.plate import AcquisitionMeta
from lamella.spec.versions import by_name
from lamella.store.documents import Documents
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.nodes.collection import Collection
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.inputs import ImagePlan, InputPlan
    from lamella.ops.conversion.source import ImageDescription, SourceChannel
    from lamella.ops.execution import Workers
    from lamella.spec.axes import AxisMeta
    from lamella.spec.omero import WindowDict
    from lamella.spec.plate import PlateMeta
    from lamella.store.layout import Cut
    from lamella.types import VersionName


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
    path: str, plan: InputPlan, settings: ImageSettings, *, name: str
) -> Iterator[tuple[NGFFNode, list[Position]]]:
    """Create or resume a store with a position per image; yield its root and the positions, and close the store."""
    images = plan.images
    for image in images:
        check_dtype(image.source.description.dtype, image.source.description.name)
    if plan.layout == "collection":
        with _create_collection(path, images, settings) as root:
            yield root, [root[image.path] for image in images]
        return
    first = images[0].source.description
    _check_channels(images)
    resumed = _resumed_positions(path, images)
    if resumed is not None:
        node: Plate | Position = resumed[0]
    else:
        node = open_ome_zarr(
            path,
            layout=plan.layout,
            mode="w-",
            channel_names=channel_labels(first),
            axes=image_axes(first),
            version=settings.version,
        )
    with node:
        if not isinstance(node, Plate):
            yield node, [node]
            return
        positions = resumed[1] if resumed else node.create_positions([_spec(image) for image in images])
        node.metadata.name = first.plate or name
        numbers = {image.source.description.acquisition for image in images}
        if numbers != {None}:
            stated = sorted(number for number in numbers if number is not None)
            node.metadata.acquisitions = [AcquisitionMeta(id=number) for number in stated]
        _sort_lines(node.metadata)
        node.dump_meta()
        yield node, positions


def _spec(image: ImagePlan) -> PositionSpec:
    row, column, field = image.path.split("/")
    acquisition = image.source.description.acquisition
    return (row, column, field) if acquisition is None else (row, column, field, None, None, acquisition)


def _check_channels(images: Sequence[ImagePlan]) -> None:
    first = images[0].source.description
    names = channel_labels(first)
    for image in images:
        labels = channel_labels(image.source.description)
        if labels != names:
            raise SourceError(
                f"{image.source.description.name} has the channels {', '.join(labels)}, but {first.name} has "
                f"{', '.join(names)}: all positions of a plate have the same channels"
            )


def _create_collection(path: str, images: Sequence[ImagePlan], settings: ImageSettings) -> Collection:
    """Create or resume a store of images by number, each with channels and axes of its own."""
    for image in images:
        place = os.path.join(path, image.path)
        if os.path.lexists(place):
            with suppress(LamellaError), open_ome_zarr(place, layout="fov", mode="r+"):
                continue
            shutil.rmtree(place)
        description = image.source.description
        open_ome_zarr(
            place,
            layout="fov",
            mode="w-",
            channel_names=channel_labels(description),
            axes=image_axes(description),
            version=settings.version,
        ).close()
    documents = Documents.create(open_storage(path), by_name(settings.version).zarr_format)
    list_series(documents, by_name(settings.version), [image.path for image in images])
    collection: Collection = open_ome_zarr(path, layout="auto", mode="r+")
    return collection


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
    if position.dataset_paths:  # by a killed call
        array = position["0"]
    else:
        array = position.create_zeros(
            "0",
            description.shape,
            description.dtype,
            chunks,
            ratio,
            voxel_transforms(description),
        )
    lower = begin_levels(position, settings.levels, "mean")
    return ImageWrite(image.source, [(array.stored, (1,) * array.ndim), *lower])


def state_of_image(position: Position) -> str | None:
    """Return a fingerprint of the files of all levels."""
    arrays = [position[path].stored for path in position.dataset_paths]
    keys = [key for array in arrays for key in files_of_region(array, whole_region(array.meta.shape))]
    return state_of(Files(position.documents.storage, keys))


def end_image(image: ImagePlan, position: Position, sample: Sample, *, is_described_later: bool) -> None:
    """Finish an image: describe it, unless it belongs to a plate, whose images are described together at the end."""
    description = image.source.description
    if not is_described_later:
        sampler = ContrastSampler(description.axes, description.shape, description.dtype)
        sampler.merge(sample)
        windows = [
            sampler.window(index, channel.window) for index, channel in enumerate(_channels(description))
        ]
        _describe(position, description, windows)
    write_facts(position, description)


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
        if (
            axis.name == "t"
            and axis.unit is None
            and "t" not in description.scale
            and frame_times(description)
        ):
            axis.unit = "second"
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
