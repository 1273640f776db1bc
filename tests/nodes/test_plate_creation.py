"""Laws of creating wells and positions: what is listed, how often documents are written, and who may do it at once."""

from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.models import AcquisitionMeta, axes

from .conftest import attributes, ome, snapshot
from .validity import check_valid


@pytest.fixture
def plate(path, version):
    """A plate without positions."""
    return open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version)


def counts(path, version):
    stored = ome(path, version)["plate"]
    return stored.get("field_count"), [a.get("maximumfieldcount") for a in stored["acquisitions"]]


def test_an_empty_plate_opens(plate, path):
    assert list(open_ome_zarr(path).positions()) == []
    assert plate.channel_names == ["DAPI", "GFP"]


def test_a_well_shows_in_the_attributes_at_once_in_the_order_of_creation(plate, path, version):
    plate.create_well("B", "2")
    plate.create_well("A", "1")
    part = plate.zattrs["plate"] if version == "0.4" else plate.zattrs["ome"]["plate"]
    assert [row["name"] for row in part["rows"]] == ["B", "A"]
    assert [column["name"] for column in part["columns"]] == ["2", "1"]
    assert part["wells"] == [
        {"path": "B/2", "rowIndex": 0, "columnIndex": 0},
        {"path": "A/1", "rowIndex": 1, "columnIndex": 1},
    ]
    assert list(plate["A/1"]) == []
    assert "A/1" in dict(open_ome_zarr(path).wells())


def test_an_empty_well_can_be_opened_and_filled_later(plate, path, version):
    plate.create_well("A", "1")
    again = open_ome_zarr(path, mode="r+", channel_names=["DAPI"])
    again["A/1"].create_position("0")["0"] = np.zeros((1, 1, 1, 4, 4), "u1")
    again.create_position("A", "1", "1")["0"] = np.zeros((1, 1, 1, 4, 4), "u1")
    assert [name for name, _ in open_ome_zarr(path).positions()] == ["A/1/0", "A/1/1"]
    assert counts(path, version)[0] == 2
    check_valid(path, version)


def test_counts_are_right_after_every_creation(plate, path, version):
    plate.create_position("A", "1", "0")
    assert counts(path, version) == (1, [1])
    plate.create_positions([("A", "1", "1"), ("A", "2", "0")])
    assert counts(path, version) == (2, [2])
    plate["A/2"].create_position("1")
    plate["A/2"].create_position("2")
    assert counts(path, version) == (3, [3])
    plate.create_position("A", "1", "3", acq_index=2)
    assert counts(path, version) == (3, [3, 1])


def test_acquisitions_and_name_given_on_opening(path, version):
    plate = open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["a"],
        version=version,
        acquisitions=[AcquisitionMeta(id=1, name="day 1"), AcquisitionMeta(id=2)],
        plate_name="screen 7",
    )
    plate.create_position("A", "1", "0", acq_index=2)["0"] = np.zeros((1, 1, 1, 4, 4), "u1")
    stored = ome(path, version)["plate"]
    assert stored["name"] == "screen 7"
    assert [(entry["id"], entry.get("maximumfieldcount")) for entry in stored["acquisitions"]] == [
        (1, None),
        (2, 1),
    ]
    assert ome(path / "A/1", version)["well"]["images"] == [{"path": "0", "acquisition": 2}]
    check_valid(path, version)


SPECS = [("B", "3", "0"), ["A", "1", "0", None], ("A", "1", "1", None, None), ("B", "1", "0", None, None, 1)]


def test_a_batch_gives_the_documents_of_one_by_one(tmp_path, version):
    found = []
    for name in ("batch", "single"):
        plate = open_ome_zarr(
            tmp_path / name / "p.zarr", layout="hcs", mode="w", channel_names=["a"], version=version
        )
        if name == "batch":
            paths = [position.path for position in plate.create_positions(SPECS)]
            assert paths == ["B/3/0", "A/1/0", "A/1/1", "B/1/0"]
        else:
            for spec in SPECS:
                plate.create_position(*spec)
        found.append(snapshot(tmp_path / name))
    assert found[0] == found[1]


