"""Tiles of the viewer against numpy: every field at its place, in every version, at every reduction."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lamella
from lamella.adapters.napari.arrays import BackgroundTiles
from lamella.errors import InvalidArgumentError, MetadataError, MetadataWarning, OutOfBoundsError
from lamella.ops.view.heat import heat_of_wells
from lamella.ops.view.scene import view_scene
from lamella.ops.view.tiles import SIDE, UNWRITTEN, Tiles, View
from lamella.ops.view.volumes import read_volume
from lamella.store.files import page_cache


def write_plate(path, version="0.5", side=96, levels=2):
    """Write two wells of two fields with different pixels, (T, C, Z, Y, X) = (2, 2, 3, side, side)."""
    rng = np.random.default_rng(1)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as plate:
        for position in plate.create_positions([("A", w, f) for w in "12" for f in "01"]):
            position["0"] = rng.integers(0, 60000, (2, 2, 3, side, side), "uint16")
            if levels > 1:
                position.compute_pyramid(levels=levels)
    return path


@pytest.fixture(scope="module")
def threads():
    """Threads that read."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def opened(threads):
    """Return a function that returns the scene of a node, and its tiles."""

    def open_scene(node):
        scene = view_scene(node)
        return scene, Tiles(scene, threads)

    return open_scene


def canvas(tiles, scene, level, view, **what):
    """Join all tiles of a level: planes (C, Y, X) and mask (Y, X)."""
    step = SIDE << level
    rows = []
    for row in range(int(np.ceil(scene.height / step))):
        drawn = [tiles.tile(level, c, row, view, **what) for c in range(int(np.ceil(scene.width / step)))]
        rows.append(
            (np.concatenate([t.planes for t in drawn], 2), np.concatenate([t.mask for t in drawn], 1))
        )
    return np.concatenate([planes for planes, _ in rows], 1), np.concatenate([mask for _, mask in rows])


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_the_canvas_at_full_size_has_the_pixels_of_every_field_and_nothing_else(tmp_path, opened, version):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", version, side=300)) as plate:
        scene, tiles = opened(plate)
        for view, pick in [(View(1, 2), np.s_[1, ::-1, 2]), (View(0, None), np.s_[0, ::-1])]:
            planes, mask = canvas(tiles, scene, 0, view, channels=[1, 0])
            rest = mask.copy()
            for area in scene.fields:
                at = np.s_[int(area.y) : int(area.y) + 300, int(area.x) : int(area.x) + 300]
                pixels = plate[area.path]["0"][:][pick]
                pixels = pixels.max(axis=1) if view.z is None else pixels
                assert np.array_equal(planes[(slice(None), *at)], pixels), area.path
                assert mask[at].all()
                rest[at] = 0
            assert not rest.any()


def test_a_reduced_canvas_shows_the_level_that_is_just_fine_enough(tmp_path, opened):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=2)) as plate:
        _scene, tiles = opened(plate)
        assert tiles.levels == 1
        drawn = tiles._read_tile(1, 0, 0, View(0, 0), [0], None).planes[0]
        assert np.array_equal(drawn[:48, :48], plate["A/1/0"]["1"][0, 0, 0])


