"""Edits of an image's metadata: pure functions that return a new model and never change their argument.

They edit the first multiscales entry (RD-05). An edit copies only the parts that it changes; the result may share the
others with its argument, so neither of them may be changed in place. ``lamella.spec.geometry`` computes the numbers;
the store saves the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from lamella.errors import InvalidArgumentError, NodeExistsError, did_you_mean, short_repr
from lamella.spec.axes import axes_from_json, axis_index, axis_kind, channel_axis, check_axes
from lamella.spec.channels import channel_meta, new_colors
from lamella.spec.colors import parse_color
from lamella.spec.geometry import (
    WHOLE,
    find_dataset,
    finite_transform,
    normalize_transforms,
    scale_and_translation,
    stored_transform,
)
from lamella.spec.images import DatasetMeta, ImagesMeta, MultiScaleMeta, OMEROMeta, RDefsMeta, WindowDict
from lamella.spec.units import LARGEST_SIZE, SMALLEST_SIZE, is_size, legal_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.spec.axes import AxisMeta
    from lamella.spec.images import ChannelMeta, TransformationMeta
    from lamella.types import JSON

MAKER = "lamella.compute_pyramid"
"""The method name in the metadata of lamella's pyramids."""

_FROM_REMOVED = "computed_from_removed_levels"
_ONE_LEVEL = "none"
_ONE_LEVEL_DETAILS = {"description": "One level: nothing was downscaled."}


def new_images(axes: Sequence[AxisMeta], channel_names: Sequence[str], name: str | None = None) -> ImagesMeta:
    """Return the metadata of an image without levels.

    Without a channel axis there is at most one channel name.
    """
    check_axes(axes)
    if isinstance(channel_names, str) or not all(isinstance(label, str) and label for label in channel_names):
        raise InvalidArgumentError(
            f"Channel names are a list of texts that are not empty, not {channel_names!r}."
        )
    has_axis = channel_axis(axes) is not None
    if len(channel_names) > 1 and not has_axis:
        raise InvalidArgumentError(
            f"{len(channel_names)} channel names {list(channel_names)} for the axes "
            f"{', '.join(axis.name for axis in axes)}: add a channel axis, or pass one name."
        )
    omero = new_omero(channel_names, name) if channel_names else None
    scales = MultiScaleMeta(axes=[axis.checked() for axis in axes], datasets=[], name=name)
    return ImagesMeta(multiscales=[scales], omero=omero)


def _copy_to_edit(meta: ImagesMeta) -> tuple[ImagesMeta, MultiScaleMeta]:
    """Return a copy, and its image to edit: assign fields of the image and its levels, but change no list in place."""
    first, *other_images = meta.multiscales
    image = first.model_copy()
    image.datasets = [level.model_copy() for level in first.datasets]
    return meta.model_copy(update={"multiscales": [image, *other_images]}), image


def add_dataset(
    meta: ImagesMeta,
    path: str,
    transforms: Sequence[TransformationMeta] | None = None,
    window: WindowDict | None = None,
) -> ImagesMeta:
    """List a new level, before all levels with coarser pixels (MS-05).

    ``transforms`` may be any list; the valid equivalent is stored, by default a scale of ones. ``window`` becomes the
    contrast limits of channels that have none.
    """
    edited = add_datasets(meta, {path: transforms or []})
    _refuse_extreme(find_dataset(edited, path).coordinate_transformations)
    return edited if window is None else fill_windows(edited, window)


def add_datasets(meta: ImagesMeta, levels: Mapping[str, Sequence[TransformationMeta]]) -> ImagesMeta:
    """List new levels with their transformations; see `add_dataset`."""
    edited, scales = _copy_to_edit(meta)
    ndim = len(scales.axes)
    sizes: list[float] = []
    for path, transforms in levels.items():
        if path in scales.get_dataset_paths():
            raise NodeExistsError(f"The image has a level {path!r} already: choose another path.")
        dataset = DatasetMeta(path=path, coordinate_transformations=normalize_transforms(transforms, ndim))
        size = _pixel_size(dataset, ndim)
        sizes = sizes or [_pixel_size(other, ndim) for other in scales.datasets]
        index = next((index for index, other in enumerate(sizes) if other > size), len(sizes))
        scales.datasets.insert(index, dataset)
        sizes.insert(index, size)
    if levels:
        _describe_one_level(scales)
    return edited


