"""Laws of lazy data that an array cannot hold: the block is named, and the array says that it is unfinished."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

import lamella
from lamella.errors import LamellaError

SHAPE = (4, 1, 1, 8, 8)


@pytest.fixture(params=["uint16", "float32"])
def dtype(request):
    return request.param


@pytest.fixture
def floats(dtype):
    if dtype != "float32":
        pytest.skip("lazy integers for narrower ones are refused before the first block")


@pytest.fixture
def image(tmp_path, version, dtype):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        array = position.create_zeros("0", SHAPE, dtype, chunks=(1, 1, 1, 8, 8))
        array[...] = 1
        yield position


def values(dtype, *, bad):
    data = np.full(SHAPE, 7, "int64" if dtype == "uint16" else "float64")
    if bad:
        data[2, 0, 0, 5, 5] = 70000 if dtype == "uint16" else 1e300
    return data


def labelled(dtype, *, bad, lazy):
    data = values(dtype, bad=bad)
    found = dask.array.from_array(data, chunks=(1, 1, 1, 8, 8)) if lazy else data
    return xr.DataArray(found, dims=tuple("tczyx"), coords={"c": ["DAPI"]})


RANGE = {"uint16": "70000.*0 to 65535", "float32": "1e\\+300.*float32 holds"}


def test_data_in_memory_are_refused_before_the_first_byte(image, tmp_path, files, dtype):
    before = files(tmp_path)
    with pytest.raises(ValueError, match=RANGE[dtype]) as caught:
        image.write_xarray(labelled(dtype, bad=True, lazy=False))
    assert isinstance(caught.value, LamellaError)
    assert files(tmp_path) == before
    assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1


def test_lazy_integers_for_narrower_ones_are_refused_before_the_first_block(image, tmp_path, files, dtype):
    if dtype == "uint16":
        before = files(tmp_path)
        with pytest.raises(ValueError, match=r"int64.*uint16"):
            image.write_xarray(labelled(dtype, bad=False, lazy=True))
        assert files(tmp_path) == before


@pytest.mark.usefixtures("floats")
def test_a_lazy_block_is_named_and_the_array_is_unfinished_until_it_is_written(image, tmp_path, dtype):
    path = tmp_path / "a.zarr"
    with pytest.raises(ValueError, match=RANGE[dtype]) as caught:
        image.write_xarray(labelled(dtype, bad=True, lazy=True))
    assert isinstance(caught.value, LamellaError)
    assert "region [" in str(caught.value)
    report = lamella.status(path)
    assert report.counts["partly"] == 1
    assert "unfinished: [0:4, 0:1, 0:1, 0:8, 0:8]" in str(report)
    assert report.to_json()["images"][0]["levels"][0]["unfinished"]
    for read in (
        lambda a: a[0],
        lambda a: a.read((0,)),
        lambda a: a.numpy(),
        lambda a: a.read_many([(0,)]),
        lambda a: a.dask_array(),
    ):
        with pytest.warns(UserWarning, match="was not written to its end: .*Write the region again"):
            read(lamella.open_ome_zarr(path).data)
    image.data[0] = 3  # a part of it
    assert lamella.status(path).counts["partly"] == 1
    image.write_xarray(labelled(dtype, bad=False, lazy=True))
    assert lamella.status(path).counts["written"] == 1
    np.testing.assert_array_equal(lamella.open_ome_zarr(path).data[...], 7)


@pytest.mark.usefixtures("floats")
def test_writing_all_in_one_call_finishes_the_array(image, tmp_path, dtype):
    with pytest.raises(ValueError, match=RANGE[dtype]):
        image.write_xarray(labelled(dtype, bad=True, lazy=True))
    image.data[...] = 2
    assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1
    np.testing.assert_array_equal(image.data[...], 2)


@pytest.mark.usefixtures("floats")
def test_lazy_values_that_fit_are_written(image, dtype):
    image.write_xarray(labelled(dtype, bad=False, lazy=True))
    np.testing.assert_array_equal(image.data[...], 7)


def test_a_block_that_dask_stores_is_named(image, dtype):
    lazy = dask.array.from_array(values(dtype, bad=True), chunks=(1, 1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"region \[2:3, 0:1, 0:1, 0:8, 0:8\]"):
        dask.array.store(lazy, image.data, lock=False)
    np.testing.assert_array_equal(image.data[2], 1)


def test_other_errors_of_lazy_data_leave_the_mark_too(image, tmp_path, dtype):
    def broken(block):
        raise RuntimeError("no camera")

    lazy = dask.array.zeros(SHAPE, dtype=dtype, chunks=(1, 1, 1, 8, 8)).map_blocks(broken, dtype=dtype)
    data = xr.DataArray(lazy, dims=tuple("tczyx"), coords={"c": ["DAPI"]})
    with pytest.raises(RuntimeError, match="no camera"):
        image.write_xarray(data)
    assert "no camera" in str(lamella.status(tmp_path / "a.zarr"))


def test_frames_of_a_write_that_fails_are_not_shown(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        first = xr.DataArray(np.ones(SHAPE, "float32"), dims=tuple("tczyx"), coords={"c": ["DAPI"]})
        position.write_xarray(first)
        later = labelled("float32", bad=True, lazy=True).assign_coords(t=[4.0, 5, 6, 7])
        with pytest.raises(ValueError, match=RANGE["float32"]):
            position.write_xarray(later)
        assert position.data.shape == SHAPE
        np.testing.assert_array_equal(position.data[...], 1)
        assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1
