"""Law: arrays grow, shrink and are shared without showing old pixels; foreign ones are read as declared."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from tests.remote import object_storage

from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    NodeNotFoundError,
    ReadOnlyError,
)
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.selection import orthogonal, points
from lamella.store.pixels.stored_files import inspect_stored_file
from lamella.store.storage import open_storage


def test_growing_after_shrinking_shows_fill_values_not_old_pixels(make_array, layout, values):
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


def test_shrinking_writes_nothing_where_nothing_was(make_array, layout, files_of):
    shape, options = layout
    array = make_array(shape, **options)
    array.resize(tuple(max(1, n - 1) for n in shape))
    assert files_of(array) == {}


def test_shrinking_writes_only_files_that_are_stored(make_array, files_of):
    array = make_array((4, 6), chunks=(2, 2))
    array.write((slice(2, 4), slice(2, 4)), 7)
    before = list(files_of(array))
    array.resize((3, 6))
    assert list(files_of(array)) == before
    np.testing.assert_array_equal(array.read(), np.array([[0] * 6, [0] * 6, [0, 0, 7, 7, 0, 0]]))


def test_shrinking_writes_only_chunks_of_a_shard_that_are_stored(tmp_path, engine):
    documents = Documents.create(open_storage(tmp_path), 3)
    documents.put_array("0", new_array((4, 6), "u2", zarr_format=3, chunks=(2, 2), shards=(4, 6)))
    array = StoredArray(documents, "0", engine=engine)
    array.write((slice(2, 4), slice(2, 4)), 7)
    array.resize((3, 6))
    file = inspect_stored_file(documents.storage, "0", array.meta, (0, 0))
    assert file.present.tolist() == [[False, False, False], [False, True, False]]
    array.resize((4, 6))
    np.testing.assert_array_equal(array.read((slice(2, 4), slice(2, 4))), [[7, 7], [0, 0]])


def test_shrinking_writes_a_part_of_a_shard_once(service):
    storage = object_storage(service.endpoint, "s3://bucket/a.zarr")
    documents = Documents.create(storage, 3)
    documents.put_array("0", new_array((8, 6), "u2", zarr_format=3, chunks=(1, 2), shards=(8, 6)))
    array = StoredArray(documents, "0")
    array.write((slice(0, 5), slice(None)), 7)
    service.requests.clear()
    array.resize((8, 5))
    assert service.requests.count(("PUT", "/bucket/a.zarr/0/c/0/0")) == 1
    assert array.read((slice(None), 4)).tolist() == [7] * 5 + [0] * 3


@pytest.mark.parametrize("damage", ["cut off", "empty", "a folder"])
def test_shrinking_names_a_shard_that_cannot_be_read(tmp_path, damage):
    documents = Documents.create(open_storage(tmp_path), 3)
    documents.put_array("0", new_array((4, 6), "u2", zarr_format=3, chunks=(2, 2), shards=(4, 6)))
    array = StoredArray(documents, "0")
    array.write(..., 7)
    path = tmp_path / "0/c/0/0"
    data = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(data[:99] if damage == "cut off" else b"")
    with pytest.raises(DamagedDataError, match=f"{path}.*(?:Write|write) that region again"):
        array.resize((3, 6))
    assert array.refresh().shape == (4, 6)


def test_append_makes_one_axis_longer(make_array, layout, values):
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
    with pytest.raises(
        InvalidArgumentError, match=r"shape \(2, 4\) along axis 0 of array .*, which has the shape \(2, 3\)"
    ):
        array.append(np.zeros((2, 4)))
    with pytest.raises(InvalidArgumentError, match="axis 5"):
        array.append(np.zeros((2, 3)), axis=5)
    assert array.meta.shape == (2, 3)


def test_resize_refuses_another_number_of_axes(make_array):
    with pytest.raises(InvalidArgumentError, match="one length"):
        make_array((2, 3)).resize((2,))


def test_resize_refuses_negative_lengths(make_array):
    with pytest.raises(InvalidArgumentError, match="whole numbers from 0 on"):
        make_array((2, 3)).resize((2, -1))


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


def test_fortran_order_and_dots_of_zarr_v2(tmp_path, engine, files_of):
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


def test_other_chunk_keys_of_zarr_v3(tmp_path, engine, files_of):
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


def test_stores_without_files_are_served_by_the_same_engine(zarr_format, values):
    documents = Documents.create(ZarrStorage(zarr.storage.MemoryStore()), zarr_format)
    documents.put_array("a/0", new_array((5, 7), "u2", zarr_format=zarr_format, chunks=(2, 4)))
    array = StoredArray(documents, "a/0")
    data = values((5, 7), "u2")
    array.write(..., data)
    array.write((slice(1, 3), 2), 9)
    data[1:3, 2] = 9
    assert array.engine.name == "files"
    np.testing.assert_array_equal(array.read(), data)
    assert array.append(data) == (10, 7)


def test_a_read_only_store_refuses_every_write(make_array, files_of):
    array = make_array((4, 4))
    reader = StoredArray(
        Documents.open(LocalStorage(array.documents.storage.root, read_only=True)) or array.documents, "0"
    )
    reader.documents = Documents(
        LocalStorage(array.documents.storage.root, read_only=True), array.documents.format
    )
    for change in (
        lambda: reader.write(..., 1),
        lambda: reader.write(([0], [0]), 1, select=orthogonal),
        lambda: reader.write(([0], [0]), 1, select=points),
        lambda: reader.resize((2, 2)),
        lambda: reader.append(np.ones((1, 4))),
    ):
        with pytest.raises(ReadOnlyError, match="open for reading"):
            change()
    assert files_of(array) == {}


def test_an_array_of_enormous_shape_costs_nothing(make_array, files_of):
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
    with pytest.raises(NodeNotFoundError, match=r"no array at .*/0: "):
        other.read()
