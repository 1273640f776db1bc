"""``lamella repair``: what it shows, what it writes and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.models import axes


def run(*arguments):
    return CliRunner().invoke(main, ["repair", *(str(argument) for argument in arguments)])


@pytest.fixture
def plate(tmp_path):
    """A plate whose only well has a wrong index."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["GFP"], axes=axes("cyx"), version="0.5", plate_name="p"
    ) as node:
        node.create_position("A", "1", "0").create_image("0", np.ones((1, 8, 8), "uint16"))
        node.dump_meta(field_count=True)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["plate"]["wells"][0]["rowIndex"] = 4
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def test_a_repair_shows_the_diff_keeps_a_backup_and_ends_valid(plate, tmp_path):
    old = (plate / "zarr.json").read_bytes()
    result = run(plate)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "--- zarr.json"
    assert any(line.startswith("-") and '"rowIndex": 4' in line for line in lines)
    assert any(line.startswith("+") and '"rowIndex": 0' in line for line in lines)
    backup = next(path for path in tmp_path.iterdir() if ".backup-" in path.name)
    assert (backup / "zarr.json").read_bytes() == old
    assert str(backup) in result.stdout
    assert lamella.validate(plate).valid


def test_a_dry_run_shows_the_same_and_writes_nothing(plate, tmp_path, files):
    before = files(tmp_path)
    result = run(plate, "--dry-run")
    assert result.exit_code == 0
    assert '"rowIndex": 0' in result.stdout
    assert "1 document to fix (PL-07)" in result.stdout
    assert files(tmp_path) == before


def test_what_cannot_be_mended_is_listed_and_ends_with_1(plate):
    document = json.loads((plate / "zarr.json").read_text())
    document["attributes"]["ome"]["plate"]["rows"][0]["name"] = "A 1"
    (plate / "zarr.json").write_text(json.dumps(document))
    result = run(plate)
    assert result.exit_code == 1
    assert "MUST   PL-03" in result.stdout


def test_a_sound_store_has_nothing_to_mend(plate, tmp_path, files):
    run(plate)
    before = files(tmp_path)
    result = run(plate)
    assert result.exit_code == 0
    assert "nothing that can be fixed" in result.stdout
    assert files(tmp_path) == before


def test_without_anything_to_fix_it_lists_what_must_be_changed_and_where_all_findings_are(plate):
    plate = plate.rename(plate.with_name("a plate.zarr"))
    document = json.loads((plate / "zarr.json").read_text())
    document["attributes"]["ome"]["plate"]["rows"][0]["name"] = "A 1"
    (plate / "zarr.json").write_text(json.dumps(document))
    run(plate)
    for options in ([], ["--dry-run"]):
        result = run(plate, *options)
        assert result.exit_code == 1
        first, verdict, *musts, advice = result.stdout.splitlines()
        assert first == f"{plate}: nothing that can be fixed"
        assert verdict == next(lamella.validate(plate).lines())
        assert any("PL-03" in line for line in musts)
        assert not any("SHOULD" in line for line in musts)
        assert advice == f"All findings: lamella validate '{plate}'"


def test_json(plate, tmp_path):
    content = json.loads(run(plate, "--json", "--backup", tmp_path / "old").stdout)
    assert content["backup"] == str(tmp_path / "old")
    assert [change["key"] for change in content["changes"]] == ["zarr.json"]
    assert (content["before"]["valid"], content["after"]["valid"]) == (False, True)


def test_a_backup_does_not_go_into_the_store(plate, files):
    before = files(plate)
    result = run(plate, "--backup", plate / "old")
    assert result.exit_code == 1
    assert result.stderr.startswith("lamella: error: A backup goes to a new or empty folder beside the store")
    assert files(plate) == before


def test_reindex_makes_a_plate_of_images(plate):
    for folder in (plate, plate / "A", plate / "A" / "1"):
        (folder / "zarr.json").unlink()
    assert run(plate).exit_code == 2
    result = run(plate, "--reindex")
    assert result.exit_code == 0
    with lamella.open_ome_zarr(plate) as node:
        assert [path for path, _ in node.positions()] == ["A/1/0"]


@pytest.mark.parametrize("options", [(), ("--reindex",), ("-n",)])
def test_nothing_at_the_path_ends_with_2(tmp_path, options):
    result = run(tmp_path / "none.zarr", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("lamella: error: There is no store at")


def test_reindex_without_images_is_one_line(tmp_path):
    (tmp_path / "x.zarr").mkdir()
    result = run(tmp_path / "x.zarr", "--reindex")
    assert result.exit_code == 1
    assert result.stderr.startswith("lamella: error: There are no images in")
    assert result.stderr.count("\n") == 1


def test_a_process_of_its_own_mends_plates_wells_labels_and_arrays(tmp_path):
    # In a suite another test may have imported what registers a mend.
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI"], axes=axes("yx"), version="0.5"
    ) as plate:
        for name in (("A", "1", "0"), ("B", "2", "0")):
            position = plate.create_position(*name)
            position["0"] = np.ones((4, 4), "uint8")
            position.labels.create("cells", np.ones((4, 4), "uint8"), colors={1: (255, 0, 0, 255)})

    def edit(folder, change):
        file = path / folder / "zarr.json"
        document = json.loads(file.read_text())
        change(document, document["attributes"].get("ome"))
        file.write_text(json.dumps(document))

    def break_plate(_, ome):
        ome["plate"]["field_count"] = 9
        ome["plate"]["wells"][0]["rowIndex"] = 7
        ome["plate"]["wells"].append({"path": "B/9", "rowIndex": 1, "columnIndex": 0})

    edit("", break_plate)
    edit("A/1", lambda _, ome: ome["well"]["images"].append({"path": "gone"}))
    edit("A/1/0/labels", lambda _, ome: ome.update(labels=[]))
    edit("A/1/0/0", lambda document, _: document.pop("dimension_names"))
    broken = {finding.rule for finding in lamella.validate(path).findings}
    assert {"PL-06", "PL-07", "PL-12", "LB-02", "ST-05"} <= broken
    source = f"{Path(lamella.__file__).parents[1]}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    run = subprocess.run(
        [sys.executable, "-m", "lamella", "repair", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert not (broken | {"PL-10"}) & {finding.rule for finding in lamella.validate(path).findings}
    assert lamella.open_ome_zarr(path).metadata.field_count == 1
