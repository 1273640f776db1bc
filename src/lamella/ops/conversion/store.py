"""Create and describe the store that ``convert`` writes: nodes, arrays and metadata. ``write`` writes the pixels."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, SourceError
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.plate_creation import create_positions as create_plate_positions
from lamella.nodes.position import Position, attributes_without_arrays
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.reporting import check_edit
from lamella.ops.contrast import window_of_samples
from lamella.ops.conversion.contrast import ContrastSampler, joint_window, type_limits, window_of
from lamella.ops.conversion.facts import frame_times, list_series, voxel_transforms, with_facts
from lamella.ops.conversion.layout import choose_layout
from lamella.ops.conversion.source import channels_of
from lamella.ops.conversion.write import ImageWrite
from lamella.ops.jobs.units import Files, files_of_region, is_done, state_of
from lamella.ops.pyramids.pyramid import check_levels, list_levels, plan_levels
from lamella.ops.regions import whole_region
from lamella.spec.axes import axes as usual_axes
from lamella.spec.channels import distinct_colors
from lamella.spec.edits import new_images, set_windows
from lamella.spec.plate import AcquisitionMeta
from lamella.spec.versions import by_name
from lamella.store.files.removal import delete_unfinished
from lamella.store.keys import name_order
from lamella.store.metadata.array_creation import check_grid_choices, new_array
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import PinnedArray
from lamella.store.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from lamella.nodes.collection import Collection as ImageCollection
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.ops.conversion.contrast import Sample
    from lamella.ops.conversion.input_plan import ImagePlan, InputPlan
    from lamella.ops.conversion.source import ImageDescription
    from lamella.ops.pyramids.pyramid import NewLevels
    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ImagesMeta, WindowDict
    from lamella.spec.plate import PlateMeta
    from lamella.store.metadata.array_creation import GridChoice
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import Array, JSONObject, VersionName


@dataclass(frozen=True)
class ImageSettings:
    """How images are stored; see `convert`."""

    version: VersionName
    chunks: GridChoice
    shards: GridChoice
    levels: int | Literal["auto"]

    @property
    def has_shards(self) -> bool:
        """Whether the version has shards, as Zarr v3 does."""
        version = by_name(self.version)
        if not version.writable:
            raise InvalidArgumentError(
                f"version={self.version!r} cannot be written, only read: use {version.written_as} or later."
            )
        return version.zarr_format == 3

    def __post_init__(self) -> None:
        has_shards = self.has_shards
        check_levels(self.levels)
        check_grid_choices(self.chunks, self.shards)
        # An image with all axes accepts every setting that any image accepts.
        choose_layout("tczyx", (1, 1, 1, 1, 1), 1, chunks=self.chunks, shards=self.shards, sharded=has_shards)


class NewStore(NamedTuple):
    """The root of a new or resumed store, a position per image, and the paths of images whose arrays were created."""

    root: NGFFNode
    positions: list[Position]
    created: Collection[str] = ()


@contextmanager
def create_positions(
    path: str, plan: InputPlan, levels: Sequence[NewLevels], settings: ImageSettings, *, name: str
) -> Iterator[NewStore]:
    """Create or resume a store with a position per image, and close it at the end.

    In a collection, and in a plate whose images have the same shape and type, the arrays are created too. In other
    stores `create_image_arrays` creates them.
    """
    images = plan.images
    if plan.layout == "collection":
        root, created_images = _create_collection(path, images, levels, settings)
        with root:
            stored = dict(root.positions())
            yield NewStore(root, [stored[image.path] for image in images], created_images)
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
            yield NewStore(node, [node])
            return
        created: Collection[str] = ()
        if resumed is not None:
            positions = resumed[1]
        else:
            common_arrays = levels[0].arrays if all(plan is levels[0] for plan in levels) else {}
            specs = [_position_spec(image) for image in images]
            positions = create_plate_positions(node, specs, unlisted=common_arrays)
            created = {image.path for image in images} if common_arrays else ()
        node.metadata.name = first.plate or name
        name_by_acquisition = {
            image.source.description.acquisition: image.source.description.acquisition_name
            for image in images
        }
        acquisitions = sorted(number for number in name_by_acquisition if number is not None)
        if acquisitions:
            node.metadata.acquisitions = [
                AcquisitionMeta(id=number, name=name_by_acquisition[number] or None)
                for number in acquisitions
            ]
        _sort_rows_and_columns(node.metadata)
        node.dump_meta()
        yield NewStore(node, positions, created)


def _position_spec(image: ImagePlan) -> PositionSpec:
    row, column, field = image.path.split("/")
    acquisition = image.source.description.acquisition
    return (row, column, field) if acquisition is None else (row, column, field, None, None, acquisition)


def _check_channels(images: Sequence[ImagePlan]) -> None:
    """Raise SourceError for images with other channels than the first one."""
    first = images[0].source.description
    names = channel_labels(first)
    for image in images:
        labels = channel_labels(image.source.description)
        if labels != names:
            raise SourceError(
                f"{image.source.description.where} has the channels {', '.join(labels)}, but {first.where} has "
                f"{', '.join(names)}: all positions of a plate have the same channels."
            )


def _create_collection(
    path: str, images: Sequence[ImagePlan], levels: Sequence[NewLevels], settings: ImageSettings
) -> tuple[ImageCollection, Collection[str]]:
    """Create or resume a store of images by number; also return the paths of the images that were created."""
    version = by_name(settings.version)
    documents = Documents.create(open_storage(path), version.zarr_format)
    new_nodes: dict[str, Mapping[str, JSONObject | ArrayMeta]] = {}
    for image, levels_of_image in zip(images, levels, strict=True):
        folder = os.path.join(path, image.path)
        if os.path.lexists(folder):
            with suppress(LamellaError), open_ome_zarr(folder, layout="fov", mode="r+"):
                continue
            delete_unfinished(folder)
        description = image.source.description
        meta = new_images(image_axes(description), channel_labels(description), image.path)
        attributes = attributes_without_arrays(version, meta, version.dump(meta, {}))
        new_nodes[image.path] = {"": attributes, **levels_of_image.arrays}
    list_series(documents, version, [image.path for image in images])
    collection: ImageCollection = open_ome_zarr(path, layout="auto", mode="r+")
    collection.documents.put_new(new_nodes)  # by this handle, which then does not look for the new folders
    return collection, new_nodes


def _sort_rows_and_columns(plate: PlateMeta) -> None:
    """Sort the rows and columns of a plate by name instead of by the order of its wells."""
    plate.rows.sort(key=lambda row: name_order(row.name))
    plate.columns.sort(key=lambda column: name_order(column.name))
    rows = {row.name: index for index, row in enumerate(plate.rows)}
    columns = {column.name: index for index, column in enumerate(plate.columns)}
    for well in plate.wells:
        row, _, column = well.path.partition("/")
        well.row_index, well.column_index = rows[row], columns[column]


def _resumed_positions(
    path: str, images: Sequence[ImagePlan]
) -> tuple[Plate | Position, list[Position]] | None:
    """Open the store of a killed call; delete it and return None if it lacks positions: then it has no pixels yet."""
    if not os.path.lexists(path):
        return None
    with suppress(LamellaError):  # killed while it wrote its first documents
        node = open_ome_zarr(path, mode="r+")
        if isinstance(node, Position) and not images[0].path:
            return node, [node]
        stored = dict(node.positions()) if isinstance(node, Plate) else {}
        if stored.keys() == {image.path for image in images}:
            return node, [stored[image.path] for image in images]
        node.close()
    delete_unfinished(path)
    return None


def plan_arrays(images: Sequence[ImagePlan], settings: ImageSettings) -> list[NewLevels]:
    """Plan the arrays of all images; images of one shape and type share a plan."""
    plans: dict[tuple[object, ...], NewLevels] = {}
    plan_of_images = []
    for image in images:
        description = image.source.description
        key = description.axes, description.shape, description.dtype
        if key not in plans:
            _check_dtype(description, settings.levels)
            plans[key] = _plan_levels(description, settings)
        plan_of_images.append(plans[key])
    return plan_of_images


def create_image_arrays(
    image: ImagePlan, position: Position, levels: NewLevels, plate_size: int, *, is_new: bool
) -> ImageWrite:
    """Create the arrays of one image, without pixels, and return what `ImageWriter` needs to write them.

    With ``is_new``, `create_positions` has created them. ``plate_size`` is the number of images of a plate, which get
    one contrast together, else 0. Arrays of a killed call keep their pixels. The document of the image lists its arrays
    when they are complete.
    """
    arrays = _arrays(position, levels)
    for array in () if is_new else arrays:
        if not position.documents.put_new_array(array.path, array.meta):
            position.documents.put_array(array.path, array.meta)
    if not position.path:
        # Choose the codecs now: the first write of a single image would otherwise wait for it.
        arrays[0].open_engine()
    return ImageWrite(image.source, list(zip(arrays, levels.factors, strict=True)), plate_size)


def _arrays(position: Position, levels: NewLevels) -> list[PinnedArray]:
    return [
        PinnedArray(position.documents, position.node_path.child(name).path, meta)
        for name, meta in levels.arrays.items()
    ]


def _plan_levels(description: ImageDescription, settings: ImageSettings) -> NewLevels:
    version = by_name(settings.version)
    chunks, shards = choose_layout(
        description.axes,
        description.shape,
        description.dtype.itemsize,
        chunks=settings.chunks,
        shards=settings.shards,
        sharded=settings.has_shards,
    )
    axes = image_axes(description)
    level_0 = new_array(
        description.shape,
        description.dtype,
        zarr_format=version.zarr_format,
        chunks=chunks,
        shards=shards,
        dimension_names=[axis.name for axis in axes],
    )
    levels = 1 if description.dtype.kind == "c" else settings.levels
    return plan_levels(description.name, "0", level_0, levels, axes)


def _check_dtype(description: ImageDescription, levels: int | Literal["auto"]) -> None:
    """Raise InvalidArgumentError for pixels that are not numbers, and for complex ones that are to have levels."""
    kind = description.dtype.kind
    if kind not in "buifc" or (kind == "c" and levels not in (1, "auto")):
        reason = (
            "have no lower levels: leave levels out"
            if kind == "c"
            else "cannot be converted: they are not numbers"
        )
        raise InvalidArgumentError(
            f"Pixels of type {description.dtype}, as {description.where} has, {reason}."
        )


def is_complete(position: Position, levels: NewLevels, line: list[Any], job: str, *, is_listed: bool) -> bool:
    """Return whether an image matches its line in the journal, and, with ``is_listed``, lists its levels."""
    return (not is_listed or bool(position.dataset_paths)) and is_done(
        line, *states_of_image(position, levels, job)
    )


def states_of_image(position: Position, levels: NewLevels, job: str) -> tuple[str | None, str | None]:
    """Return two states for the journal: of the sources, which is the digest of the job, and of the written files."""
    storage = position.documents.storage
    arrays = _arrays(position, levels)
    keys = [key for array in arrays for key in files_of_region(array, whole_region(array.meta.shape))]
    return state_of(Files(storage, ()), job), state_of(Files(storage, keys))


class MetadataCache:
    """The metadata of the last image, for the next one, which often differs by its name and contrast alone."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._meta: ImagesMeta | None = None

    def get(
        self, image: ImagePlan, levels: NewLevels, windows: Mapping[int, WindowDict]
    ) -> tuple[ImagesMeta, bool]:
        """Return the metadata of an image with its levels, and whether they differ from those of the last image."""
        description = image.source.description
        key = (
            *(description.axes, description.shape, description.dtype, description.units, description.scale),
            *(description.stage, description.times, description.channels, levels),
        )
        is_changed = self._meta is None or key != self._key
        if self._meta is None or is_changed:
            self._key, self._meta = key, _new_meta(image, levels)
        meta = self._meta.copied()
        meta.multiscales[0].name = image.name
        if meta.omero is not None:
            meta.omero.name = image.name
            if windows:
                meta = set_windows(meta, windows)
        return meta, is_changed


