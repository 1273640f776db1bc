"""Compute the lower levels behind a stream, for each file of frames, on a separate thread.

:mod:`lamella.ops.pyramids` computes the levels.
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
    """Compute the lower levels of a stream's images while it runs and at its end; create missing ``levels``."""

    def __init__(
        self, positions: Sequence[Position], arrays: Sequence[ArrayFrames], levels: int | str
    ) -> None:
        # Separate nodes: those of the caller belong to the caller's thread.
        self._positions = [type(position)(position.node_path) for position in positions]
        self._arrays = list(arrays)
        self._levels = levels
        self._done = [
            _steps(array, array.count) if _has_levels(position) else 0
            for position, array in zip(positions, arrays, strict=True)
        ]
        self._thread = ThreadPoolExecutor(1, "lamella-stream-pyramid")
        self._running: Future[None] | None = None
        self._warm()

    def _warm(self) -> None:
        """Load the kernels: while they are compiled for a new dtype, no other thread runs."""
        from lamella.ops.pyramids.downsample import downsample

        position, array = self._positions[0], self._arrays[0].array.meta
        if array.dtype.kind in "biuf":
            binned = space_axes(position.axes)
            factors = tuple(2 if axis in binned else 1 for axis in range(array.ndim))
            downsample(np.zeros(factors, array.dtype), factors, "mean")

    def follow(self) -> None:
        """Start computing levels of new frames unless a computation runs; raise the error of the last one.

        Levels of an array that does not grow are computed at the end.
        """
        if self._running is not None:
            if not self._running.done():
                return
            self._running.result()
        ready = [
            _steps_in_whole_files(array) if array.order.grows else done
            for array, done in zip(self._arrays, self._done, strict=True)
        ]
        if ready != self._done:
            self._running = self._thread.submit(self._update_to, ready)

    def wait(self) -> None:
        """Wait for the running computation; raise its error."""
        if self._running is not None:
            self._running.result()

    def finish(self) -> None:
        """Compute the remaining levels, and end the thread."""
        try:
            self.wait()
            self._update_to([-(-array.count // array.order.per_step) for array in self._arrays])
            self._update_stale()
        finally:
            self.close()

    def close(self) -> None:
        """End the thread, after its running computation."""
        self._thread.shutdown()

    def _update_to(self, ready: list[int]) -> None:
        """Compute the levels of each array up to a number of steps along its first axis."""
        for i, (position, array) in enumerate(zip(self._positions, self._arrays, strict=True)):
            if self._done[i] < ready[i]:
                array.freeze()
                try:
                    self._update(position, array.order.axes[0], slice(self._done[i], ready[i]))
                finally:
                    array.unfreeze()
                self._done[i] = ready[i]

    def _update_stale(self) -> None:
        """Compute other stale regions: of frames that share a chunk with new ones, or were recorded late."""
        from lamella.ops.pyramids.update import update_pyramid

        for position in self._positions:
            if len(position.dataset_paths) > 1 and all(position.data.shape) and position.stale_levels:
                update_pyramid(position, jobs=1)

    def _update(self, position: Position, axis: int, steps: slice) -> None:
        from lamella.ops.pyramids.pyramid import compute_pyramid
        from lamella.ops.pyramids.update import update_pyramid

        if not all(position.data.shape):
            return
        if len(position.dataset_paths) == 1:
            compute_pyramid(position, self._levels, jobs=1)
        else:
            update_pyramid(position, (*(slice(None),) * axis, steps), jobs=1)


def _has_levels(position: Position) -> bool:
    """Return whether the lower levels are up to date; a killed stream may have stored frames without them."""
    return len(position.dataset_paths) > 1 and not position.stale_levels


def _steps(array: ArrayFrames, frames: int) -> int:
    """Return the number of steps along the first axis whose frames are complete."""
    return frames // array.order.per_step


def _steps_in_whole_files(array: ArrayFrames) -> int:
    """Return the number of steps along the first axis whose files are complete."""
    per_file = array.array.meta.files[array.order.axes[0]]
    return _steps(array, array.stored) // per_file * per_file
