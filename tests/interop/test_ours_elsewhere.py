"""What lamella writes, other libraries read: the same pixels, the same physical sizes; and the judges find it valid."""

from __future__ import annotations

import json
import re
import shutil
import warnings

import numpy as np
import pytest
import tifffile

from judges import JUDGES
from lamella import open_ome_zarr
from lamella.models import TransformationMeta, axes
from peer import AXES, CHANNELS, SCALE, Form, random_pixels
from peers import CANNOT_READ, PEERS, READERS

pytestmark = pytest.mark.filterwarnings("ignore")


def check(read, levels, names):
    """Compare levels and sizes; a library without images has no sizes, and not every one has a size of channels."""
    assert len(read.levels) == len(levels)
    for got, expected in zip(read.levels, levels, strict=True):
        np.testing.assert_array_equal(got, expected)
    if read.scale is not None:
        assert set(names) - {"c"} <= set(read.scale)
        assert read.scale == {axis: SCALE[axis] for axis in read.scale}


def read_and_check(library, kind, made):
    reader = READERS[library]
    if kind == "plate":
        read = reader.read_plate(made.paths["plate"])
        assert sorted(read) == sorted(made.fields)
        for name, expected in made.fields.items():
            check(read[name], [expected], AXES)
    elif kind == "labels":
        check(reader.read_labels(made.paths["labels"], "cells"), made.levels["labels"], "tzyx")
    else:
        check(reader.read_image(made.paths[kind]), made.levels[kind], AXES)


def expect(record_property, library, kind, form, call):
    """Make the call; where the library is known to refuse, its words are what is expected."""
    words = CANNOT_READ.get((library, kind, form.version))
    if words is None:
        call()
        return
    with pytest.raises(Exception, match=re.escape(words)):
        call()
    record_property("cannot", words)


@pytest.mark.parametrize("library", READERS)
@pytest.mark.parametrize("kind", ["image", "tiled", "labels", "plate"])
def test_a_library_reads_pixels_and_physical_sizes(record_property, made, form, kind, library):
    expect(record_property, library, kind, form, lambda: read_and_check(library, kind, made))


@pytest.mark.parametrize("library", JUDGES)
@pytest.mark.parametrize("kind", ["image", "tiled", "labels", "plate"])
def test_a_judge_finds_it_valid(record_property, made, form, kind, library):
    def judge():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            JUDGES[library](made.paths[kind], form.version)

    expect(record_property, library, kind, form, judge)


@pytest.mark.parametrize("kind", ["label image without colours"])
@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("form", [Form("0.4", False), Form("0.5", True)], ids=str)
def test_label_images_without_colours_are_read(tmp_path, pixels, labels, kind, library, form):
    path = tmp_path / "plain.zarr"
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=CHANNELS, axes=axes(AXES), version=form.version
    ) as position:
        ratio = (1, 1, 2, 2, 2) if form.sharded else None
        scale = TransformationMeta(type="scale", scale=list(SCALE.values()))
        position.create_image("0", pixels, (1, 1, 4, 16, 16), ratio, [scale])
        position.labels["cells"] = labels
    check(PEERS[library].read_labels(path, "cells"), [labels], "tzyx")


@pytest.mark.parametrize("kind", ["image with axes in capitals"])
@pytest.mark.parametrize("library", ["iohub", "ome-zarr"])
@pytest.mark.parametrize("form", [Form("0.4", False), Form("0.5", False)], ids=str)
def test_axes_in_capitals_are_read_by_libraries_that_accept_them(tmp_path, pixels, kind, library, form):
    # The default axes are capitals, as the API has them; ngio refuses these and ngff-zarr calls them invalid.
    path = tmp_path / "capitals.zarr"
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["a", "b"], version=form.version
    ) as position:
        position.create_image("0", pixels)
    np.testing.assert_array_equal(PEERS[library].read_image(path).levels[0], pixels)


