"""The stream of the user: one counter over all its positions, and a bounded queue.

``opening`` opens a stream, and ``array_frames`` writes the frames of one array.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from lamella.arguments import is_real_number, is_whole_number
from lamella.errors import ClosedError, InvalidArgumentError, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import ArrayLike

    from lamella.ops.streaming.array_frames import ArrayFrames
    from lamella.ops.streaming.chunk_threads import ChunkThreads
    from lamella.ops.streaming.order import FrameOrder
    from lamella.ops.streaming.pyramids import PyramidsBehind
    from lamella.types import Array, Shape


class FrameStream:
    """Writer of frames in the order of an instrument; returned by ``position.stream``.

    A frame is **stored** (counted by `stored`) when its file and the files of all earlier frames are in place: at once
    if a file has one frame, with the last frame of its shard if it has many, and always after `flush` and `close`.
    Stored frames survive the death of the process, and a power cut if the store was opened with ``durability="fsync"``.
    Leaving the ``with`` block stores all frames, even after an exception.

    Other readers see the array grow: its shape covers stored frames only, and its documents are valid at any time.

    Examples
    --------
    >>> import lamella
    >>> path = tmp / "film.zarr"
    >>> image = lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], version="0.5")
    >>> with image.stream("0", (64, 64), "uint16", order="tc") as frames:
    ...     for number in range(6):
    ...         index = frames.append(np.full((64, 64), number, "uint16"))
    ...     frames.skip()
    >>> image["0"].shape, image["0"][:, :, 0, 0, 0].tolist(), frames.skipped
    ((4, 2, 1, 64, 64), [[0, 1], [2, 3], [4, 5], [0, 0]], [6])
    """

    def __init__(
        self,
        arrays: Sequence[ArrayFrames],
        order: FrameOrder,
        frame: tuple[Shape, np.dtype[np.generic]],
        threads: ChunkThreads,
        *,
        flush_every: int | None = None,
        pyramids: PyramidsBehind | None = None,
    ) -> None:
        self._arrays = list(arrays)
        self._order = order
        self._shape, self._dtype = frame
        self._threads = threads
        self._flush_every = flush_every
        self._pyramids = pyramids
        self._lock = threading.RLock()
        self._closed = False
        self._count = sum(array.count for array in arrays)
        self._count_at_start = self._count

    def __repr__(self) -> str:
        return (
            f"<FrameStream of frames {self._shape} {self._dtype} in order {''.join(self._order.names)}: "
            f"{self._count} appended, {self.stored} stored>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except Exception as late_error:  # the caller must see the first error
            assert error is not None
            error.add_note(f"The stream could not store its last frames: {late_error}")

    # ---- writing ------------------------------------------------------------------------------------

    def append(self, frame: ArrayLike, *, time: float | None = None) -> dict[str, int]:
        """Append the next frame. It is copied: its memory may be reused.

        The call waits while the queue is full, and a little while it is more than half full.

        Parameters
        ----------
        frame
            Voxels of the shape and dtype of a frame, or of a dtype that converts to it without loss.
        time
            Time of the frame in seconds; stored in the record.

        Returns
        -------
        dict
            Index of the frame along each axis of the order, and "p" for the position if there are several.

        Raises
        ------
        InvalidArgumentError
            The frame does not fit, its time is not a finite number, or all frames were appended already (a ValueError).
        StorageError
            This frame or an earlier one could not be written, for example on a full disk (an OSError).
        ClosedError
            The stream was closed (a ValueError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     frames.append(np.ones((8, 8), "uint16"), time=0.5)
        {'t': 0, 'c': 0}
        """
        with self._lock:
            self._check_open()
            target, frame_index = self._next_frame()
            pixels, seconds = self._fitted(frame), self._seconds(time)
            with self._counted(target):
                target.append(pixels, seconds)
            self._flush_and_follow()
            return frame_index

    def skip(self, count: int = 1) -> None:
        """Record that the next `count` frames are missing. Their pixels have the fill value.

        Raises
        ------
        InvalidArgumentError
            `count` is not a number from 0, or larger than that of the remaining frames (a ValueError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     frames.skip(3)
        >>> frames.frames, frames.skipped
        (3, [0, 1, 2])
        """
        if not is_whole_number(count, 0):
            raise InvalidArgumentError(f"A stream skips a number of frames from 0, not {count!r}.")
        with self._lock:
            self._check_open()
            for _ in range(count):
                target, _where = self._next_frame()
                with self._counted(target):
                    target.skip()
                self._flush_and_follow()

    def flush(self) -> None:
        """Store all appended frames; return when they are in place and readable.

        An incomplete shard is written, and is read and written again when it gets more frames: do not flush often.

        Raises
        ------
        StorageError
            Some frames could not be written (an OSError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     where = frames.append(np.ones((8, 8), "uint16"))
        ...     frames.flush()
        ...     frames.stored
        1
        """
        with self._lock:
            self._check_open()
            self._flush()

    def close(self) -> None:
        """Store all frames, and end the stream; do nothing the second time.

        Raises
        ------
        StorageError
            Some frames could not be written (an OSError).

        Examples
        --------
        >>> frames = position.stream("film", (8, 8), "uint16", order="tc")
        >>> frames.close()
        >>> frames.close()
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for array in self._arrays:
                array.record.open = False
            try:
                self._flush()
            except BaseException:
                if self._pyramids is not None:
                    self._pyramids.close()
                raise
            finally:
                self._threads.close()
                for array in self._arrays:
                    array.abort()
            if self._pyramids is not None:
                self._pyramids.finish()

    def _flush(self) -> None:
        self._threads.check()
        if self._pyramids is not None:
            self._pyramids.wait()
        for array in self._arrays:
            array.flush()

    def _next_frame(self) -> tuple[ArrayFrames, dict[str, int]]:
        total = self._order.total
        if total is not None and self._count >= total:
            raise InvalidArgumentError(
                f"This stream has all its {total} frames: the lengths along {''.join(self._order.names)} are "
                f"{tuple(length for length in self._order.lengths if length is not None)}."
            )
        self._threads.check()
        frame_index = self.next_index
        return self._arrays[frame_index.get("p", 0)], frame_index

    @contextmanager
    def _counted(self, target: ArrayFrames) -> Iterator[None]:
        """Update the counter from that of an array, even after an interruption."""
        before = target.count
        try:
            yield
        finally:
            self._count += target.count - before

    def _flush_and_follow(self) -> None:
        if self._flush_every and (self._count - self._count_at_start) % self._flush_every == 0:
            self._flush()
        if self._pyramids is not None:
            self._pyramids.follow()

    def _fitted(self, frame: ArrayLike) -> Array:
        pixels = np.asarray(frame)
        if pixels.shape != self._shape:
            raise InvalidArgumentError(
                f"The stream into {self._where()} expects frames of shape {self._shape}, not {pixels.shape}."
            )
        if not np.can_cast(pixels.dtype, self._dtype, "safe"):
            raise InvalidArgumentError(
                f"The stream into {self._where()} expects frames of {self._dtype}, and {pixels.dtype} does not fit "
                f"into it without loss. Convert the frame, or stream as {pixels.dtype}."
            )
        return pixels

    def _seconds(self, time: object) -> float | None:
        """Check a time: one that JSON cannot store would fail when the stream closes, and cost its last frames."""
        if time is None:
            return None
        if not is_real_number(time) or not math.isfinite(time):
            raise InvalidArgumentError(
                f"The stream into {self._where()} expects times of frames in seconds, a finite number, not {time!r}."
            )
        return float(time)

    def _where(self) -> str:
        """Return what the stream writes to, for messages."""
        first, *other_arrays = self._arrays
        more = f" and {counted(len(other_arrays), 'other array')}" if other_arrays else ""
        return f"{first.array.documents.location(first.array.path)}{more}"

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(
                f"The stream into {self._where()} was closed. Open it again with resume=True to add frames."
            )

    # ---- properties ------------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        """Number of frames so far, in this stream and those that it resumes, including skipped ones."""
        return self._count

    @property
    def stored(self) -> int:
        """Number of stored frames over all positions, including skipped ones."""
        return sum(array.stored for array in self._arrays)

    @property
    def next_index(self) -> dict[str, int]:
        """Index of the next frame along each axis, and the number of its position under "p"."""
        return dict(zip(self._order.names, self._order.index_of(self._count), strict=True))

    @property
    def skipped(self) -> list[int]:
        """Numbers of the skipped frames, for a stream with one position.

        Raises
        ------
        InvalidArgumentError
            The stream has several positions: read the record of each array (a ValueError).
        """
        if len(self._arrays) != 1:
            raise InvalidArgumentError(
                "Each position has its own skipped frames: see the attributes of its array."
            )
        return list(self._arrays[0].record.skipped_frames())

    @property
    def pending(self) -> int:
        """Number of chunks that wait to be encoded or are being encoded."""
        return self._threads.pending

    @property
    def waits(self) -> int:
        """Number of calls of `append` that waited, because the queue was full or more than half full."""
        return self._threads.waits

    @property
    def queue(self) -> int:
        """Maximum number of pending chunks."""
        return self._threads.max_pending
