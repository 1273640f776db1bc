"""Laws of deleting and renaming in a plate: the metadata of every parent follow, and nothing else moves."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import zarr
from zarr.storage import MemoryStore

import lamella
from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError
from lamella.ops.plates import members
from lamella.ops.plates.rename_wells import rename_wells

from .conftest import ome, pixels, snapshot
from .validity import check_valid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def plate(plate_path):
    """A plate of the wells A/1, A/2 and B/1 with two fields each, open for writing."""
    return open_ome_zarr(plate_path, mode="r+")


def wells(plate):
    return [well.path for well in plate.metadata.wells]


def below(snap, folder):
    return {path.removeprefix(folder): data for path, data in snap.items() if path.startswith(f"{folder}/")}


# -- deleting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "left", "rows", "columns"),
    [
        ("A/1/0", ["A/1", "A/2", "B/1"], ["A", "B"], ["1", "2"]),
        ("A/1", ["A/2", "B/1"], ["A", "B"], ["1", "2"]),
        ("B/1", ["A/1", "A/2"], ["A"], ["1", "2"]),
        ("A", ["B/1"], ["B"], ["1"]),
    ],
)
def test_delete_keeps_the_metadata_of_all_parents_true(plate, plate_path, version, key, left, rows, columns):
    del plate[key]
    assert not (plate_path / key).exists()
    assert key not in plate
    stored = ome(plate_path, version)["plate"]
    assert [well["path"] for well in stored["wells"]] == left
    assert [row["name"] for row in stored["rows"]] == rows
    assert [column["name"] for column in stored["columns"]] == columns
    assert [path for path, _ in plate.positions()] == [
        path for path, _ in open_ome_zarr(plate_path).positions()
    ]
    check_valid(plate_path, version)


@pytest.mark.parametrize("way", ["plate", "row", "well", "rest of the path"])
def test_delete_through_any_parent_is_one_deletion(plate, plate_path, version, way):
    node, key = {
        "plate": (plate, "A/1/1"),
        "row": (plate["A"], "1/1"),
        "well": (plate["A/1"], "1"),
        "rest of the path": (plate["A/1"], "1/0"),
    }[way]
    del node[key]
    listed = [image["path"] for image in ome(plate_path / "A/1", version)["well"]["images"]]
    assert listed == (["0", "1"] if way == "rest of the path" else ["0"])
    assert (plate_path / "A/1/1/0").exists() is False


def test_a_well_goes_with_its_last_position_and_a_row_with_its_last_well(plate, plate_path, version):
    for field in "01":
        del plate["B/1"][field]
    assert wells(plate) == ["A/1", "A/2"]
    assert not (plate_path / "B").exists()
    check_valid(plate_path, version)


def test_counts_are_right_after_every_deletion(plate, plate_path, version):
    plate.create_positions([("A", "1", "2"), ("A", "1", "3", None, None, 1)])
    stored = ome(plate_path, version)["plate"]
    assert stored["field_count"] == 4
    assert [entry["maximumfieldcount"] for entry in stored["acquisitions"]] == [3, 1]
    del plate["A/1/3"]
    stored = ome(plate_path, version)["plate"]
    assert stored["field_count"] == 3
    assert stored["acquisitions"][0]["maximumfieldcount"] == 3
    assert "maximumfieldcount" not in stored["acquisitions"][1]
    del plate["A/1"]
    assert ome(plate_path, version)["plate"]["field_count"] == 2


def test_an_acquisition_is_counted_anew_though_another_well_has_more_fields(plate, plate_path, version):
    plate.create_position("B", "1", "5", acq_index=4)
    del plate["B/1/5"]
    entry = ome(plate_path, version)["plate"]["acquisitions"][1]
    assert entry["id"] == 4
    assert "maximumfieldcount" not in entry


def test_deleting_everything_leaves_an_empty_plate_that_opens_and_takes_new_positions(plate, plate_path):
    for row in list(plate):
        del plate[row]
    assert len(plate) == 0
    assert list(open_ome_zarr(plate_path).positions()) == []
    with pytest.warns(
        UserWarning, match="no channel names, and the axes TCZYX: .* pass channel_names and axes"
    ):
        assert plate.create_position("C", "3", "0").channel_names == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the first position has no names
        assert plate["C/3"].create_position("1").channel_names == []
        assert plate.create_position("C", "4", "0").channel_names == []
    del plate["C/4"]
    assert wells(plate) == ["C/3"]
    del plate["C"]
    with open_ome_zarr(plate_path, mode="r+", channel_names=["GFP"], axes="cyx") as again:
        position = again.create_position("C", "3", "0")
    assert (position.channel_names, position.axis_names) == (["GFP"], ["c", "y", "x"])


def test_a_missing_or_damaged_well_can_be_deleted(plate, plate_path, version):
    plate.documents.delete("A/1")
    del plate["A/1"]
    (plate_path / "B/1" / (".zattrs" if version == "0.4" else "zarr.json")).write_text("{")
    del plate["B/1"]
    assert wells(plate) == ["A/2"]
    assert not (plate_path / "B").exists()


def test_a_folder_that_no_list_names_can_be_deleted(plate, plate_path):
    plate.zgroup.create_group("A/1/left")
    del plate["A/1/left"]
    assert not (plate_path / "A/1/left").exists()


def test_a_level_and_a_label_leave_their_lists(plate, plate_path, version):
    position = plate["A/1/0"]
    position.compute_pyramid(2, dims=["x"])
    position.labels["cells"] = pixels("tzyx")
    del plate["A/1/0/1"]
    assert plate["A/1/0"].dataset_paths == ["0"]
    del plate["A/1/0/labels/cells"]
    assert list(plate["A/1/0"].labels) == []
    assert not (plate_path / "A/1/0/labels").exists()  # a list of labels is never empty
    check_valid(plate_path, version)


def test_a_level_and_a_label_leave_their_lists_below_any_group(tmp_path, version):
    path = tmp_path / "scan.zarr"
    zarr_format = 2 if version == "0.4" else 3
    zarr.create_group(path, zarr_format=zarr_format)
    for name in ("0", "1"):
        with open_ome_zarr(path / name, "fov", "w", ["DAPI"], version=version) as position:
            position["0"] = pixels("tczyx")[:, :1]
            position.compute_pyramid(2, dims=["x"])
            position.labels["cells"] = pixels("tzyx")
    layout = {"bioformats2raw.layout": 3}
    for attributes in ({}, layout if version == "0.4" else {"ome": {"version": version, **layout}}):
        zarr.open_group(path).attrs.update(attributes)
        group = (
            lamella.nodes.node.NGFFNode(zarr.open_group(path)) if not attributes else lamella.open(path, "r+")
        )
        name = "1" if attributes else "0"
        del group[f"{name}/1"]
        del group[f"{name}/labels/cells"]
        assert lamella.open(path / name).dataset_paths == ["0"]
        assert list(lamella.open(path / name).labels) == []
        for missing in (f"{name}/7", "7/0", f"{name}/0/c"):
            with pytest.raises(KeyError):
                del group[missing]


def test_a_table_of_a_plate_leaves_its_list(plate):
    plate.tables["layout"] = plate.tables["doses"] = {"well": ["A/1"]}
    del plate["tables/layout"]
    assert plate.tables.stored_names() == ["doses"]
    assert list(plate["A/1/0"].tables) == []


@pytest.mark.parametrize("key", ["Z", "A/9", "A/1/9", "Z/1/0", "A/1/0/9", "A/1/0/labels/no"])
def test_deleting_what_is_not_there_is_a_KeyError(plate, refused, key):
    with refused(KeyError):
        del plate[key]


def test_deleting_in_a_plate_open_for_reading_is_refused(plate_path, refused):
    plate = open_ome_zarr(plate_path)
    for node, key in [(plate, "A"), (plate["A"], "1"), (plate["A/1"], "0"), (plate["A/1/0"], "0")]:
        with refused(PermissionError, "open for reading"):
            del node[key]


# -- renaming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", ["A/7", "B/2", "C/1", "D12/x3"])
def test_rename_moves_exactly_that_well_to_any_target(plate, plate_path, version, new):
    before = snapshot(plate_path)
    plate.rename_well("A/1", new)
    after = snapshot(plate_path)
    assert below(after, new) == below(before, "A/1")
    assert "A/1" not in after
    for other in ("A/2", "B/1"):
        assert below(after, other) == below(before, other)
    assert set(wells(plate)) == {new, "A/2", "B/1"}
    assert new in dict(open_ome_zarr(plate_path).wells())
    check_valid(plate_path, version)


def test_rename_drops_rows_and_columns_that_lose_their_last_well(plate, plate_path, version):
    plate.rename_well("B/1", "A/3")
    stored = ome(plate_path, version)["plate"]
    assert [row["name"] for row in stored["rows"]] == ["A"]
    assert not (plate_path / "B").exists()
    plate.rename_well("A/1", "A/4")
    assert "1" not in [column.name for column in plate.metadata.columns]


def test_rename_to_itself_changes_nothing(plate, plate_path):
    before = snapshot(plate_path)
    plate.rename_well("A/1", "A/1")
    assert snapshot(plate_path) == before


@pytest.mark.parametrize(
    ("old", "new", "family"),
    [
        ("A/9", "A/3", FileNotFoundError),
        ("A/1", "A/2", FileExistsError),
        ("A/1", "B/1", FileExistsError),
        ("A/1", "B", ValueError),
        ("A/1", "B/2/0", ValueError),
        ("A", "C", ValueError),
        ("A/1", "B/2.5", ValueError),
        ("A/1", "../x", ValueError),
        ("A/1", "B/", ValueError),
    ],
)
def test_a_rename_that_cannot_be_is_refused(plate, refused, old, new, family):
    with refused(family):
        plate.rename_well(old, new)


def test_a_rename_over_a_folder_that_no_list_names_is_refused(plate, refused):
    plate.zgroup.create_group("C/1")
    with refused(FileExistsError):
        plate.rename_well("A/1", "C/1")


class Killed(BaseException):
    """Stands for the death of the process."""


def kill_at(monkeypatch, owner, name):
    def die(*_, **__):
        raise Killed

    monkeypatch.setattr(owner, name, die)


@pytest.mark.parametrize("again", ["same", "opposite"])
def test_a_rename_killed_half_way_is_finished_or_undone(plate, plate_path, version, monkeypatch, again):
    before = snapshot(plate_path)
    with monkeypatch.context() as patch:
        kill_at(patch, members, "update_moved_well")
        with pytest.raises(Killed):
            plate.rename_well("A/1", "C/5")
    assert (plate_path / "C/5").exists()
    plate = open_ome_zarr(plate_path, mode="r+")
    if again == "same":
        plate.rename_well("A/1", "C/5")
        assert set(wells(plate)) == {"A/2", "B/1", "C/5"}
    else:
        plate.rename_well("C/5", "A/1")
        assert snapshot(plate_path) == before
    check_valid(plate_path, version)


def test_swaps_of_wells_killed_between_any_two_renames_are_finished_by_the_same_call(version, monkeypatch):
    swaps = {"A/1": "B/2", "B/2": "C/3", "C/3": "A/1", "D/1": "D/2", "D/2": "D/1"}
    rename, moves = members.rename_locked_well, 7
    for kill in range(moves + 1):
        store = MemoryStore()
        with open_ome_zarr(store, layout="hcs", mode="w", channel_names=["a"], version=version) as node:
            for position in node.create_positions([(*path.split("/"), "0") for path in swaps]):
                position.zattrs["was"] = position.path.removesuffix("/0")
        rows, columns = node.metadata.rows, node.metadata.columns
        done = []

        def die(*arguments, kill=kill, done=done):
            if len(done) == kill:
                raise Killed
            done.append(rename(*arguments))

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(members, "rename_locked_well", die)
            rename_wells(store, swaps)
        assert len(done) == min(kill, moves)
        assert len(list(open_ome_zarr(store).positions())) == len(swaps)
        if 0 < kill < moves:
            with pytest.raises(InvalidArgumentError, match="interrupted"):
                rename_wells(store, {"A/1": "A/9"})
        rename_wells(store, swaps)
        node = open_ome_zarr(store)
        was = {position.zattrs["was"]: path.removesuffix("/0") for path, position in node.positions()}
        assert (was, node.metadata.rows, node.metadata.columns) == (swaps, rows, columns)


def test_a_deletion_killed_half_way_leaves_no_listed_gap_and_is_finished_by_the_same_call(
    plate, plate_path, version, monkeypatch
):
    with monkeypatch.context() as patch:
        kill_at(patch, type(plate.documents), "delete")
        with pytest.raises(Killed):
            del plate["A/1"]
    plate = open_ome_zarr(plate_path, mode="r+")
    assert wells(plate) == ["A/2", "B/1"]
    assert [name for name, _ in plate["A"].wells()] == ["A/2"]
    assert len(list(plate.positions())) == 4
    del plate["A/1"]
    assert not (plate_path / "A/1").exists()
    check_valid(plate_path, version)


def test_unknown_keys_survive_every_edit(plate, plate_path, version):
    attributes = plate.zattrs.asdict()
    part = attributes if version == "0.4" else attributes["ome"]
    part["plate"]["lab"] = {"robot": 7}
    part["plate"]["wells"][1]["note"] = "edge"
    attributes["ours"] = [1, 2]
    plate.zattrs.put(attributes)
    plate.rename_well("A/1", "C/3")
    del plate["B"]
    stored = open_ome_zarr(plate_path).zattrs.asdict()
    part = stored if version == "0.4" else stored["ome"]
    assert stored["ours"] == [1, 2]
    assert part["plate"]["lab"] == {"robot": 7}
    assert [well.get("note") for well in part["plate"]["wells"] if well["path"] == "A/2"] == ["edge"]


def test_positions_on_error_report_yields_the_error_in_the_place_of_the_position(plate, plate_path: Path):
    plate.documents.delete("A/1/1")
    plate.documents.delete("A/2")
    found = dict(plate.positions(on_error="report"))
    assert list(found) == ["A/1/0", "A/1/1", "A/2", "B/1/0", "B/1/1"]
    assert isinstance(found["A/1/0"], lamella.Position)
    for path in ("A/1/1", "A/2"):
        assert isinstance(found[path], ValueError)
        assert "nothing is stored at" in str(found[path])
    with pytest.raises(ValueError, match="nothing is stored at"):
        list(plate.positions())
    with pytest.raises(ValueError, match="on_error"):
        plate.positions(on_error="ignore")
