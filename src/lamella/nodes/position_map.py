"""Apply a function to an image block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.plates.mapping import MapReport


class PositionMap(NGFFNode):
    """The method of a position that computes an array or a label image from its pixels."""

    def map(
        self,
        function: Callable[[Any], Any],
        name: str | Sequence[str],
        *,
        level: str | None = None,
        dtype: DTypeLike | None = None,
        halo: int | Mapping[str, int] | None = None,
        axes: Sequence[str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        retries: int = 0,
        resume: bool = True,
        check: bool = True,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> MapReport:
        """Apply a function to every shard-aligned region of the image, in parallel; store the results in the image.

        This is :meth:`Plate.map` over regions, for one image: filters and segmentation of images of any size.

        Parameters
        ----------
        function
            Called with the pixels of a region as a numpy array; returns an array of that shape, or, for a label image,
            label ids without the channel axis.
        name
            Name of the array for the results, or "labels/" and the name of a label image, which needs a `halo`. With a
            list of names, the function returns a tuple of as many arrays.
        level
            Path of the level to read; the finest by default.
        dtype, halo, axes, kwargs, retries, resume, check, jobs, executor, progress
            As for :meth:`Plate.map`.

        Returns
        -------
        MapReport
            Number of regions that were computed, skipped and failed; its ``output`` is the image.

        Raises
        ------
        UnitsFailedError
            A region failed (a RuntimeError). All others are done and stored, and the same call resumes.
        ReadOnlyError, InvalidArgumentError
            The results cannot be stored (ValueErrors); the function was not called.

        Examples
        --------
        >>> report = position.map(lambda block: block[:, 1] > 400, "labels/bright", halo=2)
        >>> report.done, int(position.labels["bright"].data[:].max())
        (1, 1)
        """
        from lamella.ops.plates.map_request import MapCall
        from lamella.ops.plates.mapping import map_nodes

        image = cast("Position", self)

        call = MapCall(
            function=function,
            over="regions",
            name=name,
            level=next(iter(image.dataset_paths), "0") if level is None else level,
            dtype=dtype,
            halo=halo,
            axes=axes,
            kwargs=kwargs,
            retries=retries,
            resume=resume,
            check=check,
            jobs=jobs,
            executor=executor,
            progress=progress,
        )
        return map_nodes(image, call)
