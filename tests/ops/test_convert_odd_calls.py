"""Odd files, names and calls of ``convert``: each is converted, or refused in one line that names the whole path."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from tests.formats.small_screens import write_imagexpress

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with one image."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("good.tif", np.arange(320, dtype="uint16").reshape(16, 20))
    return tmp_path


ENDINGS = [
    *(
        ".tif",
        ".ome.tif",
        ".stk",
        ".lsm",
        ".svs",
        ".companion.ome",
        ".nd",
        ".mlf",
        ".htd",
        ".xml",
        ".idx.xml",
    ),
    *(".h5", ".png", ".xyz", ""),
]
"""Endings of readers that need tifffile only, and of no reader."""


@pytest.mark.parametrize("content", [b"", b"hello, this is no image\n" * 50], ids=["empty", "text"])
def test_a_file_that_is_no_image_is_refused_with_its_whole_path(folder: Path, content: bytes) -> None:
    for ending in ENDINGS:
        (folder / f"odd{ending}").write_bytes(content)
        with pytest.raises(SourceError) as raised:
            lamella.convert(f"odd{ending}", "out.zarr")
        assert str(folder / f"odd{ending}") in str(raised.value)
        assert "\n" not in str(raised.value)
        (folder / f"odd{ending}").unlink()
        assert [path.name for path in folder.iterdir()] == ["good.tif"]


def test_files_with_a_well_and_files_without_are_refused_together(folder: Path) -> None:
    shutil.copy("good.tif", "B03_good.tif")
    with pytest.raises(SourceError, match=r"good.tif has no well, but .*B03_good.tif has one"):
        lamella.convert(
            ["good.tif", "B03_good.tif"], "out.zarr", well_regex=r"(?P<well>[A-P]\d\d)?.*(?P<z>\d)?"
        )


def test_a_table_that_names_two_files_by_one_entry_is_refused(folder: Path) -> None:
    for name in ("left", "right"):
        (folder / name).mkdir()
        shutil.copy("good.tif", folder / name / "a.tif")
    (folder / "tables").mkdir()
    table = folder / "tables" / "map.csv"
    table.write_text("file,well\na.tif,B03\n")
    for sources in (["left", "right"], ["left/a.tif", "right/a.tif"]):
        with pytest.raises(SourceError, match=r"line 2: .*left.*a\.tif.*right.*a\.tif"):
            lamella.convert(sources, "out.zarr", map_file=table)
    table.write_text("file,well\nright/a.tif,B03\n")
    (folder / "good.tif").unlink()
    assert lamella.convert(folder, "out.zarr", map_file=table, dry_run=True).images == 1


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names of files are Unicode there")
def test_a_file_name_that_is_no_text_is_read_and_stored_with_replaced_characters(folder: Path) -> None:
    shutil.copy("good.tif", b"a\xff.tif")
    lamella.convert(os.fsdecode(b"a\xff.tif"), "out.zarr")
    with lamella.open("out.zarr") as image:
        assert image.zattrs["lamella"]["source"] == "a\ufffd.tif"
        assert image.metadata.multiscales[0].name == "a\ufffd.tif"
    (folder / "plate").mkdir()
    for well in ("A01", "A02"):
        shutil.copy("good.tif", b"plate/" + well.encode() + b"_\xfe.tif")
    lamella.convert("plate", "plate.zarr", well_regex=r"(?P<well>A\d\d)")
    assert lamella.validate("plate.zarr")


def test_a_file_or_folder_that_is_named_twice_is_refused(folder: Path) -> None:
    (folder / "a").mkdir()
    shutil.copy("good.tif", "a/a.tif")
    for sources in (["good.tif", "good.tif"], ["good.tif", str(folder / "good.tif")], ["a", "./a"]):
        with pytest.raises(SourceError, match=r"is named twice"):
            lamella.convert(sources, "out.zarr")
    assert not (folder / "out.zarr").exists()


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    tifffile.imwrite("mine.tif", np.zeros((7, 9), "uint8"), compression="zlib")
    monkeypatch.setattr(tifffile.TiffFile, "__init__", lambda _, path, **rest: refuse(path))
    with pytest.raises(SourceError, match=r"mine\.tif cannot be read: Permission denied"):
        lamella.convert("mine.tif", "out.zarr")


def test_a_folder_that_may_not_be_listed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def protect(name: str) -> None:
        def refused(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: str | int) -> Any:
                if isinstance(path, str) and os.path.basename(path) == name:
                    raise PermissionError(errno.EACCES, "Permission denied", path)
                return function(path)

            return call

        for function in ("listdir", "scandir"):
            monkeypatch.setattr(os, function, refused(originals[function]))

    originals = {"listdir": os.listdir, "scandir": os.scandir}
    write_imagexpress(folder / "screen" / "plate")
    (folder / "screen" / "lost+found").mkdir()
    (folder / "below" / "run 1").mkdir(parents=True)
    (folder / "below" / "run 2").mkdir()
    shutil.copy("good.tif", "below/run 1")
    for source, name in (
        ("screen", "screen"),
        ("below", "below"),
        ("below", "run 2"),
        ("screen/plate", "ZStep_2"),
        ("screen/plate", "TimePoint_1"),
        ("screen", "plate"),
    ):
        protect(name)
        with pytest.raises(SourceError, match=rf"{name} cannot be listed: Permission denied\. Change"):
            lamella.convert(source, "out.zarr")
        assert not (folder / "out.zarr").exists()
    protect("lost+found")
    report = lamella.convert("screen", "out.zarr")
    assert report.images == 4
    assert any("lost+found cannot be listed: Permission denied" in note for note in report.notes)
    (folder / "below" / "lost+found").mkdir()
    assert lamella.convert("below", "below.zarr").images == 1


def test_files_that_no_name_of_a_layout_fits_are_refused_with_an_example(folder: Path) -> None:
    shutil.copytree(".", "files")
    with pytest.raises(SourceError) as raised:
        lamella.convert("files", "out.zarr", layout="scanr")
    assert "A1--W00001--P00001--Z00000--T00000--DAPI.tif" in str(raised.value)
    assert str(folder / "files" / "good.tif") in str(raised.value)
    assert "?P<" not in str(raised.value)


@pytest.mark.parametrize(
    "option", [["--stop-file", "x"], ["--idle", "3"], ["--settle", "1"], ["--files-per-position", "2"]]
)
def test_an_option_of_watch_without_it_is_refused(folder: Path, option: list[str]) -> None:
    run = CliRunner().invoke(main, ["convert", "good.tif", "out.zarr", *option])
    assert run.exit_code == 2
    assert f"{option[0]} needs --watch" in run.stderr
    assert not (folder / "out.zarr").exists()


def test_numbers_of_numpy_are_numbers_and_others_are_refused(folder: Path) -> None:
    report = lamella.convert(
        "good.tif",
        "out.zarr",
        series=np.int64(0),
        levels=np.int64(2),
        pixel_size=np.float32(0.5),
        dry_run=True,
    )
    assert report.to_dict()["positions"][0]["scale"] == {"y": 0.5, "x": 0.5}
    for options in ({"levels": True}, {"series": True}, {"series": 1.0}, {"levels": 1.5}):
        with pytest.raises(InvalidArgumentError):
            lamella.convert("good.tif", "out.zarr", **options)  # type: ignore[arg-type]
    for options in ({"files_per_position": 0}, {"files_per_position": 1.5}, {"idle": "1"}, {"settle": True}):
        with pytest.raises(InvalidArgumentError):
            lamella.watch(folder, "plate.zarr", well_regex="(?P<well>A1)", stop_file="good.tif", **options)  # type: ignore[arg-type]


def test_numbers_agree_with_their_nouns(folder: Path) -> None:
    with pytest.raises(SourceError, match="contains 1 image: there is no image 5"):
        lamella.convert("good.tif", "out.zarr", series=5)
    with pytest.raises(SourceError, match="none of 1 file name,"):
        lamella.convert("good.tif", "out.zarr", well_regex="(?P<well>Z1)")
    (folder / "map.csv").write_text("file,well\ngood.tif\n")
    with pytest.raises(SourceError, match="has 1 cell,"):
        lamella.convert([], "out.zarr", map_file="map.csv")
    (folder / "map.csv").write_text(
        "file,well,z,channel\ngood.tif,A1,0,a\ngood.tif,A1,1,a\ngood.tif,A1,0,b\n"
    )
    notes = lamella.convert([], "out.zarr", map_file="map.csv").notes
    assert any(
        note.startswith("1 combination of channel, z and t has no file and is zeros") for note in notes
    )


@pytest.mark.parametrize(
    "options", [{"axes": "tyx"}, {"axes": "xy"}, {"channel_names": ["a", "b"]}, {"dtype": "uint8"}]
)
def test_a_correction_that_does_not_fit_names_the_file(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises((SourceError, InvalidArgumentError)) as raised:
        lamella.convert("good.tif", "out.zarr", **options)  # type: ignore[arg-type]
    assert str(folder / "good.tif") in str(raised.value)
