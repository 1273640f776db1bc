"""Law: lower levels that are created empty are listed, and count as stale until their pixels are written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella import open_ome_zarr
from lamella.cli import main

from .pyramids import image, noise
from .test_pyramid_update import assert_current, marker

SHAPE = (2, 1, 4, 16, 16)


@pytest.fixture(params=["0.4", "0.5"])
def store(request, tmp_path):
    image(tmp_path / "a.zarr", noise(SHAPE), request.param).close()
    return tmp_path / "a.zarr"


def initialized(position):
    position.initialize_pyramid(3)


def created(position):
    position.create_zeros("1", (2, 1, 2, 8, 8), "uint16")
    position.create_zeros("2", (2, 1, 1, 4, 4), "uint16")


@pytest.fixture(params=[initialized, created], ids=["initialize_pyramid", "create_zeros"])
def empty(request, store):
    with open_ome_zarr(store, mode="r+") as position:
        request.param(position)
    return store


def test_everybody_sees_that_they_are_not_written(empty):
    position = open_ome_zarr(empty)
    assert position.dataset_paths == ["0", "1", "2"]
    assert position.stale_levels
    assert "(stale)" in repr(position)
    assert "not written" in str(lamella.validate(empty, pixels=True))
    assert json.loads(CliRunner().invoke(main, ["info", "--json", str(empty)]).output)["stale_levels"] is True
    assert "not written yet" in CliRunner().invoke(main, ["info", str(empty)]).output


def test_they_are_stale_until_all_are_written(empty):
    with open_ome_zarr(empty, mode="r+") as position:
        position["1"][...] = 1
        assert position.stale_levels
        position["2"][0] = 2
        assert position.stale_levels
    with open_ome_zarr(empty, mode="r+") as position:
        assert position.stale_levels
        position["2"][1] = 2
        assert not position.stale_levels
        assert not open_ome_zarr(empty).stale_levels
    assert marker(empty) is None


def test_what_a_killed_writer_wrote_counts_as_not_written(empty):
    position = open_ome_zarr(empty, mode="r+")
    position["1"][0] = 1  # and it is never closed
    assert set(marker(empty)["unwritten"]) == {"1", "2"}
    assert open_ome_zarr(empty).stale_levels


def test_two_writers_fill_them_together(empty):
    one, other = open_ome_zarr(empty, mode="r+"), open_ome_zarr(empty, mode="r+")
    for level in ("1", "2"):
        one[level][0] = 1
        other[level][1] = 1
    one.close()
    assert other.stale_levels
    other.close()
    assert marker(empty) is None


def test_computing_them_ends_it(empty):
    with open_ome_zarr(empty, mode="r+") as position:
        position["1"][0] = 7
        position.compute_pyramid()
        assert_current(position)
    assert marker(empty) is None


def test_updating_them_makes_all(empty):
    with open_ome_zarr(empty, mode="r+") as position:
        position.update_pyramid(method="mean")
        assert_current(position)
    assert marker(empty) is None


def test_a_level_that_is_deleted_is_stale_no_more(empty):
    with open_ome_zarr(empty, mode="r+") as position:
        del position["2"]
        position["1"][...] = 1
        assert not position.stale_levels
        position.delete_pyramid()
    assert marker(empty) is None


def test_an_image_that_was_written_as_a_level_is_not_stale(store):
    with open_ome_zarr(store, mode="r+") as position:
        position.create_image("1", np.ones((2, 1, 2, 8, 8), "uint16"))
        assert not position.stale_levels
    assert marker(store) is None


def test_a_level_by_itself_is_the_finest(tmp_path):
    position = image(tmp_path / "a.zarr", noise(SHAPE))
    assert not position.stale_levels
    assert marker(tmp_path / "a.zarr") is None


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_they_are_stale_exactly_as_long_as_a_voxel_is_missing(data, tmp_path_factory):
    store = tmp_path_factory.mktemp("empty") / "a.zarr"
    image(store, noise((6, 8), high=9), names="yx").close()
    written = np.zeros((3, 4), bool)
    position = open_ome_zarr(store, mode="r+")
    position.initialize_pyramid(2)
    for _ in range(data.draw(st.integers(1, 12))):
        box = tuple(
            slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in (3, 4)
        )
        position["1"][box] = 5
        written[box] = True
        if data.draw(st.booleans()):
            position.close()
            position = open_ome_zarr(store, mode="r+")
        assert position.stale_levels == (not written.all())


def test_filling_a_level_frame_by_frame_costs_one_document(counting_store):
    position = image(counting_store, noise((40, 1, 1, 16, 16)))
    position.initialize_pyramid(2)
    counting_store.sets.clear()
    for frame in range(40):
        position["1"][frame] = frame
    assert counting_store.sets["zarr.json"] == 1
    assert not position.stale_levels
