"""Stores of both formats in every kind of storage, and arrays over both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from zarr.storage import MemoryStore

from lamella.store.arrays import StoredArray
from lamella.store.documents import Documents, new_array
from lamella.store.local import LocalStorage
from lamella.store.zarr_storage import ZarrStorage

if TYPE_CHECKING:
    from lamella.store.storage import Storage

MakeArray = Callable[..., StoredArray]


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def zarr_format(request) -> Any:
    return request.param


@pytest.fixture(params=["tensorstore", "zarr"])
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
def make_array(local_documents, engine, zarr_format) -> MakeArray:
    """Make an array in a local store of the format, served by the engine."""

    def make(shape, dtype="u2", *, path="0", with_engine=engine, **options) -> StoredArray:
        local_documents.put_array(path, new_array(shape, dtype, zarr_format=zarr_format, **options))
        array = StoredArray(local_documents, path, engine=with_engine)
        assert array.engine.name == with_engine
        return array

    return make
