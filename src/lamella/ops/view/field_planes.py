"""Read coarse planes of many fields at once, if their arrays have equal metadata, as in most plates.

A field takes a millisecond to read by itself. So the fields of a tile are read in portions: one call reads the region
of all of them, and one computation reduces all of them to means of blocks.
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

PORTION = 64
"""Number of fields that are read in one call."""

Region = tuple[tuple[int, int], ...]
"""Start and stop along each dimension."""


@dataclass(frozen=True)
class PlaneRequest:
    """The planes in a region of the array at ``path``, at some rows and columns."""

    path: str
    meta: ArrayMeta
    axes: PlaneAxes
    region: Region
    reduce: int
    """Side of the blocks of pixels whose means are returned; 1 for single pixels."""
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def whole_region(
    meta: ArrayMeta, axes: PlaneAxes, cut: dict[int, int | slice], channels: Sequence[int]
) -> Region | None:
    """Return the region with the whole planes of consecutive channels; None for other channels.

    Also None for planes of several chunks, large planes and complex numbers: these are read field by field.
    """
    shape, chunks = meta.shape, meta.chunks
    if any(shape[axis] > chunks[axis] for axis in (axes.y, axes.x)) or meta.dtype.kind not in "uif":
        return None
    if list(channels) != list(range(channels[0], channels[0] + len(channels))):
        return None
    region = [(0, length) for length in shape]
    for axis, index in cut.items():
        region[axis] = (0, shape[axis]) if isinstance(index, slice) else (index, index + 1)
    if axes.channel is not None:
        region[axes.channel] = (channels[0], channels[0] + len(channels))
    elif len(channels) > 1:
        return None
    return tuple(region) if math.prod(stop - start for start, stop in region) <= _MAX_VALUES else None


def load_ahead(documents: Documents, paths: Sequence[str], request: PlaneRequest) -> None:
    """Load files in folders that `read_planes` reads next, of arrays like that of a request."""
    load_equal_arrays(documents, paths, request.meta, tuple(slice(*span) for span in request.region))


def read_planes(documents: Documents, requests: Sequence[PlaneRequest]) -> list[NDArray[Any] | None]:
    """Return the planes of fields, each (channel, row, column); None for a field that must be read by itself.

    Also None for a field with only fill values in a plane: the plane may not be written.
    """
    groups: dict[tuple[int, Region, int], list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault((id(request.meta), request.region, request.reduce), []).append(number)
    results: list[NDArray[Any] | None] = [None] * len(requests)
    for numbers in groups.values():
        first = requests[numbers[0]]
        planes = _read_stack(documents, [requests[number].path for number in numbers], first)
        if planes is None:
            continue
        fill = np.asarray(first.meta.fill_value, first.meta.dtype)
        empty = np.isnan(planes) if first.meta.dtype.kind == "f" and np.isnan(fill) else planes == fill
        have_empty_plane = empty.all(axis=(2, 3)).any(axis=1).tolist()
        means = block_mean(planes, first.reduce)
        for number, mean, has_empty_plane in zip(numbers, means, have_empty_plane, strict=True):
            if not has_empty_plane:
                results[number] = _select(mean, requests[number])
    return results


def _read_stack(documents: Documents, paths: Sequence[str], request: PlaneRequest) -> NDArray[Any] | None:
    """Read the region of a request from many arrays, (field, channel, Y, X); None if one array cannot be read."""
    try:
        values = read_equal_arrays(
            documents, paths, request.meta, tuple(slice(*span) for span in request.region)
        )
    except Exception:  # any error of the engine: each field is then read by itself, and raises its own error
        return None
    if values is None:
        return None
    axes = request.axes
    order = [axis for axis in (axes.channel, axes.z) if axis is not None]
    planes = [axes.y, axes.x]
    others = [axis for axis in range(len(request.region)) if axis not in (*order, *planes)]
    values = values.transpose([0, *(1 + axis for axis in (*others, *order, *planes))])
    lengths = {axis: stop - start for axis, (start, stop) in enumerate(request.region)}
    count = 1 if axes.channel is None else lengths[axes.channel]
    values = values.reshape(len(paths), count, -1, lengths[axes.y], lengths[axes.x])
    return values[:, :, 0] if values.shape[2] == 1 else values.max(axis=2)


def _select(means: NDArray[Any], request: PlaneRequest) -> NDArray[Any]:
    """Return the rows and columns of a request, out of the reduced planes of its field."""
    spans = [indices // request.reduce for indices in (request.rows, request.columns)]
    if all(span[-1] - span[0] + 1 == span.size for span in spans):
        rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        return means[:, rows, columns]
    return means[:, spans[0][:, None], spans[1]]