def test_a_gap_between_fields_that_is_narrower_than_a_pixel_is_filled(tmp_path, opened):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=1)) as plate:
        scene, tiles = opened(plate)
        assert scene.field_gap == 1
        for step in (1, 2):
            mask = tiles._read_tile(step - 1, 0, 0, View(0, 0), [0], None).mask
            assert mask[0, : 193 // step].all() == (step == 2)
            assert not mask[0, -(-194 // step) : 200 // step].any()  # between wells


def test_levels_that_are_stale_are_not_shown(tmp_path, opened):
    path = write_plate(tmp_path / "p.zarr", levels=2)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        position = plate["A/1/0"]
        position.labels.create("cells", np.ones((2, 3, 96, 96), "uint8"))
        position.labels["cells"].compute_pyramid(levels=2)
        position["0"][0, 0, 0] = 500
        position.labels["cells"]["0"][0, 0] = 7
        scene, tiles = opened(plate)
        assert (tiles._read_tile(1, 0, 0, View(0, 0), [0], None).planes[0][:48, :48] == 500).all()
        assert (tiles._read_tile(1, 0, 0, View(0, 0), [], "cells").planes[0][:48, :48] == 7).all()
        assert read_volume(scene, 0, 0, [0], None).planes[0, 0].max() == 500
        position.update_pyramid()
        scene, tiles = opened(plate)
        drawn = tiles._read_tile(1, 0, 0, View(0, 0), [0], None).planes[0][:48, :48]
        assert np.array_equal(drawn, position["1"][0, 0, 0])


def test_a_plane_without_levels_is_read_in_bands_of_the_same_pixels(tmp_path, opened, monkeypatch):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=1)) as plate:
        whole = [opened(plate)[1]._read_tile(2, 0, 0, View(0, z), [0, 1], None).planes for z in (1, None)]
        monkeypatch.setattr("lamella.ops.view.tiles.BAND_PIXELS", 96 * 9)
        bands = [opened(plate)[1]._read_tile(2, 0, 0, View(0, z), [0, 1], None).planes for z in (1, None)]
        for before, after in zip(whole, bands, strict=True):
            assert np.array_equal(before, after)


def test_a_part_of_a_store_has_the_name_of_its_path_there(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        assert [view_scene(plate[path]).name for path in ("A", "A/1", "A/1/0")] == ["A", "A/1", "A/1/0"]
    with lamella.open(tmp_path / "p.zarr/A/1/0") as image:
        assert view_scene(image).name == "A/1/0"


def test_fields_lie_at_their_stage_positions(tmp_path):
    path = write_plate(tmp_path / "p.zarr", levels=1)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        for name, corner in [("A/1/0", [0, 0, 0, 10.0, 40.0]), ("A/1/1", [0, 0, 0, 10.0, -8.0])]:
            move = lamella.TransformationMeta(type="translation", translation=corner)
            keep = lamella.TransformationMeta(type="scale", scale=[1, 1, 1, 0.5, 0.5])
            plate[name].set_transform("0", [keep, move])
        fields = {area.path: area for area in view_scene(plate).fields}
    assert (fields["A/1/1"].x, fields["A/1/1"].y) == (0, 0)
    assert (fields["A/1/0"].x, fields["A/1/0"].y) == (96, 0)


@pytest.mark.parametrize("number", [70001, 2**40 + 3])
def test_label_ids_stay_ids_at_every_reduction(tmp_path, opened, number):
    mask = np.zeros((1, 1, 400, 400), "uint64")
    mask[..., 100:300, 100:300] = number
    with lamella.open_ome_zarr(
        tmp_path / "i.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as image:
        image["0"] = np.zeros((1, 1, 1, 400, 400), "uint8")
        image.labels["cells"] = mask
        _scene, tiles = opened(image)
        drawn = tiles._read_tile(2, 0, 0, View(0, 0), [], "cells").planes[0]
        assert set(np.unique(drawn)) == {0, number}
        assert drawn.shape == (100, 100)
        assert (drawn == number).sum() == 2500
        assert number in read_volume(_scene, 0, 0, [], "cells").planes
        image.labels["cells"].set_colors({number: (255, 128, 0, 255)})
        ids, colors = tiles._read_tile(2, 0, 0, View(0, 0), [], "cells").planes
        assert set(np.unique(colors[ids == number])) == {1 << 24 | 255 << 16 | 128 << 8}
        assert not colors[ids == 0].any()
        document = tmp_path / "i.zarr" / "labels" / "cells" / "zarr.json"
        content = json.loads(document.read_text())
        content["attributes"]["ome"]["image-label"]["colors"][0]["rgba"] = [255, 128]
        document.write_text(json.dumps(content))
        _scene, tiles = opened(lamella.open_ome_zarr(tmp_path / "i.zarr"))
        with pytest.warns(MetadataWarning, match="LB-10"):
            colors = tiles._read_tile(2, 0, 0, View(0, 0), [], "cells").planes[1]
        assert not colors.any()  # two numbers are not a colour


def test_a_damaged_field_is_named_and_the_others_are_drawn(tmp_path, opened):
    path = write_plate(tmp_path / "p.zarr", levels=1)
    chunk = next(file for file in (path / "A/1/1").rglob("c/**/*") if file.is_file())
    for file in chunk.parents[4].rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            file.write_bytes(b"damaged")
    with lamella.open_ome_zarr(path) as plate:
        scene, tiles = opened(plate)
        tile = tiles.tile(0, 0, 0, View(0, 0), [0])
        assert [scene.fields[number].path for number, _ in tile.damaged] == ["A/1/1"]
        assert tile.mask.sum() == 3 * 96 * 96


def test_tiles_that_do_not_exist_are_refused(tmp_path, opened):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=1)) as plate:
        _, tiles = opened(plate)
        for level, column, row, view, channels in [
            (1, 0, 0, View(0, 0), [0]),
            (0, 9, 0, View(0, 0), [0]),
            (0, 0, 0, View(2, 0), [0]),
            (0, 0, 0, View(0, 3), [0]),
            (0, 0, 0, View(0, 0), [2]),
            (0, 0, 0, View(0, 0), [0, 0]),
        ]:
            with pytest.raises(OutOfBoundsError):
                tiles.tile(level, column, row, view, channels)
        with pytest.raises(InvalidArgumentError, match="cells"):
            tiles.tile(0, 0, 0, View(0, 0), label="cells")


def test_a_plate_without_pixels_says_that_there_is_nothing_to_show(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0")
        with pytest.raises(MetadataError, match="nothing to show"):
            view_scene(plate)


def test_a_label_image_is_shown_in_label_colours(tmp_path, opened):
    mask = np.zeros((1, 1, 64, 64), "uint32")
    mask[..., 8:20, 8:20] = 5
    with lamella.open_ome_zarr(
        tmp_path / "i.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as image:
        image["0"] = np.zeros((1, 1, 1, 64, 64), "uint8")
        image.labels["cells"] = mask
        scene, tiles = opened(image.labels["cells"])
        assert (scene.channels, scene.labels) == ([], ["cells"])
        assert np.array_equal(tiles.tile(0, 0, 0, View(0, 0), label="cells").planes[0], mask[0, 0])


@pytest.mark.parametrize("shards", [None, (1, 1, 1, 2, 2)])
def test_pixels_that_are_not_written_are_told_from_stored_zeros(tmp_path, opened, shards):
    with lamella.open_ome_zarr(
        tmp_path / "i.zarr", layout="fov", mode="w", channel_names=["a", "b"], version="0.5"
    ) as image:
        array = image.create_zeros(
            "0", (1, 2, 2, 64, 64), "uint16", chunks=(1, 1, 1, 32, 32), shards_ratio=shards
        )
        array[0, 0, 0, :32, :32] = 9
        array[0, 0, 0, :32, 32:] = 0
        _, tiles = opened(image)
        mask = tiles.tile(0, 0, 0, View(0, 0), [0, 1]).mask
        assert (mask[:32] == 1).all()
        assert (mask[32:] == UNWRITTEN).all()
        assert (tiles.tile(0, 0, 0, View(0, 1), [0]).mask == UNWRITTEN).all()
        assert (tiles.tile(0, 0, 0, View(0, None), [0]).mask == mask).all()
        array[0, 0, 1] = 3
        assert (tiles.tile(0, 0, 0, View(0, 1), [0]).mask == 1).all()


def test_of_overlapping_fields_the_later_one_is_on_top_each_time(tmp_path, opened):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for number, position in enumerate(plate.create_positions([("A", "1", str(f)) for f in range(9)])):
            position["0"] = np.full((1, 1, 1, 64, 64), number + 1, "uint8")
            keep = lamella.TransformationMeta(type="scale", scale=[1, 1, 1, 0.5, 0.5])
            move = lamella.TransformationMeta(type="translation", translation=[0, 0, 0, 4.0 * number, 0])
            position.set_transform("0", [keep, move])
        _scene, tiles = opened(plate)
        top = np.arange(128)[:, None] // 8 + 1
        for _ in range(5):
            drawn = tiles._read_tile(0, 0, 0, View(0, 0), [0], None).planes[0]
            assert np.array_equal(drawn, np.broadcast_to(np.minimum(top, 9), (128, 64)))


def test_each_acquisition_is_a_picture_of_its_own(tmp_path, opened):
    acquisitions = [lamella.AcquisitionMeta(id=3, name="before"), lamella.AcquisitionMeta(id=7)]
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr",
        layout="hcs",
        mode="w",
        channel_names=["a"],
        version="0.5",
        acquisitions=acquisitions,
    ) as plate:
        for field, number in (("0", 3), ("1", 7), ("2", 3)):
            position = plate.create_position("A", "1", field, acq_index=number)
            position["0"] = np.full((1, 1, 1, 8, 8), number, "uint8")
        scene, tiles = opened(plate)
        assert scene.to_dict()["acquisitions"] == ["before", "acquisition 7"]
        assert [field[-1] for field in scene.to_dict()["fields"]] == [0, 1, 0]
        before, after = (tiles.tile(0, 0, 0, View(0, 0, number), [0]) for number in (0, 1))
        assert (before.planes[0][before.mask == 1] == 3).all()
        assert before.mask.sum() == 128
        assert (after.planes[0][after.mask == 1] == 7).all()
        assert after.mask.sum() == 64
        with pytest.raises(OutOfBoundsError):
            tiles.tile(0, 0, 0, View(0, 0, 2), [0])


@pytest.mark.parametrize("ids", [[3], [3, 7]])
def test_an_unreadable_well_adds_no_acquisition_and_is_shown_with_the_first(tmp_path, ids):
    path = tmp_path / "p.zarr"
    acquisitions = [lamella.AcquisitionMeta(id=number, name=f"day {number}") for number in ids]
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a"], version="0.5", acquisitions=acquisitions
    ) as plate:
        for well in "12":
            for field, number in enumerate(ids):
                position = plate.create_position("A", well, str(field), acq_index=number)
                position["0"] = np.full((1, 1, 1, 8, 8), 1, "uint8")
    (path / "A/2/zarr.json").unlink()
    shown = view_scene(lamella.open_ome_zarr(path)).to_dict()
    assert shown["acquisitions"] == ["day 3", "day 7"] * (len(ids) - 1)
    assert [(field[0], field[-1]) for field in shown["fields"] if field[6]] == [("A/2", 0)]


@pytest.mark.parametrize("stored", [(0, 65535), (900, 100)], ids=["all values", "reversed"])
def test_the_first_picture_is_right_whatever_the_metadata_say(tmp_path, stored):
    pixels = np.random.default_rng(0).integers(100, 900, (3, 5, 64, 64), "uint16")
    path = tmp_path / "i.zarr"
    lamella.write_image(path, pixels, axes="czyx", channels=["a", "b", "phase"], version="0.5").close()
    document = json.loads((path / "zarr.json").read_text())
    for channel in document["attributes"]["ome"]["omero"]["channels"]:
        channel["window"] |= {"start": stored[0], "end": stored[1]}
    (path / "zarr.json").write_text(json.dumps(document))
    with lamella.open(path) as image:
        shown = view_scene(image).to_dict()
    assert [channel["active"] for channel in shown["channels"]] == [True] * 3
    for channel in shown["channels"]:
        low, high = channel["window"]
        assert 90 < low < 200
        assert 800 < high < 910
    assert len({channel["color"] for channel in shown["channels"]}) == 3
    assert shown["depth"] == 5


@pytest.mark.parametrize("stored", [False, True], ids=["without contrast", "each field its own contrast"])
def test_one_contrast_shows_all_wells_of_a_plate_whose_brightness_rises(tmp_path, stored):
    pattern = np.arange(256, dtype="uint16").reshape(1, 1, 1, 16, 16)
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for well in range(1, 13):
            position = plate.create_position("A", str(well), "0")
            position["0"] = 1000 * well + pattern
            if stored:
                position.set_channel("a", window=(1000 * well, 1000 * well + 255))
        (shown,) = view_scene(plate).channels
        assert 1000 <= shown.window[0] < 1255
        assert 12000 < shown.window[1] <= 12255
        plate["A/5/0"]["0"][:] = 65000  # one overexposed field darkens no other
        if stored:
            plate["A/5/0"].set_channel("a", window=(0, 65000))
        assert 12000 < view_scene(plate).channels[0].window[1] <= 12255


def test_channels_of_every_field_are_listed_though_few_are_searched(tmp_path, monkeypatch):
    monkeypatch.setattr("lamella.ops.view.scene._SAMPLED_FIELDS", 1)
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version="0.5"
    ) as plate:
        for column in "1234":
            plate.create_position("A", column, "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        plate["A/3/0"].append_channel("GFP", resize_arrays=True)
        plate["A/3/0"]["0"][:, 1] = 9
        scene = view_scene(plate)
        assert [channel.name for channel in scene.channels] == ["DAPI", "GFP"]
        assert scene.channels[1].window[1] >= 9
        assert scene.searched == 2


def test_fields_of_other_sizes_and_other_pixel_sizes_are_drawn_in_proportion(tmp_path, opened):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for field, side, scale in (("0", 64, 1.0), ("1", 32, 1.0), ("2", 32, 2.0)):
            position = plate.create_position("A", "1", field)
            position["0"] = np.full((1, 1, 1, side, side), 1 + int(field), "uint8")
            for axis in "yx":
                position.set_scale("0", axis, scale)
            position.set_unit({"y": "micrometer", "x": "micrometer"})
        scene, tiles = opened(plate)
        assert [(area.width, area.height) for area in scene.fields] == [(64, 64), (32, 32), (64, 64)]
        drawn = tiles.tile(0, 0, 0, View(0, 0), [0])
        counts = {value: int((drawn.planes[0] == value).sum()) for value in (1, 2, 3)}
        assert counts == {1: 64 * 64, 2: 32 * 32, 3: 64 * 64}


def test_a_scene_shows_all_of_its_images(tmp_path, opened):
    import zarr

    plane = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    steps = [
        {
            "type": "translation",
            "translation": [0, at],
            "input": {"path": name, "name": "physical"},
            "output": world,
        }
        for name, at, world in (("left", 0, {"name": "world"}), ("right", 64, {"name": "world"}))
    ]
    ome = {
        "version": "0.6",
        "scene": {
            "coordinateSystems": [{"name": "world", "axes": plane}],
            "coordinateTransformations": steps,
        },
    }
    zarr.create_group(tmp_path / "scene.zarr", zarr_format=3, attributes={"ome": ome})
    for value, name in enumerate(("left", "right"), start=1):
        with lamella.open_ome_zarr(
            tmp_path / "scene.zarr" / name, layout="fov", mode="w", channel_names=["a"], version="0.6"
        ) as image:
            image["0"] = np.full((1, 1, 1, 32, 32), value, "uint8")
    with lamella.open_ome_zarr(tmp_path / "scene.zarr") as node:
        scene, tiles = opened(node)
        assert [area.path for area in scene.fields] == ["left", "right"]
        planes, mask = canvas(tiles, scene, 0, View(0, 0), channels=[0])
        assert set(np.unique(planes[0][mask == 1])) == {1, 2}


def test_a_plate_at_a_url_is_shown_with_few_rounds_of_requests(tmp_path, service):
    service.put_folder(write_plate(tmp_path / "p.zarr"), "/bucket/p.zarr")
    with lamella.view(f"{service.endpoint}/bucket/p.zarr", browser=False) as viewer:
        kind, body = viewer.answers.get("tile/0/0/0?c=0,1&t=0&z=0")
        assert kind == "application/octet-stream"
        assert b'"damaged": []' in body[:400]
        before = len(service.requests)
        viewer.answers.get("tile/0/0/0?c=1&t=1&z=max")
        asked = [path for _, path in service.requests[before:]]
        assert len(asked) <= 4 * 3 * 2  # the chunks of each field and plane of Z: no document is read again
        assert not any(path.endswith("zarr.json") for path in asked)


@pytest.mark.parametrize(("version", "shards"), [("0.4", None), ("0.5", (1, 1, 3, 1, 1))])
def test_many_fields_are_read_at_once_and_show_what_each_shows_by_itself(
    tmp_path, opened, monkeypatch, version, shards
):
    path = tmp_path / "p.zarr"
    rng = np.random.default_rng(4)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as plate:
        specs = [("A", str(well), str(field)) for well in range(3) for field in range(6)]
        for number, position in enumerate(plate.create_positions(specs)):
            shape = (1, 2, 3, 41, 43) if number == 2 else (1, 2, 3, 48, 48)
            pixels = rng.integers(0, 60000, shape, "uint16")
            if number == 4:
                pixels = (pixels / 7).astype("float32")
                pixels[..., 5, 5] = np.nan
            if number == 5:
                pixels[:, 1] = 0
            array = position.create_zeros("0", shape, pixels.dtype, shards_ratio=shards)
            if number == 3:
                continue  # nothing is written
            array[...] = pixels
            position.compute_pyramid(levels=2)
        plate["A/2/0"].rename_channel("GFP", "RFP")
    chunks = [file for file in (path / "A/2/1/1").rglob("*") if file.is_file() and file.name[0] not in ".z"]
    chunks[0].write_bytes(b"damaged")
    alone = []
    single = Tiles._read_field
    monkeypatch.setattr(
        Tiles, "_read_field", lambda self, *given: alone.append(given[0]) or single(self, *given)
    )
    with lamella.open_ome_zarr(path) as plate:
        for level, view, channels in [
            (0, View(0, 1), [0, 1]),
            (1, View(0, 1), [1, 0]),
            (1, View(0, None), [0, 1]),
            (3, View(0, 2), [1]),
        ]:
            drawn = []
            for few in (1, 10**9):
                monkeypatch.setattr("lamella.ops.view.tiles._MIN_TOGETHER", few)
                alone.clear()
                drawn.append(opened(plate)[1]._read_tile(level, 0, 0, view, channels, None))
                if few == 1 and channels == [0, 1]:
                    assert set(alone) >= {3, 5, 12}  # not written, zeros, another channel
            assert np.array_equal(drawn[0].planes, drawn[1].planes, equal_nan=True)
            assert np.array_equal(drawn[0].mask, drawn[1].mask)
            assert drawn[0].damaged == drawn[1].damaged


def test_a_plate_is_drawn_without_reading_its_fields_one_by_one(tmp_path, opened, monkeypatch):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for position in plate.create_positions([("A", "1", str(field)) for field in range(9)]):
            position["0"] = np.full((1, 1, 1, 64, 64), 7, "uint8")
        _scene, tiles = opened(plate)
        monkeypatch.setattr(Tiles, "_read_field", None)
        assert (tiles.tile(0, 0, 0, View(0, 0), [0]).mask == 1).sum() == 9 * 64 * 64


def test_documents_and_pixels_of_all_fields_at_a_url_are_requested_at_once(
    tmp_path, service, rounds, monkeypatch
):
    monkeypatch.setattr("lamella.ops.view.scene._SAMPLED_FIELDS", 4)
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    ) as plate:
        for number, position in enumerate(
            plate.create_positions([(r, w, f) for r in "AB" for w in "123" for f in "0123"])
        ):
            position["0"] = np.full((1, 2, 1, 32, 32), 1 + number, "uint16")
            position.compute_pyramid(levels=3)
    service.put_folder(path, "/bucket/p.zarr")
    service.latency = 0.02  # as long as a busy machine needs to start the next thread
    with lamella.view("s3://bucket/p.zarr", browser=False) as viewer:
        assert len(viewer.scene.fields) == 24
        to_scene, coarsest = (
            rounds.rounds,
            len([path for _, path in service.requests if "/2/zarr.json" in path]),
        )
        assert to_scene < 24
        assert coarsest >= 20  # of all fields but those of the contrast
        drawn = viewer.answers.get("tile/0/0/0?c=0,1&t=0&z=0")[1]
        assert b'"damaged": []' in drawn[:400]
        assert rounds.rounds - to_scene <= 3 + 1  # the documents of each level, and the pixels
        paths = [path for method, path in service.requests if method == "GET"]
        assert not [path for path in paths if path.endswith("zarr.json") and paths.count(path) > 1]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_folder_that_is_not_in_the_page_cache_is_loaded_ahead_file_by_file(
    tmp_path, opened, monkeypatch, version
):
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as plate:
        for position in plate.create_positions([("A", str(w), f) for w in range(1, 6) for f in "01"]):
            position["0"] = np.full((1, 2, 1, 64, 64), 7, "uint16")
            position.compute_pyramid(levels=2)
    loaded: list[str] = []
    load = page_cache._load

    def note_and_load(open_file, remaining):
        loaded.extend(key for key in list(remaining) if key not in loaded)
        load(open_file, remaining)

    monkeypatch.setattr(page_cache, "_load", note_and_load)
    with lamella.open_ome_zarr(path) as plate:
        for cached in (True, False):
            assert not loaded
            monkeypatch.setattr(page_cache, "is_cached", lambda *_, cached=cached: cached)
            _scene, tiles = opened(plate)
            drawn = tiles.tile(1, 0, 0, View(0, 0), [0, 1])
            assert (drawn.planes[:, drawn.mask == 1] == 7).all()
    for thread in threading.enumerate():
        if thread.name == "lamella-ahead":
            thread.join()
    stored = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert set(loaded) <= stored
    group, array = ("zarr.json", "zarr.json") if version == "0.5" else (".zattrs", ".zarray")
    documents = {f"A/5/{name}" for name in (group, f"0/{group}", f"0/0/{array}", f"1/1/{array}")}
    assert documents <= set(loaded)  # the walk itself reads the first wells
    pixels = {file for file in stored if file.count("/") > 4 and file.split("/")[3] == "1"}
    assert len(pixels) == 10 * 2
    assert pixels <= set(loaded)


def test_a_file_is_cached_after_it_was_loaded(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1")

    def opened(key):
        return os.open(tmp_path / key, os.O_RDONLY)

    remaining = deque(["a", "missing", "b"])
    page_cache._load(opened, remaining)
    assert not remaining
    assert all(page_cache.is_cached(opened, key) for key in ("a", "b", "missing"))


def test_a_well_that_a_table_names_in_several_ways_has_one_mean(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        plate.tables["cells"] = {
            "well": ["A1", "A01", "A/1", "H12", None],
            "area": [1.0, 2.0, 6.0, 99.0, 7.0],
        }
        assert heat_of_wells(plate, view_scene(plate), "cells", "area") == [3.0]


def test_a_tile_that_cannot_be_read_beside_the_window_is_reported_whatever_the_error():
    class Broken:
        def tile(self, *key):
            raise RuntimeError("The codec failed.")

    arrived = threading.Event()
    tiles = BackgroundTiles(Broken(), arrived.set)
    assert tiles.tile(0, 0, 0) is None
    assert arrived.wait(20)
    assert tiles.tile(0, 0, 0).damaged == [(-1, "The codec failed.")]
