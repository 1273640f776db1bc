"""Read a field as a small volume for 3-D, and planes across Z for orthogonal slices, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, LamellaError, OutOfBoundsError, StorageError
from lamella.nodes.labels import LabelImage
from lamella.ops.display.planes import PlaneAxes, current_levels
from lamella.ops.display.preview import channel_keys
from lamella.ops.view.tiles import label_ids, stored_colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.view.scene import ViewScene

VOLUME_SIDE, SLICE_SIDE = 192, 1024
"""Maximum number of voxels along each side of a volume, and of pixels along each side of a slice."""

_READ_VOXELS = 1 << 27
"""Maximum number of voxels that are read for one channel of a volume: 512 x 512 x 512."""


@dataclass(frozen=True)
class Block:
    """A volume or slice of a field."""

    planes: NDArray[Any]
    """(channel, Z, Y, X), (channel, Z, X) or (channel, Z, Y)."""
    sizes: tuple[float, float, float]
    """Relative lengths of a voxel along Z, Y and X."""


def read_volume(scene: ViewScene, field: int, t: int, channels: Sequence[int], label: str | None) -> Block:
    """Read all planes of a field at one time, reduced to a small volume: channels, or the ids and colours of labels.

    Raise OutOfBoundsError for a field, time or channel that does not exist.
    """
    node = _node_to_read(scene, field, label)
    array, axes, sizes = _choose_level(
        node, lambda shape, axes: all(shape[axis] <= VOLUME_SIDE for axis in _zyx(axes) if axis is not None)
    )
    shape = array.shape
    axes_to_reduce = [axis for axis in (axes.z, axes.y, axes.x) if axis is not None]
    voxels = int(np.prod([shape[axis] for axis in axes_to_reduce], dtype=object))
    if voxels > _READ_VOXELS:
        raise InvalidArgumentError(
            f"The coarsest level of {scene.fields[field].path or scene.name} has {voxels:,} voxels, too many for 3-D. "
            f"Compute a pyramid with more levels."
        )
    step_of_axis = {axis: -(-shape[axis] // VOLUME_SIDE) for axis in axes_to_reduce}
    region = {axis: slice(None) for axis in axes_to_reduce}
    volumes = _read_channels(scene, node, array, axes, t, channels, label, region)
    # The maximum of each block, because a mean would dim the thin bright objects that a projection shows.
    reduced = [
        _reduced(
            volume, [1 if axis is None else step_of_axis[axis] for axis in _zyx(axes)], label is not None
        )
        for volume in volumes
    ]
    scaled = tuple(
        size * (1 if axis is None else step_of_axis[axis])
        for size, axis in zip(sizes, _zyx(axes), strict=True)
    )
    return Block(_with_colors(node, np.stack(reduced)), scaled)  # type: ignore[arg-type]


def read_slice(
    scene: ViewScene,
    field: int,
    plane: str,
    fraction: float,
    t: int,
    channels: Sequence[int],
    label: str | None,
) -> Block:
    """Read the plane "xz" or "yz" of a field ``at`` a fraction of the third axis; labels as in `read_volume`.

    Raise OutOfBoundsError for a field, time, channel or fraction that does not exist.
    """
    if plane not in ("xz", "yz") or not 0 <= fraction <= 1:
        raise OutOfBoundsError("A slice is xz or yz, at a place from 0 to 1.")
    node = _node_to_read(scene, field, label)
    array, axes, sizes = _choose_level(
        node, lambda shape, axes: shape[axes.x if plane == "xz" else axes.y] <= SLICE_SIDE
    )
    fixed, shown = (axes.y, axes.x) if plane == "xz" else (axes.x, axes.y)
    index = min(int(fraction * array.shape[fixed]), array.shape[fixed] - 1)
    step = -(-array.shape[shown] // SLICE_SIDE)
    region: dict[int, int | slice] = {fixed: slice(index, index + 1), shown: slice(None, None, step)}
    if axes.z is not None:
        region[axes.z] = slice(None, None, -(-array.shape[axes.z] // SLICE_SIDE))
    planes = _read_channels(scene, node, array, axes, t, channels, label, region)
    return Block(_with_colors(node, np.stack(planes).squeeze(2 if plane == "xz" else 3)), sizes)


def _with_colors(node: Position, planes: NDArray[Any]) -> NDArray[Any]:
    """Add the plane of stored colours to the ids of a label image that has some."""
    colors = stored_colors(node, planes[0]) if isinstance(node, LabelImage) else None
    return planes if colors is None else np.concatenate([planes, colors[None]])


def _node_to_read(scene: ViewScene, field: int, label: str | None) -> Position:
    if not 0 <= field < len(scene.fields):
        raise OutOfBoundsError(f"There is no field {field}: {scene.name} has {len(scene.fields)}.")
    node = scene.fields[field].node
    if isinstance(node, LamellaError):
        raise node
    if label is None or isinstance(node, LabelImage):
        return node
    if label not in node.labels:
        raise InvalidArgumentError(f"{scene.fields[field].path or scene.name} has no label image {label!r}.")
    return node.labels[label]


def _zyx(axes: PlaneAxes) -> tuple[int | None, int, int]:
    return axes.z, axes.y, axes.x


def _choose_level(node: Position, fits: Any) -> tuple[ImageArray, PlaneAxes, tuple[float, float, float]]:
    """Return the finest level that fits, else the coarsest, with the lengths of a voxel along Z, Y and X."""
    array_and_path: tuple[ImageArray, str] = node.data, node.dataset_paths[0]
    for path in current_levels(node):
        try:
            array_and_path = node.open_level(path), path
        except StorageError:
            raise
        except LamellaError:
            continue  # another level shows the same
        if fits(array_and_path[0].shape, PlaneAxes.of(node.axes, array_and_path[0].ndim)):
            break
    array, path = array_and_path
    axes = PlaneAxes.of(node.axes, array.ndim, node.node_path)
    try:
        scale = node.get_effective_scale(path)
        offset = len(scale) - array.ndim
        sizes = tuple(1.0 if axis is None else float(scale[axis + offset]) for axis in _zyx(axes))
    except LamellaError:
        sizes = (1.0, 1.0, 1.0)
    if not all(np.isfinite(sizes)) or min(sizes) <= 0:
        sizes = (1.0, 1.0, 1.0)
    return array, axes, sizes  # type: ignore[return-value]


def _read_channels(
    scene: ViewScene,
    node: Position,
    array: ImageArray,
    axes: PlaneAxes,
    t: int,
    channels: Sequence[int],
    label: str | None,
    region: dict[int, Any],
) -> list[NDArray[Any]]:
    """Read a region of each channel as (Z, Y, X), in the dtype of the scene, or ids (`label_ids`)."""
    if not 0 <= t < scene.times:
        raise OutOfBoundsError(f"There is no t={t}: {scene.name} has {scene.times} along t.")
    if label is None and (not channels or len(set(channels)) != len(channels)):
        raise OutOfBoundsError("Give each channel once, and at least one.")
    if any(not 0 <= channel < len(scene.channels) for channel in channels):
        raise OutOfBoundsError(f"Channels are numbers from 0 to {len(scene.channels) - 1}.")
    keys = {name: index for index, name in enumerate(channel_keys(node))} if label is None else {}
    planes = []
    for name in [scene.channels[channel].name for channel in channels] if label is None else [None]:
        index: list[Any] = [region.get(axis, 0) for axis in range(array.ndim)]
        if axes.time is not None:
            index[axes.time] = min(t, array.shape[axes.time] - 1)
        if axes.channel is not None and name is not None:
            index[axes.channel] = keys.get(name, 0)
        pixels = np.asarray(array[tuple(index)])
        remaining = [axis for axis in range(array.ndim) if axis in region]
        pixels = np.transpose(pixels, [remaining.index(axis) for axis in _zyx(axes) if axis in region])
        if axes.z is None:
            pixels = pixels[None]
        if name is not None and name not in keys:
            pixels = np.zeros_like(pixels)  # this field was recorded without the channel
        pixels = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
        planes.append(label_ids(pixels) if label is not None else pixels.astype(scene.dtype, copy=False))
    return planes


def _reduced(volume: NDArray[Any], steps: Sequence[int], is_label: bool) -> NDArray[Any]:
    """Return the maximum of each block of voxels, or one id of each block."""
    for axis, step in enumerate(steps):
        if step > 1 and is_label:
            volume = volume[(slice(None),) * axis + (slice(None, None, step),)]
        elif step > 1:
            volume = np.maximum.reduceat(volume, np.arange(0, volume.shape[axis], step), axis=axis)
    return volume