@pytest.mark.parametrize("kind", ["image of fewer axes: yx, zyx, czyx"])
@pytest.mark.parametrize("shape", [(37, 41), (3, 37, 41), (2, 3, 17, 19)], ids=["yx", "zyx", "czyx"])
@pytest.mark.parametrize("library", ["ome-zarr", "ngff-zarr", "ngio"])
@pytest.mark.parametrize("form", [Form("0.5", False)], ids=str)
def test_images_of_fewer_axes_are_read(tmp_path, shape, kind, library, form):
    # iohub knows 5 axes only.
    names = AXES[-len(shape) :]
    expected, path = random_pixels(shape, 7), tmp_path / "few.zarr"
    channels = CHANNELS if "c" in names else CHANNELS[:1]
    with open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels, axes=axes(names), version=form.version
    ) as position:
        position.create_image("0", expected)
    np.testing.assert_array_equal(PEERS[library].read_image(path).levels[0], expected)


def pixels_of_samples(samples):
    """What the TIFFs hold that the demo images are made from, in the order of axes of an OME-Zarr."""
    embryo = tifffile.imread(samples / "idr0062_nuclei.ome.tif")  # ZCYX
    return {
        "embryo": np.moveaxis(embryo, 1, 0),
        "culture": tifffile.imread(samples / "dsb2018_nuclei.tif")[np.newaxis],
    }


@pytest.mark.parametrize("kind", ["image converted from TIFF"])
@pytest.mark.parametrize("image", ["embryo", "culture"])
@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("form", [Form("0.5", False)], ids=str)
def test_demo_image_is_read_with_its_physical_size(demo_stores, samples, kind, library, image, form):
    read = PEERS[library].read_image(demo_stores[image])
    np.testing.assert_array_equal(read.levels[0], pixels_of_samples(samples)[image])
    size = {"embryo": 1.4415926138560835, "culture": 1.0}[image]
    assert {axis: read.scale[axis] for axis in "yx"} == pytest.approx({"y": size, "x": size})


@pytest.mark.parametrize("kind", ["plate converted from TIFF"])
@pytest.mark.parametrize("form", [Form("0.4", False), Form("0.5", False)], ids=str)
@pytest.mark.parametrize("library", PEERS)
def test_demo_plate_is_read(demo_stores, kind, library, form):
    plate = f"plate_{form}"
    with open_ome_zarr(demo_stores[plate]) as opened:
        channels = opened.channel_names
    read = PEERS[library].read_plate(demo_stores[plate])
    assert len(read) == 12
    assert sorted(channels) == ["DAPI", "LaminB1"]
    for path, image in read.items():
        row, column, field = path.split("/")
        files = [f"{row}{column}_f{field}_{channel}.tif" for channel in channels]
        expected = np.stack([tifffile.imread(demo_stores[plate].parent / "fields" / file) for file in files])
        np.testing.assert_array_equal(image.levels[0], expected)


def test_what_zarr_and_tensorstore_write_into_our_arrays_is_read_by_lamella(made, tmp_path):
    import tensorstore
    import zarr

    path = tmp_path / "image.zarr"
    shutil.copytree(made.paths["image"], path)
    region = random_pixels((5, 20, 30), 9)
    zarr.open_group(str(path), mode="r+")["0"][0, 1, 2:7, 5:25, 6:36] = region
    driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/0/"}}
    tensorstore.open(spec, open=True).result()[1, 0, 3:8, 10:30, 8:38] = region
    expected = made.levels["image"][0].copy()
    expected[0, 1, 2:7, 5:25, 6:36] = expected[1, 0, 3:8, 10:30, 8:38] = region
    with open_ome_zarr(path) as position:
        np.testing.assert_array_equal(position["0"].numpy(), expected)


def test_no_consolidated_metadata_that_could_go_stale(made):
    # A copy of the metadata that other writers do not update is how iohub hides levels that are there.
    assert not (made.paths["plate"] / ".zmetadata").exists()
    for document in made.paths["plate"].rglob("zarr.json"):
        assert "consolidated_metadata" not in json.loads(document.read_text())
