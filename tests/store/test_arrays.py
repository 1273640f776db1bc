"""Law: an array in a store behaves as one of numpy, whatever the engine, format, dtype and cutting."""

from __future__ import annotations

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.errors import (
    InvalidArgumentError,
    OutOfBoundsError,
)
from lamella.store.pixels import engine_zarr
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.selection import orthogonal, points

DTYPES = ["u1", "u2", "i2", "i4", "u4", "f4", "f8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read_by_everybody(make_array_with, layout, dtype, zarr_format, values):
    shape, options = layout
    engine = ("files", "zarr")[(DTYPES.index(dtype) + sum(shape) + zarr_format) % 2]  # in turn
    array = make_array_with(engine, shape, dtype, **options)
    data = values(shape, dtype)
    array.write(..., data)
    path = f"{array.documents.storage.root}/0"
    readers = {name: StoredArray(array.documents, "0", engine=name).read() for name in ("files", "zarr")}
    readers["plain zarr"] = zarr.open_array(path, mode="r", zarr_format=zarr_format)[...]
    spec = {"driver": "zarr3" if zarr_format == 3 else "zarr", "kvstore": {"driver": "file", "path": path}}
    readers["plain tensorstore"] = ts.open(spec).result().read().result()
    for reader, found in readers.items():
        assert found.dtype == data.dtype, reader
        np.testing.assert_array_equal(found, data, reader)


def test_a_write_of_many_batches_is_whole(make_array, layout, values, monkeypatch):
    monkeypatch.setattr(engine_zarr, "_BATCH_BYTES", 100)
    shape, options = layout
    array = make_array(shape, **options)
    array.write(..., values(shape, "u2"))
    np.testing.assert_array_equal(array.read(), values(shape, "u2"))


def test_unwritten_places_hold_the_fill_value(make_array, layout, files_of):
    shape, options = layout
    array = make_array(shape, fill_value=7, **options)
    np.testing.assert_array_equal(array.read(), np.full(shape, 7, "u2"))
    assert files_of(array) == {}


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_both_engines_write_the_same_bytes(make_array_with, unsharded_layout, dtype, values, files_of):
    shape, options = unsharded_layout
    data = values(shape, dtype)
    one = make_array_with("files", shape, dtype, path="one", **options)
    other = make_array_with("zarr", shape, dtype, path="other", **options)
    one.write(..., data)
    other.write(..., data)
    assert files_of(one) == files_of(other)


def test_chunks_of_fill_values_are_stored(make_array, layout, files_of):
    # A frame written as zeros is not the same as a frame never written.
    shape, options = layout
    array = make_array(shape, **options)
    array.write(..., 0)
    assert len(files_of(array)) == np.prod(array.meta.grid)


def _positions(item):
    return np.arange(item.start, item.stop, item.step) if isinstance(item, slice) else item


@st.composite
def basic_index(draw, shape):
    items = []
    for n in shape:
        kind = draw(st.sampled_from(["int", "slice", "step", "all"]))
        if kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "all":
            items.append(slice(None))
        else:
            start, stop = sorted((draw(st.integers(0, n)), draw(st.integers(0, n))))
            items.append(slice(start, stop, draw(st.integers(1, 3)) if kind == "step" else 1))
    arrays = draw(st.integers(0, 2))
    for axis in range(min(arrays, len(shape))):
        items[axis] = draw(st.lists(st.integers(-shape[axis], shape[axis] - 1), min_size=2, max_size=2))
    if draw(st.booleans()) and isinstance(items[-1], slice):
        items[-1] = slice(None, None, -draw(st.integers(1, 2)))
    return tuple(items)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_writes_and_reads_by_index_as_numpy_does(make_array, layout, data, values):
    shape, options = layout
    array = make_array(shape, **options)
    expected = values(shape, "u2")
    array.write(..., expected)
    for step in range(3):
        index = data.draw(basic_index(shape))
        new = values(expected[index].shape, "u2", seed=step)
        expected[index] = new
        array.write(index, new)
        np.testing.assert_array_equal(array.read(), expected)
        index = data.draw(basic_index(shape))
        found = array.read(index)
        assert found.shape == expected[index].shape
        np.testing.assert_array_equal(found, expected[index])
        out = np.zeros_like(expected[index])
        if isinstance(out, np.ndarray):
            assert array.read(index, out=out) is out
            np.testing.assert_array_equal(out, expected[index])


def test_reads_orthogonally_and_by_points(make_array, layout, values):
    shape, options = layout
    array = make_array(shape, **options)
    expected = values(shape, "u2")
    array.write(..., expected)
    rows, columns = [2, 0], [1, -1, 1]
    np.testing.assert_array_equal(
        array.read((..., rows, columns), select=orthogonal)
        if len(shape) == 2
        else array.read((..., columns), select=orthogonal),
        expected[np.ix_(rows, columns)] if len(shape) == 2 else expected[..., columns],
    )
    mask = expected % 3 == 0
    np.testing.assert_array_equal(array.read(mask, select=points), expected[mask])
    array.write(mask, 5, select=points)
    expected[mask] = 5
    array.write((..., [0, 2]), 9, select=orthogonal)
    expected[..., [0, 2]] = 9
    np.testing.assert_array_equal(array.read(), expected)


def test_of_two_values_for_one_place_the_last_wins(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    array.write((..., [1, 1, 0, 1]), np.array([1, 2, 3, 4]))
    assert array.read((0,) * (len(shape) - 1) + (slice(0, 2),)).tolist() == [3, 4]
    corner = tuple([0, 0] for _ in shape)
    array.write(corner, [8, 9], select=points)
    assert array.read((0,) * len(shape)) == 9


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\) does not fit a selection of shape \(2, 3\)"),
        (70000, "uint16"),
        (-1, "uint16"),
        ([[1, 2, 70000]], "uint16"),
        ("text", "uint16"),
    ],
)
def test_data_that_does_not_fit_changes_nothing(make_array, data, fault, files_of):
    array = make_array((2, 3))
    with pytest.raises(InvalidArgumentError, match=fault):
        array.write(..., data)
    assert files_of(array) == {}


