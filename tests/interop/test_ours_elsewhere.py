"""What lamella writes, other libraries read: the same pixels, the same physical sizes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from lamella import open_ome_zarr
from lamella.models import axes
from peers import AXES, CHANNELS, PEERS, SCALE, random_pixels

pytestmark = pytest.mark.filterwarnings("ignore")


def open_with_tensorstore(path):
    """Open an array from nothing but its path, as a user does who does not know lamella."""
    driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec, open=True).result()


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_peer_reads_every_level_and_the_physical_size_of_our_image(made, peer):
    read = peer.read_image(made.image)
    assert len(read.levels) == len(made.levels)
    for got, expected in zip(read.levels, made.levels, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert read.scale == {axis: SCALE[axis] for axis in read.scale}
    assert set("tzyx") <= set(read.scale)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_peer_reads_every_field_of_our_plate(made, peer):
    read = peer.read_plate(made.plate)
    assert sorted(read) == sorted(made.fields)
    for name, expected in made.fields.items():
        np.testing.assert_array_equal(read[name], expected)


def test_zarr_python_reads_every_level(made):
    group = zarr.open_group(str(made.image), mode="r")
    for level, expected in enumerate(made.levels):
        np.testing.assert_array_equal(group[str(level)][:], expected)


def test_tensorstore_reads_every_level(made):
    for level, expected in enumerate(made.levels):
        np.testing.assert_array_equal(
            open_with_tensorstore(made.image / str(level)).read().result(), expected
        )


@pytest.mark.parametrize("name", ["iohub", "ome-zarr"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_in_capitals_are_read_by_libraries_that_accept_them(tmp_path, pixels, name, version):
    # The default axes are capitals, as the API has them; ngio refuses these and ngff-zarr calls them invalid.
    path = tmp_path / "capitals.zarr"
    with open_ome_zarr(path, layout="fov", mode="w", channel_names=["a", "b"], version=version) as position:
        position.create_image("0", pixels)
    np.testing.assert_array_equal(PEERS[name].read_image(path).levels[0], pixels)


@pytest.mark.parametrize("shape", [(37, 41), (3, 37, 41), (2, 3, 17, 19)], ids=["yx", "zyx", "czyx"])
@pytest.mark.parametrize("name", ["ome-zarr", "ngff-zarr", "ngio"])
def test_images_of_fewer_axes_are_read(tmp_path, shape, name):
    # iohub knows 5 axes only.
    names = AXES[-len(shape) :]
    expected, path = random_pixels(shape, 7), tmp_path / "few.zarr"
    channels = CHANNELS if "c" in names else CHANNELS[:1]
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels, axes=axes(names), version="0.5"
    ) as position:
        position.create_image("0", expected)
    np.testing.assert_array_equal(PEERS[name].read_image(path).levels[0], expected)


def pixels_of_samples(samples):
    """What the TIFFs hold that the demo images are made from, in the order of axes of an OME-Zarr."""
    embryo = tifffile.imread(samples / "idr0062_nuclei.ome.tif")  # ZCYX
    return {
        "embryo": np.moveaxis(embryo, 1, 0),
        "culture": tifffile.imread(samples / "dsb2018_nuclei.tif")[np.newaxis],
    }


@pytest.mark.parametrize("image", ["embryo", "culture"])
@pytest.mark.parametrize("name", PEERS)
def test_demo_image_is_read_with_its_physical_size(demo_stores, samples, name, image):
    read = PEERS[name].read_image(demo_stores[image])
    np.testing.assert_array_equal(read.levels[0], pixels_of_samples(samples)[image])
    size = {"embryo": 1.4415926138560835, "culture": 1.0}[image]
    assert {axis: read.scale[axis] for axis in "yx"} == pytest.approx({"y": size, "x": size})


@pytest.mark.parametrize("plate", ["plate_0.4", "plate_0.5"])
@pytest.mark.parametrize("name", PEERS)
def test_demo_plate_is_read(demo_stores, plate, name):
    with open_ome_zarr(demo_stores[plate]) as opened:
        channels = opened.channel_names
    read = PEERS[name].read_plate(demo_stores[plate])
    assert len(read) == 12
    assert sorted(channels) == ["DAPI", "LaminB1"]
    for path, pixels in read.items():
        row, column, field = path.split("/")
        files = [f"{row}{column}_f{field}_{channel}.tif" for channel in channels]
        expected = np.stack([tifffile.imread(demo_stores[plate].parent / "fields" / file) for file in files])
        np.testing.assert_array_equal(pixels, expected)


def test_what_zarr_and_tensorstore_write_into_our_arrays_is_read_by_lamella(made, tmp_path):
    path = tmp_path / "image.zarr"
    shutil.copytree(made.image, path)
    region = random_pixels((5, 20, 30), 9)
    zarr.open_group(str(path), mode="r+")["0"][0, 1, 2:7, 5:25, 6:36] = region
    array = open_with_tensorstore(path / "0")
    array[1, 0, 3:8, 10:30, 8:38] = region
    expected = made.levels[0].copy()
    expected[0, 1, 2:7, 5:25, 6:36] = expected[1, 0, 3:8, 10:30, 8:38] = region
    with open_ome_zarr(path) as position:
        np.testing.assert_array_equal(position["0"].numpy(), expected)


def test_no_consolidated_metadata_that_could_go_stale(made):
    # A copy of the metadata that other writers do not update is how iohub hides levels that are there.
    assert not (made.plate / ".zmetadata").exists()
    for document in made.plate.rglob("zarr.json"):
        assert "consolidated_metadata" not in json.loads(document.read_text())
