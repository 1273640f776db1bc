"""Tiles of the viewer against numpy: every field at its place, in every version, at every reduction."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, MetadataError, OutOfBoundsError
from lamella.ops.view.scene import view_scene
from lamella.ops.view.tiles import SIDE, Tiles, View


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
def test_the_canvas_at_full_size_has_the_pixels_of_every_field_and_nothing_else(tmp_path, version):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", version, side=300)) as plate:
        scene = view_scene(plate)
        tiles = Tiles(scene)
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
        tiles.close()


def test_a_reduced_canvas_shows_the_level_that_is_just_fine_enough(tmp_path):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=2)) as plate:
        scene = view_scene(plate)
        tiles = Tiles(scene)
        assert tiles.levels == 1
        drawn = tiles._drawn(1, 0, 0, View(0, 0), [0], None).planes[0]
        assert np.array_equal(drawn[:48, :48], plate["A/1/0"]["1"][0, 0, 0])
        tiles.close()


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


def test_label_ids_stay_ids_at_every_reduction(tmp_path):
    mask = np.zeros((1, 1, 400, 400), "uint32")
    mask[..., 100:300, 100:300] = 70001
    with lamella.open_ome_zarr(
        tmp_path / "i.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as image:
        image["0"] = np.zeros((1, 1, 1, 400, 400), "uint8")
        image.labels["cells"] = mask
        scene = view_scene(image)
        tiles = Tiles(scene)
        drawn = tiles._drawn(2, 0, 0, View(0, 0), [], "cells").planes[0]
        assert set(np.unique(drawn)) == {0, 70001}
        assert drawn.shape == (100, 100)
        assert (drawn == 70001).sum() == 2500
        image.labels["cells"].set_colors({70001: (255, 128, 0, 255)})
        assert view_scene(image).to_dict()["colors"] == {"cells": {"70001": [255, 128, 0]}}
        tiles.close()


def test_a_damaged_field_is_named_and_the_others_are_drawn(tmp_path):
    path = write_plate(tmp_path / "p.zarr", levels=1)
    chunk = next(file for file in (path / "A/1/1").rglob("c/**/*") if file.is_file())
    for file in chunk.parents[4].rglob("*"):
        if file.is_file() and file.name != "zarr.json":
            file.write_bytes(b"damaged")
    with lamella.open_ome_zarr(path) as plate:
        scene = view_scene(plate)
        tiles = Tiles(scene)
        tile = tiles.tile(0, 0, 0, View(0, 0), [0])
        assert [scene.fields[number].path for number, _ in tile.damaged] == ["A/1/1"]
        assert tile.mask.sum() == 3 * 96 * 96
        tiles.close()


def test_tiles_that_do_not_exist_are_refused(tmp_path):
    with lamella.open_ome_zarr(write_plate(tmp_path / "p.zarr", levels=1)) as plate:
        tiles = Tiles(view_scene(plate))
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
        tiles.close()


def test_a_plate_without_pixels_says_that_there_is_nothing_to_show(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0")
        with pytest.raises(MetadataError, match="nothing to show"):
            view_scene(plate)
