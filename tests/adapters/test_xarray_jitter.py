"""Laws of timepoints that are not quite regular: each takes its step, and its real time is read back."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella
from lamella.adapters.xarray_fit import fit_steps

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


@settings(max_examples=15)
@given(
    steps=st.lists(st.integers(0, 7), min_size=2, max_size=8, unique=True),
    # In thousandths of a step: what is below a ten-thousandth counts as the noise of floats, and may be dropped.
    jitter=st.lists(st.integers(-50, 50).map(lambda number: number / 1000), min_size=8, max_size=8),
    step=st.sampled_from([0.1, 1.0, 60.0, 7200.0]),
    start=st.sampled_from([0.0, -5.0, 1234.5]),
    late=st.booleans(),
    data=st.data(),
)
def test_the_outcome_does_not_depend_on_the_order_of_writes(new, steps, jitter, step, start, late, data):
    times = sorted(start + step * (n + jitter[n]) for n in steps)
    whole = film(times)
    pieces = [whole.isel(t=[frame]) for frame in range(len(times))]
    if late:  # each channel by itself
        pieces = [piece.isel(c=[channel]) for piece in pieces for channel in (0, 1)]
    one, other = new(), new()
    for piece in pieces:
        write(one, piece)
    for piece in data.draw(st.permutations(pieces)):
        write(other, piece)
    assert one.data.shape == other.data.shape
    assert one.scale == pytest.approx(other.scale)
    assert one.get_effective_translation("0") == pytest.approx(other.get_effective_translation("0"))
    assert one.to_xarray().coords["t"].values == pytest.approx(other.to_xarray().coords["t"].values)
    np.testing.assert_array_equal(one.data[...], other.data[...])
    found = other.to_xarray().sel(t=times, method="nearest")
    np.testing.assert_array_equal(found, whole)


def test_noise_of_floats_does_not_decide_how_a_half_is_rounded():
    times = np.array([0.004, 0.1, 0.1963, 0.3])  # 0.00015 is in their middle
    starts = set()
    for frame in range(4):
        for towards in (-1, 1):
            noisy = times.copy()
            noisy[frame] = np.nextafter(np.nextafter(noisy[frame], towards), towards)
            start, step, _ = fit_steps(noisy, None)
            starts.add((round(start, 9), round(step, 9)))
    assert len(starts) == 1, starts


@settings(max_examples=66)
@given(
    steps=st.lists(st.integers(0, 7), min_size=2, max_size=8, unique=True),
    jitter=st.lists(st.floats(-0.05, 0.05), min_size=8, max_size=8),
    step=st.sampled_from([0.1, 60.0]),
)
def test_times_within_a_twentieth_of_even_steps_find_a_step_near_them(steps, jitter, step):
    times = np.array(sorted(step * (n + jitter[n]) for n in steps))
    start, found, places = fit_steps(times, None)
    assert (np.diff(places) >= 1).all()
    assert np.abs(times - start - found * places).max() <= 0.05 * found * (1 + 1e-5)
    if len(steps) == 8:
        assert places.tolist() == list(range(8))


@pytest.mark.parametrize("made_before", [False, True])
@pytest.mark.parametrize(("first", "second"), [(60.0, 61.0), (61.0, 60.0), (59.2, 60.9)])
def test_two_times_of_one_step_do_not_replace_each_other(new, files, made_before, first, second):
    position, whole = new(), film([0.0, first, 120.0])
    if made_before:
        position.create_zeros("0", whole.shape, "uint16")
        position.set_scale("0", "t", 60.0)
    for frame in range(3):
        write(position, whole.isel(t=[frame]))
    root = position.zgroup.store.root
    before = files(root)
    again = whole.isel(t=[1]).assign_coords(t=[second]) + 1000
    for channels in ([0, 1], [0], [1]):
        with pytest.raises(
            ValueError, match=rf"coordinate {second:g} lies within .* voxels of .* {first:g} already"
        ):
            position.write_xarray(again.isel(c=channels))
        assert files(root) == before
    write(position, again.assign_coords(t=[first]))  # that one, written again
    np.testing.assert_array_equal(position.data[1], again[0])
    assert position.to_xarray().coords["t"].values.tolist() == [0.0, first, 120.0]


def test_voxels_whose_time_is_not_known_are_not_lost_when_timepoints_move(new, files):
    position, whole = new(), film([0.0, 20.0, 41.0, 3.0])
    for frame in range(3):
        write(position, whole.isel(t=[frame]))  # steps of 20.5: they go to 0, 20 and 41 with the next
    root = position.zgroup.store.root
    position.data.resize(4, *whole.shape[1:])
    position.data[3] = 5
    before = files(root)
    with pytest.raises(ValueError, match=r"Timepoint 3 of .* has voxels of unknown time"):
        position.write_xarray(whole.isel(t=[3]))
    assert files(root) == before
    position.data[3] = 0
    write(position, whole.isel(t=[3]))
    np.testing.assert_array_equal(position.data[[0, 20, 41, 3]], whole)
    assert position.data[...].astype(bool).sum() == whole.size


def test_voxels_of_a_fill_value_of_nan_are_no_voxels_of_unknown_time(new):
    position, whole = new(), film([0.0, 20.0, 41.0, 3.0]).astype("float32")
    for frame in range(3):
        write(position, whole.isel(t=[frame]))
    for document in position.zgroup.store.root.glob("0/[.z]*ar*"):  # .zarray or zarr.json
        document.write_text(re.sub('"fill_value": *[0-9.]+', '"fill_value": "NaN"', document.read_text()))
    position = lamella.open(position.zgroup.store.root, "r+")
    assert np.isnan(position.data.fill_value)
    position.data.resize(4, *whole.shape[1:])
    write(position, whole.isel(t=[3]))
    np.testing.assert_array_equal(position.data[[0, 20, 41, 3]], whole)


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
    position, whole = new(), film([0.0, 100.0, 180.5])
    position.write_xarray(whole.isel(t=[0]))
    position.write_xarray(whole.isel(t=[1]))
    before = files(position.zgroup.store.root)
    with pytest.raises(ValueError, match=r"180.5 of dim 't' .* tenth of the smallest gap between two, 80.5"):
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
    from lamella.store.metadata.documents import Documents

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


@pytest.mark.parametrize("made_before", [False, True])
def test_data_without_times_are_written_by_index_and_the_real_times_stay(new, made_before):
    position, whole = new(), film(TIMES)
    if made_before:
        position.create_zeros("0", whole.shape, "uint16")
        position.set_scale("0", "t", 60.0)
    for frame in range(5):
        write(position, whole.isel(t=[frame]))
    position.write_xarray((whole + 1).drop_vars("t"))
    assert position.to_xarray().coords["t"].values.tolist() == list(TIMES)
    np.testing.assert_array_equal(position.data[...], whole + 1)
