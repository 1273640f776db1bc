"""Odd calls of ``export`` are refused before anything is written, or do what they say."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, StorageError, WrongTypeError

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 64, 90), "uint16")


@pytest.fixture
def image(tmp_path: Path) -> lamella.Position:
    position: lamella.Position = lamella.write_image(
        tmp_path / "a.zarr", PIXELS, "cyx", channels=["DAPI", "GFP"]
    )
    return position


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a.ome.tif", {"format": "png"}, "ends with .ome.tif, which is not an ending of png"),
        ("a.png", {"format": "ome-tiff"}, "ends with .png, which is not an ending of ome-tiff"),
        ("a.ome.tif", {"format": "imagej"}, "ends with .ome.tif, which is not an ending of imagej"),
        ("a.ome.tif", {"channels": ["GFP", "DAPI", "GFP"]}, "'GFP' is named twice"),
        ("a.ome.tif", {"channels": []}, "No channel is named"),
        ("x" * 248 + ".ome.tif", {}, "allows names of 255 bytes"),
    ],
)
def test_an_odd_call_is_refused_and_nothing_is_written(
    image: lamella.Position, tmp_path: Path, name: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        lamella.export(image, tmp_path / name, **options)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_rows_and_wells_are_refused_with_what_can_be_exported(tmp_path: Path) -> None:
    plate = lamella.open(tmp_path / "p.zarr", "w", layout="hcs", channel_names=["DAPI"])
    plate.create_position("A", "1", "0")
    for name, kind in (("A", "row"), ("A/1", "well")):
        for source in (plate[name], tmp_path / "p.zarr" / name):
            with pytest.raises(
                WrongTypeError, match=rf"p\.zarr/{name} is a {kind}, .* export an image, a plate"
            ):
                lamella.export(source, tmp_path / "out")


def test_an_ome_tiff_may_be_named_tif(image: lamella.Position, tmp_path: Path) -> None:
    (file,) = lamella.export(image, tmp_path / "a.tif", format="ome-tiff")
    lamella.convert(file, tmp_path / "b.zarr")
    np.testing.assert_array_equal(lamella.open(tmp_path / "b.zarr")["0"][...], PIXELS)


def test_fields_without_an_image_are_left_out_and_long_names_refused_before_the_first_file(
    tmp_path: Path,
) -> None:
    plate = lamella.open(tmp_path / "p.zarr", "w", layout="hcs", channel_names=["DAPI", "x" * 250])
    plate.create_position("A", "1", "0").create_image("0", PIXELS[None, :, None])
    plate.create_position("A", "2", "0")
    with pytest.raises(InvalidArgumentError, match="rename the channel"):
        lamella.export(plate, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["p.zarr"]
    (file,) = lamella.export(plate, tmp_path / "out", channels=["DAPI"])
    assert file == str(tmp_path / "out" / "A1_f0_DAPI.ome.tif")
    empty = lamella.open(tmp_path / "e.zarr", "w", layout="hcs", channel_names=["DAPI"])
    empty.create_position("A", "2", "0")
    with pytest.raises(InvalidArgumentError, match="has no image yet"):
        lamella.export(empty, tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit of files on this system")
def test_an_image_that_a_full_disk_has_no_room_for_leaves_nothing(
    image: lamella.Position, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            lamella.export(image, tmp_path / "a.ome.tif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
