"""A well whose folder is opened as a store: the plate in the folders above follows its changes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lamella import open_ome_zarr

from .validity import check_valid


def plate_counts(path):
    meta = open_ome_zarr(path).metadata
    return meta.field_count, [entry.maximum_field_count for entry in meta.acquisitions]


def test_a_position_that_is_created_in_a_well_opened_alone_is_counted_in_the_plate(plate_path, version):
    assert plate_counts(plate_path) == (2, [2])
    with open_ome_zarr(plate_path / "A" / "1", mode="r+") as well:
        well.create_position("5")["0"] = np.zeros((2, 2, 3, 8, 10), "uint16")
        assert list(well) == ["0", "1", "5"]
    assert plate_counts(plate_path) == (3, [3])
    assert len(list(open_ome_zarr(plate_path).positions())) == 7
    check_valid(plate_path, version)


def test_a_position_that_is_deleted_in_a_well_opened_alone_is_counted_in_the_plate(plate_path, version):
    with open_ome_zarr(plate_path, mode="r+") as plate:
        del plate["A/2"], plate["B/1/1"]
    assert plate_counts(plate_path) == (2, [2])
    with open_ome_zarr(plate_path / "A" / "1", mode="r+") as well:
        del well["1"]
    assert plate_counts(plate_path) == (1, [1])
    check_valid(plate_path, version)


def test_a_well_opened_alone_that_loses_its_last_position_leaves_the_plate(plate_path, version):
    with open_ome_zarr(plate_path / "A" / "2", mode="r+") as well:
        del well["0"]
        del well["1"]
    assert not (plate_path / "A" / "2").exists()
    assert [path for path, _ in open_ome_zarr(plate_path).wells()] == ["A/1", "B/1"]
    check_valid(plate_path, version)


@pytest.mark.parametrize("why", ["no plate above", "not listed"])
def test_a_well_that_no_plate_lists_is_edited_by_itself(plate_path, tmp_path, files, why):
    copy = tmp_path / "elsewhere.zarr" if why == "no plate above" else plate_path / "C" / "9"
    shutil.copytree(plate_path / "A" / "1", copy)
    before = {name: data for name, data in files(plate_path).items() if not name.startswith("C")}
    with open_ome_zarr(copy, mode="r+") as well:
        del well["1"]
        well.create_position("7")
        assert list(well) == ["0", "7"]
    assert {name: data for name, data in files(plate_path).items() if not name.startswith("C")} == before
