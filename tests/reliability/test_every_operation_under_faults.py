"""Law: whatever a service does to any request of any operation, nothing is lost, nothing is reported that is not so."""

from __future__ import annotations

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import lamella
from lamella.errors import (
    AccessError,
    DamagedDataError,
    NodeExistsError,
    NodeNotFoundError,
    StorageError,
    StoreExistsError,
)

URL = "s3://bucket/plate.zarr"
VERSIONS = ["0.4", "0.5"]
FAULTS = [500, 503, "reset", "short", "late", 403, "lost"]
OPTIONS: dict[str, float] = {}
"""Storage options of every operation."""


def pixels(seed):
    return np.random.default_rng(seed).integers(1, 999, (1, 1, 1, 16, 16)).astype("u2")


@cache
def files(version):
    """Return the files of a plate of two wells, by their keys."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "plate.zarr")
        with lamella.open_ome_zarr(root, "hcs", "w", ["a"], version=version) as plate:
            for column in (1, 2):
                ratio = {} if version == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2)}
                plate.create_position("A", str(column), "0").create_image(
                    "0", pixels(column), chunks=(1, 1, 1, 8, 8), **ratio
                )
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def opened(mode="r"):
    return lamella.open_ome_zarr(URL, mode=mode, storage_options=OPTIONS)


def seen(service):
    """Return all that a reader sees: the pixels of each level of each position, and the note."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    make = default_buffer_prototype().buffer.from_bytes
    stored = {key.removeprefix("/bucket/plate.zarr/"): make(data) for key, data in service.objects.items()}
    found = {}
    for path, position in lamella.open_ome_zarr(MemoryStore(stored)).positions():
        levels = tuple(position[name][...].tobytes() for name in position.dataset_paths)
        found[path] = (position.zattrs.get("note"), levels)
    return found


def see():
    return [(path, position["0"][...].tobytes()) for path, position in opened().positions()]


def create():
    with opened("r+") as plate:
        paths = [path for path, _ in plate.positions()]
        position = plate["B/3/0"] if "B/3/0" in paths else plate.create_position("B", "3", "0")
        if "0" in position.dataset_paths:
            position["0"][...] = pixels(3)
        else:
            position["0"] = pixels(3)


def edit():
    opened("r+")["A/1/0"].zattrs["note"] = "new"


def write():
    opened("r+")["A/1/0"]["0"][0, 0, 0, :3, :3] = 7


def rename():
    opened("r+").rename_well("A/1", "C/3")


def delete():
    del opened("r+")["A/1"]


def pyramid():
    opened("r+")["A/1/0"].compute_pyramid(levels=2)


def status():
    return [(image.path, image.state) for image in lamella.status(URL, storage_options=OPTIONS).images]


def verify():
    report = lamella.verify(URL, storage_options=OPTIONS)
    return report.files, [one.key for one in report.damage], bool(report.unread)


def checksum():
    return lamella.checksum(URL, storage_options=OPTIONS)


def validate():
    report = lamella.validate(URL, storage_options=OPTIONS)
    return report.readable, [(finding.rule, finding.node) for finding in report.findings]


def copy():
    """Copy the plate to another URL."""
    if not lamella.copy_store(URL, "s3://bucket/copy.zarr", storage_options=OPTIONS):
        raise StorageError("s3://bucket/plate.zarr was not copied as a whole")
    return [path for path, _ in lamella.open_ome_zarr("s3://bucket/copy.zarr").positions()]


def copied(service):
    """Whether the copy has all keys of the plate, with the same bytes."""
    plates = ("/bucket/plate.zarr/", "/bucket/copy.zarr/")
    plate, other = (
        {key.removeprefix(above): data for key, data in service.objects.items() if key.startswith(above)}
        for above in plates
    )
    return plate == other


READS = {
    "see": see,
    "copy": copy,
    "status": status,
    "verify": verify,
    "checksum": checksum,
    "validate": validate,
}
WRITES = {
    "write": write,
    "edit": edit,
    "create": create,
    "rename": rename,
    "delete": delete,
    "pyramid": pyramid,
}


def told_unread(name, result):
    """Whether a report says of what it could not read just that."""
    if name == "status":
        return all(state in ("written", "unread") for _, state in result)
    if name == "verify":
        return result[2] and not result[1]
    return name == "validate" and all("LM-" in rule for rule, _ in result[1])


