"""Deleting a channel: the pixels of the others stay as they are, in all levels, stores and versions."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress

import numpy as np
import pytest
from tests.reliability.faults import Faults, chosen

import lamella
from lamella.errors import InvalidArgumentError
from lamella.ops.images.delete_channel import _WithoutIndex

SHAPE = (2, 3, 5, 20, 30)
PIXELS = np.random.default_rng(5).integers(0, 4000, SHAPE).astype("uint16")
NAMES = ["DAPI", "GFP", "Cy5"]


def make(path, version, levels=3):
    with lamella.open(path, "w-", layout="hcs", version=version, channel_names=NAMES, axes="tczyx") as plate:
        for position in plate.create_positions([("A", "1", "0"), ("A", "1", "1")]):
            ratio = None if version == "0.4" else (1, 2, 1, 1, 1)
            position.create_image("0", PIXELS, chunks=(1, 2, 5, 8, 16), shards_ratio=ratio)
            position.compute_pyramid(levels, method="median")
            position.set_scale({"x": 0.5})
            position.compute_contrast()
        plate["A/1/0"].labels["cells"] = (PIXELS[:, 0] > 2000).astype("uint8")
        plate["A/1/1"].rename_channel("GFP", "red")


@pytest.mark.parametrize("store", ["0.4", "0.6", "memory"])
def test_the_other_channels_keep_pixels_levels_and_metadata(tmp_path, store):
    version = "0.5" if store == "memory" else store
    path = f"memory://delete-{tmp_path.name}/p.zarr" if store == "memory" else tmp_path / "p.zarr"
    make(path, version)
    for name, index in (("GFP", 1), ("DAPI", 0)):
        before = lamella.open(path)["A/1/0"]
        old = {level: image[:] for level, image in before.images()}
        channels = before.metadata.omero.channels
        with lamella.open(path, "r+") as plate:
            position = plate["A/1/0"]
            position.delete_channel(name)
            assert position.channel_names == [one.label for one in channels if one.label != name]
        after = lamella.open(path)["A/1/0"]
        assert after.dataset_paths == ["0", "1", "2"]
        assert after.metadata.omero.channels == [one for one in channels if one.label != name]
        assert after.metadata.multiscales == before.metadata.multiscales
        assert not after.stale_levels
        for level, image in after.images():
            np.testing.assert_array_equal(image[:], np.delete(old[level], index, axis=1))
    np.testing.assert_array_equal(after.labels["cells"].data[:], PIXELS[:, 0] > 2000)
    with lamella.open(path, "r+") as plate:
        assert plate["A/1/1"].channel_names == ["DAPI", "red", "Cy5"]
        with pytest.raises(InvalidArgumentError, match="only channel"):
            plate.delete_channel("Cy5")  # of the first field
        assert plate.delete_channel("red") == ["A/1/1"]
        with pytest.raises(InvalidArgumentError, match="Did you mean 'Cy5'"):
            plate.delete_channel("Cy3")
    if store != "memory":
        assert lamella.validate(path).valid
        assert (
            sorted(entry.name for entry in (path / "A/1/0").iterdir() if entry.name.startswith(".lamella"))
            == []
        )


@pytest.mark.parametrize("store", ["0.4", "0.6", "memory"])
def test_the_same_handle_judges_the_levels_as_they_are_after_it(tmp_path, store):
    version = "0.5" if store == "memory" else store
    path = f"memory://judged-{tmp_path.name}/p.zarr" if store == "memory" else tmp_path / "p.zarr"
    make(path, version)
    with lamella.open(path, "r+", strict=True) as plate:  # in which a broken rule is an error
        position = plate["A/1/0"]
        shapes = [image.shape for _, image in position.images()]
        position.delete_channel("GFP")
        assert position["1"].shape == (*shapes[1][:1], 2, *shapes[1][2:])
        assert [image.shape[1] for _, image in position.images()] == [2, 2, 2]
        position["2"]
        lamella.open(path, "r+")["A/1/0"].delete_channel("DAPI")  # of another handle
        assert position["2"].shape[1] == 1


def test_levels_that_were_stale_stay_so_where_the_channel_is_not_concerned(tmp_path):
    path = tmp_path / "p.zarr"
    make(path, "0.5")
    with lamella.open(path, "r+") as plate:
        position = plate["A/1/0"]
        position["0"][0, 2, :, :4] = 7
        position.delete_channel("DAPI")
        assert position.stale_levels
        position["0"][0, 0, :, 10:] = 9
        position.delete_channel("GFP")
        position.update_pyramid()
        expected = np.delete(PIXELS, (0, 1), axis=1)
        expected[0, 0, :, :4] = 7
        np.testing.assert_array_equal(position["0"][:], expected)
        updated = {level: image[:] for level, image in position.images()}
        assert not position.stale_levels
        position.compute_pyramid(method="median")
        for level, image in position.images():
            np.testing.assert_array_equal(updated[level], image[:])


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(step):
    raise CutShortError


def test_a_deletion_that_is_cut_short_is_finished_by_the_next_writer(tmp_path):
    template = tmp_path / "template"
    template.mkdir()
    make(template / "p.zarr", "0.5")
    old = {level: image[:] for level, image in lamella.open(template / "p.zarr/A/1/0").images()}

    def delete(folder):
        with lamella.open(folder / "p.zarr", "r+") as plate:
            plate["A/1/0"].delete_channel("GFP")

    shutil.copytree(template, tmp_path / "whole")
    with Faults(tmp_path / "whole") as faults:
        delete(tmp_path / "whole")
    seen = set()
    for n in chosen(faults.steps, 16):
        shutil.copytree(template, tmp_path / str(n))
        with Faults(tmp_path / str(n), n, cut, lasting=True), suppress(CutShortError):
            delete(tmp_path / str(n))
        path = tmp_path / str(n) / "p.zarr/A/1/0"
        position = lamella.open(path)
        names, levels = position.channel_names, position.dataset_paths
        seen.add((len(names), len(levels)))
        assert names in (NAMES, ["DAPI", "Cy5"])
        for level in levels:
            expected = old[level] if len(names) == 3 else np.delete(old[level], 1, axis=1)
            np.testing.assert_array_equal(position[level][:], expected)
        with lamella.open(path, "r+") as position:
            position.set_name("finished")
            position["0"][0, 0, 0, 0, 0] = 1  # what is written between counts
            if "GFP" in position.channel_names:
                position.delete_channel("GFP")
            assert (position.channel_names, position.dataset_paths) == (["DAPI", "Cy5"], ["0", "1", "2"])
            assert "lamella" not in position.zattrs or "deleting_channel" not in position.zattrs["lamella"]
            assert position.stale_levels
            np.testing.assert_array_equal(position["2"][:], np.delete(old["2"], 1, axis=1))
    assert len(seen) > 2


@pytest.mark.parametrize("version", ["0.4", "0.6"])
def test_a_stream_of_other_channels_resumes_and_that_of_the_channel_is_forgotten(tmp_path, version):
    with lamella.open(
        tmp_path / "a.zarr", "w", layout="fov", channel_names=NAMES, version=version
    ) as position:
        options = {"order": "tc", "channel_names": ["Cy5", "DAPI"]}
        with position.stream("0", (8, 8), "uint8", **options) as frames:
            frames.append(np.full((8, 8), 1, "uint8"))
            frames.skip()
        position.delete_channel("GFP")
        with position.stream("0", (8, 8), "uint8", **options, resume=True) as frames:
            assert frames.append(np.full((8, 8), 2, "uint8")) == {"t": 1, "c": 1}
        assert position["0"][:, :, 0, 0, 0].tolist() == [[0, 1], [0, 2]]
        assert "1 of 3 frames was dropped" in str(position.status())
        position.delete_channel("DAPI")
        assert "lamella" not in position["0"].attrs
        assert "dropped" not in str(position.status())


def test_an_image_without_pixels_loses_the_name_alone(tmp_path):
    with lamella.open(tmp_path / "a.zarr", "w-", layout="fov", channel_names=NAMES, axes="cyx") as position:
        position.delete_channel("GFP")
        position["0"] = np.ones((2, 8, 8), "uint8")
        assert position.channel_names == ["DAPI", "Cy5"]
    with (
        lamella.write_image(tmp_path / "b.zarr", np.ones((4, 8, 8))) as stack,
        pytest.raises(InvalidArgumentError),
    ):
        stack.delete_channel("channel_0")


@pytest.mark.parametrize("jobs", [1, None])
def test_fields_in_memory_are_rewritten_by_as_many_threads_as_jobs_and_memory_allow(
    tmp_path, monkeypatch, jobs
):
    path = f"memory://few-threads-{tmp_path.name}/p.zarr"
    fields = [f"A/1/{number}" for number in range(4)]
    with lamella.open(path, "w-", layout="hcs", version="0.5", channel_names=NAMES, axes="cyx") as plate:
        for position in plate.create_positions([tuple(field.split("/")) for field in fields]):
            position.create_image("0", PIXELS[0, :, 0], chunks=(1, 8, 16))
    threads, read = set(), _WithoutIndex.__getitem__
    monkeypatch.setattr(
        _WithoutIndex,
        "__getitem__",
        lambda *args: threads.add(threading.current_thread()) or read(*args),
    )
    if jobs is None:  # one processor, and memory for one region
        monkeypatch.setattr("lamella.ops.execution.cpus", lambda: 1)
        monkeypatch.setattr("lamella.ops.execution._MAX_WAITING_BYTES", 1)
    with lamella.open(path, "r+") as plate:
        assert plate.delete_channel("DAPI", jobs=jobs) == fields
    assert threads == {threading.current_thread()}
