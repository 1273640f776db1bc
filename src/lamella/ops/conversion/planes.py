"""Read the planes of a source in blocks, as the source of a pass over level 0; sample their contrast, and count them.

The worker that reads a block computes its lower levels too (:mod:`lamella.ops.pyramids.passes`), so no pixel is read
twice.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.conversion.contrast import ContrastSampler
from lamella.ops.conversion.layout import choose_block
from lamella.ops.conversion.source import read_into, read_planes
from lamella.ops.pyramids.level_assembler import unit_shape
from lamella.ops.regions import split_region
from lamella.store.metadata.array_meta import ArrayMeta
from lamella.store.process_limits import codec_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.execution import Count
    from lamella.ops.regions import Region
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array

_MANY_THREADS_BYTES = 48 << 20
"""Blocks above this size are read by several threads, because there is memory for few such blocks at a time."""


class PlanesArray:
    """Pixels to write into ``target``, read from a source in blocks. Pickling drops the sample and the progress.

    ``images`` is the number of images of a plate, which get one contrast together; 0 for an image with its own. In the
    sample of a plate missing planes are zeros, as they are when a resumed call samples stored pixels.
    """

    def __init__(
        self, source: PlaneSource, target: StoredArray, planes_read: Count | None = None, *, images: int = 0
    ) -> None:
        description = source.description
        self.source = source
        self.planes_read = planes_read
        self._images = images
        self.sampler = self._new_sampler()
        block = choose_block(
            description.shape,
            unit_shape(target, target.meta),
            description.dtype.itemsize,
            band_rows=description.band_rows,
            channels_together=description.channels_together,
            axes=description.axes,
        )
        self._meta = ArrayMeta(description.shape, description.dtype, block)

    def __getstate__(self) -> tuple[PlaneSource, ArrayMeta, int]:
        return self.source, self._meta, self._images

    def __setstate__(self, state: tuple[PlaneSource, ArrayMeta, int]) -> None:
        self.source, self._meta, self._images = state
        self.sampler = self._new_sampler()
        self.planes_read = None

    def _new_sampler(self) -> ContrastSampler:
        description = self.source.description
        return ContrastSampler(description.axes, description.shape, description.dtype, self._images)

    @property
    def meta(self) -> ArrayMeta:
        """Shape, dtype and, as chunks, the best blocks to read."""
        return self._meta

    def read(self, region: Region, out: Array) -> None:
        """Read a region of whole rows into a block; missing planes are zeros."""
        together = self.source.description.channels_together
        groups = list(_plane_groups(self.source.description.axes, region, together))
        map_function = codec_threads().map if out.nbytes > _MANY_THREADS_BYTES else map
        for _ in map_function(lambda group: self._read_planes(group, out), groups):
            pass

    def sample(self, region: Region) -> None:
        """Read only the contrast sample of a region: its pixels are written already."""
        together, axes = self.source.description.channels_together, self.source.description.axes
        for block_region in split_region(region, [self._meta.chunks]):
            for indices, _, rows in _plane_groups(axes, block_region, together):
                sampled_indices = [index for index in indices if self.sampler.needs(index)]
                planes = read_planes(self.source, sampled_indices, rows) if sampled_indices else ()
                for index, pixels in zip(sampled_indices, planes, strict=True):
                    if pixels is not None:
                        self.sampler.add(index, rows.start, pixels)
                    elif self._images:
                        shape = rows.stop - rows.start, self._meta.shape[-1]
                        self.sampler.add(index, rows.start, np.zeros(shape, self._meta.dtype))
                self._count(indices, rows)

    def _read_planes(self, group: _PlaneGroup, block: Array) -> None:
        indices, block_indices, rows = group
        targets = [block[block_index] for block_index in block_indices]
        if len(indices) == 1:
            exists = [read_into(self.source, indices[0], rows, targets[0])]
        else:
            planes = read_planes(self.source, indices, rows)
            exists = [pixels is not None for pixels in planes]
            for target, pixels in zip(targets, planes, strict=True):
                if pixels is not None:
                    target[...] = pixels
        for index, target, plane_exists in zip(indices, targets, exists, strict=True):
            if not plane_exists:
                target[...] = 0
            if plane_exists or self._images:
                self.sampler.add(index, rows.start, target)
        self._count(indices, rows)

    def _count(self, indices: Sequence[tuple[int, ...]], rows: slice) -> None:
        if self.planes_read is not None:
            height = self._meta.shape[-2]
            self.planes_read.add(len(indices) * (rows.stop - rows.start) / height)


_PlaneGroup = tuple["list[tuple[int, ...]]", "list[tuple[int, ...]]", slice]
"""Planes that are decoded together: indices in the image, indices in the block, rows."""


def _plane_groups(axes: str, region: Region, channels_together: int) -> Iterator[_PlaneGroup]:
    """Yield the planes of a block in groups of up to ``channels_together`` channels, which are decoded together."""
    outer_ranges = [range(span.start, span.stop) for span in region[:-2]]
    channel = axes.find("c")
    groups: list[list[int]] = [[0]]
    if channel >= 0:
        numbers = outer_ranges[channel]
        first_group, end = numbers.start // channels_together, -(-numbers.stop // channels_together)
        groups = [
            [number for number in numbers if number // channels_together == group_number]
            for group_number in range(first_group, end)
        ]
        outer_ranges[channel] = range(1)  # replaced by the channels of each group
    for group in groups:
        for index in product(*outer_ranges):
            indices = [
                tuple(number if axis == channel else position for axis, position in enumerate(index))
                for number in group
            ]
            block_indices = [
                tuple(position - span.start for position, span in zip(plane, region[:-2], strict=True))
                for plane in indices
            ]
            yield indices, block_indices, region[-2]
