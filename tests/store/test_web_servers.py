"""Law: a web server is asked as few things, and as often, as S3 is, whatever it makes of HTTP."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.errors import ReadOnlyError, StorageError
from lamella.store.pixels import chunk_cache

PIXELS = np.random.default_rng(0).integers(1, 999, (1, 1, 2, 64, 64)).astype("u2")


@pytest.fixture
def url(service, tmp_path):
    """An image with shards on the web, and nothing kept of it."""
    with lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["a"], version="0.5") as image:
        image.create_image("0", PIXELS, chunks=(1, 1, 1, 16, 16), shards_ratio=(1, 1, 1, 4, 4))
    service.put_folder(tmp_path / "a.zarr", "/web/a b.zarr")
    chunk_cache.decoded.clear()
    chunk_cache.indexes.clear()
    return f"{service.endpoint}/web/a%20b.zarr"


def test_a_web_server_is_asked_as_s3_is(service, url, rounds):
    def cost(call):
        service.requests.clear()
        rounds.clear()
        call()
        return service.counts(), rounds.rounds

    assert cost(lambda: lamella.open_ome_zarr(url)) == ({"GET": 4}, 1)
    image = lamella.open_ome_zarr(url, recheck="open")
    crop = np.s_[0, 0, 0, 3:9, 3:9]
    level = image["0"]
    assert level.shape == PIXELS.shape
    assert cost(lambda: level[crop]) == ({"GET": 2}, 2)  # the index, the chunk
    assert cost(lambda: level[crop]) == ({}, 0)
    level = lamella.open_ome_zarr(url)["0"]
    assert np.array_equal(level[crop], PIXELS[crop])
    assert cost(lambda: level[crop])[0]["GET"] == 1  # by its ETag, without bytes
    service.objects.update({key: data for key, data in service.objects.items() if "/c/" not in key})
    other = PIXELS[:, :, ::-1].copy()
    keys = sorted(key for key in service.objects if "/c/" in key)
    first, second = (service.objects[key] for key in keys)
    service.objects.update({keys[0]: second, keys[1]: first})
    assert np.array_equal(level[crop], other[crop])
    assert not service.counts()["LIST"]


def test_a_web_server_is_asked_again_as_often_as_is_said(service, url):
    options = {"retries": 1}
    for fault in (503, "reset", "short"):
        service.heal()
        met = service.fail(fault, times=1)
        image = lamella.open_ome_zarr(url, storage_options=options)
        assert np.array_equal(image["0"][...], PIXELS)
        assert met.seen == 1
        service.fail(fault, path="/c/")
        with pytest.raises(StorageError, match="after up to 1 more tries within 60 s"):
            image["0"][...]


@pytest.mark.parametrize("how", ["without lengths", "compressed"])
def test_what_comes_without_a_length_or_compressed_is_read_whole(service, url, how):
    service.lengths, service.gzipped = how != "without lengths", how == "compressed"
    service.ranges = False
    image = lamella.open_ome_zarr(url)
    assert np.array_equal(image["0"][...], PIXELS)
    assert lamella.verify(url)
    chunk_cache.decoded.clear()
    with pytest.raises(StorageError, match="ignores the Range header"):
        image["0"][0, 0, 0, :3, :3]
    service.fail(503)
    with pytest.raises(StorageError, match="503"):
        lamella.open_ome_zarr(url)


def test_a_part_of_what_is_stored_compressed_is_no_damage(service, url):
    image = lamella.open_ome_zarr(url)
    assert image["0"].shape == PIXELS.shape
    for key in [key for key in service.objects if "/c/" in key]:
        service.metadata[key] = {"Content-Encoding": "gzip"}
    with pytest.raises(StorageError, match="Content-Encoding") as caught:
        image["0"][0, 0, 0, :3, :3]
    assert type(caught.value) is StorageError


def test_a_redirect_to_nowhere_is_no_matter_of_regions(service, url):
    service.fail(301)
    with pytest.raises(StorageError, match="redirect") as caught:
        lamella.open_ome_zarr(url)
    assert "region" not in str(caught.value)


def test_a_web_server_is_never_written(service, url):
    before = dict(service.objects)
    for call in (
        lambda: lamella.open_ome_zarr(url, mode="r+"),
        lambda: lamella.open_ome_zarr(f"{service.endpoint}/new.zarr", "fov", "w-", ["a"]),
    ):
        with pytest.raises(ReadOnlyError):
            call()
    assert service.objects == before
    assert not {"PUT", "DELETE", "POST"} & service.counts().keys()


def test_a_store_of_obstore_on_the_web_is_never_listed(service, url):
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store = ObjectStore(HTTPStore(url, client_options={"allow_http": True}), read_only=True)
    image = lamella.open_ome_zarr(store)
    assert np.array_equal(image["0"][...], PIXELS)
    assert str(lamella.status(store).images[0].state) == "written"
    assert lamella.verify(store)
    assert service.counts().keys() <= {"GET", "HEAD"}
