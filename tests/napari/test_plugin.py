"""The plugin in napari's viewer without a window: layers of images and plates, and what they write."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

import lamella
from lamella.adapters.napari.reader import get_reader
from lamella.adapters.napari.writer import LayersError
from lamella.errors import StoreExistsError
from lamella.ops.view import field_planes
from lamella.ops.view.level_arrays import LevelArray
from lamella.ops.view.scene import view_scene

PIXELS = np.random.default_rng(0).integers(0, 900, (3, 2, 4, 300, 280)).astype("uint16")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image (T, C, Z, Y, X) with two levels and labels of stored colours."""
    path = str(tmp_path_factory.mktemp("image") / "cells.zarr")
    scale = {"z": 2, "y": 0.5, "x": 0.5}
    channels = {"DAPI": "blue", "GFP": "lime"}
    with lamella.write_image(
        path, PIXELS, axes="tczyx", channels=channels, scale=scale, levels=2
    ) as position:
        position.set_channel("DAPI", window=(10, 800))
        position.set_channel("GFP", active=False)
        ids = (PIXELS[:, 0] > 450).astype("uint8") * 7
        position.labels.create("nuclei", ids, colors={7: (255, 0, 0)}, properties={7: {"area": 5.5}})
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A plate whose fields differ in size, dtype and channels; one is damaged."""
    path = tmp_path_factory.mktemp("plate") / "mixed.zarr"
    new = {"mode": "w", "channel_names": ["DAPI"], "axes": "cyx", "version": "0.5"}
    with lamella.open_ome_zarr(path, layout="hcs", **new) as plate:
        for name, side, dtype in (("A/1/0", 700, "uint8"), ("A/2/0", 500, "uint16"), ("B/2/0", 600, "uint8")):
            position = plate.create_position(*name.split("/"))
            position["0"] = np.full((1, side, side), 100, dtype)
            position.labels.create("cells", np.full((side, side), 3, "uint8"))
        plate["B/2/0"].append_channel("GFP")
        plate.create_position("B", "1", "0")["0"] = np.ones((1, 8, 8), "uint8")
    (path / "B/1/0/zarr.json").write_text("{")
    return path


def opened(path):
    viewer = ViewerModel()
    viewer.open(str(path), plugin="lamella")
    return viewer


def test_a_layer_for_each_channel_has_its_pixels_colour_contrast_scale_and_units(image):
    viewer = opened(image)
    assert [layer.name for layer in viewer.layers] == ["DAPI", "GFP", "nuclei"]
    dapi, gfp, nuclei = viewer.layers
    assert dapi.multiscale
    for index, layer in enumerate((dapi, gfp)):
        assert np.array_equal(np.asarray(layer.data[0]), PIXELS[:, index])
        assert np.allclose(layer.scale, [1, 2, 0.5, 0.5])
        assert [str(unit) for unit in layer.units] == ["second", *["micrometer"] * 3]
        assert layer.blending == "additive"
    assert [layer.colormap.colors[-1][:3].tolist() for layer in (dapi, gfp)] == [[0, 0, 1], [0, 1, 0]]
    assert dapi.contrast_limits == [10, 800]
    assert [layer.visible for layer in viewer.layers] == [True, False, True]
    assert np.allclose(nuclei.colormap.map(7), [1, 0, 0, 1])
    assert nuclei.features["area"].tolist() == [5.5]
    assert np.array_equal(np.asarray(nuclei.data[0]), (PIXELS[:, 0] > 450) * 7)
    assert viewer.dims.axis_labels == ("t", "z", "y", "x")


def test_only_what_is_indexed_is_read(image, monkeypatch):
    asked = []
    read = lamella.ImageArray.__getitem__
    monkeypatch.setattr(
        lamella.ImageArray, "__getitem__", lambda self, index: asked.append(index) or read(self, index)
    )
    level = LevelArray(lamella.open(image)["0"], [0, 2, 3, 4], {1: 1})
    part = level[1, ..., 5:9, -3]
    assert np.array_equal(part, PIXELS[1, 1, :, 5:9, -3])
    assert asked == [(1, 1, slice(None), slice(5, 9), -3)]
    with pytest.raises(IndexError):
        level[0, 0, 0, 0, 0]


def test_a_store_that_is_no_zarr_group_is_left_to_other_plugins(image, tmp_path):
    assert get_reader(image) is not None
    assert get_reader([image, str(tmp_path)]) is None
    assert get_reader(str(tmp_path / "none.zarr")) is None


def test_a_plate_of_mixed_fields_is_one_picture_with_names_of_wells(mixed):
    viewer = opened(mixed)
    layers = {layer.name: layer for layer in viewer.layers}
    assert list(layers) == ["DAPI", "GFP", "cells", "wells", "problems"]
    assert layers["wells"].features["well"].tolist() == ["A/1", "A/2", "B/2", "B/1"]
    assert layers["problems"].features["field"].tolist() == ["B/1/0"]
    scene = view_scene(lamella.open(mixed))
    finest, ids = layers["DAPI"].data[0], layers["cells"].data[0]
    canvas, drawn = np.zeros(finest.shape, finest.dtype), np.zeros(ids.shape, "uint32")
    for area in scene.fields:
        if area.shape:
            y, x = int(area.y), int(area.x)
            canvas[y : y + area.shape[-2], x : x + area.shape[-1]] = 100
            drawn[y : y + area.shape[-2], x : x + area.shape[-1]] = 3
    assert np.array_equal(np.asarray(finest), canvas)
    assert np.array_equal(np.asarray(ids), drawn)
    assert np.array_equal(finest[600:1300:7, -900:], canvas[600:1300:7, -900:])
    shapes = np.array([level.shape for level in layers["DAPI"].data])
    assert (shapes[:-1] == 2 * shapes[1:]).all()  # napari derives the sizes of pixels from the shapes


def test_a_note_says_from_how_many_fields_the_layers_are(mixed, monkeypatch):
    shown = []
    monkeypatch.setattr("napari.utils.notifications.show_info", shown.append)
    opened(mixed)
    assert shown == []
    monkeypatch.setattr("lamella.ops.view.scene._SAMPLED_FIELDS", 1)
    assert "GFP" in opened(mixed).layers  # of a field that was not sampled
    assert len(shown) == 1
    assert "listed from 2 of 3 fields" in shown[0]
    assert f"{mixed}/A/1" in shown[0]


def test_label_ids_of_a_plate_are_those_of_the_store(tmp_path):
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], axes="cyx") as plate:
        for column in "12":
            plate.create_position("A", column, "0")["0"] = np.ones((1, 64, 64), "uint8")
        plate["A/2/0"].labels.create("cells", np.full((64, 64), 2**40 + 3, "uint64"))
    ids = opened(path).layers["cells"].data
    assert set(np.unique(np.asarray(ids))) == {0, 2**40 + 3}


def test_a_plate_opens_without_its_pixels_and_draws_what_is_on_the_screen(tmp_path, monkeypatch):
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], axes="cyx") as plate:
        for row in "ABCD":
            for column in "1234":
                position = plate.create_position(row, column, "0")
                position.create_image("0", np.full((1, 512, 512), 50, "uint16"))
                position.compute_pyramid(2)
                position.set_channel("DAPI", window=(0, 100))
    read = []
    original = lamella.ImageArray.__getitem__
    monkeypatch.setattr(
        lamella.ImageArray, "__getitem__", lambda self, index: read.append(self) or original(self, index)
    )
    together = []
    read_equal_arrays = field_planes.read_equal_arrays
    monkeypatch.setattr(
        field_planes,
        "read_equal_arrays",
        lambda documents, paths, *rest: together.extend(paths) or read_equal_arrays(documents, paths, *rest),
    )
    (data, _, _), _ = get_reader(str(path))(str(path))
    assert read == together == []
    assert (data[0][:200, :200] == 50).all()
    assert len(read) == 1
    assert (data[-1][:64, :64] == 50).all()
    assert len(read) == 1
    assert sorted(together) == sorted(f"{row}/{column}/0/1" for row in "ABCD" for column in "1234")


def test_layers_are_written_as_an_image_with_labels(image, tmp_path):
    viewer = opened(image)
    viewer.layers["DAPI"].contrast_limits = [20, 500]
    viewer.layers["DAPI"].translate = viewer.layers["GFP"].translate = viewer.layers["nuclei"].translate = [
        0,
        4,
        1,
        0,
    ]
    viewer.layers["nuclei"].opacity = 0.2
    target = tmp_path / "copy.zarr"
    viewer.layers.save(str(target), plugin="lamella")
    with lamella.open(target) as copy:
        assert np.array_equal(copy.data[...], PIXELS)
        assert copy.channel_names == ["DAPI", "GFP"]
        assert [channel.color for channel in copy.metadata.omero.channels] == ["0000FF", "00FF00"]
        window = copy.metadata.omero.channels[0].window
        assert (window["start"], window["end"]) == (20, 500)
        assert copy.scale == [1, 1, 2, 0.5, 0.5]
        assert copy.get_effective_translation("0") == [0, 0, 4, 1, 0]
        assert [axis.unit for axis in copy.axes][2:] == ["micrometer"] * 3
        assert np.array_equal(copy.labels["nuclei"].data[...], (PIXELS[:, 0] > 450) * 7)
        assert len(copy.dataset_paths) == 2
    with pytest.raises(StoreExistsError):
        viewer.layers.save(str(target), plugin="lamella")


def test_layers_that_do_not_fit_one_image_are_refused(tmp_path):
    viewer = ViewerModel()
    viewer.add_labels(np.ones((8, 8), "uint8"), name="only")
    viewer.add_image(np.ones((8, 8), "uint8"), name="a")
    viewer.add_image(np.ones((9, 9), "uint8"), name="b")
    target = str(tmp_path / "x.zarr")
    with pytest.raises(LayersError, match="different shapes"):
        viewer.layers.save(target, plugin="lamella")
    del viewer.layers["b"]
    viewer.layers["a"].rotate = 30
    with pytest.raises(LayersError, match="transformed"):
        viewer.layers.save(target, plugin="lamella")
    del viewer.layers["a"]
    with pytest.raises(LayersError, match="no image layer"):
        viewer.layers.save(target, plugin="lamella")
    assert not (tmp_path / "x.zarr").exists()


def test_a_film_stays_a_film(tmp_path):
    units = {"t": "minute", "y": "micrometer", "x": "micrometer"}
    film, scale = PIXELS[:, 0, 0], {"t": 2, "y": 0.5, "x": 0.5}
    with lamella.write_image(tmp_path / "a.zarr", film, axes="tyx", scale=scale, units=units) as image:
        image.labels.create("cells", film // 500)
    viewer = opened(str(tmp_path / "a.zarr"))
    viewer.layers.save(str(tmp_path / "copy.zarr"), plugin="lamella")
    with lamella.open(tmp_path / "copy.zarr") as copy:
        assert copy.axis_names == ["t", "c", "y", "x"]
        assert copy.axes[0].unit == "minute"
        assert copy.scale == [2, 1, 0.5, 0.5]
        assert np.array_equal(copy.data[:, 0], film)
        assert np.array_equal(copy.labels["cells"].data[...], film // 500)
    kymograph = ViewerModel()
    kymograph.add_image(PIXELS[:, 0, 0, 0], axis_labels=("t", "x"))
    kymograph.layers.save(str(tmp_path / "kymograph.zarr"), plugin="lamella")
    with lamella.open(tmp_path / "kymograph.zarr") as copy:
        assert copy.axis_names == ["c", "y", "x"]


def test_a_colour_layer_is_written_as_its_samples(tmp_path):
    viewer = ViewerModel()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype("uint8")
    viewer.add_image(pixels, rgb=True, name="stain")
    viewer.layers.save(str(tmp_path / "x.zarr"), plugin="lamella")
    with lamella.open(tmp_path / "x.zarr") as copy:
        assert copy.axis_names == ["c", "y", "x"]
        assert np.array_equal(copy.data[...], np.moveaxis(pixels, -1, 0))
