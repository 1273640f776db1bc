"""The positions of the fields of a mosaic, and the field from which each pixel comes.

A "part" is the overlap of a region of the mosaic with one field, in pixels of the mosaic.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.regions import overlap, region_shape

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
        return tuple(int(n) for n in (self.starts + self.lengths).max(axis=0))

    def part(self, number: int, region: Region) -> Region | None:
        """Return the overlap of a region with a field; None if it is empty."""
        start, stop = self.starts[number].tolist(), (self.starts[number] + self.lengths[number]).tolist()
        part = overlap(region, tuple(map(slice, start, stop)))
        return None if 0 in region_shape(part) else part

    def touched(self, region: Region) -> Iterator[tuple[int, Region]]:
        """Yield the number of each field that overlaps a region, with the overlap."""
        low, high = [span.start for span in region], [span.stop for span in region]
        overlaps = ((self.starts < high) & (self.starts + self.lengths > low)).all(axis=1)
        for number in np.flatnonzero(overlaps):
            part = self.part(int(number), region)
            if part is not None:
                yield int(number), part

    def even_parts(self, region: Region) -> Iterator[Region]:
        """Split a region where a field ends along an axis that is not of space: films may have different lengths."""
        ends = np.concatenate([self.starts, self.starts + self.lengths])
        spans = []
        for axis, span in enumerate(region):
            inner = () if axis in self.space else np.unique(ends[:, axis]).tolist()
            borders = [span.start, *(end for end in inner if span.start < end < span.stop), span.stop]
            spans.append([slice(start, stop) for start, stop in itertools.pairwise(borders)])
        yield from itertools.product(*spans)

    def in_field(self, number: int, part: Region) -> Region:
        """Return a part in the coordinates of its field."""
        return tuple(
            slice(span.start - int(start), span.stop - int(start))
            for span, start in zip(part, self.starts[number], strict=True)
        )

    def owners(self, region: Region) -> list[tuple[int, Region, Numbers]]:
        """Return the fields whose centre is nearest to some pixels of a region, with these pixels.

        The pixels are a smallest region and a mask of it, which has length 1 along the axes that are not of space.
        """
        fields = list(self.touched(region))
        if len(fields) == 1:
            number, part = fields[0]
            return [(number, part, np.ones((1,) * len(region), bool))]
        lengths = [n if axis in self.space else 1 for axis, n in enumerate(region_shape(region))]
        nearest = np.full(lengths, np.inf)
        owner = np.full(lengths, -1)
        for number, part in fields:
            inside = self.in_space(part, region)
            distance = self._distance(number, part)
            closer = distance < nearest[inside]
            nearest[inside] = np.where(closer, distance, nearest[inside])
            owner[inside] = np.where(closer, number, owner[inside])
        return [owned for number, part in fields for owned in self._owned(number, part, owner, region)]

    def _owned(
        self, number: int, part: Region, owner: Numbers, region: Region
    ) -> Iterator[tuple[int, Region, Numbers]]:
        """Yield the pixels of one field as `owners` does; nothing if there are none."""
        mask = owner[self.in_space(part, region)] == number
        if not mask.any():
            return
        smallest = list(part)
        region_in_mask: list[slice] = []
        for axis, span in enumerate(part):
            others = tuple(other for other in range(mask.ndim) if other != axis)
            owned = np.flatnonzero(mask.any(axis=others))
            first, stop = int(owned[0]), int(owned[-1]) + 1
            region_in_mask.append(slice(first, stop))
            if axis in self.space:
                smallest[axis] = slice(span.start + first, span.start + stop)
        yield number, tuple(smallest), mask[tuple(region_in_mask)]

    def weights(self, number: int, part: Region) -> Numbers:
        """Return the weights of a field's pixels: the product of their distances to the edges, 1 at an edge."""
        weight = np.ones((1,) * len(part))
        for axis in self.space:
            length = int(self.lengths[number][axis])
            index = np.arange(part[axis].start, part[axis].stop) - int(self.starts[number][axis])
            weight = weight * self._along(np.minimum(index + 1, length - index), axis, len(part))
        return weight

    def _distance(self, number: int, part: Region) -> Numbers:
        """Return the squared distance of pixels to the centre of a field, in units of space."""
        total = np.zeros((1,) * len(part))
        for axis in self.space:
            centre = self.starts[number][axis] + (self.lengths[number][axis] - 1) / 2
            distance = (np.arange(part[axis].start, part[axis].stop) - centre) * self.scale[axis]
            total = total + self._along(distance**2, axis, len(part))
        return total

    def in_space(self, part: Region, region: Region) -> Region:
        """Return a part relative to its region, in arrays with length 1 along the axes that are not of space."""
        return tuple(
            slice(span.start - whole.start, span.stop - whole.start) if axis in self.space else slice(0, 1)
            for axis, (span, whole) in enumerate(zip(part, region, strict=True))
        )

    @staticmethod
    def _along(values: Numbers, axis: int, ndim: int) -> Numbers:
        shape = [1] * ndim
        shape[axis] = -1
        return values.reshape(shape)


def layout_of(
    shapes: Sequence[Shape],
    scales: Sequence[Sequence[float]],
    translations: Sequence[Sequence[float]],
    space: tuple[int, ...],
    names: Sequence[str],
) -> Layout:
    """Return the layout of fields by their translations, rounded to whole pixels; ``names`` are for errors."""
    first = np.asarray(scales[0], float)
    for name, scale in zip(names, scales, strict=True):
        if not np.allclose(scale, first, rtol=_MAX_DIFFERENCE, atol=0):
            raise InvalidArgumentError(
                f"The fields of a mosaic have one pixel size: {names[0]} has {list(map(float, first))}, {name} has "
                f"{list(map(float, scale))}."
            )
    shifts = np.asarray(translations, float)
    origin = shifts.min(axis=0)
    sizes = np.where(first == 0, 1.0, first)
    starts = np.rint((shifts - origin) / sizes).astype(np.int64)
    return Layout(
        starts, np.asarray(shapes, np.int64), space, tuple(map(float, first)), tuple(map(float, origin))
    )
