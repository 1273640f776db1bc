"""Stores of both formats in every kind of storage, and arrays over both engines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from zarr.storage import MemoryStore

from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.pixels.arrays import StoredArray

if TYPE_CHECKING:
    from lamella.store.storage import Storage

MakeArray = Callable[..., StoredArray]


#: shape, chunks, shards: whole, with edges, chunks beyond the shape, one file, 2 to 5 axes.
LAYOUTS = {
    "whole": ((4, 16, 16), (2, 8, 8), None),
    "edges": ((5, 17, 19), (2, 8, 8), None),
    "beyond": ((3, 5), (4, 16), None),
    "five axes": ((2, 2, 3, 9, 10), (1, 1, 3, 9, 10), None),
    "shards": ((4, 16, 16), (1, 8, 8), (2, 16, 16)),
    "shard edges": ((5, 17, 19), (1, 4, 8), (2, 8, 16)),
    "shard beyond": ((3, 5), (2, 4), (8, 16)),
}


def pytest_generate_tests(metafunc) -> None:
    """Run a test on both formats; one that asks for a `layout` on each that a format has, with or without shards."""
    if "zarr_format" not in metafunc.fixturenames or any(
        "zarr_format" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")
    ):
        return
    for name, layouts in (
        ("layout", LAYOUTS),
        ("unsharded_layout", {k: v for k, v in LAYOUTS.items() if not v[2]}),
    ):
        if name in metafunc.fixturenames:
            cases = [(f, k, v) for k, v in layouts.items() for f in (2, 3) if f == 3 or v[2] is None]
            metafunc.parametrize(
                ("zarr_format", name),
                [
                    (f, (shape, {"chunks": chunks, "shards": shards}))
                    for f, _, (shape, chunks, shards) in cases
                ],
                ids=[f"v{f} {k}" for f, k, _ in cases],
            )
            return
    metafunc.parametrize("zarr_format", [2, 3], ids=["v2", "v3"])


@pytest.fixture
def values() -> Callable[..., np.ndarray]:
    """Make values of a shape and dtype, from a seed."""

    def make(shape, dtype, seed=0) -> np.ndarray:
        drawn = np.random.default_rng(seed).integers(0, 200, shape)
        if np.dtype(dtype) == bool:
            return drawn % 2 == 0
        return (drawn / 2 if dtype[0] == "f" else drawn).astype(dtype)

    return make


@pytest.fixture
def files_of() -> Callable[[StoredArray], dict[str, bytes]]:
    """Read the chunk files of an array in a local store, by their keys below the array."""

    def read(array: StoredArray) -> dict[str, bytes]:
        root = Path(array.documents.storage.root) / array.path
        found = {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}
        return {k: v for k, v in found.items() if not k.startswith(".z") and k != "zarr.json"}

    return read


@pytest.fixture(params=["files", "zarr"])
def engine(request) -> Any:
    return request.param


@pytest.fixture(params=["local", "memory"])
def storage(request, tmp_path) -> Storage:
    """A writable storage of each implementation."""
    return LocalStorage(tmp_path / "store.zarr") if request.param == "local" else ZarrStorage(MemoryStore())


@pytest.fixture
def local(tmp_path) -> LocalStorage:
    return LocalStorage(tmp_path / "store.zarr")


@pytest.fixture
def documents(storage, zarr_format) -> Documents:
    return Documents.create(storage, zarr_format)


@pytest.fixture
def local_documents(local, zarr_format) -> Documents:
    return Documents.create(local, zarr_format)


@pytest.fixture
def make_array_with(local_documents, zarr_format) -> MakeArray:
    """Make an array in a local store of the format, served by a named engine."""

    def make(engine, shape, dtype="u2", *, path="0", **options) -> StoredArray:
        local_documents.put_array(path, new_array(shape, dtype, zarr_format=zarr_format, **options))
        array = StoredArray(local_documents, path, engine=engine)
        assert array.engine.name == engine
        return array

    return make


@pytest.fixture
def make_array(make_array_with, engine) -> MakeArray:
    """Make an array in a local store of the format, served by each engine."""
    return partial(make_array_with, engine)
