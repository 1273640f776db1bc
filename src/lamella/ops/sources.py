"""Find the stored arrays that a lazy source reads from, before one of them is overwritten.

A dask or xarray array is a list of reads for later. Written into an array that it reads from, it would read its own
results, or the zeros of a new array.

Recognises objects of dask, xarray and zarr-python by their attributes, and imports none of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.store_handle import NodePath

_DEEPEST = 8
"""Maximum depth of wrappers around a stored array, and of nested tuples of a task."""


def reads_from(data: Any, node_path: NodePath) -> bool:
    """Return whether a source reads, now or later, the array at a node path.

    >>> from lamella.ops.sources import reads_from
    >>> lazy = position["0"].dask_array() + 1
    >>> reads_from(lazy, position["0"].node_path), reads_from(np.ones(3), position["0"].node_path)
    (True, False)
    """
    target = _address(node_path.store_handle.name, node_path.path)
    return any(address == target for address in _addresses(data, 0))


def reads_below(data: Any, store: str) -> bool:
    """Return whether a source reads, or will read, an array of a store by its name."""
    above = _address(store, "")
    return any(found == above or found.startswith(f"{above}/") for found in _addresses(data, 0))


def _addresses(data: Any, depth: int) -> Iterator[str]:
    """Yield the addresses of the stored arrays that an object reads from."""
    if depth > _DEEPEST or data is None or isinstance(data, str | bytes | int | float):
        return
    stored = getattr(data, "stored", None) or getattr(data, "_stored", None) or data
    documents = getattr(stored, "documents", None)
    if documents is not None and isinstance(getattr(stored, "path", None), str):
        yield _address(documents.storage.name, stored.path)
        return
    graph = getattr(data, "__dask_graph__", None)
    tasks = graph() if callable(graph) else None
    if tasks is not None:
        for layer in _layers(tasks):
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
        inner = vars(data).get(name) if hasattr(data, "__dict__") else getattr(data, name, None)
        inner = getattr(data, name, None) if inner is None and name in ("variable", "args") else inner
        if inner is not None and inner is not data and not callable(inner):
            yield from _addresses(inner, depth + 1)


def _layers(graph: Any) -> Iterator[Any]:
    layers = getattr(graph, "layers", None)
    yield from layers.values() if layers is not None else [graph]


def _addresses_in_layer(layer: Any, depth: int) -> Iterator[str]:
    """Visit the inputs of a layer, before it is expanded into its tasks if possible."""
    inputs = [getattr(layer, name, None) for name in ("indices", "io_deps", "task", "dsk")]
    if any(value is not None for value in inputs):
        for value in inputs:
            yield from _addresses(value, depth)
        return
    for task in dict(layer).values():
        yield from _addresses(task, depth)


def _address(store: str, path: str) -> str:
    """Return the address of an array: the same through whichever group of a local store it was opened."""
    root = store.removeprefix("file://")
    if os.path.isabs(root):
        return os.path.realpath(os.path.join(root, path))
    return f"{store.rstrip('/')}/{path}".rstrip("/")
