"""Tables of a plate name its wells and fields as the plate does, after renames and copies."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import lamella
from lamella.ops.plates.rename_wells import rename_wells

BACKENDS = ("anndata", "csv", "json", "parquet")


def make(path, wells=("A/1", "B/2"), version="0.5"):
    plate = lamella.open(path, "w-", layout="hcs", channel_names=["DAPI"], axes="cyx", version=version)
    plate.create_positions([(*well.split("/"), field) for well in wells for field in "01"])
    for _, position in plate.positions():
        position["0"] = np.ones((1, 4, 4), "uint8")
    return plate


def layout(*wells):
    return pd.DataFrame({"well": list(wells), "dose": np.arange(len(wells), dtype="float64")})


def wells_and_doses(plate, name="layout"):
    found = plate.tables[name]
    return list(zip(found["well"], found["dose"], strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_follow_a_renamed_well_in_the_form_of_its_name(tmp_path, backend):
    plate = make(tmp_path / "p.zarr", version="0.4" if backend == "csv" else "0.5")
    plate.tables.write("layout", layout("A/1", "B/2", "C/7"), backend=backend, type="condition_table")
    plate.tables.write("short", layout("A01", "B02", "C07").set_index("well"), backend=backend)
    fields = pd.DataFrame(
        {"path": ["A/1/0", "A/1/1", "B/2/0"], "well": ["A1", "A1", "B2"], "field": [0, 1, 0]}
    )
    plate.tables.write("fields", fields.astype({"well": "category"}), backend=backend)
    plate.rename_well("A/1", "C/12")
    assert wells_and_doses(plate) == [("C/12", 0.0), ("B/2", 1.0), ("C/7", 2.0)]
    assert plate.tables.info("layout").type == "condition_table"
    assert list(plate.tables["short"].index) == ["C12", "B02", "C07"]
    plate.rename_position("C/12/1", "9")
    found = plate.tables["fields"]
    assert found["path"].tolist() == ["C/12/0", "C/12/9", "B/2/0"]
    assert (found["well"].tolist(), found["field"].tolist()) == (["C12", "C12", "B2"], [0, 9, 0])
    assert lamella.validate(tmp_path / "p.zarr")


def test_rows_follow_wells_that_swap_names(tmp_path):
    plate = make(tmp_path / "p.zarr", ("A/1", "B/2", "B/3"))
    plate.tables["layout"] = layout("A01", "B/2", "B3", "Z9")
    renames = {"A/1": "B/2", "B/2": "B/3", "B/3": "A/1"}
    rename_wells(tmp_path / "p.zarr", renames)
    assert wells_and_doses(plate) == [("B02", 0.0), ("B/3", 1.0), ("A1", 2.0), ("Z9", 3.0)]
    rename_wells(tmp_path / "p.zarr", renames)  # done before
    assert wells_and_doses(plate)[0] == ("B02", 0.0)


def test_a_table_with_rows_of_the_new_name_stays_with_a_warning(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables["layout"] = layout("A/1", "B/2", "C/3")
    with pytest.warns(
        UserWarning, match=r"p\.zarr/tables/layout names wells as before.* rows of C/3 already"
    ):
        plate.rename_well("A/1", "C/3")
    assert [well for well, _ in wells_and_doses(plate)] == ["A/1", "B/2", "C/3"]
    assert plate.well_paths() == ["B/2", "C/3"]


def test_tables_whose_columns_are_no_names_stay_with_a_warning(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables.write("layout", layout("A/1"), backend="parquet")
    (file,) = (tmp_path / "p.zarr/tables/layout").glob("*.parquet")
    pd.DataFrame({"well": [["A/1"], ["B/2"]]}).to_parquet(file)  # by another program
    plate = lamella.open(tmp_path / "p.zarr", "r+")
    with pytest.warns(UserWarning, match=r"p\.zarr/tables/layout names wells as before.* are no names"):
        plate.rename_well("A/1", "C/3")
    assert plate.well_paths() == ["B/2", "C/3"]
    with pytest.warns(UserWarning, match=r"tables/layout names wells as before"):
        assert plate.subset(tmp_path / "part.zarr", wells=["C/3"]).well_paths() == ["C/3"]


def test_a_killed_rename_of_a_position_is_finished_in_tables_too(tmp_path, monkeypatch):
    plate = make(tmp_path / "p.zarr")
    plate.tables["fields"] = {"well": ["A1", "A1", "B2"], "field": [0.0, 1.0, None], "n": [1, 2, 3]}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lamella.ops.renaming.update_after_move", killed)
        with pytest.raises(KeyboardInterrupt):
            plate.rename_position("A/1/0", "7")
    plate = lamella.open(tmp_path / "p.zarr", "r+")
    plate.rename_position("A/1/0", "7")
    assert plate.tables["fields"]["field"].tolist()[:2] == [7.0, 1.0]
    plate.rename_position("A/1/7", "x")
    plate.rename_position("A/1/1", "8")
    found = plate.tables["fields"]["field"]
    assert (found.tolist()[:2], found.isna().tolist()) == (["x", "8"], [False, False, True])


def edit_attributes(group, change):
    document = json.loads((group / "zarr.json").read_text())
    change(document["attributes"])
    (group / "zarr.json").write_text(json.dumps(document))


def test_rows_of_other_programs_keep_their_names(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables.write("cells", layout("A/1", "B/2").set_index(pd.Index(["a", "b"])), backend="anndata")
    group = tmp_path / "p.zarr/tables/cells"
    (group / "obs/index").rename(group / "obs/_index")  # as anndata stores them
    edit_attributes(group / "obs", lambda attributes: attributes.update(_index="_index"))
    edit_attributes(group, lambda attributes: attributes.pop("index_key"))
    plate = lamella.open(tmp_path / "p.zarr", mode="r+")
    plate.rename_well("A/1", "C/3")
    found = plate.tables["cells"]
    assert (found.index.tolist(), found["well"].tolist()) == (["a", "b"], ["C/3", "B/2"])


def test_a_table_with_numbers_in_other_parts_stays_with_a_warning(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables.write("cells", layout("A/1", "B/2").astype({"dose": "int64"}), backend="anndata")
    dose = tmp_path / "p.zarr/tables/cells/obs/dose/zarr.json"
    dose.write_text(dose.read_text().replace("int64", "float64"))
    with pytest.warns(UserWarning, match=r"tables/cells names wells as before.* float numbers in obs"):
        lamella.open(tmp_path / "p.zarr", mode="r+").rename_well("A/1", "C/3")
    assert plate.tables["cells"]["well"].tolist() == ["A/1", "B/2"]


def test_a_large_number_and_an_impossible_table_do_not_stop_a_rename(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables.write("small", pd.DataFrame({"well": ["A1"], "field": np.zeros(1, "int8")}))
    edit_attributes(tmp_path / "p.zarr/tables", lambda attributes: attributes["tables"].append("../x"))
    plate = lamella.open(tmp_path / "p.zarr", mode="r+")
    plate.rename_position("A/1/0", "1000")  # more than int8
    assert plate.tables["small"]["field"].tolist() == ["1000"]


def test_copied_plates_have_the_rows_of_their_wells_and_fields(tmp_path):
    plate = make(tmp_path / "p.zarr")
    plate.tables["layout"] = layout("A/1", "B/2", "C/3")  # C/3 has no images
    plate.tables["fields"] = {"well": ["A1", "A1", "B2"], "field": ["0", "1", "0"], "n": [1, 2, 3]}
    part = plate.subset(tmp_path / "part.zarr", wells=["A1"])
    assert wells_and_doses(part) == [("A/1", 0.0), ("C/3", 2.0)]
    assert part.tables["fields"]["n"].tolist() == [1, 2]
    positions = {"D/4/0": plate["A/1/1"], "D/5/0": plate["B/2/0"], "E/5/0": plate["B/2/1"]}
    moved = lamella.Plate.from_positions(tmp_path / "moved.zarr", positions)
    assert wells_and_doses(moved) == [("D/4", 0.0), ("D/5", 1.0), ("E/5", 1.0), ("C/3", 2.0)]
    assert moved.tables["fields"].to_numpy().tolist() == [["D4", "0", 2], ["D5", "0", 3]]
    other = make(tmp_path / "q.zarr", ("A/1",))
    both = lamella.merge([other, plate], tmp_path / "both.zarr", renumber=True)
    assert both.tables["fields"].to_numpy().tolist() == [["A1", "2", 1], ["A1", "3", 2], ["B2", "0", 3]]
    assert wells_and_doses(both) == wells_and_doses(plate)


def test_a_cut_image_has_the_rows_of_its_labels_and_times(tmp_path):
    with lamella.open(tmp_path / "a.zarr", "w-", layout="fov", channel_names=["a"], axes="tcyx") as image:
        image["0"] = np.ones((4, 1, 8, 8), "uint8")
        cells = np.zeros((4, 8, 8), "uint16")
        cells[:, :2, :2], cells[1:3, 3:5, 5:8], cells[3, 6:, 6:] = 1, 2, 3
        image.labels["cells"] = cells
        image.labels["plane"] = cells[2]
        rows = [(time, label) for time in range(4) for label in np.unique(cells[time]) if label]
        frame = pd.DataFrame(rows, columns=["t", "label"]).assign(n=range(len(rows)))
        image.tables.write("times", frame, label="cells")
        image.tables.write("sizes", {"label": [1, 2, 3], "area": [4, 6, 4]}, label="cells", backend="csv")
        image.tables.write("plane", {"label": [1, 2], "t": [0, 0]}, label="plane", backend="anndata")
        image.tables["notes"] = {"label": [1, 7], "note": ["a", "b"]}
        partial = {"label": pd.array([1, None, 2], "Int64"), "t": pd.array([1, 0, None], "Int64")}
        image.tables.write("untimed", {"label": [1, 2, 2], "t": partial["t"]}, label="cells")
        image.tables.write("unlabelled", partial, label="cells")
        image.labels["cells"].write_rois()
    with pytest.warns(UserWarning, match="'unlabelled' .* did not change.*which are integers in every row"):
        cut = image.subset(tmp_path / "cut.zarr", crop={"t": (1, 4), "y": (4, 8), "x": (4, 8)})
    expected = [(time, label) for time in range(3) for label in np.unique(cut.labels["cells"].data[time])[1:]]
    times = cut.tables["times"]
    assert list(zip(times["t"], times.index, strict=True)) == expected == [(0, 2), (1, 2), (2, 3)]
    assert times["n"].tolist() == [n for n, (time, label) in enumerate(rows) if (time - 1, label) in expected]
    assert cut.tables["sizes"]["area"].tolist() == [6, 4]
    assert cut.tables["plane"].index.tolist() == [2]
    assert (len(cut.tables["untimed"]), len(cut.tables["unlabelled"])) == (0, 3)
    assert cut.tables["notes"]["note"].tolist() == ["a", "b"]
    assert cut.tables["cells_ROI_table"].index.tolist() == [2, 3]
    assert lamella.validate(tmp_path / "cut.zarr")


def test_columns_of_a_renamed_channel_are_named(tmp_path):
    plate = make(tmp_path / "p.zarr")
    for path in ("A/1/1", "B/2/0"):
        plate[path].tables["cells"] = {"area": [1.0], "intensity_mean-DAPI": [2.0]}
    renames = {
        "GFP": lambda: plate.rename_channel("DAPI", "GFP"),
        "red": lambda: plate["A/1/1"].rename_channel("DAPI", "red"),
        "far": lambda: plate["B/2/0"].set_channel("DAPI", label="far"),
        "blue": lambda: plate.set_channel("DAPI", label="blue"),
    }
    for new, rename in renames.items():
        with pytest.warns(
            UserWarning, match=rf"tables/cells has .* '{new}' now, in the columns intensity_mean-DAPI\."
        ) as caught:
            rename()
        assert [warning.filename for warning in caught] == [__file__]
        for _, position in plate.positions():
            if position.channel_names == [new]:
                position.set_channel(new, label="DAPI")  # no column is named after the new name


def test_regions_that_mean_other_voxels_after_a_change_of_sizes_are_named(tmp_path):
    plate = make(tmp_path / "p.zarr")
    position = plate["A/1/0"]
    edit_attributes(
        tmp_path / "p.zarr/A/1/0",
        lambda attributes: attributes["ome"]["multiscales"][0]["datasets"][0].update(
            coordinateTransformations=[{"type": "scale", "scale": [1, 0, -1]}]
        ),
    )
    position = lamella.open(tmp_path / "p.zarr", mode="r+")["A/1/0"]
    position.set_scale({"y": 1, "x": 1})  # corrects sizes without a warning of them
    position.set_unit("micrometer")
    position.tables["notes"] = {"note": ["a"]}
    position.set_scale({"x": 2})  # without regions no warning
    position.tables.write_rois("fields", {"left": {"x": (0, 4)}})
    position.set_scale({"x": 2})  # as before
    changes = [
        (lambda: position.set_scale({"x": 1, "y": 3}), "along y by 3 and along x by 0.5"),
        (lambda: position.set_scale("0", "x", 4), "along x by 4"),
        (lambda: position.set_unit({"y": "nanometer"}), "along y by 0.001"),
        (lambda: plate.set_scale({"x": 2}), "along x by 0.5"),
    ]
    for change, factors in changes:
        with pytest.warns(
            UserWarning, match=rf"A/1/0/tables/fields contains regions.*multiplied {factors}\."
        ):
            change()
    plate["B/2/1"].set_scale({"x": 2})
    plate["B/2/1"].tables.write_rois("fields", {"left": {"x": (0, 4)}})
    with pytest.warns(UserWarning, match="fields and 1 other table contain regions") as caught:
        plate.set_scale({"x": 5})
    assert [warning.filename for warning in caught] == [__file__]
