"""Choose one contrast window per channel over all fields, from a sample of a coarse level.

`compute_contrast` writes the windows to the fields, `choose_windows` only returns them. Channels of one name within an
image are distinguished by a number: their keys are ("DAPI", 0) and ("DAPI", 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, counted
from lamella.log import logged
from lamella.nodes.position_metadata import is_rgb, with_channel_names
from lamella.ops.conversion.contrast import (
    check_dtype,
    percentile_window,
    sample_size,
    type_limits,
    window_of,
)
from lamella.ops.display.planes import PlaneAxes, coarsest_sufficient_level, read_plane
from lamella.ops.execution import (
    LARGE_CHUNK,
    THREADS,
    Count,
    Workers,
    check_progress,
    counting,
    run,
    run_at_store,
)
from lamella.ops.pyramids.update import stale_levels
from lamella.spec import edits
from lamella.spec.channels import ALPHA

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.spec.images import WindowDict
    from lamella.types import Array

_SIDE = 128
"""Minimum length of a level's larger side: smaller levels have lost their details by averaging."""

_MAX_STRETCH = 4
"""Maximum factor by which a window is widened for a few bright fields: at 4, the others look a quarter as bright."""

_Key = tuple[str, int]
"""Name of a channel, and the number of channels of that name before it in its image."""


@dataclass(frozen=True)
class _Field:
    """A field, and the size of its part of the sample."""

    position: Position
    planes: int
    pixels: int


def compute_contrast(
    positions: Sequence[Position],
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    dry_run: bool = False,
    without: Collection[str] = (),
) -> dict[str, WindowDict]:
    """Choose one contrast window per channel for some fields, write it to all of them, and return the windows.

    With ``dry_run`` nothing is written. Channels ``without`` new windows are named. Fields without an array are
    skipped. Raises InvalidArgumentError if no field has an array and a named channel.
    """
    workers = Workers(jobs, executor)
    check_progress(progress)
    fields = [position for position in positions if position.dataset_paths]
    workers.check_reach(*(position.documents.storage for position in fields))
    if fields:
        workers = workers.waiting_for(fields[0].documents.storage, LARGE_CHUNK)
    sampled_fields = [position for position in fields if not is_rgb(position)]
    with (
        logged("Compute the contrast of %s", counted(len(fields), "image")),
        counting(progress, "fields", len(sampled_fields)) as count,
    ):
        windows = choose_windows(sampled_fields, workers, count)
    if sampled_fields and not dry_run:
        written = {key: window for key, window in windows.items() if key[0] not in without}
        storage = sampled_fields[0].documents.storage
        run_at_store(lambda position: _write(position, written), sampled_fields, storage)
    for position in fields:
        if is_rgb(position):  # separate windows would change the hues of a colour image
            windows = _stored_windows(position) | windows
    if not windows:
        where = f" in {fields[0].documents.storage.name}" if fields else ""
        raise InvalidArgumentError(
            f"There is no contrast to compute{where}: no image has both pixels and a channel with a name."
        )
    return {
        name if not again else f"{name} #{again}": window
        for (name, again), window in windows.items()
        if name not in without
    }


def _stored_windows(position: Position) -> dict[_Key, WindowDict]:
    omero = position.document.shared_model.omero
    channels = omero.channels if omero is not None else []
    keys_and_channels = zip(_keys(position.channel_names), channels, strict=False)
    return {key: channel.window for key, channel in keys_and_channels if channel.window is not None}


def _write(position: Position, windows: Mapping[_Key, WindowDict]) -> None:
    names = position.channel_names
    window_by_channel = {index: windows[key] for index, key in enumerate(_keys(names)) if key in windows}
    if window_by_channel:
        position.document.edit(
            lambda meta: edits.set_windows(with_channel_names(meta, names), window_by_channel)
        )


