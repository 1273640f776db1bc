"""Law: what is read and edited at a URL asks for no more than it needs, and waits as few times as it can."""

from __future__ import annotations

import re
import threading
from collections import Counter

import numpy as np
import pytest

import lamella
from lamella.adapters.png import write_preview
from lamella.errors import StorageError
from lamella.store.keys import METADATA_FILES, ancestors, natural_order
from lamella.store.objects import document_memory
from lamella.store.objects import object_storage as s3_storage
from lamella.store.objects.object_requests import _supports_conditions
from lamella.store.pixels import chunk_cache
from lamella.store.storage import open_storage
from lamella.store.transfer import sized_files_below

WELLS, FIELDS = 12, 2
URL = "s3://bucket/plate.zarr"


@pytest.fixture
def plate(service, tmp_path, version):
    """A plate in a service; one of its fields is written."""
    names = [("A", str(n // FIELDS), str(n % FIELDS)) for n in range(WELLS * FIELDS)]
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["a"], version=version
    ) as plate:
        plate.create_positions(names, arrays={"0": {"shape": (1, 1, 1, 64, 64), "dtype": "u2"}})
        plate["A/3/1"]["0"][...] = np.ones((1, 1, 1, 64, 64), "u2")
    service.put_folder(tmp_path / "plate.zarr", "/bucket/plate.zarr")


@pytest.fixture
def asked(service, rounds, plate, monkeypatch):
    """What counts the requests and rounds of a call, for a plate in a service."""
    monkeypatch.setattr(s3_storage, "SECONDS_TRUSTED", 3600)  # on a slow machine too
    monkeypatch.setattr(document_memory, "SECONDS", 3600)
    _supports_conditions["s3", service.endpoint, "bucket"] = True
    chunk_cache.decoded.clear()
    chunk_cache.indexes.clear()

    def count(call, methods=frozenset({"GET", "PUT"})):  # never HEAD, never LIST
        service.requests.clear()
        rounds.clear()
        call()
        assert {method for method, _ in service.requests} <= methods
        return len(service.requests), rounds.rounds

    return count


def test_reading_waits_as_few_times_as_it_can(asked, version):
    v2 = version == "0.4"
    documents = 2 if v2 else 1
    opened = []
    assert asked(lambda: opened.append(lamella.open_ome_zarr(URL))) == (4, 1)
    plate = opened[0]
    assert asked(lambda: plate["A/3/1"]["0"].shape) == (1 + documents, 2)
    assert asked(lambda: lamella.open_ome_zarr(f"{URL}/A/3/1")["0"].shape) == (4 + documents, 2)
    array = plate["A/3/1"]["0"]
    assert asked(lambda: array[0, 0, 0, :8, :8])[1] <= 2  # the array's document, the chunk
    # In 0.4 each array has two documents; the attributes of wells and fields show that these are groups.
    everything = WELLS + (1 + documents) * WELLS * FIELDS
    shapes = []
    requests, waits = asked(lambda: shapes.extend(image["0"].shape for _, image in plate.positions()))
    assert (requests <= everything, waits) == (True, 2)
    assert len(shapes) == WELLS * FIELDS
    assert asked(lambda: lamella.open_ome_zarr(URL).table()) == (4 + everything, 3)


def test_reading_asks_no_more_after_a_copy(service, plate, tmp_path):
    """A copy reads twice what reads as missing; the handle that it reads from does not afterwards."""
    source = lamella.open_ome_zarr(URL)["A/3/1"]

    def lists():
        service.requests.clear()
        assert not list(source.labels)
        return service.counts()["LIST"]

    before = lists()
    lamella.Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": source}).close()
    assert lists() == before


def test_an_edit_reads_once_and_writes_once(asked, version):
    image = lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+")
    requests, waits = asked(lambda: image.zattrs.update({"key": 1}))
    assert requests == waits <= (2 if version == "0.5" else 3)  # maybe the marker of the group


def test_a_new_plate_is_written_at_once_and_listed_last(asked, service, version):
    names = [("A", str(n // 4), str(n % 4)) for n in range(20)]
    documents = 2 if version == "0.4" else 1

    def create():
        url = "s3://bucket/new.zarr"
        with lamella.open_ome_zarr(
            url, layout="hcs", mode="w", channel_names=["a"], version=version
        ) as plate:
            plate.create_positions(names, arrays={"0": {"shape": (1, 1, 1, 8, 8), "dtype": "u2"}})

    # Looked at: whether anything is there. Written: all, the document of the root again at the end.
    assert asked(create, {"PUT", "LIST"}) == (1 + documents * (1 + 1 + 5 + 40) + 1, 4)
    assert service.requests[-1] == (
        "PUT",
        f"/bucket/new.zarr/{'.zattrs' if version == '0.4' else 'zarr.json'}",
    )
    assert len(lamella.open_ome_zarr("s3://bucket/new.zarr").table()) == 20


def test_a_status_asks_few_things_of_each_field(asked, service, version, recwarn):
    documents, fields = 2 if version == "0.4" else 1, WELLS * FIELDS
    walk = 4 + documents * (WELLS + 2 * fields)
    for absent, lists in ((404, True), (403, False)):
        service.absent, service.lists = absent, lists
        found = []
        call = lambda found=found: found.append(lamella.status(URL, jobs=1))  # noqa: E731
        requests, waits = asked(call, {"GET", "HEAD", "LIST"})
        assert found[0].counts == {
            "written": 1,
            "partly": 0,
            "missing": fields - 1,
            "damaged": 0,
            "unread": 0,
        }
        # Of each field: its files, the spellings of keys that are not there, what tells whether it has labels. Without
        # lists, each 403 is confirmed by a document, and HEAD is asked again by GET until one is answered.
        assert requests <= walk + (fields * 7 if lists else fields * (8 + 2 * documents) + 40)
        assert not lists or waits <= 3 + fields * (3 + documents)  # one field after the other


@pytest.mark.filterwarnings("ignore:.*403 is read as absent:UserWarning")
def test_a_status_looks_at_the_files_of_all_fields_at_once(service, version, plate, monkeypatch):
    for absent, lists in ((404, True), (403, False)):
        service.absent, service.lists = absent, lists
        looked, all_looked, left_alone = set(), threading.Event(), []

        def wait_for_all(method, path, looked=looked, all_looked=all_looked, left_alone=left_alone):
            """Answer no look at the files of an array before the files of all are looked at."""
            array = re.match(r"/bucket/plate\.zarr/(A/\d+/\d+/0)\b", path)
            if not array or method == "GET" or left_alone:
                return
            looked.add(array[1])
            if len(looked) == WELLS * FIELDS:
                all_looked.set()
            if not all_looked.wait(30):
                left_alone.append(path)

        monkeypatch.setattr(service, "fault_of", wait_for_all)
        assert lamella.status(URL).counts["written"] == 1
        assert all_looked.is_set()
        assert left_alone == []


def test_a_labelled_array_and_all_levels_come_with_their_documents(asked, version):
    image = lamella.open_ome_zarr(f"{URL}/A/3/1")
    documents = 2 if version == "0.4" else 1
    assert asked(image.to_xarray) == (documents, 1)


def test_a_well_is_renamed_and_deleted_in_few_rounds_whatever_it_holds(asked, service, version):
    documents = 2 if version == "0.4" else 1
    plate = lamella.open_ome_zarr(URL, mode="r+")
    methods = {"GET", "HEAD", "LIST", "PUT", "POST"}
    requests, waits = asked(lambda: plate.rename_well("A/3", "B/7"), methods)
    held = sum("/B/7/" in key for key in service.objects)
    # All looks at once, also for tables of the plate, the record, the chunks and the new row, the documents, both wells
    # again, the plate that lists the new name, the deletion, the old well, the plate without the record.
    assert requests <= held + 2 + 14 * documents
    assert waits <= 8 + documents
    requests, waits = asked(lambda: plate.__delitem__("B/7"), methods)
    assert requests <= documents * WELLS + 10 + 4 * documents  # the fields of wells are counted again
    assert waits <= 12 + 4 * (documents - 1)
    assert not [key for key in service.objects if "/A/3/" in key or "/B/7" in key]


def test_the_files_of_a_folder_are_looked_at_together(asked, service, version):
    with lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+") as position:
        position.create_image("1", np.ones((1, 1, 1, 64, 64), "u2"), chunks=(1, 1, 1, 8, 8))
    storage = open_storage(f"{URL}/A/3/1")
    keys = [key.removeprefix("/bucket/plate.zarr/A/3/1/") for key in service.objects if "/A/3/1/" in key]
    folders = {"", *(above for key in keys for above in ancestors(key))}
    found = []
    documents = sum(key.rpartition("/")[2] in METADATA_FILES for key in keys)
    waits = asked(
        lambda: found.extend(key for key, _ in sized_files_below(storage, "")), {"LIST", "HEAD", "GET"}
    )[1]
    assert waits <= 2 * len(folders) + documents < len(keys)
    assert sorted(found) == sorted(keys)


def test_a_preview_reads_its_fields_at_once(asked, version, tmp_path):
    documents = 2 if version == "0.4" else 1
    fields = WELLS * FIELDS
    requests, waits = asked(lambda: write_preview(lamella.open_ome_zarr(URL), tmp_path / "plate.png"))
    assert requests <= 4 + documents * (WELLS + 2 * fields) + 2 * fields
    # Measured 6 to 12, as the threads meet; one field after the other would be two for each.
    assert waits < fields


def test_an_image_is_written_in_few_rounds(asked, version):
    documents = 2 if version == "0.4" else 1

    def write():
        image = lamella.open_ome_zarr(
            "s3://bucket/image.zarr", layout="fov", mode="w", channel_names=["a"], version=version
        )
        image.create_image("0", np.ones((1, 1, 4, 64, 64), "u2"), chunks=(1, 1, 1, 32, 32))

    # Looked at: whether anything is there. Then the root, the array, the root that lists it, the chunks.
    assert asked(write, {"PUT", "LIST"}) == (1 + 2 * documents + 1 + 16, 5)


def test_an_array_is_added_to_an_image_after_one_look(asked, version):
    documents = 2 if version == "0.4" else 1
    image = lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+")
    requests, waits = asked(
        lambda: image.create_image("beside", np.ones((1, 1, 1, 64, 64), "u1")), {"GET", "PUT", "LIST"}
    )
    # The list of the folder, the documents of the image, its level and label images; then the array, the image that
    # lists it as unwritten, the chunk, the image.
    assert requests <= 2 + 6 * documents
    assert waits <= 3 + 4 * documents


def test_a_pyramid_reads_and_writes_its_files_at_once(asked, version):
    documents = 2 if version == "0.4" else 1
    url = "s3://bucket/image.zarr"
    image = lamella.open_ome_zarr(url, layout="fov", mode="w", channel_names=["a"], version=version)
    image.create_image("0", np.ones((1, 1, 4, 64, 64), "u2"), chunks=(1, 1, 1, 32, 32))
    image.close()
    image = lamella.open_ome_zarr(url, mode="r+")
    requests, waits = asked(lambda: image.compute_pyramid(levels=3), {"GET", "PUT", "LIST"})
    # 16 chunks are read, 3 written. In rounds: the documents of image and level 0, those of the new levels, the mark,
    # the arrays, the pixels read, written by two threads, all documents again, the list of levels, the label images.
    assert requests <= 16 + 3 + (14 if version != "0.4" else 31)
    assert waits <= 10 + 3 * (documents - 1)
    assert [level.shape[-1] for level in map(image.open_level, image.dataset_paths)] == [64, 32, 16]


def test_an_upgrade_reads_documents_and_chunks_at_once(asked, version, tmp_path):
    newer, documents = ("0.5", 3) if version == "0.4" else ("0.6", 1)
    folders = 2 + WELLS + 2 * WELLS * FIELDS
    requests, waits = asked(
        lambda: lamella.upgrade(URL, newer, tmp_path / "new.zarr"), {"GET", "HEAD", "LIST"}
    )
    # Of each folder its documents twice and a list; of each array a list; of the one chunk its stamp and its bytes.
    assert requests <= 4 + folders * (2 * documents + 1) + WELLS * FIELDS + 2
    assert waits <= 18
    plate = lamella.open_ome_zarr(tmp_path / "new.zarr")
    assert len(plate.table()) == WELLS * FIELDS
    assert (plate["A/3/1"]["0"][...] == 1).all()


def test_checksums_ask_once_for_each_file(asked, service, version, tmp_path):
    folder, manifest = tmp_path / "plate.zarr", tmp_path / "sums"
    files = len(lamella.checksum(folder))
    # The documents of the one array with chunks show which of these are beyond its shape.
    documents = 2 if version == "0.4" else 1
    reading = {"GET", "LIST"}
    assert asked(lambda: lamella.checksum(URL), reading)[0] <= 4 + 3 + files + documents
    # With a record, a second list has the fingerprints of all files.
    in_order = sorted(
        lamella.checksum(folder), key=lambda key: [natural_order(name) for name in key.split("/")]
    )
    last = in_order[-2:]
    service.fail(403, path=f"{last[0]}$")
    with pytest.raises(StorageError):
        lamella.checksum(URL, manifest, jobs=1)
    service.heal()
    changed = next(key for key in service.objects if key.endswith(("A/10/zarr.json", "A/10/.zattrs")))
    service.objects[changed] += b" "
    service.requests.clear()
    digests = lamella.checksum(URL, manifest, jobs=1)
    assert len([method for method, _ in service.requests]) <= 4 + 4 + documents + len(last) + 1
    (folder / changed.removeprefix("/bucket/plate.zarr/")).write_bytes(service.objects[changed])
    assert digests == lamella.checksum(folder)
    assert asked(lambda: lamella.verify(URL, manifest=manifest), reading)[0] <= 4 + 3 + files + documents


def test_a_subset_reads_each_chosen_file_once(asked, service, version, tmp_path):
    documents = 2 if version == "0.4" else 1
    wells = [f"A{number}" for number in range(WELLS // 2)]
    copied = sum(re.search(rf"/A/[0-{len(wells) - 1}]/\d+/", key) is not None for key in service.objects)
    requests, _ = asked(
        lambda: lamella.open_ome_zarr(URL).subset(tmp_path / "part.zarr", wells=wells),
        {"GET", "HEAD", "LIST"},
    )
    fields = len(wells) * FIELDS
    # Of each image its files, a list, and its attributes once more; then the wells, the plate, its rows and tables.
    assert requests <= copied + 2 * fields + 10 * documents + 4
    assert len(lamella.open_ome_zarr(tmp_path / "part.zarr").table()) == fields


def test_an_edit_of_all_fields_reads_each_document_once(asked, version):
    documents = 2 if version == "0.4" else 1
    fields = WELLS * FIELDS
    plate = lamella.open_ome_zarr(URL, mode="r+")
    requests, _ = asked(lambda: plate.rename_channel("a", "b"))
    # Of each field its documents, those of its level 0 and of its tables, and a write; the wells, the row, the plate,
    # and the consolidated metadata of a well once more for each further field, which is edited at the same time.
    assert requests <= fields * (5 * documents - 1) + (WELLS + 4) * documents + fields - WELLS
    assert plate.channel_names == ["b"]


def test_a_channel_is_deleted_without_looking_at_documents_twice(asked, version):
    image = lamella.open_ome_zarr(
        "s3://bucket/image.zarr", layout="fov", mode="w", channel_names=["a", "b"], version=version
    )
    image.create_image("0", np.ones((1, 2, 1, 64, 64), "u2"), chunks=(1, 1, 1, 64, 64))
    image.close()
    image = lamella.open_ome_zarr("s3://bucket/image.zarr", mode="r+")
    documents = 2 if version == "0.4" else 1
    requests, _ = asked(lambda: image.delete_channel("b"), {"GET", "PUT", "LIST", "POST"})
    # The array without the channel is written beside the other one, and copied to its name.
    assert requests <= 20 + 10 * documents
    assert image.channel_names == ["a"]


def test_an_update_with_nothing_to_do_reads_each_document_once(asked, version):
    image = lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+")
    image.compute_pyramid(levels=2)
    of_image, of_arrays = (3, 4) if version == "0.4" else (2, 2)
    requests, _ = asked(image.update_pyramid, {"GET"})
    assert requests <= of_image + of_arrays


def test_a_verification_requests_each_file_once(asked, service, version):
    lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+").compute_pyramid(levels=2)
    reports = []
    asked(lambda: reports.append(lamella.verify(URL)), {"GET", "LIST"})
    assert (bool(reports[0]), reports[0].files) == (True, 2)
    counts = Counter(service.requests)
    assert all(count == 1 for (method, _), count in counts.items() if method == "GET"), counts
    # Each folder is listed once, and that of an array once more with all files below it.
    folders = [path for method, path in counts if method == "LIST"]
    assert service.counts()["LIST"] <= len(folders) + reports[0].arrays


def test_a_list_of_members_asks_no_more_than_a_loop(asked):
    position = lamella.open_ome_zarr(f"{URL}/A/3/1", mode="r+")
    methods = {"GET", "HEAD", "LIST"}
    for node in (position, position.labels, position.tables):
        names = list(node)  # also finds out once whether the service lists
        expected = asked(lambda node=node, names=names: [name for name in node] == names, methods)  # noqa: C416
        assert asked(lambda node=node: list(node), methods) == expected
