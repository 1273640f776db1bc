"""Read coarse planes of many fields at once, if their arrays have equal metadata, as in most plates.

Each read takes about a millisecond, however small it is. So the fields of a tile are read 64 at a time: one call reads
the same region of all of them, and one computation reduces all of them to means of blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.ops.display.render import block_mean
from lamella.store.pixels.engine import load_equal_arrays, read_equal_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lamella.ops.display.planes import PlaneAxes
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents

_MAX_VALUES = 1 << 18
"""Maximum number of values of a field that is read together with others; larger fields would not be faster."""

FIELDS_PER_READ = 64
"""Number of fields that are read in one call."""

Bounds = tuple[tuple[int, int], ...]
"""Start and stop along each dimension."""


@dataclass(frozen=True)
class PlaneRequest:
    """The planes in a region of the array at ``path``, at some rows and columns."""

    path: str
    meta: ArrayMeta
    axes: PlaneAxes
    bounds: Bounds
    block_side: int
    """Side of the blocks of pixels whose means are returned; 1 for single pixels."""
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def bounds_of_planes(
    meta: ArrayMeta, axes: PlaneAxes, outer_index: dict[int, int | slice], channels: Sequence[int]
) -> Bounds | None:
    """Return the bounds of the whole planes of some channels; None if they must be read field by field.

    That is so for channels that are not consecutive, planes of several chunks, large planes, and complex numbers.
    """
    shape, chunks = meta.shape, meta.chunks
    if any(shape[axis] > chunks[axis] for axis in (axes.y, axes.x)) or meta.dtype.kind not in "uif":
        return None
    if list(channels) != list(range(channels[0], channels[0] + len(channels))):
        return None
    bounds = [(0, length) for length in shape]
    for axis, position in outer_index.items():
        bounds[axis] = (0, shape[axis]) if isinstance(position, slice) else (position, position + 1)
    if axes.channel is not None:
        bounds[axes.channel] = (channels[0], channels[0] + len(channels))
    elif len(channels) > 1:
        return None
    return tuple(bounds) if math.prod(stop - start for start, stop in bounds) <= _MAX_VALUES else None


def load_ahead(documents: Documents, paths: Sequence[str], request: PlaneRequest) -> None:
    """Load files in folders that `read_planes` reads next, of arrays like that of a request."""
    load_equal_arrays(documents, paths, request.meta, tuple(slice(*span) for span in request.bounds))


def read_planes(documents: Documents, requests: Sequence[PlaneRequest]) -> list[NDArray[Any] | None]:
    """Return the planes of fields, each (channel, row, column); None for a field that must be read by itself.

    Also None for a field with only fill values in a plane: the plane may not be written.
    """
    groups: dict[tuple[int, Bounds, int], list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault((id(request.meta), request.bounds, request.block_side), []).append(number)
    planes_of_fields: list[NDArray[Any] | None] = [None] * len(requests)
    for numbers in groups.values():
        first_request = requests[numbers[0]]
        planes = _read_stack(documents, [requests[number].path for number in numbers], first_request)
        if planes is None:
            continue
        fill = np.asarray(first_request.meta.fill_value, first_request.meta.dtype)
        is_fill = (
            np.isnan(planes) if first_request.meta.dtype.kind == "f" and np.isnan(fill) else planes == fill
        )
        have_empty_plane = is_fill.all(axis=(2, 3)).any(axis=1).tolist()
        means = block_mean(planes, first_request.block_side)
        for number, mean, has_empty_plane in zip(numbers, means, have_empty_plane, strict=True):
            if not has_empty_plane:
                planes_of_fields[number] = _select(mean, requests[number])
    return planes_of_fields


def _read_stack(documents: Documents, paths: Sequence[str], request: PlaneRequest) -> NDArray[Any] | None:
    """Read the region of a request from many arrays, (field, channel, Y, X); None if one array cannot be read."""
    try:
        pixels = read_equal_arrays(
            documents, paths, request.meta, tuple(slice(*span) for span in request.bounds)
        )
    except Exception:  # any error of the engine: each field is then read by itself, and raises its own error
        return None
    if pixels is None:
        return None
    axes = request.axes
    kept_axes = [axis for axis in (axes.channel, axes.z) if axis is not None]
    plane_axes = [axes.y, axes.x]
    other_axes = [axis for axis in range(len(request.bounds)) if axis not in (*kept_axes, *plane_axes)]
    pixels = pixels.transpose([0, *(1 + axis for axis in (*other_axes, *kept_axes, *plane_axes))])
    lengths = {axis: stop - start for axis, (start, stop) in enumerate(request.bounds)}
    count = 1 if axes.channel is None else lengths[axes.channel]
    pixels = pixels.reshape(len(paths), count, -1, lengths[axes.y], lengths[axes.x])
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels.max(axis=2)


def _select(means: NDArray[Any], request: PlaneRequest) -> NDArray[Any]:
    """Return the rows and columns of a request from the reduced planes of its field."""
    spans = [indices // request.block_side for indices in (request.rows, request.columns)]
    if all(span[-1] - span[0] + 1 == span.size for span in spans):
        rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        return means[:, rows, columns]
    return means[:, spans[0][:, None], spans[1]]
