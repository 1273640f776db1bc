"""Positions and plates as labelled arrays: dims and coordinates from axes, channels and transformations.

Pixels stay where they are until they are computed. Writing is in ``xarray_write``.

Layer: adapters. Imports xarray on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamella.adapters.dask import dask_array
from lamella.adapters.xarray_attributes import real_times, user_attributes
from lamella.errors import InvalidArgumentError, LamellaError, MetadataError
from lamella.nodes.replacing import resolved
from lamella.spec.axes import AxisMeta, axis_kind, channel_axis
from lamella.store.memory_limits import check_block

if TYPE_CHECKING:
    import xarray as xr

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position

STEP_ENCODING = "lamella_scale"
"""Key in a coordinate's ``encoding``: the scale of the axis, which a single coordinate does not show."""


def to_xarray(position: Position) -> xr.DataArray:
    """Return the finest level of a position as a labelled array; no pixel is read yet.

    Parameters
    ----------
    position : Position
        With an image of 2 to 5 axes.

    Returns
    -------
    xarray.DataArray
        Backed by dask (see `lamella.adapters.dask.dask_array`). Dims are the lower-case names of the axes, in their
        order: ``("t", "c", "z", "y", "x")``. Coordinates are the channel names on the channel axis, and
        ``translation + scale * index`` (CT-07) on the others, with the axis' unit under ``attrs["units"]`` of the
        coordinate; frames that `write_xarray` stored off their step have their real time. ``attrs`` are those of the
        DataArray that was written; ``name`` is the name of the image. Each
        coordinate carries the scale of its axis in ``encoding["lamella_scale"]``, so that a single timepoint or plane
        that is cut out and written elsewhere keeps it.

    Raises
    ------
    NodeNotFoundError
        The position holds no image (a KeyError).

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/a.zarr"
    >>> position = lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"])
    >>> position["0"] = np.zeros((1, 2, 4, 8, 8), "uint16")
    >>> position.set_scale("0", "z", 0.5)
    >>> cells = to_xarray(position)
    >>> cells.dims, cells.coords["c"].values.tolist(), cells.coords["z"].values.tolist()
    (('t', 'c', 'z', 'y', 'x'), ['DAPI', 'GFP'], [0.0, 0.5, 1.0, 1.5])
    >>> cells.sel(c="GFP", z=0.5).shape, cells.coords["z"].attrs["units"]
    ((1, 8, 8), 'micrometer')
    """
    import xarray as xr

    image = position.data
    dims, coords = labels_of(position, position.dataset_paths[0], image.shape)
    attrs = user_attributes(position.documents.group(position.path))
    name = position.document.own_model.multiscales[0].name or None
    return xr.DataArray(dask_array(image), coords=coords, dims=dims, name=name, attrs=attrs)


def labels_of(
    position: Position, level: str, shape: tuple[int, ...]
) -> tuple[tuple[str, ...], dict[str, xr.Variable]]:
    """Make the dims and coordinates of one level of a position.

    Parameters
    ----------
    position : Position
    level : str
        Path of the level in the position.
    shape : tuple of int
        Of the level's array. Where it has fewer axes than the metadata, they are matched from the last.

    Returns
    -------
    dims : tuple of str
    coords : dict of str to xarray.Variable
        One per dim.
    """
    import xarray as xr

    axes = [AxisMeta(name=f"dim_{i}") for i in range(len(shape) - len(position.axes))] + position.axes
    axes = axes[len(axes) - len(shape) :]
    scale = _matched(position.get_effective_scale(level), len(shape), 1.0)
    translation = _matched(position.get_effective_translation(level), len(shape), 0.0)
    channel = channel_axis(axes)
    coords: dict[str, xr.Variable] = {}
    for i, (axis, length) in enumerate(zip(axes, shape, strict=True)):
        name = axis.name.lower()
        check_block((length,), 8, f"the coordinate {name!r} of {position!r}")
        with np.errstate(over="ignore"):
            values: np.ndarray[Any, Any] = translation[i] + scale[i] * np.arange(length)
        if length and not np.isfinite(values[-1]):
            raise MetadataError(
                f"{position!r} has scale {scale[i]} and translation {translation[i]} on axis {name!r}, too large for "
                "coordinates. set_transform() gives it others."
            )
        if axis_kind(axis) == "time":
            values = _taken(position, values, translation[i], scale[i])
        attrs = {"units": axis.unit} if axis.unit else {}
        if i == channel:
            values = _channel_labels(position.channel_names, length)
        coords[name] = xr.Variable((name,), values, attrs, encoding={STEP_ENCODING: scale[i]})
    return tuple(axis.name.lower() for axis in axes), coords


def _taken(
    position: Position, values: np.ndarray[Any, Any], start: float, step: float
) -> np.ndarray[Any, Any]:
    """Return times with those in place that frames were really taken at, where a write stored them."""
    attributes, _ = resolved(position.node_path, position.documents.group(position.path))
    paths = position.dataset_paths
    found = real_times(attributes, paths[0], start, step) if paths else None
    for frame, time in (found or {}).items():
        if 0 <= frame < len(values):
            values[frame] = time
    return values


def _matched(numbers: list[float], count: int, default: float) -> list[float]:
    return ([default] * count + numbers)[-count:] if count else []


def _channel_labels(names: list[str], length: int) -> np.ndarray[Any, np.dtype[np.str_]]:
    return np.array([*names[:length], *(f"channel_{i}" for i in range(len(names), length))], dtype=np.str_)


def to_datatree(plate: Plate, *, on_error: Literal["raise", "report"] = "raise") -> xr.DataTree:
    """Return a plate as a tree of lazy datasets: row / column / field, with the image of each as variable "image".

    Fields may differ in shape, channels and scale. Fields without an image are empty datasets.

    Parameters
    ----------
    plate : Plate
    on_error : {"raise", "report"}
        What to do at a well or field that is listed but missing or damaged: raise, or put an empty dataset in its place
        whose ``attrs["error"]`` says what is wrong.

    Returns
    -------
    xarray.DataTree
        Named as the plate.

    Raises
    ------
    MetadataError
        At a damaged member, with ``on_error="raise"``.
    InvalidArgumentError
        Another ``on_error``.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> plate = lamella.open_ome_zarr(tempfile.mkdtemp() + "/p.zarr", layout="hcs", mode="w", channel_names=["DAPI"])
    >>> plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
    >>> tree = to_datatree(plate)
    >>> int(tree["A/1/0/image"].sum())
    64
    """
    import xarray as xr

    if on_error not in ("raise", "report"):
        raise InvalidArgumentError(f"on_error is 'raise' or 'report', not {on_error!r}.")
    found: dict[str, xr.Dataset] = {}
    for path, position in plate.positions(on_error=on_error):
        try:
            if isinstance(position, LamellaError):
                raise position
            found[path] = position_dataset(position)
        except LamellaError as error:
            if on_error == "raise":
                raise
            found[path] = xr.Dataset(attrs={"error": str(error)})
    return xr.DataTree.from_dict(found, name=plate.document.own_model.name or None)


def position_dataset(position: Position) -> xr.Dataset:
    """Return a position as a dataset with the variable "image"; an empty dataset without an image."""
    import xarray as xr

    if not position.dataset_paths:
        return xr.Dataset()
    image = to_xarray(position)
    return xr.Dataset({"image": image.variable.copy(deep=False)}, coords=image.coords)
