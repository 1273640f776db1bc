"""Law: what a killed deletion left never shows through what is created next, and can be deleted by its name."""

from __future__ import annotations

import numpy as np
import pytest
from tests.store.remote_stores import KINDS, empty_store

import lamella
from lamella.errors import NodeExistsError, NodeNotFoundError
from lamella.spec import plate_edits


def ones(*shape):
    return np.ones(shape, "u2")


#: Every kind of store, and both formats of documents in a folder and in one other.
WORLDS = [*zip(KINDS, ["0.4", "0.5"] * 3, strict=True), ("folder", "0.5"), ("memory store", "0.4")]


@pytest.fixture(params=WORLDS, ids=" ".join)
def world(request):
    return request.param


@pytest.fixture
def version(world):
    return world[1]


@pytest.fixture
def target(request, world, tmp_path):
    """An empty store of each kind."""
    return empty_store(world[0], tmp_path, request)


def make_image(target, version):
    with lamella.open_ome_zarr(target, layout="fov", mode="w", channel_names=["a"], version=version) as image:
        image.create_image("0", ones(1, 1, 1, 8, 8))
        image.create_image("other", ones(1, 1, 1, 8, 8))
        image.labels.create("cells", np.ones((1, 1, 8, 8), "u1"))
    return lamella.open_ome_zarr(target, mode="r+")


def keep_only_pixels(image, path):
    """Leave what a deletion leaves that was killed after the documents."""
    storage = image.documents.storage
    for name in ("zarr.json", ".zarray", ".zattrs", ".zgroup"):
        storage.delete(f"{path}/{name}")


def test_a_new_array_shows_no_pixels_of_a_deleted_one(target, version):
    image = make_image(target, version)
    del image["other"]
    image.create_image("other", ones(1, 1, 1, 8, 8))
    image.document.edit(lambda meta: lamella.spec.edits.remove_dataset(meta, "other"))
    keep_only_pixels(image, "other")
    with pytest.raises(NodeExistsError, match="del node"):
        image.create_zeros("other", (1, 1, 1, 8, 8), "u2")
    assert list(image.dataset_paths) == ["0"]
    del image["other"]
    assert not image.create_zeros("other", (1, 1, 1, 8, 8), "u2")[...].any()


def test_an_array_that_replaces_shows_no_pixels_of_a_deleted_one(target, version):
    keep_only_pixels(make_image(target, version), "other")
    image = lamella.open_ome_zarr(target, mode="r+", overwriting_creation=True)
    assert not image.create_zeros("other", (1, 1, 1, 8, 8), "u2")[...].any()


def test_a_position_whose_well_is_not_listed_any_more_is_deleted_and_does_not_come_back(target, version):
    with lamella.open_ome_zarr(target, layout="hcs", mode="w", channel_names=["a"], version=version) as plate:
        for row, killed in (("A", None), ("B", []), ("C", ["C/1/0"]), ("D", ["D/1/0", "D/1"])):
            plate.create_position(row, "1", "0").create_image("0", ones(1, 1, 1, 8, 8))
            if killed is not None:  # a deletion that was killed after the plate, or after some documents
                plate.document.edit(lambda meta, row=row: plate_edits.remove_well(meta, f"{row}/1"))
                for path in killed:
                    keep_only_pixels(plate, path)
    plate = lamella.open_ome_zarr(target, mode="r+")
    for row in "BCD":
        del plate[f"{row}/1/0"]
        with pytest.raises(NodeNotFoundError):
            del plate[f"{row}/1/0"]
        plate.create_position(row, "1", "7")
    assert [path for path, _ in plate.positions()] == ["A/1/0", "B/1/7", "C/1/7", "D/1/7"]
    assert [list(well.group_keys()) for _, well in plate.wells()] == [["0"], ["7"], ["7"], ["7"]]


def test_labels_that_are_not_listed_can_be_deleted_and_created(target, version):
    image = make_image(target, version)
    group = image.labels.zattrs
    if version == "0.4":
        group["labels"] = []
    else:
        group["ome"] = {**group["ome"], "labels": []}
    image = lamella.open_ome_zarr(target, mode="r+")
    with pytest.raises(NodeExistsError, match=r"delete them first: del position\.labels\["):
        image.labels.create("cells", np.zeros((1, 1, 8, 8), "u1"))
    del image.labels["cells"]
    image.labels.create("cells", np.zeros((1, 1, 8, 8), "u1"))
    assert not image.labels["cells"]["0"][...].any()


DOCUMENTS = ["zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata"]


@pytest.mark.parametrize("above", ["", "A/", "A/1/", "A/1/0/", "A/1/0/0/", "A/1/0/labels/"])
def test_a_document_or_a_chunk_is_no_member_that_can_be_deleted(tmp_path, version, files, above):
    path = tmp_path / "plate.zarr"
    plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version=version)
    position = plate.create_position("A", "1", "0")
    position.create_image("0", ones(1, 1, 1, 8, 8))
    position.labels.create("cells", np.ones((1, 1, 8, 8), "u1"))
    before = files(path)
    nodes = {"": plate, "A/": plate["A"], "A/1/": plate["A/1"], "A/1/0/": plate["A/1/0"]}
    names = [*DOCUMENTS, ".lamella-root.lock", *(("c", "c/0", "0") if above == "A/1/0/0/" else ())]
    for name in names:
        for place, node in nodes.items():
            if f"{above}{name}".startswith(place):
                with pytest.raises(NodeNotFoundError):
                    del node[f"{above}{name}".removeprefix(place)]
    assert files(path) == before
