"""Labelled arrays written into positions: what a user finds there afterwards."""

from __future__ import annotations

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella.adapters.xarray_backend import LamellaBackend
from lamella.errors import InvalidArgumentError
from lamella.models import TransformationMeta, axes
from lamella.store.pixels.arrays import StoredArray

AXIS_SETS = ("yx", "zyx", "cyx", "tyx", "tczyx", "tcyx", "czyx")
LENGTHS = {"t": 3, "c": 2, "z": 4, "y": 6, "x": 5}
CHANNELS = ["DAPI", "GFP"]


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


def new_position(version, names="tczyx", where=None, channels=CHANNELS):
    return lamella.open_ome_zarr(
        where or tempfile.mkdtemp() + "/image.zarr",
        layout="fov",
        mode="w",
        channel_names=channels if "c" in names else None,
        axes=axes(names),
        version=version,
    )


def labelled(names="tczyx", dtype="uint16", step=0.5, **lengths):
    """An array of distinct voxels with a coordinate and unit on each axis."""
    shape = tuple({**LENGTHS, **lengths}[name] for name in names)
    coords = {}
    for name, length in zip(names, shape, strict=True):
        unit = {"units": "second" if name == "t" else "nanometer"}
        coords[name] = CHANNELS[:length] if name == "c" else (name, 10 + step * np.arange(length), unit)
    pixels = np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)
    return xr.DataArray(pixels, dims=tuple(names), coords=coords, attrs={"units": "radian", "gain": 2})


def frames(whole):
    """Cut an array into one piece per timepoint and channel."""
    times = range(whole.sizes["t"])
    return [whole.isel(t=[t], c=[c]) for t, c in itertools.product(times, range(whole.sizes["c"]))]


def stored(position):
    """Everything that a store says: pixels, document, array document."""
    again = lamella.open_ome_zarr(position.zgroup.store.root)
    document = dict(again.zattrs)
    document.pop("name", None)
    for part in (document, document.get("ome", {})):
        for image in part.get("multiscales", []):
            image.pop("name", None)
        part.get("omero", {}).pop("name", None)
    return again.data.numpy().tolist(), document, again.data.chunks


@pytest.mark.parametrize("names", AXIS_SETS)
def test_what_is_written_is_read_back(version, names):
    position, whole = new_position(version, names), labelled(names)
    position.write_xarray(whole)
    position.close()
    again = lamella.open_ome_zarr(position.zgroup.store.root).to_xarray()
    xr.testing.assert_identical(again.drop_attrs(deep=False), whole.drop_attrs(deep=False).rename(again.name))
    assert again.attrs == whole.attrs
    assert again.dtype == whole.dtype


@pytest.mark.parametrize("names", ["TCZYX", "YX"])
def test_dims_are_lower_case_whatever_the_axes(version, names):
    own = [axis.model_copy(update={"name": axis.name.upper()}) for axis in axes(names.lower())]
    position = lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/a.zarr", layout="fov", mode="w", axes=own, version=version,
        channel_names=CHANNELS if "C" in names else None,
    )  # fmt: skip
    position.write_xarray(labelled(names.lower()))
    assert position.to_xarray().dims == tuple(names.lower())
    assert [axis.name for axis in position.axes] == list(names)


def test_the_first_write_makes_an_image_with_all_channels(version):
    position = new_position(version)
    position.write_xarray(labelled(t=1).sel(c=["GFP"]))
    assert position.data.shape == (1, 2, 4, 6, 5)
    assert not position.data[:, 0].any()
    assert position.data[:, 1].all()
    assert position.channel_names == CHANNELS


def test_a_single_coordinate_gives_scale_1_and_its_value_as_translation(version):
    position = new_position(version)
    position.write_xarray(labelled(t=1, z=1))
    assert position.scale == [1, 1, 1, 0.5, 0.5]
    assert position.get_effective_translation("0") == [10, 0, 10, 10, 10]


def test_timepoints_one_after_the_other_land_side_by_side(version):
    position = new_position(version)
    for time in (0.0, 1.0):
        position.write_xarray(labelled(t=1).assign_coords(t=[time]) + int(time))
    assert position.data.shape[0] == 2
    assert position.scale[0] == 1
    assert position.get_effective_translation("0")[0] == 0
    np.testing.assert_array_equal(position.data[1], position.data[0] + 1)


