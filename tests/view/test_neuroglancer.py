"""What neuroglancer's page is served: a state that its own classes read, and the pixels of the store as Zarr."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

import lamella
from lamella.adapters.viewer.answers import UnknownRequestError
from lamella.errors import InvalidArgumentError, MissingDependencyError
from lamella.spec.colors import label_color

PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 2, 5, 40, 48)).astype("uint16")
IDS = np.zeros((2, 5, 40, 48), "uint64")
IDS[:, 1:4, 8:20, 8:30] = 7
IDS[:, 1:4, 24:30, 8:30] = 2**40


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def image(request, tmp_path_factory):
    """An image (T, C, Z, Y, X) with two levels, of which labels have one colour stored."""
    path = tmp_path_factory.mktemp("ng") / "cells.zarr"
    scale = {"t": 3, "z": 2, "y": 0.5, "x": 0.5}
    with lamella.write_image(
        path,
        PIXELS,
        axes="tczyx",
        channels={"DAPI": "blue", "GFP": "lime"},
        scale=scale,
        levels=2,
        version=request.param,
    ) as position:
        position.set_channel("DAPI", window=(10, 800))
        position.set_channel("GFP", active=False)
        position.labels.create("nuclei", IDS, colors={7: (255, 0, 0)})
        yield position


@pytest.fixture
def ask(image):
    """Return a function that answers requests of the page."""
    with lamella.view(image, browser=False, viewer="neuroglancer") as viewer:
        yield lambda request: viewer.answers.get(request)[1]


def test_the_state_is_one_that_neuroglancer_reads(ask):
    from neuroglancer import ViewerState

    state = ViewerState(json.loads(ask("state.json")))
    assert [layer.name for layer in state.layers] == ["DAPI", "GFP", "nuclei", "nuclei in 3-D"]
    dapi, gfp, nuclei, solid = state.layers
    assert [layer.type for layer in state.layers] == ["image", "image", "segmentation", "image"]
    assert list(dapi.shader_controls["normalized"].range) == [10, 800]
    assert dapi.shader_controls["color"] == "#0000ff"
    assert (dapi.visible, gfp.visible) == (True, False)
    assert dapi.volume_rendering_mode == "max"
    assert nuclei.segment_colors[7] == "#ff0000"
    assert nuclei.segment_colors[2**40] == "#{:02x}{:02x}{:02x}".format(*label_color(2**40))
    assert state.dimensions.names == ("x", "y", "z", "t")
    assert state.dimensions.units == ("m", "m", "m", "s")
    assert np.allclose(state.dimensions.scales, [0.5e-6, 0.5e-6, 2e-6, 3])
    planes, deep = state.layout.children
    assert deep.layout.type == "3d"
    assert list(deep.layers) == ["DAPI", "GFP", solid.name]
    assert list(planes.layers) == ["DAPI", "GFP", nuclei.name]


def test_layers_have_different_names(tmp_path):
    channels = ["nuclei", "nuclei 2", "nuclei in 3-D"]
    with lamella.write_image(
        tmp_path / "a.zarr", np.zeros((3, 2, 8, 8), "uint8"), axes="czyx", channels=channels
    ) as image:
        image.labels.create("nuclei", np.zeros((2, 8, 8), "uint8"))
        with lamella.view(image, browser=False, viewer="neuroglancer") as viewer:
            names = [layer["name"] for layer in viewer.answers.state()["layers"]]
            del image.labels["nuclei"]
        with lamella.view(image, browser=False, viewer="neuroglancer") as viewer:
            without_labels = [layer["name"] for layer in viewer.answers.state()["layers"]]
    assert names == [*channels, "nuclei 3", "nuclei 3 in 3-D"]
    assert without_labels == channels


def test_every_level_of_every_channel_and_label_image_has_the_pixels_of_the_store(ask, image):
    def stored(source):
        group = json.loads(ask(f"{source}/zarr.json"))["attributes"]["ome"]["multiscales"][0]
        assert [axis["name"] for axis in group["axes"]] == ["t", "z", "y", "x"]
        for number, dataset in enumerate(group["datasets"]):
            assert dataset["path"] == str(number)
            yield dataset["coordinateTransformations"], whole(ask, f"{source}/{number}")

    for channel in (0, 1):
        levels = list(stored(f"image/{channel}"))
        assert len(levels) == 2
        for name, (transforms, pixels) in zip("01", levels, strict=True):
            assert np.array_equal(pixels, image[name][:, channel])
            scale = [
                value * unit
                for value, unit in zip(image.get_effective_scale(name), (1, 1, *[1e-6] * 3), strict=True)
            ]
            assert np.allclose(transforms[0]["scale"], [scale[0], *scale[2:]])
    labels = [image.labels["nuclei"][name] for name in image.labels["nuclei"].dataset_paths]
    for array, (_, ids) in zip(labels, stored("label/0"), strict=True):
        assert ids.dtype == np.uint64
        assert np.array_equal(ids, array[...])
    (_, colors), *_ = stored("solid/0")
    assert not colors[IDS == 0].any()
    assert (colors[IDS == 7] == (1 << 24 | 255 << 16)).all()
    red, green, blue = label_color(2**40)
    assert (colors[IDS == 2**40] == (1 << 24 | red << 16 | green << 8 | blue)).all()


def whole(ask, source):
    """Read a level from its chunks, as a reader of Zarr does."""
    array = json.loads(ask(f"{source}/zarr.json"))
    shape, sides = array["shape"], array["chunk_grid"]["configuration"]["chunk_shape"]
    grid = [-(-length // side) for length, side in zip(shape, sides, strict=True)]
    pixels = np.zeros([count * side for count, side in zip(grid, sides, strict=True)], array["data_type"])
    for index in np.ndindex(*grid):
        chunk = np.frombuffer(ask(f"{source}/c/{'/'.join(map(str, index))}"), array["data_type"]).reshape(
            sides
        )
        pixels[tuple(slice(at * side, (at + 1) * side) for at, side in zip(index, sides, strict=True))] = (
            chunk
        )
    return pixels[tuple(map(slice, shape))]


def test_requests_that_do_not_exist_are_refused(ask):
    for request in ("image/2/zarr.json", "image/0/2/zarr.json", "image/-1/zarr.json", "image/0/0/c/0/0/0"):
        with pytest.raises(UnknownRequestError):
            ask(request)
    for request in ("image/0/0/c/9/0/0/0", "image/0", "image", "solid/0/0/d", "../v/0/index.html"):
        with pytest.raises(UnknownRequestError):
            ask(request)
    with pytest.raises(InvalidArgumentError):
        ask("image/0/0/c/0/0/-1/0")


def test_a_plane_and_a_label_image_are_shown_by_themselves(tmp_path):
    plane = lamella.write_image(tmp_path / "p.zarr", PIXELS[0, 0, 0], axes="yx")
    plane.labels.create("cells", IDS[0, 2].astype("uint8"))
    for node, types in ((plane, ["image", "segmentation"]), (plane.labels["cells"], ["segmentation"])):
        with lamella.view(node, browser=False, viewer="neuroglancer") as viewer:
            state = json.loads(viewer.answers.get("state.json")[1])
            assert [layer["type"] for layer in state["layers"]] == types
            assert state["layout"]["layout"] == "xy"


def test_what_neuroglancer_cannot_show_is_refused_with_the_reason(tmp_path, monkeypatch):
    image = lamella.write_image(tmp_path / "i.zarr", PIXELS[0], axes="czyx")
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_position("A", "1", "0")["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
        with pytest.raises(InvalidArgumentError, match="is a Plate, and neuroglancer shows one image"):
            lamella.view(plate, browser=False, viewer="neuroglancer")
    with pytest.raises(InvalidArgumentError, match="only reads"):
        lamella.view(image, browser=False, viewer="neuroglancer", edit=True)
    with pytest.raises(InvalidArgumentError, match="There is no viewer 'ndv'"):
        lamella.view(image, browser=False, viewer="ndv")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "neuroglancer" else find(name, *rest)
    )
    with pytest.raises(MissingDependencyError, match=r"lamella\[neuroglancer\]"):
        lamella.view(image, browser=False, viewer="neuroglancer")
