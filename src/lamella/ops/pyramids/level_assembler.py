"""Assemble a level from the regions that several workers compute, and write every file once.

In sharded levels a chunk is buffered until it is complete; in other levels, a file. Example: files of 4 x 4 voxels, and
regions of 2 x 2: a file is written when its fourth region was added.
"""

from __future__ import annotations

from math import prod
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.regions import overlap, region_shape, relative_region, split_by_cell, split_region
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
    """Return the shape that is buffered until it is complete: a chunk if the level has local shards, else a file."""
    coding = coding_of(meta)
    is_local = isinstance(array.documents.storage, LocalStorage)
    return meta.chunks if is_local and coding is not None and coding.index_layout is not None else meta.files


def writes_by_requests(array: StoredArray) -> bool:
    """Return whether each file is written by a request to a server: many requests are then sent at the same time."""
    return not isinstance(array.documents.storage, LocalStorage)


class LevelAssembler:
    """Assembles a region of one level; every voxel is added once."""

    def __init__(self, array: StoredArray, region: Region) -> None:
        self._array = array
        self._meta = array.meta
        self._region = region
        self._file_shape = self._meta.files
        self._unit_shape = unit_shape(array, self._meta)
        self._writes_aligned_files_at_once = (
            writes_by_requests(array) and self._unit_shape == self._file_shape
        )
        self._write_file = whole_file_writer(array)
        self._lock = Lock()
        self._files: dict[Shape, _FileAssembler] = {}

    def add(self, region: Region, block: Array) -> None:
        """Add a region of the level, and write completed chunks or files; threads may call this at the same time."""
        if self._writes_aligned_files_at_once and self._is_aligned_to_files(region):
            self._array.write(region, block)
            return
        for file_index, region_in_file, part_of_block in split_by_cell(region, self._file_shape):
            voxels = block[part_of_block]
            if self._write_file is not None and voxels.shape == self._file_shape:
                self._write_file(file_index, voxels)
                continue
            with self._lock:
                if file_index not in self._files:
                    self._files[file_index] = self._new_file(file_index)
                file = self._files[file_index]
            if file.add(region_in_file, voxels):
                with self._lock:
                    del self._files[file_index]

    def _is_aligned_to_files(self, region: Region) -> bool:
        """Return whether a region ends at borders of files, or of the assembled region."""
        return all(
            (span.start % length == 0 or span.start == assembled.start)
            and (span.stop % length == 0 or span.stop == assembled.stop)
            for span, length, assembled in zip(region, self._file_shape, self._region, strict=True)
        )

    def _new_file(self, file_index: Shape) -> _FileAssembler:
        region = overlap(self._region, self._meta.file_region(file_index))
        whole_chunks = all(
            span.start % chunk == 0 and (span.stop % chunk == 0 or span.stop == length)
            for span, chunk, length in zip(region, self._meta.chunks, self._meta.shape, strict=True)
        )
        by_chunks = self._unit_shape != self._file_shape and whole_chunks
        shard_writer = ShardWriter(self._array, file_index) if by_chunks else None
        return _FileAssembler(
            region, self._array, self._unit_shape if by_chunks else self._file_shape, shard_writer
        )

    def abort(self) -> None:
        """Drop incomplete chunks and files; the stored files stay."""
        for file in self._files.values():
            file.abort()


def write_by_chunks(array: StoredArray, region: Region, read: Callable[[Region, Array], object]) -> None:
    """Write a large file chunk by chunk, so that few chunks are in memory; ``read`` fills a block of a region."""
    meta = array.meta
    assembler = LevelAssembler(array, region)
    try:
        for chunk_region in split_region(region, [meta.chunks]):
            block = scratch(region_shape(chunk_region), meta.dtype)
            read(chunk_region, block)
            assembler.add(chunk_region, block)
    except BaseException:
        assembler.abort()
        raise


class _FileAssembler:
    """The assembled region of one file: buffered as a whole, or chunk by chunk for the writer of a shard."""

    def __init__(
        self, region: Region, array: StoredArray, unit_shape: Shape, shard_writer: ShardWriter | None
    ) -> None:
        self._file_region = region
        self._array = array
        self._unit_shape = unit_shape
        self._shard_writer = shard_writer
        self._lock = Lock()
        self._missing_voxels = prod(region_shape(region))
        self._buffers: dict[Shape, _Buffer] = {}

    def add(self, region: Region, block: Array) -> bool:
        """Add a region; return whether it completed the file, which is then written."""
        for unit_index, region_in_unit, part_of_block in split_by_cell(region, self._unit_shape):
            self._add_to_unit(unit_index, region_in_unit, block[part_of_block])
        with self._lock:
            self._missing_voxels -= block.size
            is_complete = self._missing_voxels == 0
        if is_complete and self._shard_writer is not None:
            self._shard_writer.commit()
        return is_complete

    def _add_to_unit(self, unit_index: Shape, region: Region, block: Array) -> None:
        """Buffer a region of a unit, and write the unit when it is complete; write a whole unit without a buffer."""
        with self._lock:
            buffer = self._buffers.get(unit_index)
            if buffer is None:
                whole_unit = tuple(
                    slice(index * length, (index + 1) * length)
                    for index, length in zip(unit_index, self._unit_shape, strict=True)
                )
                unit_region = overlap(whole_unit, self._file_region)
                if region != unit_region:
                    buffer = self._buffers[unit_index] = _Buffer(unit_region, block.dtype)
        if buffer is None:
            self._write(unit_index, region, block)
            return
        buffer.block[relative_region(region, buffer.region)] = block
        with self._lock:
            buffer.missing_voxels -= block.size
            is_complete = buffer.missing_voxels == 0
            if is_complete:
                del self._buffers[unit_index]
        if is_complete:
            self._write(unit_index, buffer.region, buffer.block)

    def _write(self, unit_index: Shape, region: Region, block: Array) -> None:
        if self._shard_writer is None:
            self._array.write(region, block)
        else:
            chunks_per_shard = self._shard_writer.chunks
            chunk_in_shard = [
                index % count for index, count in zip(unit_index, chunks_per_shard, strict=True)
            ]
            self._shard_writer.put(chunk_in_shard, block)

    def abort(self) -> None:
        """Drop incomplete buffers; the old shard stays."""
        self._buffers.clear()
        if self._shard_writer is not None:
            self._shard_writer.abort()


class _Buffer:
    """A unit that is not complete yet."""

    def __init__(self, region: Region, dtype: np.dtype[np.generic]) -> None:
        self.region = region
        self.block: Array = np.empty(region_shape(region), dtype)
        self.missing_voxels = self.block.size