@pytest.mark.parametrize("step", [1.0, 2.0, 0.1, 30.0])
def test_any_order_of_frames_gives_the_same_store(version, step):
    whole = labelled(t=3, z=1, y=2, x=2).assign_coords(t=7 + step * np.arange(3))
    at_once = new_position(version)
    at_once.write_xarray(whole)
    expected = stored(at_once)
    rng = np.random.default_rng(0)
    for _ in range(6):
        position = new_position(version)
        pieces = frames(whole)
        for i in rng.permutation(len(pieces)):
            position.write_xarray(pieces[i])
        assert stored(position) == expected


def test_a_gap_between_timepoints_is_filled_later(version):
    whole = labelled(t=3, z=1, y=2, x=2).assign_coords(t=[0.0, 2.0, 4.0])
    position = new_position(version)
    for t in (2, 0, 1):
        position.write_xarray(whole.isel(t=[t]))
    assert position.array_keys() == ["0"]
    xr.testing.assert_equal(position.to_xarray(), whole)


def test_the_scale_of_single_coordinates_survives_a_round_trip(version):
    source = new_position(version)
    source.write_xarray(labelled(t=2, z=2))
    source.set_scale("0", "t", 2.0)
    source.set_scale("0", "z", 0.25)
    target = new_position(version)
    for t in (1, 0):
        target.write_xarray(source.to_xarray().isel(t=[t], z=[1]))
    assert target.scale == source.scale
    assert target.data.shape[0] == 2


@given(
    scale=st.lists(st.floats(1e-3, 1e3), min_size=5, max_size=5),
    translation=st.lists(st.floats(-1e4, 1e4), min_size=5, max_size=5),
    lengths=st.lists(st.integers(1, 3), min_size=5, max_size=5),
)
@settings(max_examples=9)
def test_scale_and_translation_survive_a_round_trip_exactly(scale, translation, lengths):
    scale[1], translation[1], lengths[1] = 1.0, 0.0, 2
    moves = [
        TransformationMeta(type="scale", scale=scale),
        TransformationMeta(type="translation", translation=translation),
    ]
    source, target = new_position("0.5"), new_position("0.4")
    source.create_zeros("0", lengths, "uint8", transform=moves)
    target.write_xarray(source.to_xarray())
    assert target.scale == source.scale
    assert target.get_effective_translation("0") == source.get_effective_translation("0")


@pytest.mark.parametrize("shards_ratio", [None, (2, 2, 1, 2, 1)])
@given(data=st.data())
@settings(max_examples=6)
def test_random_parts_equal_numpy(shards_ratio, data):
    version = "0.4" if shards_ratio is None else "0.5"
    position = new_position(version, channels=["a", "b", "c"])
    position.create_zeros("0", (4, 3, 2, 6, 5), "int32", chunks=(1, 1, 2, 3, 5), shards_ratio=shards_ratio)
    expected = np.zeros(position.data.shape, "int32")
    for number in range(1, 5):
        times = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True))
        channels = data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        block = np.random.default_rng(number).integers(1, 99, (len(times), len(channels), 2, 6, 5), "int32")
        part = xr.DataArray(block, dims=tuple("tczyx"), coords={"t": times, "c": channels})
        position.write_xarray(part.chunk(y=4) if number % 2 else part)
        if max(times) >= len(expected):
            expected = np.concatenate(
                [expected, np.zeros((max(times) + 1 - len(expected), 3, 2, 6, 5), "int32")]
            )
        expected[np.ix_(times, ["abc".index(name) for name in channels])] = block
    np.testing.assert_array_equal(position.data.numpy(), expected)


def test_an_image_made_before_keeps_its_transforms(version):
    position = new_position(version)
    moves = [
        TransformationMeta(type="scale", scale=[2, 1, 0.3, 0.1, 0.1]),
        TransformationMeta(type="translation", translation=[4, 0, 0, 0, 0]),
    ]
    position.create_zeros("0", (2, 2, 4, 6, 5), "uint16", transform=moves)
    before = position.metadata.multiscales[0].datasets[0].model_dump()
    part = labelled(t=2).drop_vars(["z", "y", "x"])
    position.write_xarray(part.assign_coords(t=[6.0, 8.0]))
    position.write_xarray(part.isel(t=[0]).assign_coords(t=[4.0]))
    assert position.metadata.multiscales[0].datasets[0].model_dump() == before
    assert position.data.shape[0] == 3
    assert [position.data[t].any() for t in range(3)] == [True] * 3


