"""Law: what a service refuses, delays or cuts short is an error that says so, and never damage, a gap, or zeros."""

from __future__ import annotations

import re
import tempfile
import threading
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import ObjectStore

import lamella
from lamella.errors import AccessError, DamagedDataError, LamellaError, StorageError, StoreNotFoundError

# s3fs leaves connections open when it begins new ones after an error.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")

FAULTS = [401, 403, 429, 500, 503, "reset", "short"]
WAYS = ["s3", "http", "obstore"]
STORED = ["0.4", "0.5", "0.5 shards"]


def each_way(first):
    """Run a test in each way, with another stored image in each."""
    cases = [(STORED[(n + first) % 3], way) for n, way in enumerate(WAYS)]
    return pytest.mark.parametrize(("stored", "way"), cases, indirect=["stored"])


@pytest.fixture(autouse=True)
def few_retries(monkeypatch):
    """Have s3fs ask twice and no more: it waits longer each time."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)


@pytest.fixture(autouse=True)
def nothing_kept():
    """Keep nothing of the test before, which reads the same chunks at the same URL."""
    from lamella.store.pixels import chunk_cache

    chunk_cache.decoded.clear()
    chunk_cache.indexes.clear()


def pixels():
    return np.random.default_rng(0).integers(1, 999, (2, 2, 1, 32, 32)).astype("u2")


@cache
def files(kind):
    """Return the files of an image of which the last time was never written."""
    version, _, shards = kind.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "image.zarr")
        with lamella.open_ome_zarr(
            root, layout="fov", mode="w", channel_names=["a", "b"], version=version
        ) as image:
            ratio = {"shards_ratio": (1, 1, 1, 2, 2)} if shards else {}
            array = image.create_zeros("0", (3, 2, 1, 32, 32), "u2", chunks=(1, 1, 1, 16, 16), **ratio)
            array[:2] = pixels()
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture(params=STORED)
def stored(request, service):
    """An image in the service, of which the last time was never written."""
    service.objects.update({f"/bucket/image.zarr/{key}": data for key, data in files(request.param).items()})
    return service


def reach(service, way, path="bucket/image.zarr"):
    """Return what reaches a path of the service in a way."""
    if way == "obstore":
        from obstore.store import S3Store

        bucket, _, prefix = path.partition("/")
        options = {"allow_http": True, "timeout": "30s"}
        return ObjectStore(
            S3Store(
                bucket,
                prefix=prefix,
                endpoint=service.endpoint,
                region="us-east-1",
                access_key_id="testing",
                secret_access_key="testing",
                client_options=options,
                retry_config={"max_retries": 1},
            )
        )
    return f"s3://{path}" if way == "s3" else f"{service.endpoint}/{path}"


CHUNK = r"/0/(c/)?1/0/0/"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("stored", "fault"),
    [(("0.4", "0.5 shards")[n % 2], fault) for n, fault in enumerate(FAULTS)],
    indirect=["stored"],
)
def test_a_chunk_that_is_refused_late_or_cut_short_is_no_damage(stored, way, fault):
    image = lamella.open_ome_zarr(reach(stored, way))
    met = stored.fail(fault, path=CHUNK)
    with pytest.raises(StorageError) as caught:
        image["0"][1, 0]
    assert met.seen
    assert not isinstance(caught.value, DamagedDataError)
    assert isinstance(caught.value, AccessError) == (fault in (401, 403))
    text = str(caught.value)
    assert "damaged" not in text
    assert "write that region" not in text
    assert (str(fault) in text) or not isinstance(fault, int)
    assert "image.zarr" in text
    stored.heal()
    assert np.array_equal(image["0"][:2], pixels())


@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_a_chunk_that_does_not_come_in_time_is_no_damage(stored):
    import aiohttp
    from zarr.storage import FsspecStore

    patience = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(sock_read=0.2)}}
    image = lamella.open_ome_zarr(FsspecStore.from_url(reach(stored, "http"), patience, read_only=True))
    met = stored.fail("late", path=CHUNK)
    with pytest.raises(StorageError, match="no answer came in time") as caught:
        image["0"][1, 0]
    assert met.seen
    assert not isinstance(caught.value, DamagedDataError)


@pytest.mark.parametrize("fault", [503, "reset"])
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_a_look_that_fails_is_not_missing_through_other_file_systems_of_the_web(stored, fault):
    """fsspec reports every look over HTTP that failed as a missing file, and lists the links of pages."""
    from fsspec.implementations.http import HTTPFileSystem
    from zarr.storage import FsspecStore

    class OwnFileSystem(HTTPFileSystem):
        pass

    image = lamella.open_ome_zarr(
        FsspecStore(OwnFileSystem(asynchronous=True), read_only=True, path=reach(stored, "http"))
    )
    whole = image.status()
    assert (whole.state, whole.levels[0].files) == ("partly", 16)
    met = stored.fail(fault, path=CHUNK)
    stored.fail(fault, method="HEAD", path=CHUNK)
    with pytest.raises(StorageError) as caught:
        image["0"][1, 0]
    assert met.seen
    assert not isinstance(caught.value, DamagedDataError)
    found = str(image.status())
    assert "could not be read" in found
    assert "never written" not in found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [401, 403, 503, "reset"])
@pytest.mark.parametrize("stored", ["0.4"], indirect=True)
def test_a_document_that_is_refused_is_not_missing(stored, way, fault):
    stored.fail(fault)
    stored.fail(fault, method="HEAD")
    stored.fail(fault, method="LIST")
    with pytest.raises(StorageError) as caught:
        lamella.open_ome_zarr(reach(stored, way))
    assert isinstance(caught.value, AccessError) == (fault in (401, 403))
    assert isinstance(caught.value, PermissionError) == (fault in (401, 403))
    stored.heal()
    with pytest.raises(StoreNotFoundError):
        lamella.open_ome_zarr(reach(stored, way, "bucket/none.zarr"))


@each_way(0)
def test_a_403_for_what_is_not_there_is_learned_once(stored, way):
    stored.absent, stored.lists = 403, False
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        image = lamella.open_ome_zarr(reach(stored, way))
        first = image["0"][...]
        first_requests = len(stored.requests)
        again = image["0"][...]
    assert np.array_equal(first[:2], pixels())
    assert not first[2].any()
    assert np.array_equal(first, again)
    told = [str(one.message) for one in seen if "403" in str(one.message)]
    assert len(told) == 1, told
    probes = [path for _, path in stored.requests[first_requests:] if "/.lamella-" in path]
    assert probes == []


@pytest.mark.parametrize(
    ("stored", "way", "absent"),
    [
        ("0.4", "s3", 403),
        ("0.4", "obstore", 404),
        ("0.5 shards", "s3", 404),
        ("0.5 shards", "obstore", 403),
    ],
    indirect=["stored"],
)
def test_a_part_is_never_written_into_a_chunk_that_may_not_be_read(stored, way, absent):
    """The rest of the chunk would be lost. A chunk that is not there is made, whatever the service answers for it."""
    stored.absent, stored.lists = absent, absent == 404
    stored.fail(403, path=CHUNK)
    before = dict(stored.objects)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that 403 is read as absent
        image = lamella.open_ome_zarr(reach(stored, way), mode="r+")
        with pytest.raises(AccessError, match="403"):
            image["0"][1, 0, 0, 3, 3:5] = 7
        assert {key: data for key, data in stored.objects.items() if "/0" in key} == {
            key: data for key, data in before.items() if "/0" in key
        }
        image["0"][2, 0, 0, 3, 3:5] = 7
        image["0"][2, 0, 0, 4, 3:5] = 8
        stored.heal()
        found = image["0"][...]
    assert np.array_equal(found[:2], pixels())
    assert found[2, 0, 0, 3:5, 3:5].tolist() == [[7, 7], [8, 8]]
    assert found[2].sum() == 30


@each_way(1)
def test_a_403_beside_a_404_is_an_error(stored, way):
    image = lamella.open_ome_zarr(reach(stored, way))
    stored.fail(403, path=CHUNK)
    with pytest.raises(AccessError):
        image["0"][...]


@each_way(2)
def test_a_store_of_which_nothing_may_be_read_is_refused_and_not_missing(stored, way):
    stored.lists = False
    stored.fail(403)
    stored.fail(403, method="HEAD")
    with pytest.raises(AccessError, match="credentials"):
        lamella.open_ome_zarr(reach(stored, way))


@pytest.mark.parametrize(
    ("stored", "way", "method", "fault"),
    [
        (("0.4", "0.5 shards")[(n + place) % 2], way, method, fault)
        for n, (method, fault) in enumerate([("*", 503), ("*", 403), ("LIST", 403), ("GET", 503)])
        for place, way in enumerate(["s3", "obstore"])
    ],
    indirect=["stored"],
)
def test_status_and_verify_never_report_missing_or_damaged_where_they_could_not_look(
    stored, way, method, fault
):
    image = lamella.open_ome_zarr(reach(stored, way))
    assert image.status().state == "partly"
    met = stored.fail(fault, method=method, path="/0(/|$)(?!zarr.json|[.]z)")
    found = image.status()
    assert met.seen
    assert found.state == "unread"
    assert "could not be read" in str(found)
    assert "never written" not in str(found)
    report = lamella.verify(image)
    assert not report
    assert not report.damage
    assert report.unread
    assert "could not be read" in str(report)


@each_way(0)
def test_a_flipped_bit_at_a_url_is_damage_without_the_advice_to_write_again(stored, way):
    image = lamella.open_ome_zarr(reach(stored, way))
    for key in [key for key in stored.objects if "/0/1/0/0/" in key or "/0/c/1/0/0/" in key]:
        stored.objects[key] = b"\xff" * len(stored.objects[key])
    stored.requests.clear()
    with pytest.raises(DamagedDataError) as caught:
        image["0"][1, 0]
    assert "write that region" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", ["0.5 shards"], indirect=True)
def test_a_shard_without_bytes_is_damage_and_no_failure_of_the_service(stored, way):
    """A service answers 416 to a range of an empty object."""
    image = lamella.open_ome_zarr(reach(stored, way))
    stored.objects["/bucket/image.zarr/0/c/1/0/0/0/0"] = b""
    with pytest.raises(DamagedDataError):
        image["0"][1, 0, 0, :4, :4]
    assert image.status().state == "damaged"
    assert not lamella.verify(image).unread


def test_a_part_that_is_not_decoded_once_is_read_again(stored):
    """What came may be damaged on its way."""
    image = lamella.open_ome_zarr(reach(stored, "http"))
    key = next(key for key in sorted(stored.objects) if re.search("/image.zarr/0/(c/)?1/0/0/", key))
    whole = stored.objects[key]
    stored.spoil = {key: 1}
    assert np.array_equal(image["0"][1, 0], pixels()[1, 0])
    assert stored.spoil == {key: 0}
    assert stored.objects[key] == whole


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_two_handles_of_one_url_exclude_each_other(kind, service, tmp_path):
    url = f"memory://{tmp_path.name}/plate.zarr" if kind == "memory" else "s3://bucket/plate.zarr"
    lamella.open_ome_zarr(url, layout="hcs", mode="w-", channel_names=["a"], version="0.5")
    handles = [lamella.open_ome_zarr(url, mode="r+", channel_names=["a"]) for _ in range(16)]
    errors = []
    start = threading.Barrier(16)

    def create(n):
        start.wait()
        try:
            handles[n].create_position("A", str(n), "0")
        except LamellaError as error:
            errors.append(error)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    fresh = lamella.open_ome_zarr(url)
    assert [well.path for well in fresh.metadata.wells] != []
    assert sorted(int(well.path[2:]) for well in fresh.metadata.wells) == list(range(16))


def through_sub_paths(kind, service, tmp_path):
    """Return the URL of a plate, and what opens it and a well of it; the second of another library where so named."""
    root = f"memory://{tmp_path.name}/plate.zarr" if kind == "memory" else "s3://bucket/plate.zarr"
    below = reach(service, "obstore", "bucket/plate.zarr/A/1") if kind == "mixed" else f"{root}/A/1/"
    return root, below


@pytest.mark.parametrize("kind", ["memory", "s3", "mixed"])
def test_handles_of_a_store_and_of_a_path_below_it_exclude_each_other(kind, service, tmp_path):
    root, below = through_sub_paths(kind, service, tmp_path)
    plate = lamella.open_ome_zarr(root, layout="hcs", mode="w-", channel_names=["a"], version="0.5")
    plate.create_position("A", "1", "0").create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    wells = [
        lamella.open_ome_zarr(root, mode="r+")["A/1"],
        lamella.open_ome_zarr(below, mode="r+"),
    ]

    start = threading.Barrier(12)

    def edit(n):
        start.wait()
        wells[n % 2].zattrs[f"key {n}"] = n
        wells[n % 2]["0"]["0"].attrs[f"key {n}"] = n

    threads = [threading.Thread(target=edit, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = lamella.open_ome_zarr(root)["A/1"]
    for attributes in (fresh.zattrs, fresh["0"]["0"].attrs):
        assert [key for key in attributes if str(key).startswith("key")] != []
        assert {n for n in range(12) if f"key {n}" not in attributes} == set()


@pytest.mark.parametrize("way", ["s3", "obstore"])
def test_what_another_program_adds_is_listed(stored, way):
    image = lamella.open_ome_zarr(reach(stored, way), mode="r+")
    storage = image.documents.storage
    assert "1" not in storage.list("")
    stored.objects["/bucket/image.zarr/1/zarr.json"] = b"{}"
    assert "1" in storage.list("")
    assert image.status().levels[0].files == image.status().levels[0].files
    files = image.status().levels[0].files
    gone = next(key for key in stored.objects if "/0/1/0/0/" in key or "/0/c/1/0/0/" in key)
    del stored.objects[gone]
    assert image.status().levels[0].files == files - 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", ["0.5 shards"], indirect=True)
def test_a_server_that_ignores_ranges_is_named_and_is_no_damage(stored, way):
    stored.ranges = False
    image = lamella.open_ome_zarr(reach(stored, way))
    assert np.array_equal(image["0"][:2], pixels())  # whole shards are asked for whole
    for part in (np.s_[1, 0, 0, :16, :16], np.s_[0, 1, 0, :16, :16]):
        with pytest.raises(StorageError, match="ignores the Range header") as caught:
            image["0"][part]
        assert not isinstance(caught.value, DamagedDataError)
        assert "damaged" not in str(caught.value)
        assert "write that region" not in str(caught.value)
    found = image.status()
    assert found.state == "unread"
    assert "ignores the Range header" in str(found)
    assert lamella.verify(image)  # it asks for whole files
    stored.ranges = True
    assert np.array_equal(image["0"][:2, ..., 20:], pixels()[..., 20:])


ODD = [
    ("obstore", 400, "InvalidRequest", "400 Bad Request"),
    ("obstore", 301, "PermanentRedirect", "redirect"),
    ("http", 301, "", "redirect"),
    ("http", 304, "", "304"),
    ("http", 400, "", "400"),
    ("s3", 400, "ExpiredToken", "ExpiredToken|Bad Request"),
]
"""Answers that mean neither a file nor that there is none: how it is asked, status, code, and what is said."""


@pytest.mark.parametrize(("way", "status", "code", "said"), ODD)
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_an_odd_answer_is_no_file_no_absence_and_no_late_answer(stored, way, status, code, said):
    image = lamella.open_ome_zarr(reach(stored, way))
    assert image["0"].shape == (3, 2, 1, 32, 32)
    stored.fail(status, method="*", path=CHUNK, code=code)
    with pytest.raises(StorageError, match=said) as caught:
        image["0"][1, 0]
    assert not isinstance(caught.value, DamagedDataError)
    assert "in time" not in str(caught.value)
    assert image.status().state == "unread"
    stored.heal()
    stored.fail(status, method="*", code=code)
    with pytest.raises(StorageError, match=said):
        lamella.open_ome_zarr(reach(stored, way))


@pytest.mark.parametrize("status", [501, 405])
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_a_service_that_does_not_list_is_named_and_not_to_be_tried_again(stored, status):
    stored.fail(status, method="LIST")
    with pytest.raises(StorageError, match="does not list what it stores") as caught:
        lamella.checksum("s3://bucket/image.zarr")
    assert "try again" not in str(caught.value)
    stored.heal()
    stored.fail(status, method="PUT", path="image.zarr/zarr.json")
    with pytest.raises(StorageError, match="does not support such requests") as caught:
        lamella.open_ome_zarr("s3://bucket/image.zarr", mode="r+").zattrs["note"] = 1
    assert "try again" not in str(caught.value)
    assert lamella.checksum(reach(stored, "s3"))


@pytest.mark.parametrize("header", ["Last-Modified", "ETag"])
@pytest.mark.parametrize("stored", ["0.5"], indirect=True)
def test_an_answer_without_a_header_that_is_needed_is_named_with_what_to_do(stored, header):
    stored.lacks = (header,)
    options = {"anon": True, "endpoint_url": stored.endpoint, "retries": 0}
    with pytest.raises(StorageError, match=f"lacks the header {header}.*read it by its http") as caught:
        lamella.open_ome_zarr("gs://bucket/image.zarr", storage_options=options)
    assert "gs://bucket/image.zarr" in str(caught.value)
    assert np.array_equal(lamella.open_ome_zarr(reach(stored, "http"))["0"][:2], pixels())


@pytest.mark.parametrize("stored", ["0.4", "0.5"], indirect=True)
def test_a_write_to_a_service_without_etags_names_them_and_changes_nothing(stored):
    stored.lacks = ("ETag",)
    before = dict(stored.objects)
    with pytest.raises(StorageError, match=r"Cannot write s3://bucket/image.zarr/.*lacks the header ETag"):
        lamella.open_ome_zarr("s3://bucket/image.zarr", mode="r+").set_name("new")
    assert stored.objects == before
