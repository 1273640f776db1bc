"""Assembling a level from the regions that several workers compute, and writing every file once.

In sharded levels a chunk is buffered until it is complete; in other levels, a file.

Layer: ops.
"""

from __future__ import annotations

from math import prod
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.regions import nested, region_shape
from lamella.store.coding import coding_of
from lamella.store.local import LocalStorage
from lamella.store.shard_writer import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.regions import Region
    from lamella.store.arrays import StoredArray
    from lamella.types import Array, Shape


def unit_shape(array: StoredArray) -> Shape:
    """Return the shape that is buffered before it is written: a chunk of a streamed shard, else a file."""
    meta = array.meta
    coding = coding_of(meta)
    streams = (
        isinstance(array.documents.storage, LocalStorage) and coding is not None and coding.index is not None
    )
    return meta.chunks if streams else meta.files


class LevelAssembler:
    """Assembles the region of one level that is computed at once; every voxel of it is added once."""

    def __init__(self, array: StoredArray, region: Region) -> None:
        self._array = array
        self._meta = array.meta
        self._region = region
        self._unit = unit_shape(array)
        self._lock = Lock()
        self._files: dict[Shape, _FilePart] = {}

    def add(self, box: Region, block: Array) -> None:
        """Add a region of the level, and write what it completes. Several threads may add at the same time."""
        for part in nested(box, [self._meta.files]):
            place = tuple(one.start // f for one, f in zip(part, self._meta.files, strict=True))
            with self._lock:
                if place not in self._files:
                    self._files[place] = self._begin(place)
                file = self._files[place]
            if file.add(part, block[inside(part, box)]):
                with self._lock:
                    del self._files[place]

    def _begin(self, place: Shape) -> _FilePart:
        box = tuple(
            slice(max(one.start, cell.start), min(one.stop, cell.stop))
            for one, cell in zip(self._region, self._meta.file_box(place), strict=True)
        )
        whole_chunks = all(
            one.start % c == 0 and (one.stop % c == 0 or one.stop == n)
            for one, c, n in zip(box, self._meta.chunks, self._meta.shape, strict=True)
        )
        if self._unit == self._meta.files or not whole_chunks:
            return _FilePart(box, self._meta.files, self._array.write)
        return _StreamedFile(box, self._meta.chunks, ShardWriter(self._array, place))

    def abort(self) -> None:
        """Drop what is not complete; the stored files stay."""
        for file in self._files.values():
            file.abort()


class _FilePart:
    """The computed region of one file, in buffers of ``unit`` voxels (aligned to 0) that ``write`` writes."""

    def __init__(self, box: Region, unit: Shape, write: Callable[[Region, Array], object]) -> None:
        self._box = box
        self._unit = unit
        self._write = write
        self._lock = Lock()
        self._missing = prod(region_shape(box))
        self._buffers: dict[Shape, _Buffer] = {}

    def add(self, box: Region, block: Array) -> bool:
        """Add a region; return whether it completed the file, which is then written."""
        for part in nested(box, [self._unit]):
            place = tuple(one.start // u for one, u in zip(part, self._unit, strict=True))
            whole = tuple(
                slice(max(k * u, one.start), min((k + 1) * u, one.stop))
                for k, u, one in zip(place, self._unit, self._box, strict=True)
            )
            self._put(place, whole, part, block[inside(part, box)])
        with self._lock:
            self._missing -= block.size
            complete = self._missing == 0
        if complete:
            self._end()
        return complete

    def _put(self, place: Shape, whole: Region, part: Region, piece: Array) -> None:
        if part == whole:
            self._write(whole, piece)
            return
        with self._lock:
            if place not in self._buffers:
                self._buffers[place] = _Buffer(whole, piece.dtype)
            buffer = self._buffers[place]
        buffer.block[inside(part, whole)] = piece
        with self._lock:
            buffer.missing -= piece.size
            complete = buffer.missing == 0
            if complete:
                del self._buffers[place]
        if complete:
            self._write(whole, buffer.block)

    def _end(self) -> None:
        """Finish the file."""

    def abort(self) -> None:
        """Drop incomplete buffers."""
        self._buffers.clear()


class _StreamedFile(_FilePart):
    """Whole chunks of one shard, each encoded and stored as soon as it is complete."""

    def __init__(self, box: Region, chunk: Shape, writer: ShardWriter) -> None:
        super().__init__(box, chunk, self._put_chunk)
        self._writer = writer

    def _put_chunk(self, box: Region, block: Array) -> None:
        place = (one.start // c for one, c in zip(box, self._unit, strict=True))
        self._writer.put([k % n for k, n in zip(place, self._writer.chunks, strict=True)], block)

    def _end(self) -> None:
        self._writer.commit()

    def abort(self) -> None:
        """Keep the old shard."""
        super().abort()
        self._writer.abort()


class _Buffer:
    """A unit that waits for its remaining voxels."""

    def __init__(self, box: Region, dtype: np.dtype[np.generic]) -> None:
        self.block: Array = np.empty(region_shape(box), dtype)
        self.missing = self.block.size


def inside(part: Region, box: Region) -> Region:
    """Return the region of a part in the array of a surrounding region.

    >>> inside((slice(5, 6),), (slice(4, 8),))
    (slice(1, 2, None),)
    """
    return tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
