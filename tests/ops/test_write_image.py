"""``write_image``: one call makes a whole image of any array, and ``open`` finds it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tifffile
import xarray
import zarr
from tests.nodes.conftest import check_valid

import lamella
from lamella.errors import InvalidArgumentError, StoreExistsError

PIXELS = np.random.default_rng(1).integers(0, 900, (2, 3, 24, 40)).astype("uint16")
SCALE = {"z": 2, "y": 0.5, "x": 0.25}


class Tensor:
    """What a tensor of torch looks like, without torch."""

    def __init__(self, array):
        self._array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._array


def of_dask(array, folder):
    import dask.array

    return dask.array.from_array(array, chunks=(1, 2, 7, 9))


def of_zarr(array, folder):
    import zarr

    return zarr.create_array(folder / "source.zarr", data=array, chunks=(1, 1, 10, 10))


def of_memmap(array, folder):
    np.save(folder / "source.npy", array)
    return np.load(folder / "source.npy", mmap_mode="r")


class Hdf5Dataset:
    """What a dataset of h5py looks like: its ``dims`` are labels, which are empty by default."""

    dims = ('<"" dimension 0>', '<"" dimension 1>', '<"" dimension 2>', '<"" dimension 3>')

    def __init__(self, array):
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._array = array

    def __getitem__(self, region):
        return self._array[region]


KINDS = [
    lambda a, _: a,
    of_dask,
    of_zarr,
    of_memmap,
    lambda a, _: Tensor(a),
    lambda a, _: Hdf5Dataset(a),
]


@pytest.mark.parametrize("kind", KINDS)
def test_any_array_becomes_a_whole_image(tmp_path, kind):
    image = lamella.write_image(
        tmp_path / "a.zarr",
        kind(PIXELS, tmp_path),
        scale=SCALE,
        channels={"DAPI": "blue", "GFP": "#0F0"},
        levels=3,
    )
    np.testing.assert_array_equal(image["0"][:], PIXELS)
    assert image.axis_names == list("czyx")
    assert [axis.unit for axis in image.axes] == [None, "micrometer", "micrometer", "micrometer"]
    assert image.scale == [1, 2, 0.5, 0.25]
    assert image.get_effective_scale("1") == [1, 4, 1, 0.5]
    channels = image.metadata.omero.channels
    assert [(channel.label, channel.color) for channel in channels] == [("DAPI", "0000FF"), ("GFP", "00FF00")]
    assert all(0 < channel.window["end"] < 1000 for channel in channels)
    assert image.metadata.multiscales[0].name == image.metadata.omero.name == "a"
    assert (image.version, image.dataset_paths, image.stale_levels) == ("0.5", ["0", "1", "2"], False)


@pytest.mark.parametrize("store_version", ["0.4", "0.5", "0.6"])
def test_every_number_of_axes_is_written_as_it_is_in_every_version(tmp_path, store_version):
    for names, shape in {
        "yx": (9, 7),
        "zyx": (3, 9, 7),
        "czyx": (2, 3, 9, 7),
        "tczyx": (2, 1, 3, 9, 7),
    }.items():
        array = np.random.default_rng(2).random(shape).astype("float32")
        path = tmp_path / f"{names}.zarr"
        with lamella.write_image(path, array, version=store_version) as image:
            assert (image.version, [axis.name for axis in image.axes]) == (store_version, list(names))
        with lamella.open(path) as image:
            np.testing.assert_array_equal(image.data[:], array)
        assert lamella.validate(path).valid
        if store_version != "0.6":
            check_valid(path, store_version)


def test_axes_in_another_order_are_transposed(tmp_path):
    array = np.random.default_rng(3).integers(0, 255, (20, 30, 3, 2)).astype("uint8")
    for number, source in enumerate((array, of_zarr(array, tmp_path))):
        image = lamella.write_image(
            tmp_path / f"{number}.zarr",
            source,
            "yxcz",
            scale=[0.5, 0.25, 1, 3],
            chunks=(10, 15, 1, 2),
            shards_ratio=(2, 1, 3, 1),
            translation=[1200, -350.5, 0, 7],
        )
        np.testing.assert_array_equal(image.data[:], array.transpose(2, 3, 0, 1))
        assert (image.axis_names, image.scale) == (list("czyx"), [1, 3, 0.5, 0.25])
        assert image.data.chunks == (1, 2, 10, 15)
        assert image.data.shards == (3, 2, 20, 15)
        assert image.get_effective_translation("0") == [0, 7, 1200, -350.5]
        assert image.channel_names == ["channel_0", "channel_1", "channel_2"]


def test_lazy_arrays_are_read_in_blocks(tmp_path):
    class Planes:
        shape, dtype, ndim = (3000, 4000, 16), np.dtype("uint8"), 3
        largest = 0

        def __getitem__(self, region):
            x, y, z = (range(n)[span] for n, span in zip(self.shape, region, strict=True))
            self.largest = max(self.largest, len(x) * len(y) * len(z))
            return np.broadcast_to(np.array(z, "uint8"), (len(x), len(y), len(z)))

    source = Planes()
    image = lamella.write_image(tmp_path / "a.zarr", source, "xyz", chunks=(1000, 1000, 1), levels=1)
    assert image.data.shape == (16, 4000, 3000)
    np.testing.assert_array_equal(image.data[:, -1, -1], range(16))
    assert source.largest < 16 * 4000 * 3000 / 2


def test_a_labelled_array_brings_all_it_knows(tmp_path):
    import xarray as xr

    cells = xr.DataArray(
        PIXELS[:, :1],
        dims=("channel", "time", "Y", "X"),
        coords={
            "channel": ["GFP", "membrane"],
            "time": ("time", [2.0], {"units": "min"}),
            "Y": ("Y", 5 + 0.5 * np.arange(24), {"units": "um"}),
            "X": ("X", 0.5 * np.arange(40), {"units": "um"}),
        },
        name="colony",
        attrs={"operator": "Ada"},
    )
    for data in (cells, cells.chunk({"Y": 5})):
        image = lamella.write_image(
            tmp_path / "a.zarr",
            data,
            channels={"GFP": None, "wall": "red"},
            translation={"X": 3},
            overwrite=True,
        )
        assert [axis.unit for axis in image.axes] == ["minute", None, "micrometer", "micrometer"]
        assert (image.axis_names, image.scale) == (list("tcyx"), [1, 1, 0.5, 0.5])
        assert image.get_effective_translation("0") == [2, 0, 5, 3]
        assert image.channel_names == ["GFP", "wall"]
        assert image.metadata.multiscales[0].name == "colony"
        back = image.to_xarray()
        assert back.attrs == {"operator": "Ada"}
        np.testing.assert_array_equal(back.values, PIXELS[:, :1].transpose(1, 0, 2, 3))
    assert lamella.write_image(tmp_path / "c.zarr", cells).channel_names == ["GFP", "membrane"]
    assert lamella.write_image(tmp_path / "d.zarr", cells.isel(channel=1)).channel_names == ["membrane"]
    with pytest.raises(InvalidArgumentError, match=r"dims \('channel', 'time', 'Y', 'X'\).*another order"):
        lamella.write_image(tmp_path / "e.zarr", cells, axes="tcyx")
    again = lamella.write_image(tmp_path / "b.zarr", back.isel(c=0), scale={"x": 0.1}, units={"x": "nm"})
    assert (again.channel_names, again.scale) == (["GFP"], [1, 0.5, 0.1])
    assert [axis.unit for axis in again.axes] == ["minute", "micrometer", "nanometer"]


def test_existing_stores_stay_unless_they_are_to_be_replaced(tmp_path):
    path = tmp_path / "a.zarr"
    lamella.write_image(path, PIXELS[0, 0])
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        lamella.write_image(path, PIXELS[1, 0])
    np.testing.assert_array_equal(lamella.open(path).data[:], PIXELS[0, 0])
    # The new pixels are computed from those that they replace.
    image = lamella.write_image(path, lamella.open(path).data.dask_array() + 1, overwrite=True)
    np.testing.assert_array_equal(image.data[:], PIXELS[0, 0] + 1)
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_source_that_fails_leaves_what_was_there(tmp_path):
    import dask.array

    path = tmp_path / "a.zarr"
    lamella.write_image(path, PIXELS[0])

    def fail(block):
        raise RuntimeError("microscope on fire")

    bad = dask.array.from_array(PIXELS[0], chunks=10).map_blocks(
        fail, dtype="uint16", meta=np.empty((0,) * 3)
    )
    with pytest.raises(RuntimeError, match="on fire"):
        lamella.write_image(path, bad, overwrite=True)
    np.testing.assert_array_equal(lamella.open(path).data[:], PIXELS[0])
    with pytest.raises(RuntimeError, match="on fire"):
        lamella.write_image(tmp_path / "new.zarr", bad)
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_it_writes_to_memory_and_into_archives(tmp_path):
    with lamella.write_image(zarr.storage.MemoryStore(), PIXELS) as image:  # a store without a name
        assert (image.data[:] == PIXELS).all()
        assert image.metadata.multiscales[0].name == "image"
    with lamella.write_image(tmp_path / ".zarr", PIXELS) as image:
        assert image.metadata.multiscales[0].name == "image"
    url = "memory://write-image/a.zarr"
    lamella.write_image(url, PIXELS, "czyx", channels=["a", "b"])
    with pytest.raises(StoreExistsError):
        lamella.write_image(url, PIXELS)
    with pytest.raises(InvalidArgumentError, match="Load the data first"):
        lamella.write_image(url, lamella.open(url).data.dask_array(), overwrite=True)
    image = lamella.write_image(url, PIXELS[0], overwrite=True)
    assert (image.axis_names, image.metadata.multiscales[0].name) == (list("zyx"), "a")
    packed = lamella.write_image(tmp_path / "a.ozx", PIXELS[0])
    np.testing.assert_array_equal(packed.data[:], image.data[:])
    assert packed.store_handle.read_only


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "zyx"}, r"axes 'zyx' are 3"),
        ({"axes": "czyq"}, "czyq"),
        ({"scale": {"q": 1}}, "names the axis 'q'; the axes are c, z, y, x"),
        ({"scale": [1, 2]}, "2 numbers"),
        ({"scale": {"x": 0}}, "above 0"),
        ({"units": "furlong"}, "not a unit of space"),
        ({"channels": ["a"]}, r"1 channel name \['a'\] .* 2 channels"),
        ({"channels": ["a", "a"]}, "twice"),
        ({"channels": {"a": "bleu", "b": None}}, "Did you mean 'blue'"),
        ({"levels": 0}, "levels"),
        ({"method": "average"}, "mean"),
        ({"chunks": (4, 4)}, "2 numbers for 4 axes"),
        ({"chunks": "big"}, "'auto'"),
        ({"shards_ratio": (2, 2)}, "2 numbers for 4 axes"),
        ({"version": "0.4", "shards_ratio": (1, 1, 2, 2)}, "needs version='0.5'"),
        ({"translation": {"q": 1}}, "names the axis 'q'; the axes are c, z, y, x"),
        ({"translation": {"x": float("nan")}}, "translation along axis 'x'"),
        ({"translation": {"x": 1e200}}, "translation along axis 'x'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        lamella.write_image(tmp_path / "a.zarr", PIXELS, **options)
    assert not os.listdir(tmp_path)


def test_arrays_without_order_or_pixels_are_written_without_levels(tmp_path):
    for number, array in enumerate(
        (np.ones((4, 400), "complex64"), np.zeros((0, 300), "uint8"), np.eye(300) > 0)
    ):
        image = lamella.write_image(tmp_path / f"{number}.zarr", array)
        np.testing.assert_array_equal(image.data[...], array)


def test_axes_are_given_as_text_wherever_axes_are(tmp_path):
    from lamella import Plate, open_ome_zarr

    plate = open_ome_zarr(tmp_path / "p.zarr", "hcs", "w-", ["DAPI"], axes="CYX")
    assert plate.create_position("A", "1", "0").axes == lamella.models.axes("cyx")
    del plate["A"]
    assert Plate(plate.zgroup, axes="tcyx", channel_names=["GFP"]).axes == lamella.models.axes("tcyx")
    with pytest.raises(InvalidArgumentError, match="'tczyx'"):
        open_ome_zarr(tmp_path / "q.zarr", "hcs", "w-", ["DAPI"], axes="width")
    made = lamella.open(tmp_path / "n.zarr", "w-", layout="fov", channel_names=["DAPI"])
    assert (made.version, [axis.name for axis in made.axes]) == ("0.5", list("tczyx"))
    with pytest.raises(lamella.errors.UnknownOptionError, match="strict"):
        lamella.open(tmp_path / "n.zarr", stric=True)


def test_whole_numbers_may_be_those_of_numpy(tmp_path):
    two = np.int64(2)
    image = lamella.write_image(
        tmp_path / "image.zarr", np.arange(4096, dtype="uint8").reshape(64, 64), levels=two
    )
    assert image["1"].shape == (32, 32)
    image.delete_pyramid()
    image.compute_pyramid(two)
    level = xarray.open_dataset(str(tmp_path / "image.zarr"), engine="lamella", level=np.uint8(1))
    assert dict(level.sizes) == {"y": 32, "x": 32}
    tiled = lamella.open_ome_zarr(tmp_path / "tiles.zarr", layout="tiled", mode="w-", channel_names=["DAPI"])
    assert tiled.make_tiles("0", (2, 2), (1, 8, 8), "uint8", chunk_dims=two).chunks[-2:] == (8, 8)
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((64, 64), "uint8"))
    lamella.convert(tmp_path / "image.tif", tmp_path / "converted.zarr", levels=two)
    assert lamella.open_ome_zarr(tmp_path / "converted.zarr").dataset_paths == ["0", "1"]
