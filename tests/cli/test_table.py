"""`lamella table`: the list of tables, and one of them as CSV, JSON or a file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


@pytest.fixture
def plate(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"]) as plate:
        position = plate.create_position("A", "1", "0")
        position["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
        position.labels["cells"] = np.ones((1, 8, 8), "uint8")
        position.tables.write("sizes", {"label": [1, 2], "area": [0.1, 64.0]}, label="cells")
        plate.tables["layout"] = {"well": ["A/1"]}
    return tmp_path / "p.zarr"


def run(*arguments, command="table"):
    return CliRunner().invoke(main, [command, *map(str, arguments)])


def test_tables_are_listed_and_printed(plate, tmp_path):
    assert run(plate / "A/1/0").output.split() == ["sizes", "feature_table", "parquet", "cells"]
    listed = json.loads(run(plate, "--json").output)
    assert [row["name"] for row in listed] == ["layout", "sizes"]
    assert run(plate / "A/1/0", "sizes").output == "label,area\n1,0.1\n2,64.0\n"
    assert run(plate, "sizes").output.splitlines()[1] == "A/1,0,1,0.1"
    assert json.loads(run(plate, "sizes", "--json").output)[0] == {
        "well": "A/1",
        "field": "0",
        "label": 1,
        "area": 0.1,
    }
    values = [0.1 + 0.2, float("inf"), None, 1e-300]
    with lamella.open_ome_zarr(plate / "A/1/0", mode="r+") as position:
        position.tables["exact"] = {"value": values, "when": pd.to_datetime(["2020-01-02"] * 4)}
    rows = json.loads(run(plate / "A/1/0", "exact", "--json").output)
    assert [row["value"] for row in rows] == [0.1 + 0.2, "Infinity", None, 1e-300]
    assert {row["when"] for row in rows} == {"2020-01-02 00:00:00"}
    for ending, read in (("csv", pd.read_csv), ("json", pd.read_json), ("parquet", pd.read_parquet)):
        file = tmp_path / f"t.{ending}"
        assert run(plate, "sizes", "-o", file, "--json").output == run(plate, "sizes", "--json").output
        assert read(file)["area"].tolist() == [0.1, 64.0]


def test_what_cannot_be_printed_is_one_line(plate, tmp_path):
    for words, message in (
        ([plate, "size"], "no table 'size'"),
        ([plate, "-o", "a.csv"], "give its NAME"),
        ([plate, "sizes", "-o", "a.xlsx"], ".csv, .json or .parquet"),
        ([plate, "sizes", "-o", plate / "A/zarr.json"], "a file of the store"),
        ([plate, "sizes", "-o", "/dev/null/a.json"], "/dev/null"),
        ([plate / "A/1"], "neither an image nor a plate"),
    ):
        result = run(*words)
        assert result.exit_code != 0
        assert message in result.output
        assert len(result.output.splitlines()) == 1


def test_the_labels_of_a_plate_are_measured_into_tables(plate):
    words = [plate, "cells", "--properties", "area, intensity_max", "--channel", "DAPI", "--save-as", "m"]
    done = run(*words, command="measure")
    assert (done.exit_code, done.output) == (0, "1 label of 1 image in the table m.\n")
    assert json.loads(run(*words, "--json", command="measure").output) == {"rows": {"A/1/0": 1}}
    assert run(plate, "m").output.splitlines() == [
        "well,field,label,area,intensity_max-DAPI",
        "A/1,0,1,64.0,1.0",
    ]
    assert run(plate / "A/1/0", "cells", "--voxels", "-q", command="measure").output == ""
    refused = run(plate, "nuclei", command="measure")
    assert (refused.exit_code, "has labels 'nuclei'. The label images are: cells." in refused.output) == (
        1,
        True,
    )
