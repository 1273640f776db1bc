"""Laws of lazy data that an array cannot hold: the block is named, and the array says that it is unfinished."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr

import lamella
from lamella.errors import LamellaError

SHAPE = (4, 1, 1, 8, 8)


@pytest.fixture(params=["uint16", "float32"])
def dtype(request):
    return request.param


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


RANGE = {"uint16": "70000.*0 to 65535", "float32": "1e\\+300.*range of float32"}


def test_data_in_memory_are_refused_before_the_first_byte(image, tmp_path, files, dtype):
    before = files(tmp_path)
    with pytest.raises(ValueError, match=RANGE[dtype]) as caught:
        image.write_xarray(labelled(dtype, bad=True, lazy=False))
    assert isinstance(caught.value, LamellaError)
    assert files(tmp_path) == before
    assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1


def test_fractions_in_lazy_data_are_refused_as_those_in_memory(image, tmp_path, dtype):
    if dtype == "uint16":
        data = labelled(dtype, bad=False, lazy=False).astype("float64")
        image.write_xarray(data.chunk(t=1))  # whole numbers
        data[2, 0, 0, 1, 1] = 2.5
        with pytest.raises(ValueError, match=r"2.5, which uint16 would store as 2"):
            image.write_xarray(data)
        with pytest.raises(ValueError, match=r"region \[0:4, .* 2.5, which uint16 would store as 2"):
            image.write_xarray(data.chunk(t=1))
        assert lamella.status(tmp_path / "a.zarr").counts["partly"] == 1


def test_a_lazy_block_is_named_and_the_array_is_unfinished_until_it_is_written(image, tmp_path, dtype):
    path = tmp_path / "a.zarr"
    with pytest.raises(ValueError, match=RANGE[dtype]) as caught:
        image.write_xarray(labelled(dtype, bad=True, lazy=True))
    assert isinstance(caught.value, LamellaError)
    assert "region [" in str(caught.value)
    report = lamella.status(path)
    assert report.counts["partly"] == 1
    assert "unfinished: [0:4, 0:1, 0:1, 0:8, 0:8]" in str(report)
    assert report.to_dict()["images"][0]["levels"][0]["unfinished"]
    for read in (
        lambda a: a[0],
        lambda a: a.read((0,)),
        lambda a: a.numpy(),
        lambda a: a.read_many([(0,)]),
        lambda a: a.dask_array(),
        np.asarray,
        lambda a: a.oindex[0],
        lambda a: a.vindex[[0], [0], [0], [0], [0]],
        lambda a: a.blocks[0],
        lambda a: a.get_basic_selection(0),
        lambda a: a.get_orthogonal_selection(0),
        lambda a: a.get_coordinate_selection((0, 0, 0, 0, 0)),
        lambda a: a.get_mask_selection(np.ones(SHAPE, bool)),
        lambda a: a.get_block_selection(0),
        lambda a: a.get_basic_selection(0, prototype=zarr.core.buffer.default_buffer_prototype()),
    ):
        with pytest.warns(
            UserWarning, match=r"a.zarr/0 was not written completely: .*Write the region again"
        ) as found:
            read(lamella.open_ome_zarr(path).data)
        assert [warning.filename for warning in found] == [__file__]
    image.data[0] = 3  # a part of it
    assert lamella.status(path).counts["partly"] == 1
    image.write_xarray(labelled(dtype, bad=False, lazy=True))
    assert lamella.status(path).counts["written"] == 1
    np.testing.assert_array_equal(lamella.open_ome_zarr(path).data[...], 7)


def test_writing_all_in_one_call_finishes_the_array(image, tmp_path, dtype):
    with pytest.raises(ValueError, match=RANGE[dtype]):
        image.write_xarray(labelled(dtype, bad=True, lazy=True))
    image.data[...] = 2
    assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1
    np.testing.assert_array_equal(image.data[...], 2)


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


# ---- lazy data that are assigned, appended, or written as a channel --------------------------------


class Watched:
    """Lazy data that count what is read of them at a time."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.most = data, data.shape, data.dtype, 0

    def __getitem__(self, index):
        found = self.data[index]
        self.most = max(self.most, found.size)
        return found


