"""Levels after writes to level 0: known to be stale, in this process and the next, and brought up to date in part."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.warm import run

from lamella import open_ome_zarr, validate
from lamella.cli import main
from lamella.models import TransformationMeta
from lamella.spec.stale_levels import read_stale
from lamella.store.pixels.arrays import StoredArray

from .pyramids import METHODS, image, noise, sensible, slow


def levels(position):
    return [position[path][...] for path in position.dataset_paths]


def assert_current(position, method="mean"):
    """Every level is the reference of the one before."""
    found = levels(position)
    for fine, coarse in itertools.pairwise(found):
        factors = tuple(2 if a != b else 1 for a, b in zip(fine.shape, coarse.shape, strict=True))
        np.testing.assert_array_equal(coarse, slow(fine, factors, method))


def marker(path):
    """What the document of an image says of stale levels."""
    for name in ("zarr.json", ".zattrs"):
        if (path / name).exists():
            document = json.loads((path / name).read_text())
            return document.get("attributes", document).get("lamella", {}).get("stale_levels")
    raise AssertionError("no document")


@pytest.fixture
def pyramid(tmp_path, version, pyramid_once):
    """Return a path to an image of three levels, each shard or chunk much smaller than a plane."""
    return shutil.copytree(pyramid_once(version), tmp_path / "a.zarr")


@pytest.fixture(scope="module")
def pyramid_once(tmp_path_factory):
    """Return a function that makes such an image of a version once."""
    return cache(lambda version: make_pyramid(tmp_path_factory.mktemp("once") / "a.zarr", version))


def make_pyramid(path, version):
    layout = {"shards_ratio": (1, 1, 2, 2, 2)} if version == "0.5" else {}
    with image(path, noise((2, 2, 8, 32, 40)), version, chunks=(1, 1, 2, 8, 8), **layout) as position:
        position.compute_pyramid(3)
    return path


# -- the values ---------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(data=st.data())
def test_updating_any_region_gives_the_bits_of_computing_all(tmp_path_factory, data):
    names = data.draw(st.sampled_from(["yx", "zyx", "cyx", "tzyx", "tczyx"]))
    shape = tuple(
        data.draw(st.sampled_from([1, 2, 5, 11, 16]) if n in "zyx" else st.sampled_from([1, 2]))
        for n in names
    )
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    ratio = tuple(data.draw(st.integers(1, 3)) for _ in shape)
    method = data.draw(st.sampled_from(METHODS))
    path = tmp_path_factory.mktemp("update") / "a.zarr"
    position = image(path, noise(shape, high=9), names=names, chunks=chunks, shards_ratio=ratio)
    number = sensible(shape, names)
    if number == 1:
        return
    position.compute_pyramid(number, method)
    regions = []
    for _ in range(data.draw(st.integers(1, 3))):
        ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
        regions.append(tuple(slice(*end) for end in ends))
        position["0"][regions[-1]] = noise((1,) * len(shape), high=99)
    if data.draw(st.booleans()):
        position.update_pyramid()
    else:
        for region in regions:
            position.update_pyramid(region)
    assert not position.stale_levels
    updated = levels(position)
    position.compute_pyramid(method=method)
    for one, other in zip(updated, levels(position), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_what_depends_on_the_region_is_read_and_written(counting_store):
    position = image(counting_store, noise((1, 1, 4, 64, 64)), chunks=(1, 1, 4, 16, 16))
    position.compute_pyramid(3)
    position["0"][0, 0, :, 20:30, 40] = 7
    counting_store.gets.clear()
    counting_store.sets.clear()
    position.update_pyramid()
    assert {key[0] for key in counting_store.gets if "0/c/" in key[0][:4]} == {"0/c/0/0/0/1/2"}
    assert {key for key in counting_store.sets if "/c/" in key} == {"1/c/0/0/0/0/1", "2/c/0/0/0/0/0"}
    assert_current(position)


def test_labels_are_updated_with_mode_and_hold_no_new_ids(tmp_path, version):
    with image(tmp_path / "a.zarr", noise((1, 1, 4, 16, 16)), version) as position:
        position.compute_pyramid(3)
        cells = position.labels.create("cells", noise((4, 16, 16), "uint8", 3))
        cells["0"][1:3, 4:9] = 200
        assert cells.stale_levels
        assert not position.stale_levels
        cells.update_pyramid()
        assert not cells.stale_levels
        assert_current(cells, "mode")
        assert 200 in cells["1"][...]


@pytest.mark.parametrize("frames", [1, 3])
def test_levels_of_a_film_that_grew_are_resized_and_never_binned_in_time(pyramid, frames, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        for _ in range(frames):
            position["0"].append(noise((1, 2, 8, 32, 40)) + 1)
            position["0"][1, 0, 2, 5] = 9
        if frames == 3:
            position.compute_pyramid()
        else:
            position.update_pyramid()
        assert [len(array) for array in levels(position)] == [2 + frames] * 3
        assert not position.stale_levels
        for fine, coarse in itertools.pairwise(levels(position)):
            np.testing.assert_array_equal(coarse, slow(fine, (1, 1, 2, 2, 2), "mean"))


def test_levels_of_an_image_that_shrank_follow_it(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"].resize(1, 2, 8, 31, 13)
        position.update_pyramid()
        for fine, coarse in itertools.pairwise(levels(position)):
            np.testing.assert_array_equal(coarse, slow(fine, (1, 1, 2, 2, 2), "mean"))


# -- what is known ------------------------------------------------------------------------------------------------


def write_by_setitem(array):
    array[0, 1, 2] = 5


def write_orthogonal(array):
    array.oindex[[0], [1], [2]] = 5


def write_points(array):
    array.vindex[[0, 0], [1, 1], [2, 2], [3, 4], [5, 6]] = 5


def grow(array):
    array.append(noise((1, 2, 8, 32, 40)))


def shrink(array):
    array.resize(1, 2, 8, 32, 40)


def grow_and_shrink(array):
    array.resize(3, 2, 8, 31, 40)


@pytest.mark.parametrize(
    "write", [write_by_setitem, write_orthogonal, write_points, grow, shrink, grow_and_shrink]
)
def test_every_kind_of_write_to_level_0_is_known_by_the_next_who_opens(pyramid, version, write):
    with open_ome_zarr(pyramid, mode="r+") as position:
        assert not position.stale_levels
        write(position["0"])
        assert position.stale_levels
    with open_ome_zarr(pyramid) as position:
        assert position.stale_levels
        assert "(stale)" in repr(position)
    with open_ome_zarr(pyramid, mode="r+") as position:
        position.update_pyramid()
        assert not position.stale_levels
        assert_current(position)
        assert "(stale)" not in repr(position)


def test_a_write_through_xarray_is_known(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        frame = position.to_xarray().isel(t=[1])
        position.write_xarray(frame + np.uint16(1))
    assert marker(pyramid)["regions"] == [[[1, 0, 0, 0, 0], [2, 2, 8, 32, 40]]]


def test_a_write_to_a_lower_level_or_another_array_makes_nothing_stale(pyramid, files, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["1"][0, 0] = 3
        position.zgroup.create_array("other", shape=(3,), dtype="u1")
        position["other"][0] = 1
        assert not position.stale_levels
    assert marker(pyramid) is None


def test_an_image_of_one_level_has_nothing_that_could_be_stale(tmp_path, files, version):
    position = image(tmp_path / "a.zarr", noise((1, 1, 2, 8, 8)), version)
    document = next(name for name in ("zarr.json", ".zattrs") if (tmp_path / "a.zarr" / name).exists())
    before = (tmp_path / "a.zarr" / document).read_bytes()
    position["0"][0] = 1
    position.close()
    assert (tmp_path / "a.zarr" / document).read_bytes() == before


def test_many_frames_cost_one_document_and_closing_another(counting_store):
    position = image(counting_store, noise((40, 1, 1, 16, 16)))
    position.compute_pyramid(2)
    counting_store.sets.clear()
    for frame in range(20):
        position["0"][frame, 0, 0] = frame
    assert counting_store.sets["zarr.json"] == 1
    position.close()
    assert counting_store.sets["zarr.json"] == 2


def test_a_closed_writer_says_where_it_wrote(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][1, 0, :4] = 1
        position["0"][1, 0, 4:] = 2
        assert len(marker(pyramid)["writers"]) == 1
    assert marker(pyramid) == {"writers": [], "regions": [[[1, 0, 0, 0, 0], [2, 1, 8, 32, 40]]]}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_writer_leaves_levels_that_are_stale_everywhere(pyramid, version):
    code = (
        "import os, signal, lamella\n"
        f"position = lamella.open_ome_zarr({str(pyramid)!r}, mode='r+')\n"
        "position['0'][1, 1, 7, 31, 39] = 60000\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run(code).returncode == -signal.SIGKILL
    assert marker(pyramid)["writers"]
    with open_ome_zarr(pyramid, mode="r+") as position:
        assert position.stale_levels
        position["0"][0, 0, 0] = 1  # its own region is known, that of the killed one is not
        position.update_pyramid()
        assert not position.stale_levels
        assert position["1"][1, 1, 3, 15, 19] > 7000
        assert_current(position)


def test_a_pyramid_that_failed_half_way_is_stale_until_it_is_computed_again(pyramid, version):
    (name,) = {"zarr.json", ".zarray"} & set(os.listdir(pyramid / "0"))
    damaged = max(
        (path for path in (pyramid / "0").rglob("*") if path.is_file() and path.name != name), key=str
    )
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with open_ome_zarr(pyramid, mode="r+") as position:
        with pytest.raises(ValueError, match="damaged"):
            position.compute_pyramid()
        assert position.stale_levels
        damaged.write_bytes(whole)
        position.update_pyramid()
        assert not position.stale_levels
        assert_current(position)
    assert not [path for path in pyramid.rglob("*") if ".tmp" in path.name]


def test_a_writer_whose_mark_was_cleared_by_a_new_pyramid_marks_again(pyramid, version):
    writer, other = open_ome_zarr(pyramid, mode="r+"), open_ome_zarr(pyramid, mode="r+")
    writer["0"][0, 0, 0] = 1
    other.compute_pyramid()
    assert not writer.stale_levels
    writer["0"][1, 1, 5, :3] = 2
    assert other.stale_levels
    writer.close()
    assert marker(pyramid)["regions"] == [[[1, 1, 5, 0, 0], [2, 2, 6, 3, 40]]]


def test_the_mark_is_there_before_the_pixels_and_again_when_levels_were_made_meanwhile(
    pyramid, monkeypatch, version
):
    write = StoredArray.write

    def slowly(array, index, data, **options):
        if array.path == "0":
            assert marker(pyramid)["writers"]
            open_ome_zarr(pyramid, mode="r+").compute_pyramid()
            assert marker(pyramid) is None
        write(array, index, data, **options)

    monkeypatch.setattr(StoredArray, "write", slowly)
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][0, 0, 0] = 1
        assert position.stale_levels


def test_updating_one_region_leaves_the_others_stale(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][0, 0, 0] = 1
        position["0"][1, 1, 7] = 2
        position.update_pyramid((0, 0, 0))
        assert marker(pyramid)["regions"] == [[[1, 1, 7, 0, 0], [2, 2, 8, 32, 40]]]
        position.update_pyramid((1, 1))
        assert marker(pyramid) is None


def test_deleting_the_pyramid_leaves_nothing_stale_behind(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][0, 0, 0] = 1
        position.delete_pyramid()
        assert not position.stale_levels
        position["0"][0, 0, 0] = 1
    assert marker(pyramid) is None


def test_info_and_validation_of_pixels_say_it(pyramid, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][0, 0, 0] = 1
    told = CliRunner().invoke(main, ["info", str(pyramid)])
    assert "stale" in told.output
    assert (
        json.loads(CliRunner().invoke(main, ["info", "--json", str(pyramid)]).output)["stale_levels"] is True
    )
    assert any("update_pyramid" in text for _, text in validate(pyramid, pixels=True).notes)
    with open_ome_zarr(pyramid, mode="r+") as position:
        position.update_pyramid()
    assert "stale" not in CliRunner().invoke(main, ["info", str(pyramid)]).output
    assert not validate(pyramid, pixels=True).notes


@pytest.mark.parametrize("found", [[], {"lamella": 3}, {"lamella": {"stale_levels": [1]}}], ids=repr)
def test_a_mark_that_cannot_be_read_means_stale_everywhere_and_none_means_nothing(found):
    assert bool(read_stale(found)) == ("stale_levels" in str(found))


def test_stale_images_are_valid_and_readers_write_nothing(pyramid, files, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][0, 0, 0] = 1
    before = files(pyramid)
    report = validate(pyramid)
    assert not report.findings
    with open_ome_zarr(pyramid) as position:
        assert position.stale_levels
        position["0"][0, 0]
        with pytest.raises(PermissionError, match="open for reading"):
            position.update_pyramid()
    assert files(pyramid) == before


def test_what_is_stale_is_known_of_a_copy_too(pyramid, tmp_path, version):
    with open_ome_zarr(pyramid, mode="r+") as position:
        position["0"][1, 1, 7] = 2
    shutil.copytree(pyramid, tmp_path / "b.zarr")
    with open_ome_zarr(tmp_path / "b.zarr", mode="r+") as position:
        position.update_pyramid()
        assert_current(position)


def test_a_current_pyramid_is_left_alone(pyramid, files, version):
    before = files(pyramid)
    with open_ome_zarr(pyramid, mode="r+") as position:
        position.update_pyramid()
    assert files(pyramid) == before


# -- wrong calls --------------------------------------------------------------------------------------------------


def test_without_lower_levels_there_is_nothing_to_update(tmp_path, files):
    position = image(tmp_path / "a.zarr", noise((1, 1, 2, 8, 8)))
    before = files(tmp_path)
    with pytest.raises(ValueError, match="no lower levels to update"):
        position.update_pyramid()
    assert files(tmp_path) == before


def test_parts_are_not_made_with_another_method_than_the_rest(pyramid, files, version):
    before = files(pyramid)
    with (
        open_ome_zarr(pyramid, mode="r+") as position,
        pytest.raises(ValueError, match="computed with 'mean'"),
    ):
        position.update_pyramid((0,), "max")
    assert files(pyramid) == before


def test_levels_that_nobody_says_how_they_were_made_need_the_method(tmp_path):
    data = noise((1, 1, 4, 16, 16))
    position = image(tmp_path / "a.zarr", data)
    position.initialize_pyramid(2)
    position["1"][...] = slow(data, (1, 1, 2, 2, 2), "max")
    with pytest.raises(ValueError, match="method="):
        position.update_pyramid((0,))
    position["0"][0, 0, 0] = 5000
    position.update_pyramid(method="max")
    assert_current(position, "max")


def test_a_region_beyond_level_0_is_refused_and_changes_no_byte(pyramid, files, version):
    before = files(pyramid)
    with open_ome_zarr(pyramid, mode="r+") as position:
        with pytest.raises(IndexError):
            position.update_pyramid((7,))
        with pytest.raises(IndexError):
            position["0"][7] = 1
    assert files(pyramid) == before


# -- what level 0 was resized since -------------------------------------------------------------------------------


def initialized(position):
    position.initialize_pyramid(2)


def foreign(position):
    position.create_zeros(
        "low", (2, 1, 1, 8, 8), "uint16", transform=[TransformationMeta(type="scale", scale=[1, 1, 2, 2, 2])]
    )


@pytest.mark.parametrize("make", [initialized, foreign])
def test_a_film_that_became_twice_as_long_is_not_halved_in_time(tmp_path, make):
    frames = noise((2, 1, 2, 16, 16))
    with image(tmp_path / "a.zarr", frames) as position:
        make(position)
        position["0"].append(frames)
        position.compute_pyramid()
        (_, low) = levels(position)
        np.testing.assert_array_equal(low, slow(position["0"][...], (1, 1, 2, 2, 2), "mean"))
        assert position.get_effective_scale(position.dataset_paths[1])[0] == 1


def test_levels_of_labels_follow_what_those_of_their_image_have_to_be(tmp_path):
    frames = noise((2, 1, 2, 16, 16))
    with image(tmp_path / "a.zarr", frames) as position:
        cells = position.labels.create("cells", frames[:, 0].astype("uint16"))
        position.compute_pyramid(2)
        cells.delete_pyramid()
        position["0"].append(frames)
        position.labels.create("more", np.concatenate([frames, frames])[:, 0])
        assert [array.shape[0] for array in levels(position.labels["more"])] == [4, 4]
        assert position.labels["more"].get_effective_scale("1") == [1, 2, 2, 2]
