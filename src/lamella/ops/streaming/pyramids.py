"""Pyramids behind a stream: the lower levels follow, a file of frames after the other, on a thread of their own.

Layer: ops. The levels themselves are made by :mod:`lamella.ops.pyramids`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from lamella.spec.axes import space_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.position import Position
    from lamella.ops.streaming.array_frames import ArrayFrames


class PyramidsBehind:
    """Keeps the lower levels of the images of a stream as long as level 0, at the latest when it ends.

    Parameters
    ----------
    positions, arrays
        The images and the writers of their finest levels.
    levels
        How many, for those that have none: a number or ``"auto"``.
    """

    def __init__(
        self, positions: Sequence[Position], arrays: Sequence[ArrayFrames], levels: int | str
    ) -> None:
        # Nodes of their own: those of the caller belong to the caller's thread.
        self._positions = [type(position)(position.node_path) for position in positions]
        self._arrays = list(arrays)
        self._levels = levels
        self._done = [_steps(one, one.count) for one in arrays]
        self._thread = ThreadPoolExecutor(1, "lamella-stream-pyramid")
        self._running: Future[None] | None = None
        self._warm()

    def _warm(self) -> None:
        """Load the kernels now: while they are compiled for a new dtype, no other thread runs."""
        from lamella.ops.pyramids.downsample import downsample

        position, array = self._positions[0], self._arrays[0].array.meta
        if array.dtype.kind in "biuf":
            binned = space_axes(position.axes)
            factors = tuple(2 if axis in binned else 1 for axis in range(array.ndim))
            downsample(np.zeros(factors, array.dtype), factors, "mean")

    def follow(self) -> None:
        """Begin to make what of the levels has come since, unless that is under way; what failed is raised.

        Arrays of a known length are left to the end.
        """
        if self._running is not None:
            if not self._running.done():
                return
            self._running.result()
        ready = [
            _steps(one, one.stored) // (deep := one.array.meta.files[one.order.axes[0]]) * deep
            if one.order.grows
            else done
            for one, done in zip(self._arrays, self._done, strict=True)
        ]
        if ready != self._done:
            self._running = self._thread.submit(self._make, ready)

    def wait(self) -> None:
        """Wait for what is under way; what failed is raised."""
        if self._running is not None:
            self._running.result()

    def finish(self) -> None:
        """Make what is left, and end the thread."""
        try:
            self.wait()
            self._make([-(-one.count // one.order.per_step) for one in self._arrays])
        finally:
            self.close()

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._thread.shutdown()

    def _make(self, ready: list[int]) -> None:
        for i, (position, one) in enumerate(zip(self._positions, self._arrays, strict=True)):
            if self._done[i] < ready[i]:
                one.hold()
                try:
                    self._update(position, one.order.axes[0], slice(self._done[i], ready[i]))
                finally:
                    one.release()
                self._done[i] = ready[i]

    def _update(self, position: Position, axis: int, steps: slice) -> None:
        from lamella.ops.pyramids.pyramid import compute_pyramid
        from lamella.ops.pyramids.update import update_pyramid

        if not all(position.data.shape):
            return
        if len(position.dataset_paths) == 1:
            compute_pyramid(position, self._levels, jobs=1)
        else:
            update_pyramid(position, (*(slice(None),) * axis, steps), jobs=1)


def _steps(array: ArrayFrames, frames: int) -> int:
    """Return how many steps along the first axis have all of their frames."""
    return frames // array.order.per_step
