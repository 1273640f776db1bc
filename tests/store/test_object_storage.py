"""Law: an object store is asked many things at once, again where that helps; nothing that others write is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import warnings

import numpy as np
import pytest
from tests.remote import object_storage

import lamella
from lamella.errors import AccessError, DamagedDataError, StorageError
from lamella.store.metadata.documents import Documents
from lamella.store.objects import document_memory
from lamella.store.objects import object_storage as s3_storage
from lamella.store.objects.addresses import split_url
from lamella.store.objects.object_client import _first_process_id
from lamella.store.objects.object_requests import _supports_conditions
from lamella.store.storage import ChangedError, RangeRequest

URL = "s3://bucket/plate 1.zarr"
PLACE = "/bucket/plate 1.zarr"

pytestmark = pytest.mark.filterwarnings("ignore:.*honour conditions:UserWarning")


@pytest.fixture
def storage(service, rounds):
    """A storage in a service that fails as it is asked to; of which it is known whether it honours conditions."""
    found = object_storage(service.endpoint, URL)
    _supports_conditions[found._client.bucket] = True
    return found


FAULTS = [401, 403, 409, 429, 500, 503, 400, "reset", "short"]


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_what_is_refused_late_or_cut_short_is_an_error_that_says_so(service, kind, monkeypatch):
    monkeypatch.setattr(s3_storage, "SECONDS_TRUSTED", 0)  # each call is a request
    service.objects[f"{PLACE}/A/zarr.json"] = b"{}" * 999
    url = URL if kind == "s3" else f"{service.endpoint}/bucket/plate%201.zarr"
    storage = object_storage(service.endpoint, url)
    assert storage.read("A/zarr.json") == b"{}" * 999
    calls = [lambda: storage.read("A/zarr.json"), lambda: storage.read_range("A/zarr.json", 3, 9)]
    if kind == "s3":
        calls += [
            lambda: storage.list("A"),
            lambda: storage.keys_below("A"),
            lambda: storage.write("A/x", b"1"),
        ]
    for fault in FAULTS:
        service.heal()
        service.fail(fault, method="*", path="/A")
        for n, call in enumerate(calls):
            if n == 4 and fault == "short":
                continue  # what comes for a write has no body
            with pytest.raises(StorageError) as caught:
                call()
            text = str(caught.value)
            assert isinstance(caught.value, AccessError) == (fault in (401, 403)), text
            assert not isinstance(caught.value, DamagedDataError)
            assert str(fault) in text or not isinstance(fault, int), text
            assert "plate 1.zarr" in text or "plate%201.zarr" in text
            assert "try again" in text or fault in (400, 401, 403), text
            assert ("2 more tries within 60 s" in text) == (
                fault in (429, 500, 503, "reset", "short", 409)
            ), text
    service.heal()
    for fault in (500, "reset", "short"):
        service.fail(fault, times=1)
        assert storage.read("A/zarr.json") == b"{}" * 999


def test_an_answer_that_does_not_come_is_waited_for_as_long_as_is_said(service):
    storage = object_storage(service.endpoint, URL, read_timeout="100ms")
    service.objects[f"{PLACE}/x"] = b"1"
    fault = service.fail("late", path="/x$")
    with pytest.raises(StorageError, match="no answer came in time after up to 2 more tries"):
        storage.read("x")
    assert fault.seen == 3


def test_a_403_for_what_is_not_there_is_learned_once(service):
    storage = object_storage(service.endpoint, URL)
    service.objects[f"{PLACE}/zarr.json"] = b"{}"
    service.absent, service.lists = 403, False
    with pytest.warns(UserWarning, match="403 is read as absent"):
        assert storage.read_many(["zarr.json", "A/zarr.json"])["A/zarr.json"] is None
    service.requests.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert storage.read_range("A/c/0", 0, 4) is None
        assert storage.size("A/c/0") is None
    assert not [path for _, path in service.requests if ".lamella-" in path]
    with pytest.raises(AccessError, match="credentials"):
        storage.list("A")


# ---- conditions of writes -----------------------------------------------------------------------


def test_a_write_whose_answer_is_lost_is_known_again(service, storage):
    """The second request is refused because the first one succeeded."""
    service.fail("lost", method="PUT", times=1)
    stamp = storage.write_if("A/zarr.json", b"{}", None)
    assert stamp == storage.stamp("A/zarr.json")
    service.heal()
    service.fail("lost", method="PUT", times=3)  # all that are sent
    assert storage.write_if("A/zarr.json", b"{1}", stamp) == storage.stamp("A/zarr.json")
    service.heal()
    assert storage.update("A/zarr.json", lambda data: data + b"!") == storage.stamp("A/zarr.json")
    assert service.objects[f"{PLACE}/A/zarr.json"] == b"{1}!"


def test_a_write_of_the_same_bytes_by_another_is_not_taken_for_ones_own(service, storage):
    service.fail("reset", method="PUT", times=1)
    original = storage._requests._put_once

    async def meanwhile(key, data, expected, own):
        try:
            return await original(key, data, expected, own)
        except Exception:
            service.objects[f"{PLACE}/{key}"] = data  # another one creates it, before the second request
            raise

    storage._requests._put_once = meanwhile
    with pytest.raises(ChangedError):
        storage.write_if("A/zarr.json", b"{}", None)


def test_a_write_that_is_refused_is_changed_and_written_again(service, storage):
    storage.write("x", b"0")
    seen = []

    def change(data):
        seen.append(data)
        if len(seen) < 3:
            service.objects[f"{PLACE}/x"] = data + b"o"  # another process
        return data + b"1"

    storage.update("x", change)
    assert seen == [b"0", b"0o", b"0oo"]
    assert service.objects[f"{PLACE}/x"] == b"0oo1"


def test_a_service_that_does_not_honour_conditions_is_named_once(service):
    service.conditions = False
    storage = object_storage(service.endpoint, URL)
    with pytest.warns(UserWarning, match="only one writer"):
        storage.update("x", lambda data: b"1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        object_storage(service.endpoint, URL).update("x", lambda data: data + b"2")
        with pytest.raises(ChangedError):
            storage.write_if("x", b"3", None)
    assert service.objects == {f"{PLACE}/x": b"12"}


def test_an_edit_is_two_requests_and_one_more_for_a_service_that_is_not_known(service, storage, rounds):
    storage.write("x", b"1")
    service.requests.clear()
    rounds.clear()
    storage.update("x", lambda data: data + b"2")
    assert (service.counts(), rounds.rounds) == ({"GET": 1, "PUT": 1}, 2)
    _supports_conditions.clear()
    service.requests.clear()
    rounds.clear()
    storage.update("x", lambda data: data + b"3")
    assert (service.counts(), rounds.rounds) == ({"GET": 1, "PUT": 2}, 2)


# ---- many at once -------------------------------------------------------------------------------


def test_many_documents_and_ranges_are_read_in_one_round(service, storage, rounds):
    for n in range(100):
        service.objects[f"{PLACE}/{n}/zarr.json"] = b"%d" % n
    service.objects[f"{PLACE}/c/0"] = data = bytes(range(256)) * 65536  # 16 MB
    service.requests.clear()
    rounds.clear()
    found = storage.read_many([f"{n}/zarr.json" for n in range(100)])
    assert [int(one[0]) for one in found.values()] == list(range(100))
    assert (len(service.requests), rounds.rounds) == (100, 1)
    stamp = storage.stamp("c/0")
    service.requests.clear()
    rounds.clear()
    near = tuple((n * 100_000, 1000) for n in range(20))  # gaps that are read along
    far = ((4_000_000, 8), (-8, 8))
    (found,) = storage.read_ranges([RangeRequest("c/0", (*near, *far), stamp)])
    assert found.parts == [data[first:][:length] for first, length in (*near, *far)]
    assert (len(service.requests), rounds.rounds) == (3, 1)
    service.requests.clear()
    rounds.clear()
    (whole,) = storage.read_ranges([RangeRequest("c/0", ((0, len(data)),))])
    assert whole.parts == [data]
    assert (len(service.requests), rounds.rounds) == (2, 1)


def test_a_move_copies_in_the_service_and_deletes_in_bulk(service, storage, rounds):
    storage.write_many((f"A/1/c/{n}", b"%d" % n) for n in range(60))
    storage.write("A/1/zarr.json", b"{}")
    service.requests.clear()
    rounds.clear()
    storage.move("A/1", "B/2")
    counts = service.counts()
    assert (counts["PUT"], counts["GET"], counts["POST"]) == (61, 0, 2)
    assert (counts["LIST"], rounds.rounds) == (5, 7)  # the document is copied last and deleted first
    assert storage.read("B/2/c/59") == b"59"
    service.requests.clear()
    rounds.clear()
    storage.delete("B")
    assert (service.counts(), rounds.rounds) == ({"LIST": 2, "HEAD": 2, "POST": 1}, 3)
    assert service.objects == {}


def test_what_is_written_under_other_names_is_listed_at_once(service, storage):
    assert storage.list("") == []
    service.objects[f"{PLACE}/A/1/zarr.json"] = b"{}"
    service.objects["/bucket/plate 1.zarr.old/zarr.json"] = b"{}"
    assert (storage.list(""), storage.exists("A"), storage.exists("B")) == (["A"], True, False)
    assert storage.stamps_below("A") == {"A/1/zarr.json": storage.stamp("A/1/zarr.json")}


def test_a_web_server_is_read_and_never_listed_or_written(service):
    service.objects["/data/a.zarr/zarr.json"] = b"{}"
    storage = object_storage(service.endpoint, f"{service.endpoint}/data/a.zarr")
    assert (storage.read("zarr.json"), storage.read("A/zarr.json"), storage.size("c/0")) == (
        b"{}",
        None,
        None,
    )
    with pytest.raises(StorageError, match="Cannot list"):
        storage.list("")
    with pytest.raises(PermissionError):
        storage.write("x", b"1")
    service.unknown_page = service.pages = True
    assert storage.read_many(["A/zarr.json"]) == {"A/zarr.json": None}
    assert (storage.size("c/0"), storage.read_range("c/0", 0, 3)) == (None, None)
    service.ranges = False
    assert storage.read_range("zarr.json", 0, 9) == b"{}"
    with pytest.raises(StorageError, match="ignores the Range header"):
        storage.read_range("zarr.json", 1, 1)


def test_urls_name_buckets_and_prefixes():
    assert split_url("s3://bucket") == ("bucket", "")
    assert split_url("az://box/a/b%20c #1.zarr") == ("box", "a/b%20c #1.zarr")


# ---- processes ----------------------------------------------------------------------------------


def _read_in_child(pickled, answers):
    storage = pickle.loads(pickled)
    try:
        answers.put(storage.read("x"))
    except StorageError as error:
        answers.put(str(error))


def test_a_forked_child_is_refused_at_once(service, storage):
    """Its requests would wait for ever: the threads of obstore are not there."""
    storage.write("x", b"1")
    assert _first_process_id == [os.getpid()]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_read_in_child, args=(pickle.dumps(storage), answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child.start()
    answer = answers.get(timeout=60)
    child.join()
    assert "spawn" in answer
    assert "forkserver" in answer


def test_attributes_beside_ome_ngff_are_requested_once(service):
    service.objects["/bucket/a.zarr/A/.zattrs"] = b'{"note": "ours"}'
    service.objects["/bucket/a.zarr/A/.zgroup"] = b'{"zarr_format": 2}'
    documents = Documents(object_storage(service.endpoint, "s3://bucket/a.zarr"), 2)
    documents.names_group = lambda attributes: "multiscales" in attributes
    assert documents.group("A") == {"note": "ours"}
    assert [path.rpartition("/")[2] for _, path in service.requests] == [".zattrs", ".zgroup"]


@pytest.fixture
def ahead(service, monkeypatch):
    """A storage that has requested a document ahead, and the time, which may be changed."""
    storage = object_storage(service.endpoint, URL)
    storage.read_only = True
    service.objects[f"{PLACE}/A/zarr.json"] = b"{}"
    now = [1000.0]
    monkeypatch.setattr(document_memory.time, "monotonic", lambda: now[0])
    storage.request_ahead(["A/zarr.json"])
    return storage, now


def test_a_document_that_came_ahead_is_trusted_from_when_it_is_read(service, ahead):
    storage, now = ahead
    now[0] += 5  # a walk reads what it has requested later than that, at slow stores
    _, stamp = storage.read_stamped("A/zarr.json")
    requests = len(service.requests)
    assert storage.stamp("A/zarr.json") == stamp
    assert len(service.requests) == requests
    now[0] += 2
    assert storage.stamp("A/zarr.json") == stamp
    assert len(service.requests) == requests + 1


def test_a_document_that_was_requested_ahead_is_trusted_for_ten_seconds(service, ahead):
    storage, now = ahead
    now[0] += 9
    _, stamp = storage.read_stamped("A/zarr.json")
    service.objects[f"{PLACE}/A/zarr.json"] = b'{"attributes":{}}'
    now[0] += 1.1
    assert storage.stamp("A/zarr.json") != stamp


def test_an_answer_from_before_a_write_of_this_process_is_not_kept(service, monkeypatch):
    service.objects[f"{PLACE}/A/zarr.json"] = b'{"v":1}'
    reader, writer = (object_storage(service.endpoint, URL) for _ in range(2))
    reader.read_only = True
    get_many = reader._requests.get_many

    async def overtaken(keys):
        results = await get_many(keys)
        patch.setattr(reader._requests, "get_many", get_many)
        await asyncio.to_thread(writer.write, "A/zarr.json", b'{"v":2}')
        assert await asyncio.to_thread(reader.read, "A/zarr.json") == b'{"v":2}'
        return results

    with monkeypatch.context() as patch:
        patch.setattr(reader._requests, "get_many", overtaken)
        reader.request_ahead(["A/zarr.json"])
    assert reader.read("A/zarr.json") == b'{"v":2}'


def test_an_object_of_a_folder_is_no_file_of_the_store(s3, tmp_path):
    """Consoles and mounts of S3 create empty objects such as `A/1/`: a copy failed, and an upgrade lost a level."""

    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version="0.4"
    ) as plate:
        plate.create_position("A", "1", "0").create_image("0", np.ones((1, 2, 1, 8, 8), "u2"))
    s3.put_folder(tmp_path / "plate.zarr", "plate.zarr")
    folders = ["", "A/", "A/1/", "A/1/0/", "A/1/0/0/", "nothing/in/here/"]
    for folder in folders:
        s3.put(f"plate.zarr/{folder}", b"")
    url = s3.url("plate.zarr")
    assert lamella.checksum(url) == lamella.checksum(tmp_path / "plate.zarr")
    copied = lamella.copy_store(url, tmp_path / "copy.zarr")
    assert (copied.documents, copied.files) == (10, 2)
    assert lamella.upgrade(url, "0.5", tmp_path / "new.zarr").arrays == 1
    with lamella.open_ome_zarr(url, mode="r+") as plate:
        assert list(plate) == ["A"]
        plate.delete_channel("b")
        plate.rename_well("A/1", "B/2")
        assert (plate["B/2/0/0"][...] == 1).all()
    lamella.open_ome_zarr(url, layout="fov", mode="w", channel_names=["a"], version="0.5")
    assert sorted(s3.objects("plate.zarr")) == sorted(
        [*(f"plate.zarr/{f}" for f in folders), "plate.zarr/zarr.json"]
    )
