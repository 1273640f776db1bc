"""Every report is true when nothing is wrong, and false otherwise."""

from __future__ import annotations

import numpy as np
import pytest

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
    "status": lamella.status,
    "status of an image": lambda path: lamella.status(path).images[0],
    "status of an array": lambda path: lamella.status(path).images[0].levels[0],
    "upgrade": lambda path: lamella.upgrade(path, "0.6", path.parent / "new.zarr"),
    "rechunk": lambda path: lamella.rechunk(path, chunks=(1, 1, 1, 8, 8)),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_true_when_nothing_is_wrong(name, path):
    assert bool(REPORTS[name](path)) is True


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