def describe_image(
    image: ImagePlan, position: Position, levels: NewLevels, sample: Sample, cache: MetadataCache
) -> None:
    """Describe a complete image that has a contrast of its own, in one write."""
    description = image.source.description
    sampler = ContrastSampler(description.axes, description.shape, description.dtype)
    sampler.merge(sample)
    windows = {
        index: sampler.window(index, channel.window) for index, channel in enumerate(channels_of(description))
    }
    windows = _with_one_window_for_colours(windows, description)
    _write_document(position, image, levels, windows, cache)


class PlateSample:
    """The sampled pixels of each channel of a plate with ``plate_size`` images, which get one contrast together."""

    def __init__(self, plate_size: int) -> None:
        self._plate_size = plate_size
        self._samples: dict[int, list[Array]] = {}

    def add(self, sample: Sample) -> None:
        """Add the sample of an image."""
        for channel, planes in sample.planes.items():
            pixels = np.concatenate([planes[key] for key in sorted(planes)])
            self._samples.setdefault(channel, []).append(pixels)

    def add_stored(self, image: ImagePlan, position: Position, levels: NewLevels) -> None:
        """Add the sample of an image that an interrupted call has written, from the store."""
        array, description = _arrays(position, levels)[0], image.source.description
        sampler = ContrastSampler(description.axes, description.shape, description.dtype, self._plate_size)
        height, rows_of_file = description.plane_shape[0], array.meta.files[-2]
        for index in np.ndindex(*description.shape[:-2]):
            for row in range(0, height, rows_of_file) if sampler.needs(index) else ():
                sampler.add(index, row, array.read((*index, slice(row, row + rows_of_file))))
        self.add(sampler.sample)

    def window(self, channel: int, name: str) -> WindowDict:
        """Return the contrast of a channel; 0 to 1 for complex numbers, which cannot be sorted."""
        samples = self._samples.get(channel)
        return dtype_window(np.dtype(complex)) if samples is None else window_of_samples(name, samples)


