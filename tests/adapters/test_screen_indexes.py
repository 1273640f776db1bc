"""The indexes of screens, parsed without their pixels: wells, fields, channels, z, t, positions, sizes, times."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tifffile

from lamella.adapters.screens.cellvoyager import parse_cellvoyager
from lamella.adapters.screens.imagexpress import parse_imagexpress
from lamella.adapters.screens.opera import parse_opera
from lamella.adapters.screens.screen import Screen, ScreenPlane, arrange
from lamella.errors import SourceError
from lamella.ops.conversion.source import Objective

SCREENS = Path(__file__).parent.parent / "data" / "formats" / "screens"
OPERA = SCREENS / "opera_phenix" / "Version1" / "images" / "Index.idx.xml"
VOYAGER = SCREENS / "cv8000" / "MeasurementData.mlf"


def description(file: str) -> str:
    with tifffile.TiffFile(file) as tiff:
        return tiff.pages.first.description


def test_an_opera_index_states_sizes_channels_and_positions() -> None:
    screen = parse_opera(str(OPERA))
    assert (screen.name, screen.pixel_size, screen.plane_shape) == (
        "BR00121482",
        (0.597976081, 0.597976081),
        (1080, 1080),
    )
    assert [screen.channels[number].label for number in sorted(screen.channels)] == [
        "Alexa 647",
        "Alexa 568",
        "488 long",
        "Alexa 488",
        "HOECHST 33342",
        "Brightfield",
    ]
    red = screen.channels[1]
    assert (red.excitation, red.emission, red.exposure) == (640, 706, 0.01)
    first = screen.planes[0]
    assert os.path.basename(first.file) == "r01c01f01p01-ch1sk1fk1fl1.tiff"
    assert (first.path, first.channel, first.z, first.t) == ("A/01/1", 1, 1, 0)
    assert (first.x, first.y, first.height) == (0, 0, -5)
    assert first.seconds == pytest.approx(224.342512)
    assert screen.objective == Objective("", 20, 1)
    assert screen.date == "2021-03-29T16:51:44.6444882-04:00"


def test_a_field_above_the_centre_of_its_well_has_a_smaller_y() -> None:
    opera = parse_opera(str(SCREENS / "opera_phenix" / "Version5" / "Index.idx.xml"))
    assert (opera.planes[0].x, opera.planes[0].y) == (-322.907, 322.907)
    voyager = parse_cellvoyager(str(VOYAGER))
    positions = {plane.field: (plane.x, plane.y) for plane in voyager.planes if plane.row == "D"}
    assert positions == {
        "1": (-567.1, -402.9),
        "2": (82.8, -402.9),
        "3": (-567.1, 247.0),
        "4": (82.8, 247.0),
    }


def test_channels_of_newer_harmony_stand_in_a_map(tmp_path: Path) -> None:
    index = tmp_path / "Index.xml"
    index.write_text(
        '<EvaluationInputData xmlns="43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7"><Plates><Plate><Name>P'
        '</Name></Plate></Plates><Maps><Map><Entry ChannelID="2"><ChannelName>DAPI</ChannelName>'
        '<ImageResolutionX Unit="m">1E-06</ImageResolutionX><ImageResolutionY Unit="m">2E-06</ImageResolutionY>'
        '</Entry></Map></Maps><Images><Image Version="1"><URL>a.tiff</URL><Row>2</Row><Col>3</Col><FieldID>4'
        "</FieldID><PlaneID>1</PlaneID><ChannelID>2</ChannelID></Image></Images></EvaluationInputData>"
    )
    screen = parse_opera(str(index))
    assert (screen.channels[2].label, screen.pixel_size) == ("DAPI", (2.0, 1.0))
    assert screen.planes == (ScreenPlane(str(tmp_path / "a.tiff"), "B", "03", "4", 2, 1, 0),)


def test_a_cellvoyager_index_states_sizes_channels_times_and_steps() -> None:
    screen = parse_cellvoyager(str(VOYAGER))
    grid = arrange(screen)
    assert [os.path.basename(file) for file in screen.index_files] == [
        "MeasurementData.mlf",
        "MeasurementDetail.mrf",
        "Minimal-3C3W2S-FP2-stack.mes",
    ]
    assert (screen.name, screen.pixel_size) == ("CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack", (0.325, 0.325))
    assert (len(grid.fields), grid.lengths, grid.z_step, grid.gaps) == (12, (1, 2, 4), 3, ())
    assert [field.path for field in grid.fields[::4]] == ["D/08/1", "E/03/1", "F/08/1"]
    blue, green = screen.channels[1], screen.channels[2]
    assert (blue.label, blue.color, blue.excitation, blue.emission) == ("BP445/45", "002FFF", 405, 445)
    assert (green.label, green.color, green.exposure) == ("BP525/50", "00FFA1", 0.1)
    assert grid.fields[0].times == (pytest.approx(5.0365065),)
    assert all(os.path.isfile(plane.file) for plane in screen.planes)


def test_an_imagexpress_plate_is_read_from_htd_and_metaseries() -> None:
    screen = parse_imagexpress(str(SCREENS / "imagexpress" / "plate"), description)
    assert (screen.name, screen.pixel_size, screen.plane_shape, screen.missing) == (
        "9987",
        (1.3672, 1.3672),
        (256, 256),
        (),
    )
    assert (screen.channels[1].label, screen.channels[1].emission) == ("DAPI", 452)
    plane = screen.planes[0]
    assert (plane.path, plane.x, plane.y, plane.height) == ("B/02/1", 22985, 19885, 10025.4)
    assert screen.objective == Objective("40X Plan Apo Lambda", 40, 0.95)
    assert screen.date == "2024-07-08T14:44:46.693"


def test_imagexpress_times_come_from_the_folders_and_the_files() -> None:
    screen = parse_imagexpress(str(SCREENS / "imagexpress" / "in_place"), description)
    grid = arrange(screen)
    assert (len(grid.fields), grid.lengths, grid.time_step) == (2, (2, 2, 1), pytest.approx(5.5395))
    assert [screen.channels[wave].label for wave in (1, 2)] == ["FITC", "Cy3"]
    assert grid.fields[0].times == (0, 5.502)
    assert grid.fields[1].times == (2.081, 7.658)


def z_stacks(folder: Path) -> None:
    """Two sites: w1 in three z steps, besides its projection, and w2 as a projection only."""
    source = SCREENS / "imagexpress" / "plate" / "TimePoint_1" / "9987_B02.TIF"
    template = description(str(source))
    for site in (1, 2):
        for wave, z in ((1, 0), (1, 1), (1, 2), (1, 3), (2, 0)):
            target = folder / "TimePoint_1" / (f"ZStep_{z}" if z else "") / f"p_B03_s{site}_w{wave}.tif"
            target.parent.mkdir(parents=True, exist_ok=True)
            text = template.replace('"10025.4"/>', f'"{10025.4 + 2.5 * z}"/>')
            tifffile.imwrite(target, [[z]], description=text, metadata=None)
            (target.parent / f"p_B03_s{site}_w{wave}_thumb.tif").touch()


def test_projections_of_channels_with_z_steps_are_left_out(tmp_path: Path) -> None:
    z_stacks(tmp_path)
    screen = parse_imagexpress(str(tmp_path), description)
    grid = arrange(screen)
    assert (grid.lengths, grid.z_step, grid.gaps) == ((1, 2, 3), 2.5, ())
    assert set(grid.fields[0].planes) == {(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)}
    assert screen.notes == (
        "2 projections along z left out, of channels with z-stacks",
        "w2 have projections only, which are stored at the first z step",
    )


def test_wells_that_the_htd_selects_and_that_have_no_file_are_missing(tmp_path: Path) -> None:
    shutil.copytree(SCREENS / "imagexpress" / "plate", tmp_path / "plate")
    htd = tmp_path / "plate" / "9987.HTD"
    htd.write_bytes(htd.read_bytes().replace(b'"WellsSelection1", FALSE', b'"WellsSelection1", TRUE'))
    screen = parse_imagexpress(str(tmp_path / "plate"), description)
    assert screen.missing == ("A01 field 1, channel 1",)


def test_planes_that_a_field_lacks_are_gaps_and_two_in_one_place_are_refused() -> None:
    planes = parse_cellvoyager(str(VOYAGER)).planes
    gaps = arrange(Screen("p", "i.mlf", (), planes[1:], {})).gaps
    assert gaps == ("D08 field 1, channel 1, z 1, t 1",)
    with pytest.raises(SourceError, match=r"i\.mlf lists 1 plane twice: D08 field 1, channel 1, z 1, t 1 in"):
        arrange(Screen("p", "i.mlf", (), (*planes, ScreenPlane("b.tif", "D", "08", "1", 1, 1, 1)), {}))


def test_damaged_and_dangerous_indexes_are_refused(tmp_path: Path) -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c SYSTEM "file:///etc/passwd">]><a>&c;</a>'
    good = OPERA.read_bytes()
    outside = good.replace(b"<URL>", b"<URL>../")
    for content, message in (
        (bomb, "has a document type declaration"),
        (b"<a>" * 100, "nested more than 50 deep"),
        (good[:-200], "is not complete XML, it may be truncated"),
        (b"", "is not complete XML"),
        (b"<a/>", "lists no image"),
        (outside, "which is not beside it"),
        (good.replace(b"<Row>1", b"<Row>one"), "with Row 'one', which is not a whole number"),
    ):
        index = tmp_path / "Index.idx.xml"
        index.write_bytes(content)
        with pytest.raises(SourceError, match=message) as caught:
            parse_opera(str(index))
        assert "\n" not in str(caught.value)
    shutil.copytree(SCREENS / "imagexpress" / "plate", tmp_path / "plate")
    htd = tmp_path / "plate" / "9987.HTD"
    htd.write_bytes(htd.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"9987\.HTD is truncated"):
        parse_imagexpress(str(tmp_path / "plate"), description)
