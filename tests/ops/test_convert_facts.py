"""What a file says about its images is in the store: stage, times, dates, objective, wavelengths, original metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import lamella
from lamella.errors import InvalidArgumentError, SourceError
from lamella.ops.conversion import originals

if TYPE_CHECKING:
    from pathlib import Path

tifffile = pytest.importorskip("tifffile")

PLANES = "".join(
    f'<Plane TheZ="0" TheC="{c}" TheT="{t}" DeltaT="{time}" ExposureTime="{20 + c}" ExposureTimeUnit="ms" '
    'PositionX="1.5" PositionXUnit="mm" PositionY="20" PositionYUnit="\u00b5m" PositionZ="7" '
    'PositionZUnit="reference frame"/>'
    for t, time in enumerate((0, 2, 5))
    for c in range(2)
)
XML = f"""<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" Model="Plan Apo" NominalMagnification="40" LensNA="1.3"/>
</Instrument><Image ID="Image:0" Name="nuclei"><AcquisitionDate>2026-03-01T09:30:00</AcquisitionDate>
<ObjectiveSettings ID="Objective:0"/><Pixels ID="Pixels:0" DimensionOrder="XYZCT" SizeX="40" SizeY="32" SizeZ="1"
SizeC="2" SizeT="3" Type="uint16" PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="500" PhysicalSizeYUnit="nm">
<Channel ID="Channel:0:0" Name="DAPI" ExcitationWavelength="405" EmissionWavelength="450" SamplesPerPixel="1"/>
<Channel ID="Channel:0:1" Name="GFP" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="6"/>{PLANES}</Pixels></Image>
</OME>"""
PIXELS = np.arange(3 * 2 * 32 * 40, dtype=np.uint16).reshape(3, 2, 32, 40)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    with tifffile.TiffWriter(tmp_path / "film.ome.tif", ome=False) as file:
        for page in PIXELS.reshape(-1, 32, 40):
            file.write(page, description=XML.encode() if page is PIXELS[0, 0] or page[0, 0] == 0 else None,
                       metadata=None, photometric="minisblack", contiguous=False)  # fmt: skip
    return tmp_path / "film.ome.tif"


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_the_facts_of_an_ome_tiff_are_in_the_store(film: Path, tmp_path: Path, version: Any) -> None:
    lamella.convert(film, tmp_path / "a.zarr", version=version, levels=2)
    with lamella.open(tmp_path / "a.zarr") as position:
        assert position.scale == [2.5, 1.0, 500.0, 500.0]
        # 1.5 mm and 20 um in nanometres, the unit of the pixels; a reference frame is no length
        assert position.stage_position == {"x": 1.5e6, "y": 2e4}
        assert position.get_effective_translation("0") == [0, 0, 2e4, 1.5e6]
        assert position.get_effective_translation("1")[-1] == 1.5e6 + 250
        assert_array_equal(position.to_xarray().coords["t"], [0, 2, 5])
        own = position.zattrs["lamella"]
    assert own["title"] == "nuclei"
    assert own["acquired"] == "2026-03-01T09:30:00"
    assert own["objective"] == {"name": "Plan Apo", "magnification": 40.0, "aperture": 1.3}
    assert own["channels"] == [
        {"excitation": 405.0, "emission": 450.0, "exposure": 0.02},
        {"exposure": 0.021},
    ]
    xml = (tmp_path / "a.zarr/OME/METADATA.ome.xml").read_text(encoding="utf-8")
    assert "MetadataOnly" in xml
    assert "TiffData" not in xml
    assert 'Model="Plan Apo"' in xml
    assert [f for f in lamella.validate(tmp_path / "a.zarr").findings if f.level == "MUST"] == []


def two_images(path: Path) -> Path:
    with tifffile.TiffWriter(path, ome=True) as file:
        for name in ("left", "right"):
            file.write(
                PIXELS[0] + (name == "right"),
                metadata={"axes": "CYX", "Name": name},
                photometric="minisblack",
            )
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_all_images_of_a_file_become_a_collection_with_its_ome_xml(tmp_path: Path, version: Any) -> None:
    source = two_images(tmp_path / "two.ome.tif")
    with pytest.raises(SourceError, match="--series all"):
        lamella.convert(source, tmp_path / "a.zarr")
    report = lamella.convert(source, tmp_path / "a.zarr", series="all", version=version)
    assert (report.layout, report.images) == ("collection", 2)
    with lamella.open(tmp_path / "a.zarr") as collection:
        assert list(collection) == ["0", "1"]
        assert_array_equal(collection["1"]["0"][:], PIXELS[0] + 1)
        assert [image.name for image in collection.ome_images().values()] == ["left", "right"]
        assert collection["1"].zattrs["lamella"]["title"] == "right"
    assert [f for f in lamella.validate(tmp_path / "a.zarr").findings if f.level == "MUST"] == []


def test_all_images_of_a_file_become_the_fields_of_a_well(tmp_path: Path) -> None:
    source = two_images(tmp_path / "two.ome.tif")
    report = lamella.convert(source, tmp_path / "a.zarr", series="fields")
    assert report.layout == "hcs"
    with lamella.open(tmp_path / "a.zarr") as plate:
        assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/1"]
        assert plate["A/1/1"].ome_image.name == "right"
        assert_array_equal(plate["A/1/1"]["0"][:], PIXELS[0] + 1)


def test_an_interrupted_collection_resumes(tmp_path: Path) -> None:
    source = two_images(tmp_path / "two.ome.tif")

    def interrupt(done: float, total: float, kind: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lamella.convert(source, tmp_path / "a.zarr", series="all", progress=interrupt)
    lamella.convert(source, tmp_path / "a.zarr", series="all")
    with lamella.open(tmp_path / "a.zarr") as collection:
        assert_array_equal(collection["0"]["0"][:], PIXELS[0])
        assert_array_equal(collection["1"]["0"][:], PIXELS[0] + 1)


def test_a_word_that_is_no_choice_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="series"):
        lamella.convert(two_images(tmp_path / "two.ome.tif"), tmp_path / "a.zarr", series="every")  # type: ignore[arg-type]


def write_fields(folder: Path) -> Path:
    """Write an OME-TIFF for each of two wells, with the same name in two folders."""
    for number, well in enumerate(("A1", "B1")):
        (folder / well).mkdir(parents=True)
        metadata = {"axes": "YX", "Name": well, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tifffile.imwrite(folder / well / "img.ome.tif", PIXELS[0, 0] + number, ome=True, metadata=metadata)
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_the_original_metadata_of_several_files_are_stored_by_their_names(
    tmp_path: Path, version: Any
) -> None:
    folder = write_fields(tmp_path / "plate")
    pattern = r"(?P<row>[A-Z])(?P<col>\d)/img"
    report = lamella.convert(folder, tmp_path / "a.zarr", well_regex=pattern, version=version)
    for well in ("A1", "B1"):
        xml = (tmp_path / f"a.zarr/OME/{well}_img.ome.tif.METADATA.ome.xml").read_text(encoding="utf-8")
        assert f'Name="{well}"' in xml
        assert "TiffData" not in xml
    assert report.kept[-1] == (
        "the original metadata in OME/A1_img.ome.tif.METADATA.ome.xml, OME/B1_img.ome.tif.METADATA.ome.xml"
    )
    assert report.dropped == ()
    assert lamella.validate(tmp_path / "a.zarr").findings == ()


def test_original_metadata_beyond_the_limit_are_left_out_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_fields(tmp_path / "plate")
    monkeypatch.setattr(originals, "MAX_ORIGINALS", 1)
    report = lamella.convert(folder, tmp_path / "a.zarr", well_regex=r"(?P<row>[A-Z])(?P<col>\d)/img")
    assert [path.name for path in (tmp_path / "a.zarr/OME").iterdir()] == ["A1_img.ome.tif.METADATA.ome.xml"]
    (left_out,) = report.dropped
    assert left_out.startswith("1 text of original metadata, beyond ")
