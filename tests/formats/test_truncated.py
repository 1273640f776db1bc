"""What ``--take-what-is-there`` reads of truncated files, and what it says of formats read only if complete."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.formats.samples import DATA

import lamella
from lamella.adapters.formats import choose_formats
from lamella.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path


def truncated(path: str, folder: Path, part: float) -> Path:
    """Copy a file of the samples, and cut the copy."""
    copy = folder / path.rpartition("/")[2]
    shutil.copy(DATA / path, copy)
    os.truncate(copy, int(copy.stat().st_size * part))
    return copy


@pytest.mark.parametrize("name", ["generated_mrc.dv", "EMD-3197.map", "cluster.nd2"])
def test_the_refusal_of_a_truncated_file_says_that_what_is_there_cannot_be_read(
    tmp_path: Path, name: str
) -> None:
    path = truncated(name, tmp_path, 0.6)
    reader = choose_formats().find(str(path))
    assert reader is not None
    if reader.missing:
        pytest.skip(f"needs {', '.join(reader.missing)}: make test-formats")
    with pytest.raises(SourceError) as plain:
        lamella.convert(path, tmp_path / "a.zarr")
    with pytest.raises(SourceError) as raised:
        lamella.convert(path, tmp_path / "a.zarr", take_what_is_there=True)
    assert "--take-what-is-there" not in str(plain.value)
    assert str(raised.value) == (
        f"{plain.value} Passing --take-what-is-there cannot help: {reader.title} is read only from complete files."
    )
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [path]


def planes(store: Path) -> np.ndarray:
    with lamella.open(store) as image:
        return np.reshape(image["0"][:], (-1, *image["0"].shape[-2:]))


@pytest.mark.parametrize(
    ("folder", "file", "count"),
    [
        ("mmstack/onepos", "exp_1_MMStack_Pos0.ome.tif", 13),
        ("ndtiff/12_bit_pycromanager_mda", "12_bit_pycromanager_mda_NDTiffStack.tif", 5),
    ],
)
def test_a_truncated_stack_of_micro_manager_is_read_as_far_as_it_goes(
    tmp_path: Path, folder: str, file: str, count: int
) -> None:
    source = shutil.copytree(DATA / folder, tmp_path / "stack")
    path = source if "ndtiff" in folder else source / file
    lamella.convert(path, tmp_path / "whole.zarr")
    os.truncate(source / file, int((source / file).stat().st_size * 0.6))
    with pytest.raises(SourceError, match="incomplete"):
        lamella.convert(path, tmp_path / "a.zarr")
    report = lamella.convert(path, tmp_path / "a.zarr", take_what_is_there=True)
    whole, found = planes(tmp_path / "whole.zarr"), planes(tmp_path / "a.zarr")
    is_there = [bool(np.any(plane)) for plane in found]
    assert sum(is_there) == count
    np.testing.assert_array_equal(found[is_there], whole[is_there])
    assert any(
        f"{len(found) - count} of its {len(found)} planes are missing" in note for note in report.notes
    )


def test_frames_that_a_truncated_scanimage_file_lacks_are_noted(tmp_path: Path) -> None:
    path = truncated("tiff/generated_scanimage.tif", tmp_path, 0.6)
    report = lamella.convert(path, tmp_path / "a.zarr", take_what_is_there=True)
    assert any("it is incomplete: invalid page offset" in note for note in report.notes)
