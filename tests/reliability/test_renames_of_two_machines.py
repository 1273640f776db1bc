"""Law: two programs on two machines that make the same change at an object store lose nothing.

No lock is shared by machines, and neither knows whether the other program runs.
"""

from __future__ import annotations

import os
import threading
from functools import partial

import numpy as np
import pytest

import lamella
from lamella.errors import LamellaError, StorageError
from lamella.store.files import temporary_files
from lamella.store.keys import PRIVATE_PREFIX

from .test_creators_on_s3 import elsewhere

URL = "s3://bucket/a.zarr"
PIXELS = np.arange(1, 65, dtype="u2").reshape(1, 1, 1, 8, 8)
EVERY = 10**6
"""More requests than a program sends: it is not held up."""
CHANGING = ("PUT", "POST", "DELETE")


class Machines:
    """Threads as programs on machines of their own, each held up before one of its requests that change something."""

    def __init__(self, monkeypatch, service):
        self.here, self.service = threading.local(), service
        host = lambda: getattr(self.here, "host", "0" * 8)  # noqa: E731
        monkeypatch.setattr(
            "lamella.store.objects.object_reads.MAX_REQUESTS", 1
        )  # a program that is held up sends no others
        monkeypatch.setattr(temporary_files, "_host", host)
        monkeypatch.setattr(
            temporary_files, "_own_prefix", lambda: f"{PRIVATE_PREFIX}{host()}-{os.getpid()}-"
        )

    def begin(self, host, call, number):
        """Begin a call; return when it waits before its request of a number, or has ended."""
        program = Program()
        seen = iter(range(10**6))
        lock = threading.Lock()

        def before(method, path):
            with lock:
                is_due = method in CHANGING and not program.came.is_set() and next(seen) == number
                if is_due:
                    program.came.set()
            return program.goes.wait if is_due else None

        def run():
            self.here.host = host
            try:
                call()
            except LamellaError as error:
                program.error = error
            finally:
                program.came.set()

        self.service.before = before
        program.thread = threading.Thread(target=run, daemon=True)
        program.thread.start()
        assert program.came.wait(20)
        self.service.before = None
        return program


class Program:
    """A call in a thread."""

    def __init__(self):
        self.came, self.goes = threading.Event(), threading.Event()
        self.error = None

    @property
    def is_held(self):
        """Whether it waits before a request."""
        return self.thread.is_alive()

    def end(self):
        """Let it go on to its end."""
        self.goes.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def machines(monkeypatch, service):
    return Machines(monkeypatch, service)


def make_plate(version):
    with lamella.open_ome_zarr(URL, "hcs", "w-", ["a"], version=version) as plate:
        plate.create_position("A", "1", "0")["0"] = PIXELS
        plate["A/1/0"].labels.create("cells", PIXELS[:, 0])
        plate.create_position("A", "2", "0")["0"] = PIXELS + 1


RENAMES = {
    "well": (lambda plate: plate.rename_well("A/1", "B/5"), "B/5/0", ["A/2", "B/5"], "/A/1/"),
    "position": (lambda plate: plate.rename_position("A/1/0", "7"), "A/1/7", ["A/1", "A/2"], "/A/1/0/"),
    "labels": (
        lambda plate: plate["A/1/0"].labels.rename("cells", "nuclei"),
        "A/1/0/labels/nuclei",
        ["A/1", "A/2"],
        "/labels/cells/",
    ),
}


def check_renamed(service, name):
    """Check that what is renamed has its pixels under the new name, and nothing is left under the old one."""
    _, new, wells, old = RENAMES[name]
    plate = lamella.open_ome_zarr(URL)
    pixels = PIXELS[:, 0] if name == "labels" else PIXELS
    assert np.array_equal(plate[new]["0"][...], pixels)
    if name != "labels":
        assert np.array_equal(plate[f"{new}/labels/cells"]["0"][...], PIXELS[:, 0])
    assert sorted(path for path, _ in plate.wells()) == wells
    assert not [key for key in service.objects if old in key]
    assert [finding for finding in lamella.validate(URL).findings if finding.level == "MUST"] == []
    assert b"renaming" not in b"".join(service.objects.values())


def trial(machines, service, name, version, first, second):
    """Hold one program before a request, another before one of its own; let the first end, then the second."""
    service.objects.clear()
    make_plate(version)
    rename = RENAMES[name][0]
    programs = [lamella.open_ome_zarr(URL, mode="r+"), elsewhere(URL)]
    one = machines.begin("0000000a", lambda: rename(programs[0]), first)
    was_held = one.is_held
    other = machines.begin("0000000b", lambda: rename(programs[1]), second)
    one.end()
    other.end()
    if one.error and other.error:
        rename(elsewhere(URL))
    check_renamed(service, name)
    return was_held


@pytest.mark.parametrize(("name", "version"), [("well", "0.5"), ("position", "0.4"), ("labels", "0.5")])
def test_two_machines_that_make_the_same_rename_lose_nothing(machines, service, name, version):
    """One is held up before every third of its requests, the other before one half as far, or not at all."""
    point, most = 0, EVERY
    while trial(machines, service, name, version, point, most):
        point, most = point + 3, point // 2 if most == EVERY else EVERY


