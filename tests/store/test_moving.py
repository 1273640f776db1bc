"""Law: whatever moves is deleted only after all of it was copied, on every store; and what refuses leaves all of it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.reliability.test_services_that_fail import reach
from tests.store.remote_stores import KINDS, empty_store, fill

import lamella
from lamella.errors import LamellaError, NodeExistsError, StorageError


def pixels(seed):
    return np.random.default_rng(seed).integers(1, 999, (1, 2, 1, 32, 32)).astype("u2")


@pytest.fixture(params=KINDS)
def target(request, tmp_path):
    """An empty store of each kind."""
    return empty_store(request.param, tmp_path, request)


@cache
def plate_files(version):
    """Write a plate of two wells, of which one has a name that begins as the other's, with labels; return its files."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "plate.zarr")
        plate = lamella.open_ome_zarr(root, layout="hcs", mode="w", channel_names=["a", "b"], version=version)
        for n, (column, field) in enumerate((("1", "0"), ("1", "1"), ("10", "0"))):
            position = plate.create_position("A", column, field)
            position.create_image("0", pixels(n), chunks=(1, 1, 1, 16, 16))
        plate["A/1/0"].labels.create("cells", pixels(9)[:, 0])
        return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def make_plate(target, version, **options):
    """Put the plate into a store."""
    fill(target, plate_files(version))
    return lamella.open_ome_zarr(target, mode="r+", **options)


#: Every kind of store, and both versions in a folder and on S3.
WORLDS = [*zip(KINDS, ["0.4", "0.5"] * 3, strict=True), ("folder", "0.5"), ("s3 URL", "0.5")]


@pytest.mark.parametrize(("target", "version"), WORLDS, indirect=["target"])
def test_a_renamed_well_holds_all_its_pixels_and_labels(target, version):
    plate = make_plate(target, version)
    plate.rename_well("A/1", "B/2")
    fresh = lamella.open_ome_zarr(target, mode="r+")
    assert sorted(path for path, _ in fresh.positions()) == ["A/10/0", "B/2/0", "B/2/1"]
    for path, n in (("B/2/0", 0), ("B/2/1", 1), ("A/10/0", 2)):
        assert np.array_equal(fresh[path]["0"][...], pixels(n)), path
    assert np.array_equal(fresh["B/2/0"].labels["cells"]["0"][...], pixels(9)[:, 0])
    assert not fresh.documents.storage.exists("A/1")


def test_renamed_labels_hold_all_their_pixels(target):
    plate = make_plate(target, "0.5")
    plate["A/1/0"].labels.rename("cells", "nuclei")
    fresh = lamella.open_ome_zarr(target, mode="r+")["A/1/0"].labels
    assert list(fresh) == ["nuclei"]
    assert np.array_equal(fresh["nuclei"]["0"][...], pixels(9)[:, 0])


def test_an_overwritten_image_holds_the_new_pixels(target):
    position = make_plate(target, "0.5", overwriting_creation=True)["A/1/0"]
    position["0"] = pixels(20)
    del position.labels["cells"]
    position.labels["cells"] = pixels(21)[:, 0]
    fresh = lamella.open_ome_zarr(target, mode="r+")["A/1/0"]
    assert np.array_equal(fresh["0"][...], pixels(20))
    assert np.array_equal(fresh.labels["cells"]["0"][...], pixels(21)[:, 0])


def test_a_deleted_well_takes_nothing_beside_it(target):
    plate = make_plate(target, "0.5")
    del plate["A/1"]
    fresh = lamella.open_ome_zarr(target, mode="r+")
    assert [path for path, _ in fresh.positions()] == ["A/10/0"]
    assert np.array_equal(fresh["A/10/0"]["0"][...], pixels(2))
    assert not fresh.documents.storage.exists("A/1")


