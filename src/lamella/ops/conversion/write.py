"""Writing of the pixels of one image: units are gathered plane by plane by several threads, and written one at a time.

While a unit is written the next one is gathered, so that reading, decoding and encoding overlap; at most two units are
in memory, and a plane (or a band of it) per thread.

Layer: ops.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lamella.ops.conversion.layout import plan_units, split_box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lamella.nodes.image_array import ImageArray
    from lamella.ops.conversion.contrast import ContrastSampler
    from lamella.ops.conversion.layout import Box
    from lamella.ops.conversion.source import PlaneSource
    from lamella.types import Array

_BAND_ROWS = 256
"""Fewest rows that are worth a task of their own."""


class Stopped(Exception):  # noqa: N818 (no error: another thread failed or the user interrupted)
    """Work was given up because the conversion as a whole was."""


@dataclass
class Readers:
    """The threads that read planes, and whether they are to stop.

    Attributes
    ----------
    jobs : int
        Number of threads.
    pool : ThreadPoolExecutor or None
        Where to read; None reads in the calling thread.
    stop : threading.Event
        Set to give up.
    """

    jobs: int
    pool: ThreadPoolExecutor | None
    stop: threading.Event = field(default_factory=threading.Event)


class Tally:
    """Adds up what many threads have read, and tells the user's function.

    Parameters
    ----------
    planes : int
        Number of all planes.
    progress : callable, optional
        Called with the planes done, all planes, and what is being done; by one thread at a time.
    """

    def __init__(self, planes: int, progress: Callable[[float, int, str], None] | None = None) -> None:
        self._planes = planes
        self._done = 0.0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, planes: float, what: str = "planes") -> None:
        """Count planes, or parts of one."""
        with self._lock:
            self._done += planes
            if self._progress is not None:
                # The bands of a plane are fractions, whose sum is off by a rounding error.
                self._progress(round(self._done, 6), self._planes, what)


@dataclass(frozen=True)
class _Copy:
    """One image on its way: where the pixels come from, where they go, and who sees them."""

    source: PlaneSource
    array: ImageArray
    sampler: ContrastSampler
    readers: Readers
    tally: Tally


def write_pixels(
    source: PlaneSource,
    array: ImageArray,
    sampler: ContrastSampler,
    readers: Readers,
    tally: Tally,
) -> None:
    """Copy all planes of a source to an array of the same shape.

    Parameters
    ----------
    source : PlaneSource
        The pixels.
    array : ImageArray
        A new array; planes that the source lacks are not written.
    sampler : ContrastSampler
        Sees all pixels.
    readers : Readers
        Threads that read.
    tally : Tally
        Told what has been read.

    Raises
    ------
    SourceError
        The source cannot be read.
    Stopped
        ``readers.stop`` was set.
    """
    copy = _Copy(source, array, sampler, readers, tally)
    boxes = plan_units(array.shape, array.chunks, array.shards, array.dtype.itemsize)
    if readers.pool is None:
        for box in boxes:
            _write(array, box, _gather(copy, box))
        return
    with ThreadPoolExecutor(1, "lamella-convert-write") as writer:
        writing: Future[None] | None = None
        for box in boxes:
            buffer = _gather(copy, box)
            if writing is not None:
                writing.result()
            writing = writer.submit(_write, array, box, buffer)
            del buffer  # the writer's copy is the only one, and goes when it has been written
        if writing is not None:
            writing.result()


def _write(array: ImageArray, box: Box, buffer: Array | None) -> None:
    """Write a unit: shard by shard, since each is encoded in memory; chunks all at once."""
    if buffer is None:
        return
    for part in [box] if array.shards is None else split_box(box, array.shards):
        own = tuple(
            slice(p.start - whole.start, p.stop - whole.start) for p, whole in zip(part, box, strict=True)
        )
        array[part] = buffer[own]


def _gather(copy: _Copy, box: Box) -> Array | None:
    """Read the pixels of a box; None when the source has none of its planes."""
    readers = copy.readers
    buffer = np.zeros(tuple(part.stop - part.start for part in box), dtype=copy.array.dtype)
    height = copy.array.shape[-2]

    def read(task: tuple[tuple[int, ...], tuple[int, ...], slice]) -> bool:
        if readers.stop.is_set():
            raise Stopped
        index, place, rows = task
        pixels = copy.source.read_plane(index, rows)
        if pixels is not None:
            buffer[place][rows.start - box[-2].start : rows.stop - box[-2].start] = pixels
            copy.sampler.see(index, rows.start, pixels)
        copy.tally.add((rows.stop - rows.start) / height)
        return pixels is not None

    tasks = list(_tasks(box, copy.source.description.band_rows, readers.jobs if readers.pool else 1))
    if readers.pool is None or len(tasks) == 1:
        found = [read(task) for task in tasks]
    else:
        found = _read_all([readers.pool.submit(read, task) for task in tasks])
    return buffer if any(found) else None


def _read_all(futures: list[Future[bool]]) -> list[bool]:
    """Wait for all reads; after the first error those not begun are left out."""
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()


def _tasks(box: Box, band_rows: int, jobs: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], slice]]:
    """Planes of a box: index in the image, index in the box, rows; bands of planes when there are few planes."""
    outer = [range(part.start, part.stop) for part in box[:-2]]
    planes = 1
    for numbers in outer:
        planes *= len(numbers)
    rows = box[-2]
    bands = max(1, min(-(-jobs // planes), (rows.stop - rows.start) // max(band_rows, _BAND_ROWS)))
    height = -(-(rows.stop - rows.start) // bands)
    # Whole strips or tiles: those at a seam would be decoded twice.
    height = -(-height // band_rows) * band_rows
    for index in product(*outer):
        place = tuple(at - part.start for at, part in zip(index, box[:-2], strict=True))
        for start in range(rows.start, rows.stop, height):
            yield index, place, slice(start, min(start + height, rows.stop))
