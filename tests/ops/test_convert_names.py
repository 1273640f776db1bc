"""What the names of files say is what the store holds: signs, order of columns, and no stack where there is none."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.array_source import ArraySource

from lamella.errors import SourceError
from lamella.nodes.open import open_ome_zarr
from lamella.ops.conversion.convert import convert

if TYPE_CHECKING:
    from pathlib import Path


def plane(*key: int) -> np.ndarray:
    return np.full((4, 5), sum(n * 10**i for i, n in enumerate(reversed(key))), "uint16")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "image.zarr"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


def ready_pattern(folder: Path, store: Path) -> str:
    """Return the pattern that the refusal of a folder proposes."""
    with pytest.raises(SourceError, match="not one stack") as caught:
        convert(folder, store)
    assert not store.exists()
    message = str(caught.value)
    assert str(folder) in message
    words = shlex.split(message[message.index("--well-regex") :])
    return words[1]


# -- signs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["pattern", "table", "folder"])
def test_z_keeps_its_sign(folder: Path, store: Path, way: str) -> None:
    for z in (-2, -1, 0, 1, 2):
        tifffile.imwrite(folder / f"img_z{z}.tif", np.full((4, 5), 100 + z, "uint16"))
    if way == "pattern":
        convert(folder, store, well_regex=r"_z(?P<z>-?\d+)")
    elif way == "folder":
        convert(folder, store)
    else:
        lines = [f"img_z{z}.tif,A,1,0,{z}" for z in (1, -1, 2, 0, -2)]
        (folder / "map.csv").write_text("\n".join(["file,row,column,field,z", *lines]))
        convert(folder, store, map_file=folder / "map.csv")
    with open_ome_zarr(store) as node:
        position = node["A/1/0"] if way == "table" else node
        assert position.data[0, :, 0, 0].tolist() == [98, 99, 100, 101, 102]


def test_a_hyphen_that_may_be_a_sign_is_refused(folder: Path, store: Path) -> None:
    for z in (1, 2):
        tifffile.imwrite(folder / f"img_z-{z}.tif", plane(z))
    with pytest.raises(SourceError, match=r"'z-1' may be 1 or -1 along z: .*\(\?P<z>-\?\\d\+\)"):
        convert(folder, store, well_regex=r"_(?P<z>z-\d+)")
    convert(folder, store)  # every name has it: what all have in common separates
    with open_ome_zarr(store) as position:
        assert position.data[0, :, 0, 0].tolist() == [1, 2]


# -- plates -----------------------------------------------------------------------------------------------------


def test_rows_and_columns_of_a_plate_are_in_natural_order(store: Path, version: Any) -> None:
    wells = ["A10", "A2", "B1", "AA3", "Z12"]
    sources = [ArraySource(plane(n), "yx", name=well) for n, well in enumerate(wells)]
    convert(sources, store, well_regex=r"(?P<row>[A-Z]+)(?P<col>\d+)", version=version)
    with open_ome_zarr(store) as plate:
        assert [row.name for row in plate.metadata.rows] == ["A", "B", "Z", "AA"]
        assert [column.name for column in plate.metadata.columns] == ["1", "2", "3", "10", "12"]
        assert [path for path, _ in plate.positions()] == ["A/2/0", "A/10/0", "B/1/0", "Z/12/0", "AA/3/0"]
        for well in plate.metadata.wells:
            row, column = well.path.split("/")
            assert plate.metadata.rows[well.row_index].name == row
            assert plate.metadata.columns[well.column_index].name == column
        for number, well in enumerate(wells):
            row, column = re.findall(r"[A-Z]+|\d+", well)
            assert_array_equal(plate[f"{row}/{column}/0"].data[0], plane(number))


# -- folders ----------------------------------------------------------------------------------------------------


def test_a_folder_of_times_and_depths_is_no_stack_and_the_pattern_is_ready(folder: Path, store: Path) -> None:
    for t, z in itertools.product((1, 2), (8, 9, 10)):
        tifffile.imwrite(folder / f"scan_t{t}_z{z}.tif", plane(t, z))
    convert(folder, store, well_regex=ready_pattern(folder, store))
    with open_ome_zarr(store) as position:
        assert position.data[:, 0, :, 0, 0].tolist() == [[18, 19, 20], [28, 29, 30]]


def test_channels_by_words_are_told_from_depths(folder: Path, store: Path) -> None:
    for (n, name), z in itertools.product(enumerate(["DAPI", "GFP"]), (0, 1, 2)):
        tifffile.imwrite(folder / f"cell 3 {name} {z:02}.tif", plane(n, z))
    convert(folder, store, well_regex=ready_pattern(folder, store))
    with open_ome_zarr(store) as position:
        assert position.channel_names == ["DAPI", "GFP"]
        assert position.data[:, :, 0, 0].tolist() == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize("wells", [["A01", "B12"], ["C07"]])
def test_wells_and_fields_in_names_are_a_plate(folder: Path, store: Path, wells: list[str]) -> None:
    for (n, well), site, w in itertools.product(enumerate(wells), (1, 2), (1, 2)):
        tifffile.imwrite(folder / f"run7_{well}_site{site}_w{w}.tif", plane(n, site, w))
    convert(folder, store, well_regex=ready_pattern(folder, store))
    with open_ome_zarr(store) as plate:
        assert len(dict(plate.positions())) == 2 * len(wells)
        for (n, well), site in itertools.product(enumerate(wells), (1, 2)):
            assert_array_equal(
                plate[f"{well[0]}/{well[1:]}/{site}"].data[:, 0, 0], [100 * n + 10 * site + w for w in (1, 2)]
            )


def test_fields_without_wells_are_refused_without_a_guess(folder: Path, store: Path) -> None:
    for site, z in itertools.product((1, 2), (1, 2)):
        tifffile.imwrite(folder / f"site{site}_z{z}.tif", plane(site, z))
    with pytest.raises(
        SourceError, match=r"differ in 2 parts \(site 1 to 2, z 1 to 2\).*--well-regex or --map"
    ):
        convert(folder, store)


def test_numbers_that_count_together_are_one_stack(folder: Path, store: Path) -> None:
    for n in range(12):
        tifffile.imwrite(folder / f"{n}_2026030{1 + n // 6}_{1000 + n}.tif", plane(n))
    pattern = ready_pattern(folder, store)  # the day does not count with the frame
    assert "(?P<z>" in pattern
    for file in folder.iterdir():
        file.unlink()
    for n in range(12):
        tifffile.imwrite(folder / f"frame{n}_at_{1000 + 7 * n}ms.tif", plane(n))
    convert(folder, store)
    with open_ome_zarr(store) as position:
        assert position.data[0, :, 0, 0].tolist() == list(range(12))


def test_images_of_several_files_in_one_folder_are_not_stacked_twice(folder: Path, store: Path) -> None:
    for name in ("1", "2"):
        write_multi_file(folder, name)
    with pytest.raises(
        SourceError, match=r"1_0\.ome\.tif is one of the 2 files of one OME-TIFF, and .*convert it alone"
    ):
        convert(folder, store)
    convert(folder / "2_0.ome.tif", store)
    with open_ome_zarr(store) as position:
        assert position.data.shape == (1, 2, 4, 5)


def write_multi_file(folder: Path, name: str) -> None:
    """Write one OME-TIFF of two planes in two files."""
    names = [f"{name}_{z}.ome.tif" for z in range(2)]
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{file}">urn:uuid:{name}{z}</UUID></TiffData>'
        for z, file in enumerate(names)
    )
    for z, file in enumerate(names):
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{name}{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="5" SizeY="4" SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(folder / file, plane(z), description=xml.encode(), metadata=None)


@given(
    numbers=st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True),
    width=st.integers(1, 3),
)
@settings(max_examples=15)
def test_a_stack_is_in_the_order_of_its_numbers(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], width: int
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    if all(n < 0 for n in numbers):
        numbers = [-n for n in numbers]  # a hyphen in all names separates
    for n in numbers:
        tifffile.imwrite(
            folder / f"z{'-' if n < 0 else ''}{abs(n):0{width}}.tif", np.full((2, 2), n, "int16")
        )
    convert(folder, folder / "a.zarr")
    with open_ome_zarr(folder / "a.zarr") as position:
        assert position.data[0, :, 0, 0].tolist() == sorted(numbers)


COUNTED = {
    "t": ("img_t{:03}", "t"),
    "T": ("T{}_final", "t"),
    "time": ("time {}", "t"),
    "frame": ("frame_{}", "z"),
    "z": ("img_z{}", "z"),
    "slice": ("slice{:02}", "z"),
    "c": ("exp c{}", "c"),
    "ch": ("ch{:02}_x", "c"),
    "w": ("exp_w{}", "c"),
    "": ("img_{:04}", "z"),
    "cell": ("cell{}", "z"),
}


@pytest.mark.parametrize("word", COUNTED)
def test_the_word_before_the_number_says_along_what_files_are_stacked(tmp_path, word):
    pattern, axis = COUNTED[word]
    (tmp_path / "in").mkdir()
    for number in (1, 2, 10):
        file = tmp_path / "in" / f"{pattern.format(number)}.tif"
        tifffile.imwrite(file, np.full((8, 10), number, "uint16"), metadata=None)
    report = convert(tmp_path / "in", tmp_path / "out.zarr")
    assert any(f"its 3 files were stacked along {axis}" in note for note in report.notes)
    assert report.notes[-1].startswith(f"no file has the numbers 3 to 9 along {axis}: ")
    with open_ome_zarr(tmp_path / "out.zarr") as position:
        lengths = dict(zip(position.axis_names, position.data.shape, strict=True))
        assert lengths == {"c": 1, "y": 8, "x": 10} | {axis: 3}
        assert np.unique(position.data[...]).tolist() == [1, 2, 10]
        assert position.data[...].reshape(3, 80)[:, 0].tolist() == [1, 2, 10]


@pytest.mark.parametrize("numbers", [(405, 488, 561), (120000, 120013, 120027, 120041), (0, 5, 10), (3, 9)])
def test_numbers_that_do_not_count_files_are_not_said_to_be_missing(tmp_path, numbers):
    (tmp_path / "in").mkdir()
    for number in numbers:
        tifffile.imwrite(tmp_path / "in" / f"ch{number}.tif", np.zeros((8, 10), "uint16"), metadata=None)
    report = convert(tmp_path / "in", tmp_path / "out.zarr")
    assert not any("no file has" in note for note in report.notes)


def test_files_stacked_along_c_keep_what_they_state_about_their_channels(folder: Path, store: Path) -> None:
    for number, name in enumerate(["DAPI", "GFP"]):
        channel = {"Name": [name], "EmissionWavelength": [450 + number]}
        tifffile.imwrite(
            folder / f"ch{number}.ome.tif", plane(number)[None], metadata={"axes": "CYX", "Channel": channel}
        )
    convert(folder, store)
    with open_ome_zarr(store) as position:
        assert position.channel_names == ["DAPI", "GFP"]
        settings = position.zattrs["lamella"]["channels"]
        assert [channel["emission"] for channel in settings] == [450, 451]


REFUSED = {
    "fields": (["s1", "s2"], "count fields .s 1 to 2"),
    "positions": (["Pos0", "Pos1"], "count fields"),
    "wells": (["A01", "B01", "A02", "B02"], "well-regex"),
    "columns": (["x_B01", "x_B02"], r"count wells .*--well-regex '\^x_"),
    "dyes": (["a_DAPI", "a_GFP"], r"count dyes .*--well-regex '\^a_\(\?P<channel>"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_fields_wells_and_dyes_are_no_stack(tmp_path, case):
    names, match = REFUSED[case]
    (tmp_path / "in").mkdir()
    for name in names:
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", np.zeros((8, 10), "uint16"), metadata=None)
    with pytest.raises(SourceError, match=match) as caught:
        convert(tmp_path / "in", tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    if "--well-regex '" in str(caught.value):
        pattern = str(caught.value).partition("--well-regex '")[2].partition("' ")[0]
        convert(tmp_path / "in", tmp_path / "out.zarr", well_regex=pattern)


def test_files_that_have_the_axis_of_their_names_already_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(2):
        tifffile.imwrite(
            tmp_path / "in" / f"z{number}.tif",
            np.zeros((3, 8, 10), "uint16"),
            imagej=True,
            metadata={"axes": "ZYX"},
        )
    with pytest.raises(SourceError, match="have z already"):
        convert(tmp_path / "in", tmp_path / "out.zarr")