def test_a_move_onto_something_that_is_there_changes_nothing(target):
    plate = make_plate(target, "0.5")
    with pytest.raises(NodeExistsError):
        plate.rename_well("A/1", "A/10")
    assert np.array_equal(plate["A/1/0"]["0"][...], pixels(0))
    assert np.array_equal(plate["A/10/0"]["0"][...], pixels(2))


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("PUT", "/B/2/.*c/0/1", 403),
        ("LIST", "A/1", 403),
        ("PUT", "/B/2/1/zarr", 500),
    ],
)
def test_a_move_that_is_refused_half_way_leaves_all_of_the_old(service, method, path, kind):
    url = "s3://bucket/plate.zarr"
    plate = make_plate(url, "0.5")
    before = {key: data for key, data in service.objects.items() if "/A/1/" in key}
    fault = service.fail(kind, method=method, path=path)
    with pytest.raises(LamellaError):
        plate.rename_well("A/1", "B/2")
    assert fault.seen
    assert {key: data for key, data in service.objects.items() if "/A/1/" in key} == before
    service.heal()
    assert np.array_equal(lamella.open_ome_zarr(url)["A/1/0"]["0"][...], pixels(0))
    plate.rename_well("A/1", "B/2")  # nothing of the failed one is in the way
    assert np.array_equal(lamella.open_ome_zarr(url)["B/2/0"]["0"][...], pixels(0))


def test_a_service_that_loses_a_copy_is_found_out_before_the_old_is_deleted(service):
    url = "s3://bucket/plate.zarr"
    plate = make_plate(url, "0.5")
    before = {key: data for key, data in service.objects.items() if "/A/1/" in key}
    service.loses = "/B/2/1/0/c/0/1"
    with pytest.raises(StorageError, match="copied"):
        plate.rename_well("A/1", "B/2")
    assert {key: data for key, data in service.objects.items() if "/A/1/" in key} == before


@pytest.mark.parametrize("way", ["s3", "obstore"])
def test_an_array_that_moves_has_its_document_only_while_it_has_all_its_chunks(
    service, version, way, monkeypatch
):
    make_plate("s3://bucket/plate.zarr", version)
    arrays, well = ("0/0/", "1/0/", "0/labels/cells/0/"), "/bucket/plate.zarr/A/1/"
    below = {key.removeprefix(well): data for key, data in service.objects.items() if key.startswith(well)}
    chunks = {
        key: data for key, data in below.items() if not key.endswith(("zarr.json", ".zarray", ".zattrs"))
    }
    plate = lamella.open_ome_zarr(reach(service, way, "bucket/plate.zarr"), mode="r+")
    seen, torn = set(), []

    def look(method, path):
        """Look at the arrays as readers do before each request, under either name of the well."""
        with service.lock:
            found = dict(service.objects)
        for name in ("A/1", "B/2"):
            for array in arrays:
                files = f"/bucket/plate.zarr/{name}/{array}"
                if {f"{files}zarr.json", f"{files}.zarray"} & found.keys():
                    seen.add((name, array))
                    own = {
                        key.removeprefix(array): data for key, data in chunks.items() if key.startswith(array)
                    }
                    torn.extend(files + key for key, data in own.items() if found.get(files + key) != data)

    monkeypatch.setattr(service, "fault_of", look)
    plate.rename_well("A/1", "B/2")
    assert torn == []
    assert seen == {(name, array) for name in ("A/1", "B/2") for array in arrays}


REMOVALS = {
    "mode w": lambda url: lamella.open_ome_zarr(
        url, layout="hcs", mode="w", channel_names=["c"], version="0.5"
    ),
    "del": lambda url: lamella.open_ome_zarr(url, mode="r+").__delitem__("A/1"),
    "del array": lambda url: lamella.open_ome_zarr(url, mode="r+")["A/1/0"].__delitem__("0"),
    "overwrite": lambda url: lamella.open_ome_zarr(url, mode="r+", overwriting_creation=True)[
        "A/1/0"
    ].create_zeros("0", (1, 2, 1, 32, 32), "u2", chunks=(1, 1, 1, 16, 16)),
}
"""What removes the image A/1/0 of the plate, among others."""


@pytest.mark.parametrize("way", ["s3", "obstore"])
@pytest.mark.parametrize("action", REMOVALS)
def test_what_a_service_does_not_delete_is_named_and_never_shines_through(service, action, way):
    url = "s3://bucket/plate.zarr"
    make_plate(url, "0.5")
    target = reach(service, way, "bucket/plate.zarr")
    service.keeps = "/A/1/0/0/c/0/1"
    with pytest.raises(StorageError, match="A/1/0/0/c/0/1"):
        REMOVALS[action](target)
    service.keeps = ""
    service.requests.clear()
    REMOVALS[action](target)
    # Two before, to see that it is a store; what is there, what is left, and whether the root's document went; two of
    # zarr and s3fs.
    assert action != "mode w" or service.counts()["LIST"] <= 7
    left = {key for key in service.objects if "/A/1/0/0/c/" in key}
    assert left == set()