def _write_document(
    position: Position,
    image: ImagePlan,
    levels: NewLevels,
    windows: Mapping[int, WindowDict],
    cache: MetadataCache,
) -> None:
    """Write the document of an image; raise MetadataError instead if the metadata of the source break a rule.

    The document is written at once instead of edited: no other program writes into the unfinished store, and an edited
    model of each of thousands of positions would stay in memory. Only the first of several images that differ by name
    and contrast alone is checked by the rules, because name and contrast cannot break one.
    """
    meta, is_changed = cache.get(image, levels, windows)
    attributes = position.store_handle.version.dump(meta, {}, trusted=not is_changed)
    attributes = with_facts(attributes, image.source.description)
    if is_changed:
        check_edit(position.node_path, {}, attributes, ("image",))
    position.documents.put_groups({position.path: attributes}, is_new=True)


def _new_meta(image: ImagePlan, levels: NewLevels) -> ImagesMeta:
    """Return the metadata of an image with its levels, without its contrast."""
    description = image.source.description
    meta = new_images(image_axes(description), channel_labels(description), image.name)
    meta = list_levels(meta, levels, voxel_transforms(description), "mean")
    if meta.omero is not None:
        if meta.omero.rdefs is not None:
            meta.omero.rdefs.default_z = description.length("z") // 2
        channels = channels_of(description)
        colors = distinct_colors(channel_labels(description), [channel.color for channel in channels])
        for channel_meta, channel, color in zip(meta.omero.channels, channels, colors, strict=True):
            channel_meta.active = channel.active
            channel_meta.color = color
    return meta


