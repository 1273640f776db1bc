"""Sets of OME-TIFF files with one OME-XML: a companion file, or the one TIFF that the others name."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from tests.formats.samples import DATA
from tests.formats.truth_tiff import companion

import lamella
from lamella.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """A copy of the files of a companion."""
    return shutil.copytree(DATA / "companion", tmp_path / "plate")


def test_a_folder_its_companion_and_each_of_its_files_are_the_same_plate(plate: Path, tmp_path: Path) -> None:
    truth = companion(plate / "plate.companion.ome")
    for number, source in enumerate((plate, plate / "plate.companion.ome", plate / "well1_f1_c1.ome.tif")):
        report = lamella.convert(source, tmp_path / f"{number}.zarr")
        assert report.layout == "hcs"
        with lamella.open(tmp_path / f"{number}.zarr") as store:
            assert sorted(path for path, _ in store.positions()) == ["B/3/0", "B/3/1"]
            for field in (0, 1):
                np.testing.assert_array_equal(store[f"B/3/{field}"].data[:], truth[field])


def test_a_missing_file_of_a_set_is_named_and_can_be_left_out(plate: Path, tmp_path: Path) -> None:
    (plate / "well1_f0_c1.ome.tif").unlink()
    for source in ("plate.companion.ome", "well1_f1_c1.ome.tif"):
        with pytest.raises(SourceError, match=rf"{source} .*well1_f0_c1\.ome\.tif, which does not exist"):
            lamella.convert(plate / source, tmp_path / "a.zarr")
    report = lamella.convert(plate / "plate.companion.ome", tmp_path / "a.zarr", take_what_is_there=True)
    assert any("3 of its 6 planes are missing" in note for note in report.notes)
    with lamella.open(tmp_path / "a.zarr") as store:
        assert not np.any(store["B/3/0"].data[1])
        assert np.all(np.any(store["B/3/0"].data[0], axis=(-2, -1)))
    for file in plate.glob("*.tif"):
        file.unlink()
    with pytest.raises(SourceError, match=r"not in its folder: well1_f0_c0\.ome\.tif and 3 more\. Copy"):
        lamella.convert(plate / "plate.companion.ome", tmp_path / "b.zarr")


def test_the_index_of_an_ndtiff_opens_it(tmp_path: Path) -> None:
    folder = DATA / "ndtiff" / "12_bit_pycromanager_mda"
    for number, path in enumerate((folder, folder / "NDTiff.index")):
        lamella.convert(path, tmp_path / f"{number}.zarr")
    first, second = (lamella.open(tmp_path / f"{number}.zarr") for number in (0, 1))
    np.testing.assert_array_equal(first["0"][...], second["0"][...])
    assert first.channel_names == second.channel_names == ["DAPI", "FITC"]
    alone = shutil.copy(next(folder.glob("*.tif")), tmp_path)
    with pytest.raises(
        SourceError, match=r"the file NDTiff\.index, which names the axes of its planes, is not"
    ):
        lamella.convert(alone, tmp_path / "alone.zarr")


def test_a_file_without_its_companion_is_refused_or_converted_alone(plate: Path, tmp_path: Path) -> None:
    (plate / "plate.companion.ome").unlink()
    source = plate / "well1_f1_c1.ome.tif"
    with pytest.raises(SourceError, match=rf"{re.escape(str(plate / 'plate.companion.ome'))} .*does not"):
        lamella.convert(source, tmp_path / "a.zarr")
    lamella.convert(source, tmp_path / "a.zarr", take_what_is_there=True)
    with lamella.open(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(np.squeeze(image.data[:]), tifffile.imread(source, is_ome=False))


def test_a_set_whose_xml_is_in_one_of_its_files_opens_by_every_file(tmp_path: Path) -> None:
    pixels = np.arange(2 * 8 * 9, dtype=np.uint16).reshape(2, 8, 9)
    head = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{}">'
    data = "".join(
        f'<TiffData FirstT="{n}" IFD="0" PlaneCount="1"><UUID FileName="{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
        for n in (0, 1)
    )
    whole = (
        f'{head.format(0)}<Image ID="Image:0" Name="film"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        'SizeX="9" SizeY="8" SizeZ="1" SizeC="1" SizeT="2" PhysicalSizeX="0.5" PhysicalSizeY="0.5"><Channel '
        f'ID="Channel:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )
    part = f'{head.format(1)}<BinaryOnly MetadataFile="0.ome.tif" UUID="urn:uuid:0"/></OME>'
    for number, xml in enumerate((whole, part)):
        tifffile.imwrite(tmp_path / f"{number}.ome.tif", pixels[number], description=xml, metadata=None)
    for number in (0, 1):
        report = lamella.convert(tmp_path / f"{number}.ome.tif", tmp_path / f"{number}.zarr")
        assert "pixel size" in report.kept
        with lamella.open(tmp_path / f"{number}.zarr") as image:
            np.testing.assert_array_equal(np.squeeze(image.data[:]), pixels)


@pytest.mark.parametrize("name", ["../plate.companion.ome", "/plate.companion.ome", "C:plate.companion.ome"])
def test_a_file_that_names_a_companion_elsewhere_is_refused(plate: Path, tmp_path: Path, name: str) -> None:
    xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><BinaryOnly MetadataFile="{name}"/></OME>'
    source = plate / "other.ome.tif"
    tifffile.imwrite(source, np.zeros((8, 9), np.uint8), description=xml, metadata=None)
    with pytest.raises(SourceError, match="not in the same folder"):
        lamella.convert(source, tmp_path / "a.zarr")
