"""Law: a store of gcsfs on a server for Google works as a folder does, and what the server cannot is said.

gcp-storage-emulator speaks Google's JSON interface. Of the XML interface, which ``gs://`` uses, it lacks lists,
conditions and Last-Modified; the server of the suite has these (``tests/store/test_google.py``).
"""

from __future__ import annotations

from uuid import uuid4

import numpy as np
import pytest
from tests.clouds import PIXELS
from zarr.storage import FsspecStore

import lamella
from lamella.errors import StorageError, StoreExistsError


@pytest.fixture
def store(google):
    """A store of gcsfs where nothing is."""
    options = {"endpoint_url": google, "token": "anon"}
    return FsspecStore.from_url(f"gs://bucket/{uuid4().hex[:8]}/plate.zarr", storage_options=options)


def test_a_store_of_gcsfs_is_created_edited_renamed_copied_and_deleted(store, tmp_path, version):
    with lamella.open_ome_zarr(store, "hcs", "w-", ["a"], version=version) as plate:
        for column in ("1", "2"):
            position = plate.create_position("A", column, "0")
            position.create_image("0", PIXELS, chunks=(1, 1, 1, 32, 32))
        position.compute_pyramid(levels=2)
        position.rename_channel("a", "b")
        plate.rename_well("A/1", "B/3")
        del plate["A/2"]
    with pytest.raises(StoreExistsError):
        lamella.open_ome_zarr(store, "hcs", "w-", ["a"], version=version)
    plate = lamella.open_ome_zarr(store)
    assert [path for path, _ in plate.positions()] == ["B/3/0"]
    assert np.array_equal(plate["B/3/0"]["0"][...], PIXELS)
    assert lamella.validate(store, pixels=True)
    assert lamella.status(store).counts["written"] == 1
    assert lamella.copy_store(store, tmp_path / "copy.zarr")
    assert np.array_equal(lamella.open_ome_zarr(tmp_path / "copy.zarr")["B/3/0"]["0"][...], PIXELS)


def test_what_the_server_lacks_is_said_and_is_no_damage(store, google):
    with lamella.open_ome_zarr(store, "fov", "w-", ["a"], version="0.5") as image:
        image.create_image("0", PIXELS, chunks=(1, 1, 1, 16, 16), shards_ratio=(1, 1, 1, 2, 2))
        with pytest.raises(StorageError, match="ignores the Range header"):
            image["0"][0, 0, 0, :3, :3]
    assert lamella.status(store).counts["unread"] == 1
    options = {"anon": True, "endpoint_url": google, "retries": 0}
    url = f"gs://{store.path}"
    with pytest.raises(StorageError, match="Last-Modified"):
        lamella.open_ome_zarr(url, storage_options=options)
    with pytest.raises(StorageError, match="501 Not Implemented"):
        lamella.open_ome_zarr(f"{url}/new.zarr", "fov", "w-", ["a"], storage_options=options)
