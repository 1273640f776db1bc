"""Law: many regions read in one call are what numpy gives for each, from files opened once and chunks decoded once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.errors import DamagedDataError, InvalidArgumentError, OutOfBoundsError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.documents import Documents
from lamella.store.pixels import chunk_cache, chunk_files, coding
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.shard_file import IndexLayout, encode_index

SHARDED = {"chunks": (1, 4, 8), "shards": (2, 8, 16)}


@st.composite
def region(draw, shape):
    items = []
    for n in shape:
        kind = draw(st.sampled_from(["int", "slice", "back", "list"]))
        if kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "list" and not any(isinstance(item, list) for item in items):
            items.append(draw(st.lists(st.integers(-n, n - 1), max_size=3)))
        else:
            start, stop = sorted((draw(st.integers(0, n)), draw(st.integers(0, n))))
            step = draw(st.integers(1, 3))
            items.append(slice(stop, start, -step) if kind == "back" else slice(start, stop, step))
    return tuple(items)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_regions_are_what_numpy_gives(make_array, layout, data, values):
    shape, options = layout
    array = make_array(shape, **options)
    expected = values(shape, "u2")
    array.write(..., expected)
    regions = data.draw(st.lists(region(shape), max_size=5))
    found = array.read_many(regions)
    assert len(found) == len(regions)
    for one, index in zip(found, regions, strict=True):
        assert one.dtype == expected.dtype
        np.testing.assert_array_equal(one, expected[index], strict=isinstance(one, np.ndarray))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_crops_of_one_shape_are_stacked(make_array, layout, data, values):
    shape, options = layout
    array = make_array(shape, **options)
    expected = values(shape, "u2")
    array.write(..., expected)
    size = tuple(max(1, n // 2) for n in shape)
    corners = data.draw(
        st.lists(
            st.tuples(*(st.integers(0, n - s) for n, s in zip(shape, size, strict=True))),
            min_size=1,
            max_size=8,
        )
    )
    regions = [tuple(slice(k, k + s) for k, s in zip(corner, size, strict=True)) for corner in corners]
    wanted = np.stack([expected[one] for one in regions])
    found = array.read_many(iter(regions))
    np.testing.assert_array_equal(found, wanted, strict=True)
    room = np.zeros((*size, len(regions)), "u2")
    out = np.moveaxis(room, -1, 0)  # nothing of it is contiguous
    assert array.read_many(regions, out=out) is out
    np.testing.assert_array_equal(out, wanted)


def test_points_reach_an_out_that_is_not_contiguous(make_array, values):
    array = make_array((4, 6), chunks=(2, 4))
    data = values((4, 6), "u2")
    array.write(..., data)
    rows, columns = np.array([[0, 3], [1, 2]]), np.array([[5, 0], [2, 2]])
    out = np.zeros((2, 2, 1), "u2").T[0]
    array.read((rows, columns), out=out)
    np.testing.assert_array_equal(out, data[rows, columns])
    many = np.zeros((2, 2, 3), "u2").T
    array.read_many([(rows, columns)] * 3, out=many)
    np.testing.assert_array_equal(many, np.stack([data[rows, columns]] * 3))


def test_single_voxels_are_stacked_to_one_axis(make_array, values):
    array = make_array((4, 6), chunks=(2, 4))
    array.write(..., values((4, 6), "u2"))
    found = array.read_many([(3, 5), (0, 0)])
    np.testing.assert_array_equal(found, values((4, 6), "u2")[[3, 0], [5, 0]], strict=True)


def test_no_regions_are_an_empty_list(make_array):
    assert make_array((4, 6)).read_many([]) == []


@pytest.mark.parametrize(
    ("regions", "shape", "fault"),
    [
        ([0, 1], (2, 5), r"out= is a writable array of uint16 \(2, 6\), not uint16 \(2, 5\)"),
        ([0, 1], (3, 6), r"\(2, 6\), not uint16 \(3, 6\)"),
        ([0, (0, 0)], (2, 6), "regions of one shape, and these have 2"),
    ],
)
def test_regions_that_do_not_fit_out_are_refused(make_array, regions, shape, fault):
    with pytest.raises(InvalidArgumentError, match=fault):
        make_array((4, 6)).read_many(regions, out=np.zeros(shape, "u2"))


def test_a_region_beyond_the_shape_is_an_index_error_before_anything_is_read(make_array):
    array = make_array((4, 6))
    array.write(..., 1)
    out = np.zeros((2, 6), "u2")
    with pytest.raises(OutOfBoundsError, match="index 4 is out of bounds for axis 0 with size 4"):
        array.read_many([0, 4], out=out)
    assert not out.any()


def test_a_damaged_chunk_is_named(make_array, layout, files_of):
    shape, options = layout
    array = make_array(shape, "f8", **options)
    array.write(..., np.random.default_rng(0).random(shape))
    name = sorted(files_of(array))[-1]
    file = Path(array.documents.storage.root) / "0" / name
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(DamagedDataError, match=f"array .*/0: .*chunk in '.*/0/{name}'"):
        array.read_many([(..., slice(0, 1)), ...])


@pytest.mark.parametrize("zarr_format", [3])
def test_an_index_that_places_a_chunk_beyond_its_file_is_damage_and_takes_no_memory(make_array, values):
    array = make_array((4, 8), chunks=(4, 8), shards=(4, 8))
    array.write(..., values((4, 8), "u2"))
    shard = Path(array.documents.storage.root) / "0/c/0/0"
    shard.write_bytes(b"x" * 40 + encode_index(np.array([[0, 1 << 50]], "u8"), IndexLayout((1, 1))))
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        array.read_many([...])


# ---- how often files are opened and chunks decoded ------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Paths of chunk files in the order in which they are opened."""
    paths = []
    real = os.open

    def counting(path, *args, **kwargs):
        if not str(path).endswith(".json"):
            paths.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(chunk_files.os, "open", counting)
    return paths


