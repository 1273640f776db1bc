"""Laws of timepoints that are not quite regular: each takes its step, and its real time is read back."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella

TIMES = (0.0, 60.0, 121.0, 180.0, 241.0)


@pytest.fixture
def new(tmp_path, version):
    numbers = itertools.count()

    def make():
        return lamella.open_ome_zarr(
            tmp_path / f"{next(numbers)}.zarr",
            layout="fov",
            mode="w",
            channel_names=["DAPI", "GFP"],
            version=version,
        )

    return make


def film(times):
    shape = (len(times), 2, 1, 2, 3)
    data = np.arange(1, np.prod(shape) + 1, dtype="uint16").reshape(shape)
    coords = {"t": ("t", list(times), {"units": "second"}), "c": ["DAPI", "GFP"]}
    return xr.DataArray(data, dims=tuple("tczyx"), coords=coords)


def write(position, data):
    """Write what warns of times off their step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ coordinates of dim 't' lie off", UserWarning)
        position.write_xarray(data)


def facts(position):
    return (
        position.data.shape,
        position.scale,
        position.get_effective_translation("0"),
        position.zattrs["lamella"],
    )


def test_jittered_times_take_their_steps_and_are_read_back(new):
    position, whole = new(), film(TIMES)
    for frame in range(2):
        position.write_xarray(whole.isel(t=[frame]))
    with pytest.warns(
        UserWarning, match=r"1 of 1 coordinates of dim 't' lie off the even steps of 60 .* by up to 1"
    ):
        position.write_xarray(whole.isel(t=[2]))
    for frame in (3, 4):
        write(position, whole.isel(t=[frame]))
    assert position.data.shape == whole.shape
    assert position.scale[0] == 60
    again = lamella.open_ome_zarr(position.zgroup.store.root)
    xr.testing.assert_equal(again.to_xarray().drop_vars(["z", "y", "x"]), whole)
    assert again.to_xarray().coords["t"].values.tolist() == list(TIMES)
    assert position.zattrs["lamella"]["times"]["0"]["times"] == list(TIMES)


def test_jittered_times_are_written_at_once(new):
    position, whole = new(), film(TIMES)
    with pytest.warns(UserWarning, match="2 of 5 coordinates"):
        position.write_xarray(whole)
    pieces = new()
    for frame in range(5):
        write(pieces, whole.isel(t=[frame]))
    assert facts(position) == facts(pieces)


@settings(max_examples=12)
@given(
    steps=st.lists(st.integers(0, 5), min_size=2, max_size=5, unique=True),
    jitter=st.lists(st.floats(-0.012, 0.012), min_size=6, max_size=6),
    step=st.sampled_from([0.1, 1.0, 60.0, 7200.0]),
    start=st.sampled_from([0.0, -5.0, 1234.5]),
    data=st.data(),
)
def test_the_outcome_does_not_depend_on_the_order_of_writes(new, steps, jitter, step, start, data):
    times = sorted(start + step * (n + jitter[n]) for n in steps)
    whole = film(times)
    order = data.draw(st.permutations(range(len(times))))
    one, other = new(), new()
    for frame in range(len(times)):
        write(one, whole.isel(t=[frame]))
    for frame in order:
        write(other, whole.isel(t=[frame]))
    assert one.data.shape == other.data.shape
    assert one.data.shape[0] <= max(steps) - min(steps) + 1
    assert one.scale == pytest.approx(other.scale)
    assert one.get_effective_translation("0") == pytest.approx(other.get_effective_translation("0"))
    assert one.to_xarray().coords["t"].values == pytest.approx(other.to_xarray().coords["t"].values)
    np.testing.assert_array_equal(one.data[...], other.data[...])
    found = other.to_xarray().sel(t=times, method="nearest")
    np.testing.assert_array_equal(found, whole)


