"""Law: what one program renames or replaces at an object store is not lost to another that changes things beside it."""

from __future__ import annotations

import threading
from itertools import product

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, StorageError, StoreExistsError

from .protocols import PROTOCOLS
from .test_creators_on_s3 import elsewhere

URL = "s3://bucket/a.zarr"
PIXELS = np.arange(1, 65, dtype="u2").reshape(1, 1, 1, 8, 8)


class Held:
    """Holds up the first request that fits, a deletion."""

    def __init__(self, service, fits=lambda method, _: method in ("DELETE", "POST")):
        self.came, self.goes = threading.Event(), threading.Event()
        service.before = lambda method, path: self._wait if fits(method, path) else None

    def _wait(self):
        self.came.set()
        assert self.goes.wait(20)


def begin(call):
    outcome = []

    def run():
        try:
            outcome.append(call())
        except StorageError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def both(service, one, other):
    """Hold up one call before its first deletion and the other before its own; let the first end, then the second."""
    held = Held(service)
    first, _ = begin(one)
    assert held.came.wait(10)
    second_held = Held(service)
    second, outcome = begin(other)
    while second.is_alive() and not second_held.came.wait(0.05):
        pass
    service.before = None
    for hold, thread in ((held, first), (second_held, second)):
        hold.goes.set()
        thread.join(20)
        assert not thread.is_alive()
    return outcome[0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_well_that_is_renamed_keeps_its_pixels_when_another_program_creates_a_position(service, version):
    with lamella.open_ome_zarr(URL, "hcs", "w-", ["a"], version=version) as plate:
        plate.create_position("A", "1", "0")["0"] = PIXELS
    one = lamella.open_ome_zarr(URL, mode="r+")
    other = both(
        service,
        lambda: one.rename_well("A/1", "A/5"),
        lambda: elsewhere(URL).create_position("B", "7", "0"),
    )
    assert isinstance(other, StorageError)
    assert np.array_equal(lamella.open_ome_zarr(URL)["A/5/0"]["0"][...], PIXELS)
    lamella.open_ome_zarr(URL, mode="r+").create_position("B", "7", "0")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("again", [False, True])
def test_labels_that_are_renamed_keep_their_pixels_when_another_program_changes_labels(
    service, version, again
):
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version=version) as image:
        image["0"] = PIXELS
        image.labels.create("a", PIXELS[:, 0])
    one = lamella.open_ome_zarr(URL, mode="r+")
    both(
        service,
        lambda: one.labels.rename("a", "b"),
        lambda: (
            elsewhere(URL).labels.rename("a", "b")
            if again
            else elsewhere(URL).labels.create("c", PIXELS[:, 0])
        ),
    )
    assert np.array_equal(lamella.open_ome_zarr(URL).labels["b"]["0"][...], PIXELS[:, 0])


def test_a_level_that_is_replaced_keeps_its_pixels_when_another_program_changes_the_image(service):
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a", "b"], version="0.5") as image:
        image["0"] = np.concatenate([PIXELS, PIXELS + 1], 1)
    one = lamella.open_ome_zarr(URL, mode="r+")
    copied = Held(service, lambda method, path: method == "PUT" and path.endswith("a.zarr/0/zarr.json"))
    first, _ = begin(lambda: one.delete_channel("b"))
    assert copied.came.wait(10)  # the chunks are in place, the document is not
    deleting = Held(service)
    second, _ = begin(lambda: elsewhere(URL).rename_channel("a", "z"))
    while second.is_alive() and not deleting.came.wait(0.05):
        pass
    service.before = None
    for hold, thread in ((copied, first), (deleting, second)):
        hold.goes.set()
        thread.join(20)
        assert not thread.is_alive()
    assert np.array_equal(lamella.open_ome_zarr(URL)["0"][...], PIXELS)


def test_a_table_that_is_replaced_is_kept_when_another_program_writes_one(service):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2.0]})
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version="0.5") as image:
        image["0"] = PIXELS
        image.tables.write("t", frame)
    one = lamella.open_ome_zarr(URL, mode="r+")
    both(
        service,
        lambda: one.tables.write("t", frame + 1, overwrite=True),
        lambda: elsewhere(URL).tables.write("other", frame),
    )
    assert list(lamella.open_ome_zarr(URL).tables["t"]["x"]) == [2.0, 3.0]


