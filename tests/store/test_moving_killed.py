"""Law: a copying move that was killed at any request loses nothing, and the same call finishes it."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from tests.reliability.at_stores import Dying
from tests.reliability.faults import Faults

import lamella
from lamella.errors import LamellaError
from lamella.store.objects.object_requests import DELETED_PER_REQUEST

# s3fs leaves connections open when it begins new ones after an error.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")

URL = "s3://bucket/plate.zarr"


@pytest.fixture(autouse=True)
def few_retries(monkeypatch):
    """Have s3fs ask once: it waits longer each time."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "retries", 1)


def pixels(seed):
    return np.random.default_rng(seed).integers(1, 999, (1, 1, 1, 16, 32)).astype("u2")


def make_plate(path, version):
    plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version=version)
    for row, column in (("A", "1"), ("C", "10")):
        position = plate.create_position(row, column, "0")
        position.create_image("0", pixels(int(column)), chunks=(1, 1, 1, 16, 16))
    plate["A/1/0"].labels.create("cells", pixels(3)[:, 0])
    return plate


def readable(target):
    """Return the paths of the fields, all of whose pixels are as they were written."""
    plate = lamella.open_ome_zarr(target)
    found = [path for path, _ in plate.positions()]
    for path in found:
        assert np.array_equal(plate[path]["0"][...], pixels(10 if path == "C/10/0" else 1)), path
        if path != "C/10/0":
            assert np.array_equal(plate[path].labels["cells"]["0"][...], pixels(3)[:, 0]), path
    return sorted(found)


OLD, NEW = ["A/1/0", "C/10/0"], ["B/2/0", "C/10/0"]