def test_to_xarray_can_be_written_again(new):
    source = new()
    for frame in (4, 0, 2):
        write(source, film(TIMES).isel(t=[frame]))
    copy = new()
    write(copy, source.to_xarray())
    expected = source.to_xarray().compute().rename(None)
    xr.testing.assert_identical(copy.to_xarray().compute().rename(None), expected)
    again = new()
    for frame in reversed(range(source.data.shape[0])):
        write(again, source.to_xarray().isel(t=[frame]))
    xr.testing.assert_identical(again.to_xarray().compute().rename(None), expected)
    assert copy.scale == source.scale == again.scale
    before = facts(source)
    write(source, source.to_xarray())
    assert facts(source) == before


def test_a_step_below_a_tenth_of_the_smallest_gap_is_refused(new, files):
    position, whole = new(), film([0.0, 100.0, 137.0])
    position.write_xarray(whole.isel(t=[0]))
    position.write_xarray(whole.isel(t=[1]))
    before = files(position.zgroup.store.root)
    with pytest.raises(ValueError, match=r"137 of dim 't' .* tenth of the smallest gap between two, 37"):
        position.write_xarray(whole.isel(t=[2]))
    assert files(position.zgroup.store.root) == before


def test_a_step_of_a_tenth_is_taken(new):
    position, whole = new(), film([0.0, 10.0, 27.0])
    for frame in range(3):
        position.write_xarray(whole.isel(t=[frame]))
    assert position.data.shape[0] == 28
    np.testing.assert_array_equal(position.data[[0, 10, 27]], whole)


def test_a_channel_that_comes_a_little_later_is_of_the_same_timepoint(new):
    position, whole = new(), film([0.0, 60.0, 120.0])
    for frame, time in enumerate((0.0, 60.0, 120.0)):
        position.write_xarray(whole.isel(t=[frame], c=[0]))
        if frame:
            late = whole.isel(t=[frame], c=[1]).assign_coords(t=[time + 0.4])
            write(position, late)
    assert position.data.shape[0] == 3
    np.testing.assert_array_equal(position.data[1:], whole[1:])


def test_an_image_made_before_keeps_its_scale_and_has_the_real_times(new):
    position, whole = new(), film(TIMES)
    position.create_zeros("0", whole.shape, "uint16")
    position.set_scale("0", "t", 60.0)
    for frame in (3, 0, 2, 4, 1):
        write(position, whole.isel(t=[frame]))
    assert position.scale[0] == 60
    assert position.to_xarray().coords["t"].values.tolist() == list(TIMES)
    position.set_scale("0", "t", 30.0)  # somebody says otherwise
    assert position.to_xarray().coords["t"].values.tolist() == [0, 30, 60, 90, 120]


def test_regular_times_are_stored_as_scale_alone(new):
    position, whole = new(), film([0.0, 60.0, 120.0])
    for frame in (2, 0, 1):
        position.write_xarray(whole.isel(t=[frame]))
    assert "times" not in position.zattrs["lamella"]


def test_times_of_another_writer_are_passed_over(new):
    position = new()
    position.write_xarray(film([0.0, 60.0]))
    for times in (5, [1, 2], {"0": 3}, {"0": {"start": 0, "step": 60, "frames": [0], "times": ["a"]}}):
        position.zattrs["lamella"] = {"times": times}
        assert position.to_xarray().coords["t"].values.tolist() == [0, 60]


@pytest.mark.parametrize("step", range(4))
def test_a_write_that_dies_while_it_sets_the_step_can_be_repeated(new, step, monkeypatch):
    from lamella.store.documents import Documents

    whole, position = film(TIMES), new()
    write(position, whole.isel(t=[0, 2]))
    write(position, whole.isel(t=[4]))
    left = [step]

    def dying(name):
        original = getattr(Documents, name)

        def method(self, *args, **kwargs):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Documents, name, method)

    for name in ("put_array", "edit_group", "delete", "move"):
        dying(name)
    with pytest.raises(KeyboardInterrupt):
        write(position, whole.isel(t=[1]))
    monkeypatch.undo()
    again = lamella.open_ome_zarr(position.zgroup.store.root, mode="r+")
    for frame in (1, 3):
        write(again, whole.isel(t=[frame]))
    assert again.to_xarray().coords["t"].values.tolist() == list(TIMES)
    np.testing.assert_array_equal(again.data[...], whole)
