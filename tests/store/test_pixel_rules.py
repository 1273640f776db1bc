"""The arithmetic of chunks and the rules of casts and caches that all stores share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lamella.store.keys import ancestors, join
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.array_meta import ArrayMeta
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import PinnedArray, StoredArray
from lamella.store.pixels.assignment import ValueRangeError, cast_values, check_exact
from lamella.store.pixels.chunk_cache import StampedCache
from lamella.store.pixels.chunk_grid import chunks_by_file, lock_names
from lamella.store.pixels.coding import blosc_compressor, coding_of
from lamella.store.pixels.selection import basic_or_fancy, crossed, orthogonal, points
from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, crc32c, decode_index, encode_index
from lamella.store.pixels.stored_chunks import index_of_key, is_beyond, names_in
from lamella.store.storage import open_storage


def test_a_selection_knows_the_shape_of_its_result():
    assert basic_or_fancy((0, slice(None, None, -1)), (2, 3)).result_shape == (3,)
    assert orthogonal(([0, 2], [True, False, True]), (4, 3)).result_shape == (2, 2)
    assert points(([0, 1], [2, 2]), (2, 3)).result_shape == (2,)
    index = crossed((slice(0, 2, 1), np.array([0, 3])))
    assert np.arange(12).reshape(3, 4)[index].tolist() == [[0, 3], [4, 7]]


def test_a_selection_is_divided_by_file_and_chunk():
    meta = ArrayMeta((9,), np.dtype("u1"), (2,), (4,))
    files = chunks_by_file(meta, basic_or_fancy(slice(1, 6), (9,)))
    found = {index: [(part.number, part.in_chunk, part.is_whole) for part in parts] for index, parts in files}
    assert found == {
        (0,): [(0, (slice(1, 2, 1),), False), (1, (slice(0, 2, 1),), True)],
        (1,): [(0, (slice(0, 2, 1),), True)],
    }


def test_files_have_few_locks_in_a_fixed_order():
    assert lock_names([]) == []
    assert lock_names([(7,), (8,)]) == ["chunks-2", "chunks-19"]
    assert len(lock_names(None)) == 32


def test_the_key_of_a_chunk_has_its_index():
    meta = ArrayMeta((4, 4), np.dtype("u1"), (2, 2))
    assert [index_of_key(key, meta) for key in ("c/1/0", "c/1", "c.1.0")] == [(1, 0), None, None]
    assert [is_beyond(key, meta) for key in ("c/1/1", "c/2/1", "zarr.json")] == [False, True, False]


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("shape", [(), (3,), (3, 5, 1), (0, 4)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_folders_of_an_array_have_the_names_of_all_its_chunks(zarr_format, shape, separator):
    encoding = {"name": "default", "configuration": {"separator": separator}}
    meta = replace(
        new_array(shape, "u1", zarr_format=zarr_format, chunks=(2,) * len(shape)),
        separator=separator,
        document={"chunk_key_encoding": encoding},
    )
    expected = {meta.chunk_key(index) for index in np.ndindex(*meta.grid)}
    folders = {"", *(above for key in expected for above in ancestors(key))}
    listed = {join(folder, name) for folder in folders for name in names_in(folder, meta)}
    assert listed - folders == expected
    assert listed <= expected | folders
    assert [*names_in("c/9", meta), *names_in("other", meta), *names_in("c/0/0/0", meta)] == []


def test_a_chunk_on_the_edge_is_encoded_with_the_fill_value():
    coding = coding_of(new_array((4, 4), "uint16", zarr_format=3, compressor="none"))
    assert coding is not None
    assert coding.encode(np.array([[1, 2]], "uint16")) == bytes([1, 0, 2, 0]) + bytes(28)
    compress = blosc_compressor("zstd", 1, 2, 0, 2)
    assert compress is None or len(compress(np.zeros(1000, "u2"))) < 100


def test_the_index_of_a_shard_is_read_as_it_was_written():
    form = IndexLayout((2,))
    entries = np.array([[0, 7], [NO_CHUNK, NO_CHUNK]], "u8")
    assert np.array_equal(decode_index(encode_index(entries, form), form, "c/0"), entries)
    assert (form.span, IndexLayout((2,), at_end=False).span) == ((-36, 36), (0, 36))
    assert crc32c(b"123456789") == 0xE3069283


def test_values_are_cast_where_the_dtype_has_them():
    assert cast_values(np.array([1.9, 65535]), np.dtype("uint16")).tolist() == [1, 65535]
    with pytest.raises(ValueRangeError, match="have 70000, and the range of uint16 is 0 to 65535"):
        cast_values(np.array([0, 70000]), np.dtype("uint16"))
    with pytest.raises(ValueRangeError, match=r"have 2\.5, which uint16 would store as 2"):
        check_exact(np.array([1.0, 2.5]), np.dtype("uint16"))
    times = np.array(["2020-01-01", "NaT"], "M8[D]")
    assert cast_values(times[:1], np.dtype("int64")).tolist() == [18262]
    for dtype in ("int64", "float64"):  # it was stored as -2**63
        with pytest.raises(ValueRangeError, match="have NaT"):
            cast_values(times, np.dtype(dtype))


def test_a_cache_returns_values_of_the_present_stamp_up_to_its_limit():
    cache = StampedCache(100)
    cache.put("0/c/0", (1,), np.zeros(60, "u1"))
    assert cache.get("0/c/0", (1,)) is not None
    cache.put("0/c/1", (1,), np.zeros(60, "u1"))
    assert cache.get("0/c/0", (1,)) is None
    assert cache.get("0/c/1", (2,)) is None


def test_a_pinned_array_keeps_its_description(tmp_path):
    documents = Documents.create(open_storage(tmp_path), 3)
    documents.put_array("0", new_array((2, 3), "uint16", zarr_format=3))
    array = StoredArray(documents, "0")
    pinned = PinnedArray(documents, "0", array.meta)
    array.resize((4, 3))
    assert (pinned.meta.shape, array.meta.shape) == ((2, 3), (4, 3))