def test_a_rename_is_finished_by_the_same_call_wherever_the_service_died(service, version, tmp_path):
    make_plate(tmp_path / "plate.zarr", version)
    service.put_folder(tmp_path / "plate.zarr", "/bucket/plate.zarr")
    first = dict(service.objects)
    lamella.open_ome_zarr(URL, mode="r+").rename_well("A/1", "B/2")
    changing = [
        (method, path)
        for method, path in service.requests
        if method in ("PUT", "POST", "DELETE") and "/.lamella-" not in path  # this one only asks, once
    ]
    assert readable(URL) == NEW
    copies = [n for n, (method, path) in enumerate(changing) if method == "PUT" and "/B/2/" in path]
    alike = {*copies} - {copies[0], copies[len(copies) // 2], copies[-1]}
    points = [(n, 0) for n in range(len(changing)) if n not in alike]
    posts = [n for n, (method, _) in enumerate(changing) if method == "POST"]
    points += [(posts[0], 1), *((n, 2 - place % 2) for place, n in enumerate(posts))]
    if version == "0.5":
        points = [(n, half) for n, half in points if not half]  # one document can only be there or not
    seen = set()
    for n, half in points:
        service.objects.clear()
        service.objects.update(first)
        plate = lamella.open_ome_zarr(URL, mode="r+")
        dying = Dying(service, n, half)
        with pytest.raises(LamellaError):
            plate.rename_well("A/1", "B/2")
        dying.revive()
        left = readable(URL)
        assert left in (OLD, NEW), (n, half)
        seen.add(tuple(left))
        lamella.open_ome_zarr(URL, mode="r+").rename_well("A/1", "B/2")
        assert readable(URL) == NEW, (n, half)
        assert [key for key in service.objects if "/A/1/" in key] == [], (n, half)
    assert seen == {tuple(OLD), tuple(NEW)}
    assert lamella.validate(URL)


def another_image(target, version):
    """Write an image as another job does, which looks at no document above it."""
    with lamella.open_ome_zarr(target, layout="fov", mode="w", channel_names=["a"], version=version) as image:
        image.create_image("0", pixels(7), chunks=(1, 1, 1, 16, 16))


def finish(target):
    """Let the next writer meet what the killed rename left."""
    lamella.open_ome_zarr(target, mode="r+").dump_meta()


def is_copied_chunk(key):
    """Whether a key is of pixels below the well that a rename copies to."""
    return "/B/2/0/0/" in key and not key.endswith(("zarr.json", ".zarray", ".zattrs"))


class Stored(dict):
    """The objects of a service; `event` is set when a copied chunk is stored."""

    def __init__(self, objects):
        super().__init__(objects)
        self.event = threading.Event()

    def __setitem__(self, key, body):
        super().__setitem__(key, body)
        if is_copied_chunk(key):
            self.event.set()


@pytest.mark.parametrize(
    ("version", "well", "deleting"),
    [("0.4", "A/1", False), ("0.5", "A/1", True), ("0.5", "B/2", False), ("0.4", "B/2", True)],
)
def test_what_others_wrote_after_the_service_died_stays(
    service, version, tmp_path, well, deleting, monkeypatch
):
    # The service dies between two deletions.
    monkeypatch.setitem(DELETED_PER_REQUEST, "s3", 4)
    make_plate(tmp_path / "plate.zarr", version)
    service.put_folder(tmp_path / "plate.zarr", "/bucket/plate.zarr")
    plate = lamella.open_ome_zarr(URL, mode="r+")
    service.requests.clear()
    dying = Dying(service, 99, 0)
    fault_of = service.fault_of
    posts, copies = [], []
    service.objects = copied = Stored(service.objects)

    def die(method, path):
        posts.extend([method] if method == "POST" else [])
        if method == "PUT" and is_copied_chunk(path) and not deleting:
            with service.lock:
                copies.append(path)
                first = len(copies) == 1
            if not first:  # one chunk is copied, all others are not, in whatever order they come
                assert copied.event.wait(60)
                dying.n = 0
        if deleting and len(posts) > 1:
            dying.n = 0
        return fault_of(method, path)

    service.fault_of = die
    with pytest.raises(LamellaError):
        plate.rename_well("A/1", "B/2")
    dying.revive()
    another_image(f"{URL}/{well}/9", version)
    service.objects[f"/bucket/plate.zarr/{well}/notes.txt"] = b"of a user"
    other = "B/2" if well == "A/1" else "A/1"
    alike = {key for key in service.objects if key.replace(f"/{well}/", f"/{other}/") in service.objects}
    written = (
        min(key for key in alike if f"/{well}/0/0/" in key and is_copied_chunk(key.replace(well, "B/2")))
        if deleting == (well == "A/1")
        else ""
    )
    if written:  # as long as what was copied, and something else
        service.objects[written] = bytes(255 - byte for byte in service.objects[written])
        rewritten = service.objects[written]
    finish(URL)
    assert not written or service.objects[written] == rewritten
    assert np.array_equal(lamella.open_ome_zarr(f"{URL}/{well}/9")["0"][...], pixels(7))
    assert service.objects[f"/bucket/plate.zarr/{well}/notes.txt"] == b"of a user"
    assert readable(URL) == (NEW if deleting else OLD)


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(_):
    raise CutShortError


@pytest.mark.parametrize("moved", [False, True])
def test_what_others_wrote_after_a_rename_was_killed_stays(tmp_path, version, moved):
    make_plate(tmp_path / "whole/plate.zarr", version)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    with Faults(tmp_path / "whole") as faults:
        lamella.open_ome_zarr(tmp_path / "whole/plate.zarr", mode="r+").rename_well("A/1", "B/2")
    step = faults.steps.index("rename plate.zarr/B/2") + 1
    path = tmp_path / "cut/plate.zarr"
    plate = lamella.open_ome_zarr(path, mode="r+")
    with Faults(tmp_path / "cut", step + moved, cut, lasting=True), pytest.raises(CutShortError):
        plate.rename_well("A/1", "B/2")
    well = "A/1" if moved else "B/2"
    assert not (path / well).exists()
    another_image(path / well / "9", version)
    finish(path)
    assert np.array_equal(lamella.open_ome_zarr(path / well / "9")["0"][...], pixels(7))
    assert readable(path) == (NEW if moved else OLD)
