"""Read the planes of a source as an array in blocks: decoded, sampled for contrast, counted.

A worker computes the lower levels of a block too (:mod:`lamella.ops.pyramids.passes`), so no pixel is read twice.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.conversion.contrast import ContrastSampler
from lamella.ops.conversion.layout import choose_block
from lamella.ops.conversion.source import read_into, read_planes
from lamella.ops.pyramids.level_assembler import unit_shape
from lamella.ops.regions import nested
from lamella.store.metadata.array_meta import ArrayMeta
from lamella.store.process_limits import codec_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lamella.ops.conversion.source import PlaneSource
    from lamella.ops.execution import Count
    from lamella.ops.regions import Region
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array

_SHARED_BYTES = 48 << 20
"""Few blocks above this size fit in memory, so the codec threads help to read them."""


class PlanesArray:
    """Source pixels to write into ``target``, read in blocks like a StoredArray. Pickling drops sample and progress.

    ``images`` is the number of images of a plate, which get one contrast together; 0 for an image with its own. In the
    sample of a plate missing planes are zeros, as they are when a resumed call samples stored pixels.
    """

    def __init__(
        self, source: PlaneSource, target: StoredArray, tally: Count | None = None, *, images: int = 0
    ) -> None:
        description = source.description
        self.source = source
        self.tally = tally
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
        self.tally = None

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
        threads = codec_threads().map if out.nbytes > _SHARED_BYTES else map
        for _ in threads(lambda group: self._read_planes(group, out), groups):
            pass

    def sample(self, region: Region) -> None:
        """Read only the contrast sample of a region: its pixels are written already."""
        together, axes = self.source.description.channels_together, self.source.description.axes
        for block_region in nested(region, [self._meta.chunks]):
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
        parts = [block[block_index] for block_index in block_indices]
        if len(indices) == 1:
            exist = [read_into(self.source, indices[0], rows, parts[0])]
        else:
            planes = read_planes(self.source, indices, rows)
            exist = [pixels is not None for pixels in planes]
            for part, pixels in zip(parts, planes, strict=True):
                if pixels is not None:
                    part[...] = pixels
        for index, part, exists in zip(indices, parts, exist, strict=True):
            if not exists:
                part[...] = 0
            if exists or self._images:
                self.sampler.add(index, rows.start, part)
        self._count(indices, rows)

    def _count(self, indices: Sequence[tuple[int, ...]], rows: slice) -> None:
        if self.tally is not None:
            height = self._meta.shape[-2]
            self.tally.add(len(indices) * (rows.stop - rows.start) / height)


_PlaneGroup = tuple["list[tuple[int, ...]]", "list[tuple[int, ...]]", slice]
"""Planes that are decoded together: indices in the image, indices in the block, rows."""


def _plane_groups(axes: str, region: Region, together: int) -> Iterator[_PlaneGroup]:
    """Yield the planes of a block in groups; ``together`` neighbouring channels are decoded at once."""
    outer = [range(part.start, part.stop) for part in region[:-2]]
    channel = axes.find("c")
    groups: list[list[int]] = [[0]]
    if channel >= 0:
        numbers = outer[channel]
        groups = [
            [c for c in numbers if c // together == group_number]
            for group_number in range(numbers.start // together, -(-numbers.stop // together))
        ]
        outer[channel] = range(1)  # each group has its own channels
    for group in groups:
        for index in product(*outer):
            indices = [
                tuple(c if axis == channel else position for axis, position in enumerate(index))
                for c in group
            ]
            block_indices = [
                tuple(position - part.start for position, part in zip(plane, region[:-2], strict=True))
                for plane in indices
            ]
            yield indices, block_indices, region[-2]
