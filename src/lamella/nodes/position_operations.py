"""Operations on a position, done by :mod:`lamella.ops` and :mod:`lamella.adapters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from lamella.errors import InvalidArgumentError, clause
from lamella.nodes.pictures import Pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    import xarray as xr
    from numpy.typing import DTypeLike
    from zarr.abc.store import Store

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.mosaics.mosaic import Mosaic
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.streaming.stream import FrameStream
    from lamella.ops.tables.rois import Roi
    from lamella.spec.images import TransformationMeta
    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import StrPath


class PositionOperations(Pictures):
    """Methods of a position that process its image."""

    @property
    def _image(self) -> Position:
        return cast("Position", self)

    def initialize_pyramid(self, levels: int, *, factors: Mapping[str, int] | None = None) -> None:
        """Create the arrays and metadata of lower levels, each half the size of the level before, without pixels.

        The image lists them at once; they are stale (:attr:`stale_levels`) until they are written. Parameters, errors
        and warnings are those of :meth:`compute_pyramid`; 1 level changes nothing.

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
        """Compute the lower levels from level 0, each from the level before. Level 0 is read once.

        The image lists new levels when their pixels are complete; after a kill it lists none of them, and existing
        levels are stale (:attr:`stale_levels`). The same call finishes: for a large image it computes only what is
        missing or has changed. Warns, and creates fewer levels, if the image cannot be made smaller so many times.

        Parameters
        ----------
        levels
            Number of levels with level 0; ``"auto"`` until the larger of Y and X is at most 256; None for the existing
            levels.
        method
            "mean", "median", "mode", "min", "max" or "stride".
        dims
            Names of the axes to halve; the space axes by default.
        factors
            Axis name to whole factor by which each level is smaller than the one before, such as ``{"y": 4, "x": 4}``,
            instead of `dims`; other axes keep their length.
        jobs
            Number of workers; one per processor by default. The pixels do not depend on it.
        executor
            Any ``concurrent.futures.Executor`` whose workers can read and write the store: a process pool, or Dask's
            ``client.get_executor()``. Threads of this process by default.
        progress
            True shows a bar on the terminal. A function is called with the number of units that are done, their total
            number, and their name: here "voxels" of all levels that are read.
        resume
            Resume a killed call with the same arguments. False computes everything.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If there is no level 0, the method is unknown, another call has started to create other levels, or a pyramid
            with another number of levels exists: call :meth:`delete_pyramid` first (ValueErrors).
        WorkerLostError
            If the executor has lost a process and cannot continue (a RuntimeError).

        Examples
        --------
        >>> position.compute_pyramid(levels=2, method="max")
        >>> int(position["0"][0, 0, :2, :2, :2].max()), int(position["1"][0, 0, 0, 0, 0])
        (73, 73)
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
        """Update the lower levels after writes to level 0: only what depends on them is computed.

        Levels of an array that was resized or appended to are resized too.

        Parameters
        ----------
        region
            Index of level 0, as for writing: ``(3, 0)`` or ``np.s_[..., :512, :512]``. By default the recorded stale
            regions (:attr:`stale_levels`), or everything if they are unknown.
        method
            Method of the levels, if the metadata does not state it.
        jobs, executor, progress
            As for :meth:`compute_pyramid`.

        Raises
        ------
        InvalidArgumentError
            If there are no lower levels, their method is unknown, or `method` differs from it (a ValueError).

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

    def subset(
        self,
        store_path: StrPath | Store,
        *,
        channels: Sequence[str] | None = None,
        crop: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Position:
        """Create a store from some channels of the image, or from a region of it, with its levels, labels and tables.

        Parameters, errors and return value are those of :meth:`Plate.subset`, for one image.

        Examples
        --------
        >>> part = position.subset(tmp / "part.zarr", channels=["GFP"], crop={"z": (1, 3), "x": slice(4, None)})
        >>> part.data.shape, bool((part.data[...] == position.data[:, 1:, 1:3, :, 4:]).all())
        ((1, 1, 2, 8, 4), True)
        """
        from lamella.ops.plates.subset import subset_position

        return subset_position(
            self._image,
            store_path,
            channels=channels,
            crop=crop,
            jobs=jobs,
            executor=executor,
            progress=progress,
            storage_options=storage_options,
        )

    def mosaic(self, *, blend: Literal["nearest", "linear"] = "nearest") -> Mosaic:
        """Return the image, or the tiles of a tiled one, as a mosaic of one field; see :meth:`Plate.mosaic`.

        Examples
        --------
        >>> bool((position.mosaic()[...] == position.data[...]).all())
        True
        """
        from lamella.ops.mosaics.mosaic import Mosaic

        return Mosaic({self.path: self._image}, blend)

    @property
    def stale_levels(self) -> bool:
        """Whether lower levels differ from level 0: it was written since, or they were created empty and not filled.

        Writes through ``position["0"]`` make them stale, in any process, and so does a killed computation of them.
        Writes that bypass lamella's arrays (``array.zarr()``, ``array.tensorstore()``, other libraries) are not
        noticed.
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

    def stream(
        self,
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
        """Write frames as they arrive; use the stream in a ``with`` block.

        Parameters
        ----------
        name
            Name of the array, which is created with an empty first axis, and grows.
        shape_per_frame
            Shape of one frame in the order of the axes that are not in `order`, as (Y, X); axes before them have length
            1.
        dtype, transform, compressor
            As for :meth:`create_zeros`.
        order
            Names of the axes over which frames arrive, fastest last: ``"tcz"`` for stacks in all channels at each time.
            By default all axes that a frame does not have.
        lengths
            Number of frames along the axes of the order. Without a length, the first axis grows.
        channel_names
            Names of the channels in the order of arrival; all of the position by default. A position without an image
            gets missing names.
        chunks
            Shape of a chunk; one frame by default.
        shards_ratio
            Chunks per shard along each axis (0.5 and later); no shards by default. Frames that share a shard are stored
            with the last of them.
        resume
            Continue after the last stored frame of an existing array, or create a new one.
        pyramid
            Compute that many levels (or ``"auto"``) by mean during the stream, on one thread, whenever a file of frames
            is stored. The end of the stream computes what is still missing.
        queue
            Number of chunks that may wait for encoding before ``append`` waits until one is encoded; once half as many
            wait, it waits for a short time. By default the larger of 8 and twice the processors.
        flush_every
            Store all frames after each group of so many, such as 100: a kill loses at most these, also if a shard has
            more frames.

        Returns
        -------
        FrameStream
            With the methods ``append``, ``skip`` and ``flush``.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> with plate["B/2/0"].stream("0", (8, 8), "uint16", order="tcz", lengths={"z": 3}) as frames:
        ...     for number in range(12):
        ...         where = frames.append(np.full((8, 8), number, "uint16"))
        >>> where, plate["B/2/0/0"].shape
        ({'t': 1, 'c': 1, 'z': 2}, (2, 2, 3, 8, 8))
        """
        from lamella.ops.streaming.opening import StreamOptions, stream_position

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
        return stream_position(self, options)  # type: ignore[arg-type]

    def rois(self, table: str | None = None) -> list[Roi]:
        """Return the regions of interest that the tables of the position list, or one of the tables.

        Raises
        ------
        InvalidArgumentError
            If the table lists no regions (a ValueError).

        Examples
        --------
        >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}, "right": {"x": (1, 2)}})
        >>> [roi.name for roi in position.rois()]
        ['left', 'right']
        """
        from lamella.ops.tables.rois import list_rois

        return list_rois(self._image, table)

    def roi(self, name: str | int, *, table: str | None = None) -> Roi:
        """Return a region of interest, which reads its pixels from any level.

        Parameters
        ----------
        name
            Its name in the table, such as "FOV_1", or its label.
        table
            Name of the table of regions; all are searched by default.

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If it does not exist (a KeyError), or several tables have one of this name (a ValueError).

        Examples
        --------
        >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}, "right": {"x": (1, 2)}})
        >>> position.roi("left"), position.roi("left").read().shape
        (<Roi 'left' of 'fields': z=0..2, y=0..2, x=0..1>, (1, 2, 4, 8, 4))
        """
        from lamella.ops.tables.rois import find_roi

        return find_roi(self._image, name, table)

    def to_xarray(self, *, level: str | int | None = None) -> xr.DataArray:
        """Return a level as a labelled array, backed by dask: no pixel is read before it is computed.

        Parameters
        ----------
        level
            Path of the level; the finest by default.

        Returns
        -------
        xarray.DataArray
            Dims are the lower-case names of the axes, ``("t", "c", "z", "y", "x")``. Coordinates are the channel names,
            and translation + scale * index on the other axes, each with the unit of its axis in ``attrs["units"]``.
            ``attrs`` are those that :meth:`write_xarray` stored.

        Raises
        ------
        NodeNotFoundError
            If the position has no array, or no such level (a KeyError).

        Examples
        --------
        >>> cells = position.to_xarray()
        >>> cells.dims, cells.coords["z"].values.tolist(), cells.coords["z"].attrs["units"]
        (('t', 'c', 'z', 'y', 'x'), [0.0, 0.5, 1.0, 1.5], 'micrometer')
        >>> int(cells.sel(c="GFP", z=1.0).max())
        447
        """
        from lamella.adapters.xarray_export import to_xarray

        return to_xarray(cast("Position", self), level)

    def sel(self, *, level: str | int | None = None, **labels: Any) -> xr.DataArray:
        """Select by names and coordinates, as :meth:`xarray.DataArray.sel` does: ``to_xarray(level=level).sel(...)``.

        Parameters
        ----------
        level
            Path of the level; the finest by default.
        **labels
            For each axis the name of a channel, or a coordinate in the unit of the axis; the result lacks the axis. Or
            a list or slice of these; the result keeps the axis. A slice includes both of its ends; :meth:`crop` cuts
            out half-open regions. A coordinate may be off by a millionth of a voxel, as 0.3 is of 3 times 0.1.

        Raises
        ------
        InvalidArgumentError, NodeNotFoundError
            If there is no such axis, channel or coordinate (a ValueError), or no such level (a KeyError).

        Examples
        --------
        >>> position.sel(c="GFP", t=0).shape, position.sel(c=["GFP"], z=slice(0, 0.5)).shape
        ((4, 8, 8), (1, 1, 2, 8, 8))
        """
        from lamella.adapters.xarray_export import exact_labels

        array = self.to_xarray(level=level)
        try:
            return array.sel(exact_labels(array, labels))
        except (KeyError, ValueError, TypeError) as error:
            is_missing = isinstance(error, KeyError)
            reason = "there is no such channel or coordinate" if is_missing else clause(error)
            raise InvalidArgumentError(
                f"Cannot select {labels} in {self.node_path}: {reason}. Its axes are "
                f"{', '.join(map(str, array.dims))}, and its channels {self.channel_names}."
            ) from error

    def write_xarray(self, data_array: xr.DataArray, image: str = "0") -> None:
        """Write a labelled array, or some of its channels and timepoints.

        The first write creates the image, with all channels of the position; later ones fill it, in any order. Times
        are matched by coordinate, channels by name, and the image grows along T; stored coordinates do not change.

        Parameters
        ----------
        data_array
            Dims exactly the lower-case names of the axes, ``("t", "c", "z", "y", "x")``. "c" has names of channels of
            the position, the other coordinates evenly spaced numbers, with their unit in ``attrs["units"]``.
        image
            Name of the array.

        Raises
        ------
        InvalidArgumentError
            If dims, channels, coordinates, units, attrs, shape or dtype do not fit (a ValueError). Nothing is written
            then.

        Notes
        -----
        A new image has the scale and translation of the coordinates. An axis with a single coordinate gets
        the scale that `to_xarray` stored in ``encoding["lamella_scale"]``, else 1. Along all axes but T and C the shape
        must equal that of the image, and so must the coordinates, unless either has none: plain indices, or scale 1 and
        translation 0. An image with these keeps them, with a warning.

        If all timepoints were written by `write_xarray`, the order of writes makes no difference: T starts at the
        earliest timepoint, and its step is the largest that leads to all of them. A timepoint before the first, or
        between two, moves the stored ones: this costs a copy, and admits one writer at a time. A time within a
        twentieth of a step of a timepoint joins it, if it has no voxels yet of the written channels; otherwise it is
        refused. An image that `create_zeros` created, or whose time scale or translation was set since, keeps its time
        axis: such a timepoint is refused, and many threads and processes may write at once.

        Data backed by dask are computed block by block, on dask's scheduler; data that read from the image to which
        they are written are computed into an array beside it first. A value of lazy data that the image cannot store
        raises InvalidArgumentError with its block, and the region is marked as unfinished until it is written again.

        Examples
        --------
        >>> import xarray as xr
        >>> position = plate["B/2/0"]  # no image yet
        >>> frame = xr.DataArray(np.ones((1, 1, 1, 8, 8), "uint16"), dims=("t", "c", "z", "y", "x"))
        >>> for time, channel in ((0.0, "GFP"), (0.0, "DAPI"), (1.0, "GFP")):
        ...     position.write_xarray(frame.assign_coords(t=[time], c=[channel]))
        >>> position.data.shape, position.data[:, :, 0, 0, 0].tolist()
        ((2, 2, 1, 8, 8), [[1, 1], [0, 1]])
        """
        from lamella.adapters.xarray_write import write_xarray

        write_xarray(cast("Position", self), data_array, image)

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
            As for :meth:`Plate.map`, as are the errors.

        Returns
        -------
        MapReport
            Number of regions that were computed, skipped and failed; its ``output`` is the image.

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