@pytest.fixture
def decoded(monkeypatch):
    """Bytes of the chunks that are decoded."""
    chunks = []
    real = coding.Coding.decode

    def counting(self, data, *args):
        chunks.append(bytes(data))
        return real(self, data, *args)

    monkeypatch.setattr(coding.Coding, "decode", counting)
    return chunks


@pytest.mark.parametrize("zarr_format", [3])
def test_each_file_is_opened_once_and_each_chunk_decoded_once(make_array_with, values, opened, decoded):
    made = make_array_with("files", (4, 16, 32), **SHARDED)
    made.write(..., values((4, 16, 32), "u2"))
    array = StoredArray(made.documents, "0")  # the engine is chosen as for everybody
    rng = np.random.default_rng(0)
    regions = [(z, slice(y, y + 8), slice(x, x + 8)) for z, y, x in rng.integers(0, (4, 8, 24), (200, 3))]
    del opened[:]
    array.read_many(regions)
    assert len(opened) == len(set(opened)) == 2 * 2 * 2
    assert len(decoded) == len(set(decoded)) == 4 * 4 * 4


@pytest.mark.parametrize("zarr_format", [3])
def test_only_the_chunks_that_are_met_are_decoded(make_array_with, values, decoded):
    array = make_array_with("files", (4, 16, 32), **SHARDED)
    array.write(..., values((4, 16, 32), "u2"))
    array.read_many([(0, slice(3, 5), 0), (0, 4, 7)])
    assert len(decoded) == 2


def test_a_box_decodes_each_chunk_that_it_meets_once(make_array_with, values, decoded):
    array = make_array_with("files", (9, 9), chunks=(4, 4))
    array.write(..., values((9, 9), "u2"))
    for index, chunks in [
        (np.s_[:, :8], 6),
        (np.s_[1:9], 9),
        (np.s_[::-1], 9),
        (np.s_[:7, 5], 2),
        (np.s_[3, 3], 1),
    ]:
        del decoded[:]
        np.testing.assert_array_equal(array.read(index), values((9, 9), "u2")[index])
        assert len(decoded) == chunks, index


# ---- decoded chunks are kept ----------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [3])
@pytest.mark.parametrize("shards", [None, (8, 8)])
def test_a_chunk_that_is_kept_is_decoded_once_and_again_after_each_rewrite_by_anybody(
    make_array_with, values, decoded, monkeypatch, shards
):
    monkeypatch.setattr(chunk_files, "_SETTLED_NS", -1)
    array = make_array_with("files", (8, 8), compressor="zstd", chunks=(4, 4), shards=shards)
    other = StoredArray(array.documents, "0", engine="zarr")
    for seed, writer in enumerate([array, other, array, other]):
        data = values((8, 8), "u2", seed)
        writer.write(..., data)
        del decoded[:]
        for index in (np.s_[1, 1], np.s_[2:6, 1], np.s_[:3, :3], np.s_[5:7, 0]):
            found = array.read(index)
            np.testing.assert_array_equal(found, data[index])
            found[...] = 0  # what is returned is the caller's own
            np.testing.assert_array_equal(array.read(index), data[index])
        assert len(decoded) == 2
    root = Path(array.documents.storage.root) / "0/c"
    for path in list(root.rglob("*")):
        if path.is_file():
            path.unlink()
    assert array.read(np.s_[1, 1]) == 0


@pytest.mark.parametrize("zarr_format", [3])
def test_a_chunk_of_a_file_that_has_just_changed_is_not_kept(make_array_with, values, decoded):
    array = make_array_with("files", (8, 8), chunks=(4, 4))
    array.write(..., values((8, 8), "u2"))
    for _ in range(2):
        array.read((1, 1))
    assert len(decoded) == 2


