"""``lamella validate``: what it prints and how it ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.models import axes


def run(*arguments):
    return CliRunner().invoke(main, ["validate", *(str(argument) for argument in arguments)])


@pytest.fixture
def image(tmp_path):
    """A sound image with a pyramid."""
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], axes=axes("cyx"), version="0.5"
    ) as node:
        node.create_image("0", np.ones((1, 8, 8), "uint16"))
        node.compute_pyramid(2)
    return path


def change(path, edit):
    document = json.loads((path / "zarr.json").read_text())
    edit(document["attributes"]["ome"])
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize("options", [(), ("--strict",), ("--pixels",), ("--pixels", "-j", "1"), ("--json",)])
def test_a_valid_store_ends_with_0(image, options):
    result = run(image, *options)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_broken_must_ends_with_1_and_is_told_in_full(image):
    change(image, lambda ome: ome["omero"]["channels"][0].update(color="green"))
    result = run(image)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == f"{image}: not valid OME-NGFF 0.5; 1 MUST broken; 1 group checked"
    assert lines[2] == "/"
    assert lines[3].split()[:3] == ["MUST", "OM-02", "ome.omero.channels[0].color:"]
    assert "six hex digits" in lines[4]


def test_a_broken_should_fails_only_when_strict(image):
    change(image, lambda ome: ome["multiscales"][0].pop("name"))
    assert run(image).exit_code == 0
    assert run(image, "--strict").exit_code == 1
    assert "SHOULD MS-08" in run(image).stdout


def test_a_must_comes_first_and_equal_findings_of_several_images_are_one_line(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["GFP"], axes=axes("cyx"), version="0.5", plate_name="p"
    ) as plate:
        for number in range(10):
            plate.create_position("A", "1", str(number)).create_image("0", np.ones((1, 8, 8), "uint16"))
    for number in range(10):
        change(path / "A" / "1" / str(number), lambda ome: ome["multiscales"][0].pop("name"))
    change(path / "A" / "1" / "9", lambda ome: ome["omero"]["channels"][0].update(color="green"))
    lines = run(path).stdout.splitlines()
    assert lines[0].endswith("; 1 MUST, 10 SHOULD broken; 12 groups checked")
    assert [line for line in lines[1:] if not line.startswith("     ")] == [
        "",
        "A/1/9",
        *(line for line in lines if "MUST   OM-02" in line),
        "",
        f"{', '.join(f'A/1/{number}' for number in range(8))} and 2 more",
        *(line for line in lines if "SHOULD MS-08" in line),
    ]
    assert len(json.loads(run(path, "--json").stdout)["findings"]) == 11


def test_damaged_pixels_are_found_with_pixels_only(image):
    chunk = next(file for file in (image / "0").rglob("*") if file.is_file() and file.name.isdecimal())
    chunk.write_bytes(b"junk")
    assert run(image).exit_code == 0
    result = run(image, "--pixels")
    assert result.exit_code == 1
    assert "LM-09" in result.stdout
    assert "Not checked" in result.stdout


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("what", ["nothing", "empty folder", "truncated"])
def test_what_cannot_be_judged_ends_with_2(tmp_path, what, options):
    path = tmp_path / "x.zarr"
    if what != "nothing":
        path.mkdir()
    if what == "truncated":
        (path / "zarr.json").write_text('{"zarr')
    result = run(path, *options)
    assert result.exit_code == 2
    if options:
        content = json.loads(result.stdout)
        assert (content["readable"], content["valid"]) == (False, False)
    if what == "nothing":
        assert result.stderr.startswith("lamella: error: There is no store at")


def test_json_is_one_object_with_all_findings(image):
    change(image, lambda ome: ome["omero"]["channels"][0].update(color="green"))
    result = run(image, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["counts"] == {"MUST": 1, "SHOULD": 0}
    assert content["findings"][0]["location"] == ["ome", "omero", "channels", 0, "color"]


def test_without_a_path_it_is_a_usage_error():
    assert run().exit_code == 2
