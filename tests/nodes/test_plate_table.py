"""The table of a plate: one record for each position, from documents alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lamella import open_ome_zarr


@pytest.fixture
def plate(plate_path):
    return open_ome_zarr(plate_path, mode="r+")


def test_one_record_for_each_position(plate):
    plate["A/2/1"].compute_pyramid(2, dims=["y", "x"])
    plate["A/2/1"].set_scale("0", "x", 0.25)
    records = plate.table()
    assert [record["path"] for record in records] == [path for path, _ in plate.positions()]
    assert records[3] == {
        "path": "A/2/1",
        "well": "A/2",
        "row": "A",
        "column": "2",
        "field": "1",
        "acquisition": 0,
        "shape": (2, 2, 3, 8, 10),
        "dtype": "uint16",
        "scale": [1.0, 1.0, 1.0, 1.0, 0.25],
        "channels": ["DAPI", "GFP"],
        "levels": 2,
    }


def test_a_position_without_an_image_has_no_shape(plate):
    plate.create_position("C", "1", "0")
    record = plate.table()[-1]
    assert (record["path"], record["shape"], record["dtype"], record["scale"]) == ("C/1/0", None, None, None)
    assert (record["channels"], record["levels"]) == (["DAPI", "GFP"], 0)


def test_a_dataframe_has_the_records_as_rows(plate):
    frame = plate.table(as_frame=True)
    assert frame.to_dict("records") == plate.table()
    assert list(frame[frame.row == "B"].path) == ["B/1/0", "B/1/1"]


def test_an_empty_plate_has_an_empty_table_with_its_columns(tmp_path):
    plate = open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"])
    assert plate.table() == []
    assert "shape" in plate.table(as_frame=True).columns


def test_damage_raises_or_is_reported_in_its_place(plate):
    plate.documents.delete("A/1/1")
    plate.documents.delete("A/2")
    with pytest.raises(ValueError, match="nothing is stored at"):
        plate.table()
    records = plate.table(on_error="report")
    damaged = [(record["path"], record["well"], record["field"]) for record in records if "error" in record]
    assert damaged == [("A/1/1", "A/1", "1"), ("A/2", "A/2", None)]
    assert list(plate.table(as_frame=True, on_error="report").error.notna()) == [
        False,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="on_error"):
        plate.table(on_error="no")


def test_pandas_and_zarr_are_imported_only_when_asked_for(plate_path):
    code = (
        "import sys, lamella\n"
        f"lamella.open_ome_zarr({str(plate_path)!r}).table()\n"
        "print([name for name in ('pandas', 'zarr', 'tensorstore', 'dask') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pixels_are_not_needed(plate, plate_path):
    before = plate.table()
    for file in plate_path.rglob("*"):
        if file.is_file() and file.name[0] != "." and file.name != "zarr.json":
            file.unlink()
    assert plate.table() == before