def describe_plate(
    images: Sequence[ImagePlan],
    positions: Sequence[Position],
    levels: Sequence[NewLevels],
    sample: PlateSample,
) -> None:
    """Describe all images of a plate. The contrast is that of the files if all have one, else that of the sample."""
    descriptions = [image.source.description for image in images]
    names = channel_labels(descriptions[0])
    windows: dict[int, WindowDict] = {}
    for index, name in enumerate(names):
        file_windows = [
            (window[0], window[1])
            for description in descriptions
            if (window := channels_of(description)[index].window) and window[0] < window[1]
        ]
        windows[index] = (
            sample.window(index, name)
            if len(file_windows) < len(descriptions)
            else _common_window(file_windows, descriptions[0].dtype)
        )
    windows = _with_one_window_for_colours(windows, descriptions[0])
    cache = MetadataCache()
    for image, position, levels_of_image in zip(images, positions, levels, strict=True):
        _write_document(position, image, levels_of_image, windows, cache)


def _common_window(windows: Sequence[tuple[float, float]], dtype: np.dtype[np.generic]) -> WindowDict:
    """Return one window for all images whose files have one each."""
    start, end = map(float, joint_window(windows))
    return window_of(start, end, type_limits(dtype) or (start, end), dtype)


def image_axes(description: ImageDescription) -> list[AxisMeta]:
    """Return the lower-case axes of an image, with the units of its source if known."""
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
    """
    labels: list[str] = []
    for index, channel in enumerate(channels_of(description)):
        label = channel.label.strip() or f"channel_{index}"
        repeats = sum(other == label or other.startswith(f"{label} (") for other in labels)
        labels.append(f"{label} ({repeats + 1})" if repeats else label)
    return labels


def _with_one_window_for_colours(
    windows: dict[int, WindowDict], description: ImageDescription
) -> dict[int, WindowDict]:
    """Return one window for all colours of an image whose file has none: separate ones would change the hues.

    Its end is 255 for samples of 8 bits, and that of the brightest colour for wider ones, which may not use all bits.
    """
    if not description.is_rgb or any(channel.window for channel in channels_of(description)):
        return windows
    limits = type_limits(description.dtype) or (0.0, 1.0)
    brightest = max(windows[index]["end"] for index in list(windows)[:3])  # a fourth channel is the opacity
    ends = [limits[1] if description.dtype.itemsize == 1 else brightest] * 3
    return {
        index: window_of(
            0.0, end, (min(limits[0], window["min"]), max(limits[1], window["max"])), description.dtype
        )
        for (index, window), end in zip(windows.items(), [*ends, *[limits[1]] * len(windows)], strict=False)
    }
