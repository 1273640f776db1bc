"""``lamella rechunk``: its arguments, what it prints, and how it ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["rechunk", *(str(argument) for argument in arguments)])


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "in.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version="0.5", axes=lamella.models.axes("czyx")
    ) as position:
        position["0"] = np.arange(240, dtype="u2").reshape(1, 4, 6, 10)
    return path


def codecs(path):
    return json.loads((path / "0" / "zarr.json").read_text())["codecs"]


def test_chunks_shards_and_codec(store, tmp_path):
    result = run(
        store, tmp_path / "out.zarr", "--chunks", "2,3,5", "--shards", "4,6,10", "--compressor", "zstd:7"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"Wrote {tmp_path / 'out.zarr'}: 1 group, 1 array (0 copied without re-encoding)"
    )
    image = lamella.open_ome_zarr(tmp_path / "out.zarr")["0"]
    assert (image.chunks, image.shards) == ((1, 2, 3, 5), (1, 4, 6, 10))
    inner = codecs(tmp_path / "out.zarr")[0]["configuration"]["codecs"]
    assert inner[1] == {"name": "zstd", "configuration": {"level": 7, "checksum": False}}
    np.testing.assert_array_equal(image[:], lamella.open_ome_zarr(store)["0"][:])


def test_in_place(store):
    assert run(store, "--in-place", "--compressor", "none", "--quiet").output == ""
    assert [codec["name"] for codec in codecs(store)] == ["bytes"]
    report = json.loads(run(store, "--in-place", "--shards", "auto", "--json").stdout)
    assert (report["destination"], report["arrays"], report["carried"]) == (str(store), 1, 1)


@pytest.mark.parametrize("more", [[], ["out.zarr", "--in-place"]], ids=["neither", "both"])
def test_either_a_destination_or_in_place(store, files, more):
    before = files(store)
    result = run(store, *more, "--compressor", "none")
    assert result.exit_code == 2
    assert "Give either DST, the new store, or --in-place to replace PATH." in result.stderr
    assert files(store) == before


def test_nothing_to_do_is_a_usage_error(store):
    result = run(store)
    assert result.exit_code == 2
    assert "Give at least one of --chunks, --shards and --compressor." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--chunks", "2,x"], "neither auto nor lengths like 16,256,256"),
        (["--chunks", "none"], "neither auto nor lengths"),
        (["--shards", "0"], "neither auto nor none nor lengths"),
        (["--compressor", "zstd:high"], "not the name of a codec with its level"),
    ],
)
def test_what_cannot_be_parsed_is_a_usage_error(store, arguments, text):
    result = run(store, "--in-place", *arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--compressor", "jpeg"], "is unknown"),
        (["--compressor", "none:3"], "none has no level"),
        (["--compressor", "gzip:12"], "from 0 to 9"),
        (["--chunks", "4,4", "--shards", "6,6"], "whole multiples"),
    ],
)
def test_what_is_refused_is_one_line(store, arguments, text):
    result = run(store, "--in-place", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("lamella: error: ")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
