"""Positions of jobs that are queued again, and names of wells as on the plate."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.errors import NodeExistsError, NodeNotFoundError

IMAGE = {"shape": (1, 1, 2, 8, 8), "dtype": "uint16"}


@pytest.fixture
def plate(tmp_path, version):
    return open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w-", channel_names=["DAPI"], version=version
    )


def test_a_requeued_job_gets_its_position_as_it_is(plate, files):
    position = plate.create_position("A", "1", "0", exist_ok=True)
    position["0"] = np.full(IMAGE["shape"], 7, "uint16")
    root = plate.zgroup.store.root
    before = files(root)
    again = plate.create_position("A", "1", "0", exist_ok=True)
    assert again["0"][...].min() == 7
    assert files(root) == before
    with pytest.raises(NodeExistsError):
        plate.create_position("A", "1", "0")


def test_only_missing_positions_and_arrays_are_created(plate):
    plate.create_position("A", "1", "0")["0"] = np.ones(IMAGE["shape"], "uint16")
    plate.create_position("B", "1", "0")
    specs = [("B", "1", "1"), ("A", "1", "0"), ("B", "1", "0"), ("C", "2", "0")]
    made = plate.create_positions(specs, arrays={"0": IMAGE}, exist_ok=True)
    assert [one.path for one in made] == ["B/1/1", "A/1/0", "B/1/0", "C/2/0"]
    assert [int(one["0"][...].max()) for one in made] == [0, 1, 0, 0]
    assert [path for path, _ in plate.positions()] == ["A/1/0", "B/1/0", "B/1/1", "C/2/0"]
    assert plate.metadata.field_count == 2


def test_an_array_of_another_shape_is_refused_before_anything_is_written(plate, files):
    plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 4, 4), "uint16")
    root = plate.zgroup.store.root
    before = files(root)
    with pytest.raises(NodeExistsError, match="shape"):
        plate.create_positions([("A", "1", "0"), ("A", "2", "0")], arrays={"0": IMAGE}, exist_ok=True)
    assert files(root) == before


def test_a_well_is_found_by_its_name_on_the_plate_and_an_exact_name_wins(plate):
    plate.create_positions(
        [("B", "3", "0"), ("B", "04", "0"), ("B", "5", "0"), ("B", "05", "0"), ("B07", "1", "0")]
    )
    plate["B/3/0"]["0"] = np.ones(IMAGE["shape"], "uint16")
    assert [plate[name].path for name in ("B03", "B3", "B4", "B04", "B05", "B5")] == [
        "B/3", "B/3", "B/04", "B/04", "B/05", "B/5",
    ]  # fmt: skip
    assert (plate["B03/0"].path, plate["B03/0/0"].path) == ("B/3/0", "B/3/0/0")
    assert plate["B07"].path == "B07"
    assert "B03" in plate
    assert list(plate) == ["B", "B07"]
    for absent in ("B005", "C03", "B03/7", "B09"):
        with pytest.raises(NodeNotFoundError):
            plate[absent]
    plate.rename_well("B03", "B/9")
    assert [path for path, _ in plate.wells()][-1] == "B07/1"
    assert plate["B09"].path == "B/9"
