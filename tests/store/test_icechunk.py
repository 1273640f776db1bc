"""Law: a store of icechunk holds plates and images as any other; what it cannot hold is not there, and is no crash."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.errors import LamellaError

icechunk = pytest.importorskip("icechunk", reason="icechunk is installed on Python 3.12 or newer")


@pytest.fixture
def repository():
    """An empty repository in memory."""
    return icechunk.Repository.create(icechunk.in_memory_storage())


def pixels(seed=0):
    return np.random.default_rng(seed).integers(1, 999, (2, 2, 1, 32, 32)).astype("u2")


def written(repository):
    """Write a plate, commit it, and return a session that reads it."""
    session = repository.writable_session("main")
    plate = lamella.open_ome_zarr(
        session.store, layout="hcs", mode="w-", channel_names=["a", "b"], version="0.5"
    )
    for column in ("1", "10"):
        plate.create_position("A", column, "0").create_image(
            "0", pixels(int(column)), chunks=(1, 1, 1, 16, 16), shards_ratio=(1, 1, 1, 2, 2)
        )
    plate["A/1/0"].compute_pyramid(levels=2)
    plate["A/1/0"].labels.create("cells", pixels()[:, 0])
    session.commit("a plate")
    return repository.readonly_session("main")


def test_a_plate_is_written_committed_and_read(repository):
    plate = lamella.open_ome_zarr(written(repository).store)
    assert [path for path, _ in plate.positions()] == ["A/1/0", "A/10/0"]
    assert np.array_equal(plate["A/10/0"]["0"][...], pixels(10))
    assert list(plate["A/1/0"].labels) == ["cells"]
    assert plate.metadata.name == "plate"


def test_what_reads_a_store_reads_one_of_icechunk(repository):
    store = written(repository).store
    plate = lamella.open_ome_zarr(store)
    plate.print_tree()
    assert repr(plate)
    assert str(lamella.status(store))
    assert lamella.verify(store)
    assert lamella.checksum(store)
    assert lamella.validate(store, pixels=True)
    assert plate["A/1/0"].to_xarray() is not None
    with pytest.raises(LamellaError):
        plate.zattrs["key"] = 1


def test_a_well_is_renamed_and_deleted(repository):
    written(repository)
    session = repository.writable_session("main")
    plate = lamella.open_ome_zarr(session.store, mode="r+")
    plate.rename_well("A/1", "B/2")
    plate["B/2/0"]["0"][0, 0] = 7
    del plate["A/10"]
    session.commit("renamed")
    fresh = lamella.open_ome_zarr(repository.readonly_session("main").store)
    assert [path for path, _ in fresh.positions()] == ["B/2/0"]
    assert np.array_equal(fresh["B/2/0"]["0"][1], pixels(1)[1])
    assert (fresh["B/2/0"]["0"][0, 0] == 7).all()


def test_a_version_that_it_cannot_hold_is_refused(repository):
    session = repository.writable_session("main")
    with pytest.raises(LamellaError, match="icechunk"):
        lamella.open_ome_zarr(session.store, layout="fov", mode="w-", channel_names=["a"], version="0.4")
