"""Write the frames of one array: collect them in chunks, encode these on threads, and publish stored frames.

A frame is *stored* when its file and those of all earlier frames are in place; the array's shape covers stored frames
only. A *slab* is the chunks that contain the same frames: 16 chunks of 1 x 512 x 512 for frames of 2048 x 2048. A *key*
is the grid index of a slab, or of the files of the same frames, along the axes over which frames arrive.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from operator import floordiv, sub
from typing import TYPE_CHECKING, TypeAlias

from lamella.store.pixels.coding import coding_of
from lamella.store.pixels.growth import clear_region
from lamella.store.pixels.shard_writer import ShardWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lamella.ops.streaming.chunk_threads import ChunkThreads
    from lamella.ops.streaming.order import FrameOrder, Key
    from lamella.ops.streaming.record import StreamRecord
    from lamella.spec.stale_levels import Bounds
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Array, Shape

RecordWrite: TypeAlias = "Callable[[Callable[[], Bounds | None]], AbstractContextManager[None]]"
"""A context that records a write while it runs: until its end, lower levels count as stale."""

#: Shards whose temporary files stay open; a process may have 1024 files open by default.
_MAX_OPEN = 128

#: The list of times is written again when an eighth was added: for each frame it would cost too much in a long stream.
_TIMES_STEP = 8


@dataclass
class _Slab:
    """The chunks of the same frames, in memory.

    ``origin`` is the index of its first frame along the axes of the order, ``is_dirty`` whether it has pixels that are
    not in its files.
    """

    key: Key
    origin: tuple[int, ...]
    block: Array
    frames_to_come: int
    is_dirty: bool = False


@dataclass
class _FileSet:
    """The files of the same frames: shards, or chunks without shards.

    ``appended_frames`` are the numbers of frames since the last commit. ``pending_jobs`` counts slabs that threads have
    still to write, or to drop.
    """

    key: Key
    frames_to_come: int
    appended_frames: list[int] = field(default_factory=list)
    pending_jobs: int = 0
    writers: dict[Shape, ShardWriter] = field(default_factory=dict)


class ArrayFrames:
    """Writer of the frames of one array, in order.

    The array is empty along a growing axis, or another stream has written it (``record``). ``threads`` encode and
    write, and may serve several arrays. ``record_write`` marks lower levels stale during a write.
    ``count`` is the number of appended and skipped frames, ``stored`` that of stored ones.
    """

    def __init__(
        self,
        array: StoredArray,
        order: FrameOrder,
        record: StreamRecord,
        threads: ChunkThreads,
        record_write: RecordWrite,
    ) -> None:
        self.array = array
        self.order = order
        self.record = record
        self.count = self.stored = self._start = record.frames
        self._threads = threads
        self._record_write = record_write
        self._meta = array.meta
        #: Files may be completed out of order. With frames 0, 1, 2 and 5 in place, the count is 3, and 5 is ahead.
        self._placed_count, self._placed_ahead = record.frames, set[int]()
        self._slabs: dict[Key, _Slab] = {}
        self._files: dict[Key, _FileSet] = {}
        self._open_files: set[Key] = set()
        self._lock = threading.Lock()
        self._documents = threading.Lock()
        self._is_frozen = False
        self._written_times = len(record.times)

    def restart(self, count: int) -> None:
        """Return to an earlier frame before the first append: the frames after it will be appended again."""
        self.record.cut(count)
        self.count = self.stored = self._placed_count = self._start = count

    def prepare(self) -> None:
        """Prepare codecs, threads and memory, so that no frame waits for them."""
        coding = coding_of(self._meta)
        if coding is not None:
            first = self._slab_region((0,) * len(self.order.axes))
            shape = tuple(span.stop - span.start for span in first)
            self._threads.prepare(shape, self._meta.dtype, self._meta.chunks, coding.encode)

    # ---- frames -------------------------------------------------------------------------------------

    def append(self, frame: Array, time: float | None) -> None:
        """Append the next frame, which has the array's lengths along all axes that are not in the order."""
        frame_index = self.order.index_of(self.count)
        slab = self._slab(frame_index)
        index_in_slab = map(sub, frame_index, slab.origin)
        index_of_axis = dict(zip(self.order.axes, index_in_slab, strict=True))
        slab.block[tuple(index_of_axis.get(axis, slice(None)) for axis in range(self._meta.ndim))] = frame
        slab.is_dirty = True
        if time is not None or self.record.times:
            times = self.record.times
            times.extend([None] * (self.count - len(times)))
            times.append(time)
        self._advance(slab, frame_index)

    def skip(self) -> None:
        """Count a missing frame."""
        frame_index = self.order.index_of(self.count)
        with self._lock:
            self.record.skip(self.count, 1)
        self._advance(self._slab(frame_index), frame_index)

    def _advance(self, slab: _Slab, frame_index: tuple[int, ...]) -> None:
        number, self.count = self.count, self.count + 1
        files = self._files_of(frame_index)
        slab.frames_to_come -= 1
        with self._lock:
            files.frames_to_come -= 1
            files.appended_frames.append(number)
            if not slab.frames_to_come:  # before another thread can see the files as complete
                files.pending_jobs += 1
        if slab.frames_to_come:
            return
        del self._slabs[slab.key]
        # All frames of a slab that is not dirty were skipped or written before, so that it is only dropped.
        job = (
            partial(self._write, slab, files, False)
            if slab.is_dirty
            else partial(self._drop_slab, slab, files)
        )
        try:
            self._threads.submit(job)
        except BaseException:  # interrupted while it waited: the next flush must find the frame
            self._slabs[slab.key] = slab
            with self._lock:
                files.pending_jobs -= 1
            raise

    def _drop_slab(self, slab: _Slab, files: _FileSet) -> None:
        self._threads.release(slab.block)
        self._end_job(files)

    def flush(self) -> None:
        """Store all frames so far; other frames of the same chunk or shard can still follow."""
        for slab in self._slabs.values():
            if slab.is_dirty:
                slab.is_dirty = False
                files = self._files_of(slab.origin)
                with self._lock:
                    files.pending_jobs += 1
                self._threads.submit(partial(self._write, slab, files, True))
        self._threads.wait()
        for files in list(self._files.values()):
            self._threads.submit(partial(self._commit, files))
        self._threads.wait()
        self.publish(always=True)

    def abort(self) -> None:
        """Drop frames that are not stored."""
        for files in self._files.values():
            for writer in files.writers.values():
                writer.abort()
        self._files.clear()
        self._slabs.clear()

    # ---- chunks -------------------------------------------------------------------------------------

    def _slab(self, frame_index: tuple[int, ...]) -> _Slab:
        key = self.order.key_of(self._meta.chunks, frame_index)
        slab = self._slabs.get(key)
        if slab is None:
            slab = self._slabs[key] = self._open_slab(key)
        return slab

    def _open_slab(self, key: Key) -> _Slab:
        chunks, region = self._meta.chunks, self._slab_region(key)
        shape = tuple(span.stop - span.start for span in region)
        block = self._threads.allocate(shape, self._meta.dtype)
        frames_to_come = self._count_frames_to_come(chunks, key)
        if any(shape[axis] > 1 for axis in self.order.axes):
            block[...] = self._meta.fill_value
            # An earlier stream wrote some of its frames.
            if frames_to_come < self.order.count_in(chunks, key):
                stored_region = tuple(
                    slice(span.start, max(span.start, min(span.stop, length)))
                    for span, length in zip(region, self.array.meta.shape, strict=True)
                )
                block[tuple(slice(0, span.stop - span.start) for span in stored_region)] = self.array.read(
                    stored_region
                )
        return _Slab(key, self._first_index(chunks, key), block, frames_to_come)

    def _slab_region(self, key: Key) -> list[slice]:
        chunks = self._meta.chunks
        shape = self._shape_with(self.order.key_of(self._meta.files, self._first_index(chunks, key)))
        region = [slice(0, length) for length in shape]
        for axis, index in zip(self.order.axes, key, strict=True):
            region[axis] = slice(index * chunks[axis], min((index + 1) * chunks[axis], shape[axis]))
        return region

    def _first_index(self, spans: Shape, key: Key) -> tuple[int, ...]:
        return tuple(index * spans[axis] for axis, index in zip(self.order.axes, key, strict=True))

    def _count_frames_to_come(self, spans: Shape, key: Key) -> int:
        """Return the number of frames of a chunk or file that an earlier stream did not write."""
        count = self.order.count_in(spans, key)
        if self._start:
            count -= sum(number < self._start for number in self.order.frames_in(spans, key))
        return count

    def _write(self, slab: _Slab, files: _FileSet, keep: bool) -> None:
        """Encode the chunks of a slab into their files; ``keep`` leaves its memory for frames still to come."""
        chunks = self._meta.chunks
        chunks_per_file = tuple(map(floordiv, self._meta.files, chunks))
        index_of_axis = dict(zip(self.order.axes, slab.key, strict=True))
        ranges = [
            (index_of_axis[axis],)
            if axis in index_of_axis
            else range(-(-slab.block.shape[axis] // chunks[axis]))
            for axis in range(self._meta.ndim)
        ]
        for chunk_index in product(*ranges):
            file_index = tuple(
                index // count for index, count in zip(chunk_index, chunks_per_file, strict=True)
            )
            index_in_file = tuple(
                index % count for index, count in zip(chunk_index, chunks_per_file, strict=True)
            )
            region = tuple(
                slice(None)
                if axis in index_of_axis
                else slice(index * chunk_length, (index + 1) * chunk_length)
                for axis, (index, chunk_length) in enumerate(zip(chunk_index, chunks, strict=True))
            )
            self._writer(files, file_index).put(index_in_file, slab.block[region])
        if not keep:
            self._threads.release(slab.block)
        self._end_job(files)

    # ---- files --------------------------------------------------------------------------------------

    def _files_of(self, frame_index: tuple[int, ...]) -> _FileSet:
        key = self.order.key_of(self._meta.files, frame_index)
        files = self._files.get(key)
        if files is None:
            files = _FileSet(key, self._count_frames_to_come(self._meta.files, key))
            with self._lock:
                self._files[key] = files
        return files

    def _writer(self, files: _FileSet, file_index: Shape) -> ShardWriter:
        with self._lock:
            writer = files.writers.get(file_index)
            if writer is None:
                writer = files.writers[file_index] = ShardWriter(
                    self.array, file_index, shape=self._shape_with(files.key)
                )
            self._open_files.add(files.key)
            if len(self._open_files) > _MAX_OPEN:
                self._close_idle()
        return writer

    def _close_idle(self) -> None:
        """Close the temporary files of shards without a running job."""
        for key in list(self._open_files):
            files = self._files.get(key)
            if files is None or not files.pending_jobs:
                self._open_files.discard(key)
                for writer in files.writers.values() if files is not None else ():
                    writer.suspend()

    def _shape_with(self, key: Key) -> Shape:
        """Return the shape of the array once the files at a grid index are part of it."""
        shape = list(self._meta.shape)
        if self.order.grows:
            shape[self.order.axes[0]] = (key[0] + 1) * self._meta.files[self.order.axes[0]]
        return tuple(shape)

    def _end_job(self, files: _FileSet) -> None:
        with self._lock:
            files.pending_jobs -= 1
            is_complete = not files.frames_to_come and not files.pending_jobs
        if is_complete:
            self._commit(files)

    def _commit(self, files: _FileSet) -> None:
        """Move files into place, and update the number of stored frames."""
        with self._record_write(lambda: self._written_region(files)):
            for writer in files.writers.values():
                writer.commit()
        with self._lock:
            files.writers.clear()
            self._open_files.discard(files.key)
            if not files.frames_to_come:
                self._files.pop(files.key, None)
            self._placed_ahead.update(files.appended_frames)
            files.appended_frames.clear()
            while self._placed_count in self._placed_ahead:
                self._placed_ahead.discard(self._placed_count)
                self._placed_count += 1
        self.publish()

    def _written_region(self, files: _FileSet) -> Bounds | None:
        """Return start and stop of the region of the frames since the last commit; None without any."""
        spans = self._meta.files
        stop = list(self._shape_with(files.key))
        start = [0] * len(stop)
        for axis, index in zip(self.order.axes, files.key, strict=True):
            start[axis], stop[axis] = index * spans[axis], min((index + 1) * spans[axis], stop[axis])
        if not files.writers or not files.appended_frames:
            return None
        # The other frames of the files are unchanged.
        first = self.order.axes[0]
        if self.order.names[0] != "c":  # channels may arrive in another order
            start[first] = self.order.index_of(min(files.appended_frames))[0]
            stop[first] = self.order.index_of(max(files.appended_frames))[0] + 1
        return tuple(start), tuple(stop)

    # ---- documents ----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Stop growing the array until `unfreeze`: the pyramid reads all of it, and needs one shape."""
        with self._documents:
            self._is_frozen = True

    def unfreeze(self) -> None:
        """Allow the array to grow again, and publish frames that were stored meanwhile."""
        with self._documents:
            self._is_frozen = False
        self.publish()

    def publish(self, *, always: bool = False) -> None:
        """Grow the array to the stored frames, and write the record; do nothing if both are current."""
        with self._documents:
            if self._is_frozen:
                return
            stored_count = self._placed_count
            length = -(-stored_count // self.order.per_step) if self.order.grows else 0
            axis = self.order.axes[0] if self.order.grows else None
            if not always and (axis is None or self._meta.shape[axis] >= length):
                self.stored = stored_count
                return
            with self.array.shape_lock():
                meta = self.array.refresh()
                shape = list(meta.shape)
                if axis is not None:
                    shape[axis] = max(shape[axis], length)
                    if not self.record.open:
                        self._clear_unwritten(meta, tuple(shape))
                with self._lock:
                    record = self._record_to_write(stored_count)

                def grown(meta: ArrayMeta) -> ArrayMeta:
                    longer = meta.with_shape(tuple(map(max, meta.shape, shape)))
                    return longer.with_attributes(record.into(meta.attributes))

                self._meta = self.array.documents.edit_array(self.array.path, grown, edits_attributes=True)
            self.stored = stored_count

    def _clear_unwritten(self, meta: ArrayMeta, shape: Shape) -> None:
        """Clear the frames that are missing in the last step of the first axis, if a killed stream left their chunks.

        With two channels and 5 frames, that is channel 1 of time 2.
        """
        grown_array = self.array.with_future_shape(shape, frozenset())
        for number in range(self.count, -(-self.count // self.order.per_step) * self.order.per_step):
            index_of_axis = dict(zip(self.order.axes, self.order.index_of(number), strict=True))
            region = (
                slice(index_of_axis[axis], index_of_axis[axis] + 1, 1)
                if axis in index_of_axis
                else slice(0, length, 1)
                for axis, length in enumerate(shape)
            )
            clear_region(grown_array, meta, tuple(region))

    def _record_to_write(self, stored_count: int) -> StreamRecord:
        """Return the record to write; it has new times only now and then (`_TIMES_STEP`)."""
        self.record.frames = stored_count
        time_count = min(len(self.record.times), stored_count)
        if (
            time_count > self._written_times + self._written_times // _TIMES_STEP + _TIMES_STEP
            or not self.record.open
        ):
            self._written_times = time_count
        record = replace(
            self.record,
            times=self.record.times[: self._written_times],
            skipped=[list(skipped_run) for skipped_run in self.record.skipped],
        )
        record.cut(stored_count)
        return record
