"""A mosaic: the fields of a well as one lazy image, with an array for each level."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella.arguments import is_whole_number
from lamella.errors import InvalidArgumentError, counted, warn
from lamella.ops.execution import Workers
from lamella.ops.jobs.units import Files, files_of
from lamella.ops.mosaics.layout import layout_of
from lamella.ops.regions import region_shape, relative_region
from lamella.spec.axes import space_axes
from lamella.store.pixels.selection import basic_or_fancy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    import dask.array
    import pandas
    import xarray as xr
    from zarr.abc.store import Store

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.ops.mosaics.layout import Layout
    from lamella.ops.regions import Region
    from lamella.spec.axes import AxisMeta
    from lamella.store.pixels.arrays import StoredArray
    from lamella.types import Shape, StrPath

Blend = Literal["nearest", "linear"]

_BLENDS = ("nearest", "linear")


class MosaicArray:
    """One level of a mosaic: an array that is read by index, as numpy arrays are."""

    def __init__(
        self, fields: Sequence[StoredArray], layout: Layout, blend: Blend, axes: Sequence[AxisMeta]
    ) -> None:
        self._stored = list(fields)
        self.layout, self.blend, self.axes = layout, blend, list(axes)
        meta = self._stored[0].meta
        self.dtype, self.fill_value, self.chunks = meta.dtype, meta.fill_value, meta.chunks

    @property
    def shape(self) -> Shape:
        """Length of each axis."""
        return self.layout.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def scale(self) -> list[float]:
        """Size of a pixel, per axis."""
        return list(self.layout.scale)

    @property
    def translation(self) -> list[float]:
        """Position of the first pixel, per axis."""
        return list(self.layout.translation)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype} of {len(self._stored)} fields>"

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Return pixels in memory, as numpy does."""
        selection = basic_or_fancy(index, self.shape)
        if selection.bounds is None:
            return np.empty(selection.result_shape, self.dtype)
        region = tuple(map(slice, *selection.bounds))
        index_in_region = tuple(
            slice(None, None, axis.step) if isinstance(axis, slice) else axis - span.start
            for axis, span in zip(selection.axes, region, strict=True)
        )
        return selection.finish(self.read(region)[index_in_region])[()]  # one voxel is a scalar

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return all pixels."""
        del copy
        pixels = self[...]
        return np.asarray(pixels if dtype is None else pixels.astype(dtype))

    def touches(self, region: Region) -> bool:
        """Return whether a region overlaps a field.

        >>> position.mosaic().levels[0].touches((slice(0, 1),) * 5)
        True
        """
        return next(self.layout.fields_in(region), None) is not None

    def cut(self, region: Region) -> MosaicArray:
        """Return a mosaic of the fields that a region overlaps; of the first field if there are none.

        >>> position.mosaic().levels[0].cut((slice(0, 1),) * 5).shape == position.mosaic().shape
        True
        """
        numbers = [number for number, _ in self.layout.fields_in(region)] or [0]
        layout = replace(
            self.layout, starts=self.layout.starts[numbers], lengths=self.layout.lengths[numbers]
        )
        return MosaicArray([self._stored[number] for number in numbers], layout, self.blend, self.axes)

    def files(self, region: Region) -> Files:
        """Return the files of the fields from which a region is read.

        >>> len(position.mosaic().levels[0].files((slice(0, 1),) * 5).others)
        1
        """
        files = [
            files_of(self._stored[number], self.layout.in_field(number, subregion))
            for number, subregion in self.layout.fields_in(region)
        ]
        return Files(self._stored[0].documents.storage, (), tuple(files))

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        """Return the pixels of a region.

        Examples
        --------
        >>> position.mosaic().levels[0].read((slice(0, 1),) * 5).shape
        (1, 1, 1, 1, 1)
        """
        out = np.full(region_shape(region), self.fill_value, self.dtype)
        read = self._blend if self.blend == "linear" else self._select
        for part in self.layout.split_at_ends(region):
            read(part, out[relative_region(part, region)])
        return out

    def _select(self, region: Region, out: np.ndarray[Any, Any]) -> None:
        """Write the pixels of the field whose centre is nearest."""
        for number, subregion, mask in self.layout.owners(region):
            pixels = self._stored[number].read(self.layout.in_field(number, subregion))
            target = out[relative_region(subregion, region)]
            np.copyto(target, pixels, where=np.broadcast_to(mask, target.shape))

    def _blend(self, region: Region, out: np.ndarray[Any, Any]) -> None:
        """Write the mean of the fields, each weighted by the distance of a pixel to the field's edges."""
        parts_by_field = list(self.layout.fields_in(region))
        if len(parts_by_field) == 1:
            number, subregion = parts_by_field[0]
            out[relative_region(subregion, region)] = self._stored[number].read(
                self.layout.in_field(number, subregion)
            )
            return
        weights = np.zeros(
            [length if axis in self.layout.space else 1 for axis, length in enumerate(out.shape)]
        )
        parts_in_space = [self.layout.in_space(subregion, region) for _, subregion in parts_by_field]
        for (number, subregion), in_space in zip(parts_by_field, parts_in_space, strict=True):
            weights[in_space] += self.layout.weights(number, subregion)
        shared = np.zeros(weights.shape, bool)
        total = np.zeros(out.shape, np.result_type(self.dtype, np.float64))
        for (number, subregion), in_space in zip(parts_by_field, parts_in_space, strict=True):
            weight, target = self.layout.weights(number, subregion), relative_region(subregion, region)
            pixels = self._stored[number].read(self.layout.in_field(number, subregion))
            out[target] = pixels  # without rounding; replaced below where fields overlap
            total[target] += weight * pixels
            shared[in_space] |= weights[in_space] > weight
        mean = total / np.where(weights > 0, weights, 1)
        np.copyto(out, _rounded(mean, self.dtype), where=np.broadcast_to(shared, out.shape))

    def dask_array(self) -> dask.array.Array:
        """Return a dask array; no pixel is read yet. Blocks are about as large as the chunks of a field.

        Examples
        --------
        >>> int(position.mosaic().levels[0].dask_array().max().compute())
        511
        """
        import dask.array
        from dask.tokenize import tokenize

        stamps = [
            (
                str(array),
                array.documents.array_stamp(array.path),
                id(getattr(array.documents.storage, "store", None)),
            )
            for array in self._stored
        ]
        token = tokenize(stamps, self.layout.starts, self.blend)
        chunks = tuple(
            max(1, min(chunk, length)) for chunk, length in zip(self.chunks, self.shape, strict=True)
        )
        return dask.array.from_array(
            self,
            chunks=chunks,
            name=f"lamella-mosaic-{token}",
            asarray=True,
            fancy=False,
            meta=np.empty((0,) * self.ndim, self.dtype),
        )


