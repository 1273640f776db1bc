"""Plates out of files: by a pattern over their names, by a table, or by what OME metadata say."""

from __future__ import annotations

import itertools
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.array_source import ArraySource

from lamella.errors import InvalidArgumentError, SourceError
from lamella.nodes.open import open_ome_zarr
from lamella.ops.conversion.combine import CombinedSource, Member, number_axis
from lamella.ops.conversion.convert import convert
from lamella.ops.conversion.placement import place_by_regex
from lamella.store.files.local import LocalStorage

if TYPE_CHECKING:
    from pathlib import Path

PATTERN = r"^p_(?P<row>[A-P])(?P<col>\d+)_f(?P<field>\d+)_w(?P<channel>\w+)_z(?P<z>\d+)_t(?P<t>\d+)\.tif$"


def plane(*key: object, shape: tuple[int, int] = (20, 24), dtype: str = "uint16") -> np.ndarray:
    """Pixels that are different for every key."""
    seed = [ord(letter) for letter in "|".join(map(str, key))]
    return np.random.default_rng(seed).integers(0, 200, size=shape).astype(dtype)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "plate.zarr"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with 2 wells of 2 fields, 2 channels, 3 z, 2 t, one file each."""
    folder = tmp_path / "files"
    folder.mkdir()
    for key in itertools.product(["A01", "B12"], [0, 1], ["DAPI", "GFP"], [1, 2, 3], [0, 1]):
        well, field, channel, z, t = key
        tifffile.imwrite(folder / f"p_{well}_f{field}_w{channel}_z{z}_t{t}.tif", plane(*key))
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_a_pattern_places_every_plane(files: Path, store: Path, version: Any) -> None:
    report = convert(files, store, well_regex=PATTERN, version=version)
    assert (report.layout, report.images, report.planes, report.notes) == ("hcs", 4, 48, ())
    with open_ome_zarr(store, layout="hcs") as plate:
        found = dict(plate.positions())
        assert list(found) == ["A/01/0", "A/01/1", "B/12/0", "B/12/1"]
        assert plate.metadata.name == "plate"
        for path, position in found.items():
            row, column, field = path.split("/")
            assert position.channel_names == ["DAPI", "GFP"]
            assert position.axis_names == ["t", "c", "z", "y", "x"]
            for t, c, z in itertools.product(range(2), range(2), range(3)):
                expected = plane(row + column, int(field), ["DAPI", "GFP"][c], z + 1, t)
                assert_array_equal(position.data[t, c, z], expected)


def test_an_image_of_a_plate_is_named_by_its_files_or_by_its_field(tmp_path: Path, store: Path) -> None:
    for well, names in (("A01", ("left", "left")), ("A02", ("DAPI", "GFP")), ("A03", ("", ""))):
        for channel, name in zip(("DAPI", "GFP"), names, strict=True):
            metadata = {"axes": "YX", "Name": name} if name else None
            tifffile.imwrite(tmp_path / f"{well}_{channel}.ome.tif", plane(well, channel), metadata=metadata)
    convert(
        tmp_path,
        store,
        well_regex=r"(?P<well>A\d\d)_(?P<channel>[A-Z]+)",
        name="screen",
        channel_names=["a", "b"],
    )
    with open_ome_zarr(store) as plate:
        assert plate.metadata.name == "screen"
        names = [position.metadata.multiscales[0].name for _, position in plate.positions()]
        assert names == ["left", "A/02/0", "A/03/0"]


def test_the_same_plate_comes_from_a_table(files: Path, store: Path, tmp_path: Path) -> None:
    lines = ["file,row,column,field,channel,z,t"]
    for name in sorted(os.listdir(files)):
        _, well, field, channel, z, t = name.removesuffix(".tif").split("_")
        lines.append(f"files/{name},{well[0]},{well[1:]},{field[1:]},{channel[1:]},{z[1:]},{t[1:]}")
    (tmp_path / "map.csv").write_text("\n".join(lines))
    by_name = tmp_path / "by_name.zarr"
    convert(files, by_name, well_regex=PATTERN)
    convert([], store, map_file=tmp_path / "map.csv")
    with open_ome_zarr(store, layout="hcs") as one, open_ome_zarr(by_name, layout="hcs") as other:
        assert [path for path, _ in one.positions()] == [path for path, _ in other.positions()]
        for path, position in one.positions():
            assert_array_equal(position.data[:], other[path].data[:])


def test_missing_planes_are_zeros_and_are_named_once(files: Path, store: Path) -> None:
    (files / "p_A01_f0_wGFP_z2_t1.tif").unlink()
    (files / "p_B12_f1_wDAPI_z1_t0.tif").unlink()
    report = convert(files, store, well_regex=PATTERN)
    assert report.notes == (
        "2 combinations of channel, z and t have no file and are zeros, in 2 of 4 images: "
        "A/01/0 (channel GFP, t 1, z 1), B/12/1 (channel DAPI, t 0, z 0)",
    )
    with open_ome_zarr(store, layout="hcs") as plate:
        data = plate["A/01/0"].data
        assert not data[1, 1, 1].any()
        assert_array_equal(data[1, 1, 0], plane("A01", 0, "GFP", 1, 1))


def test_wells_whose_names_differ_by_zeros_alone_are_named(tmp_path: Path, store: Path) -> None:
    for name in ("A1_0", "A01_1", "B02_0", "B2_0", "C10_0"):
        tifffile.imwrite(tmp_path / f"{name}.tif", plane(0))
    notes = convert(tmp_path, store, well_regex=r"(?P<well>[A-Z]\d+)_(?P<field>\d)", dry_run=True).notes
    assert notes == (
        "A/01 and A/1, B/02 and B/2 are wells of their own, though their names differ by zeros alone: if they are one "
        "well, name their files alike",
    )


def test_files_that_do_not_match_are_named(files: Path, store: Path) -> None:
    tifffile.imwrite(files / "thumbnail.tif", plane("thumbnail"))
    report = convert(files, store, well_regex=PATTERN)
    assert report.notes == ("1 file was left out: the pattern does not match thumbnail.tif",)


def test_fields_of_a_plate_may_differ_in_size_and_axes(tmp_path: Path, store: Path) -> None:
    tifffile.imwrite(tmp_path / "A1.tif", plane("a"))
    tifffile.imwrite(tmp_path / "B2.tif", np.stack([plane("b", shape=(9, 8))] * 3), photometric="minisblack")
    convert([tmp_path / "A1.tif", tmp_path / "B2.tif"], store, well_regex=r"(?P<row>[A-H])(?P<column>\d)")
    with open_ome_zarr(store, layout="hcs") as plate:
        assert plate["A/1/0"].data.shape == (1, 1, 20, 24)
        assert plate["B/2/0"].data.shape == (1, 3, 9, 8)
        assert plate["A/1/0"].axis_names == plate["B/2/0"].axis_names == ["c", "z", "y", "x"]


def test_a_pattern_without_wells_makes_one_image(files: Path, store: Path) -> None:
    report = convert(files, store, well_regex=r"A01_f0_w(?P<channel>\w+)_z(?P<z>\d)_t(?P<t>\d)")
    assert report.layout == "fov"
    with open_ome_zarr(store) as position:
        assert position.data.shape == (2, 2, 3, 20, 24)
        assert_array_equal(position.data[1, 0, 2], plane("A01", 0, "DAPI", 3, 1))


def test_metadata_of_placed_files_are_kept(tmp_path: Path, store: Path) -> None:
    for channel, color in (("w1", -16776961), ("w2", 16711935)):
        tifffile.imwrite(
            tmp_path / f"A1_{channel}.ome.tif",
            plane(channel),
            metadata={
                "axes": "YX",
                "PhysicalSizeX": 0.3,
                "PhysicalSizeY": 0.3,
                "PhysicalSizeZ": 1.5,
                "Channel": {"Name": ["x"], "Color": [color]},
            },
        )
    sources = [tmp_path / "A1_w1.ome.tif", tmp_path / "A1_w2.ome.tif"]
    convert(sources, store, well_regex=r"(?P<row>A)(?P<col>1)_(?P<channel>w\d)")
    with open_ome_zarr(store, layout="hcs") as plate:
        position = plate["A/1/0"]
        assert position.scale == [1.0, 0.3, 0.3]
        assert position.channel_names == ["w1", "w2"]
        assert [channel.color for channel in position.metadata.omero.channels] == ["FF0000", "00FF00"]
    document = json.loads((store / "A/1/0/zarr.json").read_text())
    assert document["attributes"]["lamella"]["source"] == ["A1_w1.ome.tif", "A1_w2.ome.tif"]


def test_ome_metadata_with_a_plate_place_their_images(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "plate.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in range(3):
            writer.write(plane(number), metadata={"axes": "YX"})
    wells = (
        '<Well ID="Well:0" Row="1" Column="2"><WellSample ID="W:0" Index="0"><ImageRef ID="Image:0"/></WellSample>'
        '<WellSample ID="W:1" Index="1"><ImageRef ID="Image:1"/></WellSample></Well>'
        '<Well ID="Well:1" Row="0" Column="0"><WellSample ID="W:2" Index="2"><ImageRef ID="Image:2"/></WellSample>'
        "</Well>"
    )
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata.replace("<Image ", f'<Plate ID="Plate:0">{wells}</Plate><Image ', 1)
    tifffile.tiffcomment(path, xml.encode())
    convert(path, store)
    with open_ome_zarr(store, layout="hcs") as plate:
        assert [name for name, _ in plate.positions()] == ["A/1/0", "B/3/0", "B/3/1"]
        assert_array_equal(plate["B/3/1"].data[0], plane(1))


def test_many_small_fields_are_written_side_by_side(tmp_path: Path, store: Path) -> None:
    sources = [ArraySource(plane(n), "yx", name=f"{'ABCD'[n // 8]}{n % 8}.tif") for n in range(32)]
    report = convert(sources, store, well_regex=r"(?P<row>[A-D])(?P<col>\d)", jobs=4)
    assert report.images == 32
    with open_ome_zarr(store, layout="hcs") as plate:
        for n, (_, position) in enumerate(plate.positions()):
            assert_array_equal(position.data[0], plane(n))


# -- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        (r"(?P<row>A)(?P<colunm>1)", "has the group 'colunm'"),
        (r"(?P<row>A)", "no group for the column"),
        (r"(?P<column>1)", "no group for the row"),
        (r"(?P<row>A)(?P<col>1)(?P<column>1)", "both a group col and a group column"),
        (r"A\d", r"The pattern 'A\\d' places nothing"),
        (r"(?P<field>1)(?P<z>2)", "a field but no row and column"),
    ],
)
def test_patterns_that_place_nothing_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        place_by_regex(["A1.tif"], pattern)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.tif", r"matches none of 1 file name, for example \"none.tif\""),
        ("A_-_1.tif", "'-' cannot be the name of a column"),
        ("A_é_1.tif", "'é' cannot be the name of a column"),
        ("A_1_x.tif", "'x' is not a number along z"),
    ],
)
def test_names_that_cannot_be_placed_are_refused(name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        place_by_regex([name], r"(?P<row>A)_(?P<col>.)_(?P<z>.)")
    with pytest.raises(SourceError, match=r"for example \"B03/none\.tif\""):  # the text that was searched
        place_by_regex([name], r"(?P<well>A\d+)/", {name: "B03/none.tif"})


def test_two_files_in_one_place_are_refused(files: Path, store: Path) -> None:
    with pytest.raises(SourceError, match=r"t0\.tif and .*t1\.tif have the same position"):
        convert(files, store, well_regex=PATTERN.replace("(?P<t>", "("))
    assert not store.exists()


def test_all_files_in_one_place_are_listed(files: Path, store: Path) -> None:
    for name in ("p_A01_f0_wGFP_z2_t1", "p_B12_f1_wDAPI_z1_t0"):
        (files / f"{name}.tiff").touch()
    with pytest.raises(SourceError) as caught:
        convert(files, store, well_regex=PATTERN.replace(r"\.tif$", ""))
    assert str(caught.value) == (
        f"{files}/p_A01_f0_wGFP_z2_t1.tif and {files}/p_A01_f0_wGFP_z2_t1.tiff have the same position "
        f"(A/01/0, channel GFP, z 2, t 1); {files}/p_B12_f1_wDAPI_z1_t0.tif and {files}/p_B12_f1_wDAPI_z1_t0.tiff "
        "have the same position (B/12/1, channel DAPI, z 1, t 0): add the field, channel, z or t that distinguishes "
        "them."
    )


def test_a_pattern_sees_folders_and_walks_them(tmp_path: Path, store: Path) -> None:
    for key in itertools.product(["A01", "B12"], [1, 2], ["DAPI", "GFP"]):
        well, t, channel = key
        folder = tmp_path / "files" / well / f"time {t}"
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{channel}.tif", plane(*key))
    for inner in (".cache", "old.zarr"):
        (tmp_path / "files" / inner).mkdir()
        (tmp_path / "files" / inner / "note.tif").touch()
    pattern = r"^(?P<well>[A-P]\d+)/time (?P<t>\d+)/(?P<channel>\w+)\.tif$"
    report = convert(tmp_path / "files", store, well_regex=pattern)
    assert (report.images, report.planes, report.notes) == (2, 8, ())
    with open_ome_zarr(store, layout="hcs") as plate:
        assert_array_equal(plate["B/12/0"].data[1, 0], plane("B12", 2, "DAPI"))


def test_a_table_may_have_one_column_for_the_well(tmp_path: Path, store: Path) -> None:
    path = table(tmp_path, "file,well,field\na.tif,B03,1\nb.tif,C-12,2\n")
    convert([], store, map_file=path)
    with open_ome_zarr(store, layout="hcs") as plate:
        assert [name for name, _ in plate.positions()] == ["B/03/1", "C/12/2"]


def test_unlike_files_of_one_field_are_refused(files: Path, store: Path) -> None:
    tifffile.imwrite(files / "p_A01_f0_wGFP_z2_t1.tif", plane("x", shape=(20, 25)))
    with pytest.raises(
        SourceError, match=r"wGFP_z2_t1\.tif is yx 20 x 25 uint16, but .*\.tif of the same image"
    ):
        convert(files, store, well_regex=PATTERN)


def test_a_stack_cannot_be_one_z(tmp_path: Path, store: Path) -> None:
    tifffile.imwrite(tmp_path / "A1_z1.tif", np.stack([plane(0), plane(1)]), photometric="minisblack")
    with pytest.raises(SourceError, match=r"A1_z1\.tif has 2 planes along z itself"):
        convert(tmp_path / "A1_z1.tif", store, well_regex=r"(?P<row>A)(?P<col>1)_z(?P<z>1)")


def test_fields_with_other_channels_are_refused(tmp_path: Path, store: Path) -> None:
    tifffile.imwrite(tmp_path / "A1.tif", plane(0))
    tifffile.imwrite(tmp_path / "A2.tif", np.stack([plane(0)] * 3, -1).astype("uint8"), photometric="rgb")
    with pytest.raises(
        SourceError, match=r"has the channels Red, Green, Blue, but .* all positions of a plate"
    ):
        convert([tmp_path / "A1.tif", tmp_path / "A2.tif"], store, well_regex=r"(?P<row>A)(?P<col>\d)")


def table(tmp_path: Path, text: str) -> Path:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, plane(name))
    path = tmp_path / "map.csv"
    path.write_bytes(text.encode("utf-8-sig"))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"map\.csv is empty"),
        ("file,row\na.tif,A", r"map\.csv has no column 'column'"),
        ("file,well,row\n", r"map\.csv has an unknown column 'row'"),
        ("file,well\na.tif,top\n", r"map\.csv line 2: 'top' is not the name of a well, such as B03"),
        ("file,row,column,depth\n", r"map\.csv has an unknown column 'depth'"),
        ("file,row,column\n", r"map\.csv places no file"),
        ("file,row,column\na.tif,A\n", r"map\.csv line 2 has 2 cells, the first line has 3"),
        ("file,row,column\n\na.tif,A,\n", r"map\.csv line 3 has no column"),
        ("file,row,column\na.tif,A,1\nc.tif,A,2\n", r"map\.csv line 3: there is no file 'c\.tif'"),
        ("file,row,column\na.tif,A,1/2\n", r"map\.csv line 2: '1/2' cannot be the name of a column"),
        ("file,row,column,field\na.tif,A,1,..\n", r"line 2: '\.\.' cannot be the name of a field"),
        ("file,row,column,z\na.tif,A,1,top\n", r"map\.csv line 2: 'top' is not a number along z"),
        ("file,row,column,z\na.tif,A,1,\nb.tif,A,1,2\n", r"a\.tif .*line 2\) has no z, but .*b\.tif"),
        (
            "file,row,column\na.tif,A,1\nb.tif,A,1\n",
            r"a\.tif .*line 2\) and .*b\.tif .*line 3\) have the same position",
        ),
    ],
)
def test_tables_that_cannot_be_followed_are_refused(
    tmp_path: Path, store: Path, text: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        convert([], store, map_file=table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert not store.exists()


def test_a_missing_table_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SourceError, match=r"table .*absent\.csv cannot be read"):
        convert([], store, map_file=tmp_path / "absent.csv")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_are_read_as_spreadsheets_write_them(tmp_path: Path, store: Path, mark: str) -> None:
    text = "File,Row,Col,Field\r\n a.tif ,B,02,7\r\n".replace(",", mark)
    path = table(tmp_path, text)
    report = convert(tmp_path / "b.tif", store, map_file=path)
    assert "does not name b.tif" in report.notes[0]
    with open_ome_zarr(store, layout="hcs") as plate:
        assert_array_equal(plate["B/02/7"].data[0], plane("a.tif"))


# -- parts ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
def test_numbers_keep_their_order_and_begin_at_zero(numbers: list[int]) -> None:
    index = number_axis(numbers)
    ordered = sorted(set(numbers))
    assert [index[number] for number in ordered] == sorted(index.values())
    assert index[ordered[0]] == 0
    assert max(index.values()) < 2 * len(ordered)


def test_a_combined_source_pickles_and_closes() -> None:
    members = [Member(ArraySource(plane(z), "yx"), {"z": z}, f"file {z}") for z in range(20)]
    source = CombinedSource(members, {"z": 21}, name="stack", axes="c")
    copy = pickle.loads(pickle.dumps(source))
    for z in range(20):
        assert_array_equal(copy.read_plane((0, z)), plane(z))
    assert copy.read_plane((0, 20)) is None
    assert copy.missing == 1
    copy.close()


def test_documents_are_written_once_for_each_thing_that_is_found_out(
    files: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = tmp_path / "stack.ome.tif"
    with tifffile.TiffWriter(stack, ome=True) as file:
        for _ in range(3):
            file.write(np.ones((300, 300), "u1"))
    written: list[str] = []
    write, write_folder = LocalStorage._write, LocalStorage.write_new_folder

    def counted(self: Any, key: str, data: bytes, **kwargs: Any) -> Any:
        written.append(key)
        return write(self, key, data, **kwargs)

    def counted_folder(self: Any, folder: str, inside: Any) -> bool:
        written.extend(f"{folder}/{name}" for name, _ in inside)
        return write_folder(self, folder, inside)

    monkeypatch.setattr(LocalStorage, "_write", counted)
    monkeypatch.setattr(LocalStorage, "write_new_folder", counted_folder)
    convert(files, store, well_regex=PATTERN)
    fields = [f"{well}/{field}" for well in ("A/01", "B/12") for field in (0, 1)]
    # That it exists; and what it has, with the contrast of the plate.
    assert [written.count(f"{field}/zarr.json") for field in fields] == [2] * 4
    assert [written.count(f"{field}/0/zarr.json") for field in fields] == [1] * 4
    written.clear()
    convert(stack, tmp_path / "images.zarr", series="all")
    assert [written.count(f"{image}/zarr.json") for image in range(3)] == [2] * 3
    assert [written.count(f"{image}/{level}/zarr.json") for image in range(3) for level in (0, 1)] == [1] * 6
