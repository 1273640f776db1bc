"""Build plates from positions, and other stores from parts of a plate or position.

Each method is a call of one function of :mod:`lamella.ops.plates`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.mosaics.mosaic import Mosaic
    from lamella.types import StrPath


class PlateBuilding(NGFFNode):
    """What a plate can do with positions of other stores, and other stores with its positions."""

    def add(
        self,
        positions: Mapping[str, Position],
        *,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> list[Position]:
        """Copy positions of other stores into the plate: all levels, labels, tables and metadata.

        Pixels are copied as :meth:`from_positions` does. Wells, rows and columns are created as needed; acquisitions
        that the plate lacks are added. The positions are listed when they are complete. The same call resumes one that
        was interrupted or killed.

        Parameters
        ----------
        positions
            Destination path ("row/column/field") to position.
        jobs, executor, progress
            As for :meth:`from_positions`.

        Returns
        -------
        list of Position
            The new positions, in the order of the arguments.

        Raises
        ------
        NodeExistsError
            If the plate has a position of such a path (a FileExistsError). Nothing is written then.
        InvalidArgumentError
            If a path is not "row/column/field" (a ValueError).
        ReadOnlyError
            If the plate is open for reading.

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

        Names, rows, columns, acquisitions, colours, levels, labels, tables and custom attributes are copied. Chunks
        are copied as they are encoded where the choice does not cut them. Levels are cut out of the levels of this
        plate where the region begins and ends between their pixels, and computed again otherwise. The new plate
        appears when it is complete; the same call resumes one that was interrupted or killed.

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
            Labels are cut alike, and the translation is that of the region.
        jobs, executor, progress, storage_options
            As for :meth:`from_positions`.

        Returns
        -------
        Plate
            The new plate, open for reading and writing.

        Raises
        ------
        NodeNotFoundError
            If the well or acquisition does not exist (a KeyError).
        InvalidArgumentError
            If a position has no such channel or region, or nothing is chosen (a ValueError).
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
        self, well: str, *, blend: Literal["nearest", "linear"] = "nearest", acquisition: int | None = None
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
            Id of one acquisition; all fields by default.

        Returns
        -------
        Mosaic
            With ``levels``, ``dask_array()``, ``to_xarray()``, ``table()`` and ``write(path)``. A region that is read
            reads no more than the fields that it touches.

        Raises
        ------
        NodeNotFoundError
            If the well does not exist (a KeyError).
        InvalidArgumentError
            If the fields differ in axes, channels, data type or pixel size (a ValueError).

        Examples
        --------
        >>> del plate["A/1/1"]
        >>> plate.mosaic("A01").shape
        (1, 2, 4, 8, 8)
        """
        from lamella.ops.mosaics.positions import mosaic_of_well

        return mosaic_of_well(cast("Plate", self), well, blend, acquisition)

    def set_positions(self, table: Any, *, unit: Literal["world", "pixel"] = "world") -> None:
        """Set where fields lie, from a table such as a program that stitches makes.

        Parameters
        ----------
        table
            A pandas DataFrame, or a list of dictionaries: ``path`` of the field, and under the names of the axes of
            space ("z", "y", "x") where its first pixel lies. Axes that are left out stay; other columns are ignored.
        unit
            "world", the unit of the axes, or "pixel", pixels of level 0.

        Raises
        ------
        NodeNotFoundError
            If the field does not exist (a KeyError). Nothing is written then.
        InvalidArgumentError
            If a row has no path or no finite number (a ValueError). Nothing is written then.

        Examples
        --------
        >>> plate.set_positions([{"path": "A/1/0", "y": 4.0, "x": 6.5}])
        >>> position.get_effective_translation("0")
        [0.0, 0.0, 0.0, 4.0, 6.5]
        """
        from lamella.ops.mosaics.positions import set_positions

        set_positions(cast("Plate", self), table, unit)
