"""Plan images that consist of parts of other images: some channels, a region, or the channels of several images.

Lower levels are cut from the stored ones if the region starts and ends between their pixels, else computed from level
0: the region 4:8 of level 0 is 2:4 of a level of factor 2, but 3:8 starts within a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError
from lamella.ops.plates.composed_arrays import ComposedArray, ImagePlan, Piece
from lamella.ops.plates.ome_facts import meta_with_facts
from lamella.ops.pyramids.plan import method_of_image
from lamella.ops.regions import region_of_label, relative_region
from lamella.spec import edits
from lamella.spec.axes import channel_axis
from lamella.spec.channels import acquisition_settings
from lamella.spec.geometry import level_factors, level_transforms, scale_and_translation, stored_transform
from lamella.spec.own_key import without_own_records
from lamella.store.keys import join
from lamella.store.metadata.array_creation import array_like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.regions import Region
    from lamella.spec.images import DatasetMeta, ImagesMeta
    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.types import JSON, JSONObject, Shape


@dataclass(frozen=True)
class Part:
    """Channels of one image."""

    position: Position
    channels: tuple[int, ...] | None = None
    """Indices of the channels; None for all."""


@dataclass(frozen=True)
class Composition:
    """An image that consists of parts of other images."""

    parts: tuple[Part, ...]
    """The parts, whose channels are joined along the channel axis. Everything else comes from the first part."""
    region: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Start and stop in pixels of level 0, by the names of the axes that are cut."""
    channel_names: tuple[str, ...] | None = None
    """Names of the new channels; by default those of the parts."""

    @property
    def settings(self) -> list[Any]:
        """The selection as a JSON value, for the digest of a job."""
        parts = [[str(part.position.node_path), part.channels] for part in self.parts]
        return [parts, sorted(self.region.items()), self.channel_names]

    def plan(self, zarr_format: ZarrFormat) -> ImagePlan:
        """Plan a new image with its label images; raise if the parts do not fit together."""
        first = self.parts[0].position
        settings = [record for part in self.parts for record in _stored_acquisition_settings(part)]
        _check_parts(self)
        sizes = dict(zip(first.axis_names, first.get_effective_scale(first.dataset_paths[0]), strict=True))
        plan = ImagePlan(
            acquisition_settings=settings if any(settings) else [],
            channels_change=len(self.parts) > 1 or self.parts[0].channels is not None,
            region=self.region,
            offset={axis: start * sizes[axis] for axis, (start, _) in self.region.items()},
        )
        meta = _plan_levels(plan, "", self.parts, self.region, zarr_format)
        plan.documents[""] = _with_channels(meta, self)
        count = _channel_count(first)
        for name in first.labels:
            label = first.labels[name]
            channels = self.parts[0].channels
            if _channel_count(label) != count or count == 1:
                channels = None
            region = region_of_label(first, label, self.region)
            path = join("labels", name)
            plan.documents[path] = _plan_levels(plan, path, [Part(label, channels)], region, zarr_format)
        for part in self.parts[1:]:
            for name in part.position.labels:
                if name not in first.labels and not self.region:
                    plan.labels.setdefault(name, part.position.labels[name])
        return plan


def _check_parts(composition: Composition) -> None:
    """Raise if the images do not fit together."""
    first = composition.parts[0].position
    shape = _finest(first).shape
    axis = channel_axis(first.axes)
    for part in composition.parts[1:]:
        other = part.position
        if axis is None or other.axis_names != first.axis_names:
            raise InvalidArgumentError(
                f"Channels are joined along the axis c of images with the same axes: {first.node_path} has "
                f"{first.axis_names}, {other.node_path} has {other.axis_names}."
            )
        finest = _finest(other)
        if (
            _lengths_of_other_axes(finest.shape, axis) != _lengths_of_other_axes(shape, axis)
            or finest.dtype != _finest(first).dtype
        ):
            raise InvalidArgumentError(
                f"Channels are joined of images of the same shape and data type: {first.node_path} has {shape} "
                f"{_finest(first).dtype}, {other.node_path} has {finest.shape} {finest.dtype}."
            )


def _finest(image: Position) -> ImageArray:
    paths = image.dataset_paths
    if not paths:
        raise InvalidArgumentError(f"{image.node_path} has no image yet, so no part of it can be chosen.")
    return image[paths[0]]


def _lengths_of_other_axes(shape: Sequence[int], axis: int) -> list[int]:
    return [length for index, length in enumerate(shape) if index != axis]


def _channel_count(image: Position) -> int:
    axis = channel_axis(image.axes)
    finest = _finest(image)
    return 1 if axis is None or axis >= finest.ndim else finest.shape[axis]


# -- levels -------------------------------------------------------------------------------------------------------


