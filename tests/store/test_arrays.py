"""Law: an array in a store behaves as one of numpy, whatever the engine, format, dtype and cutting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    NodeNotFoundError,
    OutOfBoundsError,
    ReadOnlyError,
)
from lamella.store.arrays import StoredArray
from lamella.store.documents import Documents, new_array
from lamella.store.local import LocalStorage
from lamella.store.zarr_storage import ZarrStorage

DTYPES = ["u1", "u2", "i2", "i4", "u4", "f4", "f8", "bool"]
#: shape, chunks, shards: whole, with edges, chunks beyond the shape, one file, 2 to 5 axes.
LAYOUTS = {
    "whole": ((4, 16, 16), (2, 8, 8), None),
    "edges": ((5, 17, 19), (2, 8, 8), None),
    "beyond": ((3, 5), (4, 16), None),
    "five axes": ((2, 2, 3, 9, 10), (1, 1, 3, 9, 10), None),
    "shards": ((4, 16, 16), (1, 8, 8), (2, 16, 16)),
    "shard edges": ((5, 17, 19), (1, 4, 8), (2, 8, 16)),
    "shard beyond": ((3, 5), (2, 4), (8, 16)),
}


def values(shape, dtype, seed=0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, 200, shape)
    return (
        drawn % 2 == 0 if np.dtype(dtype) == bool else (drawn / 2 if dtype[0] == "f" else drawn).astype(dtype)
    )


def files_of(array: StoredArray) -> dict[str, bytes]:
    root = Path(array.documents.storage.root) / array.path
    found = {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}
    return {k: v for k, v in found.items() if not k.startswith(".z") and k != "zarr.json"}


@pytest.fixture(params=LAYOUTS)
def layout(request, zarr_format):
    shape, chunks, shards = LAYOUTS[request.param]
    if shards and zarr_format == 2:
        pytest.skip("Zarr v2 has no shards")
    return shape, {"chunks": chunks, "shards": shards}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read_by_everybody(make_array, layout, dtype, zarr_format):
    shape, options = layout
    array = make_array(shape, dtype, **options)
    data = values(shape, dtype)
    array.write(..., data)
    path = f"{array.documents.storage.root}/0"
    readers = {
        name: StoredArray(array.documents, "0", engine=name).read() for name in ("tensorstore", "zarr")
    }
    readers["plain zarr"] = zarr.open_array(path, mode="r", zarr_format=zarr_format)[...]
    spec = {"driver": "zarr3" if zarr_format == 3 else "zarr", "kvstore": {"driver": "file", "path": path}}
    readers["plain tensorstore"] = ts.open(spec).result().read().result()
    for reader, found in readers.items():
        assert found.dtype == data.dtype, reader
        np.testing.assert_array_equal(found, data, reader)


def test_unwritten_places_hold_the_fill_value(make_array, layout):
    shape, options = layout
    array = make_array(shape, fill_value=7, **options)
    np.testing.assert_array_equal(array.read(), np.full(shape, 7, "u2"))
    assert files_of(array) == {}


@pytest.mark.parametrize("name", [n for n, (_, _, shards) in LAYOUTS.items() if shards is None])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_both_engines_write_the_same_bytes(make_array, name, dtype, engine):
    if engine == "zarr":
        pytest.skip("compared from the other side")
    shape, chunks, _ = LAYOUTS[name]
    data = values(shape, dtype)
    one = make_array(shape, dtype, chunks=chunks, path="one", with_engine="tensorstore")
    other = make_array(shape, dtype, chunks=chunks, path="other", with_engine="zarr")
    one.write(..., data)
    other.write(..., data)
    assert files_of(one) == files_of(other)


def test_chunks_of_fill_values_are_stored(make_array, layout):
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
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_writes_and_reads_by_index_as_numpy_does(make_array, layout, data):
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


def test_reads_orthogonally_and_by_points(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    expected = values(shape, "u2")
    array.write(..., expected)
    rows, columns = [2, 0], [1, -1, 1]
    np.testing.assert_array_equal(
        array.read_orthogonal((..., rows, columns))
        if len(shape) == 2
        else array.read_orthogonal((..., columns)),
        expected[np.ix_(rows, columns)] if len(shape) == 2 else expected[..., columns],
    )
    mask = expected % 3 == 0
    np.testing.assert_array_equal(array.read_points(mask), expected[mask])
    array.write_points(mask, 5)
    expected[mask] = 5
    array.write_orthogonal((..., [0, 2]), 9)
    expected[..., [0, 2]] = 9
    np.testing.assert_array_equal(array.read(), expected)


def test_of_two_values_for_one_place_the_last_wins(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    array.write((..., [1, 1, 0, 1]), np.array([1, 2, 3, 4]))
    assert array.read((0,) * (len(shape) - 1) + (slice(0, 2),)).tolist() == [3, 4]
    corner = tuple([0, 0] for _ in shape)
    array.write_points(corner, [8, 9])
    assert array.read((0,) * len(shape)) == 9


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x00" * 400])
def test_a_file_covered_whole_is_replaced_without_being_read(make_array, layout, damage):
    shape, options = layout
    array = make_array(shape, **options)
    data = values(shape, "u2")
    array.write(..., data)
    root = Path(array.documents.storage.root) / "0"
    for name in files_of(array):
        (root / name).write_bytes(damage)
    files = array.meta.files
    for place in np.ndindex(array.meta.grid):  # one write per file, edge files too
        region = tuple(slice(k * f, (k + 1) * f) for k, f in zip(place, files, strict=True))
        array.write(region, data[region])
    np.testing.assert_array_equal(array.read(), data)


def test_one_write_over_damaged_files_repairs_those_that_it_covers(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    data = values(shape, "u2")
    array.write(..., data)
    root = Path(array.documents.storage.root) / "0"
    for name in files_of(array):
        (root / name).write_bytes(b"garbage")
    array.write(..., data)
    np.testing.assert_array_equal(array.read(), data)


def damaged(array: StoredArray, how: str) -> str:
    root = Path(array.documents.storage.root) / array.path
    name = sorted(files_of(array))[-1]
    content = (root / name).read_bytes()
    changed = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "bad index": content[:-3] + bytes(b ^ 255 for b in content[-3:]),
        "bad header": bytes(b ^ 255 for b in content[:16]) + content[16:],
    }[how]
    (root / name).write_bytes(changed)
    return name


@pytest.mark.parametrize("how", ["truncated", "empty", "bad header"])
def test_a_damaged_chunk_is_named(make_array, layout, how):
    shape, options = layout
    if options["shards"] and how == "bad header":
        pytest.skip("flipped pixels inside a shard have a test of their own")
    array = make_array(shape, "f8", **options)
    array.write(..., np.random.default_rng(0).random(shape))
    name = damaged(array, how)
    with pytest.raises(DamagedDataError, match=f"array '0' .*chunk in '0/{name}'"):
        array.read()


def test_a_shard_with_a_damaged_index_is_named(make_array, zarr_format):
    if zarr_format == 2:
        pytest.skip("Zarr v2 has no shards")
    array = make_array((8, 8), chunks=(4, 4), shards=(8, 8))
    array.write(..., values((8, 8), "u2"))
    name = damaged(array, "bad index")
    with pytest.raises(DamagedDataError, match=f"0/{name}"):
        array.read((0, 0))
    with pytest.raises(DamagedDataError, match="cannot write the pixels of array '0'"):
        array.write((0, 0), 1)


def test_a_missing_chunk_reads_as_the_fill_value(make_array, layout):
    shape, options = layout
    array = make_array(shape, fill_value=3, **options)
    array.write(..., values(shape, "u2"))
    for name in files_of(array):
        (Path(array.documents.storage.root) / "0" / name).unlink()
    np.testing.assert_array_equal(array.read(), np.full(shape, 3, "u2"))


def test_growing_after_shrinking_shows_fill_values_not_old_pixels(make_array, layout):
    shape, options = layout
    array = make_array(shape, fill_value=2, **options)
    data = values(shape, "u2")
    array.write(..., data)
    small = tuple(max(1, n - 3) for n in shape)
    array.resize(small)
    kept = tuple(slice(n) for n in small)
    np.testing.assert_array_equal(array.read(), data[kept])
    array.resize(shape)
    expected = np.full(shape, 2, "u2")
    expected[kept] = data[kept]
    np.testing.assert_array_equal(array.read(), expected)


def test_shrinking_writes_nothing_where_nothing_was(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    array.resize(tuple(max(1, n - 1) for n in shape))
    assert files_of(array) == {}


def test_append_makes_one_axis_longer(make_array, layout):
    shape, options = layout
    array = make_array(shape, **options)
    data = values(shape, "u2")
    array.write(..., data)
    expected = data
    for axis in (0, -1):
        assert array.append(expected, axis) == array.meta.shape
        expected = np.concatenate([expected, expected], axis)
    np.testing.assert_array_equal(array.read(), expected)


def test_append_refuses_data_of_another_shape(make_array):
    array = make_array((2, 3))
    with pytest.raises(InvalidArgumentError, match=r"shape \(2, 4\) to axis 0 of shape \(2, 3\)"):
        array.append(np.zeros((2, 4)))
    with pytest.raises(InvalidArgumentError, match="axis 5"):
        array.append(np.zeros((2, 3)), axis=5)
    assert array.meta.shape == (2, 3)


def test_resize_refuses_another_number_of_axes(make_array):
    with pytest.raises(InvalidArgumentError, match="one length"):
        make_array((2, 3)).resize((2,))


def test_resize_refuses_negative_lengths(make_array):
    with pytest.raises(InvalidArgumentError, match="one length >= 0"):
        make_array((2, 3)).resize((2, -1))


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
def test_data_that_does_not_fit_changes_nothing(make_array, data, fault):
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
    with pytest.raises(InvalidArgumentError, match="out= must be a writable array of uint16"):
        make_array((2, 3)).read(out=out)


def test_out_may_be_a_view_with_strides(make_array):
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
def test_every_dtype_round_trips(make_array, dtype):
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


@pytest.mark.parametrize(
    "compressor", ["none", "zstd", "gzip", "lz4", False, {"id": "blosc", "cname": "zlib"}]
)
def test_every_compressor_round_trips(make_array, compressor, zarr_format):
    if compressor == "gzip" and zarr_format == 2:
        pytest.skip("TensorStore reads gzip in Zarr v3 only; the zarr engine serves it")
    array = make_array((20, 20), chunks=(8, 8), compressor=compressor)
    data = values((20, 20), "u2")
    array.write(..., data)
    np.testing.assert_array_equal(array.read(), data)
    plain = zarr.open_array(f"{array.documents.storage.root}/0", mode="r")
    np.testing.assert_array_equal(plain[...], data)


@pytest.mark.parametrize("dtype", [">u2", ">f8", ">i4"])
def test_big_endian_arrays_are_read_in_the_machines_order(tmp_path, engine, zarr_format, dtype):
    data = np.arange(35).reshape(5, 7).astype(dtype)
    options = {"serializer": zarr.codecs.BytesCodec(endian="big")} if zarr_format == 3 else {}
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=zarr_format)
    stored = root.create_array("0", shape=data.shape, chunks=(2, 4), dtype=dtype, **options)
    stored[...] = data
    array = StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr")), "0", engine=engine)
    assert array.engine.name == engine
    assert array.meta.dtype == data.dtype.newbyteorder("=")
    found = array.read()
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, data)
    array.write((0, 0), 1000)
    assert stored[0, 0] == 1000


def test_fortran_order_and_dots_of_zarr_v2(tmp_path, engine):
    data = np.arange(35, dtype="u2").reshape(5, 7)
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    stored = root.create_array(
        "0",
        shape=data.shape,
        chunks=(2, 4),
        dtype="u2",
        order="F",
        chunk_key_encoding={"name": "v2", "separator": "."},
    )
    stored[...] = data
    array = StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr")), "0", engine=engine)
    assert array.engine.name == engine
    np.testing.assert_array_equal(array.read(), data)
    array.write(..., data[::-1])
    np.testing.assert_array_equal(stored[...], data[::-1])
    array.resize((3, 3))
    assert sorted(files_of(array)) == ["0.0", "1.0"]


def test_other_chunk_keys_of_zarr_v3(tmp_path, engine):
    data = np.arange(35, dtype="u2").reshape(5, 7)
    for name, key in (("default", "c.2.1"), ("v2", "2.1")):
        stored = zarr.create_array(
            tmp_path / name / "0",
            shape=data.shape,
            chunks=(2, 4),
            dtype="u2",
            chunk_key_encoding={"name": name, "separator": "."},
        )
        stored[...] = data
        array = StoredArray(Documents(LocalStorage(tmp_path / name), 3), "0", engine=engine)
        np.testing.assert_array_equal(array.read(), data)
        assert key in files_of(array)
        array.resize((3, 3))
        assert len(files_of(array)) == 2


def test_memory_stores_are_served_by_zarr(zarr_format):
    documents = Documents.create(ZarrStorage(zarr.storage.MemoryStore()), zarr_format)
    documents.put_array("a/0", new_array((5, 7), "u2", zarr_format=zarr_format, chunks=(2, 4)))
    array = StoredArray(documents, "a/0")
    data = values((5, 7), "u2")
    array.write(..., data)
    array.write((slice(1, 3), 2), 9)
    data[1:3, 2] = 9
    assert array.engine.name == "zarr"
    np.testing.assert_array_equal(array.read(), data)
    assert array.append(data) == (10, 7)


def test_an_unknown_codec_leaves_the_metadata_readable(make_array, zarr_format, engine):
    array = make_array((4, 4))
    path = Path(array.documents.storage.root) / "0" / ("zarr.json" if zarr_format == 3 else ".zarray")
    document = json.loads(path.read_text())
    if zarr_format == 3:
        document["codecs"][1] = {"name": "from_the_future", "configuration": {}}
    else:
        document["compressor"] = {"id": "from_the_future"}
    path.write_text(json.dumps(document))
    again = StoredArray(array.documents, "0", engine=engine)
    assert again.meta.shape == (4, 4)
    with pytest.raises(DamagedDataError, match=r"from_the_future.*metadata can be read"):
        again.read()


def test_a_read_only_store_refuses_every_write(make_array):
    array = make_array((4, 4))
    reader = StoredArray(
        Documents.open(LocalStorage(array.documents.storage.root, read_only=True)) or array.documents, "0"
    )
    reader.documents = Documents(
        LocalStorage(array.documents.storage.root, read_only=True), array.documents.format
    )
    for change in (
        lambda: reader.write(..., 1),
        lambda: reader.write_orthogonal(([0], [0]), 1),
        lambda: reader.write_points(([0], [0]), 1),
        lambda: reader.resize((2, 2)),
        lambda: reader.append(np.ones((1, 4))),
    ):
        with pytest.raises(ReadOnlyError, match="open for reading"):
            change()
    assert files_of(array) == {}


def test_an_array_of_enormous_shape_costs_nothing(make_array):
    array = make_array((2**60, 64), chunks=(1, 64))
    assert array.read((2**59, 3)) == 0
    array.write((2**59, slice(None)), 4)
    assert array.read((2**59, 3)) == 4
    array.resize((2**58, 64))
    assert files_of(array) == {}


def test_a_handle_sees_what_another_handle_does(make_array, local_documents):
    one = make_array((4, 4), chunks=(2, 2))
    other = StoredArray(local_documents, "0")
    one.write(..., 1)
    assert other.read().sum() == 16
    one.append(np.ones((4, 4)))
    assert other.read().shape == (8, 4)
    local_documents.delete("0")
    with pytest.raises(NodeNotFoundError, match="no array at '0'"):
        other.read()