class Runs:
    """A plate in the service, and what each operation does to it when nothing fails."""

    def __init__(self, service, version):
        self.service = service
        self.base = {f"/bucket/plate.zarr/{key}": data for key, data in files(version).items()}
        self.begin()
        self.old = seen(service)
        edit()  # learns once what the service can do
        if version not in Runs.known:
            Runs.known[version] = {name: self.clean(operation) for name, operation in OPERATIONS.items()}

    known: ClassVar = {}

    def begin(self):
        self.service.heal()
        self.service.objects.clear()
        self.service.objects.update(self.base)
        self.service.requests.clear()

    def clean(self, operation):
        """Return what an operation returns, the number of its requests, and what is seen afterwards."""
        self.begin()
        return operation(), len(self.service.requests), seen(self.service)


OPERATIONS = {**READS, **WRITES}


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=map(str, FAULTS))
def test_whichever_request_fails_nothing_is_lost_and_the_same_call_finishes(service, number):
    """In each row the fault begins at another request of each operation, and lasts until the operation ends."""
    fault, version = FAULTS[number], VERSIONS[number % 2]
    runs = Runs(service, version)
    for place, (name, operation) in enumerate(OPERATIONS.items()):
        if (number + place) % 2 and fault != "lost":
            continue  # each operation meets every second fault, and each fault every second operation
        expected, count, new = Runs.known[version][name]
        at = count * (2 * ((number + place) % len(FAULTS)) + 1) // (2 * len(FAULTS))
        what = f"{name}, request {at} of {count}"
        runs.begin()
        met = service.fail(fault, method="*", after=at, times=1 if fault == "lost" else None)
        OPTIONS.update({"timeout": 0.3} if fault == "late" else {})
        result, error = outcome(operation)
        OPTIONS.clear()
        service.heal()
        assert met.seen, what
        assert error is None or isinstance(error, AccessError) == (fault == 403), (what, error)
        assert error is not None or result == expected or told_unread(name, result), (what, result)
        check_kept(name, runs.old, seen(service), new, what)
        try:
            result = operation()
        except (NodeNotFoundError, NodeExistsError, StoreExistsError):  # it was done, and its answer was lost
            assert name in ("rename", "delete", "copy"), what
            assert name != "copy" or copied(service), what
        else:
            assert result == expected, what
        assert seen(service) == new, what


def outcome(operation):
    """Return what an operation returned and raised; only errors of a service, which are no damage, are expected."""
    try:
        return operation(), None
    except StorageError as raised:
        error = raised
    assert not isinstance(error, DamagedDataError)
    assert "s3://bucket/" in str(error)
    return None, error


def test_whoever_may_not_list_reads_all_and_loses_nothing(service):
    """403 for what is not there, as S3 answers without the permission to list; and for everything, at the end."""
    runs = Runs(service, "0.5")
    service.absent, service.lists = 403, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # 403 is read as absent
        for name, operation in OPERATIONS.items():
            expected, _, new = Runs.known["0.5"][name]
            runs.begin()
            result, error = outcome(operation)
            if error is None:
                assert result == expected, name
                assert seen(service) == new, name
            else:  # refused before anything was changed
                assert isinstance(error, AccessError), name
                assert name in ("copy", "create", "rename", "delete", "pyramid"), name
                check_kept("none", runs.old, seen(service), runs.old, name)
        runs.begin()
        with opened() as plate:
            del service.objects["/bucket/plate.zarr/A/2/0/0/c/0/0/0/0/0"]
            assert not plate["A/2/0"]["0"][...].any()  # never written, as far as anybody can see
            service.fail(403)  # the credentials have expired
            with pytest.raises(AccessError):
                plate["A/1/0"]["0"][...]


def test_a_server_without_ranges_is_named_or_read_whole(service):
    runs = Runs(service, "0.5")
    service.ranges = False
    for name, operation in OPERATIONS.items():
        expected, _, new = Runs.known["0.5"][name]
        runs.begin()
        result, error = outcome(operation)
        if error is None:
            assert result == expected or told_unread(name, result), (name, result)
            assert name in READS or seen(service) == new, name
        else:
            assert "ignores the Range header" in str(error), name
            check_kept("none", runs.old, seen(service), runs.old, name)


def check_kept(name, old, now, new, what):
    """Check that all pixels are there, as they were or as they were to be."""
    assert now["A/2/0"] == old["A/2/0"], what
    if name == "delete":
        return
    kept = now.get("A/1/0") or now.get("C/3/0")
    assert kept is not None, what
    first = new.get("A/1/0") or new.get("C/3/0")
    assert kept[1][0] in (old["A/1/0"][1][0], first[1][0]), what


@pytest.mark.parametrize("at", [1, 5])
def test_a_folder_that_could_not_be_looked_at_is_no_empty_file_of_a_manifest(service, at):
    Runs(service, "0.5").begin()
    expected = checksum()
    met = service.fail(500, method="HEAD", after=at, times=1)
    result, error = outcome(checksum)
    assert met.seen
    assert error is not None or result == expected