def _plan_levels(
    plan: ImagePlan,
    path: str,
    parts: Sequence[Part],
    region: Mapping[str, tuple[int, int]],
    zarr_format: ZarrFormat,
) -> ImagesMeta:
    """Plan the levels of an image or label image; return its metadata."""
    image = parts[0].position
    meta = meta_with_facts(image).copied()
    finest = _finest(image)
    level_0_region = _region_of_level_0(image, finest, region)
    method = method_of_image(image) or ("mode" if path else "mean")
    datasets = meta.multiscales[0].datasets
    factors_by_path = {dataset.path: _factors_of_level(image, finest, dataset.path) for dataset in datasets}
    is_computing_levels = image.stale_levels or not all(
        _is_aligned(level_0_region, finest.shape, factors_by_path[dataset.path])
        and _have_equal_level(parts, dataset.path)
        for dataset in datasets
    )
    new_datasets: list[DatasetMeta] = []
    for dataset in datasets:
        factors = factors_by_path[dataset.path]
        is_full_size = factors is not None and all(factor == 1 for factor in factors)
        if factors is None or (is_full_size and not _have_equal_level(parts, dataset.path)):
            plan.dropped.add(join(path, dataset.path))
            continue
        is_computed = is_computing_levels and not is_full_size
        _move_origin(dataset, meta, finest, level_0_region, factors, method if is_computed else None)
        plan.arrays[join(path, dataset.path)] = _compose_array(
            parts, dataset.path, level_0_region, factors, zarr_format, is_computed=is_computed
        )
        if is_computed:
            plan.computed[path] = method
        new_datasets.append(dataset)
    meta.multiscales[0].datasets = new_datasets
    return meta


def _have_equal_level(parts: Sequence[Part], path: str) -> bool:
    """Return whether all parts have this level in equal shape but for channels, and no stale levels."""
    first = parts[0].position
    axis = channel_axis(first.axes)
    for part in parts[1:]:
        if path not in part.position.dataset_paths or part.position.stale_levels:
            return False
        array, other = first[path], part.position[path]
        shapes = [_lengths_of_other_axes(level.shape, axis or 0) for level in (array, other)]
        if array.dtype != other.dtype or shapes[0] != shapes[1]:
            return False
    return True


def _region_of_level_0(image: Position, finest: ImageArray, region: Mapping[str, tuple[int, int]]) -> Region:
    """Return the region as one slice of level 0 for each axis; raise if it is not within the array."""
    names = image.axis_names[-finest.ndim :]
    spans = []
    for name, length in zip(names, finest.shape, strict=True):
        start, stop = region.get(name, (0, length))
        if not 0 <= start < stop <= length:
            raise InvalidArgumentError(
                f"The region {start}:{stop} along {name} is not in {finest.node_path}, whose length is {length}."
            )
        spans.append(slice(start, stop))
    return tuple(spans)


def _factors_of_level(image: Position, finest: ImageArray, path: str) -> Shape | None:
    if image[path].shape == finest.shape:
        return (1,) * finest.ndim
    fine, coarse = (image.get_effective_scale(name) for name in (image.dataset_paths[0], path))
    ratios = [
        size / finest_size if finest_size else 1.0 for finest_size, size in zip(fine, coarse, strict=True)
    ]
    return level_factors(finest.shape, image[path].shape, ratios[-finest.ndim :])


def _is_aligned(level_0_region: Region, shape: Shape, factors: Shape | None) -> bool:
    """Return whether a region starts and ends between pixels of a level, or at the edge of the image."""
    return factors is not None and all(
        span.start % factor == 0 and (span.stop % factor == 0 or span.stop == length)
        for span, length, factor in zip(level_0_region, shape, factors, strict=True)
    )