def _pixel_size(dataset: DatasetMeta, ndim: int) -> float:
    scale, _ = stored_transform(dataset.coordinate_transformations, ndim, dataset.path)
    return abs(math.prod(scale))


def remove_dataset(meta: ImagesMeta, path: str) -> ImagesMeta:
    """Remove a level from the list."""
    edited, scales = _copy_to_edit(meta)
    scales.datasets.remove(find_dataset(edited, path))
    _describe_one_level(scales)
    return edited


def remove_level(meta: ImagesMeta, path: str) -> ImagesMeta:
    """Remove a level; the metadata of a pyramid of lamella record that the next level was computed from it."""
    datasets = meta.multiscales[0].datasets
    index = datasets.index(find_dataset(meta, path))
    edited = remove_dataset(meta, path)
    scales = edited.multiscales[0]
    details = scales.metadata
    if not isinstance(details, dict) or details.get("method") != MAKER:
        return edited
    from_removed: list[JSON] = [name for name in levels_from_removed(details) if name != path]
    transforms = [level.coordinate_transformations for level in datasets[max(0, index - 1) : index + 1]]
    # An array as large as the level before it is not a step of the pyramid.
    if index and transforms[0] != transforms[1]:
        from_removed += [level.path for level in datasets[index + 1 : index + 2]]
    scales.metadata = {name: value for name, value in details.items() if name != _FROM_REMOVED}
    if from_removed:
        scales.metadata[_FROM_REMOVED] = from_removed
    return edited