def as_kind(data, kind, tmp_path):
    """Return data as lazy ones of a library."""
    if kind == "dask":
        return dask.array.from_array(data, chunks=(2,) * data.ndim)
    if kind == "xarray":
        return xr.DataArray(dask.array.from_array(data, chunks=(2,) * data.ndim))
    if kind == "zarr":
        import zarr

        return zarr.array(data, chunks=(2,) * data.ndim)
    if kind == "memory map":
        np.save(tmp_path / "data.npy", data)
        return np.load(tmp_path / "data.npy", mmap_mode="r")
    if kind == "image":
        position = lamella.open_ome_zarr(
            tmp_path / "other.zarr",
            layout="fov",
            mode="w",
            axes=lamella.models.axes("tczyx"[5 - data.ndim :]),
            channel_names=[f"{n}" for n in range(data.shape[-4])] if data.ndim > 3 else None,
        )
        return position.create_image("0", data, chunks=(1,) * (data.ndim - 2) + data.shape[-2:])
    return Watched(data)


KINDS = ("dask", "xarray", "zarr", "memory map", "image", "anything")


@pytest.fixture
def stack(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as position:
        array = position.create_zeros("0", (3, 2, 4, 8, 6), "uint16", chunks=(1, 1, 2, 4, 6))
        array[...] = 1
        yield position


INDICES = {
    "all": (...,),
    "a frame": (1,),
    "a channel": (slice(None), 1),
    "a plane": (2, 0, -1),
    "a box": (slice(1, 3), slice(None), slice(1, 4), slice(3, 8), slice(2, 5)),
    "one thick": (slice(1, 2), 0, slice(2, 3), slice(None), 4),
    "with steps": (..., slice(None, None, 2)),
    "backwards": (slice(0, 2), 0, slice(None, None, -1), slice(1, 7), slice(None, None, -1)),
    "a list": (0, 0, [0, 3]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", INDICES)
def test_lazy_data_are_assigned_as_those_in_memory(stack, tmp_path, kind, where):
    index, array = INDICES[where], stack.data
    expected = array[...]
    shape = expected[index].shape
    data = np.arange(np.prod(shape), dtype="int64").reshape(shape)
    expected[index] = data
    array[index] = as_kind(data, kind, tmp_path)
    np.testing.assert_array_equal(array[...], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6,), (8, 1), (2, 1, 1, 6), (1, 1, 3, 1, 4, 8, 6), (1, 8, 6)])
def test_lazy_data_are_broadcast_as_those_in_memory(stack, tmp_path, kind, shape):
    if kind == "image" and not 2 <= len(shape) <= 5:
        pytest.skip("no image has so many axes")
    data = np.arange(np.prod(shape), dtype="int64").reshape(shape)
    expected = stack.data[...]
    expected[...] = data
    stack.data[...] = as_kind(data, kind, tmp_path)
    np.testing.assert_array_equal(stack.data[...], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_lazy_data_that_do_not_fit_are_refused_before_a_byte_is_written(stack, tmp_path, kind, files):
    data = as_kind(np.zeros((3, 2, 4, 8, 5), "int64"), kind, tmp_path)
    before = files(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="does not fit a selection"):
        stack.data[...] = data
    with pytest.raises(ValueError, match="Cannot append"):
        stack.data.append(data)
    with pytest.raises(ValueError, match="needs data of shape"):
        stack.update_channel("GFP", "0", data)
    assert files(tmp_path / "a.zarr") == before


def assign(position, data):
    position.data[...] = data


def assign_a_frame(position, data):
    position.data[1] = data[1] if isinstance(data, dask.array.Array) else Watched(data.data[1])


def update_channel(position, data):
    position.update_channel(
        "GFP", "0", data[:, 1] if isinstance(data, dask.array.Array) else Watched(data.data[:, 1])
    )


@pytest.mark.parametrize("kind", ["dask", "anything"])
@pytest.mark.parametrize(
    ("write", "region"),
    [
        (assign, "0:3, 0:2, 0:4, 0:8, 0:6"),
        (assign_a_frame, "1:2, 0:2, 0:4, 0:8, 0:6"),
        (update_channel, "0:3, 1:2, 0:4, 0:8, 0:6"),
    ],
)
def test_a_block_of_lazy_data_that_are_assigned_is_named_and_the_array_is_unfinished(
    stack, tmp_path, kind, write, region
):
    path, data = tmp_path / "a.zarr", np.full((3, 2, 4, 8, 6), 9)
    data[1, 1, 3, 7, 5] = 70000
    with pytest.raises(ValueError, match=r"region \[.*70000.*0 to 65535"):
        write(stack, as_kind(data, kind, tmp_path))
    report = lamella.status(path)
    assert report.counts["partly"] == 1
    assert f"unfinished: [{region}]" in str(report)
    with pytest.warns(UserWarning, match="was not written completely"):
        lamella.open_ome_zarr(path).data[...]
    write(stack, as_kind(np.minimum(data, 9), kind, tmp_path))
    assert lamella.status(path).counts["written"] == 1
    assert (stack.data[...] == 9).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", [0, 2, -1])
def test_lazy_data_are_appended_whole_or_not_at_all(stack, tmp_path, kind, axis):
    shape = [3, 2, 4, 8, 6]
    shape[axis] = 3
    data = np.arange(np.prod(shape), dtype="int64").reshape(shape)
    bad = data.copy()
    bad[-1, -1, -1, -1, -1] = -1
    before = stack.data[...]
    with pytest.raises(ValueError, match=r"-1.*0 to 65535"):
        stack.data.append(
            as_kind(bad, kind, tmp_path) if kind != "image" else dask.array.from_array(bad), axis
        )
    np.testing.assert_array_equal(stack.data[...], before)
    assert lamella.status(tmp_path / "a.zarr").counts["written"] == 1
    assert stack.data.append(as_kind(data, kind, tmp_path), axis) == stack.data.shape
    np.testing.assert_array_equal(stack.data[...], np.concatenate([before, data], axis))


def test_lazy_data_are_read_in_bounded_memory(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        array = position.create_zeros("0", (64, 1, 1, 1024, 1024), "uint8", chunks=(1, 1, 1, 1024, 1024))
        data = Watched(np.broadcast_to(np.uint8(7), array.shape))
        array[...] = data
        assert data.most * array.dtype.itemsize <= 8 * 2**20
        more = Watched(np.broadcast_to(np.int64(7), array.shape))
        array.append(more)
        assert more.most <= 8 * 2**20
        assert int(array[[0, 63, 64, 127]].sum()) == 4 * 7 * 1024**2


@pytest.mark.parametrize("wrapped", ["dask", "xarray", "zarr"])
def test_lazy_data_that_read_from_the_array_itself_are_written_as_those_in_memory(
    tmp_path, version, files, wrapped
):
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        # 16 MiB, in blocks of 8: what one writes the other reads.
        array = position.create_zeros("0", (16, 1, 1, 1024, 1024), "uint8", chunks=(1, 1, 1, 1024, 1024))
        pixels = np.empty(array.shape, "uint8")
        pixels[...] = np.arange(16, dtype="uint8").reshape(-1, 1, 1, 1, 1)
        array[...] = pixels
        names = set(files(tmp_path / "a.zarr"))
        if wrapped == "zarr":
            array[...] = dask.array.from_zarr(array.zarr())[::-1]
        elif wrapped == "dask":
            array[...] = array.dask_array()[::-1]
        else:
            array[...] = position.to_xarray()[::-1]
        assert array[:, 0, 0, 0, 0].tolist() == list(range(16))[::-1]
        array[1:16] = array.dask_array()[:15]
        assert array[:, 0, 0, 0, 0].tolist() == [15, 15, *range(14, 0, -1)]
        assert set(files(tmp_path / "a.zarr")) == names


def test_labels_that_are_written_lazily_extend_the_table_of_colours(stack):
    cells = stack.labels.create("cells", np.ones((3, 4, 8, 6), "uint16"), colors={1: (0, 255, 0)})
    ids = np.ones((3, 4, 8, 6), "uint16")
    ids[2, 3, 7, 5] = 2
    cells.data[...] = dask.array.from_array(ids, chunks=(1, 4, 4, 3))
    assert sorted(cells.colors) == [1, 2]
    ids[0, 0, 0, 0] = 3
    cells.write_xarray(xr.DataArray(ids, dims=tuple("tzyx")))
    assert sorted(cells.colors) == [1, 2, 3]
    ids[0, 0, 0, 0] = 4
    cells.write_xarray(xr.DataArray(ids, dims=tuple("tzyx")).chunk(t=1))
    assert sorted(cells.colors) == [1, 2, 3, 4]
    assert cells.colors[1] == (0, 255, 0, 255)
    cells.data.append(dask.array.full((1, 4, 8, 6), 9, dtype="uint16"))
    assert sorted(cells.colors) == [1, 2, 3, 4, 9]
