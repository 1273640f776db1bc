"""A function over a whole plate: the method of `Plate`.

Layer: nodes. The work is in :mod:`lamella.ops.plates.mapping`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.progress import Progress
    from lamella.types import StrPath


class MapMethods:
    """What a plate does with a function of the user."""

    def map(
        self,
        function: Callable[[Any], Any],
        *,
        over: Literal["positions", "regions"] = "positions",
        level: str = "0",
        name: str | None = None,
        output: StrPath | Store | None = None,
        channel_names: Sequence[str] | None = None,
        dtype: DTypeLike | None = None,
        positions: Iterable[str] | None = None,
        retries: int = 0,
        resume: bool = True,
        check: bool = True,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> MapReport:
        """Apply a function to every position, or to every shard-aligned region of their pixels, in parallel.

        Parameters
        ----------
        function
            Over positions: called with each `Position`; an array that it returns is stored as `name`, any other value
            is in the report. Over regions: called with the pixels of a region as a numpy array; returns as many.
        over
            "positions", or "regions": the shards (or chunks) of `level`, so that memory is one of them per worker.
        level
            Array to read by regions. Results of positions get its chunks, shards and compression.
        name
            Where results are stored: the name of an array, or "labels/" and the name of a label image. `level` by
            default where there is an `output` and for regions.
        output
            Path of a new plate for the results, with the same positions, names, acquisitions, channels, colours,
            contrast limits and custom attributes; this plate by default. Label images and lower levels of pyramids are
            not copied, as they belong to other pixels: see :meth:`compute_pyramid <Position.compute_pyramid>`, and
            :meth:`from_positions` for copies with all that there is.
        channel_names
            Of the new plate; by default those of this one.
        dtype
            Of the new arrays made from regions; by default that of `level`.
        positions
            Paths ("row/column/field") of those to work on; all by default.
        retries
            How often a unit is tried again after the function raised.
        resume
            Skip units whose result the same function made of the same source: see the notes. Otherwise `output` must
            be new, and what is at `name` is replaced.
        check
            Raise when a unit failed; otherwise the report names it.
        jobs
            Number of workers; one per processor by default.
        executor
            Where to work, instead of threads of this process: any ``concurrent.futures.Executor``.
        progress
            True shows a bar on the terminal. A function is called with the number of units done, that of all units,
            and "positions" or "regions".

        Returns
        -------
        MapReport
            What was done, left out and failed; the values; and the plate that was written to.

        Raises
        ------
        UnitsFailedError
            A unit failed (a RuntimeError). All others were done, and are stored.
        ReadOnlyError, InvalidArgumentError
            The results cannot be stored (ValueErrors); nothing was called then.

        Notes
        -----
        A unit is skipped when the files of its source and of its result have the size, inode and times (on services the
        ETag) that they had when it was made, and the function has the same digest: of its bytecode, defaults, closures,
        `functools.partial` arguments and the global variables that it names, of the functions and classes of its own
        top-level package that it names, recursively, and of the versions of Python and of other packages. Files that
        the function reads by itself, the environment, and names looked up while it runs are not seen. Where no digest
        can be made (it uses an object of another package, a lock, an open file) or the store has no fingerprints (in
        memory, ZIP) nothing is skipped. ``docs/clusters.md`` has the details.

        Examples
        --------
        >>> means = plate.map(lambda position: float(position["0"][:].mean()), positions=["A/1/0"])
        >>> means.values
        {'A/1/0': 255.5}
        >>> report = plate.map(lambda block: block // 2, over="regions", output=tmp / "half.zarr", positions=["A/1/0"])
        >>> int(report.output["A/1/0/0"][0, 1, 3, 7, 7])
        255
        """
        from lamella.ops.plates.mapping import map_plate

        return map_plate(
            cast("Plate", self),
            function,
            over=over,
            level=level,
            name=name,
            output=output,
            channel_names=channel_names,
            dtype=dtype,
            positions=positions,
            retries=retries,
            resume=resume,
            check=check,
            jobs=jobs,
            executor=executor,
            progress=progress,
        )
