"""Screens become plates by their indexes: pixels, sizes, names, positions and times; missing and damaged images."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from tests.formats.make_tiff import nd_pixels, write_nd, write_stk
from tests.formats.samples import DATA
from tests.formats.small_screens import (
    SCREENS,
    SHAPE,
    WRITERS,
    pixels,
    planes,
    write_cellvoyager,
    write_imagexpress,
    write_opera,
)

import lamella
from lamella.adapters.screens import readers
from lamella.adapters.screens.readers import OperaReader
from lamella.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

TRUTH = {
    "operetta": (["DAPI", "GFP"], [10, 1, 2, 0.597976081, 0.597976081]),
    "imagexpress": (["DAPI", "GFP"], [4, 1, 2.5, 1.3672, 1.3672]),
    "cellvoyager": (["BP445/45", "BP525/50"], [1, 1, 3, 0.325, 0.325]),
}
"""Channel names, and scale along t, c, z, y and x."""

PLATES = {
    "operetta": "BR00121482",
    "imagexpress": "p",
    "cellvoyager": "CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack",
}
"""Names of the plates."""


@pytest.mark.parametrize("name", WRITERS)
def test_a_screen_becomes_a_plate_without_a_pattern(name: str, tmp_path: Path) -> None:
    folder = WRITERS[name](tmp_path / "screens" / "plate 7" / "2024-04-22" / "1697")
    # The resolution in the images of an Opera is that of the camera, and no note is due.
    report = lamella.convert(tmp_path / "screens", tmp_path / "plate.zarr")
    assert (report.layout, report.images, report.planes, report.notes) == ("hcs", 4, 48, ())
    with lamella.open_ome_zarr(tmp_path / "plate.zarr") as plate:
        positions = dict(plate.positions())
        assert plate.metadata.name == PLATES[name]
        assert list(positions) == ["A/01/1", "A/01/2", "B/12/1", "B/12/2"]
        for well, field, channel, z, t in planes():
            position = positions[f"{well}/{field}"]
            assert_array_equal(position.data[t - 1, channel - 1, z - 1], pixels(well, field, channel, z, t))
        for position in positions.values():
            names, scale = TRUTH[name]
            assert position.channel_names == names
            assert position.scale == pytest.approx(scale)
            assert [axis.unit for axis in position.axes] == ["second", None, *["micrometer"] * 3]
    assert not lamella.validate(tmp_path / "plate.zarr").findings
    index = next(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix.lower() in (".xml", ".htd", ".mlf")
    )
    again = lamella.convert(index, tmp_path / "again.zarr", version="0.4")
    assert again.planes == 48


def test_the_stage_position_is_that_of_the_first_voxel(tmp_path: Path) -> None:
    fields = OperaReader().open(str(write_opera(tmp_path / "screen")))
    second = fields[1].description
    size = 0.597976081
    assert second.stage == pytest.approx(
        {"z": -5, "y": 200 - SHAPE[0] * size / 2, "x": 100 - SHAPE[1] * size / 2}
    )
    assert (second.well, second.plate, second.times) == (
        ("A", "01", "2"),
        "BR00121482",
        pytest.approx((26, 36)),
    )
    assert second.acquired == "2021-03-29T16:51:44.6444882-04:00"
    assert [item.name for item in fields.original] == ["Index.idx.xml"]


def test_real_screens_keep_every_pixel(tmp_path: Path) -> None:
    lamella.convert(SCREENS / "imagexpress" / "in_place", tmp_path / "plate.zarr")
    with lamella.open_ome_zarr(tmp_path / "plate.zarr") as plate:
        for file in (SCREENS / "imagexpress" / "in_place").rglob("*.tif"):
            t, site, wave = (
                int(file.parent.name[-1]),
                file.name.split("_s")[1][0],
                int(file.name.split("_w")[1][0]),
            )
            assert_array_equal(plate[f"C/07/{site}"].data[t - 1, wave - 1], tifffile.imread(file))


def test_missing_images_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    folder = write_cellvoyager(tmp_path / "screen")
    for name in ("p_A01_T0001F001L01A01Z01C01.tif", "p_B12_T0002F002L01A02Z03C02.tif"):
        (folder / name).unlink()
    with pytest.raises(SourceError) as caught:
        lamella.convert(folder, tmp_path / "plate.zarr")
    assert str(caught.value) == (
        "2 planes of the index are missing: A01 field 1, channel 1, z 1, t 1: "
        f"{folder}/p_A01_T0001F001L01A01Z01C01.tif; B12 field 2, channel 2, z 3, t 2: "
        f"{folder}/p_B12_T0002F002L01A02Z03C02.tif. Copy them beside the index, or pass --take-what-is-there to write "
        "zeros for them."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["screen"]
    report = lamella.convert(folder, tmp_path / "plate.zarr", take_what_is_there=True)
    assert any(note.startswith("2 planes of the index are missing") for note in report.notes)
    with lamella.open(tmp_path / "plate.zarr") as plate:
        assert not plate["A/01/1"]["0"][0, 0, 0].any(), "the missing plane is zeros"


def test_time_points_and_z_steps_that_no_well_has_are_noted(tmp_path: Path) -> None:
    folder = write_imagexpress(tmp_path / "screen")
    htd = folder / "p.HTD"
    planned = (
        htd.read_bytes()
        .replace(b'"TimePoints", 1', b'"TimePoints", 5')
        .replace(b'"ZSteps", 0', b'"ZSteps", 4')
    )
    htd.write_bytes(planned)
    notes = lamella.convert(folder, tmp_path / "plate.zarr").notes
    assert [note.rpartition(": ")[2] for note in notes] == [
        "p.HTD plans 5 time points, and there are files of 2",
        "p.HTD plans 4 z steps, and there are files of 3",
    ]


def test_a_truncated_image_is_refused_in_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    folder = write_imagexpress(tmp_path / "screen")
    victim = folder / "TimePoint_2" / "ZStep_2" / "p_B12_s1_w2.tif"
    for content in (victim.read_bytes()[:-300], victim.read_bytes()[:100], b""):
        victim.write_bytes(content)
        with pytest.raises(SourceError, match=r"p_B12_s1_w2\.tif") as caught:
            lamella.convert(folder, tmp_path / "plate.zarr")
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["screen"]


def test_an_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = write_cellvoyager(tmp_path / "screen")
    tifffile.imwrite(folder / "p_B12_T0002F002L01A02Z03C02.tif", pixels("B/12", 1, 1, 1, 1)[:8])
    with pytest.raises(
        SourceError, match=r"8 x 20 pixels of type uint16, but .* 16 x 20 pixels of type uint16"
    ):
        lamella.convert(folder, tmp_path / "plate.zarr")


def test_a_folder_of_several_plates_is_refused(tmp_path: Path) -> None:
    write_opera(tmp_path / "screens" / "one" / "Images")
    shutil.copytree(tmp_path / "screens" / "one", tmp_path / "screens" / "two")
    with pytest.raises(SourceError, match=r"contains 2 plates .*convert them one by one"):
        lamella.convert(tmp_path / "screens", tmp_path / "plate.zarr")


def test_plates_in_folders_of_different_depth_are_refused_too(tmp_path: Path) -> None:
    write_opera(tmp_path / "screens" / "one" / "Images")
    write_opera(tmp_path / "screens" / "two" / "measurement 1" / "Images")
    with pytest.raises(SourceError, match=r"contains 2 plates .*convert them one by one"):
        lamella.convert(tmp_path / "screens", tmp_path / "plate.zarr")
    shutil.copytree(DATA / "screens" / "imagexpress", tmp_path / "imagexpress" / "later")
    shutil.copytree(DATA / "screens" / "imagexpress" / "in_place", tmp_path / "imagexpress" / "now")
    with pytest.raises(SourceError, match=r"contains 3 plates .*convert them one by one"):
        lamella.convert(tmp_path / "imagexpress", tmp_path / "plate.zarr")


def test_the_size_of_the_cameras_pixels_in_an_image_of_harmony_is_not_used(tmp_path: Path) -> None:
    pixels = np.zeros((16, 20), "uint16")
    tifffile.imwrite(
        tmp_path / "r01c01f01p01-ch1sk1fk1fl1.tiff", pixels, resolution=(1550.29, 1550.29),
        resolutionunit="CENTIMETER", metadata=None, extratags=[(271, 2, None, "PerkinElmer", True)],
    )  # fmt: skip
    report = lamella.convert(tmp_path / "r01c01f01p01-ch1sk1fk1fl1.tiff", tmp_path / "a.zarr")
    assert "pixel size" in report.lacking
    assert any("6.45" in note and "--pixel-size" in note for note in report.notes)
    with lamella.open(tmp_path / "a.zarr") as image:
        assert image.scale == [1, 1, 1]


def test_a_metamorph_folder_is_the_plate_that_its_stage_names_are(tmp_path: Path) -> None:
    write_nd(tmp_path / "scan", stages=("A1 site 1", "A1 site 2", "B12"))
    report = lamella.convert(tmp_path / "scan", tmp_path / "a.zarr")
    assert report.layout == "hcs"
    with lamella.open(tmp_path / "a.zarr") as plate:
        assert [path for path, _ in plate.positions()] == ["A/01/1", "A/01/2", "B/12/1"]
        for number, (_, position) in enumerate(plate.positions(), 1):
            for wave, time in ((1, 1), (1, 2), (2, 1), (2, 2)):
                pixels = position.data[time - 1, wave - 1]
                planes = 3 if wave == 1 else 1
                assert_array_equal(pixels[:planes], nd_pixels(number, wave, time)[:planes])
                assert not pixels[planes:].any()
            assert position.stage_position["x"] == pytest.approx(100 * number - 7 * 0.325)


def test_metamorph_stages_that_are_no_wells_are_images_by_name(tmp_path: Path) -> None:
    index = write_nd(tmp_path / "scan", stages=("P1", "P2"))
    with pytest.raises(SourceError, match="contains 2 images, 0 'P1', 1 'P2': choose one with --series"):
        lamella.convert(index, tmp_path / "a.zarr")
    lamella.convert(index, tmp_path / "a.zarr", series=1)
    with lamella.open(tmp_path / "a.zarr") as image:
        assert_array_equal(image.data[1, 0], nd_pixels(2, 1, 2))


def test_missing_and_odd_files_of_metamorph_are_listed(tmp_path: Path) -> None:
    index = write_nd(tmp_path / "scan", stages=("A1", "B2"))
    (tmp_path / "scan" / "scan_w2BF_s2_t1.TIF").unlink()
    with pytest.raises(SourceError, match="1 plane of the index is missing: stage 2, wave 2, time 1"):
        lamella.convert(index, tmp_path / "a.zarr")
    lamella.convert(index, tmp_path / "a.zarr", take_what_is_there=True)
    write_stk(tmp_path / "scan" / "scan_w1conf-488_s2_t2.stk", nd_pixels(2, 1, 2)[:2])
    with pytest.raises(SourceError, match=r"s2_t2\.stk has 2 planes, but the other files of its wave have 3"):
        lamella.convert(index, tmp_path / "b.zarr", take_what_is_there=True)
    index.write_bytes(index.read_bytes()[:-12])
    with pytest.raises(SourceError, match=r"scan\.nd is truncated, or not the index"):
        lamella.convert(index, tmp_path / "c.zarr")


def test_waves_of_metamorph_may_be_named_by_numbers(tmp_path: Path) -> None:
    index = write_nd(tmp_path / "scan", stages=("A1",))
    text = index.read_text("latin-1").replace('"conf/488"', '"488/50"').replace('"BF"', '"2"')
    index.write_text(text, "latin-1", newline="")
    for file in index.parent.iterdir():
        file.rename(index.parent / file.name.replace("w1conf-488", "w1488-50").replace("w2BF", "w22"))
    lamella.convert(index, tmp_path / "a.zarr")
    with lamella.open(tmp_path / "a.zarr") as plate:
        position = plate["A/01/1"]
        assert position.channel_names == ["488/50", "2"]
        assert_array_equal(position.data[1, 0], nd_pixels(1, 1, 2))
        assert_array_equal(position.data[1, 1, 0], nd_pixels(1, 2, 2)[0])


def test_metamorph_starts_with_its_first_time_also_if_the_first_wave_starts_later(tmp_path: Path) -> None:
    index = write_nd(tmp_path / "scan", stages=("P1",))
    lamella.convert(index, tmp_path / "a.zarr")
    text = index.read_text("latin-1").replace('"EndFile"', '"WavePointsCollected1", 2\n"EndFile"')
    index.write_text(text, "latin-1")
    (tmp_path / "scan" / "scan_w1conf-488_s1_t1.stk").unlink()
    lamella.convert(index, tmp_path / "b.zarr")
    with lamella.open(tmp_path / "a.zarr") as image, lamella.open(tmp_path / "b.zarr") as later:
        first, second = (image.zattrs["lamella"], later.zattrs["lamella"])
        assert first["acquired"] == second["acquired"]


def test_a_pattern_places_the_files_of_metamorph_without_their_index(tmp_path: Path) -> None:
    write_nd(tmp_path / "scan", stages=("A1",))
    report = lamella.convert(
        tmp_path / "scan", tmp_path / "a.zarr", well_regex=r"_w(?P<channel>1).*_t(?P<t>\d)", dry_run=True
    )
    assert report.planes == 6


def test_an_index_that_is_too_large_to_keep_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_opera(tmp_path / "screen")
    monkeypatch.setattr(readers, "MAX_ORIGINAL_BYTES", 100)
    report = lamella.convert(folder, tmp_path / "a.zarr")
    assert not any("original metadata" in fact for fact in report.kept)
    assert [fact for fact in report.dropped if fact.startswith("1 text of original metadata")]


def test_an_imagexpress_without_its_description_keeps_what_its_images_state(tmp_path: Path) -> None:
    report = lamella.convert(SCREENS / "imagexpress" / "in_place", tmp_path / "a.zarr")
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "a.zarr/OME").glob("*.tif.xml")]
    with lamella.open_ome_zarr(tmp_path / "a.zarr") as plate:
        channels = next(position for _, position in plate.positions()).channel_names
    assert len(texts) == len(channels)
    assert all(text.startswith("<MetaData>") for text in texts)
    assert any("original metadata" in fact for fact in report.kept)


def test_fields_and_columns_of_an_imagexpress_are_ordered_by_number(tmp_path: Path) -> None:
    folder = write_imagexpress(tmp_path / "screen", [("A/01", field, 1, 1, 1) for field in (10, 2, 1)])
    (folder / "p.HTD").unlink()
    for file in folder.rglob("*_s10_*.tif"):
        shutil.copy(file, file.with_name("p_A10_s1_w1.tif"))
        shutil.copy(file, file.with_name("p_A2_s1_w1.tif"))
    report = lamella.convert(folder, tmp_path / "plate.zarr", dry_run=True)
    assert [image.path for image in report.positions] == ["A/01/1", "A/01/2", "A/01/10", "A/2/1", "A/10/1"]
    lamella.convert(folder, tmp_path / "third.zarr", series=2)
    assert_array_equal(np.squeeze(lamella.open(tmp_path / "third.zarr").data), pixels("A/01", 10, 1, 1, 1))
