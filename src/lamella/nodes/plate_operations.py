"""Operations on a whole plate, and from and to other stores, done by :mod:`lamella.ops` and :mod:`lamella.adapters`.

Each method is a call of one function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from lamella.arguments import checked_channel_name
from lamella.log import logged
from lamella.nodes.pictures import Pictures

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
    from lamella.ops.execution import Progress
    from lamella.ops.images.edit import ImageEdits
    from lamella.ops.mosaics.mosaic import Mosaic
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.streaming.stream import FrameStream
    from lamella.spec.images import TransformationMeta, WindowDict
    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import JSON, StrPath


class PlateOperations(Pictures):
    """Methods of a plate that process all its positions, or copy positions from and to other stores."""

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
        name: str | Sequence[str] | None = None,
        output: StrPath | Store | None = None,
        channel_names: Sequence[str] | None = None,
        dtype: DTypeLike | None = None,
        halo: int | Mapping[str, int] | None = None,
        axes: Sequence[str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
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
            Over positions: called with each `Position`; a returned array is stored as `name`, other values are in the
            report, whose `to_frame` joins records (dictionaries) to one table. Over regions: called with the pixels of
            a region as a numpy array; returns an array of that shape. A parameter named ``where`` gets by keyword an
            object with the ``path``, ``level``, ``region`` and ``read`` of what the function works on.
        over
            "positions", or "regions": the shards (or chunks) of `level`; each worker has one of them in memory.
        level
            Array to read by regions. Results of positions have its chunks, shards and compression.
        name
            Name of the array for results: by default `level` if they are of regions or go to an `output`. "labels/" and
            a name store them as a label image; over regions this needs a `halo`. With a list of names, the function
            returns a tuple.
        output
            Path of a new plate for the results, with the metadata of this one, but without label images and lower
            levels; this plate by default.
        channel_names
            Channels of the new plate; by default those of this one.
        dtype
            Data type of results by regions; by default that of `level`.
        halo
            Pixels to read beyond each side of a region: axis to number, or one number for the space axes. The function
            gets the region enlarged by the halo, as far as the image reaches; the halo is cut off its result.
        axes
            Names of the axes that results of regions have, such as "tcyx". Along the other axes (here z) the function
            gets the whole length, and returns an array without them; the stored array has length 1 there.
        kwargs
            Further keyword arguments of the function.
        positions
            Paths ("row/column/field") to process; all by default.
        retries
            How often a unit is repeated after the function raised.
        resume
            Skip units whose result was computed by the same function from the same source: see the notes. Otherwise
            `output` must be new, and existing results at `name` are replaced.
        check
            Raise when a unit failed; otherwise the report lists it.
        jobs, executor, progress
            As for :meth:`Position.compute_pyramid`; progress counts "positions" or "regions".
        storage_options
            Credentials and settings of the URL `output`, as for `lamella.open_ome_zarr`.

        Returns
        -------
        MapReport
            Units that were computed, skipped and failed; the values; and the plate with the results.

        Raises
        ------
        UnitsFailedError
            A unit failed (a RuntimeError). All others are done and stored.
        ReadOnlyError, InvalidArgumentError
            The results cannot be stored (ValueErrors); the function was not called.

        Notes
        -----
        Label images by regions (``over="regions", name="labels/cells", halo=20``) are for images of any size: the
        function gets all channels of a region and returns label ids without the channel axis. Because of the halo, two
        neighbouring regions both label the pixels along their common side. There, a connected patch of a label of one
        region is compared with a connected patch of a label of the other: if they overlap by at least half of the
        smaller patch, the two labels become one object. Ids are unique in the image and count from 1. With a halo as
        large as the objects, the objects are those of the whole image.

        A unit is skipped if the files of its source and result still have the size, inode and times (at URLs the ETag)
        that they had when it was computed, and the function has the same digest. The digest covers its bytecode,
        defaults, closures, `functools.partial` arguments and global variables, the functions and classes of its own
        top-level package that it names, recursively, and the versions of Python and other packages; not files that the
        function reads, the environment, and names that it looks up at run time. Nothing is skipped if the function uses
        a value without a digest (an instance of a class of another package, a lock, an open file), or if the store has
        no times of files (memory, ZIP). See ``docs/clusters.md``.

        Examples
        --------
        >>> means = plate.map(lambda position: float(position["0"][:].mean()), positions=["A/1/0"])
        >>> means.values
        {'A/1/0': 255.5}
        >>> report = plate.map(lambda block: block // 2, over="regions", output=tmp / "half.zarr", positions=["A/1/0"])
        >>> int(report.output["A/1/0/0"][0, 1, 3, 7, 7])
        255
        >>> report = plate.map(
        ...     lambda block: block.max(axis=2), over="regions", name="mip", axes="tcyx", positions=["A/1/0"]
        ... )
        >>> plate["A/1/0/mip"].shape
        (1, 2, 1, 8, 8)
        """
        from lamella.ops.plates.map_request import MapCall
        from lamella.ops.plates.mapping import map_nodes

        call = MapCall(
            function=function,
            over=over,
            level=level,
            name=name,
            output=output,
            channel_names=channel_names,
            dtype=dtype,
            halo=halo,
            axes=axes,
            kwargs=kwargs,
            positions=positions,
            retries=retries,
            resume=resume,
            check=check,
            jobs=jobs,
            executor=executor,
            progress=progress,
            storage_options=storage_options,
        )
        return map_nodes(cast("Plate", self), call)

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
        """Write frames of several positions as they arrive; use the stream in a ``with`` block.

        Parameters
        ----------
        positions
            In the order of acquisition: paths such as ``"A/1/0"``, tuples as for :meth:`create_positions`, or
            positions. Missing ones are created, all at once.
        order
            Names of the axes, fastest last, with ``"p"`` for the positions: ``"tpcz"`` acquires each position at each
            time. By default p comes second.
        name, shape_per_frame, dtype, lengths, channel_names, chunks, shards_ratio, transform, compressor, resume,
        pyramid
            As for :meth:`Position.stream`, as are the return value and errors.
        queue, flush_every
            As for :meth:`Position.stream`; all positions share one queue and one set of threads.

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

    def compute_pyramid(
        self,
        levels: int | Literal["auto"] | None = None,
        method: str = "mean",
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        resume: bool = True,
    ) -> dict[str, int]:
        """Compute the lower levels of all fields, several fields at once.

        Fields without pixels are skipped. Return the number of levels of each field by its path. Parameters and errors
        are those of :meth:`Position.compute_pyramid`; the same call resumes a killed one. The progress counts "images".

        Examples
        --------
        >>> plate.compute_pyramid(levels=2)
        {'A/1/0': 2}
        """
        from lamella.ops.execution import Workers
        from lamella.ops.images.pyramids import compute_each

        self.require_writable("compute pyramids")
        images = dict(cast("Plate", self).positions())
        return compute_each(
            images, levels, method, workers=Workers(jobs, executor), progress=progress, resume=resume
        )

    def compute_contrast(
        self,
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> dict[str, WindowDict]:
        """Compute one display window per channel from the pixels of all fields, and write it to every field.

        With common windows, fields can be compared by eye. A window is the 0.1th to 99.9th percentile of a sample of
        all fields that have the channel: about a million pixels, of the coarsest level with at least 128 pixels along y
        or x. Channels are matched by name. Fields without an image are skipped; nothing is written if a listed field
        cannot be read. Parameters, errors and return value are those of :meth:`Position.compute_contrast`.

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

        Fields may differ in shape, channels and scale; those without an image are empty datasets. For a well or
        position that is listed but missing or damaged, ``on_error`` "raise" raises a MetadataError, and "report" adds
        an empty dataset with the text of the error as ``attrs["error"]``.

        Examples
        --------
        >>> tree = plate.to_datatree()
        >>> [node.path for node in tree.leaves], float(tree["A/1/0/image"].mean())
        (['/A/1/0', '/A/1/1', '/B/2/0'], 255.5)
        """
        from lamella.adapters.xarray_export import to_datatree

        return to_datatree(cast("Plate", self), on_error=on_error)

    def add(
        self,
        positions: Mapping[str, Position],
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> list[Position]:
        """Copy positions of other stores into the plate, with levels, labels, tables and metadata; return the new ones.

        Pixels are copied as :meth:`from_positions` does. Wells, rows, columns and acquisitions that the plate lacks are
        created. The positions are listed when they are complete. The same call resumes one that was interrupted or
        killed.

        Parameters
        ----------
        positions, jobs, executor, progress
            As for :meth:`from_positions`.

        Raises
        ------
        NodeExistsError, InvalidArgumentError
            If the plate has such a position (a FileExistsError), or a path is not "row/column/field" (ValueErrors).
            Nothing is written then.

        Examples
        --------
        >>> [position.data.shape for position in plate.add({"C/7/0": plate["A/1/0"]})]
        [(1, 2, 4, 8, 8)]
        >>> [path for path, position in plate.positions()]
        ['A/1/0', 'A/1/1', 'B/2/0', 'C/7/0']
        """
        from lamella.ops.plates.add import add_positions

        return add_positions(cast("Plate", self), positions, jobs=jobs, executor=executor, progress=progress)

    def subset(
        self,
        store_path: StrPath | Store,
        *,
        wells: Iterable[str] | None = None,
        acquisitions: Iterable[int | str] | None = None,
        channels: Sequence[str] | None = None,
        crop: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Plate:
        """Create a plate from some wells, acquisitions or channels of this one, or from a region of its images.

        Levels, labels, tables and all metadata are copied. Chunks that lie completely in the region are copied
        without decoding. Lower levels are copied if the region begins and ends between their pixels (for a level of
        half the size: at even pixels of level 0), and computed again otherwise. The new plate appears when it is
        complete; the same call resumes one that was killed.

        Parameters
        ----------
        store_path
            Path of the new store; nothing may be there.
        wells
            Paths "B/3" or names "B03"; all by default.
        acquisitions
            Ids or names; all by default.
        channels
            Names, in the order of the new plate; all by default.
        crop
            Axis to (start, stop), or to a slice, in pixels of level 0: ``{"z": (2, 8), "x": slice(-512, None)}``.
            Labels are cut in the same way, tables keep the rows of their labels that remain, and the translation
            becomes that of the region.
        jobs, executor, progress, storage_options
            As for :meth:`from_positions`.

        Returns
        -------
        Plate
            The new plate, open for reading and writing.

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If a well, acquisition (KeyErrors), channel or region does not exist, or the choice is empty (ValueErrors).
        StoreExistsError
            If there is something at ``store_path`` (a FileExistsError).

        Examples
        --------
        >>> del plate["A/1/1"]
        >>> gfp = plate.subset(tmp / "gfp.zarr", wells=["A01"], channels=["GFP"], crop={"y": (2, 6)})
        >>> gfp["A/1/0"].data.shape, gfp.channel_names, gfp["A/1/0"].get_effective_translation("0")
        ((1, 1, 4, 4, 8), ['GFP'], [0.0, 0.0, 0.0, 0.5, 0.0])
        """
        from lamella.ops.plates.subset import subset_plate

        return subset_plate(
            cast("Plate", self),
            store_path,
            wells=wells,
            acquisitions=acquisitions,
            channels=channels,
            crop=crop,
            jobs=jobs,
            executor=executor,
            progress=progress,
            storage_options=storage_options,
        )

    def mosaic(
        self,
        well: str,
        *,
        blend: Literal["nearest", "linear"] = "nearest",
        acquisition: int | str | None = None,
    ) -> Mosaic:
        """Return the fields of a well as one lazy image, each placed by its translation.

        Parameters
        ----------
        well
            Path "B/3" or name "B03".
        blend
            Where fields overlap: "nearest", the field whose centre is nearest, or "linear", a mean of the fields whose
            weights fall linearly to their edges.
        acquisition
            Id or name of one acquisition; all fields by default.

        Returns
        -------
        Mosaic
            With ``levels``, ``dask_array()``, ``to_xarray()``, ``table()`` and ``write(path)``. Reading a region reads
            only the fields that it touches.

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If the well or acquisition does not exist (KeyErrors), or the fields differ in axes, channels, data type or
            pixel size (a ValueError).

        Examples
        --------
        >>> del plate["A/1/1"]
        >>> plate.mosaic("A01").shape
        (1, 2, 4, 8, 8)
        """
        from lamella.ops.mosaics.positions import mosaic_of_well

        return mosaic_of_well(cast("Plate", self), well, blend, acquisition)

    def set_positions(self, table: Any, *, unit: Literal["world", "pixel"] = "world") -> None:
        """Set the translations of fields from a table, such as that of a stitching program.

        Parameters
        ----------
        table
            A pandas DataFrame, or a list of dictionaries: ``path`` of the field, and ``z``, ``y`` and ``x`` of its
            first pixel. Axes without a column do not change; other columns are ignored.
        unit
            "world" for the unit of the axes, or "pixel" for pixels of level 0.

        Raises
        ------
        NodeNotFoundError, InvalidArgumentError
            If a field does not exist (a KeyError), or a row has no path or no finite number (a ValueError). Nothing is
            written then.

        Examples
        --------
        >>> plate.set_positions([{"path": "A/1/0", "y": 4.0, "x": 6.5}])
        >>> position.get_effective_translation("0")
        [0.0, 0.0, 0.0, 4.0, 6.5]
        """
        from lamella.ops.mosaics.positions import set_positions

        set_positions(cast("Plate", self), table, unit)

    # -- edits of all fields: they are checked before the first is written, and each changes in one atomic write --

    def set_channel(
        self,
        name: str,
        color: str | None = None,
        *,
        window: WindowDict | tuple[float, float] | None = None,
        active: bool | None = None,
        label: str | None = None,
    ) -> list[str]:
        """Set the display of a channel, in all fields that have it; see :meth:`Position.set_channel`.

        Examples
        --------
        >>> plate.set_channel("GFP", color="#FF8000")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate["B/2/0"].metadata.omero.channels[1].color
        'FF8000'
        """
        from lamella.ops.images.edit import ImageEdits

        changes = ImageEdits.of_channel(name, label, color=color, window=window, active=active)
        return self._edit_fields(f"change the channel {name!r}", changes)

    def rename_channel(self, old: str, new: str) -> list[str]:
        """Rename the channel ``old`` to ``new`` in all fields that have it.

        Raises
        ------
        InvalidArgumentError
            If no field has a channel ``old``, or one that has it also has ``new`` (a ValueError). Nothing is written
            then.

        Examples
        --------
        >>> plate.rename_channel("GFP", "Actin")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate.channel_names
        ['DAPI', 'Actin']
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields(
            f"rename the channel {old!r}", ImageEdits({checked_channel_name(old): checked_channel_name(new)})
        )

    def append_channel(self, name: str) -> list[str]:
        """Append a channel to all fields that lack it; see :meth:`Position.append_channel`. Return their paths.

        Raises
        ------
        InvalidArgumentError
            If every field has the channel, or one has no channel axis (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.append_channel("Cy5")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate.channel_names, plate["A/1/0"].data.shape
        (['DAPI', 'GFP', 'Cy5'], (1, 3, 4, 8, 8))
        """
        from lamella.ops.images.edit import append_to_fields

        name = checked_channel_name(name)
        self.require_writable(f"append the channel {name!r}")
        with (
            logged("Append the channel %r in %s", name, self.node_path),
            self.documents.storage.reading_once(self.path),
        ):
            return append_to_fields(dict(cast("Plate", self).positions()), name)

    def delete_channel(self, name: str, *, jobs: int | None = None) -> list[str]:
        """Delete a channel with its pixels from all fields that have it; see :meth:`Position.delete_channel`.

        Raises
        ------
        InvalidArgumentError
            If no field has the channel, or a field has no other channel (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.delete_channel("DAPI")
        ['A/1/0', 'A/1/1', 'B/2/0']
        >>> plate.channel_names, plate["A/1/0"].data.shape
        (['GFP'], (1, 1, 4, 8, 8))
        """
        from lamella.ops.images.delete_channel import delete_from_fields

        self.require_writable(f"delete the channel {name!r}")
        with self.documents.storage.reading_once(self.path):
            positions = dict(cast("Plate", self).positions())
            return delete_from_fields(positions, checked_channel_name(name), jobs=jobs)

    def set_scale(self, sizes: Mapping[str, float]) -> list[str]:
        """Set the voxel size of the finest level by axis, in all fields with an image, for all levels and label images.

        Raises
        ------
        InvalidArgumentError
            If no image has such an axis, or a size is not a number above 0 (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.set_scale({"y": 0.65, "x": 0.65})
        ['A/1/0']
        >>> position.scale
        [1.0, 1.0, 0.5, 0.65, 0.65]
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields("set a scale", ImageEdits(sizes=sizes))

    def set_unit(self, unit: str | Mapping[str, str | None]) -> list[str]:
        """Set the unit of axes in all fields, without changing sizes; see :meth:`Position.set_unit`.

        Examples
        --------
        >>> plate.set_unit("nanometer")
        ['A/1/0', 'A/1/1', 'B/2/0']
        """
        from lamella.ops.images.edit import ImageEdits

        return self._edit_fields("set a unit", ImageEdits(units=unit))

    def _edit_fields(self, action: str, edits: ImageEdits) -> list[str]:
        from lamella.ops.images.edit import edit_fields

        self.require_writable(action)
        with (
            logged("%s in %s", action[0].upper() + action[1:], self.node_path),
            self.documents.storage.reading_once(self.path),
        ):
            return edit_fields(dict(cast("Plate", self).positions()), edits)

    def set_name(self, name: str) -> None:
        """Set the name of the plate, a text that is not empty, which viewers show. Its path does not change.

        Examples
        --------
        >>> plate.set_name("screen 7")
        >>> plate.metadata.name
        'screen 7'
        """
        from lamella.spec import plate_edits

        self.require_writable("set the name")
        cast("Plate", self).document.edit(lambda meta: plate_edits.set_name(meta, name))

    def set_attributes(self, attributes: Mapping[str, JSON]) -> None:
        """Set custom attributes of the plate in one write; see :meth:`Position.set_attributes`.

        Examples
        --------
        >>> plate.set_attributes({"operator": "Ada"})
        >>> plate.zattrs["operator"]
        'Ada'
        """
        from lamella.ops.images.edit import edit_attributes

        self.require_writable("set attributes")
        edit_attributes(self, attributes)
