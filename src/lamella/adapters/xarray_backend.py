"""``xr.open_dataset(path, engine="lamella")`` and ``xr.open_datatree``: open OME-Zarr stores through xarray.

Registered in the entry point group ``xarray.backends``, and only chosen by ``engine=``: paths that end in ``.zarr``
belong to xarray's own engine. This module imports xarray when it is loaded, and only xarray imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from lamella.adapters.dask import ArrayReader, block_shape
from lamella.adapters.xarray_attributes import user_attributes
from lamella.adapters.xarray_export import labels_of, to_datatree
from lamella.arguments import is_whole_number
from lamella.errors import InvalidArgumentError, NodeNotFoundError
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.store.objects.addresses import clean_url
from lamella.store.paths import is_url
from lamella.store.pixels.selection import orthogonal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from lamella.nodes.image_array import ImageArray


class LamellaBackend(BackendEntrypoint):  # type: ignore[misc]
    """Opens images and plates of OME-Zarr stores.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/cells.zarr"
    >>> with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"]) as position:
    ...     position["0"] = np.ones((1, 1, 1, 8, 8), "uint16")
    ...     position.compute_pyramid(levels=2)
    >>> cells = xr.open_dataset(path, engine=LamellaBackend, level=1)
    >>> cells["image"].shape, cells["x"].values.tolist()
    ((1, 1, 1, 4, 4), [0.5, 2.5, 4.5, 6.5])
    """

    description = "OME-Zarr (OME-NGFF) images and plates"
    url = "https://ngff.openmicroscopy.org"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "level",
        "labels",
        "storage_options",
    )
    supports_groups = False

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        level: int | str = 0,
        labels: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Open one image, or one inside a store: ``"plate.zarr/A/1/0"``; no pixel is read yet.

        The dataset has the variable "image", and with ``labels`` one for each label image on the same pixel grid. It is
        indexed lazily; with ``chunks={}`` it is backed by dask in whole shards. ``level`` is the number of a level, 0
        being the finest, or the path of its array. Raise InvalidArgumentError for other nodes and unknown levels.
        """
        position = open_ome_zarr(filename_or_obj, mode="r", storage_options=storage_options)
        if not isinstance(position, Position):
            raise InvalidArgumentError(
                f"{position!r} is not an image: open one of its images by path, such as 'plate.zarr/A/1/0', "
                "or a plate with xarray.open_datatree."
            )
        path = _level_path(position, level)
        image = position[path]
        dims, coords = labels_of(position, path, image.shape)
        attrs = user_attributes(position.documents.group(position.path))
        variables = {"image": _variable(image, dims, attrs)}
        if labels:
            number = position.dataset_paths.index(path)
            variables |= _label_variables(position, number, dict(zip(dims, image.shape, strict=True)))
        dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
        remaining = {
            name: variable for name, variable in {**coords, **variables}.items() if name not in dropped
        }
        dataset = xr.Dataset(
            {name: variable for name, variable in remaining.items() if name not in coords},
            coords={name: variable for name, variable in remaining.items() if name in coords},
        )
        is_address = isinstance(filename_or_obj, str) and is_url(filename_or_obj)
        dataset.encoding["source"] = clean_url(filename_or_obj) if is_address else str(filename_or_obj)
        return dataset

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.DataTree:
        """Open a plate as a tree of lazy datasets; see `lamella.adapters.xarray_export.to_datatree`.

        `storage_options` are credentials and settings of a URL. Raise InvalidArgumentError for other nodes than plates.
        """
        plate = open_ome_zarr(filename_or_obj, mode="r", storage_options=storage_options)
        if not isinstance(plate, Plate):
            raise InvalidArgumentError(f"{plate!r} is not a plate; open an image with xarray.open_dataset.")
        tree = to_datatree(plate)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return (
            tree.map_over_datasets(lambda dataset: dataset.drop_vars(dropped, errors="ignore"))
            if dropped
            else tree
        )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return False: users must name the engine."""
        del filename_or_obj
        return False


class LazyPixels(BackendArray):  # type: ignore[misc]
    """Pixels that xarray indexes lazily; pickles as the location of the array."""

    def __init__(self, reader: ArrayReader) -> None:
        self.reader = reader
        self.shape = reader.shape
        self.dtype = reader.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        return self.reader.stored.read(key, select=orthogonal)


def _level_path(position: Position, level: int | str) -> str:
    paths = position.dataset_paths
    if not paths:
        raise NodeNotFoundError(f"{position.node_path} has no image yet.")
    if isinstance(level, str):
        if level in paths:
            return level
    elif is_whole_number(level, 0) and level < len(paths):
        return paths[level]
    raise InvalidArgumentError(
        f"{position.node_path} has no level {level!r}: it has {len(paths)}, with the paths {paths}."
    )


def _variable(image: ImageArray, dims: tuple[str, ...], attrs: dict[str, Any]) -> xr.Variable:
    blocks = dict(zip(dims, block_shape(image), strict=True))
    lazy = indexing.LazilyIndexedArray(LazyPixels(ArrayReader.of(image)))
    return xr.Variable(dims, lazy, attrs, encoding={"preferred_chunks": blocks})


def _label_variables(position: Position, number: int, lengths: dict[str, int]) -> dict[str, xr.Variable]:
    variables = {}
    for name, label in position.labels.items():
        if number >= len(label.dataset_paths):
            continue
        array = label[label.dataset_paths[number]]
        dims, _ = labels_of(label, label.dataset_paths[number], array.shape)
        has_same_grid = all(lengths.get(dim) == length for dim, length in zip(dims, array.shape, strict=True))
        if has_same_grid and name not in lengths and name != "image":
            variables[name] = _variable(array, dims, {})
    return variables
