"""Law: a file written chunk by chunk is what an engine would have written, and takes its place whole or not at all."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numcodecs.blosc
import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from lamella.errors import (
    DamagedDataError,
    InvalidArgumentError,
    OutOfBoundsError,
    ReadOnlyError,
    StorageError,
)
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.array_meta import DTYPES
from lamella.store.metadata.documents import Documents
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.coding import coding_of
from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, decode_index
from lamella.store.pixels.shard_writer import ShardWriter

CODECS = {
    "blosc": {"name": "blosc", "cname": "zstd", "clevel": 1, "shuffle": "bitshuffle"},
    "lz4": {"name": "blosc", "cname": "lz4", "clevel": 5, "shuffle": "shuffle"},
    "zstd": "zstd",
    "gzip": "gzip",
    "none": "none",
}


@pytest.fixture
def make(local, values):
    """Make an array with values in memory beside it; `change` edits the sharding codec of its document."""

    def make(shape=(10, 13), dtype="u2", *, zarr_format=3, change=None, storage=local, **options):
        documents = Documents.create(storage, zarr_format)
        meta = new_array(shape, dtype, zarr_format=zarr_format, **options)
        if change is not None:
            (sharding,) = meta.document["codecs"]
            configuration = {**sharding["configuration"], **change(sharding["configuration"])}
            meta = replace(
                meta, document={**meta.document, "codecs": [{**sharding, "configuration": configuration}]}
            )
        documents.put_array("0", meta)
        return StoredArray(documents, "0"), values(shape, dtype)

    return make


def chunks_of(array, place):
    """Places of the chunks of a file that lie in the array, with their boxes."""
    meta = array.meta
    for chunk in itertools.product(*(range(f // c) for f, c in zip(meta.files, meta.chunks, strict=True))):
        starts = [k * f + i * c for k, f, i, c in zip(place, meta.files, chunk, meta.chunks, strict=True)]
        if all(start < n for start, n in zip(starts, meta.shape, strict=True)):
            yield (
                chunk,
                tuple(
                    slice(s, min(s + c, n)) for s, c, n in zip(starts, meta.chunks, meta.shape, strict=True)
                ),
            )


def write_all(array, pixels, skip=lambda place, chunk: False):
    for place in np.ndindex(array.meta.grid):
        with ShardWriter(array, place) as shard:
            for chunk, box in chunks_of(array, place):
                if not skip(place, chunk):
                    shard.put(chunk, pixels[box])


def read_by_others(array):
    """The pixels as zarr-python and as TensorStore find them, by the document on the disk."""
    path = f"{array.documents.storage.root}/{array.path}"
    driver = "zarr3" if array.meta.zarr_format == 3 else "zarr"
    stored = ts.open({"driver": driver, "kvstore": {"driver": "file", "path": path}}).result()
    return zarr.open_array(path, mode="r")[...], stored.read().result()


def assert_stored(array, expected):
    for found in (array.read(), *read_by_others(array)):
        np.testing.assert_array_equal(found, expected)


def index_of(array, place=(0, 0)):
    form = IndexLayout.of(array.meta)
    data = array.documents.storage.read(f"0/{array.meta.chunk_key(place)}")
    return decode_index(data[-form.size :] if form.at_end else data[: form.size], form, "it"), data


def litter(array):
    return [f.name for f in Path(array.documents.storage.root).rglob("*") if f.name.startswith(".lamella")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_dtype_comes_back(make, dtype, zarr_format):
    shards = (8, 8) if zarr_format == 3 else None
    array, pixels = make(dtype=dtype, zarr_format=zarr_format, chunks=(4, 4), shards=shards)
    write_all(array, pixels)
    assert array.read().dtype == np.dtype(dtype)
    # TensorStore takes no complex numbers in Zarr v2 documents of zarr-python's spelling.
    found = (
        [array.read(), read_by_others(array)[0]]
        if dtype[0] == "c"
        else [array.read(), *read_by_others(array)]
    )
    for one in found:
        np.testing.assert_array_equal(one, pixels)


@pytest.mark.parametrize("checksum", [False, True], ids=["", "crc32c"])
@pytest.mark.parametrize("location", ["end", "start"])
@pytest.mark.parametrize("compressor", CODECS)
def test_shards_of_every_coding_are_read_by_others(make, compressor, location, checksum):
    array, pixels = make(
        chunks=(4, 2),
        shards=(8, 8),
        compressor=CODECS[compressor],
        checksum=checksum,
        change=lambda old: {"index_location": location},
    )
    assert coding_of(array.meta).has_checksum == checksum
    write_all(array, pixels)
    assert_stored(array, pixels)


def test_layouts_of_both_formats_are_read_by_others(make, zarr_format, layout):
    shape, options = layout
    array, pixels = make(shape, zarr_format=zarr_format, **options)
    write_all(array, pixels)
    assert_stored(array, pixels)


def test_big_endian_and_an_index_without_checksum_are_honoured(make):
    big = {"name": "bytes", "configuration": {"endian": "big"}}
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    array, pixels = make(
        chunks=(4, 4),
        shards=(8, 8),
        change=lambda old: {"codecs": [big, old["codecs"][1]], "index_codecs": [little]},
    )
    write_all(array, pixels)
    assert_stored(array, pixels)


def test_the_same_chunks_are_stored_as_by_an_engine(make):
    array, pixels = make(chunks=(4, 4), shards=(16, 16), compressor="none", checksum=False, fill_value=3)
    pixels[:4, :4] = 3  # stored all the same: written as fill value is not the same as never written
    array.write(..., pixels)
    by_engine, _ = index_of(array)
    array.documents.storage.delete("0/c")
    write_all(array, pixels)
    ours, data = index_of(array)
    np.testing.assert_array_equal(ours == NO_CHUNK, by_engine == NO_CHUNK)
    assert (ours[0, 1], int((ours[:, 0] == NO_CHUNK).sum())) == (32, 4)
    edge = data[int(ours[8, 0]) : int(ours[8].sum())]  # rows 8 to 11 of an array of 10
    assert np.frombuffer(edge, "<u2").reshape(4, 4)[2:].tolist() == [[3] * 4] * 2


def test_missing_chunks_are_carried_over_byte_for_byte(make):
    array, old = make(chunks=(2, 3), shards=(10, 15))
    array.write((slice(0, 6), slice(None)), old[:6])
    before, data = index_of(array)
    new = old + 1
    with ShardWriter(array, (0, 0)) as shard:
        shard.put((1, 1), new[2:4, 3:6])
        shard.put((4, 4), new[8:10, 12:13])
    after, now = index_of(array)
    kept = [n for n in range(25) if n not in (6, 24)]
    for n in kept:
        assert (after[n, 0] == NO_CHUNK) == (before[n, 0] == NO_CHUNK)
        if after[n, 0] != NO_CHUNK:
            (o1, n1), (o2, n2) = before[n].astype(int), after[n].astype(int)
            assert data[o1 : o1 + n1] == now[o2 : o2 + n2]
    expected = np.zeros_like(old)
    expected[:6] = old[:6]
    expected[2:4, 3:6], expected[8:10, 12:] = new[2:4, 3:6], new[8:10, 12:]
    assert_stored(array, expected)
    assert (
        len(now) == sum(int(n) for _, n in after[after[:, 0] != NO_CHUNK]) + IndexLayout.of(array.meta).size
    )


@settings(max_examples=20)
@given(data=st.data())
def test_puts_over_what_is_there_are_assignments(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    chunks = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    shards = tuple(c * data.draw(st.integers(1, 3)) for c in chunks)
    documents = Documents.create(LocalStorage(tmp_path_factory.mktemp("law")), 3)
    documents.put_array(
        "0", new_array(shape, "i2", zarr_format=3, chunks=chunks, shards=shards, compressor="zstd")
    )
    array, expected = StoredArray(documents, "0"), np.zeros(shape, "i2")
    for turn in range(1, 4):
        place = data.draw(st.tuples(*(st.integers(0, n - 1) for n in array.meta.grid)))
        with ShardWriter(array, place) as shard:
            for chunk, box in data.draw(st.lists(st.sampled_from(list(chunks_of(array, place))), max_size=4)):
                block = np.full(expected[box].shape, turn * 100 + data.draw(st.integers(0, 9)))
                shard.put(chunk, block)
                expected[box] = block
    assert_stored(array, expected)


def test_threads_put_at_once(make):
    array, pixels = make((64, 64), chunks=(4, 4), shards=(64, 64))
    with ShardWriter(array, (0, 0)) as shard, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: shard.put(one[0], pixels[one[1]]), chunks_of(array, (0, 0))))
    assert_stored(array, pixels)


def test_what_others_write_to_other_chunks_meanwhile_stays(make):
    array, pixels = make((8, 8), chunks=(4, 4), shards=(8, 8))
    shard = ShardWriter(array, (0, 0))
    shard.put((0, 0), pixels[:4, :4])
    StoredArray(array.documents, "0").write((slice(4, 8), slice(None)), 7)
    shard.commit()
    expected = np.zeros((8, 8), "u2")
    expected[:4, :4], expected[4:] = pixels[:4, :4], 7
    assert_stored(array, expected)


def test_a_merge_waits_for_the_lock_of_the_file(make, monkeypatch):
    array, pixels = make((8, 8), chunks=(4, 4), shards=(8, 8))
    shard = ShardWriter(array, (0, 0))
    shard.put((0, 0), pixels[:4, :4])
    real, calls = LocalStorage.lock, []

    def lock_after_another_write(self, key):
        if not calls:
            calls.append(key)
            StoredArray(Documents(LocalStorage(self.root), 3), "0").write((slice(4, 8), slice(None)), 9)
        return real(self, key)

    monkeypatch.setattr(LocalStorage, "lock", lock_after_another_write)
    shard.commit()
    assert calls
    assert (array.read(slice(4, 8)) == 9).all()


def test_a_shape_that_another_changed_is_followed_or_refused(make):
    array, pixels = make((6, 8), chunks=(4, 4), shards=(8, 8))
    other = StoredArray(Documents(LocalStorage(array.documents.storage.root), 3), "0")
    cut, whole = ShardWriter(array, (0, 0)), ShardWriter(array, (0, 0))
    cut.put((1, 0), pixels[4:, :4])
    whole.put((0, 0), pixels[:4, :4])
    other.resize((8, 8))
    other.write((slice(6, 8), slice(None)), 5)
    with pytest.raises(OutOfBoundsError, match=r"of shape \(6, 8\) to \(8, 8\)"):
        cut.commit()
    whole.commit()
    expected = np.zeros((8, 8), "u2")
    expected[:4, :4], expected[6:] = pixels[:4, :4], 5
    assert_stored(array, expected)
    assert litter(array) == []


def test_an_exception_leaves_what_was_there(make):
    array, pixels = make(chunks=(4, 4), shards=(8, 8))
    array.write(..., pixels)
    with pytest.raises(ZeroDivisionError), ShardWriter(array, (0, 0)) as shard:  # noqa: PT012
        shard.put((0, 0), pixels[:4, :4] + 1)
        assert litter(array)
        1 / 0
    assert_stored(array, pixels)
    assert litter(array) == []


def test_a_failed_put_spoils_the_commit_and_leaves_what_was_there(make, monkeypatch):
    array, pixels = make(chunks=(4, 4), shards=(8, 8))
    array.write(..., pixels)
    shard = ShardWriter(array, (0, 0))
    shard.put((0, 0), pixels[:4, :4] + 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        shard.put((0, 1), pixels[:4, 4:8])
    assert caught.value.errno == 28
    monkeypatch.undo()
    with pytest.raises(
        StorageError, match=r"shard \(0, 0\) .* was not written, because a chunk of it failed"
    ):
        shard.commit()
    assert_stored(array, pixels)
    assert litter(array) == []


def test_a_damaged_shard_is_not_merged_but_may_be_replaced(make):
    array, pixels = make((8, 8), chunks=(4, 4), shards=(8, 8))
    array.write(..., pixels)
    path = Path(array.documents.storage.root) / "0/c/0/0"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    shard = ShardWriter(array, (0, 0))
    shard.put((0, 0), pixels[:4, :4])
    with pytest.raises(DamagedDataError, match="c/0/0"):
        shard.commit()
    write_all(array, pixels + 1)
    assert_stored(array, pixels + 1)


def test_nothing_given_writes_nothing(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    with ShardWriter(array, (0, 0)):
        pass
    assert array.documents.storage.list("0") == ["zarr.json"]


@pytest.mark.parametrize("kind", ["memory", "transpose"])
def test_what_only_an_engine_can_write_has_the_same_interface(make, kind):
    transpose = {"name": "transpose", "configuration": {"order": [1, 0]}}
    storage = {"storage": ZarrStorage(MemoryStore())} if kind == "memory" else {}
    change = (lambda old: {"codecs": [transpose, *old["codecs"]]}) if kind == "transpose" else None
    array, pixels = make(chunks=(4, 4), shards=(8, 8), change=change, **storage)
    write_all(array, pixels)
    np.testing.assert_array_equal(array.read(), pixels)
    write_all(array, pixels + 1, skip=lambda place, chunk: chunk != (0, 1))
    expected = pixels.copy()
    for rows, columns in itertools.product((slice(0, 4), slice(8, 10)), (slice(4, 8), slice(12, 13))):
        expected[rows, columns] += 1
    np.testing.assert_array_equal(array.read(), expected)


def test_one_chunk_is_a_file_in_any_store(make):
    array, pixels = make(chunks=(4, 4), storage=ZarrStorage(MemoryStore()))
    write_all(array, pixels)
    np.testing.assert_array_equal(array.read(), pixels)


def test_with_fsync_file_and_folder_are_flushed(make, tmp_path, monkeypatch):
    array, pixels = make(chunks=(4, 4), shards=(8, 8), storage=LocalStorage(tmp_path / "durable", fsync=True))
    events = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd):
        events.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_fsync(fd)

    def move(old, new):
        events.append("replace")
        real_replace(old, new)

    with ShardWriter(array, (0, 0)) as shard:
        shard.put((0, 0), pixels[:4, :4])
        name = litter(array)[0]
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", move)
    assert events == [name, "replace", "0"]


def test_memory_is_that_of_the_chunks_under_way(make):
    array, _ = make((64, 64, 64), chunks=(1, 64, 64), shards=(64, 64, 64), compressor="none")
    plane = np.ones((1, 64, 64), "u2")
    with ShardWriter(array, (0, 0, 0)) as shard:
        shard.put((0, 0, 0), plane)
        tracemalloc.start()
        for z in range(1, 64):
            shard.put((z, 0, 0), plane)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * plane.nbytes


def test_numcodecs_is_given_a_context_of_its_own_for_blosc(make, monkeypatch):
    monkeypatch.setattr("lamella.store.pixels.coding._blosc_library", lambda: None)
    asked = []

    class Recorded(numcodecs.blosc.Blosc):
        def encode(self, values):
            asked.append(threading.current_thread() is threading.main_thread())
            return super().encode(values)

    monkeypatch.setattr(numcodecs.blosc, "Blosc", Recorded)
    # Chunks of no other test: codecs of equal arrays are parsed once.
    array, pixels = make(chunks=(3, 5), shards=(9, 10))
    assert threading.current_thread() is threading.main_thread()
    write_all(array, pixels)
    assert asked
    assert not any(asked)


KILLED = """
import os, signal, sys
import numpy as np
from lamella.store.pixels.arrays import StoredArray
from lamella.store.metadata.documents import Documents
from lamella.store.files.local import LocalStorage
from lamella.store.pixels.shard_writer import ShardWriter
shard = ShardWriter(StoredArray(Documents(LocalStorage(sys.argv[1]), 3), "0"), (0, 0))
for x in range(3):
    shard.put((0, x), np.full((4, 4), 9))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_what_was_there_and_a_sweep_removes_the_rest(make):
    array, pixels = make((8, 16), chunks=(4, 4), shards=(8, 16))
    array.write(..., pixels)
    storage = array.documents.storage
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, "-c", KILLED, storage.root], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert_stored(array, pixels)
    assert len(litter(array)) == 1
    assert storage.list("0/c/0") == ["0"]
    assert storage.sweep(deep=True) == 1
    assert_stored(array, pixels)


