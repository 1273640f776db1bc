"""The positions of the fields of a mosaic, and the field from which each pixel comes.

Two fields 10 pixels wide at x = 0 and x = 6 make a mosaic 16 pixels wide: columns 6 to 9 are in both. A "part" is the
overlap of a region of the mosaic with one field, in pixels of the mosaic: of columns 4 to 7, the part of the second
field is 6 to 7.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.regions import overlap, region_shape, relative_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.regions import Region
    from lamella.types import Shape

Numbers = np.ndarray[Any, np.dtype[Any]]

_MAX_DIFFERENCE = 1e-4
"""Relative difference up to which pixel sizes count as equal."""


@dataclass(frozen=True)
class Layout:
    """The fields of one level, in pixels of the mosaic."""

    starts: Numbers
    """First pixel of each field, shape (fields, axes)."""
    lengths: Numbers
    """Shape of each field, shape (fields, axes)."""
    space: tuple[int, ...]
    """Indices of the space axes."""
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    """Position of the first pixel of the mosaic, per axis."""

    @property
    def shape(self) -> Shape:
        """Length of each axis of the mosaic."""
        return tuple(int(length) for length in (self.starts + self.lengths).max(axis=0))

    def overlap_with(self, field: int, region: Region) -> Region | None:
        """Return the overlap of a region with a field; None if it is empty."""
        start, stop = self.starts[field].tolist(), (self.starts[field] + self.lengths[field]).tolist()
        field_overlap = overlap(region, tuple(map(slice, start, stop)))
        return None if 0 in region_shape(field_overlap) else field_overlap

    def fields_in(self, region: Region) -> Iterator[tuple[int, Region]]:
        """Yield the number of each field that overlaps a region, with the overlap."""
        starts_of_region, stops_of_region = [span.start for span in region], [span.stop for span in region]
        is_overlapping = (
            (self.starts < stops_of_region) & (self.starts + self.lengths > starts_of_region)
        ).all(axis=1)
        for field in np.flatnonzero(is_overlapping):
            field_overlap = self.overlap_with(int(field), region)
            if field_overlap is not None:
                yield int(field), field_overlap

    def split_at_ends(self, region: Region) -> Iterator[Region]:
        """Split a region so that each field covers all or no indices of T (and other axes that are not of space).

        Films may have different lengths: with films of 5 and 8 times, a region of all times is split at time 5.
        """
        ends = np.concatenate([self.starts, self.starts + self.lengths])
        spans = []
        for axis, span in enumerate(region):
            ends_of_axis = () if axis in self.space else np.unique(ends[:, axis]).tolist()
            borders = [span.start, *(end for end in ends_of_axis if span.start < end < span.stop), span.stop]
            spans.append([slice(start, stop) for start, stop in itertools.pairwise(borders)])
        yield from itertools.product(*spans)

    def in_field(self, field: int, subregion: Region) -> Region:
        """Return a region of the mosaic in the coordinates of a field."""
        return tuple(
            slice(span.start - int(start), span.stop - int(start))
            for span, start in zip(subregion, self.starts[field], strict=True)
        )

    def owners(self, region: Region) -> list[tuple[int, Region, Numbers]]:
        """Return each field whose centre is the nearest to some pixels of a region, with these pixels.

        They are described by the smallest region that contains them, and a mask of this region, of length 1 along the
        axes that are not of space.
        """
        fields = list(self.fields_in(region))
        if len(fields) == 1:
            field, subregion = fields[0]
            return [(field, subregion, np.ones((1,) * len(region), bool))]
        lengths = [length if axis in self.space else 1 for axis, length in enumerate(region_shape(region))]
        nearest = np.full(lengths, np.inf)
        owner = np.full(lengths, -1)
        for field, subregion in fields:
            inside = self.in_space(subregion, region)
            distance = self._distance(field, subregion)
            closer = distance < nearest[inside]
            nearest[inside] = np.where(closer, distance, nearest[inside])
            owner[inside] = np.where(closer, field, owner[inside])
        return [
            owned for field, subregion in fields for owned in self._owned(field, subregion, owner, region)
        ]

    def _owned(
        self, field: int, subregion: Region, owner: Numbers, region: Region
    ) -> Iterator[tuple[int, Region, Numbers]]:
        """Yield the pixels of one field as `owners` does; nothing if there are none."""
        mask = owner[self.in_space(subregion, region)] == field
        if not mask.any():
            return
        smallest_region = list(subregion)
        region_in_mask: list[slice] = []
        for axis, span in enumerate(subregion):
            other_axes = tuple(other for other in range(mask.ndim) if other != axis)
            owned = np.flatnonzero(mask.any(axis=other_axes))
            first, stop = int(owned[0]), int(owned[-1]) + 1
            region_in_mask.append(slice(first, stop))
            if axis in self.space:
                smallest_region[axis] = slice(span.start + first, span.start + stop)
        yield field, tuple(smallest_region), mask[tuple(region_in_mask)]

    def weights(self, field: int, subregion: Region) -> Numbers:
        """Return the weights of a field's pixels: the product of their distances to the edges, 1 at an edge."""
        weight = np.ones((1,) * len(subregion))
        for axis in self.space:
            length = int(self.lengths[field][axis])
            index = np.arange(subregion[axis].start, subregion[axis].stop) - int(self.starts[field][axis])
            weight = weight * self._along(np.minimum(index + 1, length - index), axis, len(subregion))
        return weight

    def _distance(self, field: int, subregion: Region) -> Numbers:
        """Return the squared distance of pixels to the centre of a field, in the unit of the axes."""
        total = np.zeros((1,) * len(subregion))
        for axis in self.space:
            centre = self.starts[field][axis] + (self.lengths[field][axis] - 1) / 2
            distance = (np.arange(subregion[axis].start, subregion[axis].stop) - centre) * self.scale[axis]
            total = total + self._along(distance**2, axis, len(subregion))
        return total

    def in_space(self, subregion: Region, region: Region) -> Region:
        """Return a subregion relative to its region, in arrays with length 1 along the axes that are not of space."""
        spans = enumerate(relative_region(subregion, region))
        return tuple(span if axis in self.space else slice(0, 1) for axis, span in spans)

    @staticmethod
    def _along(numbers: Numbers, axis: int, ndim: int) -> Numbers:
        shape = [1] * ndim
        shape[axis] = -1
        return numbers.reshape(shape)


def layout_of(
    shapes: Sequence[Shape],
    scales: Sequence[Sequence[float]],
    translations: Sequence[Sequence[float]],
    space: tuple[int, ...],
    names: Sequence[str],
) -> Layout:
    """Return the layout of fields by their translations, rounded to whole pixels; ``names`` are for errors."""
    first_scale = np.asarray(scales[0], float)
    for name, scale in zip(names, scales, strict=True):
        if not np.allclose(scale, first_scale, rtol=_MAX_DIFFERENCE, atol=0):
            raise InvalidArgumentError(
                f"The fields of a mosaic have one pixel size: {names[0]} has {list(map(float, first_scale))}, "
                f"{name} has {list(map(float, scale))}."
            )
    origins = np.asarray(translations, float)
    corner = origins.min(axis=0)
    pixel_sizes = np.where(first_scale == 0, 1.0, first_scale)
    starts = np.rint((origins - corner) / pixel_sizes).astype(np.int64)
    return Layout(
        starts, np.asarray(shapes, np.int64), space, tuple(map(float, first_scale)), tuple(map(float, corner))
    )
