"""The stream that a user writes frames to: one counter over all its positions, and a bounded queue behind it.

Layer: ops. What happens to the frames of one array is in :mod:`lamella.ops.streaming.array_frames`, how a stream is
opened in :mod:`lamella.ops.streaming.opening`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import ClosedError, InvalidArgumentError

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
    """Writer of frames in the order in which an instrument takes them; made by ``position.stream``.

    A frame that was given is **stored** (`stored` counts it) when the file that holds it and the files of all frames
    before it are in place: at once where a file holds one frame, with the last frame of its shard where it holds many,
    and all of them after `flush` and `close`. Stored frames survive the death of the process, and a power cut where the
    store was opened with ``durability="fsync"``. Leaving the ``with`` block stores all frames, after an exception too.

    Other readers see the array grow: its shape covers stored frames only, and its documents are valid at any moment.

    Examples
    --------
    >>> import lamella
    >>> path = tmp / "film.zarr"
    >>> image = lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], version="0.5")
    >>> with image.stream("0", (64, 64), "uint16", order="tc") as frames:
    ...     for number in range(6):
    ...         at = frames.append(np.full((64, 64), number, "uint16"))
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
        behind: PyramidsBehind | None = None,
    ) -> None:
        self._arrays = list(arrays)
        self._order = order
        self._shape, self._dtype = frame
        self._threads = threads
        self._flush_every = flush_every
        self._behind = behind
        self._turn = threading.RLock()
        self._closed = False
        self._count = sum(one.count for one in arrays)
        self._first = self._count

    def __repr__(self) -> str:
        return (
            f"<FrameStream of frames {self._shape} {self._dtype} in order {''.join(self._order.names)}: "
            f"{self._count} given, {self.stored} stored>"
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
        except Exception as fault:  # the first error is what the caller has to see
            assert error is not None
            error.add_note(f"The stream could not store its last frames: {fault}")

    # ---- writing ------------------------------------------------------------------------------------

    def append(self, frame: ArrayLike, *, time: float | None = None) -> dict[str, int]:
        """Give the next frame. It is copied: its memory may be used again.

        Waits while the queue is full; from half of it on as long as the threads need for one chunk.

        Parameters
        ----------
        frame
            Voxels of the shape and dtype per frame, or of a dtype that fits into it without loss.
        time
            When it was taken, in seconds; kept in the record.

        Returns
        -------
        dict
            Where the frame belongs: its index along each axis of the order, and "p" for the position of several.

        Raises
        ------
        InvalidArgumentError
            The frame does not fit, or there were as many as there should be (a ValueError).
        StorageError
            This frame or one before could not be written: a full disk (an OSError).
        ClosedError
            The stream was closed (a ValueError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     frames.append(np.ones((8, 8), "uint16"), time=0.5)
        {'t': 0, 'c': 0}
        """
        with self._turn:
            self._check_open()
            target, where = self._next()
            pixels = self._fitted(frame)
            with self._counted(target):
                target.append(pixels, time)
            self._after()
            return where

    def skip(self, count: int = 1) -> None:
        """Record that the next frames were dropped. Their places hold the fill value.

        Parameters
        ----------
        count
            How many.

        Raises
        ------
        InvalidArgumentError
            Not a number from 0, or there are not so many to come (a ValueError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     frames.skip(3)
        >>> frames.frames, frames.skipped
        (3, [0, 1, 2])
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InvalidArgumentError(f"A stream skips a number of frames from 0, not {count!r}.")
        with self._turn:
            self._check_open()
            for _ in range(count):
                target, _where = self._next()
                with self._counted(target):
                    target.skip()
                self._after()

    def flush(self) -> None:
        """Store all frames that were given; returns when they are in place and readable.

        A shard that is not full is written as it is, and read and written again when it gets more frames: flush once
        in many frames.

        Raises
        ------
        StorageError
            Some could not be written (an OSError).

        Examples
        --------
        >>> with position.stream("film", (8, 8), "uint16", order="tc") as frames:
        ...     where = frames.append(np.ones((8, 8), "uint16"))
        ...     frames.flush()
        ...     frames.stored
        1
        """
        with self._turn:
            self._check_open()
            self._flush()

    def close(self) -> None:
        """Store all frames, and end the stream. Nothing happens the second time.

        Raises
        ------
        StorageError
            Some could not be written (an OSError).

        Examples
        --------
        >>> frames = position.stream("film", (8, 8), "uint16", order="tc")
        >>> frames.close()
        >>> frames.close()
        """
        with self._turn:
            if self._closed:
                return
            self._closed = True
            for one in self._arrays:
                one.record.open = False
            try:
                self._flush()
            except BaseException:
                if self._behind is not None:
                    self._behind.close()
                raise
            finally:
                self._threads.close()
                for one in self._arrays:
                    one.abort()
            if self._behind is not None:
                self._behind.finish()

    def _flush(self) -> None:
        self._threads.check()
        if self._behind is not None:
            self._behind.wait()
        for one in self._arrays:
            one.flush()

    def _next(self) -> tuple[ArrayFrames, dict[str, int]]:
        total = self._order.total
        if total is not None and self._count >= total:
            raise InvalidArgumentError(
                f"This stream has all its {total} frames: the lengths along {''.join(self._order.names)} are "
                f"{tuple(n for n in self._order.lengths if n is not None)}."
            )
        self._threads.check()
        where = self.next_index
        return self._arrays[where.get("p", 0)], where

    @contextmanager
    def _counted(self, target: ArrayFrames) -> Iterator[None]:
        """Count what an array counts, also when it is interrupted after it did."""
        before = target.count
        try:
            yield
        finally:
            self._count += target.count - before

    def _after(self) -> None:
        if self._flush_every and (self._count - self._first) % self._flush_every == 0:
            self._flush()
        if self._behind is not None:
            self._behind.follow()

    def _fitted(self, frame: ArrayLike) -> Array:
        found = np.asarray(frame)
        if found.shape != self._shape:
            raise InvalidArgumentError(f"This stream takes frames of shape {self._shape}, not {found.shape}.")
        if not np.can_cast(found.dtype, self._dtype, "safe"):
            raise InvalidArgumentError(
                f"This stream takes frames of {self._dtype}, and {found.dtype} does not fit into it without loss. "
                f"Convert the frame, or stream as {found.dtype}."
            )
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("The stream was closed. Open it again with resume=True to add frames.")

    # ---- looking ------------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        """Number of frames given so far, in this stream and those that it resumes; dropped ones count."""
        return self._count

    @property
    def stored(self) -> int:
        """Number of frames that are stored, over all positions; dropped ones count."""
        return sum(one.stored for one in self._arrays)

    @property
    def next_index(self) -> dict[str, int]:
        """Where the next frame belongs: its index along each axis, and the number of its position under "p"."""
        where = self._order.where(self._count)
        return dict(zip(self._order.names, where, strict=True))

    @property
    def skipped(self) -> list[int]:
        """Numbers of the frames that were dropped, in the order of the position's own frames; of one position only.

        Raises
        ------
        InvalidArgumentError
            The stream has several positions: look at the record of each array (a ValueError).
        """
        if len(self._arrays) != 1:
            raise InvalidArgumentError(
                "Each position has its own dropped frames: see the attributes of its array."
            )
        return list(self._arrays[0].record.skipped_frames())

    @property
    def pending(self) -> int:
        """Number of chunks that wait to be encoded or are being encoded."""
        return self._threads.pending

    @property
    def waits(self) -> int:
        """How often `append` waited: because the queue was full, or more than half of it."""
        return self._threads.waits

    @property
    def queue(self) -> int:
        """Number of chunks that may be pending; `append` takes no more."""
        return self._threads.most
