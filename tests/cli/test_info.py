"""``lamella info``: what it prints, into a pipe, on a terminal, and as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.cli.info_text import plain_lines, print_blocks, text_of
from lamella.models import axes
from lamella.nodes.describe import describe


def run(*arguments):
    return CliRunner().invoke(main, ["info", *(str(argument) for argument in arguments)])


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP", "DAPI"], axes=axes("czyx"), version="0.5"
    ) as position:
        position.create_image(
            "0", np.ones((2, 3, 8, 8), "uint16"), chunks=(1, 3, 4, 4), shards_ratio=(1, 1, 2, 2)
        )
        position.set_scale("0", "z", 0.5)
        position.compute_pyramid(2)
        position.set_contrast_limits("DAPI", {"start": 10, "end": 90.5, "min": 0, "max": 100})
        position.labels.create("cells", np.ones((3, 8, 8), "uint8"))
    return path


@pytest.fixture
def plate(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["GFP"],
        axes=axes("cyx"),
        version="0.4",
        plate_name="drugs",
    ) as node:
        for row, column, field in (("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")):
            node.create_position(row, column, field)["0"] = np.zeros((1, 8, 6), "uint8")
    return path


@pytest.fixture
def scene(tmp_path):
    """Two tiles in one system, and a third one that is gone."""
    path = tmp_path / "scene.zarr"
    steps = [
        {"type": "translation", "translation": [0, 8 * place], "output": {"name": "world"}}
        | {"input": {"path": name, "name": "physical"}}
        for place, name in enumerate(("one", "two", "gone"))
    ]
    systems = [{"name": "world", "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]}]
    document = {"coordinateSystems": systems, "coordinateTransformations": steps}
    zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.6", "scene": document}})
    for name in ("one", "two"):
        with lamella.open_ome_zarr(
            path / name, layout="fov", mode="w-", channel_names=[], axes=axes("yx"), version="0.6"
        ) as position:
            position["0"] = np.ones((8, 8), "uint8")
    return path


def cells(output, heading):
    """The rows of the table below a heading, split where columns are apart."""
    lines = output.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip().split("  ") if cell.strip()] for line in lines]


def test_an_image(image):
    result = run(image)
    assert result.exit_code == 0
    head = result.output.splitlines()[:4]
    assert head == [
        f"Image {image}",
        "  version  0.5",
        "  name     image",
        "  axes     c, z (micrometer), y (micrometer), x (micrometer)",
    ]
    assert cells(result.output, "Levels") == [
        ["path", "shape", "dtype", "chunks", "shards", "compressor", "scale"],
        ["0", "2, 3, 8, 8", "uint16", "1, 3, 4, 4", "1, 3, 8, 8", "blosc zstd 1 bitshuffle", "1, 0.5, 1, 1"],
        ["1", "2, 2, 4, 4", "uint16", *cells(result.output, "Levels")[2][3:6], "1, 1, 2, 2"],
    ]
    assert cells(result.output, "Channels")[2] == [
        "DAPI",
        "0000FF",
        "10 to 90.5",
        *cells(result.output, "Channels")[2][3:],
    ]
    assert cells(result.output, "Labels") == [["cells"]]


def test_columns_are_aligned(image):
    table = run(image).output.split("\nLevels\n")[1].splitlines()[:3]
    for name in ("shape", "dtype", "chunks", "scale"):
        start = table[0].index(name)
        assert all(line[start] != " " and line[start - 1] == " " for line in table)


def test_details_of_an_image_count_files(image):
    result = run(image, "-v")
    assert cells(result.output, "Levels")[0][-2:] == ["files", "size"]
    assert cells(result.output, "Levels")[1][-2] == "3"


def test_a_plate(plate):
    result = run(plate)
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.output.split("\n\n")[0].splitlines()[1:]]
    assert dict(lines) == {
        "version": "0.4",
        "name": "drugs",
        "rows": "2: A, B",
        "columns": "2: 1, 2",
        "wells": "2 of 4",
        "fields": "at most 2 per well",
        "acquisitions": "1: 0 (Acquisition 0)",
    }
    assert "\nFirst position A/1/0\n" in result.output
    assert "Positions" not in result.output


def test_a_plate_whose_fields_were_not_counted(plate):
    with lamella.open_ome_zarr(plate, mode="r+") as node:
        node.metadata.field_count = None
        node.dump_meta()
    assert "\n  fields        not recorded\n" in run(plate).output


def test_details_of_a_plate_are_a_line_per_position(plate):
    result = run(plate, "--verbose")
    assert "  positions     3\n" in result.output
    assert cells(result.output, "Positions") == [
        ["path", "shape", "dtype", "levels", "scale", "acquisition"],
        *([path, "1, 8, 6", "uint8", "1", "1, 1, 1", "0"] for path in ("A/1/0", "A/1/1", "B/2/0")),
    ]


def test_damaged_positions_are_lines_and_no_failure(plate):
    (plate / "A" / "1" / "1" / ".zattrs").write_text("{")
    result = run(plate, "-v")
    assert result.exit_code == 0
    assert "  positions     2, 1 cannot be read\n" in result.output
    line = next(line for line in result.output.splitlines() if line.startswith("  A/1/1"))
    assert f"cannot be read: {plate / 'A' / '1' / '1' / '.zattrs'}" in line


def test_a_damaged_first_position_is_told_without_details(plate):
    (plate / "A" / "1" / "0" / ".zattrs").write_text("{")
    result = run(plate)
    assert result.exit_code == 0
    assert "\nFirst position A/1/1\n" in result.output
    assert "\nCannot be read\n" in result.output


def test_when_nothing_opens_it_is_a_failure(plate):
    for well in (plate / "A" / "1", plate / "B" / "2"):
        (well / ".zattrs").write_text("{")
    for arguments in ((plate,), (plate, "-v"), (plate, "--json")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr == f"lamella: error: No position of {plate} can be opened.\n"
        assert "A/1" in result.stdout


def test_many_damaged_positions_are_cut_short_without_details(tmp_path):
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"]) as node:
        node.create_positions([("A", "1", str(field)) for field in range(9)])
    for field in range(8):
        (path / "A" / "1" / str(field) / ".zattrs").write_text("{")
    output = run(path).output
    assert output.count("  cannot be read: ") == 5
    assert "3 more: see lamella info -v" in output
    assert run(path, "-v").output.count("  cannot be read: ") == 8


def test_a_position_without_an_image(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"]) as node:
        node.create_position("A", "1", "0")
    result = run(tmp_path / "p.zarr", "-v")
    assert result.exit_code == 0
    assert "the image has no array yet" in result.output
    assert "no image yet" in result.output


def test_a_row_and_a_well(plate):
    row, well = run(plate / "A", "-v"), run(plate / "A" / "1")
    assert (row.exit_code, well.exit_code) == (0, 0)
    assert row.output.startswith(f"Row {plate}/A\n")
    assert "  wells      1\n" in row.output
    assert [line[0] for line in cells(row.output, "Positions")[1:]] == ["1/0", "1/1"]
    assert well.output.startswith(f"Well {plate}/A/1\n")
    assert "  fields   0, 1\n" in well.output


def test_a_scene(scene):
    result = run(scene)
    assert result.exit_code == 0
    head = ["  version  0.6", "  images   3: one, two, gone", "  systems  world"]
    assert result.output.splitlines()[:4] == [f"Scene {scene}", *head]
    assert cells(result.output, "Transformations")[2] == ["translation", "two:physical", "world"]
    assert "First image one" in result.output
    details = run(scene, "-v")
    assert "  positions  2, 1 cannot be read\n" in details.output
    assert cells(details.output, "Positions")[3][0] == "gone"


def test_json_of_a_scene(scene):
    document = json.loads(run(scene, "--json", "-v").output)
    assert (document["kind"], document["images"], document["systems"]) == (
        "scene",
        ["one", "two", "gone"],
        ["world"],
    )
    assert document["transformations"][1] == {
        "type": "translation",
        "input": "two:physical",
        "output": "world",
    }
    assert [line["path"] for line in document["positions"]] == ["one", "two", "gone"]


def test_json_of_an_image(image):
    document = json.loads(run(image, "--json").output)
    assert (document["kind"], document["version"], document["labels"]) == ("image", "0.5", ["cells"])
    assert document["levels"][0] | {"compressor": None} == {
        "path": "0",
        "shape": [2, 3, 8, 8],
        "dtype": "uint16",
        "chunks": [1, 3, 4, 4],
        "shards": [1, 3, 8, 8],
        "compressor": None,
        "scale": [1.0, 0.5, 1.0, 1.0],
        "translation": [0.0, 0.0, 0.0, 0.0],
        "files": None,
        "stored_bytes": None,
    }
    assert document["channels"][1]["window"] == [10.0, 90.5]
    assert json.loads(run(image, "--json", "-v").output)["levels"][0]["files"] == 3


def test_json_of_a_plate(plate):
    document = json.loads(run(plate, "--json").output)
    assert (document["kind"], document["wells"], document["positions"]) == ("plate", ["A/1", "B/2"], None)
    assert document["first"]["kind"] == "image"
    positions = json.loads(run(plate, "--json", "-v").output)["positions"]
    assert [line["path"] for line in positions] == ["A/1/0", "A/1/1", "B/2/0"]
    assert set(positions[0]) == {"path", "shape", "dtype", "levels", "scale", "acquisition"}


def test_the_keys_of_the_json_are_those_that_are_documented(image, plate, scene):
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    documented = page.partition("## JSON of")[2].partition("\n## ")[0]

    def keys(value):
        if isinstance(value, dict):
            return set(value) | {key for item in value.values() for key in keys(item)}
        return {key for item in value for key in keys(item)} if isinstance(value, list) else set()

    (plate / "B" / "2" / "0" / ".zattrs").write_text("{")
    for path in (image, plate, plate / "A", plate / "A" / "1", scene):
        for key in keys(json.loads(run(path, "--json", "-v").output)):
            assert f"`{key}`" in documented


def test_into_a_pipe_there_are_no_control_sequences(image):
    command = [sys.executable, "-m", "lamella", "info", str(image), "-v"]
    environment = {"FORCE_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, **environment})
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""


def test_a_narrow_encoding_loses_letters_and_not_the_command(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["µm 核"]):
        pass
    command = [sys.executable, "-m", "lamella", "info", str(tmp_path / "a.zarr")]
    done = subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert b"?m ?" in done.stdout
    json_output = subprocess.run(
        [*command, "--json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    ).stdout
    assert json.loads(json_output)["channels"][0]["name"] == "µm 核"


def test_a_narrow_encoding_loses_no_letters_of_a_table(image):
    with lamella.open_ome_zarr(image, mode="r+") as position:
        position.tables.write("t", pd.DataFrame({"核": [1]}))
    command = [sys.executable, "-m", "lamella", "table", str(image), "t"]
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "latin-1"}
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--output FILE" in done.stderr


def test_on_a_terminal_headings_and_colours_stand_out(image, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    for variable in ("NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    blocks = text_of(describe(lamella.open_ome_zarr(image)))
    print_blocks(blocks)
    output = capsys.readouterr().out
    assert "\x1b[" in output
    for word in ("2, 3, 8, 8", "GFP", "cells", "blosc zstd 1 bitshuffle"):
        assert word in output
        assert any(word in line for line in plain_lines(blocks))


@pytest.mark.parametrize("make", ["nothing", "empty folder", "zarr group", "array", "file"])
def test_what_is_no_store_is_one_line(tmp_path, make):
    path = tmp_path / "a.zarr"
    if make == "empty folder":
        path.mkdir()
    elif make == "zarr group":
        path.mkdir()
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    elif make == "array":
        with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["GFP"]) as position:
            position["0"] = np.zeros((1, 1, 1, 4, 4), "uint8")
        path = path / "0"
    elif make == "file":
        path.write_text("text")
    result = run(path)
    assert result.exit_code == 2
    assert not result.stdout
    assert result.stderr.startswith("lamella: error: ")
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr


def test_a_damaged_plate_document_is_one_line(plate):
    (plate / ".zattrs").write_text("{")
    result = run(plate)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_without_a_path_it_is_a_usage_error():
    assert run().exit_code == 2


STORES = Path(__file__).parents[1] / "data" / "stores"


def test_names_and_dates_of_the_ome_xml_are_shown():
    store = STORES / "v04_bioformats2raw_plate" / "hcs.zarr"
    result = run(store)
    assert "acquired      2006-05-04T18:13:51" in result.output
    voxel = "z 1 micrometer, y 1 micrometer, x 1 micrometer"
    assert cells(result.output, "OME-XML")[-1] == ["B/2/1", "hcs 8", "2006-05-04T18:13:51", voxel]
    described = json.loads(run(store, "--json").output)["described"]
    assert described[0] == {
        "path": "A/1/0",
        "name": "hcs",
        "acquired": "2006-05-04T18:13:51",
        "size": {"z": "1 micrometer", "y": "1 micrometer", "x": "1 micrometer"},
    }
    images = cells(run(STORES / "v04_bioformats2raw_series" / "bf2raw.zarr").output, "OME-XML")
    assert images[1:] == [["0", "bf2raw"], ["1", "bf2raw 2"]]


def test_an_ome_xml_that_cannot_be_read_is_said_and_the_rest_shown(tmp_path):
    store = shutil.copytree(STORES / "v04_bioformats2raw_series" / "bf2raw.zarr", tmp_path / "scan.zarr")
    (store / "OME" / "METADATA.ome.xml").write_text("<OME")
    result = run(store)
    assert result.exit_code == 0
    assert "METADATA.ome.xml cannot be read" in result.output
    assert "First image 0" in result.output


def test_a_large_ome_xml_is_read_only_when_details_are_asked_for(monkeypatch):
    monkeypatch.setattr("lamella.nodes.describe.MAX_XML_WITHOUT_DETAILS", 100)
    store = STORES / "v04_bioformats2raw_series" / "bf2raw.zarr"
    assert "was not read" in run(store).output
    assert "bf2raw 2" in run(store, "-v").output