def test_a_store_at_a_url_is_not_replaced_by_what_is_made_of_it(service):
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version="0.4") as image:
        image["0"] = PIXELS
    before = dict(service.objects)
    aliases = [
        URL,
        URL.replace("s3:", "s3a:"),
        URL.replace("/a.zarr", "//a.zarr//"),
        f"{URL}/inside.zarr",
        f"{URL.replace('s3:', 's3a:')}/inside.zarr",
    ]
    sources = [*aliases[:3], f"{service.endpoint}/bucket/a.zarr"]
    calls = {
        "upgrade": lambda old, new: lamella.upgrade(old, "0.5", new, overwrite=True),
        "rechunk": lambda old, new: lamella.rechunk(old, new, chunks=(4, 4), overwrite=True),
        "copy": lambda old, new: lamella.copy_store(old, new, overwrite=True),
    }
    for name, call in calls.items():
        for source, destination in product(sources, aliases):
            with pytest.raises(InvalidArgumentError, match=r"is the source|inside of its source"):
                call(source, destination)
            assert service.objects == before, (name, source, destination)


def test_a_store_is_not_replaced_by_a_part_of_it_under_another_name_of_the_host(service):
    with lamella.open_ome_zarr(URL, "hcs", "w-", ["a"], version="0.4") as plate:
        plate.create_position("A", "1", "0")["0"] = PIXELS
    before = dict(service.objects)
    alias = f"{service.endpoint.replace('127.0.0.1', 'localhost')}/bucket/a.zarr"
    for source, destination in ((f"{alias}/A/1/0", URL), (alias, f"{URL}/A/1/0")):
        for call in (
            lambda old, new: lamella.upgrade(old, "0.5", new, overwrite=True),
            lambda old, new: lamella.copy_store(old, new, overwrite=True),
        ):
            with pytest.raises(InvalidArgumentError, match="lies inside of"):
                call(source, destination)
            assert service.objects == before
    with pytest.raises(InvalidArgumentError, match="is the source"):
        lamella.open_ome_zarr(alias).mosaic("A/1").write(URL, overwrite=True)
    assert service.objects == before


def test_a_store_of_zarr_python_is_known_to_be_the_url_that_is_made_of_it(service):
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version="0.4") as image:
        image["0"] = PIXELS
    before = dict(service.objects)
    for name in ("obstore", "http"):
        protocol = PROTOCOLS[name](service)
        for source in (
            protocol.target("a.zarr"),
            lamella.open_ome_zarr(protocol.target("a.zarr")).zgroup.store,
        ):
            with pytest.raises(InvalidArgumentError, match=r"is the source"):
                lamella.upgrade(source, "0.5", URL, overwrite=True)
            assert service.objects == before


def test_aliases_of_a_url_lock_each_other(service):
    roots = {
        lamella.open_ome_zarr(url, "fov", "a", ["a"], version="0.5").documents.storage.lock_root
        for url in (URL, URL.replace("s3:", "s3a:"), URL.replace("/a.zarr", "//a.zarr//"))
    }
    store = PROTOCOLS["obstore"](service).target("a.zarr")
    roots.add(lamella.open_ome_zarr(store, mode="r+").documents.storage.lock_root)
    assert len(roots) == 1


def test_a_store_whose_copy_was_killed_at_its_last_request_is_not_replaced_unasked(service, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    for n in (1, 2):
        tifffile.imwrite(
            tmp_path / f"{n}.tif", PIXELS[0, 0] + n, photometric="minisblack", metadata={"axes": "ZYX"}
        )
    service.fail("reset", method="DELETE", path="lamella-copy")
    service.fail("reset", method="POST")
    with pytest.raises(StorageError, match="lamella-copy"):
        lamella.convert(tmp_path / "1.tif", URL, levels=1)
    service.heal()
    lamella.open_ome_zarr(URL, mode="r+").labels.create("work")
    with pytest.raises(StoreExistsError):
        lamella.convert(tmp_path / "2.tif", URL, levels=1)
    assert list(lamella.open_ome_zarr(URL).labels) == ["work"]
