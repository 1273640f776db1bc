"""Plates out of the names that instruments give their files, named or recognised, and what a dry run says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from tests.formats.small_screens import pixels, planes, write_opera

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, SourceError
from lamella.ops.conversion.file_layouts import LAYOUTS

if TYPE_CHECKING:
    from pathlib import Path

NAMES = {
    "operetta": ("r02c05f01p03-ch2sk1fk1fl1.tiff", "B/05/01", "2"),
    "imagexpress": (
        "TimePoint_1/ZStep_3/p_AB03_s2_w1EADF08BD-3BFB-44F3-8214-24B191F3D15C.TIF",
        "AB/03/2",
        "1",
    ),
    "cellvoyager": ("plate_C07_T0001F003L01A02Z04C02.tif", "C/07/003", "02"),
    "incell": ("D - 12(fld 3 wv DAPI - DAPI z 2 time 4 - 1000 ms).tif", "D/12/3", "DAPI - DAPI"),
    "scanr": ("A1--W00001--P00002--Z00003--T00004--488nm.tif", "A/1/00002", "488nm"),
    "cellomics": ("AS_09047_050428030001_O14f01d2.TIF", "O/14/01", "2"),
    "lamella": ("AB3_f0_DAPI.ome.tif", "AB/3/0", "DAPI"),
}


def test_each_layout_places_its_names_and_those_of_no_other() -> None:
    assert [layout.name for layout in LAYOUTS] == list(NAMES)
    for layout in LAYOUTS:
        name, path, channel = NAMES[layout.name]
        for each in (name, layout.example):
            (placed,), unmatched = layout.place([each], {each: each})
            assert not unmatched
        (placed,), _ = layout.place([name], {name: name})
        assert (placed.placement.path, placed.placement.channel) == (path, channel)
        for other, (strange, _, _) in NAMES.items():
            if other != layout.name:
                with pytest.raises(SourceError, match="has a name of"):
                    layout.place([strange], {strange: strange})


def test_each_layout_makes_a_plate_of_its_files(tmp_path: Path) -> None:
    for number, (layout, (name, path, _)) in enumerate(NAMES.items()):
        folder = tmp_path / layout
        (folder / name).parent.mkdir(parents=True)
        tifffile.imwrite(folder / name, np.full((8, 9), number, "uint16"))
        (folder / "notes.txt").touch()
        store = tmp_path / f"{layout}.zarr"
        command = ["convert", "--layout", layout, str(folder), str(store)]
        shown = CliRunner().invoke(main, [*command, "--dry-run"])
        assert shown.exit_code == 0, shown.output
        well, _, field = path.rpartition("/")
        assert shown.stdout.endswith(f"{well}: 1 field ({field}), 1 file\n")
        assert not store.exists()
        assert CliRunner().invoke(main, command).exit_code == 0
        with lamella.open_ome_zarr(store) as plate:
            assert_array_equal(plate[path]["0"][...].squeeze(), np.full((8, 9), number))


def write_scanr(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, well in enumerate(("A1", "B2")):
        for z in (0, 1):
            for channel in ("DAPI", "GFP"):
                name = f"{well}--W{number + 1:05}--P00001--Z{z:05}--T00000--{channel}.tif"
                tifffile.imwrite(folder / name, np.full((8, 9), 10 * number + z, "uint16"))
    return folder


def test_a_layout_is_recognised_also_in_folders_below(tmp_path: Path) -> None:
    write_scanr(tmp_path / "screen" / "data")
    report = lamella.convert(tmp_path / "screen", tmp_path / "plate.zarr")
    assert (report.layout, report.images, report.planes) == ("hcs", 2, 8)
    assert report.notes == (
        f"{tmp_path}/screen: its files were placed as those of ScanR (--layout scanr), by their names",
    )
    with lamella.open_ome_zarr(tmp_path / "plate.zarr") as plate:
        assert plate.channel_names == ["DAPI", "GFP"]
        assert_array_equal(plate["B/2/00001"].data[0, 0, 1], np.full((8, 9), 11))


def test_a_named_layout_leaves_other_files_out(tmp_path: Path) -> None:
    folder = write_scanr(tmp_path / "screen")
    tifffile.imwrite(folder / "overview.tif", np.zeros((4, 4), "uint8"))
    report = lamella.convert(folder, tmp_path / "plate.zarr", layout="scanr")
    assert report.notes == ("1 file was left out: ScanR does not name files like overview.tif",)
    with pytest.raises(SourceError, match=r"None of 9 files, such as .* has a name of InCell"):
        lamella.convert(folder, tmp_path / "other.zarr", layout="incell")
    with pytest.raises(InvalidArgumentError, match="There is no layout 'phenix': the layouts are operetta,"):
        lamella.convert(folder, tmp_path / "other.zarr", layout="phenix")
    with pytest.raises(InvalidArgumentError, match="Use one of"):
        lamella.convert(folder, tmp_path / "other.zarr", layout="scanr", well_regex="(?P<well>A1)")


def test_a_layout_reads_the_index_if_there_is_one_else_the_names(tmp_path: Path) -> None:
    folder = write_opera(tmp_path / "screen")
    by_index = lamella.convert(folder, tmp_path / "index.zarr", layout="operetta")
    (folder / "Index.idx.xml").unlink()
    by_name = lamella.convert(folder, tmp_path / "names.zarr", layout="operetta")
    assert by_index.planes == by_name.planes == 48
    with lamella.open_ome_zarr(tmp_path / "names.zarr") as plate:
        for well, field, channel, z, t in planes():
            data = plate[f"{well}/{field:02}"].data
            assert_array_equal(data[t - 1, channel - 1, z - 1], pixels(well, field, channel, z, t))


def test_images_in_folders_below_of_unknown_names_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.tif", "b/2.tif"):
        (tmp_path / "screen" / name).parent.mkdir(parents=True)
        tifffile.imwrite(tmp_path / "screen" / name, np.zeros((4, 4), "uint8"))
    with pytest.raises(SourceError, match="contains images only in folders below it"):
        lamella.convert(tmp_path / "screen", tmp_path / "plate.zarr")


def test_a_dry_run_prints_the_plate_and_writes_nothing(tmp_path: Path) -> None:
    folder = write_scanr(tmp_path / "screen")
    (folder / "B2--W00002--P00001--Z00001--T00000--GFP.tif").unlink()
    result = CliRunner().invoke(main, ["convert", "--dry-run", str(folder), str(tmp_path / "plate.zarr")])
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"Would write {tmp_path}/plate.zarr: a plate of 2 images, 8 planes, 0.0 MB.\n"
        "channels: DAPI, GFP\nscale:    unknown\nfields:   t 1, c 2, z 2, y 8, x 9 uint16\n"
        "A/1: 1 field (00001), 4 files\nB/2: 1 field (00001), 3 files\n"
    )
    assert "B/2/00001 (channel GFP, t 0, z 1)" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["screen"]
    report = lamella.convert(folder, tmp_path / "plate.zarr", dry_run=True)
    assert (report.dry_run, report.levels, [image.path for image in report.positions]) == (
        True,
        0,
        ["A/1/00001", "B/2/00001"],
    )
    seen: list[tuple[str, bool]] = []
    lamella.convert(
        folder,
        tmp_path / "plate.zarr",
        on_note=lambda note: seen.append((note, any(tmp_path.glob("*plate.zarr*")))),
    )
    assert [note for note, _ in seen] == list(report.notes)
