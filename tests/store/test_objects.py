"""Law: pixels in stores that answer requests are those of numpy, and take few rounds of them."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
from typing import Any

import numpy as np
import pytest
import zarr
from tests.remote import object_storage
from zarr.storage import MemoryStore, WrapperStore

from lamella.errors import DamagedDataError, StorageError
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.objects import object_client
from lamella.store.objects import object_storage as s3_storage
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.pixels import chunk_cache, chunk_objects
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.selection import points
from lamella.store.pixels.shard_writer import ShardWriter
from lamella.store.storage import RangeRequest, Storage


class Counting(WrapperStore):
    """A store whose requests take a moment, and that counts them and their rounds.

    A request is of the round after the last one that had ended when it began.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.clear()

    def clear(self) -> None:
        self.requests, self.rounds, self.bytes, self.spoiled = 0, 0, 0, 0

    async def _ask(self, asked: Any) -> Any:
        self.requests += 1
        turn = self.rounds + 1
        await asyncio.sleep(0)
        found = await asked
        await asyncio.sleep(0.002)
        self.rounds = max(self.rounds, turn)
        return found

    async def get(self, key, prototype, byte_range=None):
        found = await self._ask(self._store.get(key, prototype, byte_range))
        self.bytes += 0 if found is None else len(found)
        if found is not None and self.spoiled and "/c/" in key:
            self.spoiled -= 1
            return prototype.buffer.from_bytes(b"\xff" * len(found))
        return found

    async def set(self, key, value):
        await self._ask(self._store.set(key, value))


@pytest.fixture
def store() -> Counting:
    return Counting(MemoryStore())


def array_in(storage: Storage, shape, *, zarr_format=3, **options) -> StoredArray:
    documents = Documents.create(storage, zarr_format)
    documents.put_array("0", new_array(shape, "u2", zarr_format=zarr_format, fill_value=7, **options))
    array = StoredArray(documents, "0")
    assert array.meta.shape == shape
    return array


