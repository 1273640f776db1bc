"""Regions of arrays, one slice with start and stop per axis: cut into aligned parts, and read from what users name."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from lamella.arguments import is_boolean, items_of
from lamella.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.nodes.position import Position
    from lamella.types import Shape


Region: TypeAlias = tuple[slice, ...]
"""One slice with start and stop per axis."""

REGION_BYTES = 4 * 2**20
"""Raw size that a worker reads at a time. A pyramid of 1.6 GB of random uint16 in chunks of 1 MiB took two workers
340 MB and 2.0 s with 4 MiB, 430 MB and 3.2 s with 8 MiB, 530 MB and 4.1 s with 32 MiB."""

INDEX_TOLERANCE = 1e-6
"""Part of a voxel that counts as zero: products of floats are not exact."""


def regions(shape: Sequence[int], unit: Sequence[int]) -> Iterator[Region]:
    """Cut an array into regions on the grid of ``unit``; the last region along each axis may be shorter.

    >>> [tuple((s.start, s.stop) for s in region) for region in regions((3, 4), (2, 4))]
    [((0, 2), (0, 4)), ((2, 3), (0, 4))]
    """
    steps = [range(0, length, step) for length, step in zip(shape, unit, strict=True)]
    for corner in _corners(steps):
        yield tuple(
            slice(start, min(start + step, length))
            for start, step, length in zip(corner, unit, shape, strict=True)
        )


def _corners(steps: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """Combine ranges as itertools.product does, without lists: an array may have 2**60 chunks."""
    if not steps:
        yield ()
        return
    for start in steps[0]:
        for other_starts in _corners(steps[1:]):
            yield start, *other_starts


def split_region(region: Region, units: Sequence[Sequence[int]]) -> Iterator[Region]:
    """Cut a region along grids within grids: all regions in a cell of the outer grid before those of the next cell.

    >>> [tuple((s.start, s.stop) for s in part) for part in split_region((slice(1, 8),), [(4,), (2,)])]
    [((1, 2),), ((2, 4),), ((4, 6),), ((6, 8),)]
    """
    for number, unit in enumerate(units, 1):
        cells = [
            range(span.start // step, -(-span.stop // step)) for span, step in zip(region, unit, strict=True)
        ]
        if all(len(cell) == 1 for cell in cells):  # the usual case: a region within one file
            continue
        for cell in product(*cells):
            subregion = tuple(
                slice(max(span.start, index * step), min(span.stop, (index + 1) * step))
                for span, index, step in zip(region, cell, unit, strict=True)
            )
            yield from split_region(subregion, units[number:])
        return
    yield region


def split_by_cell(region: Region, unit: Sequence[int]) -> Iterator[tuple[Shape, Region, Region]]:
    """Cut a region along a grid; yield each cell's index, its part of the region, and that part's indices in it.

    >>> for index, part, within in split_by_cell((slice(3, 6),), (4,)):
    ...     print(index, part, within)
    (0,) (slice(3, 4, None),) (slice(0, 1, None),)
    (1,) (slice(4, 6, None),) (slice(1, 3, None),)
    """
    axes = []
    for span, step in zip(region, unit, strict=True):
        axis = []
        for index in range(span.start // step, -(-span.stop // step)):
            start, stop = max(span.start, index * step), min(span.stop, (index + 1) * step)
            axis.append((index, slice(start, stop), slice(start - span.start, stop - span.start)))
        axes.append(axis)
    for cell in product(*axes):
        yield (
            tuple([index for index, _, _ in cell]),
            tuple([part for _, part, _ in cell]),
            tuple([within for _, _, within in cell]),
        )


def shrink(region: Region, factors: Sequence[int]) -> Region:
    """Return the region of a coarser array that depends on a region of the finer one.

    >>> shrink((slice(3, 5),), (2,))
    (slice(1, 3, None),)
    """
    return tuple(
        slice(span.start // factor, -(-span.stop // factor))
        for span, factor in zip(region, factors, strict=True)
    )


def aligned(region: Region, unit: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the smallest region of whole cells of a grid around a region; cells end at the end of the array.

    >>> aligned((slice(3, 5),), (4,), (7,))
    (slice(0, 7, None),)
    """
    return tuple(
        slice(span.start // step * step, min(-(-span.stop // step) * step, length))
        for span, step, length in zip(region, unit, shape, strict=True)
    )


def whole_region(shape: Sequence[int]) -> Region:
    """Return the region of a whole array."""
    return tuple(slice(0, length) for length in shape)


def region_shape(region: Region) -> Shape:
    """Return the shape of a region."""
    return tuple(span.stop - span.start for span in region)


def grid_index(region: Region, unit: Sequence[int]) -> Shape:
    """Return the index of the cell of a grid in which a region starts.

    >>> grid_index((slice(8, 10), slice(3, 4)), (4, 4))
    (2, 0)
    """
    return tuple(span.start // step for span, step in zip(region, unit, strict=True))


def overlap(region: Region, other: Region) -> Region:
    """Return the region that two regions share; of length 0 along an axis where they do not meet.

    >>> overlap((slice(0, 6),), (slice(4, 8),)), overlap((slice(0, 2),), (slice(4, 8),))
    ((slice(4, 6, None),), (slice(4, 4, None),))
    """
    starts = [max(span.start, other_span.start) for span, other_span in zip(region, other, strict=True)]
    stops = [min(span.stop, other_span.stop) for span, other_span in zip(region, other, strict=True)]
    return tuple(slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True))


def enlarge(region: Region, factors: Sequence[int], shape: Sequence[int]) -> Region:
    """Return the region of a finer array, within its shape, that a region of the coarser one is computed from.

    >>> enlarge((slice(1, 3),), (2,), (5,))
    (slice(2, 5, None),)
    """
    return tuple(
        slice(span.start * factor, min(span.stop * factor, length))
        for span, factor, length in zip(region, factors, shape, strict=True)
    )


def bounded_shape(
    whole: Sequence[int], grain: Sequence[int], itemsize: int, max_bytes: int = REGION_BYTES
) -> Shape:
    """Return the shape of regions of at most ``max_bytes``, cut along the first axes first, but not below ``grain``.

    >>> bounded_shape((64, 1024, 1024), (8, 256, 256), 2, 2**24)
    (8, 1024, 1024)
    >>> bounded_shape((1, 100, 100), (1, 100, 100), 2, 10)
    (1, 100, 100)
    """
    piece = list(whole)
    while prod(piece) * itemsize > max_bytes:
        axis = next(
            (
                number
                for number, (length, grain_length) in enumerate(zip(piece, grain, strict=True))
                if length > grain_length
            ),
            None,
        )
        if axis is None:
            break
        grain_count = -(-piece[axis] // grain[axis])
        piece[axis] = grain[axis] * max(1, grain_count // 2)
    return tuple(piece)


def physical_slice(start: float, stop: float, size: float, length: int) -> slice:
    """Return the voxels of an axis that an interval of physical length meets, within the axis.

    ``start`` and ``stop`` count from the outer edge of the first voxel: voxel k reaches from ``k * size`` to
    ``(k + 1) * size``. A millionth of a voxel counts as rounding.

    >>> physical_slice(1.0, 2.5, 0.5, 10), physical_slice(0.1 * 3, 0.6, 0.1, 10), physical_slice(0.6, 0.7, 0.5, 10)
    (slice(2, 5, None), slice(3, 6, None), slice(1, 2, None))
    """
    first = math.floor(start / size + INDEX_TOLERANCE)
    last = math.ceil(stop / size - INDEX_TOLERANCE)
    first = min(max(first, 0), length)
    return slice(first, max(first, min(last, length)))


def relative_region(part: Region, surrounding: Region) -> Region:
    """Return the indices of a region within a surrounding region: (5:6) within (4:8) is (1:2)."""
    return tuple(
        slice(span.start - outer_span.start, span.stop - outer_span.start)
        for span, outer_span in zip(part, surrounding, strict=True)
    )


def expand_index(index: Any, ndim: int) -> list[Any]:
    """Return one entry of an index for each dimension: the ellipsis, or the end, becomes whole dimensions.

    Raise IndexError for an index with too many entries, several ellipses, or a boolean, which numpy reads as a mask.

    >>> expand_index((0, ..., slice(1, 3)), 4)
    [0, slice(None, None, None), slice(None, None, None), slice(1, 3, None)]
    """
    entries = list(index) if isinstance(index, tuple) else [index]
    if any(map(is_boolean, entries)):
        raise IndexError(f"An array that is read by region has no masks, so {index!r} is not an index of it.")
    ellipses = [number for number, entry in enumerate(entries) if entry is Ellipsis]
    insert_at = ellipses[0] if ellipses else len(entries)
    entries[insert_at : insert_at + 1] = [slice(None)] * (ndim - len(entries) + len(ellipses[:1]))
    if len(entries) != ndim or len(ellipses) > 1:
        raise IndexError(f"An array of {ndim} dimensions cannot be indexed by {index!r}.")
    return entries


def pixel_region(position: Position, region: Mapping[str, Any], argument: str) -> dict[str, tuple[int, int]]:
    """Return start and stop of each axis of a region; negative numbers count from the end, as in Python.

    ``argument`` is the name of the argument in messages.
    """
    if not isinstance(region, Mapping):
        raise InvalidArgumentError(
            f"{argument}={region!r} does not map axes to (start, stop) in pixels of level 0."
        )
    axes = position.axis_names
    checked = {}
    for axis, bounds in region.items():
        name = str(axis).lower()
        if name == "c":
            raise InvalidArgumentError(
                f"Channels are chosen by channels=, and the other axes by {argument}=."
            )
        if name not in axes:
            raise InvalidArgumentError(
                f"There is no axis {axis!r} in {position.node_path}, whose axes are {axes}."
            )
        length = position.data.shape[axes.index(name)]
        checked[name] = _bounds(bounds, length, f"{argument}[{axis!r}]", name, position)
    return checked


def _bounds(bounds: Any, length: int, entry: str, axis: str, position: Position) -> tuple[int, int]:
    ends = (bounds.start, bounds.stop) if isinstance(bounds, slice) else bounds
    step = bounds.step if isinstance(bounds, slice) else None
    try:
        begin, end = (
            None if bound is None else operator.index(bound)
            for bound in items_of(ends, "A region is (start, stop)")
        )
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{entry}={bounds!r} is not (start, stop) in pixels of level 0."
        ) from error
    start = 0 if begin is None else begin + length if begin < 0 else begin
    stop = length if end is None else end + length if end < 0 else end
    if step not in (None, 1) or not 0 <= start < stop <= length:
        raise InvalidArgumentError(
            f"{entry}={bounds!r} is not a region of {position.node_path}, which has {length} pixels along {axis}."
        )
    return start, stop


def region_of_label(
    image: Position, label: Position, region: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Return the region of a label image that covers a region of its image, in pixels of its own level 0.

    Along an axis of equal lengths it is the same region: other programs write the scale of the image less often. Labels
    of one plane in a volume are those of all planes, and labels of one time in a series those of all times, as labels
    without the axis are.
    """
    image_sizes = dict(zip(image.axis_names, image.get_effective_scale(image.dataset_paths[0]), strict=True))
    label_sizes = dict(zip(label.axis_names, label.get_effective_scale(label.dataset_paths[0]), strict=True))
    lengths = dict(zip(label.axis_names[-label.data.ndim :], label.data.shape, strict=True))
    image_lengths = dict(zip(image.axis_names[-image.data.ndim :], image.data.shape, strict=True))
    region_in_label = {}
    for name, (start, stop) in region.items():
        if name not in lengths:
            continue
        if lengths[name] == 1:
            region_in_label[name] = (0, 1)
            continue
        has_same_length = lengths[name] == image_lengths.get(name)
        ratio = 1.0 if has_same_length or not label_sizes[name] else image_sizes[name] / label_sizes[name]
        if ratio == 1 and start >= lengths[name]:
            raise InvalidArgumentError(
                f"The labels {label.node_path} end at {lengths[name]} along {name}, before the region {start}:{stop}: "
                "they have fewer than their image. Write the missing ones, or delete the labels."
            )
        end = min(lengths[name], max(1, round(stop * ratio)))
        region_in_label[name] = (min(round(start * ratio), end - 1), end)
    return region_in_label