def levels_from_removed(details: JSON) -> list[str]:
    """Return the paths of levels that were computed from a level which was removed later."""
    names = details.get(_FROM_REMOVED) if isinstance(details, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _describe_one_level(scales: MultiScaleMeta) -> None:
    """Mark an image with one level as not downscaled (MS-09, MS-10); remove the mark if there are more."""
    if len(scales.datasets) == 1 and scales.type is None and scales.metadata is None:
        scales.type, scales.metadata = _ONE_LEVEL, dict(_ONE_LEVEL_DETAILS)
    elif len(scales.datasets) != 1 and scales.type == _ONE_LEVEL and scales.metadata == _ONE_LEVEL_DETAILS:
        scales.type = scales.metadata = None


def describe_levels(
    meta: ImagesMeta,
    method: str | None,
    details: JSON,
    transforms: Mapping[str, Sequence[TransformationMeta]] | None = None,
) -> ImagesMeta:
    """Record how the levels were computed (MS-09, MS-10): the method, such as "mean", and its details.

    ``transforms`` are the new transformations of lower levels, as `lamella.spec.geometry.level_transforms` returns
    them.
    """
    edited, scales = _copy_to_edit(meta)
    scales.type, scales.metadata = method, details
    for path, valid in (transforms or {}).items():
        scale, translation = finite_transform(valid, len(scales.axes))
        is_shifted = any(transform.type == "translation" for transform in valid)
        level = find_dataset(edited, path)
        level.coordinate_transformations = scale_and_translation(
            scale,
            translation if is_shifted else None,
            unknown_keys_of=[*level.coordinate_transformations, *valid],
        )
    return edited


def set_transform(meta: ImagesMeta, image: str, transforms: Sequence[TransformationMeta]) -> ImagesMeta:
    """Set the transformations of one level, or ("*") of the whole field of view.

    Setting level 0 changes the lower levels too: they keep their size and position relative to it. Setting a lower
    level changes only that level. The valid equivalent of ``transforms`` is stored (CT-02 to CT-05).
    """
    edited, scales = _copy_to_edit(meta)
    valid = normalize_transforms(transforms, len(scales.axes))
    _refuse_extreme(valid)
    if image == WHOLE:
        scales.coordinate_transformations = valid
        return edited
    target = find_dataset(edited, image)
    if target is scales.datasets[0]:
        _move_lower_levels(scales, valid)
    target.coordinate_transformations = valid
    return edited


def _move_lower_levels(scales: MultiScaleMeta, new: Sequence[TransformationMeta]) -> None:
    """Keep the size and position of lower levels relative to level 0, which gets new transformations."""
    ndim, (first, *lower) = len(scales.axes), scales.datasets
    old_scale, old_start = stored_transform(first.coordinate_transformations, ndim, first.path)
    new_scale, new_start = stored_transform(new, ndim, first.path)
    for level in lower:
        scale, start = stored_transform(level.coordinate_transformations, ndim, level.path)
        new_level_scale, new_level_start = [], []
        for axis in range(ndim):
            old_size, new_size = old_scale[axis], new_scale[axis]
            new_level_scale.append(_resize(scale[axis], old_size, new_size))
            distance = start[axis] - old_start[axis]
            new_level_start.append(new_start[axis] + _resize(distance, old_size, new_size))
        level.coordinate_transformations = _replace_transforms(
            level.coordinate_transformations, new_level_scale, new_level_start
        )


def _resize(length: float, old_size: float, new_size: float) -> float:
    """Return a length that keeps its ratio to a size; unchanged if a size is 0, or a size or the result not finite."""
    resized = new_size * (length / old_size) if new_size and old_size and math.isfinite(old_size) else length
    return resized if math.isfinite(resized) else length


def place_image(
    meta: ImagesMeta, image: str, scale: Sequence[float], translation: Sequence[float]
) -> ImagesMeta:
    """Set the effective scale and translation of level 0 by its transformations, or ("*") those of the whole image."""
    scales = meta.multiscales[0]
    old = scales.coordinate_transformations or []
    if image != WHOLE:
        factors, shifts = stored_transform(old, len(scales.axes), WHOLE)
        old = find_dataset(meta, image).coordinate_transformations
        scale = [size / (factor or 1.0) for size, factor in zip(scale, factors, strict=True)]
        translation = [
            (start - shift) / (factor or 1.0)
            for start, shift, factor in zip(translation, shifts, factors, strict=True)
        ]
    return set_transform(meta, image, _replace_transforms(old, scale, translation))


def set_scale(meta: ImagesMeta, image: str, axis_name: str, value: float) -> ImagesMeta:
    """Set the pixel size of one level, or ("*") the factor of the whole field of view, along one axis.

    All levels of a pyramid show the same object: if the pixel size of level 0 changes from 1 to 3, that of level 1
    changes from 2 to 6, and its offset from level 0 (half a pixel for binned levels, A3) from 0.5 to 1.5. Level 0 does
    not move.
    """
    edited, scales = _copy_to_edit(meta)
    axis = axis_index(scales.axes, axis_name)
    value = checked_size(axis_name, value)
    if image == WHOLE:
        transforms = scales.coordinate_transformations or []
        factors, shifts = stored_transform(transforms, len(scales.axes), WHOLE)
        factors[axis] = value
        scales.coordinate_transformations = _replace_transforms(transforms, factors, shifts)
    else:
        _rescale_levels(scales, find_dataset(edited, image), axis, value)
    return edited


def set_pixel_size(meta: ImagesMeta, sizes: Mapping[str, float]) -> ImagesMeta:
    """Set the size of a voxel of the finest level by axis, whatever the factor of the whole field of view is."""
    scales = meta.multiscales[0]
    if not scales.datasets:
        raise InvalidArgumentError("There is no image yet whose voxels could have a size: create one first.")
    factors, _ = stored_transform(scales.coordinate_transformations or [], len(scales.axes), WHOLE)
    for axis, size in sizes.items():
        factor = factors[axis_index(scales.axes, axis)]
        meta = set_scale(meta, scales.datasets[0].path, axis, checked_size(axis, size) / (factor or 1.0))
    return meta


def checked_size(axis_name: str, value: float) -> float:
    """Return the size of a voxel along an axis; raise if it is not a number above 0, or extreme."""
    number = _number(value)
    if not is_size(number):
        raise InvalidArgumentError(
            f"The scale of axis {axis_name!r} is a finite number above 0, from {SMALLEST_SIZE:g} to {LARGEST_SIZE:g}, "
            f"not {value!r}."
        )
    return number


def checked_position(axis_name: str, value: float) -> float:
    """Return a coordinate along an axis; raise if it is not a finite number."""
    number = _number(value)
    if not abs(number) <= LARGEST_SIZE:
        raise InvalidArgumentError(
            f"The translation along axis {axis_name!r} is a finite number up to {LARGEST_SIZE:g}, not {value!r}."
        )
    return number


def _refuse_extreme(transforms: Sequence[TransformationMeta]) -> None:
    """Raise for numbers so large or small that their products would not be finite; a scale may be 0 or negative."""
    for transform in transforms:
        for size in transform.scale or ():
            if size and not is_size(abs(size)):
                raise InvalidArgumentError(
                    f"A scale has factors from {SMALLEST_SIZE:g} to {LARGEST_SIZE:g}, found {size!r} in "
                    f"{transform.scale}."
                )
        for shift in transform.translation or ():
            if abs(shift) > LARGEST_SIZE:
                raise InvalidArgumentError(
                    f"A translation has numbers up to {LARGEST_SIZE:g}, found {shift!r} in {transform.translation}."
                )


def _number(value: object) -> float:
    """Return a number as a float; NaN for text, other objects, and integers that are too large for a float."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # an array of several numbers; an integer above 1e308
        return math.nan


def _rescale_levels(scales: MultiScaleMeta, target: DatasetMeta, axis: int, new_size: float) -> None:
    """Set the pixel size of one level along an axis; all levels keep their ratios to it."""
    ndim = len(scales.axes)
    transforms = [
        stored_transform(level.coordinate_transformations, ndim, level.path) for level in scales.datasets
    ]
    origin = transforms[0][1][axis]
    old_size = transforms[scales.datasets.index(target)][0][axis]
    for level, (scale, translation) in zip(scales.datasets, transforms, strict=True):
        if level is target:
            scale[axis] = new_size
        else:
            scale[axis] = _resize(scale[axis], old_size, new_size)
        translation[axis] = origin + _resize(translation[axis] - origin, old_size, new_size)
        level.coordinate_transformations = _replace_transforms(
            level.coordinate_transformations, scale, translation
        )


def _replace_transforms(
    old: Sequence[TransformationMeta], scale: Sequence[float], translation: Sequence[float]
) -> list[TransformationMeta]:
    """Return the transformations that replace ``old``; a translation by 0 is left out unless ``old`` had one."""
    shifted = any(translation) or any(transform.type == "translation" for transform in old)
    return scale_and_translation(scale, translation if shifted else None, unknown_keys_of=old)


def set_unit(meta: ImagesMeta, axis_name: str, unit: str | None) -> ImagesMeta:
    """Set the unit of an axis, or remove it (None); sizes stay as they are."""
    edited, scales = _copy_to_edit(meta)
    changed = axis_index(scales.axes, axis_name)
    scales.axes = [
        axis_with_unit(axis, unit) if index == changed else axis for index, axis in enumerate(scales.axes)
    ]
    return edited


def axis_with_unit(axis: AxisMeta, unit: str | None) -> AxisMeta:
    """Return an axis with another unit, by its UDUNITS-2 name, or without one (None)."""
    kind = axis_kind(axis)
    if kind == "channel" and unit is not None:
        raise InvalidArgumentError(f"The channel axis {axis.name!r} has no unit, so it cannot be {unit!r}.")
    document = {key: value for key, value in axis.to_json().items() if key != "unit"}
    if unit is not None:
        document["unit"] = legal_unit(unit, kind)
    return axes_from_json([document])[0]


def set_name(meta: ImagesMeta, name: str) -> ImagesMeta:
    """Set the name of the image, also the one that viewers show."""
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"The name of an image is text that is not empty, not {name!r}.")
    edited = meta.copied()
    edited.multiscales[0].name = name
    if edited.omero is not None:
        edited.omero.name = name
    return edited


_WINDOW_KEYS = ("start", "end", "min", "max")


def new_omero(names: Sequence[str], name: str | None) -> OMEROMeta:
    """Return the display block of a new image."""
    return OMEROMeta(
        name=name,
        channels=[
            channel_meta(label, index, color=color)
            for index, (label, color) in enumerate(zip(names, new_colors(names), strict=True))
        ],
        rdefs=RDefsMeta(default_t=0, default_z=0, model="color"),
    )


def channel_names(meta: ImagesMeta) -> list[str]:
    """Return the names of the channels; empty if the image has no display block.

    A channel without a label is called ``channel_N``, with its index from 0.
    """
    if meta.omero is None:
        return []
    return [_channel_name(channel, index) for index, channel in enumerate(meta.omero.channels)]


def fitted_names(names: Sequence[str], count: int) -> list[str]:
    """Return ``count`` channel names: surplus names are dropped, and a missing one is ``channel_N``."""
    return [names[index] if index < len(names) else f"channel_{index}" for index in range(count)]


def _channel_name(channel: ChannelMeta, index: int) -> str:
    return f"channel_{index}" if channel.label is None else channel.label


def name_channels(meta: ImagesMeta, names: Sequence[str]) -> ImagesMeta:
    """Name the channels of an image that has no display block."""
    if channel_names(meta):
        raise InvalidArgumentError(
            f"The channels have the names {', '.join(channel_names(meta))} already: rename them instead."
        )
    edited = meta.copied()
    omero = new_omero(names, edited.multiscales[0].name)
    if edited.omero is None:
        edited.omero = omero
    else:
        edited.omero.channels = omero.channels
    return edited


def append_channel(meta: ImagesMeta, name: str, window: WindowDict | None = None) -> ImagesMeta:
    """Add a channel after the last one; its contrast limits are required once there are pixels (OM-03)."""
    edited = meta.copied()
    if edited.omero is None and not any(image.datasets for image in edited.multiscales):
        edited.omero = new_omero([], edited.multiscales[0].name if edited.multiscales else None)
    omero = _named_channels(edited)
    _check_new_channel_name(edited, name)
    color = new_colors([*channel_names(edited), name])[-1]
    omero.channels.append(
        channel_meta(
            name, len(omero.channels), None if window is None else _check_window(window, name), color
        )
    )
    return edited


def delete_channel(meta: ImagesMeta, name: str) -> ImagesMeta:
    """Remove a channel from the list; an image keeps at least one."""
    edited = meta.copied()
    channel = _find_channel(edited, name)
    channels = _named_channels(edited).channels
    if len(channels) == 1:
        raise InvalidArgumentError(
            f"Cannot remove {name!r}, the only channel of the image: an image has at least one."
        )
    del channels[[other is channel for other in channels].index(True)]
    return edited


def rename_channel(meta: ImagesMeta, old: str, new: str) -> ImagesMeta:
    """Rename a channel; its colour and contrast stay."""
    edited = meta.copied()
    channel = _find_channel(edited, old)
    if new != old:
        _check_new_channel_name(edited, new)
    channel.label = new
    return edited


def set_contrast_limits(meta: ImagesMeta, channel: str, window: WindowDict) -> ImagesMeta:
    """Set the contrast limits of a channel; limits that are not passed stay."""
    unknown = sorted(set(map(str, window)) - set(WindowDict.__annotations__))
    if unknown:
        raise InvalidArgumentError(
            f"The contrast limits of channel {channel!r} are start, end, min and max, not {unknown[0]!r}."
        )
    edited = meta.copied()
    channel_meta = _find_channel(edited, channel)
    old: WindowDict = {} if channel_meta.window is None else channel_meta.window
    channel_meta.window = _check_window({**old, **window}, channel)
    return edited


def set_channel(
    meta: ImagesMeta,
    name: str,
    *,
    color: str | None = None,
    window: WindowDict | tuple[float, float] | None = None,
    active: bool | None = None,
) -> ImagesMeta:
    """Set the display of a channel: colour, contrast limits, visibility; None leaves a setting."""
    edited = meta.copied() if window is None else set_contrast_limits(meta, name, _as_window(window, name))
    channel = _find_channel(edited, name)
    if color is not None:
        channel.color = parse_color(color)
    if active is not None:
        if not isinstance(active, bool):
            raise InvalidArgumentError(
                f"The argument active of channel {name!r} is True or False, not {active!r}."
            )
        channel.active = active
    return edited


def _as_window(window: Any, name: str) -> WindowDict:
    """Return contrast limits that may be passed as a pair of start and end."""
    if isinstance(window, Mapping):
        return cast("WindowDict", dict(window))
    if isinstance(window, tuple | list) and len(window) == 2:
        return WindowDict(start=window[0], end=window[1])
    raise InvalidArgumentError(
        f"The contrast limits of channel {name!r} are a dict of start, end, min and max, or a pair of start and end, "
        f"not {window!r}."
    )


def set_windows(meta: ImagesMeta, windows: Mapping[int, WindowDict]) -> ImagesMeta:
    """Replace the contrast limits of channels by index; indices without a channel are skipped."""
    edited = meta.copied()
    channels = _named_channels(edited).channels
    for index, window in windows.items():
        if index < len(channels):
            old: WindowDict = channels[index].window or {}
            channels[index].window = _check_window({**old, **window}, _channel_name(channels[index], index))
    return edited


def fill_windows(meta: ImagesMeta, window: WindowDict) -> ImagesMeta:
    """Set the contrast limits that channels lack (OM-03)."""
    edited = meta.copied()
    for index, channel in enumerate(edited.omero.channels if edited.omero else []):
        checked = _check_window(window, _channel_name(channel, index))
        channel.window = {**checked, **(channel.window or {})}
    return edited


def _check_window(window: WindowDict, channel: str) -> WindowDict:
    """Return a copy of contrast limits; raise if they are incomplete or reversed (OM-03)."""
    for key in _WINDOW_KEYS:
        if not math.isfinite(_number(window.get(key))):
            raise InvalidArgumentError(
                f"The contrast limits of channel {channel!r} need finite numbers for start, end, min and max, "
                f"found {short_repr(dict(window))}."
            )
    if window["start"] > window["end"]:
        raise InvalidArgumentError(
            f"The contrast window of channel {channel!r} starts at {window['start']}, above its end, {window['end']} "
            f"(OM-03). Swap them."
        )
    if window["min"] > window["max"]:
        raise InvalidArgumentError(
            f"The contrast limits of channel {channel!r} have a minimum of {window['min']}, above their maximum, "
            f"{window['max']} (OM-03). Swap them."
        )
    return WindowDict(**window)


def _named_channels(meta: ImagesMeta) -> OMEROMeta:
    if meta.omero is None:
        raise InvalidArgumentError(
            "The image has no omero block, so its channels have no names and no contrast limits: "
            "name all channels first."
        )
    return meta.omero


def _find_channel(meta: ImagesMeta, name: str) -> ChannelMeta:
    omero = _named_channels(meta)
    names = channel_names(meta)
    if name not in names:
        raise InvalidArgumentError(
            f"There is no channel {name!r}: the channels are {names}.{did_you_mean(name, names)}"
        )
    return omero.channels[names.index(name)]


def _check_new_channel_name(meta: ImagesMeta, name: str) -> None:
    names = channel_names(meta)
    if name in names:
        raise InvalidArgumentError(f"There is a channel {name!r} already: the channels are {names}.")
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"A channel name is text that is not empty, not {name!r}.")