def test_a_place_outside_the_grid_is_refused(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    with pytest.raises(OutOfBoundsError, match=r"no file at \(0, 2\) of array .*, so its grid is \(2, 2\)"):
        ShardWriter(array, (0, 2))


def test_a_chunk_outside_the_shard_is_refused(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    with pytest.raises(InvalidArgumentError, match=r"\(2, 2\) chunks along its axes, and none at \(2, 0\)"):
        ShardWriter(array, (0, 0)).put((2, 0), np.zeros((4, 4)))


def test_a_chunk_beyond_the_array_is_refused(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    with pytest.raises(InvalidArgumentError, match="lies beyond"):
        ShardWriter(array, (1, 1)).put((1, 0), np.zeros((4, 4)))


def test_a_block_of_another_shape_is_refused(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    with pytest.raises(InvalidArgumentError, match=r"needs a block of shape \(2, 4\), not \(3, 4\)"):
        ShardWriter(array, (1, 0)).put((0, 0), np.zeros((3, 4)))


def test_a_writer_that_has_ended_takes_nothing(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    shard = ShardWriter(array, (0, 0))
    shard.commit()
    with pytest.raises(InvalidArgumentError, match="has ended"):
        shard.put((0, 0), np.zeros((4, 4)))


def test_a_store_open_for_reading_is_refused(make):
    array, _ = make(chunks=(4, 4), shards=(8, 8))
    reader = StoredArray(Documents(LocalStorage(array.documents.storage.root, read_only=True), 3), "0")
    with pytest.raises(ReadOnlyError):
        ShardWriter(reader, (0, 0))