def test_explicit_indices_fill_the_gap_with_standard_names(plate, path, version):
    plate.create_positions([("B", "3", "0", 1, 2), ("B", "3", "1", 1, 2)])
    stored = ome(path, version)["plate"]
    assert [row["name"] for row in stored["rows"]] == ["A", "B"]
    assert [column["name"] for column in stored["columns"]] == ["1", "2", "3"]
    assert stored["wells"] == [{"path": "B/3", "rowIndex": 1, "columnIndex": 2}]


def test_an_index_that_contradicts_the_plate_is_warned_of_and_not_written(plate, path, version):
    plate.create_position("A", "1", "0")
    with pytest.warns(UserWarning, match=r"row_index=4 of the well A/2 contradicts .* number 0"):
        plate.create_position("A", "2", "0", 4, 1)
    assert ome(path, version)["plate"]["wells"][1] == {"path": "A/2", "rowIndex": 0, "columnIndex": 1}


def test_an_index_that_contradicts_the_other_positions_of_its_well_is_warned_of(plate, path, version):
    with pytest.warns(UserWarning, match=r"row_index=0 of the well D/1 contradicts .* number 3"):
        plate.create_positions([("D", "1", "0", 3, 0), ("D", "1", "1", 0, 0), ("D", "1", "2")])
    with pytest.warns(UserWarning, match=r"col_index=2 of the well D/1 contradicts .* number 0"):
        plate.create_position("D", "1", "3", 3, 2)
    with pytest.warns(UserWarning, match=r"col_index=2 of the well D/1 contradicts .* number 0"):
        plate.create_position("D", "1", "3", 3, 2, exist_ok=True)
    assert ome(path, version)["plate"]["wells"] == [{"path": "D/1", "rowIndex": 3, "columnIndex": 0}]


def test_positions_of_an_old_plate_have_the_channels_of_the_first_as_it_is_now(plate, path):
    first = plate.create_position("A", "1", "0")
    first["0"] = np.zeros((1, 2, 1, 4, 4), "u1")
    first.append_channel("Cy5")
    again = open_ome_zarr(path, mode="r+")
    assert again.channel_names == ["DAPI", "GFP", "Cy5"]
    assert again.create_position("A", "2", "0").channel_names == ["DAPI", "GFP", "Cy5"]
    assert again["A/1"].create_position("9").channel_names == ["DAPI", "GFP", "Cy5"]


def test_axes_are_those_of_the_plate(path, version):
    plate = open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a"], axes=axes("cyx"), version=version
    )
    plate.create_position("A", "1", "0")
    filled = open_ome_zarr(path, mode="r+")["A/1/0"]
    filled["0"] = np.zeros((1, 4, 4), "u1")
    assert filled.axis_names == ["c", "y", "x"]
    check_valid(path, version)


def test_overwriting_creation_replaces_wells_and_positions(path, version):
    plate = open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a"], version=version, overwriting_creation=True
    )
    for field in "01":
        plate.create_position("A", "1", field)["0"] = np.ones((1, 1, 1, 4, 4), "u1")
    plate.create_position("A", "1", "0", acq_index=3)
    assert plate["A/1/0"].dataset_paths == []
    assert not (path / "A/1/0/0").exists()
    assert list(plate["A/1"]) == ["0", "1"]
    assert {i.path: i.acquisition for i in plate["A/1"].metadata.images} == {"0": 3, "1": 0}
    plate["A/1"].create_position("1", acquisition=2)
    assert plate["A/1/1"].dataset_paths == []
    assert {i.path: i.acquisition for i in plate["A/1"].metadata.images} == {"0": 3, "1": 2}
    plate.create_well("A", "1")
    assert list(plate["A/1"]) == []


