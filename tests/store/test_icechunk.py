"""Law: a store of icechunk holds plates and images as any other; what it cannot store is not there, and is no crash."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from tests.ops import test_every_store as every_store

import lamella
from lamella.cli import main
from lamella.errors import (
    ConflictError,
    InvalidArgumentError,
    LamellaError,
    ReadOnlyError,
    StoreNotFoundError,
)

icechunk = pytest.importorskip("icechunk", reason="icechunk is installed on Python 3.12 or newer")


@pytest.fixture
def repository():
    """An empty repository in memory."""
    return icechunk.Repository.create(icechunk.in_memory_storage())


def pixels(seed=0):
    return np.random.default_rng(seed).integers(1, 999, (2, 2, 1, 32, 32)).astype("u2")


def doubled(block):
    return block * 2


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
    assert hashlib.sha256(b"").hexdigest() not in dict(lamella.checksum(store)).values()
    assert lamella.validate(store, pixels=True)
    assert plate["A/1/0"].to_xarray() is not None
    with pytest.raises(LamellaError):
        plate.zattrs["key"] = 1


def test_tables_and_regions_are_committed_with_the_images(repository):
    written(repository)
    session = repository.writable_session("main")
    plate = lamella.open_ome_zarr(session.store, mode="r+")
    position = plate["A/1/0"]
    frame = {"area": [1.5, 2.5], "kind": ["a", "b"]}
    for backend in ("anndata", "json"):
        position.tables.write(backend, {"area": [0.0]}, backend=backend)
        position.tables.write(backend, frame, backend=backend)  # replaced
    for backend in ("csv", "parquet"):
        with pytest.raises(InvalidArgumentError, match="Use backend='anndata' or 'json'"):
            position.tables.write(backend, frame, backend=backend)
    position.tables.write_rois("fields", {"left": {"x": (0, 16)}})
    plate.tables["layout"] = {"well": ["A/1"]}
    position.tables["gone"] = frame
    del position.tables["gone"]
    session.commit("tables")
    fresh = lamella.open_ome_zarr(repository.readonly_session("main").store)
    tables = fresh["A/1/0"].tables
    assert list(tables) == ["anndata", "json", "fields"]
    assert tables.info("fields").backend == "anndata"
    for backend in ("anndata", "json"):
        assert tables[backend].to_dict("list") == frame
    assert fresh["A/1/0"].roi("left").read().shape[-1] == 16
    assert list(fresh.tables["layout"]["well"]) == ["A/1"]
    assert lamella.validate(repository.readonly_session("main").store)


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
    with pytest.raises(LamellaError, match=r"icechunk stores Zarr v3 only.*version='0\.5'"):
        lamella.open_ome_zarr(session.store, layout="fov", mode="w-", channel_names=["a"], version="0.4")


def test_a_session_does_what_a_folder_does(tmp_path):
    def new():
        return icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")

    for law in (every_store.test_what_changes_a_plate, every_store.test_what_reads_a_plate):
        law(every_store.plate_in(new()), tmp_path)
    every_store.test_what_makes_a_new_store(new, tmp_path)
    every_store.test_two_handles_of_a_store_exclude_each_other_and_see_each_others_changes(
        every_store.plate_in(new())
    )


@pytest.mark.parametrize(
    "make",
    [
        lamella.copy_store,
        lambda source, url: lamella.upgrade(source, "0.6", url),
        lambda source, url: lamella.rechunk(source, url, chunks=(8, 8)),
        lambda source, url: lamella.merge([source], url),
        lambda source, url: lamella.open_ome_zarr(source).map(doubled, over="regions", output=url),
        lambda source, url: CliRunner().invoke(main, ["subset", str(source), url, "--wells", "A1"]),
        lambda source, url: CliRunner().invoke(main, ["copy", str(source), url]),
    ],
)
def test_a_store_that_one_call_makes_at_a_url_is_committed(tmp_path, url, make):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", "hcs", "w-", ["a", "b"], version="0.5") as plate:
        plate.create_position("A", "1", "0")["0"] = pixels()
    make(tmp_path / "a.zarr", url)
    found = lamella.open_ome_zarr(url)["A/1/0"]["0"][...]
    assert np.array_equal(found, pixels()) or np.array_equal(found, 2 * pixels())
    assert lamella.validate(url, pixels=True)


def test_what_commands_change_at_a_url_is_committed(url):
    with new_plate(url) as plate:
        plate["A/1/0"].labels.create("cells", pixels()[:, 0])
        plate.commit("a plate")
    for command in (
        ["pyramid", url, "--levels", "2"],
        ["edit", url, "--rename-channel", "a=c"],
        ["measure", url, "cells"],
        ["rename-well", url, "A1", "B/2"],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    position = lamella.open_ome_zarr(url)["B/2/0"]
    assert (position.dataset_paths, position.channel_names, list(position.tables)) == (
        ["0", "1"],
        ["c", "b"],
        ["cells"],
    )


@pytest.fixture
def url(tmp_path):
    return f"icechunk+file://{tmp_path}/plate"


def new_plate(url):
    plate = lamella.open_ome_zarr(f"{url}@main", "hcs", "w-", ["a", "b"], version="0.5")
    plate.create_position("A", "1", "0")["0"] = pixels()
    return plate


def test_a_url_is_written_committed_changed_and_read_at_every_version(url):
    with new_plate(url) as plate:
        image = plate["A/1/0"]["0"]
        first = plate.commit("a plate")
        image[0] = 7  # the arrays and nodes of the handle go into the next version
        plate["A/1/0"].zattrs["note"] = "bleached"
        second = plate.commit("bleached")
        plate.rename_well("A/1", "B/2")
        plate.commit("renamed")
    newest = lamella.open_ome_zarr(url)
    assert [path for path, _ in newest.positions()] == ["B/2/0"]
    assert np.array_equal(lamella.open_ome_zarr(f"{url}@{first}")["A/1/0"]["0"][...], pixels())
    old = lamella.open_ome_zarr(f"{url}@{second}")
    assert (old["A/1/0"]["0"][0] == 7).all()
    assert old["A/1/0"].zattrs["note"] == "bleached"
    assert lamella.validate(f"{url}@{first}", pixels=True)
    assert np.array_equal(pickle.loads(pickle.dumps(old))["A/1/0"]["0"][1], pixels()[1])


def test_tags_and_branches_are_opened_by_their_names(url, tmp_path):
    with new_plate(url) as plate:
        first = plate.commit("a plate")
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(f"{tmp_path}/plate"))
    repository.create_tag("v1", first)
    repository.create_branch("try/out", first)
    with lamella.open_ome_zarr(f"{url}@try/out", mode="r+") as plate:
        plate["A/1/0"]["0"][...] = 1
        plate.commit("ones")
    assert (lamella.open_ome_zarr(f"{url}@try/out")["A/1/0"]["0"][...] == 1).all()
    assert np.array_equal(lamella.open_ome_zarr(f"{url}@v1")["A/1/0"]["0"][...], pixels())
    with pytest.raises(ReadOnlyError, match="tags and snapshots never change"):
        lamella.open_ome_zarr(f"{url}@v1", mode="r+")
    with pytest.raises(StoreNotFoundError, match=r"no branch, tag or snapshot 'v2'.*main, try/out.*v1"):
        lamella.open_ome_zarr(f"{url}@v2")


def test_a_commit_after_another_is_a_conflict_that_stores_nothing(url):
    with new_plate(url) as plate:
        plate.commit("a plate")
    one, other = (lamella.open_ome_zarr(url, mode="r+") for _ in range(2))
    one["A/1/0"]["0"][0, 0] = 1
    other["A/1/0"]["0"][0, 0] = 2
    one.commit("ones")
    with pytest.raises(ConflictError, match="another session committed to the branch 'main'"):
        other.commit("twos")
    with pytest.raises(ConflictError, match="Both changed /A/1/0"):
        other.commit("twos", rebase=True)
    assert (lamella.open_ome_zarr(url)["A/1/0"]["0"][0, 0] == 1).all()
    third = lamella.open_ome_zarr(url, mode="r+")
    one["A/1/0"]["0"][1, 0] = 3
    one.commit("another chunk")
    third["A/1/0"].zattrs["note"] = "kept"
    third.commit("a note", rebase=True)
    newest = lamella.open_ome_zarr(url)["A/1/0"]
    assert newest.zattrs["note"] == "kept"
    assert (newest["0"][1, 0] == 3).all()


def test_what_cannot_be_committed_is_refused_and_what_is_lost_is_said(url, repository, tmp_path):
    plate = new_plate(url)
    with pytest.raises(LamellaError, match="not committed"):
        pickle.dumps(plate)
    with pytest.warns(UserWarning, match="not committed; they are lost"):
        plate.close()
    with pytest.raises(LamellaError, match="store"):
        lamella.open_ome_zarr(url)
    with pytest.raises(StoreNotFoundError, match="no repository"):
        lamella.open_ome_zarr(f"icechunk+file://{tmp_path}/other", mode="r+")
    assert not (tmp_path / "other").exists()
    session = repository.writable_session("main")
    with lamella.open_ome_zarr(session, "fov", "w-", ["a"], version="0.6") as own:
        own["0"] = np.ones((1, 1, 1, 8, 8), "u1")
        own.commit("by lamella")
        with pytest.raises(ReadOnlyError, match="session has ended"):
            own.commit("again")
    assert lamella.open_ome_zarr(repository.readonly_session("main"))["0"].shape == (1, 1, 1, 8, 8)
    folder = lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w-", ["a"])
    with pytest.raises(InvalidArgumentError, match="no versions"):
        folder.commit("never")


def test_a_repair_of_a_url_is_committed(url, tmp_path):
    with new_plate(url) as plate:
        plate.zattrs["ome"] = {**plate.zattrs["ome"], "version": "0.5.2"}
        plate.commit("a plate of a version that there is not")
    assert lamella.repair(url, backup=tmp_path / "backup").after
    assert lamella.validate(url)


def test_a_forked_child_is_refused_at_once(tmp_path):
    """Its requests would wait for ever."""
    url = f"icechunk+file://{tmp_path}/repository"
    with lamella.open_ome_zarr(url, "fov", "w-", ["a"], version="0.5") as image:
        image["0"] = np.ones((1, 1, 1, 8, 8), "u2")
        image.commit("first")
    image = lamella.open_ome_zarr(url)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def read():
        for call in (lambda: image["0"][...], lambda: lamella.open_ome_zarr(url)):
            try:
                call()
            except lamella.errors.StorageError as error:
                answers.put(str(error))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child = context.Process(target=read, daemon=True)
        child.start()
    try:
        assert all("forkserver" in answers.get(timeout=60) for _ in range(2))
    finally:
        child.kill()
        child.join()
