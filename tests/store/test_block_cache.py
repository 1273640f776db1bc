"""Law: chunks that a folder caches are read from there as long as the service says that they are unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError
from lamella.store.objects.block_cache import BlockCache
from lamella.store.pixels import chunk_cache

URL = "s3://bucket/image.zarr"


def pixels(seed=0):
    return np.random.default_rng(seed).integers(1, 60000, (1, 1, 4, 64, 64)).astype("u2")


@pytest.fixture(params=[("0.4", False), ("0.5", True)], ids=["chunks", "shards"])
def image(request, service):
    """An image in the service; a function reads all of it in parts, as a new process does, and counts bytes."""
    version, sharded = request.param
    with lamella.open_ome_zarr(URL, layout="fov", mode="w", channel_names=["a"], version=version) as new:
        ratio = {"shards_ratio": (1, 1, 1, 2, 2)} if sharded else {}
        new.create_image("0", pixels(), chunks=(1, 1, 1, 32, 32), **ratio)

    def read(folder, url=URL):
        chunk_cache.decoded.clear()
        chunk_cache.indexes.clear()
        service.sent = 0
        array = lamella.open_ome_zarr(url, storage_options={"cache": folder})["0"]
        return np.stack([array[0, 0, :, y : y + 32] for y in (0, 32)], axis=1).reshape(1, 1, 4, 64, 64)

    return read


def blocks(folder):
    return sorted(Path(folder).glob("*/*.block"))


def test_the_second_process_gets_answers_without_bytes(image, service, tmp_path):
    assert np.array_equal(image(tmp_path), pixels())
    first = service.sent
    assert first > pixels().nbytes
    assert np.array_equal(image(tmp_path), pixels())
    assert service.sent < first / 8  # documents, indexes of shards
    assert np.array_equal(image(tmp_path, f"{service.endpoint}/bucket/image.zarr"), pixels())


def test_what_others_wrote_is_read(image, tmp_path):
    image(tmp_path)
    lamella.open_ome_zarr(URL, mode="r+")["0"][0, 0, 1] = pixels(1)[0, 0, 1]
    found = image(tmp_path)
    assert np.array_equal(found[0, 0, 1], pixels(1)[0, 0, 1])
    assert np.array_equal(found[0, 0, [0, 2, 3]], pixels()[0, 0, [0, 2, 3]])
    assert np.array_equal(image(tmp_path), found)


def test_damaged_and_half_written_files_are_not_used(image, service, tmp_path):
    image(tmp_path)
    for n, file in enumerate(blocks(tmp_path)):
        data = file.read_bytes()
        file.write_bytes((data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b"")[n % 3])
    assert np.array_equal(image(tmp_path), pixels())
    sent = service.sent
    assert np.array_equal(image(tmp_path), pixels())
    assert service.sent < sent / 8  # they were written again


def test_a_chunk_that_was_damaged_on_its_way_is_not_used_again(image, service, tmp_path):
    keys = [key for key in service.objects if "/0/" in key and "zarr.json" not in key and "/.z" not in key]
    array = lamella.open_ome_zarr(URL, storage_options={"cache": tmp_path})["0"]
    for key in keys[:1]:
        service.spoil[key] = 1
    assert np.array_equal(array[...], pixels())
    assert np.array_equal(image(tmp_path), pixels())


def test_a_folder_stays_below_its_limit_and_keeps_what_was_used_last(tmp_path):
    cache = BlockCache(str(tmp_path), 100_000)
    for n in range(100):
        cache.put(f"key {n}", ('"tag"',), (0, 4000), bytes([n]) * 4000)
        path = cache._path(f"key {n}", ('"tag"',), (0, 4000))
        if os.path.exists(path):
            os.utime(path, (n, n))
    (tmp_path / "ab").mkdir(exist_ok=True)
    (left := tmp_path / "ab" / "x.block.1.tmp").write_bytes(b"half")
    os.utime(left, (0, 0))
    BlockCache(str(tmp_path), 100_000).put(
        "last", ('"tag"',), (0, 1), b"1"
    )  # the first write of a process counts
    assert sum(file.stat().st_size for file in blocks(tmp_path)) <= 110_000
    assert not left.exists()
    assert cache.get("key 99", ('"tag"',), (0, 4000)) == bytes([99]) * 4000
    assert cache.get("key 0", ('"tag"',), (0, 4000)) is None
    cache.put("large", ('"tag"',), (0, 50_000), bytes(50_000))
    assert cache.get("large", ('"tag"',), (0, 50_000)) is None


WRITER = """
import sys
from lamella.store.objects.block_cache import BlockCache
cache = BlockCache(sys.argv[1], 200_000)
print("ready", flush=True)
n = 0
while True:
    n += 1
    cache.put(f"key {n % 40}", ('"tag"',), (0, 9000), bytes([n % 40]) * 9000)
    found = cache.get(f"key {n % 7}", ('"tag"',), (0, 9000))
    assert found is None or found == bytes([n % 7]) * 9000
    print(n, flush=True)
"""


def test_processes_share_a_folder_and_may_be_killed(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in started:
        for _ in range(200):
            assert process.stdout.readline()  # it has not failed
    for process in started:
        process.kill()
        process.communicate()
    cache = BlockCache(str(tmp_path), 200_000)
    found = {n: cache.get(f"key {n}", ('"tag"',), (0, 9000)) for n in range(40)}
    assert any(found.values())
    assert all(data is None or data == bytes([n]) * 9000 for n, data in found.items())


def test_a_folder_that_cannot_be_made_is_refused_when_a_store_is_opened(image, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidArgumentError, match="cache"):
        lamella.open_ome_zarr(URL, storage_options={"cache": tmp_path / "file"})