class Mosaic(MosaicArray):
    """The fields of a well as one image: an array of level 0, and :attr:`levels` of arrays.

    Fields are placed by their translations, rounded to whole pixels. Pixels that several fields cover come from the
    field whose centre is nearest (``blend="nearest"``) or are a mean of the fields with weights that fall linearly to
    their edges (``"linear"``). Pixels without a field have the fill value.

    Attributes
    ----------
    levels
        The arrays, from the finest to the coarsest that all fields have.
    fields
        The positions by path.
    channel_names
        Names of the channels.
    axes
        Axes in the order of the dimensions.
    shape, dtype, scale, translation
        Of level 0, as of an image.

    Examples
    --------
    >>> plate["A/1/1"]["0"] = np.full((1, 2, 4, 8, 8), 7, "uint16")
    >>> images = plate.set_scale({"z": 1, "y": 1, "x": 1})
    >>> plate.set_positions([{"path": "A/1/0", "x": 0}, {"path": "A/1/1", "x": 6}])
    >>> mosaic = plate.mosaic("A1")
    >>> mosaic.shape, mosaic[0, 0, 0, 0].tolist()
    ((1, 2, 4, 8, 14), [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7])
    """

    def __init__(self, fields: Mapping[str, Position], blend: Blend = "nearest") -> None:
        if blend not in _BLENDS:
            raise InvalidArgumentError(f"blend={blend!r} is neither 'nearest' nor 'linear'.")
        self.fields = dict(fields)
        positions = list(self.fields.values())
        _check_fields(positions)
        count = min(len(position.dataset_paths) for position in positions)
        arrays = [
            [position[position.dataset_paths[number]] for position in positions] for number in range(count)
        ]
        axes = positions[0].axes
        self.channel_names = positions[0].channel_names
        self.levels: list[MosaicArray] = []
        for number, level in enumerate(arrays):
            paths = [position.dataset_paths[number] for position in positions]
            layout = layout_of(
                [array.shape for array in level],
                [field.get_effective_scale(path) for field, path in zip(positions, paths, strict=True)],
                [field.get_effective_translation(path) for field, path in zip(positions, paths, strict=True)],
                space_axes(axes),
                [str(position.node_path) for position in positions],
            )
            self.levels.append(MosaicArray([array.stored for array in level], layout, blend, axes))
        super().__init__([array.stored for array in arrays[0]], self.levels[0].layout, blend, axes)
        _warn_of_hidden_fields(list(self.fields), self.layout)

    @property
    def axis_names(self) -> list[str]:
        """Names of the axes, in lower case."""
        return [axis.name.lower() for axis in self.axes]

    def __reduce__(self) -> tuple[Any, ...]:
        return Mosaic, (self.fields, self.blend)

    def to_xarray(self, level: int = 0) -> xr.DataArray:
        """Return a level as a lazy labelled array, with coordinates in the units of the axes.

        Examples
        --------
        >>> position.mosaic().to_xarray().coords["x"].values.tolist()[:3]
        [0.0, 0.25, 0.5]
        """
        import xarray

        if not is_whole_number(level, -len(self.levels)) or level >= len(self.levels):
            raise InvalidArgumentError(
                f"The mosaic has no level {level!r}: it has {counted(len(self.levels), 'level')}, counted from 0."
            )
        array = self.levels[level]
        coords: dict[str, Any] = {}
        for name, axis, length, pixel_size, start in zip(
            self.axis_names, self.axes, array.shape, array.scale, array.translation, strict=True
        ):
            if axis.type == "channel":
                if len(self.channel_names) == length:
                    coords[name] = (name, self.channel_names)
                continue
            attrs = {} if getattr(axis, "unit", None) is None else {"units": axis.unit}
            coords[name] = (name, start + pixel_size * np.arange(length), attrs)
        return xarray.DataArray(array.dask_array(), dims=self.axis_names, coords=coords)

    def table(self, as_frame: bool = True) -> pandas.DataFrame | list[dict[str, Any]]:
        """Return where the fields lie: a table for programs that stitch, which `Plate.set_positions` reads again.

        Parameters
        ----------
        as_frame
            Return a pandas DataFrame; a list of dictionaries otherwise.

        Returns
        -------
        pandas.DataFrame or list of dict
            A row for each field: ``path``; the translation along each axis of space under its name, in its unit; and
            ``z_pixel``, ``y_pixel``, ``x_pixel``, the index of its first pixel in the mosaic.

        Examples
        --------
        >>> position.mosaic().table(as_frame=False)
        [{'path': 'A/1/0', 'z': 0.0, 'y': 0.0, 'x': 0.0, 'z_pixel': 0, 'y_pixel': 0, 'x_pixel': 0}]
        """
        names = self.axis_names
        rows = []
        for number, (path, position) in enumerate(self.fields.items()):
            shift = position.get_effective_translation(position.dataset_paths[0])
            row: dict[str, Any] = {"path": path}
            row |= {names[axis]: shift[axis] for axis in self.layout.space}
            row |= {
                f"{names[axis]}_pixel": int(self.layout.starts[number][axis]) for axis in self.layout.space
            }
            rows.append(row)
        if not as_frame:
            return rows
        from lamella.ops.plates.table import as_dataframe

        return as_dataframe(rows, list(rows[0]))

    def write(
        self,
        target: StrPath | Store | Position,
        *,
        levels: int | Literal["auto"] | None = None,
        chunks: Sequence[int] | Literal["auto"] = "auto",
        shards_ratio: Sequence[int] | None = None,
        overwrite: bool = False,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Position:
        """Write the mosaic as an image, file by file; lower levels are computed from its level 0.

        A new store appears when it is complete. The same call resumes an interrupted or killed one.

        Parameters
        ----------
        target
            Path or URL of a new store, a zarr store, or a position without an image.
        levels
            Number of levels; by default as many as the fields have. "auto" as for `Position.compute_pyramid`.
        chunks, shards_ratio
            As for `Position.create_image`.
        overwrite
            Replace a store at the path.
        jobs, executor, progress
            As for `Position.compute_pyramid`.
        storage_options
            Credentials and settings of a URL, as for `lamella.open_ome_zarr`.

        Returns
        -------
        Position
            The image, open for reading and writing (for reading in an archive).

        Raises
        ------
        StoreExistsError
            There is something at the path (a FileExistsError).
        NodeExistsError
            The position has an image (a ValueError).

        Examples
        --------
        >>> image = position.mosaic().write(tmp / "mosaic.zarr", levels=2)
        >>> image["1"].shape
        (1, 2, 2, 4, 4)
        """
        from lamella.ops.mosaics.writing import MosaicWrite
        from lamella.ops.pyramids.pyramid import check_levels

        count = len(self.levels) if levels is None else levels
        check_levels(count)  # before pixels are written: the levels are computed from them
        write = MosaicWrite(self, count, chunks, shards_ratio, Workers(jobs, executor), progress)
        return write.write_to(target, overwrite, storage_options)


def _check_fields(positions: Sequence[Position]) -> None:
    """Raise for fields without an image, or with different axes, channels or data types."""
    if not positions:
        raise InvalidArgumentError("A mosaic needs at least one field with an image.")
    first_field = positions[0]
    for position in positions:
        if not position.dataset_paths:
            raise InvalidArgumentError(f"{position.node_path} has no image yet, so it cannot be in a mosaic.")
        if (position.axis_names, position.channel_names, position.data.dtype) != (
            first_field.axis_names,
            first_field.channel_names,
            first_field.data.dtype,
        ):
            raise InvalidArgumentError(
                f"The fields of a mosaic have the same axes, channels and data type: {first_field.node_path} has "
                f"{first_field.axis_names}, {first_field.channel_names}, {first_field.data.dtype}; "
                f"{position.node_path} has {position.axis_names}, {position.channel_names}, {position.data.dtype}."
            )
        units, first_units = ([axis.unit for axis in field.axes] for field in (position, first_field))
        if units != first_units:
            raise InvalidArgumentError(
                f"The fields of a mosaic have the same units: {first_field.node_path} has {first_units}, and "
                f"{position.node_path} {units}. Set them with set_unit()."
            )


def _warn_of_hidden_fields(paths: Sequence[str], layout: Layout) -> None:
    """Warn of the first field at the same position as another one: then no stage positions were stored."""
    path_by_start: dict[tuple[int, ...], str] = {}
    for path, start in zip(paths, layout.starts.tolist(), strict=True):
        other = path_by_start.setdefault(tuple(start), path)
        if other != path:
            warn(
                f"{path} lies at the same place as {other}, so one hides the other. Write the positions of the fields "
                "by plate.set_positions, or choose an acquisition."
            )
            return


def _rounded(mean: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Convert means to a data type."""
    if dtype.kind in "biu":
        mean = np.rint(mean)
    if dtype.kind in "iu" and dtype.itemsize == 8:
        # The float64 nearest to the largest integer is above it, and would wrap to the smallest one.
        mean = np.minimum(mean, np.nextafter(float(np.iinfo(dtype).max), 0))
    return mean.astype(dtype)