def test_arrays_are_cast_as_numpy_casts_them(make_array):
    array = make_array((3,), "i2")
    array.write(..., np.array([1.9, -1.9, 7]))
    assert array.read().tolist() == [1, -1, 7]
    array.write(slice(0, 2), np.array([[5]], "i8"))
    assert array.read().tolist() == [5, 5, 7]


def test_an_index_beyond_the_shape_is_an_index_error(make_array):
    array = make_array((2, 3))
    with pytest.raises(OutOfBoundsError, match="index 2 is out of bounds for axis 0 with size 2"):
        array.read(2)
    with pytest.raises(IndexError):
        array.write((0, 3), 1)


@pytest.mark.parametrize("out", [np.zeros((2, 2), "u2"), np.zeros((2, 3), "u4"), None])
def test_out_of_another_kind_is_refused(make_array, out):
    if out is None:
        out = np.zeros((2, 3), "u2")
        out.flags.writeable = False
    with pytest.raises(InvalidArgumentError, match="out= is a writable array of uint16"):
        make_array((2, 3)).read(out=out)


def test_out_may_be_a_view_with_strides(make_array, values):
    array = make_array((4, 6), chunks=(2, 4))
    data = values((4, 6), "u2")
    array.write(..., data)
    out = np.zeros((8, 12), "u2")
    array.read(out=out[::2, ::-2])
    np.testing.assert_array_equal(out[::2, ::-2], data)
    assert out[1::2].sum() == 0


def test_scalars_and_empty_selections(make_array):
    array = make_array((3, 4))
    array.write((1, 2), 6)
    assert array.read((1, 2)).shape == ()
    assert array.read((1, 2)) == 6
    assert array.read((slice(2, 2), slice(None))).shape == (0, 4)
    array.write((slice(2, 2),), np.zeros((0, 4)))


def test_arrays_without_axes_and_of_length_zero(make_array):
    array = make_array(())
    array.write((), 5)
    assert array.read() == 5
    empty = make_array((0, 4), path="empty")
    assert empty.read().shape == (0, 4)
    assert empty.append(np.ones((2, 4))) == (2, 4)
    assert empty.read().sum() == 8


@pytest.mark.parametrize("dtype", ["i1", "i8", "u8", "f2", "c8", "c16"])
def test_every_dtype_round_trips(make_array, dtype, values):
    array = make_array((3, 5), dtype, chunks=(2, 2))
    data = (values((3, 5), "u1") / (2 if dtype[0] in "fc" else 4)).astype(dtype)
    array.write(..., data)
    found = array.read()
    assert found.dtype == data.dtype
    np.testing.assert_array_equal(found, data)


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), -0.5])
def test_float_fill_values(make_array, fill):
    array = make_array((3,), "f4", fill_value=fill)
    np.testing.assert_array_equal(array.read(), np.full(3, fill, "f4"))


@pytest.mark.parametrize("compressor", ["none", "zstd", "lz4", False, {"id": "blosc", "cname": "zlib"}])
def test_every_compressor_round_trips(make_array, compressor, zarr_format, values):
    array = make_array((20, 20), chunks=(8, 8), compressor=compressor)
    data = values((20, 20), "u2")
    array.write(..., data)
    np.testing.assert_array_equal(array.read(), data)
    plain = zarr.open_array(f"{array.documents.storage.root}/0", mode="r")
    np.testing.assert_array_equal(plain[...], data)
