"""Operations on a whole plate, each a call of one function of :mod:`lamella.ops` or :mod:`lamella.adapters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    import xarray as xr
    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.nodes.plate_creation import PositionSpec
    from lamella.nodes.position import Position
    from lamella.nodes.tables import PlateTables
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.progress import Progress
    from lamella.ops.streaming.stream import FrameStream
    from lamella.spec.omero import WindowDict
    from lamella.spec.transforms import TransformationMeta
    from lamella.store.compressor import CompressorChoice
    from lamella.types import StrPath


class PlateOperations(NGFFNode):
    """What a plate can do with all its positions."""

    @property
    def tables(self) -> PlateTables:
        """The tables of the plate, and those of its positions, concatenated: a mapping of name to pandas DataFrame."""
        from lamella.nodes.tables import PlateTables

        return PlateTables(cast("Plate", self))

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
        storage_options: Mapping[str, Any] | None = None,
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
        storage_options
            Credentials and settings of the URL `output`, as for `lamella.open_ome_zarr`.

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
            storage_options=storage_options,
        )

    def stream(
        self,
        positions: Sequence[Position | PositionSpec | str],
        name: str,
        shape_per_frame: Sequence[int],
        dtype: DTypeLike,
        *,
        order: Sequence[str] | None = None,
        lengths: Mapping[str, int] | None = None,
        channel_names: Sequence[str] | None = None,
        chunks: Sequence[int] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        compressor: CompressorChoice = None,
        resume: bool = False,
        pyramid: int | str | None = None,
        queue: int | None = None,
        flush_every: int | None = None,
    ) -> FrameStream:
        """Write frames of several positions as they come: to be used in a ``with`` block.

        Parameters
        ----------
        positions
            In the order in which they are visited: paths such as ``"A/1/0"``, tuples as for :meth:`create_positions`,
            or positions. Those that are not there are made, all at once.
        name, shape_per_frame, dtype
            As for :meth:`Position.stream`.
        order
            Names of the axes, the last one fastest, with ``"p"`` for the positions: ``"tpcz"`` visits each position at
            each time. By default p comes second.
        lengths, channel_names, chunks, shards_ratio, transform, compressor, resume, pyramid, queue, flush_every
            As for :meth:`Position.stream`; one queue and one set of threads serve all positions.

        Returns
        -------
        FrameStream
            Takes the frames: ``append``, ``skip``, ``flush``.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors).

        Examples
        --------
        >>> fields = ["C/3/0", "C/3/1"]
        >>> with plate.stream(fields, "0", (8, 8), "uint16", order="tpc") as frames:
        ...     for number in range(8):
        ...         where = frames.append(np.full((8, 8), number, "uint16"))
        >>> where, plate["C/3/1/0"].shape, plate["C/3/1/0"][:, :, 0, 0, 0].tolist()
        ({'t': 1, 'p': 1, 'c': 1}, (2, 2, 1, 8, 8), [[2, 3], [6, 7]])
        """
        from lamella.ops.streaming.opening import StreamOptions, stream_plate

        options = StreamOptions.of(
            name,
            shape_per_frame,
            dtype,
            order=order,
            lengths=lengths,
            channel_names=channel_names,
            chunks=chunks,
            shards_ratio=shards_ratio,
            transform=transform,
            compressor=compressor,
            resume=resume,
            pyramid=pyramid,
            queue=queue,
            flush_every=flush_every,
        )
        return stream_plate(self, positions, options)  # type: ignore[arg-type]

    def compute_contrast(
        self,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> dict[str, WindowDict]:
        """Choose one window per channel from the pixels of all fields, and write it to every field.

        Fields can be compared by eye only when they are shown alike. What is shown runs from the 0.1th to the 99.9th
        percentile of a sample of all fields that have the channel: about a million pixels, of the coarsest level
        with at least 128 pixels along y or x. Channels are matched by name. Fields without an image are passed over.

        Parameters
        ----------
        jobs
            Number of workers; one per processor by default.
        executor
            Where to read the pixels: any ``concurrent.futures.Executor``. Threads of this process by default.
        progress
            True shows a bar on the terminal. A function is called with the number of fields that are read, that of
            all, and "fields".

        Returns
        -------
        dict of str to WindowDict
            The new limits of each channel by its name.

        Raises
        ------
        InvalidArgumentError
            If no field has pixels and a channel with a name, or pixels have no order (a ValueError).
        MetadataError, DamagedDataError
            If a listed field cannot be read; nothing is written then.

        Examples
        --------
        >>> array = plate["B/2/0"].create_image("0", np.full((1, 2, 4, 8, 8), 900, "uint16"))
        >>> plate.compute_contrast()["GFP"]
        {'start': 257.0, 'end': 900.0, 'min': 0.0, 'max': 65535.0}
        >>> plate["A/1/0"].metadata.omero.channels[1].window["end"]
        900.0
        """
        from lamella.ops.contrast import compute_contrast

        self.require_writable("compute contrast limits")
        positions = [position for _, position in cast("Plate", self).positions()]
        return compute_contrast(positions, jobs=jobs, executor=executor, progress=progress)

    def to_datatree(self, *, on_error: Literal["raise", "report"] = "raise") -> xr.DataTree:
        """Return the plate as a tree of lazy datasets: row / column / field, each with the variable "image".

        Parameters
        ----------
        on_error
            What to do at a well or position that is listed but missing or damaged: "raise", or "report" to put an
            empty dataset in its place whose ``attrs["error"]`` says what is wrong.

        Returns
        -------
        xarray.DataTree
            Fields may differ in shape, channels and scale; those without an image are empty datasets.

        Raises
        ------
        MetadataError
            At a damaged member, with ``on_error="raise"``.
        InvalidArgumentError
            Another ``on_error`` (a ValueError).

        Examples
        --------
        >>> import lamella, numpy as np, tempfile
        >>> path = tempfile.mkdtemp() + "/plate.zarr"
        >>> plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"])
        >>> for field in ("0", "1"):
        ...     plate.create_position("A", "1", field)["0"] = np.full((1, 1, 1, 8, 8), 2, "uint8")
        >>> tree = plate.to_datatree()
        >>> [node.path for node in tree.leaves], float(tree["A/1/0/image"].mean())
        (['/A/1/0', '/A/1/1'], 2.0)
        """
        from lamella.adapters.xarray_export import to_datatree

        return to_datatree(cast("Plate", self), on_error=on_error)
