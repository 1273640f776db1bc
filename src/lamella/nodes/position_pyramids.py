"""The pyramid of a position: each method calls one operation of :mod:`lamella.ops.pyramids`.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from lamella.nodes.position import Position
    from lamella.ops.progress import Progress


class PyramidMethods(NGFFNode):
    """What a position can do with its levels."""

    @property
    def _image(self) -> Position:
        return cast("Position", self)

    def initialize_pyramid(self, levels: int, *, factors: Mapping[str, int] | None = None) -> None:
        """Create the arrays and metadata of lower-resolution levels, each half the last; no pixels.

        They are listed at once, and count as stale (:attr:`stale_levels`) until they are written.

        Parameters
        ----------
        levels
            Number of levels with the full-resolution one; 1 changes nothing.
        factors
            As for :meth:`compute_pyramid`.

        Raises
        ------
        InvalidArgumentError
            If there is no level 0, ``levels`` is no number from 1, or a pyramid with another number of levels exists
            (a ValueError).

        Warns
        -----
        UserWarning
            If more levels are asked for than have different shapes.

        Examples
        --------
        >>> position.initialize_pyramid(levels=3)
        >>> [image.shape for name, image in position.images()]
        [(1, 2, 4, 8, 8), (1, 2, 2, 4, 4), (1, 2, 1, 2, 2)]
        >>> position.get_effective_scale("2")
        [1.0, 1.0, 2.0, 1.0, 1.0]
        """
        from lamella.ops.pyramids.pyramid import initialize_pyramid

        initialize_pyramid(self._image, levels, factors=factors)

    def compute_pyramid(
        self,
        levels: int | str | None = None,
        method: str = "mean",
        *,
        dims: Sequence[str] | None = None,
        factors: Mapping[str, int] | None = None,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        resume: bool = True,
    ) -> None:
        """Compute the lower-resolution levels from level 0, each from the one before.

        Level 0 is read once. New levels are listed when their pixels are whole; killed half way, the image lists none
        of them, and levels that were there count as stale (:attr:`stale_levels`). The same call again completes them:
        of a large image it computes what was not made, or changed since.

        Parameters
        ----------
        levels
            Number of levels with level 0; ``"auto"`` until the larger of Y and X is at most 256; None for the
            levels that exist.
        method
            "mean", "median", "mode", "min", "max" or "stride".
        dims
            Names of the axes to halve; the space axes by default.
        factors
            Axis name to whole factor by which each level is smaller than the one before, such as
            ``{"y": 4, "x": 4}``, instead of `dims`; axes that are not named keep their length.
        jobs
            Number of workers; one per processor by default. The pixels are the same for any.
        executor
            Any ``concurrent.futures.Executor`` whose workers see the store: a process pool, or Dask's
            ``client.get_executor()``. Threads of this process by default.
        progress
            True shows a bar on the terminal. A function is called with the voxels done, those of all levels that are
            read, and "voxels".
        resume
            Go on with what a killed call of the same has made. False computes everything.

        Raises
        ------
        InvalidArgumentError
            If there is no level 0, the method is unknown, or a pyramid with another number of levels exists: call
            :meth:`delete_pyramid` first (a ValueError).
        NodeExistsError
            If another call began to make other levels meanwhile (a ValueError).
        WorkerLostError
            If the executor lost a process and cannot run any more (a RuntimeError).

        Warns
        -----
        UserWarning
            If more levels are asked for than have different shapes.

        Examples
        --------
        >>> position.compute_pyramid(levels=2, method="max")
        >>> int(position["0"][0, 0, :2, :2, :2].max()), int(position["1"][0, 0, 0, 0, 0])
        (73, 73)
        >>> position.delete_pyramid()
        >>> position.compute_pyramid(levels=3, dims=["y", "x"])
        >>> position["2"].shape
        (1, 2, 4, 2, 2)
        >>> position.delete_pyramid()
        >>> position.compute_pyramid(levels=2, factors={"z": 2, "y": 4, "x": 4})
        >>> position["1"].shape, position.get_effective_scale("1")
        ((1, 2, 2, 2, 2), [1.0, 1.0, 1.0, 1.0, 1.0])
        """
        from lamella.ops.pyramids.pyramid import compute_pyramid

        compute_pyramid(
            self._image,
            levels,
            method,
            dims=dims,
            factors=factors,
            jobs=jobs,
            executor=executor,
            progress=progress,
            resume=resume,
        )

    def update_pyramid(
        self,
        region: Any = None,
        method: str | None = None,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        """Bring the lower levels up to date after writes to level 0: only what depends on them is computed.

        Levels of an array that was resized or appended to are resized too.

        Parameters
        ----------
        region
            Index of level 0, as for writing: ``(3, 0)`` or ``np.s_[..., :512, :512]``. By default what is known to be
            stale (:attr:`stale_levels`); everything where that is not known, nothing where nothing is.
        method
            How the levels were made, where the metadata do not say it.
        jobs, executor, progress
            As for :meth:`compute_pyramid`.

        Raises
        ------
        InvalidArgumentError
            If there are no lower levels, nothing says how they were made, or they were made with another method (a
            ValueError).

        Examples
        --------
        >>> position.compute_pyramid(levels=3)
        >>> position["0"][0, 1, :2] = 40
        >>> position.stale_levels
        True
        >>> position.update_pyramid()
        >>> int(position["1"][0, 1, 0, 3, 3]), position.stale_levels
        (40, False)
        """
        from lamella.ops.pyramids.update import update_pyramid

        update_pyramid(self._image, region, method, jobs=jobs, executor=executor, progress=progress)

    @property
    def stale_levels(self) -> bool:
        """Whether lower levels do not show level 0: it was written since, or they were created empty and not filled.

        Writes through ``position["0"]`` count, in this process or another, and a pyramid that was killed half way.
        Writes past lamella's arrays (``array.zarr()``, ``array.tensorstore()``, other libraries) do not.
        """
        from lamella.ops.pyramids.update import stale_levels

        return bool(stale_levels(self._image))

    def delete_pyramid(self) -> None:
        """Delete all levels but level 0, from the metadata and the store.

        Examples
        --------
        >>> position.compute_pyramid(levels=3)
        >>> position.delete_pyramid()
        >>> position.dataset_paths, list(position)
        (['0'], ['0'])
        """
        from lamella.ops.pyramids.pyramid import delete_pyramid

        delete_pyramid(self._image)