def choose_windows(
    positions: Sequence[Position], workers: Workers = THREADS, count: Count | None = None
) -> dict[_Key, WindowDict]:
    """Choose one contrast window per channel for some fields, without writing it."""
    plane_count, pixel_count = sample_size(max(1, len(positions)))
    samples: dict[_Key, list[Array]] = {}

    def collect(sample: dict[_Key, Array]) -> None:
        for key, pixels in sample.items():
            samples.setdefault(key, []).append(pixels)
        if count is not None:
            count.add()

    run(
        _sample,
        (_Field(position, plane_count, pixel_count) for position in positions),
        workers,
        on_result=collect,
    )
    order = dict.fromkeys(key for position in positions for key in _keys(position.channel_names))
    return {key: window_of_samples(key[0], samples[key]) for key in order if key in samples}


def window_of_samples(name: str, samples: Sequence[Array]) -> WindowDict:
    """Return the contrast window of a channel by samples of its pixels, one for each field."""
    limits_of_samples = [type_limits(sample.dtype) for sample in samples]
    pixels = np.concatenate(samples)
    start, end = percentile_window(pixels)
    end = _end_with_bright_fields(start, end, samples)
    integer_limits = [limit for limit in limits_of_samples if limit is not None]
    if len(integer_limits) == len(samples):
        value_range = min(low for low, _ in integer_limits), max(high for _, high in integer_limits)
        if name.lower() == ALPHA:
            start, end = 0.0, value_range[1]
    else:
        finite = pixels[np.isfinite(pixels)]
        value_range = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return window_of(start, end, value_range, pixels.dtype)


def _end_with_bright_fields(start: float, end: float, samples: Sequence[Array]) -> float:
    """Return the end of a window that also covers the few bright fields of a plate, if the others stay visible.

    A field is covered by the 99th percentile of its pixels, which single bright pixels do not change.

    >>> import numpy as np
    >>> dark, bright = np.arange(100), np.arange(300)
    >>> _end_with_bright_fields(0, 99, [dark] * 50 + [bright]), _end_with_bright_fields(0, 99, [dark, 9 * bright])
    (296.0, 99)
    """
    if len(samples) < 2:
        return end
    max_end = start + _MAX_STRETCH * (end - start)
    finite: list[NDArray[Any]] = [
        sample[np.isfinite(sample)] for sample in samples if sample.dtype.kind != "b"
    ]
    percentiles = (float(np.percentile(sample, 99, method="nearest")) for sample in finite if sample.size)
    return max([end, *(percentile for percentile in percentiles if percentile <= max_end)])


def _keys(names: Sequence[str]) -> list[_Key]:
    """Return each name with the number of equal names before it."""
    return [(name, list(names[:index]).count(name)) for index, name in enumerate(names)]


def _sample(field: _Field) -> dict[_Key, Array]:
    """Read some pixels of each channel of a field."""
    position = field.position
    # Stale levels have the contrast of other pixels.
    array = position.data if stale_levels(position) else coarsest_sufficient_level(position, _SIDE)[1]
    check_dtype(array.dtype, str(position.node_path))
    axes = PlaneAxes.of(position.axes, array.ndim, position.node_path)
    sample: dict[_Key, Array] = {}
    for channel, key in enumerate(_keys(position.channel_names)):
        if channel < (1 if axes.channel is None else array.shape[axes.channel]):
            planes_of_channel = _planes_of(axes, array.shape, channel)
            step = -(-len(planes_of_channel) // field.planes)
            pixels = [
                read_plane(array, axes, index, 4 * _SIDE, ids=True) for index in planes_of_channel[::step]
            ]
            voxels = np.concatenate([plane.ravel() for plane in pixels])
            sample[key] = voxels[:: max(1, -(-voxels.size // field.pixels))].copy()  # not the whole planes
    return sample


def _planes_of(axes: PlaneAxes, shape: Sequence[int], channel: int) -> list[dict[int, int]]:
    """List the planes of a channel, each as its index along every dimension but y and x."""
    lengths = {
        axis: range(channel, channel + 1) if axis == axes.channel else range(length)
        for axis, length in enumerate(shape)
        if axis not in (axes.y, axes.x)
    }
    return [dict(zip(lengths, index, strict=True)) for index in product(*lengths.values())]
