"""Assemble a level from the regions that several workers compute, and write every file once.

In sharded levels a chunk is buffered until it is complete; in other levels, a file. Example: files of 4 x 4 voxels, and
regions of 2 x 2: a file is written when its fourth region was added.
"""

from __future__ import annotations

from math import prod
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.regions import cells, inside, nested, overlap, region_shape
from lamella.ops.scratch import scratch
from lamella.store.files.local import LocalStorage
from lamella.store.pixels.coding import coding_of
from lamella.store.pixels.shard_writer import ShardWriter, whole_file_writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.regions import Region
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array, Shape


def unit_shape(array: StoredArray, meta: ArrayMeta) -> Shape:
    """Return the shape that is buffered until it is complete: a chunk of a local shard, else a file."""
    coding = coding_of(meta)
    is_local = isinstance(array.documents.storage, LocalStorage)
    return meta.chunks if is_local and coding is not None and coding.index_layout is not None else meta.files


def waits_for_requests(array: StoredArray) -> bool:
    """Return whether each file is a request to a server, so that many should be sent at once."""
    return not isinstance(array.documents.storage, LocalStorage)


class LevelAssembler:
    """Assembles a region of one level; every voxel is added once."""

    def __init__(self, array: StoredArray, region: Region) -> None:
        self._array = array
        self._meta = array.meta
        self._region = region
        self._file_shape = self._meta.files
        self._unit = unit_shape(array, self._meta)
        self._writes_together = waits_for_requests(array) and self._unit == self._file_shape
        self._write_file = whole_file_writer(array)
        self._lock = Lock()
        self._files: dict[Shape, _FilePart] = {}

    def add(self, region: Region, block: Array) -> None:
        """Add a region of the level, and write completed chunks or files; threads may call this at the same time."""
        if self._writes_together and self._is_whole_files(region):
            self._array.write(region, block)
            return
        for file_index, part, within in cells(region, self._file_shape):
            values = block[within]
            if self._write_file is not None and values.shape == self._file_shape:
                self._write_file(file_index, values)
                continue
            with self._lock:
                if file_index not in self._files:
                    self._files[file_index] = self._begin(file_index)
                file = self._files[file_index]
            if file.add(part, values):
                with self._lock:
                    del self._files[file_index]

    def _is_whole_files(self, region: Region) -> bool:
        """Return whether a region contains, of each file that it overlaps, all that is assembled."""
        return all(
            (span.start % length == 0 or span.start == assembled.start)
            and (span.stop % length == 0 or span.stop == assembled.stop)
            for span, length, assembled in zip(region, self._file_shape, self._region, strict=True)
        )

    def _begin(self, file_index: Shape) -> _FilePart:
        region = overlap(self._region, self._meta.file_region(file_index))
        whole_chunks = all(
            span.start % chunk == 0 and (span.stop % chunk == 0 or span.stop == length)
            for span, chunk, length in zip(region, self._meta.chunks, self._meta.shape, strict=True)
        )
        streams = self._unit != self._file_shape and whole_chunks
        shard = ShardWriter(self._array, file_index) if streams else None
        return _FilePart(region, self._array, self._unit if streams else self._file_shape, shard)

    def abort(self) -> None:
        """Drop incomplete chunks and files; the stored files stay."""
        for file in self._files.values():
            file.abort()


def write_by_chunks(array: StoredArray, region: Region, read: Callable[[Region, Array], object]) -> None:
    """Write a large file chunk by chunk, so that few chunks are in memory; ``read`` fills a block of a region."""
    meta = array.meta
    assembler = LevelAssembler(array, region)
    try:
        for part in nested(region, [meta.chunks]):
            block = scratch(region_shape(part), meta.dtype)
            read(part, block)
            assembler.add(part, block)
    except BaseException:
        assembler.abort()
        raise


class _FilePart:
    """The assembled region of one file: buffered as a whole, or chunk by chunk for the writer of a shard."""

    def __init__(self, region: Region, array: StoredArray, unit: Shape, shard: ShardWriter | None) -> None:
        self._file_region = region
        self._array = array
        self._unit = unit
        self._shard = shard
        self._lock = Lock()
        self._missing = prod(region_shape(region))
        self._buffers: dict[Shape, _Buffer] = {}

    def add(self, region: Region, block: Array) -> bool:
        """Add a region; return whether it completed the file, which is then written."""
        for index, part, within in cells(region, self._unit):
            self._put(index, part, block[within])
        with self._lock:
            self._missing -= block.size
            complete = self._missing == 0
        if complete and self._shard is not None:
            self._shard.commit()
        return complete

    def _put(self, index: Shape, part: Region, block: Array) -> None:
        """Buffer a part of a unit, and write the unit when it is complete."""
        with self._lock:
            buffer = self._buffers.get(index)
            if buffer is None:
                cell = tuple(slice(k * n, (k + 1) * n) for k, n in zip(index, self._unit, strict=True))
                region = overlap(cell, self._file_region)
                if part != region:
                    buffer = self._buffers[index] = _Buffer(region, block.dtype)
        if buffer is None:
            self._write(index, part, block)
            return
        buffer.block[inside(part, buffer.region)] = block
        with self._lock:
            buffer.missing -= block.size
            complete = buffer.missing == 0
            if complete:
                del self._buffers[index]
        if complete:
            self._write(index, buffer.region, buffer.block)

    def _write(self, index: Shape, region: Region, block: Array) -> None:
        if self._shard is None:
            self._array.write(region, block)
        else:
            self._shard.put([k % n for k, n in zip(index, self._shard.chunks, strict=True)], block)

    def abort(self) -> None:
        """Drop incomplete buffers; the old shard stays."""
        self._buffers.clear()
        if self._shard is not None:
            self._shard.abort()


class _Buffer:
    """A unit that is not complete yet."""

    def __init__(self, region: Region, dtype: np.dtype[np.generic]) -> None:
        self.region = region
        self.block: Array = np.empty(region_shape(region), dtype)
        self.missing = self.block.size
