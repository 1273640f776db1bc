"""Write pixels from any array-like into an array, block by block.

A lazy array must not be written into the array from which it reads: `reads_from` detects that, by attributes alone, so
that none of dask, xarray and zarr-python is imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, clause
from lamella.ops.execution import THREADS, Workers, run
from lamella.ops.regions import Region, regions
from lamella.store.pixels.assignment import cast_data, check_unmasked, is_lazy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import EllipsisType

    from numpy.typing import DTypeLike, NDArray

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.store_handle import NodePath
    from lamella.types import Shape


@dataclass(frozen=True)
class Source:
    """Pixels of a numpy or lazy array that are read by region; ``target_dtype`` is the dtype to convert them to.

    ``new_axes`` are the axes of length 1 that the source has and the array lacks.
    """

    data: Any
    in_memory: bool
    target_dtype: np.dtype[Any] | None = None
    new_axes: tuple[int, ...] = ()

    @property
    def shape(self) -> Shape:
        """Length of each axis."""
        lengths = [int(length) for length in self.data.shape]
        for axis in self.new_axes:
            lengths.insert(axis, 1)
        return tuple(lengths)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of a voxel."""
        stored_dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return self.target_dtype or stored_dtype

    def cast(self, dtype: DTypeLike) -> Source:
        """Return the same pixels in another data type; nothing is read yet."""
        return replace(self, target_dtype=np.dtype(dtype))

    def read(self, region: Region | EllipsisType = ...) -> NDArray[Any]:
        """Return the pixels of a region in memory; of the whole array by default."""
        if self.new_axes and region is not ...:
            region = tuple(span for axis, span in enumerate(region) if axis not in self.new_axes)
        # A lazy array may have blocks of another dtype than it states.
        return np.expand_dims(cast_data(self.data[region], self.dtype), self.new_axes)


def as_source(data: Any) -> Source:
    """Wrap any array-like as a source, without reading; raise InvalidArgumentError if it is not an array of numbers.

    Accepts a numpy array or memory map, a dask, xarray or zarr array, an `ImageArray`, a nested list, and any object
    with ``shape``, ``dtype`` and numpy-style indexing.
    """
    if isinstance(data, np.memmap) or is_lazy(data, np.dtype(bool)):
        return Source(data, in_memory=False)
    check_unmasked(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise InvalidArgumentError(f"An image needs an array of numbers: {clause(error)}.") from error
    if array.dtype == object or array.dtype.kind in "USV":
        raise InvalidArgumentError(
            f"An image needs an array of numbers; got {type(data).__name__} of {array.dtype}."
        )
    return Source(array, in_memory=True)


def bytes_in_work(array: ImageArray) -> int:
    """Return the memory of a region while it is rewritten: the old pixels, the new ones and their encoded bytes."""
    return 3 * prod(array.write_unit) * array.dtype.itemsize


def write_array(array: ImageArray, source: Source, workers: Workers = THREADS) -> None:
    """Write a whole array from a source of the same shape, one shard (or chunk) at a time."""
    if source.in_memory:
        array[...] = source.read()
        return

    def copy(region: Region) -> None:
        array[region] = source.read(region)

    run(copy, regions(array.shape, array.write_unit), workers)


_MAX_DEPTH = 8
"""Maximum depth of wrappers around a stored array, and of nested tuples of a task."""


def reads_from(data: Any, node_path: NodePath) -> bool:
    """Return whether a source reads, now or later, the array at a node path."""
    target = _address(node_path.store_handle.documents.storage.name, node_path.path)
    return any(address == target for address in _addresses(data, 0))


def reads_from_store(data: Any, store: str) -> bool:
    """Return whether a source reads, or will read, an array of a store by its name."""
    address_of_store = _address(store, "")
    return any(
        address == address_of_store or address.startswith(f"{address_of_store}/")
        for address in _addresses(data, 0)
    )


def _addresses(data: Any, depth: int) -> Iterator[str]:
    """Yield the addresses of the stored arrays that an object reads from."""
    if depth > _MAX_DEPTH or data is None or isinstance(data, str | bytes | int | float):
        return
    stored = getattr(data, "stored", None) or getattr(data, "_stored", None) or data
    documents = getattr(stored, "documents", None)
    if documents is not None and isinstance(getattr(stored, "path", None), str):
        yield _address(documents.storage.name, stored.path)
        return
    graph = getattr(data, "__dask_graph__", None)
    tasks = graph() if callable(graph) else None
    if tasks is not None:
        for layer in tasks.layers.values() if hasattr(tasks, "layers") else [tasks]:
            yield from _addresses_in_layer(layer, depth + 1)
        return
    store = getattr(data, "store_path", None)  # an array of zarr-python
    if store is not None and getattr(store.store, "root", None) is not None:
        yield _address(str(store.store.root), store.path)
        return
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, list | tuple):
        for member in data:
            yield from _addresses(member, depth + 1)
        return
    # xarray wraps an array that is read later; its `data` would read it now.
    for name in ("variable", "_data", "array", "args"):
        wrapped = vars(data).get(name) if hasattr(data, "__dict__") else getattr(data, name, None)
        wrapped = getattr(data, name, None) if wrapped is None and name in ("variable", "args") else wrapped
        if wrapped is not None and wrapped is not data and not callable(wrapped):
            yield from _addresses(wrapped, depth + 1)


def _addresses_in_layer(layer: Any, depth: int) -> Iterator[str]:
    """Yield the addresses in the inputs of a layer of a dask graph, or in its tasks if it has no inputs."""
    inputs_of_layer = [getattr(layer, name, None) for name in ("indices", "io_deps", "task", "dsk")]
    if any(layer_input is not None for layer_input in inputs_of_layer):
        for layer_input in inputs_of_layer:
            yield from _addresses(layer_input, depth)
        return
    for task in dict(layer).values():
        yield from _addresses(task, depth)


def _address(store: str, path: str) -> str:
    """Return the address of an array: the same through whichever group of a local store it was opened."""
    root = store.removeprefix("file://")
    if os.path.isabs(root):
        return os.path.realpath(os.path.join(root, path))
    return f"{store.rstrip('/')}/{path}".rstrip("/")
