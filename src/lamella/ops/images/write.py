"""``write_image``: write one array as a new image, with channels, sizes, levels and contrast."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella.arguments import check_flags, items_of, whole_numbers
from lamella.errors import (
    InvalidArgumentError,
    StorageError,
    StoreExistsError,
    WrongTypeError,
    clause,
    counted,
)
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.opening import create_unfinished
from lamella.ops.array_writes import as_source, reads_from_store
from lamella.ops.execution import Workers, check_progress
from lamella.ops.new_store import new_store
from lamella.ops.pyramids.pyramid import check_levels, check_method
from lamella.spec import edits
from lamella.spec.axes import AxisMeta, axes_from, axes_from_json, axis_kind, channel_axis
from lamella.spec.colors import parse_color
from lamella.spec.edits import fitted_names
from lamella.spec.geometry import effective_scale, effective_translation, scale_and_translation
from lamella.spec.images import TransformationMeta
from lamella.spec.own_key import with_creating
from lamella.store.files.archives import is_archive_name
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import abandoned_on_errors, temporary_name
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.position import Position
    from lamella.ops.execution import Progress
    from lamella.spec.images import ImagesMeta
    from lamella.store.metadata.array_meta import CompressorChoice
    from lamella.types import StrPath, VersionName

_ORDER = "tczyx"
"""Order in which the axes are stored (AX-10)."""

_DEFAULT_AXES = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
"""Axes of an array without names for them, by its number of dimensions."""

_AXIS_OF_WORD = {"time": "t", "channel": "c"}
"""Letters of axes for dims of a DataArray that are named by a word."""


def write_image(
    path: StrPath | Store,
    array: Any,
    axes: str | Sequence[AxisMeta] | None = None,
    scale: Mapping[str, float] | Sequence[float] | None = None,
    units: str | Mapping[str, str] | None = None,
    channels: Sequence[str] | Mapping[str, str | None] | None = None,
    levels: int | Literal["auto"] = "auto",
    chunks: Sequence[int] | Literal["auto"] = "auto",
    overwrite: bool = False,
    version: VersionName = "0.5",
    storage_options: Mapping[str, Any] | None = None,
    *,
    translation: Mapping[str, float] | Sequence[float] | None = None,
    shards_ratio: Sequence[int] | None = None,
    name: str | None = None,
    method: str = "mean",
    compressor: CompressorChoice = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
) -> Position:
    """Write an array as a new image, with its pyramid and contrast limits.

    The image is stored with lower-case axes in the order t, c, z, y, x; an array with another order of `axes` is
    transposed. Axes that the array does not have are not added. A lazy array (dask, zarr, h5py, memory map) is read
    and written in blocks of a shard, so that memory does not grow with the array.

    In a folder the image appears when it is complete: a killed call leaves what was there before, and the same call
    writes the image. At a URL and in a zarr store it is written in place; after a kill call it again with
    ``overwrite=True``.

    Parameters
    ----------
    path
        Path or URL of the new store, or a zarr-python store. A name that ends with .ozx or .zip makes an archive.
    array
        Array of numpy, dask, xarray, zarr, h5py or torch, with 2 to 5 axes.
    axes
        Letters of ``tczyx``, one per dimension in the order of the array, or a list of AxisMeta. By default the dims
        of a DataArray; for other arrays ``yx``, ``zyx``, ``czyx`` or ``tczyx`` by the number of dimensions.
    scale
        Size of a voxel by axis, such as ``{"z": 2, "y": 0.5, "x": 0.5}`` (1 for the other axes), or a number for each
        axis, in the order of `axes`. By default the steps of a DataArray's coordinates, which start at the origin.
    units
        Unit of the axes of space, or of each axis by its name; symbols such as ``"um"`` or ``"s"`` are understood.
        By default ``attrs["units"]`` of a DataArray's coordinates, or else micrometer and second.
    channels
        Names of the channels, or a mapping of name to colour: a name of CSS such as ``"lime"`` (``"green"`` is the
        dark one), hex digits, or None. By default the coordinate of a DataArray, or else ``channel_0``, ... Colours
        are derived from the names by default.
    levels
        Number of levels, or ``"auto"`` until the larger of y and x is at most 256.
    chunks
        Lengths of a chunk in the order of `axes`, or ``"auto"``: near 1 MiB, in shards near 256 MiB where the version
        has shards. Chunks of given lengths are stored without shards unless `shards_ratio` is given.
    overwrite
        Replace an existing store; its path must contain ".zarr".
    version
        OME-NGFF version.
    storage_options
        Credentials and settings of a URL, as for `lamella.open_ome_zarr`.
    translation
        Position of the first voxel by axis, in the unit of the axis, such as ``{"y": 1200, "x": -350}`` of a stage; or
        a number for each axis. By default that of a DataArray's coordinates, or else 0.
    shards_ratio
        Chunks per shard along each axis, in the order of `axes` (version 0.5 and later).
    name
        Name of the image; by default that of a DataArray, or else of the store.
    method
        How lower levels are computed, as for :meth:`Position.compute_pyramid`.
    compressor
        As for :meth:`Position.create_image`.
    jobs, executor, progress
        As for :meth:`Position.compute_pyramid`.

    Returns
    -------
    Position
        The new image, open for reading and writing (for reading in an archive). Use it in a ``with`` statement or call
        ``close()``; nothing is lost if you do neither.

    Raises
    ------
    StoreExistsError
        There is something at the path that is not to be replaced (a FileExistsError).
    InvalidArgumentError
        An argument does not fit the array (a ValueError). Nothing is written then.

    Examples
    --------
    >>> import lamella, numpy as np
    >>> pixels = np.arange(2 * 4 * 512 * 512, dtype="uint32").reshape(2, 4, 512, 512)
    >>> image = lamella.write_image(tmp / "cells.zarr", pixels, axes="czyx", scale={"z": 2, "y": 0.5, "x": 0.5},
    ...     channels={"DAPI": "blue", "GFP": "lime"})
    >>> image["1"].shape, image.scale, image.channel_names
    ((2, 2, 256, 256), [1.0, 2.0, 0.5, 0.5], ['DAPI', 'GFP'])
    """
    check_flags(overwrite=overwrite)
    workers = Workers(jobs, executor)
    check_progress(progress)
    check_levels(levels)
    check_method(method)
    plan = _Plan.of(array, axes, scale, units, channels, chunks, shards_ratio, translation)
    settings: Any = {"levels": levels, "method": method, "compressor": compressor, "version": version}
    settings |= {"jobs": jobs, "executor": executor, "progress": progress}
    target = with_options(path, storage_options)
    storage = open_storage(target)
    workers.check_reach(storage)
    with logged("Write the image %s", storage.name):
        if isinstance(storage, LocalStorage) or is_archive_name(storage.name):
            root = storage.root if isinstance(storage, LocalStorage) else target
            with (
                new_store(root, overwrite, "write_image", version, progress) as destination,
                destination.temporary(None) as folder,
            ):
                plan.write(folder, name or plan.name or destination.name or "image", "w-", **settings)
            return open_ome_zarr(root, layout="fov", mode="r" if is_archive_name(storage.name) else "r+")
        if overwrite and reads_from_store(array, storage.name):
            raise InvalidArgumentError(
                f"Cannot replace {storage.name} by data that read from it. Load the data first, or write "
                "to another path."
            )
        token = temporary_name(".tmp")
        with _deleted_on_errors(storage, overwrite, token):
            image_name = name or plan.name or storage.title or "image"
            image = plan.write(target, image_name, "w" if overwrite else "w-", token, **settings)
            image.documents.storage.commit_own("Write the image")
            return image


@contextmanager
def _deleted_on_errors(storage: Any, overwrite: bool, token: str) -> Iterator[None]:
    """Delete the new store after an error; not after StoreExistsError, because another call wrote that store."""
    existed = storage.exists("")
    try:
        with abandoned_on_errors(token):
            yield
    except StoreExistsError:
        raise
    except BaseException:
        if not existed or overwrite:
            with suppress(StorageError):
                storage.delete("")
        raise


@dataclass(frozen=True)
class _Plan:
    """A checked array with the requested units, sizes, channel names and colours; axes are in the stored order."""

    data: Any
    axes: list[AxisMeta]
    units: dict[str, str | None]
    sizes: dict[str, float]
    channel_names: list[str]
    colors: dict[str, str]
    chunks: tuple[int, ...] | Literal["auto"]
    shards_ratio: tuple[int, ...] | None
    offsets: dict[str, float]
    name: str | None

    @classmethod
    def of(
        cls,
        array: Any,
        axes: Any,
        scale: Any,
        units: Any,
        channels: Any,
        chunks: Any,
        shards_ratio: Any,
        translation: Any,
    ) -> _Plan:
        is_dataarray = _is_dataarray(array)
        data = array if is_dataarray else _as_array(array)
        if not 2 <= len(data.shape) <= 5:
            raise InvalidArgumentError(
                f"An image has 2 to 5 axes (AX-06); the array has the shape {tuple(data.shape)}."
            )
        array_axes = _axes_of(data, axes)
        stored_order = sorted(range(len(array_axes)), key=lambda index: _stored_rank(array_axes, index))
        stored_axes = [array_axes[index] for index in stored_order]
        axis_names = [axis.name for axis in stored_axes]
        if is_dataarray:
            data = data.rename(dict(zip(data.dims, (axis.name for axis in array_axes), strict=True)))
            data = data.transpose(*axis_names)
        elif stored_order != sorted(stored_order):
            data = (
                data.transpose(stored_order)
                if isinstance(data, np.ndarray)
                else _Transposed(data, stored_order)
            )
        channel_names, colors = _channels_of(data, stored_axes, channels)
        if is_dataarray:
            data = data.drop_vars(_channel_coordinate_keys(data))
            data = data.assign_coords(c=channel_names) if "c" in axis_names else data
        requested_units = _units_by_axis(stored_axes, units)
        return cls(
            data,
            [edits.axis_with_unit(axis, requested_units.get(axis.name, axis.unit)) for axis in stored_axes],
            requested_units,
            _numbers_by_axis(array_axes, scale, "scale", edits.checked_size),
            channel_names,
            colors,
            _stored_chunks(chunks, stored_order),
            None if shards_ratio is None else _per_axis(shards_ratio, "shards_ratio", stored_order),
            _numbers_by_axis(array_axes, translation, "translation", edits.checked_position),
            str(array.name) if is_dataarray and array.name is not None else None,
        )

    def write(
        self,
        target: Any,
        name: str,
        mode: Literal["w", "w-"],
        token: str | None = None,
        *,
        levels: int | Literal["auto"],
        method: str,
        compressor: CompressorChoice,
        version: VersionName,
        **options: Any,
    ) -> Position:
        """Write the image; ``options`` are jobs, executor and progress, ``token`` marks an unfinished store."""
        position: Position = create_unfinished(
            target, "fov", mode, token, channel_names=self.channel_names, axes=self.axes, version=version
        )
        self._write_pixels(position, compressor)
        if _is_dataarray(self.data) or self.offsets:
            # Needed now, because the transforms of the lower levels are computed from that of level 0.
            position.document.edit(lambda meta: self._with_requested_metadata(meta, name))
        if position.data.dtype.kind in "biuf" and all(position.data.shape):
            if levels != 1:
                position.compute_pyramid(levels, method, **options)
            position.compute_contrast(jobs=options["jobs"])
        elif levels not in (1, "auto"):
            position.compute_pyramid(levels, method)  # raises an error that states the reason
        position.document.edit(
            lambda meta: self._with_requested_metadata(meta, name),
            edit_attributes=lambda attributes: with_creating(attributes, None),
        )
        return position

    def _write_pixels(self, position: Position, compressor: CompressorChoice) -> None:
        data = self.data
        options: Any = {"chunks": self.chunks, "shards_ratio": self.shards_ratio, "compressor": compressor}
        if _is_dataarray(data):
            from lamella.adapters.xarray_write import write_xarray

            write_xarray(position, data, options=options)
            return
        scale = [self.sizes.get(axis.name, 1.0) for axis in self.axes]
        transform = [TransformationMeta(type="scale", scale=scale)]
        image = position.create_zeros("0", data.shape, data.dtype, transform=transform, **options)
        image[...] = data

    def _with_requested_metadata(self, meta: ImagesMeta, name: str) -> ImagesMeta:
        """Return the metadata with the name of the image, the requested colours and sizes."""
        meta = edits.set_name(meta, name)
        for axis, unit in self.units.items():  # replaces the units of a DataArray
            meta = edits.set_unit(meta, axis, unit)
        for axis, size in self.sizes.items():
            meta = edits.set_scale(meta, "0", axis, size)
        if self.offsets:
            offsets = [
                self.offsets.get(axis.name, old)
                for axis, old in zip(self.axes, effective_translation(meta, "0"), strict=True)
            ]
            meta = edits.set_transform(meta, "0", scale_and_translation(effective_scale(meta, "0"), offsets))
        for channel, color in self.colors.items():
            meta = edits.set_channel(meta, channel, color=color)
        return meta


class _Transposed:
    """A lazy array with its axes in another order."""

    def __init__(self, array: Any, order: Sequence[int]) -> None:
        self.array, self._order = array, tuple(order)
        self.shape = tuple(array.shape[index] for index in order)
        self.dtype, self.ndim = array.dtype, len(order)

    def __getitem__(self, region: Any) -> Any:
        source_region: list[Any] = [slice(None)] * self.ndim
        for span, index in zip(region, self._order, strict=True):
            source_region[index] = span
        return np.asarray(self.array[tuple(source_region)]).transpose(self._order)


def _is_dataarray(array: Any) -> bool:
    return hasattr(array, "dims") and hasattr(array, "coords") and hasattr(array, "variable")


def _as_array(array: Any) -> Any:
    """Return an array of numbers: lazy arrays unchanged, torch tensors and lists as numpy arrays."""
    if hasattr(array, "detach"):
        try:
            array = array.detach().cpu().numpy()
        except TypeError as error:
            raise InvalidArgumentError(
                f"A tensor of {array.dtype} cannot be written, because numpy has no such data type: "
                f"{clause(error)}. Convert "
                "it first, such as by tensor.float()."
            ) from error
    return as_source(array).data


def _axis_name(dim: Any) -> str:
    return _AXIS_OF_WORD.get(str(dim).lower(), str(dim).lower())


def _axes_of(data: Any, axes: Any) -> list[AxisMeta]:
    """Return the axes of an array in its own order, with lower-case names."""
    dims = [_axis_name(dim) for dim in data.dims] if _is_dataarray(data) else []
    if axes is None:
        axes = "".join(dims) or _DEFAULT_AXES[len(data.shape)]
        if dims and len(axes) != len(dims):
            raise InvalidArgumentError(
                f"The DataArray has the dims {tuple(data.dims)}, which are not letters of 'tczyx': give axes=, such as "
                f"axes={_DEFAULT_AXES[len(dims)]!r}."
            )
    parsed = axes_from(axes)
    if not all(isinstance(axis, AxisMeta) for axis in parsed):
        raise InvalidArgumentError(f"axes={axes!r} is neither text such as 'czyx' nor a list of AxisMeta.")
    if len(parsed) != len(data.shape):
        raise InvalidArgumentError(
            f"The array has the shape {tuple(data.shape)}, but axes {''.join(axis.name for axis in parsed)!r} are "
            f"{len(parsed)}: give one for each dimension."
        )
    names = [axis.name.lower() for axis in parsed]
    if dims != names and sorted(dims) == sorted(names):
        raise InvalidArgumentError(
            f"The DataArray has the dims {tuple(data.dims)}, and axes {''.join(names)!r} names them in another order. "
            "Leave axes out: the dims are transposed to the order of the store."
        )
    return axes_from_json([{**axis.to_json(), "name": axis.name.lower()} for axis in parsed])


def _stored_rank(axes: Sequence[AxisMeta], index: int) -> int:
    """Return the rank of an axis in the stored order; axes other than t, c, z, y and x have the rank of channels."""
    return _ORDER.find(axes[index].name) if axes[index].name in _ORDER else _ORDER.index("c")


def _channels_of(data: Any, axes: Sequence[AxisMeta], channels: Any) -> tuple[list[str], dict[str, str]]:
    """Return the names of the channels, and the colours that the caller passed."""
    channel_index = channel_axis(axes)
    length = 1 if channel_index is None else int(data.shape[channel_index])
    colors = {}
    if isinstance(channels, Mapping):
        colors = {
            str(channel): parse_color(color) for channel, color in channels.items() if color is not None
        }
    if channels is not None:
        names = [
            str(channel)
            for channel in items_of(
                channels, "The argument channels is a list of names, or names with colours"
            )
        ]
    else:
        coordinate_keys = _channel_coordinate_keys(data) if _is_dataarray(data) else []
        coordinate_values = (
            np.atleast_1d(data.coords[coordinate_keys[0]].values).tolist() if coordinate_keys else []
        )
        names = [str(value) for value in coordinate_values] or fitted_names([], length)
    if len(names) != length:
        subject = (
            f"{counted(length, 'channel')}"
            if channel_index is not None
            else "no channel axis, so one channel"
        )
        raise InvalidArgumentError(
            f"{counted(len(names), 'channel name')} {names} for an array of shape {tuple(data.shape)} with the axes "
            f"{''.join(axis.name for axis in axes)!r}, which has {subject}."
        )
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"The channels {names} have a name twice.")
    return names, colors


def _channel_coordinate_keys(data: Any) -> list[Any]:
    """Return a list with the key of the coordinate of the channels, also of one selected channel; empty without one."""
    dims = ("c",) if "c" in data.dims else ()
    keys = [key for key in data.coords if _axis_name(key) == "c" and data.coords[key].dims == dims]
    return sorted(keys, key=lambda key: str(key) != "c")[:1]


def _units_by_axis(axes: Sequence[AxisMeta], units: Any) -> dict[str, str | None]:
    if isinstance(units, str):
        units = {axis.name: units for axis in axes if axis_kind(axis) == "space"}
    return _by_axis({} if units is None else units, axes, "units")


def _numbers_by_axis(
    axes: Sequence[AxisMeta], numbers_by_axis: Any, subject: str, check: Callable[[str, Any], float]
) -> dict[str, float]:
    """Return checked numbers by axis name, from a mapping or from one number per axis."""
    if numbers_by_axis is None:
        return {}
    if not isinstance(numbers_by_axis, Mapping):
        number_list = items_of(
            numbers_by_axis,
            f"The argument {subject} is a number for each axis, or a mapping of axis to number",
        )
        if len(number_list) != len(axes):
            raise InvalidArgumentError(
                f"{subject}={number_list} has {counted(len(number_list), 'number')} for the axes "
                f"{''.join(axis.name for axis in axes)!r}."
            )
        numbers_by_axis = {axis.name: number for axis, number in zip(axes, number_list, strict=True)}
    return {axis: check(axis, number) for axis, number in _by_axis(numbers_by_axis, axes, subject).items()}


def _by_axis(mapping: Any, axes: Sequence[AxisMeta], subject: str) -> dict[str, Any]:
    """Return a mapping by axis name; raise for an unknown axis."""
    if not isinstance(mapping, Mapping):
        raise WrongTypeError(f"{subject}={mapping!r} is not a mapping of axis to value.")
    names = [axis.name for axis in axes]
    for axis in mapping:
        if str(axis).lower() not in names:
            raise InvalidArgumentError(
                f"The argument {subject} names the axis {axis!r}; the axes are {', '.join(names)}."
            )
    return {str(axis).lower(): value for axis, value in mapping.items()}


def _stored_chunks(chunks: Any, order: Sequence[int]) -> tuple[int, ...] | Literal["auto"]:
    if isinstance(chunks, str):
        if chunks != "auto":
            raise InvalidArgumentError(f"chunks={chunks!r} is neither one integer per axis nor 'auto'.")
        return "auto"
    return _per_axis(chunks, "chunks", order)


def _per_axis(numbers: Any, subject: str, order: Sequence[int]) -> tuple[int, ...]:
    """Return one whole number per axis, in the order of the stored axes."""
    lengths = whole_numbers(numbers, f"The argument {subject}", 1)
    if len(lengths) != len(order):
        raise InvalidArgumentError(
            f"{subject}={lengths} has {counted(len(lengths), 'number')} for {counted(len(order), 'axis', 'axes')}."
        )
    return tuple(lengths[index] for index in order)