@pytest.mark.parametrize("zarr_format", [3])
def test_a_handle_keeps_as_many_chunks_as_it_was_opened_for(make_array_with, values, decoded, monkeypatch):
    monkeypatch.setattr(chunk_files, "_SETTLED_NS", -1)
    made = make_array_with("files", (8, 8), chunks=(4, 4))
    made.write(..., values((8, 8), "u2"))
    for limit, count in ((0, 4), (1 << 20, 2), (None, 2)):
        storage = LocalStorage(made.documents.storage.root)
        storage.cache_bytes = limit
        array = StoredArray(Documents(storage, 3), "0")
        chunk_cache.decoded.clear()
        del decoded[:]
        for index in [(1, 1), (5, 5)] * 2:
            assert array.read(index) == values((8, 8), "u2")[index]
        assert len(decoded) == count


def test_what_is_kept_stays_under_its_limit():
    cache = chunk_cache.StampedCache(1000)
    for n in range(100):
        cache.put(n, (n,), np.zeros(300, "u1"))
        cache.put("large", (n,), np.zeros(1001, "u1"))
    found = [n for n in range(100) if cache.get(n, (n,)) is not None]
    assert found == [97, 98, 99]
    assert cache.get("large", (99,)) is None
    assert cache.get(99, (0,)) is None  # and is forgotten: the file has changed
    assert cache.get(99, (99,)) is None


# ---- indexes of shards are kept -------------------------------------------------------------------


@pytest.fixture
def read_indexes(monkeypatch):
    """Paths of the shards whose index is read."""
    paths = []
    real = chunk_files.decode_index

    def counting(data, form, where):
        paths.append(where)
        return real(data, form, where)

    monkeypatch.setattr(chunk_files, "decode_index", counting)
    return paths


@pytest.mark.parametrize("zarr_format", [3])
def test_the_index_of_a_shard_is_read_once_and_again_after_each_rewrite(
    make_array_with, values, read_indexes, monkeypatch
):
    monkeypatch.setattr(chunk_files, "_SETTLED_NS", -1)
    array = make_array_with("files", (2, 8, 16), compressor="none", **SHARDED)
    for seed in range(4):  # uncompressed shards: the same size each time
        array.write(..., values((2, 8, 16), "u2", seed))
        del read_indexes[:]
        for _ in range(3):
            np.testing.assert_array_equal(array.read_many([0, 1]), values((2, 8, 16), "u2", seed))
        assert len(read_indexes) == 1


@pytest.mark.parametrize("zarr_format", [3])
def test_chunks_in_another_order_are_found_after_a_rewrite_by_others(make_array_with, values, monkeypatch):
    # The same chunks at other places of a file of the same size: an old index would give the wrong ones.
    monkeypatch.setattr(chunk_files, "_SETTLED_NS", -1)
    array = make_array_with("files", (2, 8, 16), compressor="none", **SHARDED)
    data = values((2, 8, 16), "u2")
    array.write(..., data)
    np.testing.assert_array_equal(array.read_many([...])[0], data)
    shard = Path(array.documents.storage.root) / "0/c/0/0/0"
    old = shard.read_bytes()
    entries = np.frombuffer(old[:-4][-128:], "<u8").reshape(8, 2).copy()
    entries[:, 0] = entries[::-1, 0]
    size = (len(old) - 132) // 8
    chunks = [old[n * size : n * size + size] for n in range(8)]
    new = b"".join(chunks[::-1]) + encode_index(entries, IndexLayout((2, 2, 2)))
    assert len(new) == len(old)
    aside = shard.with_name("aside")
    aside.write_bytes(new)
    aside.replace(shard)
    np.testing.assert_array_equal(array.read_many([...])[0], data)


@pytest.mark.parametrize("zarr_format", [3])
@pytest.mark.parametrize("damaged", [(32, 8), (8, 4)], ids=["larger shards", "smaller ones"])
def test_an_index_that_is_kept_is_not_taken_for_one_of_another_form(
    make_array_with, values, monkeypatch, damaged
):
    # Found by the torture: an index error of numpy where shards became larger.
    monkeypatch.setattr(chunk_files, "_SETTLED_NS", -1)
    array = make_array_with("files", (16, 8), compressor="none", chunks=(4, 4), shards=(16, 8))
    array.write(..., values((16, 8), "u2"))
    array.read_many([...])
    document = Path(array.documents.storage.root) / "0/zarr.json"
    changed = json.loads(document.read_text())
    changed["chunk_grid"]["configuration"]["chunk_shape"] = damaged
    document.write_text(json.dumps(changed))
    fresh = StoredArray(array.documents, "0", engine="files")
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        fresh.read_many([...])


@pytest.mark.parametrize("zarr_format", [3])
def test_the_index_of_a_file_that_has_just_changed_is_not_kept(make_array_with, values, read_indexes):
    # Within one tick of the clock another file may have the same stamp.
    array = make_array_with("files", (2, 8, 16), **SHARDED)
    array.write(..., values((2, 8, 16), "u2"))
    for _ in range(2):
        array.read_many([0])
    assert len(read_indexes) == 2