def test_growing_keeps_pyramid_levels_as_long_as_the_image(version):
    position = new_position(version)
    position.write_xarray(labelled(t=1))
    position.initialize_pyramid(2)
    position.write_xarray(labelled(t=1).assign_coords(t=[11.0]))
    assert [array.shape[0] for _, array in position.images()] == [2, 2]


def test_an_fov_scale_is_taken_into_account(version):
    position = new_position(version)
    position.set_transform("*", [TransformationMeta(type="scale", scale=[1, 1, 2, 2, 2])])
    whole = labelled()
    position.write_xarray(whole)
    xr.testing.assert_allclose(position.to_xarray(), whole)


def test_attrs_are_added_to_and_survive_closing(version):
    position = new_position(version)
    one = labelled(t=1)
    position.write_xarray(one.assign_attrs(size=np.float32(0.5), shape=(1, 2), table=np.arange(3)))
    position.write_xarray(one.assign_attrs(gain=3))
    position.close()
    found = lamella.open_ome_zarr(position.zgroup.store.root).to_xarray().attrs
    assert found == {"units": "radian", "gain": 3, "size": 0.5, "shape": [1, 2], "table": [0, 1, 2]}


def test_units_are_stored_under_the_names_of_the_specification(version):
    position = new_position(version)
    one = labelled(t=1)
    for name, unit in (("t", "ms"), ("z", "µm"), ("y", "pixel")):
        one.coords[name].attrs["units"] = unit
    del one.coords["x"].attrs["units"]
    position.write_xarray(one)
    assert [axis.unit for axis in position.axes] == ["millisecond", None, "micrometer", None, "micrometer"]


@pytest.mark.parametrize(("axis", "unit"), [("t", "minute"), ("y", "micrometer"), ("y", "pixel")])
def test_data_in_another_unit_than_the_image_are_refused(version, axis, unit):
    position, whole = new_position(version), labelled()
    position.write_xarray(whole)
    before = stored(position)
    whole.coords[axis].attrs["units"] = unit
    with pytest.raises(InvalidArgumentError, match=rf"'{axis}' is in {unit}.* set_unit"):
        position.write_xarray(whole.isel(t=[1]) if axis == "t" else whole)
    assert stored(position) == before


def test_data_without_coordinates_count_by_index(version):
    position = new_position(version)
    whole = labelled().drop_vars(["t", "c", "z", "y", "x"])
    position.write_xarray(whole)
    assert position.scale == [1] * 5
    np.testing.assert_array_equal(position.data.numpy(), whole.values)


def test_channels_in_another_order_find_their_place(version):
    position, whole = new_position(version), labelled()
    position.write_xarray(whole.isel(c=[1, 0], t=[0, 1, 2]))
    np.testing.assert_array_equal(position.data.numpy(), whole.values)
    position.write_xarray((whole + 1).isel(t=[2, 0], c=[1, 0]))
    np.testing.assert_array_equal(position.data[0], whole.values[0] + 1)
    np.testing.assert_array_equal(position.data[1], whole.values[1])


def test_an_appended_channel_can_be_written(version):
    position = new_position(version)
    position.write_xarray(labelled())
    position.append_channel("Cy5", resize_arrays=False)
    position.write_xarray(labelled(c=1).assign_coords(c=["Cy5"]))
    assert position.data.shape[1] == 3
    assert position.data[:, 2].all()


