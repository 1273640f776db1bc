"""``lamella merge``, ``subset`` and ``mosaic``: their arguments, what they print, and how they end."""

from __future__ import annotations

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
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    ) as node:
        for number, name in enumerate(("A/1/0", "A/1/1", "B/2/0")):
            node.create_position(*name.split("/"))["0"] = np.full((1, 2, 1, 8, 8), number + 1, "uint8")
        node.set_positions([{"path": "A/1/1", "x": 6}])
    return path


def test_plates_are_merged(plate, tmp_path):
    refused = run("merge", plate, plate, tmp_path / "both.zarr")
    assert refused.exit_code == 1
    assert "A/1/0" in refused.stderr
    assert "Pass --renumber to name" in refused.stderr
    result = run("merge", plate, plate, tmp_path / "both.zarr", "--renumber", "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Wrote {tmp_path / 'both.zarr'}: a plate of 6 images, in ")
    paths = [path for path, _ in lamella.open_ome_zarr(tmp_path / "both.zarr").positions()]
    assert paths == ["A/1/0", "A/1/1", "A/1/2", "A/1/3", "B/2/0", "B/2/1"]


def test_a_part_of_a_plate_or_an_image_is_a_new_store(plate, tmp_path):
    result = run(
        *("subset", plate, tmp_path / "a.zarr", "--wells", "A01", "--channels", "GFP"),
        *("--crop", "x=2:,z=:", "--crop", "y=-4:", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "destination": str(tmp_path / "a.zarr"),
        "layout": "hcs",
        "images": ["A/1/0", "A/1/1"],
    }
    node = lamella.open_ome_zarr(tmp_path / "a.zarr")
    assert node["A/1/0"].data.shape == (1, 1, 1, 4, 6)
    assert node.channel_names == ["GFP"]
    assert run("subset", plate / "A/1/0", tmp_path / "b.zarr", "--channels", "GFP", "-q").output == ""
    for arguments, code in (
        ((plate / "A/1/0", tmp_path / "c.zarr", "--wells", "A1"), 1),
        ((plate, tmp_path / "c.zarr", "--wells", "H12"), 1),
        ((plate, tmp_path / "c.zarr", "--acquisitions", "7"), 1),
        ((plate, tmp_path / "c.zarr", "--wells", ""), 2),
        ((plate, tmp_path / "c.zarr", "--crop", "x"), 2),
        ((plate, tmp_path / "c.zarr", "--crop", "x=a:b"), 2),
        ((plate, tmp_path / "c.zarr", "--crop", "x=1:", "--crop", "x=:3"), 2),
    ):
        result = run("subset", *arguments)
        assert (result.exit_code, result.stdout) == (code, "")
        assert (str(arguments[0]) in result.stderr) == (code == 1)  # the whole path
    assert not (tmp_path / "c.zarr").exists()


def test_the_fields_of_a_well_are_one_image(plate, tmp_path):
    result = run("mosaic", plate, tmp_path / "a.zarr", "--well", "A01", "--chunks", "8,8", "--levels", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Wrote {tmp_path / 'a.zarr'}: 1 image, in ")
    image = lamella.open_ome_zarr(tmp_path / "a.zarr")
    assert (image.data.shape, image.data.chunks) == ((1, 2, 1, 8, 14), (1, 1, 1, 8, 8))
    assert run("mosaic", plate / "A/1", tmp_path / "a.zarr", "-q").exit_code == 1  # it exists
    assert run("mosaic", plate / "A/1", tmp_path / "a.zarr", "--overwrite", "-q").output == ""
    assert run("mosaic", plate / "B/2/0", tmp_path / "b.zarr", "--blend", "linear").exit_code == 0
    for arguments in ((plate,), (plate / "A/1", "--well", "A1"), (plate / "A/1/0", "--acquisition", "0")):
        result = run("mosaic", arguments[0], tmp_path / "c.zarr", *arguments[1:])
        assert (result.exit_code, result.stdout) == (1, "")
        assert not (tmp_path / "c.zarr").exists()


@pytest.mark.filterwarnings("ignore:.*cannot be listed:UserWarning")
def test_options_of_urls_are_for_the_ends_that_know_them(plate, tmp_path, service, monkeypatch):
    service.put_folder(plate, "/bucket/plate.zarr")
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # without the options nothing is reached
    keys = {"key": "testing", "secret": "testing", "endpoint_url": service.endpoint}
    options = [f"--storage={name}={value}" for name, value in keys.items()]
    web, url = f"{service.endpoint}/bucket/plate.zarr", "s3://bucket"
    for arguments in (
        ("merge", web, f"{url}/merged.zarr"),
        ("merge", f"{url}/plate.zarr", plate, tmp_path / "merged.zarr", "--renumber"),
        ("subset", web, f"{url}/part.zarr", "--wells", "A1"),
        ("subset", f"{url}/part.zarr", tmp_path / "part.zarr"),
        ("mosaic", web, f"{url}/mosaic.zarr", "--well", "A1"),
        ("export", f"{url}/mosaic.zarr", tmp_path / "mosaic.ome.tif"),
    ):
        result = run(*arguments, *options)
        assert result.exit_code == 0, (arguments, result.output)
    refused = run("subset", plate, tmp_path / "other.zarr", *options)
    assert refused.exit_code != 0
    assert "without storage_options" in refused.stderr
    assert lamella.open_ome_zarr(tmp_path / "part.zarr").position_paths() == ["A/1/0", "A/1/1"]
