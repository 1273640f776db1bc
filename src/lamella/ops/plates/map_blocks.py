"""The regions that a function of `Plate.map` reads and writes: blocks with a halo, and axes that the results lack.

For example with a halo of 2 along x and chunks of 8: the block that is written is x = 8 to 16, and the function gets
the pixels from 6 to 18. What it computes for the halo is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError
from lamella.ops.regions import region_shape, relative_region
from lamella.spec.axes import space_axes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.ops.regions import Region
    from lamella.spec.axes import AxisMeta
    from lamella.types import Array, Shape


@dataclass(frozen=True)
class Where:
    """The region or position that a function of `Plate.map` gets; passed to it if it has a parameter ``where``.

    Attributes
    ----------
    path
        Of the position: "row/column/field".
    level
        Path of the array that is read.
    region
        The region whose result is stored, in the array that is read; None for whole positions.
    read
        The region that is read: with the halo, and with the whole length of axes that the results lack.
    """

    path: str
    level: str
    region: Region | None = None
    read: Region | None = None


@dataclass(frozen=True)
class BlockPlan:
    """How an array is cut into blocks."""

    shape: Shape
    """Shape of the array that is read."""
    halo: tuple[int, ...]
    """Pixels to read beyond each side of a block, per axis."""
    dropped: frozenset[int] = frozenset()
    """Indices of the axes that the results lack; the stored result has length 1 along them."""

    @property
    def result_shape(self) -> Shape:
        """Shape of the stored result."""
        return tuple(1 if axis in self.dropped else length for axis, length in enumerate(self.shape))

    def region_to_read(self, region: Region) -> Region:
        """Return the region to read for a region of the stored result."""
        return tuple(
            slice(0, length)
            if axis in self.dropped
            else slice(max(0, span.start - halo), min(length, span.stop + halo))
            for axis, (span, length, halo) in enumerate(zip(region, self.shape, self.halo, strict=True))
        )

    def region_without_halo(self, region: Region) -> Region:
        """Return the region that is read for a region of the stored result, without the halo."""
        return tuple(
            slice(0, length) if axis in self.dropped else span
            for axis, (span, length) in enumerate(zip(region, self.shape, strict=True))
        )

    def without_halo(self, returned: Any, region: Region) -> Array:
        """Return the array that a function returned without the halo; raise for an array of another shape."""
        return self.with_all_axes(returned, region)[self.relative_region(region, self.region_to_read(region))]

    def with_all_axes(self, returned: Any, region: Region) -> Array:
        """Return the array that a function returned with length 1 along axes that it lacks; raise for another shape."""
        array = np.asarray(returned)
        shape_read = region_shape(self.region_to_read(region))
        with_dropped = tuple(1 if axis in self.dropped else length for axis, length in enumerate(shape_read))
        without_dropped = tuple(length for axis, length in enumerate(shape_read) if axis not in self.dropped)
        if array.shape not in (with_dropped, without_dropped):
            raise InvalidArgumentError(
                f"The function returned an array of shape {array.shape} for one of {shape_read}: expected "
                f"{without_dropped}."
            )
        return array.reshape(with_dropped)

    def relative_region(self, region: Region, outer: Region) -> Region:
        """Return a region relative to the start of a surrounding region."""
        spans = enumerate(relative_region(region, outer))
        return tuple(slice(0, 1) if axis in self.dropped else span for axis, span in spans)

    def settings(self) -> str:
        """Return a text for the digest of a job: empty if there is no halo, and results have all axes."""
        return f" {self.halo} {sorted(self.dropped)}" if any(self.halo) or self.dropped else ""


def block_plan(
    image_axes: Sequence[AxisMeta], shape: Shape, halo: int | Mapping[str, int], axes: Sequence[str] | None
) -> BlockPlan:
    """Return how an array of an image is cut for results with some ``axes``, by their names (None for all)."""
    image_axes = image_axes[-len(shape) :]
    names = [axis.name.lower() for axis in image_axes]
    result_axes = list(names) if axes is None else [str(name).lower() for name in axes]
    if [name for name in names if name in result_axes] != result_axes or not result_axes:
        raise InvalidArgumentError(
            f"axes={axes!r} are not the axes of results, which are some of {names} in that order."
        )
    if isinstance(halo, int):
        space = [names[axis] for axis in space_axes(image_axes)]
        widths: Mapping[str, int] = {name: halo for name in space if name in result_axes}
    else:
        widths = halo
    unknown = [name for name in widths if name.lower() not in result_axes]
    if unknown:
        raise InvalidArgumentError(
            f"halo={halo!r} names the axis {unknown[0]!r}, and the axes of the results are {result_axes}."
        )
    width_by_name = {name.lower(): width for name, width in widths.items()}
    dropped = frozenset(axis for axis, name in enumerate(names) if name not in result_axes)
    return BlockPlan(shape, tuple(width_by_name.get(name, 0) for name in names), dropped)
