"""Where the fields of a mosaic lie, and which field each pixel comes from."""

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
    lengths: Numbers
    """``starts``, ``lengths``: of each field, per axis."""
    space: tuple[int, ...]
    """Indices of the axes along which the distance to a field is measured."""
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    """``scale``, ``translation``: of the mosaic, per axis."""

    @property
    def shape(self) -> Shape:
        """Length of each axis of the mosaic."""
        return tuple(int(n) for n in (self.starts + self.lengths).max(axis=0))

    def part(self, number: int, region: Region) -> Region | None:
        """Return the part of a region that a field covers; None without one."""
        start, stop = self.starts[number].tolist(), (self.starts[number] + self.lengths[number]).tolist()
        part = overlap(region, tuple(map(slice, start, stop)))
        return None if 0 in region_shape(part) else part

    def touched(self, region: Region) -> Iterator[tuple[int, Region]]:
        """Yield the number of each field that covers a part of a region, with this part."""
        low, high = ([getattr(one, end) for one in region] for end in ("start", "stop"))
        overlaps = ((self.starts < high) & (self.starts + self.lengths > low)).all(axis=1)
        for number in np.flatnonzero(overlaps):
            part = self.part(int(number), region)
            if part is not None:
                yield int(number), part

    def even_parts(self, region: Region) -> Iterator[Region]:
        """Yield the parts of a region in which no film begins or ends: fields may differ in the number of frames."""
        ends = np.concatenate([self.starts, self.starts + self.lengths])
        cuts = []
        for axis, one in enumerate(region):
            inner = () if axis in self.space else np.unique(ends[:, axis]).tolist()
            borders = [one.start, *(end for end in inner if one.start < end < one.stop), one.stop]
            cuts.append([slice(start, stop) for start, stop in itertools.pairwise(borders)])
        yield from itertools.product(*cuts)

    def in_field(self, number: int, part: Region) -> Region:
        """Return a region in the coordinates of a field."""
        return tuple(
            slice(one.start - int(start), one.stop - int(start))
            for one, start in zip(part, self.starts[number], strict=True)
        )

    def owners(self, region: Region) -> list[tuple[int, Region, Numbers]]:
        """Return the fields whose centre is nearest to some pixels of a region.

        Each with the smallest region that contains these pixels, and which of its pixels they are: an array with
        length 1 along the axes that are not of space.
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
        return [one for number, part in fields for one in self._owned(number, part, owner, region)]

    def _owned(
        self, number: int, part: Region, owner: Numbers, region: Region
    ) -> Iterator[tuple[int, Region, Numbers]]:
        mask = owner[self.in_space(part, region)] == number
        if not mask.any():
            return
        smaller = list(part)
        cut: list[slice] = []
        for axis, one in enumerate(part):
            others = tuple(other for other in range(mask.ndim) if other != axis)
            used = np.flatnonzero(mask.any(axis=others))
            cut.append(slice(int(used[0]), int(used[-1]) + 1))
            if axis in self.space:
                smaller[axis] = slice(one.start + cut[axis].start, one.start + cut[axis].stop)
        yield number, tuple(smaller), mask[tuple(cut)]

    def weights(self, number: int, part: Region) -> Numbers:
        """Return the weights of a field's pixels: their distance to its edges, which is 1 at the edge."""
        weight = np.ones((1,) * len(part))
        for axis in self.space:
            length = int(self.lengths[number][axis])
            at = np.arange(part[axis].start, part[axis].stop) - int(self.starts[number][axis])
            weight = weight * self._along(np.minimum(at + 1, length - at), axis, len(part))
        return weight

    def _distance(self, number: int, part: Region) -> Numbers:
        """Return the squared distance of pixels to the centre of a field, in units of space."""
        total = np.zeros((1,) * len(part))
        for axis in self.space:
            centre = self.starts[number][axis] + (self.lengths[number][axis] - 1) / 2
            at = (np.arange(part[axis].start, part[axis].stop) - centre) * self.scale[axis]
            total = total + self._along(at**2, axis, len(part))
        return total

    def in_space(self, part: Region, region: Region) -> Region:
        """Return where a part lies in an array of a region that has length 1 along the axes that are not of space."""
        return tuple(
            slice(p.start - r.start, p.stop - r.start) if axis in self.space else slice(0, 1)
            for axis, (p, r) in enumerate(zip(part, region, strict=True))
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
    """Return the layout of fields by their translations, rounded to whole pixels.

    Examples
    --------
    >>> layout = layout_of([(4, 4), (4, 4)], [(0.5, 0.5)] * 2, [(0, 0), (0, 1.5)], (0, 1), ["a", "b"])
    >>> layout.shape, layout.starts.tolist()
    ((4, 7), [[0, 0], [0, 3]])
    """
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