@pytest.mark.parametrize("scheduler", ["threads", "processes", "synchronous"])
def test_lazy_data_are_written_block_by_block(version, scheduler):
    position = new_position(version)
    ratio = None if version == "0.4" else (2, 1, 1, 2, 2)
    position.create_zeros("0", (3, 2, 4, 6, 5), "uint16", chunks=(1, 1, 4, 2, 2), shards_ratio=ratio)
    whole = labelled(step=1.0)
    lazy = whole.chunk({"t": 2, "y": 4, "x": 3}) * 1
    lost = "The coordinates of dims 'z', 'y', 'x' are not stored: .* keeps its scale 1"
    with dask.config.set(scheduler=scheduler), pytest.warns(UserWarning, match=lost):
        position.write_xarray(lazy.assign_coords(t=[0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(position.data.numpy(), whole.values)
    assert position.scale == [1.0] * 5


def test_lazy_blocks_that_cross_shards_become_one_write_of_all_of_them(monkeypatch):
    position = new_position("0.5")
    position.create_zeros(
        "0", (2, 2, 4, 64, 64), "uint16", chunks=(1, 1, 1, 16, 16), shards_ratio=(2, 2, 1, 2, 2)
    )
    written, write = [], StoredArray.write
    monkeypatch.setattr(StoredArray, "write", lambda self, i, d: (written.append(i), write(self, i, d))[1])
    lazy = xr.DataArray(
        da.ones((2, 2, 4, 64, 64), chunks=(1, 1, 2, 33, 7), dtype="uint16"), dims=tuple("tczyx")
    )
    position.write_xarray(lazy)
    assert len(written) == 1
    assert position.data.numpy().all()


def test_data_that_xarray_reads_lazily_are_written(version):
    position, first, whole = new_position(version), new_position(version), labelled()
    first.write_xarray(whole)
    position.write_xarray(xr.open_dataset(first.zgroup.store.root, engine=LamellaBackend)["image"])
    np.testing.assert_array_equal(position.data.numpy(), whole.values)


def test_a_position_can_be_overwritten_with_what_it_lazily_reads(version):
    position, whole = new_position(version), labelled()
    position.write_xarray(whole)
    position.write_xarray(position.to_xarray() * 2)
    np.testing.assert_array_equal(position.data.numpy(), whole.values * 2)


def test_a_store_in_memory_takes_labelled_arrays():
    position = lamella.open_ome_zarr(
        zarr.storage.MemoryStore(),
        layout="fov",
        mode="w",
        channel_names=CHANNELS,
        axes=axes("tczyx"),
        version="0.5",
    )
    whole = labelled()
    for t in (2, 0, 1):
        position.write_xarray(whole.isel(t=[t]).chunk(y=3))
    xr.testing.assert_equal(position.to_xarray(), whole)


def test_an_image_in_a_plate_takes_the_channels_of_the_plate(version):
    plate = lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/p.zarr", layout="hcs", mode="w", channel_names=CHANNELS, version=version
    )
    position = plate.create_position("A", "1", "0")
    position.write_xarray(labelled())
    np.testing.assert_array_equal(plate["A/1/0"].data.numpy(), labelled().values)


def test_threads_that_write_a_timepoint_each_lose_nothing(version):
    whole = labelled(t=6, c=1)
    path = new_position(version).zgroup.store.root

    def write(t):
        lamella.open_ome_zarr(path, mode="r+").write_xarray(whole.isel(t=[t]))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, (3, 5, 0, 2, 4, 1)))
    found = lamella.open_ome_zarr(path).to_xarray()
    xr.testing.assert_equal(found.sel(c=["DAPI"]), whole)


@pytest.mark.parametrize("names", AXIS_SETS)
def test_what_is_written_is_valid(version, names):
    position, whole = new_position(version, names), labelled(names)
    for t in (2, 0, 1) if "t" in names else (None,):
        position.write_xarray(whole if t is None else whole.isel(t=[t]))
    yaozarrs.validate_zarr_store(position.zgroup.store.root)


def test_a_label_image_is_a_labelled_array(version):
    position = new_position(version)
    position.write_xarray(labelled())
    position.labels["cells"] = np.ones((3, 4, 6, 5), "uint8")
    cells = position.labels["cells"].to_xarray()
    assert cells.dims == ("t", "z", "y", "x")
    xr.testing.assert_equal(cells.coords["x"], position.to_xarray().coords["x"])


def test_coordinates_that_are_not_stored_are_named(tmp_path):
    data = labelled("zyx").assign_coords(well="A1", depth=("z", np.arange(LENGTHS["z"])))
    with pytest.warns(UserWarning, match="'depth' and 'well'") as caught:
        lamella.write_image(tmp_path / "a.zarr", data)
    assert caught[0].filename == __file__
    with new_position("0.5", "zyx") as position, pytest.warns(UserWarning, match="'c'"):
        position.write_xarray(labelled("czyx").isel(c=0))
