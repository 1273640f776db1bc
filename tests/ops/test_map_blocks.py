"""Functions over blocks with a halo give what they give on whole images, by threads, processes and Dask."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

import lamella
from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError, NodeNotFoundError, ReadOnlyError, UnitsFailedError
from lamella.models import AxisMeta, axes

SHAPE = (2, 2, 6, 40, 44)
EVERYWHERE = np.ones((3, 3, 3))


@pytest.fixture
def plate(tmp_path):
    made = open_ome_zarr(
        tmp_path / "plate.zarr",
        layout="hcs",
        mode="w-",
        channel_names=["DAPI", "GFP"],
        axes=axes("tczyx"),
        version="0.5",
    )
    rng = np.random.default_rng(4)
    for position in made.create_positions([("A", "1", "0"), ("B", "2", "0")]):
        noise = ndimage.gaussian_filter(rng.random(SHAPE), (0, 0, 0.7, 1.2, 1.2))
        data = (500 + 100 * (noise - noise.mean()) / noise.std()).astype("uint16")
        position.create_image("0", data, chunks=(1, 1, 4, 16, 16))
        position.compute_pyramid(2)
    return made


def bright(block):
    """The first channel of blocks (t, c, z, y, x), thresholded."""
    return block[:, 0] > 570


def components(block, connectivity=1):
    """Connected components of each timepoint."""
    structure = ndimage.generate_binary_structure(3, connectivity)
    return np.stack([ndimage.label(frame, structure)[0] for frame in bright(block)])


def basins(block):
    """A watershed from the maxima of each timepoint."""
    found = []
    for frame, mask in zip(block[:, 0].astype(int), bright(block), strict=True):
        peaks = mask & (ndimage.maximum_filter(frame, 3) == frame)
        found.append(watershed(-frame, ndimage.label(peaks, EVERYWHERE)[0], mask=mask))
    return np.stack(found)


def expect_partition(labels, whole):
    """Two labellings have the same objects, and the first one ids from 1 that are unique in it."""
    pairs = np.unique(np.stack([labels.ravel(), whole.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    ids = np.unique(labels)
    np.testing.assert_array_equal(ids, np.arange(len(ids)))


def unique_in_time(whole):
    """Give the objects of each timepoint ids of their own."""
    return np.stack([np.where(frame, frame + number * 10**6, 0) for number, frame in enumerate(whole)])


@pytest.mark.parametrize("connectivity", [1, 3])
def test_connected_components_by_blocks_are_those_of_the_whole_image(plate, connectivity):
    report = plate.map(
        components,
        over="regions",
        name="labels/cells",
        halo=1,
        kwargs={"connectivity": connectivity},
        jobs=2,
    )
    assert report.done == 2 * 2 * 2 * 3 * 3
    for _, position in plate.positions():
        whole = unique_in_time(components(position["0"][...], connectivity))
        assert whole.max() % 10**6 > 10  # there is something to stitch
        expect_partition(position.labels["cells"]["0"][...], whole)
        assert position.labels["cells"].dataset_paths == ["0", "1"]
        assert not [name for name in position.documents.storage.list(position.path) if "map" in name]
    assert lamella.validate(plate.zgroup.store.root)
    again = plate.map(
        components, over="regions", name="labels/cells", halo=1, kwargs={"connectivity": connectivity}
    )
    assert (again.done, again.failed) == (0, {})


def test_a_watershed_with_a_halo_as_large_as_its_objects_gives_the_same_objects_by_processes(plate):
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
        plate.map(
            basins,
            over="regions",
            name="labels/cells",
            halo={"z": 6, "y": 22, "x": 22},
            positions=["A/1/0"],
            executor=executor,
        )
    position = plate["A/1/0"]
    whole = unique_in_time(basins(position["0"][...]))
    assert np.unique(whole).size > 30
    expect_partition(position.labels["cells"]["0"][...], whole)


def test_killed_blocks_are_not_labelled_again_and_a_failed_one_is_named(plate):
    calls = []

    def fails(block, where, broken=True):
        calls.append(where.region)
        if broken and where.region[4].start == 32:
            raise OSError("no memory")
        return components(block)

    options = {"over": "regions", "name": "labels/cells", "halo": 2, "positions": ["A/1/0"]}
    with pytest.raises(UnitsFailedError, match="no memory"):
        plate.map(fails, **options)
    assert "cells" not in plate["A/1/0"].labels
    with pytest.raises(InvalidArgumentError, match="halo"):
        plate.map(components, over="regions", name="labels/cells")
    report = plate.map(components, **options)
    assert report.done == 36
    expect_partition(
        plate["A/1/0"].labels["cells"]["0"][...], unique_in_time(components(plate["A/1/0"]["0"][...]))
    )


def smooth(block):
    return ndimage.uniform_filter(block.astype("float32"), (0, 0, 3, 5, 5))


def test_a_filter_with_a_halo_is_that_of_the_whole_image(plate):
    plate.map(smooth, over="regions", name="smooth", dtype="float32", halo={"z": 1, "y": 2, "x": 2})
    for _, position in plate.positions():
        np.testing.assert_allclose(position["smooth"][...], smooth(position["0"][...]), rtol=1e-5)
    with pytest.raises(InvalidArgumentError, match="halo"):
        plate.map(smooth, over="regions", name="other", halo={"q": 1})
    with pytest.raises(InvalidArgumentError, match="halo"):
        plate.map(smooth, halo=2)


def extremes(block, where):
    assert block.shape == tuple(one.stop - one.start for one in where.read)
    return block.min(axis=2), block.max(axis=2)


def test_results_lack_an_axis_and_are_several_arrays(plate):
    report = plate.map(extremes, over="regions", name=["low", "high"], axes="tcyx")
    for _, position in plate.positions():
        whole = position["0"][...]
        np.testing.assert_array_equal(position["low"][...], whole.min(axis=2, keepdims=True))
        np.testing.assert_array_equal(position["high"][...], whole.max(axis=2, keepdims=True))
    assert report.done == 2 * 2 * 2 * 3 * 3
    assert plate.map(extremes, over="regions", name=["low", "high"], axes="tcyx").skipped == report.done
    with pytest.raises(UnitsFailedError, match="tuple of 2 arrays"):
        plate.map(lambda block: block.max(axis=2), over="regions", name=["a", "b"], axes="tcyx")
    with pytest.raises(InvalidArgumentError, match="axes"):
        plate.map(extremes, over="regions", name="a", axes="xy")


def test_positions_return_several_arrays_and_records_in_one_table(plate):
    def both(position, where, factor):
        assert where.path == position.path
        data = position["0"][...]
        return data // factor, (data[:, 0] > 570).astype("uint8")

    plate.map(both, name=["small", "labels/bright"], kwargs={"factor": 4})
    for _, position in plate.positions():
        np.testing.assert_array_equal(position["small"][...], position["0"][...] // 4)
        assert position.labels["bright"]["0"][...].any()

    def records(position):
        if position.path == "A/1/0":
            return [{"label": 1, "area": 4.0}, {"label": 2, "area": 5.0}]
        return {"label": 7, "area": 1.0}

    frame = plate.map(records).to_frame()
    assert frame.to_dict("list") == {
        "path": ["A/1/0", "A/1/0", "B/2/0"],
        "label": [1, 2, 7],
        "area": [4.0, 5.0, 1.0],
    }
    single = plate.map(lambda position: np.uint8(position.path == "A/1/0")).to_frame()
    assert single.to_dict("list") == {"path": ["A/1/0", "B/2/0"], "value": [1, 0]}
    for value in (None, [3.0], np.ones(2)):
        with pytest.raises(InvalidArgumentError, match=f"returned {type(value).__name__} for"):
            plate.map(lambda position, value=value: value).to_frame()


def test_one_image_is_mapped_as_the_image_of_a_plate(plate, tmp_path):
    data = plate["A/1/0"]["0"][...]
    with lamella.write_image(
        tmp_path / "image.zarr", data, "tczyx", chunks=(1, 1, 4, 16, 16), levels=2
    ) as image:
        assert image.map(components, "labels/cells", halo=1, jobs=2).done == 2 * 2 * 3 * 3
        expect_partition(image.labels["cells"]["0"][...], unique_in_time(components(data)))
        assert image.labels["cells"].dataset_paths == ["0", "1"]
        again = image.map(components, "labels/cells", halo=1)
        assert (again.done, again.failed, again.output) == (0, {}, image)
        report = image.map(
            ndimage.maximum_filter, "widest", halo={"z": 1, "y": 2}, kwargs={"size": (1, 1, 3, 5, 1)}
        )
        np.testing.assert_array_equal(image["widest"][...], ndimage.maximum_filter(data, (1, 1, 3, 5, 1)))
        assert report.done == 2 * 2 * 2 * 3 * 3
        with pytest.raises(InvalidArgumentError, match="use another name"):
            image.map(components, "0")
        with pytest.raises(InvalidArgumentError, match="pass halo="):
            image.map(components, "labels/other")
        with pytest.raises(NodeNotFoundError, match="There is no level '7'"):
            image.map(components, "labels/other", level="7", halo=1)
        with pytest.raises(UnitsFailedError, match="no bridge"):
            image.map(fails, "nothing")
    assert lamella.validate(tmp_path / "image.zarr")
    with pytest.raises(ReadOnlyError):
        lamella.open(tmp_path / "image.zarr").map(components, "labels/other", halo=1)


def fails(block):
    raise ValueError("no bridge")


def test_numpy_functions_and_bound_arguments_named_where_get_no_region(plate):
    image = plate["A/1/0"]
    image.map(np.max, "brightest", axes="tcyx", kwargs={"axis": 2})
    np.testing.assert_array_equal(image["brightest"][:, :, 0], image["0"][:].max(axis=2))

    def shifted(block, where):
        return block + where

    image.map(shifted, "shifted", kwargs={"where": 3})
    np.testing.assert_array_equal(image["shifted"][:], image["0"][:] + 3)


def test_a_halo_is_for_all_axes_of_space_whatever_their_names(tmp_path):
    space = [AxisMeta(name=name, type="space") for name in ("depth", "y", "x")]
    image = open_ome_zarr(
        tmp_path / "image.zarr", layout="fov", mode="w-", axes=space, channel_names=["DAPI"]
    )
    pixels = np.random.default_rng(1).integers(0, 999, (6, 8, 8), "uint16")
    image.create_image("0", pixels, chunks=(2, 8, 8))
    image.map(ndimage.maximum_filter, "widest", halo=1, kwargs={"size": 3})
    np.testing.assert_array_equal(image["widest"][:], ndimage.maximum_filter(pixels, 3))


def test_a_level_of_an_image_in_a_plate_is_mapped_alone(plate):
    plate["A/1/0"].map(np.negative, "below", level="1")
    np.testing.assert_array_equal(plate["A/1/0/below"][...], np.negative(plate["A/1/0/1"][...]))
    assert "below" not in plate["B/2/0"].dataset_paths


def test_levels_whose_names_have_spaces_are_mapped_and_resumed(tmp_path):
    image = open_ome_zarr(tmp_path / "image.zarr", layout="fov", mode="w-", channel_names=["DAPI"])
    image.create_image("full size", np.arange(128, dtype="uint16").reshape(1, 1, 2, 8, 8))
    assert image.map(np.square, "squares").done == 1
    np.testing.assert_array_equal(image["squares"][:], np.square(image["full size"][:]))
    assert image.map(np.square, "squares").skipped == 1
