"""Regions, levels and points in physical units, against numpy, in every version."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, NodeNotFoundError
from lamella.models import (
    Affine,
    CoordinateSystemMeta,
    ImageSystemsMeta,
    SystemReference,
    TransformationMeta,
    axes,
)

SHAPE = {"t": 3, "c": 2, "z": 12, "y": 40, "x": 50}
SCALE = {"t": 30.0, "c": 1.0, "z": 2.0, "y": 0.3, "x": 0.1}
START = {"t": 60.0, "c": 0.0, "z": -4.0, "y": 7.0, "x": 0.0}


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def image(request, tmp_path):
    shape = tuple(SHAPE.values())
    position = lamella.open(
        tmp_path / "a.zarr", "w-", layout="fov", version=request.param, channel_names=["DAPI", "GFP"]
    )
    place = [
        TransformationMeta(type="scale", scale=list(SCALE.values())),
        TransformationMeta(type="translation", translation=list(START.values())),
    ]
    data = np.arange(np.prod(shape), dtype="uint32").reshape(shape)
    position.create_image("0", data, transform=place)
    position.set_transform("*", [TransformationMeta(type="translation", translation=[0, 0, 0, 100, 0])])
    position.compute_pyramid(3)
    position.labels["cells"] = (data[:, 0] % 7).astype("uint8")
    yield position
    position.close()


def expected(image, level, bounds):
    """Cut a region out of a level by its coordinates."""
    array = image[level][:]
    scale, start = image.get_effective_scale(level), image.get_effective_translation(level)
    for axis, name in enumerate(image.axis_names):
        if name in bounds:
            centres = start[axis] + scale[axis] * np.arange(array.shape[axis])
            first, last = bounds[name]
            keep = (centres >= first - 1e-7) & (centres < last - 1e-7)
            array = np.compress(keep, array, axis=axis)
    return array


@pytest.mark.parametrize(
    "bounds",
    [
        {"z": (-4, 10), "y": (107.9, 112.4), "x": (0.5, 3)},
        {"t": (60, 120)},
        {"x": (0.3, 0.6), "y": (107.3, 110.3)},  # bounds on centres that floats miss
        {"z": (-1000, 1000), "x": (-5, 4.05)},
    ],
)
def test_a_region_is_that_of_numpy_in_all_levels_and_labels(image, bounds):
    for level in image.dataset_paths:
        cut = image.crop(**bounds, level=level)
        np.testing.assert_array_equal(cut.values, expected(image, level, bounds))
        for name, (first, last) in bounds.items():
            assert first - 1e-6 <= cut.coords[name].values[0] <= cut.coords[name].values[-1] < last
    cells = image.labels["cells"]
    for level in cells.dataset_paths:
        np.testing.assert_array_equal(
            cells.crop(**bounds, level=level).values, expected(cells, level, bounds)
        )


def test_regions_that_share_a_bound_share_no_voxel_and_miss_none(image):
    bounds = [107 + 0.3 * number for number in range(0, 41, 4)]
    parts = [image.crop(y=pair) for pair in itertools.pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts], axis=3), image.data[:])
    np.testing.assert_array_equal(image.crop(y=(None, 110), c="GFP").values, image.data[:, 1:, :, :10])
    np.testing.assert_array_equal(image.crop(z=(2, None), c=["GFP", "DAPI"]).values, image.data[:, ::-1, 3:])


def test_a_level_is_chosen_by_the_size_of_its_voxels(image):
    assert [image.get_effective_scale(level)[-2:] for level in "012"] == [[0.3, 0.1], [0.6, 0.2], [1.2, 0.4]]
    assert [image.level_for(size) for size in (0.05, 0.3, 0.59, 0.6, 5)] == ["0", "0", "0", "1", "2"]
    assert [image.level_for(size) for size in ({"x": 0.2}, {"z": 4, "x": 9}, {"z": 3.9})] == ["1", "1", "0"]
    assert [image.level_for(size) for size in (1e-200, 5e-324, {"x": 1e200})] == ["0", "0", "2"]
    cut = image.crop(x=(0, 2), pixel_size=0.7)
    np.testing.assert_array_equal(cut.values, expected(image, "1", {"x": (0, 2)}))
    np.testing.assert_array_equal(image.to_xarray(level=2).values, image["2"][:])


def test_levels_that_are_stale_are_not_chosen(image):
    image["0"][:] = 7
    assert image.level_for(5) == "0"
    assert (image.crop(pixel_size=5, x=(0, 1)).values == 7).all()
    image.update_pyramid()
    assert image.level_for(5) == "2"


def test_a_region_in_time_is_of_the_real_times_of_frames(image):
    record = {"start": 60.0, "step": 30.0, "frames": [0, 1, 2], "times": [60.0, 70.0, 120.0]}
    image.zattrs["lamella"] = {"times": {"0": record}}
    cut = image.crop(t=(65, 121), c="GFP")
    assert cut.t.values.tolist() == [70, 120]
    np.testing.assert_array_equal(cut.values, image.data[1:, 1:])
    assert image.crop(t=(80, None)).t.values.tolist() == [120]
    with pytest.raises(InvalidArgumentError, match="60 to 120 second"):
        image.crop(t=(71, 119))


def test_a_coordinate_selects_its_voxel_also_where_floats_are_not_exact(image):
    assert 3 * 0.1 != 0.3
    image.set_transform("0", [TransformationMeta(type="scale", scale=[1, 1, 1, 1, 0.1])])
    for label, length in [(slice(0, 0.3), 4), (slice(0.3, 0.6), 4), ([0.3, 0.7], 2), (slice(0, 0.35), 4)]:
        assert image.sel(x=label).sizes["x"] == length
    np.testing.assert_array_equal(image.sel(x=0.3).values, image.data[..., 3])
    assert image.sel(x=np.float64(0.6), t=1).dims == ("c", "z", "y")


def test_all_levels_and_labels_are_a_tree(image):
    tree = image.to_datatree()
    assert [node.path for node in tree.leaves] == [
        *("/0", "/1", "/2"),
        *("/labels/cells/0", "/labels/cells/1", "/labels/cells/2"),
    ]
    for level in "012":
        np.testing.assert_array_equal(tree[f"{level}/image"].values, image[level][:])
        scale, start = image.get_effective_scale(level), image.get_effective_translation(level)
        np.testing.assert_allclose(
            tree[level].coords["y"], start[3] + scale[3] * np.arange(image[level].shape[3])
        )


def test_points_go_to_the_world_and_back(image):
    points = np.random.default_rng(0).random((4, 6, 5)) * 10
    for level in image.dataset_paths:
        world = image.index_to_world(points, level)
        scale, start = image.get_effective_scale(level), image.get_effective_translation(level)
        np.testing.assert_allclose(world, points * scale + start)
        np.testing.assert_allclose(image.world_to_index(world, level), points, atol=1e-9)
    corner = image.crop(z=(4, 8), y=(110, 112))
    index = np.rint(image.world_to_index([60, 0, *(float(corner.coords[axis][0]) for axis in "zyx")])).astype(
        int
    )
    assert image.data[tuple(index)] == corner.values.ravel()[0]


def test_points_follow_the_coordinate_systems_of_an_image(tmp_path):
    turned = Affine(
        affine=[[0, -1, 5], [1, 0, 7]],
        input=SystemReference(name="intrinsic"),
        output=SystemReference(name="atlas"),
    )
    image = lamella.write_image(tmp_path / "a.zarr", np.ones((64, 64)), version="0.6", scale=[2, 3], levels=2)
    with image:
        image.metadata.multiscales[0].systems = ImageSystemsMeta(
            coordinate_transformations=[turned],
            coordinate_systems=[CoordinateSystemMeta(name="atlas", axes=axes("yx"))],
        )
        image.dump_meta()
    image = lamella.open(tmp_path / "a.zarr")
    points = np.array([[1.0, 2.0], [10, 20]])
    atlas = image.index_to_world(points, system="atlas")
    np.testing.assert_allclose(atlas, np.stack([5 - 3 * points[:, 1], 7 + 2 * points[:, 0]], axis=1))
    np.testing.assert_allclose(image.world_to_index(atlas, system="atlas"), points)
    np.testing.assert_allclose(image.world_to_index(image.index_to_world(points), "1"), (points - 0.5) / 2)
    with pytest.raises(InvalidArgumentError, match="no coordinate system 'atlantis'"):
        image.index_to_world(points, system="atlantis")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda image: image.crop(x=5), InvalidArgumentError, "pair of coordinates"),
        (
            lambda image: image.crop(x=(50, 60)),
            InvalidArgumentError,
            "No voxel of .* lies in .* 0 to 4.9 micrometer",
        ),
        (lambda image: image.crop(x=(3, 2)), InvalidArgumentError, "No voxel"),
        (lambda image: image.crop(c="Gfp"), InvalidArgumentError, "Did you mean 'GFP'"),
        (lambda image: image.crop(level="7"), NodeNotFoundError, "levels are 0, 1, 2"),
        (
            lambda image: image.crop(level="1", pixel_size=2),
            InvalidArgumentError,
            "either level or pixel_size",
        ),
        (lambda image: image.labels["cells"].crop(c="GFP"), InvalidArgumentError, "no channel axis"),
        (
            lambda image: image.level_for(-1),
            InvalidArgumentError,
            "along y and x is a finite number above 0, not -1",
        ),
        (lambda image: image.level_for(float("inf")), InvalidArgumentError, "finite number"),
        (lambda image: image.level_for({"q": 1}), InvalidArgumentError, "no axis 'q'"),
        (lambda image: image.index_to_world([1, 2, 3]), InvalidArgumentError, "need 5 numbers"),
        (lambda image: image.world_to_index(["a"] * 5), InvalidArgumentError, "array of numbers"),
    ],
)
def test_regions_that_cannot_be_are_refused_with_the_reason(image, call, error, message):
    if image.version == "0.5":
        with pytest.raises(error, match=message):
            call(image)


def test_an_image_of_two_axes_has_regions_too(tmp_path):
    image = lamella.write_image(
        tmp_path / "a.zarr", np.arange(12.0).reshape(3, 4), scale={"x": 0.5}, units="nm"
    )
    assert image.crop(x=(0.5, 1.5), y=(1, 2)).values.tolist() == [[5, 6]]
    with pytest.raises(InvalidArgumentError, match="no axis 'z'"):
        image.crop(z=(0, 1))


def test_names_and_coordinates_select_as_in_xarray(image):
    array = image["1"][:]
    z = image.to_xarray(level="1").z.values
    selected = image.sel(c="GFP", t=60, z=slice(z[1], z[2]), level="1")
    assert selected.dims == ("z", "y", "x")
    np.testing.assert_array_equal(selected.values, array[0, 1, 1:3])
    labels = image.labels["cells"].sel(t=[60, 120])
    np.testing.assert_array_equal(labels.values, image.labels["cells"]["0"][:][::2])
    for wrong in ({"c": "DPAI"}, {"q": 1}, {"t": 61}):
        with pytest.raises(InvalidArgumentError, match=r"Its axes are t, c, z, y, x, and its channels .*GFP"):
            image.sel(**wrong)
