"""Every report is true when nothing is wrong and false otherwise, prints as one line, and becomes a dictionary."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

import lamella


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"], version="0.5") as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
    return path


REPORTS = {
    "validate": lamella.validate,
    "repair": lamella.repair,
    "verify": lamella.verify,
    "checksum": lamella.checksum,
    "status": lamella.status,
    "status of an image": lambda path: lamella.status(path).images[0],
    "status of an array": lambda path: lamella.status(path).images[0].levels[0],
    "upgrade": lambda path: lamella.upgrade(path, "0.6", path.parent / "new.zarr"),
    "rechunk": lambda path: lamella.rechunk(path, chunks=(1, 1, 1, 8, 8)),
    "convert": lambda path: lamella.convert(_tiff(path.parent / "a.tif"), path.parent / "a.zarr"),
    "map": lambda path: lamella.open_ome_zarr(path).map(lambda position: len(position.channel_names)),
}


def _tiff(path):
    tifffile.imwrite(path, np.ones((16, 16), "uint8"))
    return path


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_true_when_nothing_is_wrong_and_one_line_and_a_dictionary(name, path):
    report = REPORTS[name](path)
    assert bool(report) is True
    assert type(report).__name__ in repr(report)
    assert "\n" not in repr(report)
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


@pytest.mark.parametrize("name", ["verify", "status", "status of an image", "status of an array"])
def test_a_report_is_false_when_something_is_damaged(name, path):
    (chunk,) = (entry for entry in (path / "A/1/0/0/c").rglob("*") if entry.is_file())
    chunk.write_bytes(b"")
    assert bool(REPORTS[name](path)) is False


@pytest.mark.parametrize("name", ["validate", "repair"])
def test_a_report_is_false_when_metadata_stay_invalid(name, path):
    document = path / "A/1/0/zarr.json"
    document.write_text(
        document.read_text()
        .replace('"type":"scale"', '"type":"banana"')
        .replace('"type": "scale"', '"type": "banana"')
    )
    assert "banana" in document.read_text()
    assert bool(REPORTS[name](path)) is False
