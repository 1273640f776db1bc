"""Compute the lower levels of a stream's images while it runs, on a separate thread.

A *step* is an index of the first axis over which frames arrive, usually a time. With files of 4 times, the levels of
times 0 to 3 are computed when the file of level 0 is complete. :mod:`lamella.ops.pyramids` does the work.
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
        # Own nodes for the own thread: the caller may use those that it passed.
        self._positions = [type(position)(position.node_path) for position in positions]
        self._arrays = list(arrays)
        self._levels = levels
        self._computed_steps = [
            _steps(array, array.count) if _has_levels(position) else 0
            for position, array in zip(positions, arrays, strict=True)
        ]
        self._thread = ThreadPoolExecutor(1, "lamella-stream-pyramid")
        self._running: Future[None] | None = None
        self._warm()

    def _warm(self) -> None:
        """Compile the kernels now: while numba compiles them for a new dtype, no other thread runs."""
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
        complete_steps = [
            _steps_in_whole_files(array) if array.order.grows else computed
            for array, computed in zip(self._arrays, self._computed_steps, strict=True)
        ]
        if complete_steps != self._computed_steps:
            self._running = self._thread.submit(self._update_to, complete_steps)

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

    def _update_to(self, complete_steps: list[int]) -> None:
        """Compute the levels of each array up to a number of steps along its first axis."""
        for number, (position, array) in enumerate(zip(self._positions, self._arrays, strict=True)):
            if self._computed_steps[number] < complete_steps[number]:
                array.freeze()
                try:
                    new_steps = slice(self._computed_steps[number], complete_steps[number])
                    self._update(position, array.order.axes[0], new_steps)
                finally:
                    array.unfreeze()
                self._computed_steps[number] = complete_steps[number]

    def _update_stale(self) -> None:
        """Compute all regions that are still stale, such as those of older frames in the same chunk as new ones."""
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
