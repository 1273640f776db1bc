"""Law: of two programs that create one store on S3 at once, one succeeds; what a killed one left is finished."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import lamella
from lamella.errors import NodeExistsError, StorageError, StoreExistsError
from lamella.store.metadata.documents import Documents

from .protocols import PROTOCOLS

pytestmark = pytest.mark.filterwarnings("ignore:The new positions of .* have no channel names")


def create(url, names, version, mode="w-"):
    return lamella.open_ome_zarr(url, layout="hcs", mode=mode, channel_names=names, version=version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_of_two_that_create_a_store_on_s3_at_once_one_succeeds(s3, monkeypatch, version):
    url, look, others = s3.url("plate.zarr"), Documents.open, []
    create(s3.url("other.zarr"), ["a"], version)

    def looks_before_the_other_writes(storage):
        seen = look(storage)
        if seen is None and not others:
            others.append(dict(s3.objects("other.zarr")))
            for key, data in others[0].items():  # as another computer does, right after our look
                s3.put(f"plate.zarr/{key.removeprefix('other.zarr/')}", data)
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(Documents, "open", looks_before_the_other_writes)
        with pytest.raises(StoreExistsError):
            create(url, ["b"], version)
    assert others
    assert lamella.open_ome_zarr(url).version == version
    assert list(s3.objects("plate.zarr").values()) == list(others[0].values())


def test_a_creation_on_s3_that_was_killed_between_its_documents_is_finished_by_the_same_call(s3):
    url = s3.url("plate.zarr")
    create(s3.url("whole.zarr"), ["a"], "0.4")
    s3.put("plate.zarr/.zattrs", s3.objects("whole.zarr")["whole.zarr/.zattrs"].replace(b"whole", b"plate"))
    create(url, ["a"], "0.4", mode="a").create_position("A", "1", "0")
    assert [path for path, _ in lamella.open_ome_zarr(url).positions()] == ["A/1/0"]


# ---- two programs in one plate ------------------------------------------------------------------


def elsewhere(url):
    """Open a store as a program on another computer does: the locks of this process do not hold it up."""
    node = lamella.open_ome_zarr(url, mode="r+")
    node.documents.storage.lock_root += " elsewhere"
    return node


def meanwhile(service, one, other):
    """Make a call while another program makes another one before every third of its requests, in turn.

    Yields
    ------
    tuple of int, Exception or None, Exception or None
        How many requests came before; what each call raised.
    """

    def outcome(call):
        try:
            call()
        except NodeExistsError as error:
            return error
        return None

    before = dict(service.objects)
    turn = 0
    while True:
        service.objects.clear()
        service.objects.update(before)
        met, seen = [], [0]

        def come(method, path, seen=seen, turn=turn, met=met):
            seen[0] += 1
            return (lambda: met.append(outcome(other))) if seen[0] > turn else None

        service.before = come
        first = outcome(one)
        service.before = None
        if not met:
            return
        yield turn, first, met[0]
        turn += 3


PIXELS = np.full((1, 1, 1, 8, 8), 7, "u2")


def create_and_write(url, well, name):
    """Create a position and write pixels into it at once."""
    elsewhere(url).create_position(*well.split("/"), name)["0"] = PIXELS


def test_what_two_programs_create_in_one_plate_is_listed_and_keeps_its_pixels(service):
    url = "s3://bucket/plate.zarr"
    for version, begin, own, others in (
        ("0.4", [], ("A/1", "0"), ("A/1", "1")),  # one new well
        ("0.5", [], ("A/1", "0"), ("A/2", "0")),  # one new row
        ("0.5", [("A", "1", "x")], ("A/1", "0"), ("A/1", "1")),  # one well
    ):
        service.objects.clear()
        with create(url, ["a"], version) as plate:
            plate.create_positions(begin)
        for turn, first, second in meanwhile(
            service,
            lambda own=own: lamella.open_ome_zarr(url, mode="r+").create_position(*own[0].split("/"), own[1]),
            lambda others=others: create_and_write(url, *others),
        ):
            assert (first, second) == (None, None), turn
            plate = lamella.open_ome_zarr(url)
            wanted = {"/".join(begin_) for begin_ in begin} | {"/".join(own), "/".join(others)}
            assert {path for path, _ in plate.positions()} == wanted, turn
            assert np.array_equal(plate["/".join(others)]["0"][...], PIXELS), turn


def test_of_two_programs_that_create_one_position_none_deletes_what_the_other_wrote(service):
    url = "s3://bucket/plate.zarr"
    for version, begin in (("0.5", []), ("0.4", [("A", "1", "x")])):
        service.objects.clear()
        with create(url, ["a"], version) as plate:
            plate.create_positions(begin)
        refused = 0
        for turn, first, second in meanwhile(
            service,
            lambda: lamella.open_ome_zarr(url, mode="r+").create_position("A", "1", "0"),
            lambda: create_and_write(url, "A/1", "0"),
        ):
            assert None in (first, second), turn
            refused += (first, second) != (None, None)
            plate = lamella.open_ome_zarr(url)
            assert [path for path, _ in plate.positions()].count("A/1/0") == 1, turn
            if second is None:
                assert np.array_equal(plate["A/1/0"]["0"][...], PIXELS), turn
        assert refused > 1


def test_of_two_programs_that_create_one_array_one_does(service):
    url = "s3://bucket/image.zarr"
    lamella.open_ome_zarr(url, layout="fov", mode="w-", channel_names=["a"], version="0.4")
    for turn, first, second in meanwhile(
        service,
        lambda: lamella.open_ome_zarr(url, mode="r+").create_zeros("0", (1, 1, 1, 4, 4), "u1"),
        lambda: elsewhere(url).create_image("0", PIXELS),
    ):
        assert [first, second].count(None) == 1, turn
        image = lamella.open_ome_zarr(url)
        if second is None:
            assert np.array_equal(image["0"][...], PIXELS), turn
        else:
            assert (image["0"].dtype, image["0"].shape) == ("u1", (1, 1, 1, 4, 4)), turn


def test_a_creation_of_positions_on_s3_that_was_killed_at_any_request_is_finished_by_the_same_call(service):
    url, names = "s3://bucket/plate.zarr", [("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")]
    with create(url, ["a"], "0.4") as plate:
        plate.create_position("A", "1", "x")
    before = dict(service.objects)
    lamella.open_ome_zarr(url, mode="r+").create_positions(names)
    whole = dict(service.objects)
    for writes in range(0, 20, 2):
        service.objects.clear()
        service.objects.update(before)
        service.fail("reset", method="PUT", after=writes)
        with suppress(StorageError):
            lamella.open_ome_zarr(url, mode="r+").create_positions(names)
        service.heal()
        if service.objects != whole:
            lamella.open_ome_zarr(url, mode="r+").create_positions(names)
        assert service.objects == whole, writes


def test_a_creation_of_an_array_on_s3_that_was_killed_between_its_documents_is_finished_by_the_same_call(
    service,
):
    url = "s3://bucket/image.zarr"
    lamella.open_ome_zarr(url, layout="fov", mode="w-", channel_names=["a"], version="0.4")
    for key in (".zarray", ".zattrs"):
        service.fail("reset", method="PUT", path=f"/0/{key}")
        with pytest.raises(StorageError):
            lamella.open_ome_zarr(url, mode="r+").create_image("0", PIXELS)
        service.heal()
        image = lamella.open_ome_zarr(url, mode="r+")
        image.create_image("0", PIXELS)
        assert np.array_equal(lamella.open_ome_zarr(url)["0"][...], PIXELS)
        del image["0"]


LABELS = np.full((1, 1, 8, 8), 7, "u1")


def label(url, value, at=elsewhere):
    at(url).labels.create("cells", LABELS * value)


def test_of_two_programs_that_create_one_label_image_one_does(service):
    url = "s3://bucket/image.zarr"
    for version in ("0.4", "0.5"):
        service.objects.clear()
        with lamella.open_ome_zarr(
            url, layout="fov", mode="w-", channel_names=["a"], version=version
        ) as image:
            image.create_image("0", PIXELS)
        refused = set()
        for turn, first, second in meanwhile(
            service,
            lambda: label(url, 1, lambda url: lamella.open_ome_zarr(url, mode="r+")),
            lambda: label(url, 2),
        ):
            assert [first, second].count(None) == 1, turn
            labels = lamella.open_ome_zarr(url).labels
            assert list(labels) == ["cells"], turn
            assert np.array_equal(labels["cells"]["0"][...], LABELS * (1 if first is None else 2)), turn
            refused.add(first is None)
        assert refused == {True, False}


def test_a_label_image_whose_creation_was_killed_is_not_listed_and_is_deleted_or_complete(service):
    url = "s3://bucket/image.zarr"
    for version in ("0.4", "0.5"):
        service.objects.clear()
        with lamella.open_ome_zarr(
            url, layout="fov", mode="w-", channel_names=["a"], version=version
        ) as image:
            image.create_image("0", PIXELS)
        before, whole, writes = dict(service.objects), {}, 0
        while service.objects != whole:
            if not whole:
                label(url, 1)
                whole = dict(service.objects)
            service.objects.clear()
            service.objects.update(before)
            service.fail("reset", method="PUT", after=writes)
            service.fail("reset", method="POST")  # a killed process deletes nothing either
            with suppress(StorageError):
                label(url, 1)
            service.heal()
            labels = lamella.open_ome_zarr(url, mode="r+").labels
            for name in labels:
                assert np.array_equal(labels[name]["0"][...], LABELS), writes
            # In 0.4 a group has two documents, of which one may be there.
            assert version == "0.4" or lamella.validate(url), writes
            if not list(labels):
                with suppress(KeyError):
                    del labels["cells"]
                label(url, 1)
                assert service.objects == whole, writes
                service.objects.clear()
            writes += 1
        assert writes > 4


WRITERS = ["s3", "gs", "az"]


@pytest.mark.parametrize("protocol", WRITERS)
def test_of_two_that_create_a_store_at_once_one_succeeds_by_every_protocol(service, protocol):
    way, document = PROTOCOLS[protocol](service), "/bucket/plate.zarr/zarr.json"

    def create_plate(name):
        lamella.open_ome_zarr(
            way.target("plate.zarr"), "hcs", "w-", [name], version="0.5", storage_options=way.options
        )

    create_plate("a")
    other = service.objects.pop(document)

    def meanwhile(method, path):
        return (
            partial(service.objects.update, {document: other})
            if method == "PUT" and path == document
            else None
        )

    service.before = meanwhile
    with pytest.raises(StoreExistsError):
        create_plate("b")
    assert service.objects == {document: other}


def change_plates(number, start, endpoint):
    """Create eight wells in a plate that another process changes too, and write eight planes of one shard."""
    for protocol in WRITERS:
        way = PROTOCOLS[protocol](SimpleNamespace(endpoint=endpoint))
        start.wait()
        for n in range(8):
            plate = lamella.open_ome_zarr(
                way.target(f"{protocol}.zarr"), mode="r+", storage_options=way.options
            )
            plate.create_position("AB"[number], str(n), "0")
            plate["C/1/0"]["0"][0, 0, 8 * number + n] = 8 * number + n + 1


def test_two_processes_that_create_eight_wells_and_write_eight_planes_each_lose_none(service):
    plates = {}
    for protocol in WRITERS:
        way = PROTOCOLS[protocol](service)
        plates[protocol] = lamella.open_ome_zarr(
            way.target(f"{protocol}.zarr"), "hcs", "w-", ["a"], version="0.5", storage_options=way.options
        )
        image = plates[protocol].create_position("C", "1", "0")
        image.create_zeros("0", (1, 1, 16, 8, 8), "u2", chunks=(1, 1, 1, 8, 8), shards_ratio=(1, 1, 16, 1, 1))
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [
        spawn.Process(target=change_plates, args=(number, start, service.endpoint)) for number in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for plate in plates.values():
        assert len(list(plate.positions())) == 17
        assert plate["C/1/0"]["0"][0, 0, :, 0, 0].tolist() == [*range(1, 17)]