def test_an_array_behaves_as_one_of_numpy_and_zarr_python_reads_the_same(layout, zarr_format, values, store):
    shape, options = layout
    array = array_in(ZarrStorage(store), shape, zarr_format=zarr_format, **options)
    assert array.engine.name == "files"
    expected = np.full(shape, 7, "u2")
    np.testing.assert_array_equal(array.read(), expected)
    rest = (slice(None),) * (len(shape) - 2)
    half = tuple(slice(n // 2) for n in shape)
    parts = [
        (*rest, slice(None), slice(1, None, 2)),
        (*rest, 1),
        half,
        (*rest, [0, 2], [1, 3]),
        ...,
        (*rest, 0, 0),
    ]
    for seed, index in enumerate(parts):
        new = values(expected[index].shape, "u2", seed)
        array.write(index, new)
        expected[index] = new
        np.testing.assert_array_equal(array.read(), expected)
        for one in parts:
            np.testing.assert_array_equal(array.read(one), expected[one])
        for found, one in zip(array.read_many(parts), parts, strict=True):
            np.testing.assert_array_equal(found, expected[one])
        np.testing.assert_array_equal(StoredArray(array.documents, "0", engine="zarr").read(), expected)
    mask = expected % 2 == 0
    array.write(mask, 3, select=points)
    expected[mask] = 3
    np.testing.assert_array_equal(array.read(~mask, select=points), expected[~mask])
    np.testing.assert_array_equal(
        zarr.open_array(store, path="0", mode="r", zarr_format=zarr_format)[...], expected
    )


def test_few_rounds_read_and_write(store, values):
    shape = (8, 64, 64)
    array = array_in(ZarrStorage(store), shape, chunks=(1, 16, 16), shards=(1, 64, 64))
    data = values(shape, "u2")

    def cost(call) -> tuple[int, int]:
        store.clear()
        call()
        return store.requests, store.rounds

    assert cost(lambda: array.write(..., data)) == (8, 1)
    assert cost(lambda: array.write((slice(None), 0), data[:, 0])) == (16, 2)
    np.testing.assert_array_equal(array.read(), data)
    assert cost(array.read) == (8, 1)  # whole shards come whole
    assert cost(lambda: array.read((0, slice(4), slice(4)))) == (2, 2)
    assert cost(lambda: array.read((slice(None), slice(40), slice(40)))) == (16, 2)
    crops = [(n % 8, slice(20, 30), slice(n % 50, n % 50 + 10)) for n in range(64)]
    assert cost(lambda: array.read_many(crops)) == (16, 2)
    assert cost(lambda: array.read_many([0, np.s_[1, :20, :20]])) == (3, 2)
    plain = array_in(ZarrStorage(store), (4, 64, 64), chunks=(1, 16, 16))
    assert cost(lambda: plain.write(..., data[:4])) == (64, 1)
    assert cost(plain.read) == (64, 1)


def test_what_is_read_in_portions_is_whole(store, values, monkeypatch):
    shape = (6, 32, 32)
    data = values(shape, "u2")
    for options in ({}, {"shards": (2, 32, 32)}):
        monkeypatch.setattr(chunk_objects, "PORTION", 128 << 20)
        array = array_in(ZarrStorage(MemoryStore()), shape, chunks=(1, 16, 16), **options)
        monkeypatch.setattr(chunk_objects, "PORTION", 700)
        array.write(..., data)
        array.write((slice(1, 5), slice(3, 30)), data[1:5, 3:30])
        np.testing.assert_array_equal(array.read(), data)
        np.testing.assert_array_equal(array.read((slice(1, 5), slice(3, 30))), data[1:5, 3:30])


def test_what_is_damaged_on_its_way_is_read_again_and_damage_is_named(store, values):
    for options in ({"shards": (8, 8)}, {}):
        array = array_in(ZarrStorage(store), (8, 8), chunks=(4, 4), **options)
        data = values((8, 8), "u2")
        array.write(..., data)
        for index in (..., np.s_[1, 1]):
            store.spoiled = 1
            np.testing.assert_array_equal(array.read(index), data[index])
        store.spoiled = 1
        array.write((0, 0), data[0, 0])
        np.testing.assert_array_equal(array.read(), data)
        for index in (..., np.s_[1, 1]):
            store.spoiled = 100
            with pytest.raises(DamagedDataError, match="read twice"):
                array.read(index)
        with pytest.raises(DamagedDataError, match="Cannot write"):
            array.write((0, 0), 1)
        store.spoiled = 0
        np.testing.assert_array_equal(array.read(), data)
        array.documents.storage.delete("0")


class Stamped(ZarrStorage):
    """A store in memory with stamps, whose ranges may be asked for while another program writes."""

    has_stamps = True

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.before_ranges: list[Any] = []
        self.before_write_back: list[Any] = []
        self.asked: list[RangeRequest] = []

    def stamp(self, key):
        data = None if key.endswith("zarr.json") else self.read(key)
        return None if data is None else (hashlib.sha256(data).hexdigest(),)

    def read_many(self, keys):
        return Storage.read_many(self, keys)

    def read_ranges(self, requests):
        if self.before_ranges:
            self.before_ranges.pop(0)()
        self.asked += requests
        return Storage.read_ranges(self, requests)

    def write_back(self, replacements):
        if self.before_write_back:
            self.before_write_back.pop(0)()
        fresh = [one for one in replacements if self.stamp(one.key) == one.stamp]
        self.write_many((one.key, one.data) for one in fresh)
        return [one.key for one in replacements if one not in fresh]


def others(array: StoredArray) -> Any:
    """Return the array as another program sees it."""
    return zarr.open_array(array.documents.storage.store, path="0", mode="r+", zarr_format=3)


@pytest.fixture
def stamped(values) -> StoredArray:
    chunk_cache.decoded.clear()
    chunk_cache.indexes.clear()
    array = array_in(Stamped(), (2, 8, 8), chunks=(1, 4, 4), shards=(1, 8, 8))
    array.write(..., values((2, 8, 8), "u2"))
    return array


def test_indexes_and_chunks_are_kept_by_stamp(stamped, values):
    data, storage = values((2, 8, 8), "u2"), stamped.documents.storage
    crop = np.s_[0, 1:3, 1:3]

    def ranges() -> list[int]:
        storage.asked.clear()
        np.testing.assert_array_equal(stamped.read(crop), data[crop])
        return [len(request.ranges) for request in storage.asked]

    assert ranges() == [1, 1]  # the index, the chunk
    assert ranges() == [0]  # whether it is the same
    assert storage.asked[0].stamp is not None
    data = values((2, 8, 8), "u2", 5)
    others(stamped)[...] = data
    assert ranges() == [0, 1, 1]
    assert ranges() == [0]
    storage.delete("0/c/0/0/0")
    assert (stamped.read(crop) == 7).all()


def test_an_old_index_is_never_used_for_a_new_shard(stamped, values, monkeypatch):
    storage = stamped.documents.storage
    seeds = iter(range(1, 200))
    latest: list[Any] = [None]

    def replaced() -> None:
        latest[0] = values((2, 8, 8), "u2", next(seeds))
        others(stamped)[...] = latest[0]

    for index in (np.s_[0, 1:3, 1:3], np.s_[:, :6, :5]):
        storage.before_ranges = [lambda: None, replaced, lambda: None, replaced]
        np.testing.assert_array_equal(stamped.read(index), latest[0][index])
    storage.before_ranges = [replaced] * 99
    monkeypatch.setattr(object_client, "RETRY_SECONDS", 0.2)
    with pytest.raises(StorageError, match="was replaced each time") as caught:
        stamped.read(np.s_[0, 1:3, 1:3])
    assert not isinstance(caught.value, DamagedDataError)


def test_a_part_of_a_shard_is_written_to_what_others_wrote_meanwhile(stamped, values):
    data, storage = values((2, 8, 8), "u2"), stamped.documents.storage

    def meanwhile() -> None:
        others(stamped)[:, 0] = 100
        others(stamped)[:, 1, 1] = 200

    storage.before_write_back = [meanwhile, meanwhile]
    stamped.write(np.s_[:, 1, 2:6], 300)
    data[:, 0], data[:, 1, 1], data[:, 1, 2:6] = 100, 200, 300
    np.testing.assert_array_equal(stamped.read(), data)
    np.testing.assert_array_equal(others(stamped)[...], data)


def test_a_shard_that_is_written_by_chunk_keeps_the_others_and_what_is_written_there_meanwhile(
    stamped, values
):
    data, storage = values((2, 8, 8), "u2"), stamped.documents.storage
    storage.before_write_back = [lambda: others(stamped).__setitem__(np.s_[0, 4:, 4:], 100)]
    with ShardWriter(stamped, (0, 0, 0)) as shard:
        shard.put((0, 0, 0), np.full((1, 4, 4), 300))
        shard.put((0, 0, 1), np.full((1, 4, 4), 301))
    data[0, 4:, 4:], data[0, :4, :4], data[0, :4, 4:] = 100, 300, 301
    np.testing.assert_array_equal(stamped.read(), data)
    storage.write("0/c/0/0/0", b"damaged")
    with pytest.raises(DamagedDataError, match=r"c/0/0/0"), ShardWriter(stamped, (0, 0, 0)) as shard:
        shard.put((0, 0, 0), np.full((1, 4, 4), 300))
    with ShardWriter(stamped, (0, 0, 0)) as shard:
        for n in range(4):
            shard.put((0, n // 2, n % 2), np.full((1, 4, 4), n))
    assert stamped.read(0)[::4, ::4].tolist() == [[0, 1], [2, 3]]


def test_few_rounds_ask_s3_for_what_changed_and_no_more(service, rounds, values, monkeypatch):
    """The goals for crops and levels: two rounds at first, then one for each call."""
    monkeypatch.setattr(s3_storage, "SECONDS_TRUSTED", 3600)
    shape = (8, 64, 64)
    data = values(shape, "u2")
    writer = array_in(
        object_storage(service.endpoint, "s3://bucket/image.zarr"),
        shape,
        chunks=(1, 16, 16),
        shards=(1, 64, 64),
    )
    writer.write(0, data[0])
    writer.write((0, 0), data[0, 0])  # whether the service honours conditions is known from here on

    def cost(call) -> tuple[int, int]:
        service.requests.clear()
        rounds.clear()
        call()
        return len(service.requests), rounds.rounds

    # A writer looks each time whether others changed the document.
    assert cost(lambda: writer.write(..., data)) == (1 + 8, 2)
    assert cost(lambda: writer.write((slice(None), 0), data[:, 0])) == (1 + 16, 3)
    storage = object_storage(service.endpoint, "s3://bucket/image.zarr")
    storage.read_only = True
    array = StoredArray(Documents(storage, 3), "0")
    assert array.meta.shape == shape
    crop = (0, slice(4), slice(4))
    assert cost(lambda: array.read(crop)) == (2, 2)
    for index in (crop, crop, (0, slice(20, 30), slice(20, 30))):
        assert cost(lambda index=index: array.read(index)) == (1, 1)
        np.testing.assert_array_equal(array.read(index), data[index])
    crops = [(n % 8, slice(20, 30), slice(n % 50, n % 50 + 10)) for n in range(64)]
    count, waits = cost(lambda: array.read_many(crops))
    assert (count <= 40, waits) == (True, 2)
    assert cost(lambda: array.read_many(crops)) == (8, 1)
    assert cost(array.read) == (8, 1)
    storage.trusted = {}  # recheck="open"
    again = StoredArray(Documents(storage, 3), "0")
    again.read(crop)
    assert [cost(lambda: again.read(crop))[0] for _ in range(3)] == [0, 0, 0]
    chunk_cache.decoded.clear()  # the index is kept
    assert cost(lambda: again.read((0, slice(50, 60), slice(50, 60)))) == (1, 1)
    storage.trusted = None
    new = values(shape, "u2", 1)
    writer.write(..., new)
    for index, found in zip(crops, array.read_many(crops), strict=True):
        np.testing.assert_array_equal(found, new[index])
    gone = "/bucket/image.zarr/0/c/0/0/0"
    del service.objects[gone]
    assert (array.read(crop) == 7).all()


def write_planes(endpoint: str, first: int, start: Any) -> None:
    array = StoredArray(Documents(object_storage(endpoint, "s3://bucket/image.zarr"), 3), "0")
    start.wait()
    for n in range(first, 16, 2):
        array.write(n, n + 1)


def test_what_others_replace_or_delete_is_read_again_at_once_however_much_is_cached(service, rounds, values):
    url, data, crop = "s3://bucket/many.zarr", values((8, 32, 32), "u2"), np.s_[:, :8, :8]
    for shards in (None, (1, 32, 32)):
        service.objects.clear()
        array = array_in(object_storage(service.endpoint, url), data.shape, chunks=(1, 16, 16), shards=shards)
        for is_deleted in (False, True):
            array.write(..., data)
            assert np.array_equal(array.read(crop), data[crop])
            others = StoredArray(Documents(object_storage(service.endpoint, url), 3), "0")
            others.write(..., data + 1)
            for key in [key for key in service.objects if "/c/" in key and is_deleted]:
                del service.objects[key]
            service.requests.clear()
            rounds.clear()
            assert np.array_equal(array.read(crop), data[crop] * 0 + 7 if is_deleted else data[crop] + 1)
            # The document, whether what is cached is the same, and what is there now: an index and a chunk of a shard.
            assert len(service.requests) <= 1 + 8 + 2 * 8
            assert rounds.rounds <= 4


def test_two_processes_that_write_planes_of_one_shard_lose_none(service):
    array = array_in(
        object_storage(service.endpoint, "s3://bucket/image.zarr"),
        (16, 8, 8),
        chunks=(1, 8, 8),
        shards=(16, 8, 8),
    )
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [
        spawn.Process(target=write_planes, args=(service.endpoint, first, start)) for first in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert array.read()[:, 0, 0].tolist() == list(range(1, 17))
