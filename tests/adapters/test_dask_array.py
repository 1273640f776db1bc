"""An array as a dask array: same voxels, whole shards, any scheduler."""

from __future__ import annotations

import pickle
import tempfile

import dask
import numpy as np
import pytest
import zarr

import lamella
from lamella.models import axes

LAYOUTS = {
    "0.4": ("0.4", {"chunks": (1, 1, 2, 8, 8)}),
    "0.5": ("0.5", {"chunks": (1, 1, 2, 8, 8)}),
    "0.5 sharded": ("0.5", {"chunks": (1, 1, 2, 4, 4), "shards_ratio": (1, 1, 2, 4, 4)}),
}
SHAPE = (3, 2, 5, 19, 30)


def new_position(version, names="tczyx"):
    return lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/image.zarr",
        layout="fov",
        mode="w",
        channel_names=["a", "b"] if "c" in names else None,
        axes=axes(names),
        version=version,
    )


@pytest.fixture(params=LAYOUTS)
def image(request):
    version, layout = LAYOUTS[request.param]
    pixels = np.random.default_rng(1).integers(0, 60000, SHAPE, "uint16")
    return new_position(version).create_image("0", pixels, **layout)


@pytest.mark.parametrize(
    ("image", "scheduler"),
    [
        *((layout, scheduler) for layout in LAYOUTS for scheduler in ("threads", "synchronous")),
        ("0.4", "processes"),
        ("0.5 sharded", "processes"),
    ],
    indirect=["image"],
)
def test_all_voxels_under_each_scheduler(image, scheduler):
    lazy = image.dask_array()
    assert (lazy.shape, lazy.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal((lazy + 1).compute(scheduler=scheduler), image.numpy() + 1)


@pytest.mark.parametrize(
    "index", [(0,), (..., 3), (slice(1, 3), 1, [0, 4]), np.s_[:, ::-1, 1::2, 18, 7:29:3]]
)
def test_indexing_is_that_of_numpy(image, index):
    np.testing.assert_array_equal(image.dask_array()[index].compute(), image.numpy()[index])


@pytest.mark.parametrize("names", ["yx", "cyx", "tzyx"])
def test_other_axes(names):
    pixels = np.random.default_rng(1).random((2, 3, 40, 50)[-len(names) :]).astype("float32")
    pixels = pixels[:2] if names == "cyx" else pixels
    image = new_position("0.5", names).create_image("0", pixels, chunks=(1,) * (len(names) - 2) + (16, 16))
    np.testing.assert_array_equal(image.dask_array().compute(), pixels)


def test_blocks_are_whole_shards_near_64_mebibytes_along_space():
    image = new_position("0.5").create_zeros(
        "0", (10, 2, 96, 2048, 2048), "uint16", chunks=(1, 1, 1, 256, 256), shards_ratio=(1, 1, 2, 4, 4)
    )
    lazy = image.dask_array()
    assert lazy.chunksize == (1, 1, 8, 2048, 2048)
    assert all(size % shard == 0 for size, shard in zip(lazy.chunksize, image.shards, strict=True))


def test_a_shard_above_64_mebibytes_is_one_block():
    image = new_position("0.5").create_zeros(
        "0", (1, 2, 64, 2048, 2048), "uint16", chunks=(1, 1, 16, 256, 256), shards_ratio=(1, 1, 4, 8, 8)
    )
    assert image.dask_array().chunksize == (1, 1, 64, 2048, 2048)


def test_small_planes_are_joined_over_times_to_a_few_mebibytes():
    image = new_position("0.4").create_zeros("0", (5000, 2, 1, 256, 256), "uint16")
    lazy = image.dask_array()
    assert lazy.chunksize[2:] == (1, 256, 256)
    assert lazy.npartitions <= 200
    assert np.prod(lazy.chunksize) * 2 <= 8 * 2**20


def test_the_graph_does_not_grow_with_the_pixels():
    image = new_position("0.5").create_zeros(
        "0", (200, 2, 100, 2048, 2048), "uint16", chunks=(1, 1, 1, 256, 256)
    )
    assert len(pickle.dumps(image.dask_array())) < 10_000


def test_names_are_equal_for_one_array_and_differ_between_arrays(image):
    other = new_position("0.5").create_zeros("0", SHAPE, "uint16")
    assert image.dask_array().name == image.dask_array().name
    assert image.dask_array().name != other.dask_array().name
    a, b = (
        lamella.open_ome_zarr(zarr.storage.MemoryStore(), layout="fov", mode="w", channel_names=["a"])
        for _ in range(2)
    )
    images = [position.create_zeros("0", (1, 1, 1, 4, 4), "uint8") for position in (a, b)]
    assert images[0].dask_array().name != images[1].dask_array().name


def test_the_name_changes_when_the_array_grows(image):
    before = image.dask_array().name
    image.resize((4, *SHAPE[1:]))
    assert image.dask_array().name != before


def test_a_lazy_array_outlives_the_node(image):
    lazy, expected = image.dask_array(), image.numpy()
    lamella.open_ome_zarr(image.zarr().store.root).close()
    del image
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(), expected)


def test_memory_stores_are_read_in_this_process():
    position = lamella.open_ome_zarr(zarr.storage.MemoryStore(), layout="fov", mode="w", channel_names=["a"])
    image = position.create_image("0", np.arange(16, dtype="uint8").reshape(1, 1, 1, 4, 4))
    assert int(image.dask_array().sum().compute()) == 120


def test_the_configuration_of_dask_is_left_alone(image):
    before = dict(dask.config.config)
    image.dask_array().sum().compute()
    assert dask.config.config == before


def test_an_axis_of_length_zero():
    image = new_position("0.5").create_zeros("0", (0, 2, 1, 4, 4), "uint8")
    assert image.dask_array().compute().shape == (0, 2, 1, 4, 4)
