"""``lamella edit``, ``lamella pyramid`` and ``lamella rename-well``."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def plate(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open(path, "w-", layout="hcs", channel_names=["w1", "w2"], axes="czyx") as node:
        for position in node.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "3", "0")]):
            position["0"] = np.random.default_rng(0).integers(0, 900, (2, 4, 300, 300)).astype("uint16")
    return path


def test_edit_changes_all_fields_and_a_dry_run_none(plate, files):
    words = [
        *("edit", plate, "--pixel-size", "1,0.65,0.65", "--unit", "um", "--rename-channel", "w1=DAPI"),
        *("--color", "DAPI=blue", "--window", "DAPI=5,500", "--name", "screen", "--attribute", "passage=12"),
    ]
    before = files(plate)
    dry = run(*words, "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert files(plate) == before
    assert "A/1/0, A/1/1, B/3/0:" in dry.stdout
    assert '  + "label": "DAPI"' in dry.stdout.splitlines()
    assert '  + "scale": [1.0, 1.0, 0.65, 0.65]' in dry.stdout.splitlines()
    assert dry.stdout.splitlines()[-1] == "Would change the metadata of 4 nodes."
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    assert sum(len(change["paths"]) for change in json.loads(result.stdout)["changes"]) == 4
    node = lamella.open(plate)
    assert (node.metadata.name, node.zattrs["passage"]) == ("screen", 12)
    for _, position in node.positions():
        assert (position.channel_names, position.scale) == (["DAPI", "w2"], [1, 1, 0.65, 0.65])
        channel = position.metadata.omero.channels[0]
        assert (channel.color, channel.window["start"], channel.window["end"]) == ("0000FF", 5, 500)
    assert run(*words[:6], *words[8:]).stdout == "Changed the metadata of 0 nodes.\n"  # nothing is left
    again = run(*words)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "If 'w1' was renamed to 'DAPI' before, leave out this rename" in again.stderr
    with_more = run(*words, "--contrast")  # may resume a killed call, so the rename is skipped visibly
    assert with_more.exit_code == 0, with_more.stderr
    assert "Skipped the rename of 'w1': no image has it, and 'DAPI' exists already." in with_more.stdout


def test_limits_that_are_stated_are_not_computed(plate):
    words = ("edit", plate, "--rename-channel", "w1=GFP", "--window", "GFP=5,500", "--contrast")
    for words_and_option in ((*words, "--dry-run", "--json"), (*words, "--json")):
        result = run(*words_and_option)
        assert result.exit_code == 0, result.stderr
        assert [window["channel"] for window in json.loads(result.stdout)["contrast"]] == ["w2"]
    first, second = lamella.open(plate)["A/1/0"].metadata.omero.channels
    assert (first.window["start"], first.window["end"]) == (5, 500)
    assert 800 < second.window["end"] < 900


def test_a_name_for_a_well_is_refused_and_not_ignored(plate):
    result = run("edit", plate / "A" / "1", "--name", "control")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is a well, which has no name of its own: name the image or the plate" in result.stderr


def test_edit_deletes_channels_and_computes_contrast(plate, files):
    assert run("edit", plate, "--delete-channel", "w1", "-n").stdout.startswith(
        "Would delete the channel 'w1' of A/1/0"
    )
    assert run("edit", plate / "A/1/0", "--unit", "z=nm", "--name", "one", "-q").stdout == ""
    words = ("edit", plate, "--delete-channel", "w1", "--rename-channel", "w2=GFP", "--contrast")
    before = files(plate)
    dry = run(*words, "--dry-run")
    assert (dry.exit_code, files(plate)) == (0, before)
    assert "Would set the contrast limits of 'GFP' to " in dry.stdout
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    verbs = {"Would delete": "Deleted", "Would set": "Set", "Would change": "Changed"}
    assert result.stdout == functools.reduce(
        lambda text, verb: text.replace(verb, verbs[verb]), verbs, dry.stdout
    )
    assert result.stdout.endswith("Changed the metadata of 3 nodes.\n")
    first = lamella.open(plate)["A/1/0"]
    assert (first.data.shape, first.channel_names) == ((1, 4, 300, 300), ["GFP"])
    assert 800 < first.metadata.omero.channels[0].window["end"] < 900
    assert (first.axes[1].unit, first.metadata.multiscales[0].name) == ("nanometer", "one")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "Give at least one change"),
        (["--pixel-size", "0.5"], 2, "neither sizes"),
        (["--pixel-size", "y=a"], 2, "neither sizes"),
        (["--color", "blue"], 2, "not NAME=VALUE"),
        (["--color", "w1=red", "--color", "w1=blue"], 2, "sets 'w1' twice"),
        (["--unit", "x=nm", "--unit", "x=um"], 2, "sets 'x' twice"),
        (["--attribute", "a=1", "--attribute", "a=2"], 2, "sets 'a' twice"),
        (["--window", "w1=5"], 2, "not START,END"),
        (["--window", "w1=9,2"], 1, "starts at 9.0, above its end, 2.0 (OM-03)"),
        (["--color", "w1=bleu"], 1, "Did you mean 'blue'"),
        (["--color", "w3=blue"], 1, "No image has the channel 'w3'"),
        (["--delete-channel", "w3", "--name", "x"], 1, "No image has the channel 'w3'"),
        (["--delete-channel", "w1", "--delete-channel", "w2"], 1, "'w1', 'w2' are all channels of "),
        (
            ["--rename-channel", "w1=a", "--delete-channel", "a", "--delete-channel", "w2", "-n"],
            1,
            "all channels",
        ),
        (["--rename-channel", "w1=a", "--color", "w1=red"], 1, "is renamed to 'a' first: use 'a'"),
        (["--rename-channel", "w1=a", "--window", "w1=1,2", "-n"], 1, "is renamed to 'a' first: use 'a'"),
        (["--rename-channel", "w1=a", "--delete-channel", "w1"], 1, "is renamed to 'a' first: use 'a'"),
        (["--rename-channel", "W1=w2"], 1, "No image has the channel 'W1': there are w1, w2 in "),
        (["--rename-channel", "W1=w2", "--color", "w1=red", "-n"], 1, "Did you mean 'w1'?"),
        (["--attribute", "ome=1", "--name", "x"], 1, "metadata of OME-NGFF"),
    ],
)
def test_edit_refuses_before_it_writes(plate, files, words, code, text):
    before = files(plate)
    result = run("edit", plate, *words)
    assert result.exit_code == code
    assert text in result.stderr
    assert files(plate) == before


def test_options_follow_the_new_names_also_in_a_chain_of_renames(plate):
    words = [
        "--rename-channel",
        "w2=w3",
        "--rename-channel",
        "w1=w2",
        "--color",
        "w2=red",
        "--color",
        "w3=lime",
    ]
    result = run("edit", plate, *words)
    assert result.exit_code == 0, result.stderr
    assert run("edit", plate / "A/1/1", "--rename-channel", "w3=w3", "--color", "w3=blue").exit_code == 0
    colors = [
        [(channel.label, channel.color) for channel in position.metadata.omero.channels]
        for _, position in lamella.open(plate).positions()
    ]
    assert colors == [
        [("w2", "FF0000"), ("w3", "00FF00")],
        [("w2", "FF0000"), ("w3", "0000FF")],
        [("w2", "FF0000"), ("w3", "00FF00")],
    ]


def test_changes_of_a_plate_without_fields_are_refused(tmp_path):
    path = tmp_path / "empty.zarr"
    lamella.open(path, "w-", layout="hcs", channel_names=["w1"]).close()
    result = run("edit", path, "--unit", "um")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no image to change" in result.stderr
    assert run("edit", path, "--name", "screen").exit_code == 0


@pytest.mark.parametrize("words", [["--window", "DAPI=0,100"], ["--pixel-size", "x=0.5"]])
def test_what_only_pixels_can_have_is_refused_where_there_are_none(tmp_path, words):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0")
    before = (tmp_path / "p.zarr/A/1/0/zarr.json").read_bytes()
    result = run("edit", str(tmp_path / "p.zarr"), *words)
    assert result.exit_code == 1
    assert (
        f"cannot be stored without pixels. Write pixels to {tmp_path / 'p.zarr/A/1/0'} first."
        in result.stderr
    )
    assert (tmp_path / "p.zarr/A/1/0/zarr.json").read_bytes() == before


def test_pyramid_computes_the_levels_of_all_fields(plate):
    assert run("pyramid", plate).stdout == "3 images with 2 levels.\n"
    refused = run("pyramid", plate, "--levels", 3)
    assert refused.exit_code == 1
    assert "pass --replace to lamella pyramid." in refused.stderr
    assert json.loads(run("pyramid", plate, "--levels", 3, "--replace", "--json").stdout) == {
        "levels": {"A/1/0": 3, "A/1/1": 3, "B/3/0": 3}
    }
    assert run("pyramid", plate / "A").stdout == "2 images with 3 levels.\n"
    assert run("pyramid", plate / "A/1/0", "--method", "max").stdout == "1 image with 3 levels.\n"
    assert lamella.open(plate)["A/1/0"].metadata.multiscales[0].type == "max"


def test_wells_are_renamed_by_name_and_by_a_table_that_can_be_repeated(plate, tmp_path):
    assert run("rename-well", plate, "A/1", "A/2").stdout == "Renamed A/1 to A/2.\n"
    table = tmp_path / "renames.csv"
    table.write_text("old,new\nA/2,B/3\nB/3,C/4\n")
    assert run("rename-well", plate, "--table", table, "-n").stdout.splitlines() == [
        "Would rename B/3 to C/4.",
        "Would rename A/2 to B/3.",
    ]
    with lamella.open(plate, "r+") as node:
        node.rename_well("B/3", "C/4")  # as far as a killed call came
    assert run("rename-well", plate, "--table", table).stdout == "Renamed A/2 to B/3.\n"
    assert run("rename-well", plate, "--table", table).stdout == "Nothing is left to rename.\n"
    assert sorted(path for path, _ in lamella.open(plate).wells()) == ["B/3", "C/4"]
    result = run("rename-well", plate, "B/3", "C/4")
    assert result.stderr.endswith("has this well already. To swap wells, list both renames in --table.\n")
    for lines, text in (
        ("B/3,C/4", "already"),
        ("B/33,D/1", "Did you mean 'B/3'"),
        ("B/3", "line 1"),
        ("B/3,D/1\nC/4,D/1", "would be named 'D/1'"),
        ("B/3,D-1/1", "not allowed"),
        ("B03,D05", "has the columns 4, 3"),
    ):
        table.write_text(lines)
        result = run("rename-well", plate, "--table", table)
        assert (result.exit_code, text in result.stderr) == (1, True), result.stderr
    assert run("rename-well", plate, "A/1").exit_code == 2


def test_wells_swap_names_by_a_table_and_swap_back_with_its_columns_exchanged(plate, tmp_path):
    def fields():
        return {
            path: int(position.data[..., 0, 0].max()) for path, position in lamella.open(plate).positions()
        }

    with lamella.open(plate, "r+") as node:
        node.add({"C/3/0": node["A/1/1"], "D/4/0": node["A/1/1"]})
        for number, (_, position) in enumerate(node.positions(), 1):
            position.data[...] = number
        node["B"].zattrs["dose"] = 3
    before, stored = fields(), (plate / "zarr.json").read_text()
    table, back = tmp_path / "renames.csv", tmp_path / "back.csv"
    lines = ["A01,B03", "B03,A01", "C/3,D/4", "D/4,C/3"]
    table.write_text("\n".join(lines))
    back.write_text("\n".join(",".join(reversed(line.split(","))) for line in lines))
    assert run("rename-well", plate, "--table", table, "-n").stdout.splitlines() == [
        "Would rename B/3 to A/1.",
        "Would rename A/1 to B/3.",
        "Would rename D/4 to C/3.",
        "Would rename C/3 to D/4.",
    ]
    assert len(run("rename-well", plate, "--table", table).stdout.splitlines()) == 4
    assert fields() == {"A/1/0": 3, "B/3/0": 1, "B/3/1": 2, "C/3/0": 5, "D/4/0": 4}
    assert run("rename-well", plate, "--table", table).stdout == "Nothing is left to rename.\n"
    assert lamella.validate(plate)
    run("rename-well", plate, "--table", back)
    assert fields() == before == {"A/1/0": 1, "A/1/1": 2, "B/3/0": 3, "C/3/0": 4, "D/4/0": 5}
    with lamella.open(plate, "r+") as node:
        assert node["B"].zattrs["dose"] == 3
        node.rename_well("D/4", "D/3")  # another rename: the record of the swap is dropped
        node.rename_well("D/3", "D/4")
    assert (plate / "zarr.json").read_text() == stored
