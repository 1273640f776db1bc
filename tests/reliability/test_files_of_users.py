"""Law: a writer removes temporary files of lamella and TensorStore, and never a file that a user made."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella.store.keys import is_private

NAMES = [
    "download.partial",
    "movie.tif.partial",
    "0.partial",
    "results.__lock",
    "my_notes_5a.__lock",
    ".__lock",
    ".partial",
    ".lamella-notes.tmp",
    ".lamella-analysis-2026-x.tmp",
    ".lamella-mine.deleted",
    ".lamella-0123-5-a.deleted",
    "zarr.json.bak.__lock",
    "0.0_xyz.__lock",
    "zarr.0123456789abcdef0123456789abcdef.partial",
]


def write_everywhere(path):
    """Write into each folder of a plate, as a later writer does."""
    plate = lamella.open_ome_zarr(path, mode="r+")
    position = plate.create_position("A", "2", "0")
    position.create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    plate["A/1/0"]["0"][:] = 2
    plate["A/1/0"].zattrs["key"] = 1
    plate.zattrs["key"] = 1
    lamella.open_ome_zarr(path.parent / "other.zarr", layout="fov", mode="a", channel_names=["a"])


@pytest.fixture
def plate_path(tmp_path):
    path = tmp_path / "plate.zarr"
    plate = lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version="0.5")
    plate.create_position("A", "1", "0").create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    return path


def test_files_of_users_with_odd_endings_stay_however_old_they_are(plate_path):
    folders = [
        plate_path.parent,
        plate_path,
        plate_path / "A/1",
        plate_path / "A/1/0",
        plate_path / "A/1/0/0",
    ]
    made = [folder / name for folder in folders for name in NAMES]
    for file in made:
        file.write_bytes(b"data of a user")
        os.utime(file, (0, 0))
    write_everywhere(plate_path)
    assert [file for file in made if not file.exists()] == []


def test_what_killed_writers_left_goes(plate_path):
    folder = plate_path / "A/1/0/0"
    left = [
        folder / name
        for name in (
            "zarr.json_15f1a44d038bbe61.__lock",
            "0.0_5a.__lock",
            "c.__lock",
            ".lamella-0123abcd-5-a.tmp",
        )
    ]
    for file in left:
        file.write_bytes(b"half of a file")
        os.utime(file, (0, 0))
    lamella.open_ome_zarr(plate_path, mode="r+")["A/1/0"]["0"][:] = 2
    write_everywhere(plate_path)
    lamella.open_ome_zarr(plate_path, mode="r+").documents.storage.sweep("A/1/0/0")
    assert [file for file in left if file.exists()] == []


def test_a_group_whose_name_ends_so_is_a_member(plate_path):
    plate = lamella.open_ome_zarr(plate_path, mode="r+")
    plate.zgroup.create_group("notes.partial")
    assert "notes.partial" in lamella.open_ome_zarr(plate_path).documents.children("")


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\\\x00"), min_size=1, max_size=20))
def test_a_name_that_holds_a_letter_beyond_hexadecimal_is_of_no_engine(stem):
    stem = f"x{stem}"
    assert not is_private(f"{stem}.__lock")
    assert not is_private(f"{stem}.partial") or len(stem) > 32