WRONG = {
    "two items": lambda p: p.create_positions([("A", "1")]),
    "seven items": lambda p: p.create_positions([("A", "1", "0", 0, 0, 0, 0)]),
    "text": lambda p: p.create_positions(["A10"]),
    "existing": lambda p: p.create_position("A", "1", "0"),
    "existing in a batch": lambda p: p.create_positions([("C", "1", "0"), ("A", "1", "0")]),
    "existing in the well": lambda p: p["A/1"].create_position("0"),
    "twice": lambda p: p.create_positions([("C", "1", "0"), ("C", "1", "0")]),
    "bad row": lambda p: p.create_position("A-", "1", "0"),
    "bad column": lambda p: p.create_position("A", "1.5", "0"),
    "bad field": lambda p: p.create_position("A", "1", "f_0"),
    "bad field in the well": lambda p: p["A/1"].create_position("../2"),
    "empty name": lambda p: p.create_position("A", "", "0"),
    "existing well": lambda p: p.create_well("A", "1"),
    "bad well": lambda p: p.create_well("A/1", "1"),
    "negative acquisition": lambda p: p.create_position("A", "1", "7", acq_index=-1),
    "negative acquisition in the well": lambda p: p["A/1"].create_position("7", acquisition=-1),
    "acquisition of text": lambda p: p.create_position("A", "1", "7", acq_index="first"),
    "negative index": lambda p: p.create_position("C", "1", "7", -1),
    "gap without names": lambda p: p.create_well("C", "1", 5),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_a_ValueError_and_changes_no_byte(plate, refused, wrong):
    plate.create_position("A", "1", "0")
    plate = open_ome_zarr(plate.zgroup.store.root, mode="r+")
    with refused(ValueError):
        WRONG[wrong](plate)


def test_a_position_in_the_store_that_no_list_names_is_not_replaced(plate, refused):
    plate.create_position("A", "1", "0")
    plate.zgroup.create_group("A/1/7").attrs["precious"] = True
    with refused(ValueError, "A/1/7"):
        plate.create_position("A", "1", "7")


def test_plates_open_for_reading_or_closed_are_left_alone(plate, path, refused):
    plate.create_position("A", "1", "0")
    reading = open_ome_zarr(path)
    plate.close()
    for node, match in ((reading, "open for reading"), (plate, "closed")):
        for change in (
            lambda node=node: node.create_well("C", "1"),
            lambda node=node: node.create_position("C", "1", "0"),
            lambda node=node: node["A/1"].create_position("5"),
            lambda node=node: node.rename_well("A/1", "C/1"),
        ):
            with refused(ValueError, match):
                change()


# -- how often documents are written, and by whom -----------------------------------------------------------------


def test_thousands_of_positions_write_each_document_once(path, version, monkeypatch):
    plate = open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version=version)
    written = []
    real = os.open

    def counting(path, flags, *args, **options):
        if flags & os.O_CREAT and not str(path).endswith(".lock"):
            written.append(path)
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", counting)
    rows = [chr(65 + r) for r in range(16)]
    specs = [(row, str(c), str(f)) for row in rows for c in range(24) for f in range(4)]
    array = {"shape": (1, 1, 1, 8, 8), "dtype": "uint8"}
    assert len(plate.create_positions(specs, arrays={"0": array})) == len(specs) == 1536
    monkeypatch.undo()
    documents = 1 + 16 + 384 + 1536 + 1536
    # In Zarr v2 a new node is two files; the plate's own is there already.
    assert len(written) == (documents if version == "0.5" else 2 * documents - 1)
    assert {position.data.shape for _, position in open_ome_zarr(path).positions()} == {(1, 1, 1, 8, 8)}


def _create(path, number, barrier, through_well):
    barrier.wait(60)
    plate = open_ome_zarr(path, mode="r+")
    for field in range(4):
        if through_well:
            plate["A/1"].create_position(f"{number}x{field}")
        else:
            plate.create_position("BCD"[field % 3], str(number), str(field))


@pytest.mark.parametrize("through_well", [False, True], ids=["plate", "one well"])
def test_processes_that_create_positions_at_once_lose_nothing(path, through_well):
    plate = open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version="0.5")
    plate.create_position("A", "1", "0")["0"] = np.zeros((1, 1, 1, 4, 4), "u1")
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    workers = [spawn.Process(target=_create, args=(str(path), n, barrier, through_well)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    again = open_ome_zarr(path)
    assert len(list(again.positions())) == 1 + 3 * 4
    if through_well:
        assert again.metadata.field_count == 13
    else:
        assert {row.name for row in again.metadata.rows} == set("ABCD")
        assert again.metadata.field_count == 2
    assert attributes(path, "0.5")["ome"]["version"] == "0.5"


def test_rows_that_differ_only_by_case_are_warned_of(tmp_path, version):
    with open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version=version
    ) as plate:
        plate.create_position("A", "1", "0")
        with pytest.warns(UserWarning, match="'A' and 'a', which differ only by case"):
            plate.create_position("a", "1", "0")
        plate.create_position("a", "2", "0")  # said once
        with pytest.warns(UserWarning, match="'b' and 'B'"):
            plate.create_positions([("b", "1", "0"), ("B", "1", "0")])