def test_a_well_that_is_stored_under_another_name_than_listed_is_renamed_with_a_record(machines, service):
    """The documents that a rename of an earlier version, or another program, left."""
    make_plate("0.5")
    for key in [key for key in service.objects if "/A/1/" in key]:
        service.objects[key.replace("/A/1/", "/A/9/")] = service.objects.pop(key)
    rename = lambda: lamella.open_ome_zarr(URL, mode="r+").rename_well("A/9", "A/1")  # noqa: E731
    program = machines.begin("0000000a", rename, 5)
    assert program.is_held
    assert np.array_equal(lamella.open_ome_zarr(URL)["A/9/0"]["0"][...], PIXELS)
    with pytest.raises(StorageError, match="wait"):
        elsewhere(URL).create_position("A", "3", "0")
    program.end()
    assert np.array_equal(lamella.open_ome_zarr(URL)["A/1/0"]["0"][...], PIXELS)
    assert not [key for key in service.objects if "/A/9/" in key]


def make_tables(version):
    pandas = pytest.importorskip("pandas")
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version=version) as image:
        image["0"] = PIXELS
        for number, name in enumerate("tv"):
            image.tables.write(name, pandas.DataFrame({"x": [float(number)]}))
    return pandas


def values():
    tables = lamella.open_ome_zarr(URL).tables
    return {name: tables[name]["x"].tolist() for name in tables}


def both_machines(machines, one, other):
    """Hold up a call before each of its requests in turn, and make another one meanwhile; yield the errors of both."""
    for point in range(100):
        machines.service.objects.clear()
        pandas = make_tables("0.5")
        first, second = lamella.open_ome_zarr(URL, mode="r+"), elsewhere(URL)
        held = machines.begin("0000000a", partial(one, first.tables, pandas), point)
        was_held = held.is_held
        meanwhile = machines.begin("0000000b", partial(other, second.tables, pandas), EVERY)
        held.end()
        yield held.error, meanwhile.error
        if not was_held:
            return


def test_two_machines_that_make_the_same_rename_of_a_table_lose_nothing(machines):
    rename = lambda tables, _: tables.rename("t", "u")  # noqa: E731
    for first, second in both_machines(machines, rename, rename):
        if first and second:
            elsewhere(URL).tables.rename("t", "u")
        assert values() == {"u": [0.0], "v": [1.0]}
        assert not [key for key in machines.service.objects if "/tables/t/" in key]


def test_two_machines_that_replace_two_tables_of_an_image_replace_both(machines):
    def replace(name):
        return lambda tables, pandas: tables.write(name, pandas.DataFrame({"x": [5.0]}), overwrite=True)

    for first, second in both_machines(machines, replace("t"), replace("v")):
        assert (first, second) == (None, None)
        assert values() == {"t": [5.0], "v": [5.0]}


def test_a_table_is_not_deleted_under_a_name_that_another_machine_writes_meanwhile(machines):
    for first, second in both_machines(
        machines,
        lambda tables, _: tables.rename("t", "u"),
        lambda tables, pandas: tables.write("t", pandas.DataFrame({"x": [5.0]}), overwrite=True),
    ):
        found = values()
        assert found["v"] == [1.0]
        if first:
            assert found.get("t", found.get("u")) == [5.0]
        elif second:
            assert found == {"u": [0.0], "v": [1.0]}
        else:
            assert found in ({"u": [0.0], "v": [1.0], "t": [5.0]}, {"u": [5.0], "v": [1.0]})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_whole_write_of_another_machine_stays_around_a_part(machines, version):
    with lamella.open_ome_zarr(URL, "fov", "w-", ["a"], version=version) as image:
        image["0"] = PIXELS
    one, other = lamella.open_ome_zarr(URL, mode="r+"), elsewhere(URL)
    held = machines.begin("0000000a", lambda: one["0"].__setitem__((..., 0), 7), 0)
    assert held.is_held
    machines.begin("0000000b", lambda: other["0"].__setitem__(..., PIXELS + 100), EVERY)
    held.end()
    expected = PIXELS + 100
    expected[..., 0] = 7
    assert np.array_equal(lamella.open_ome_zarr(URL)["0"][...], expected)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "change", [lambda plate: plate.rename_well("B/1", "C/1"), lambda plate: plate.__delitem__("B/1")]
)
def test_a_well_created_in_a_row_that_becomes_empty_stays(machines, service, change, version):
    for number in range(20):
        service.objects.clear()
        make_plate(version)
        with lamella.open_ome_zarr(URL, mode="r+") as plate:
            plate.create_position("B", "1", "0")["0"] = PIXELS
        one = machines.begin("0000000a", lambda: change(lamella.open_ome_zarr(URL, mode="r+")), number)
        was_held = one.is_held
        with elsewhere(URL) as plate:
            created = None
            try:
                created = plate.create_position("B", "2", "0")
                created["0"] = PIXELS + 2
            except LamellaError:
                assert created is None
        one.end()
        if created is not None:
            with lamella.open_ome_zarr(URL) as plate:
                assert np.array_equal(plate["B/2/0"]["0"][...], PIXELS + 2), number
            assert [finding for finding in lamella.validate(URL).findings if finding.level == "MUST"] == []
        if not was_held:
            break
    assert number > 1  # as many requests as a deletion has