def _move_origin(
    dataset: DatasetMeta,
    meta: ImagesMeta,
    finest: ImageArray,
    level_0_region: Region,
    factors: Shape,
    method: str | None,
) -> None:
    """Move the origin of a level to the start of the region; ``method`` is that of a level that is computed."""
    starts = [span.start for span in level_0_region]
    if not any(starts):
        return
    ndim = len(meta.multiscales[0].axes)
    # Axes of the metadata that the array lacks come first.
    starts = [0] * (ndim - finest.ndim) + starts
    steps = [1] * (ndim - finest.ndim) + list(factors)
    if method is not None:
        first = meta.multiscales[0].datasets[0]  # its origin was moved before
        dataset.coordinate_transformations = level_transforms(first.coordinate_transformations, steps, method)
        return
    stored = dataset.coordinate_transformations
    scale, translation = stored_transform(stored, ndim, dataset.path)
    new_translation = [
        offset + size * (start // step)
        for offset, size, start, step in zip(translation, scale, starts, steps, strict=True)
    ]
    dataset.coordinate_transformations = scale_and_translation(scale, new_translation, unknown_keys_of=stored)


def _compose_array(
    parts: Sequence[Part],
    path: str,
    level_0_region: Region,
    factors: Shape,
    zarr_format: ZarrFormat,
    *,
    is_computed: bool,
) -> ComposedArray:
    """Describe an array of the new image; without pieces if its pixels are computed."""
    image = parts[0].position
    meta_of_level = image[path].stored.meta
    axes = image.axes[-meta_of_level.ndim :]
    axis = channel_axis(axes)
    region = relative_region(level_0_region, level_0_region) if is_computed else level_0_region
    bounds = [(span.start // step, -(-span.stop // step)) for span, step in zip(region, factors, strict=True)]
    pieces: list[Piece] = []
    channel_count = 0
    for part in parts:
        array = _finest(part.position) if is_computed else part.position[path]
        channels = _channel_indices(part, array.shape, axis)
        # Consecutive channels, such as 2, 3, 4, are one piece: index and channel have the same difference.
        for _, consecutive in groupby(enumerate(channels), lambda pair: pair[1] - pair[0]):
            indices = [channel for _, channel in consecutive]
            if not is_computed:
                pieces.append(_piece(array, bounds, axis, indices, channel_count))
            channel_count += len(indices)
    shape = [stop - start for start, stop in bounds]
    if axis is not None:
        shape[axis] = channel_count
    meta = array_like(
        meta_of_level,
        zarr_format=zarr_format,
        shape=tuple(shape),
        dimension_names=meta_of_level.dimension_names or [axis_meta.name for axis_meta in axes],
        attributes=_array_attributes(
            parts, meta_of_level, level_0_region, [axis.name.lower() for axis in axes]
        ),
    )
    return ComposedArray(meta, tuple(pieces))


def _array_attributes(
    parts: Sequence[Part], meta_of_level: ArrayMeta, level_0_region: Region, names: Sequence[str]
) -> JSONObject:
    """Return the attributes of an array, without the record of a stream whose frames are not all in the new one."""
    is_whole = all(
        span == slice(0, length) or name in ("y", "x")
        for span, length, name in zip(level_0_region, meta_of_level.shape, names, strict=False)
    )
    if is_whole and all(part.channels is None for part in parts) and len(parts) == 1:
        return meta_of_level.attributes
    return without_own_records(meta_of_level.attributes, ("stream",))


def _channel_indices(part: Part, shape: Shape, axis: int | None) -> Sequence[int]:
    """Return the indices of the selected channels of an array; an image without a channel axis has one channel."""
    if axis is None:
        return [0]
    return range(shape[axis]) if part.channels is None else part.channels


def _piece(
    array: ImageArray,
    bounds: Sequence[tuple[int, int]],
    axis: int | None,
    channels: Sequence[int],
    first: int,
) -> Piece:
    """Return the piece of consecutive channels whose first one has the index ``first`` in the new array."""
    region = [slice(0, stop - start) for start, stop in bounds]
    offset = [start for start, _ in bounds]
    if axis is not None:
        region[axis] = slice(first, first + len(channels))
        offset[axis] = channels[0] - first
    return Piece(array.stored, tuple(region), tuple(offset))


# -- metadata -----------------------------------------------------------------------------------------------------


def _with_channels(meta: ImagesMeta, composition: Composition) -> ImagesMeta:
    """Return the metadata with the selected channels, and with the plane that is shown first inside the region."""
    edited = meta.copied()
    channels = []
    for part in composition.parts:
        meta_of_part = meta_with_facts(part.position)
        names = part.position.channel_names
        stored_channels = meta_of_part.omero.channels if meta_of_part.omero is not None else []
        selected = range(len(names)) if part.channels is None else part.channels
        defaults = edits.new_images(part.position.axes, names).omero if names else None
        for index in selected:
            if index < len(stored_channels):
                channels.append(stored_channels[index].copied())
            elif defaults is not None and index < len(defaults.channels):
                channels.append(defaults.channels[index])
    if not channels:
        return edited
    if edited.omero is None:
        names = [str(channel.label) for channel in channels]
        edited.omero = edits.new_images(edited.multiscales[0].axes, names).omero
    assert edited.omero is not None
    for channel, name in zip(channels, composition.channel_names or (), strict=False):
        channel.label = name
    labels = [channel.label for channel in channels]
    repeated = sorted({str(label) for label in labels if label is not None and labels.count(label) > 1})
    if repeated:
        raise InvalidArgumentError(
            f"The new image would have several channels named {', '.join(repeated)}. Pass channel_names with "
            f"{len(labels)} different names."
        )
    edited.omero.channels = channels
    rendering = edited.omero.rdefs
    for name, attribute in (("z", "default_z"), ("t", "default_t")):
        plane_index = None if rendering is None else getattr(rendering, attribute)
        if plane_index is not None and name in composition.region:
            start, stop = composition.region[name]
            setattr(rendering, attribute, min(max(plane_index - start, 0), stop - start - 1))
    return edited


def _stored_acquisition_settings(part: Part) -> list[JSON]:
    """Return the stored wavelengths and exposure of the selected channels, an empty object where none are known."""
    position = part.position
    count = len(position.channel_names)
    attributes = position.documents.group(position.path)
    return acquisition_settings(attributes, count, range(count) if part.channels is None else part.channels)
