"""What a reader guessed wrong can be corrected, in Python and on the command line, and what is incomplete be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

tifffile = pytest.importorskip("tifffile")
PIXELS = np.arange(3 * 4 * 32 * 40, dtype="f4").reshape(3, 4, 32, 40)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "stack.tif", PIXELS, photometric="minisblack", metadata=None)
    return tmp_path / "stack.tif"


def test_every_correction_reaches_the_store(tmp_path: Path) -> None:
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, PIXELS, metadata={"axes": "TZYX", "PhysicalSizeX": 9, "TimeIncrement": 7})
    ran = CliRunner().invoke(
        main,
        [
            "convert", str(path), str(tmp_path / "a.zarr"), "--axes", "zcyx", "--pixel-size", "0.5,0.2,0.1",
            "--unit", "nanometer", "--channel-names", "a,b,c,d", "--colors", "red,#00ff00,0000FF,FFFFFF",
            "--name", "mine", "--dtype", "uint16",
        ],
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    with lamella.open(tmp_path / "a.zarr") as position:
        assert position["0"].dtype == "uint16"
        assert_array_equal(position["0"][:], PIXELS.swapaxes(0, 1))
        assert position.scale == [1, 0.5, 0.2, 0.1]
        assert [axis.name for axis in position.axes] == ["c", "z", "y", "x"]
        assert {axis.unit for axis in position.axes[1:]} == {"nanometer"}
        assert position.channel_names == ["a", "b", "c", "d"]
        assert [each.color for each in position.metadata.omero.channels][:2] == ["FF0000", "00FF00"]
        assert position.metadata.multiscales[0].name == "mine"
    lamella.convert(path, tmp_path / "b.zarr", time_step=0.5)
    with lamella.open(tmp_path / "b.zarr") as position:
        assert position.scale == [0.5, 1, 1, 1, 9]


def test_axes_of_the_user_are_not_reported_as_a_guess(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "film.tif", PIXELS[0], photometric="minisblack", metadata=None)
    (guess,) = lamella.convert(tmp_path / "film.tif", tmp_path / "guessed.zarr").notes
    assert "was read as z" in guess
    assert lamella.convert(tmp_path / "film.tif", tmp_path / "film.zarr", axes="tyx").notes == ()
    assert lamella.open(tmp_path / "film.zarr").axes[0].name == "t"


def test_a_size_of_an_axis_that_no_image_has_is_noted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plane.tif", PIXELS[0, 0], metadata=None)
    report = lamella.convert(tmp_path / "plane.tif", tmp_path / "a.zarr", time_step=5, pixel_size=(2, 1, 1))
    assert report.notes == (
        "the z step 2 was not used: no image has an axis z",
        "the time step 5 was not used: no image has an axis t",
    )
    (note,) = lamella.convert(tmp_path / "plane.tif", tmp_path / "b.zarr", unit="nm").notes
    assert note.startswith("the unit nm was not used: no pixel size is known")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"axes": "yxq"}, InvalidArgumentError, "letters"),
        ({"axes": "tzyx"}, SourceError, "name 4 axes"),
        ({"pixel_size": -1}, InvalidArgumentError, "above 0"),
        ({"pixel_size": 1e-320}, InvalidArgumentError, "from 1e-150 to 1e"),
        ({"unit": "furlong"}, InvalidArgumentError, "unit of space"),
        ({"channel_names": ["a", "b"]}, InvalidArgumentError, "1 channel, but 2 names"),
        ({"channel_names": "a,b"}, InvalidArgumentError, "not a list of one text"),
        ({"colors": ["gren"]}, InvalidArgumentError, "hex digits .* Did you mean 'green'"),
        ({"dtype": "uint8"}, SourceError, "not all uint8"),
        ({"dtype": "complex64"}, InvalidArgumentError, "type of numbers"),
    ],
)
def test_a_correction_that_does_not_fit_is_refused(
    stack: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lamella.convert(stack, tmp_path / "a.zarr", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["stack.tif"]


@pytest.mark.parametrize(
    ("values", "dtype", "is_kept"),
    [
        (np.array([-1, 0, 1], "i2"), "uint16", False),
        (np.array([0, 60_000], "u2"), "int16", False),
        (np.array([-1, 1], "i1"), "uint64", False),
        (np.array([0, 2049], "u2"), "float16", False),
        (np.array([0, 65_535], "u2"), "float16", False),
        (np.array([0, 2**24 + 1], "u4"), "float32", False),
        (np.array([1.0, 1e300], "f8"), "float32", False),
        (np.array([0.1, np.inf, np.nan], "f8"), "float32", True),
        (np.array([0, 65_535], "u2"), "float32", True),
        (np.array([-5, 7], "i2"), "int32", True),
        (np.array([0, 40_000], "u2"), "int32", True),
        (np.array([0, 1 + 1j], "c8"), "float32", False),
    ],
)
def test_a_dtype_that_cannot_represent_every_value_is_refused(
    tmp_path: Path, values: np.ndarray, dtype: str, is_kept: bool
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.resize(values, (8, 8)), photometric="minisblack")
    if not is_kept:
        with pytest.raises(SourceError, match=f"not all {dtype}"):
            lamella.convert(tmp_path / "a.tif", tmp_path / "a.zarr", dtype=dtype)
        return
    lamella.convert(tmp_path / "a.tif", tmp_path / "a.zarr", dtype=dtype)
    with lamella.open(tmp_path / "a.zarr") as position:
        assert np.array_equal(
            np.ravel(position["0"][:])[: len(values)],
            values.astype(dtype),
            equal_nan=values.dtype.kind == "f",
        )


@pytest.mark.parametrize("is_compressed", [False, True])
def test_what_is_left_of_a_truncated_file_is_read_if_asked(tmp_path: Path, is_compressed: bool) -> None:
    path = tmp_path / "cut.ome.tif"
    options: dict[str, Any] = {"compression": "zlib"} if is_compressed else {}
    tifffile.imwrite(path, PIXELS[0], metadata={"axes": "ZYX"}, photometric="minisblack", **options)
    with open(path, "rb+") as file:
        file.truncate(int(path.stat().st_size * 0.6))
    with pytest.raises(SourceError, match=r"truncated|incomplete"):
        lamella.convert(path, tmp_path / "a.zarr")
    report = lamella.convert(path, tmp_path / "a.zarr", take_what_is_there=True)
    assert any("zeros" in note or "incomplete" in note for note in report.notes)
    with lamella.open(tmp_path / "a.zarr") as position:
        pixels = position["0"][:].reshape(-1, 32, 40)
    there = [np.array_equal(plane, whole) for plane, whole in zip(pixels, PIXELS[0], strict=False)]
    assert 1 <= sum(there) < 4
