"""A TIFF file that holds less than it says is refused, whether tifffile may say so or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from lamella.adapters.tiff.reader import open_tiff
from lamella.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(7).integers(0, 100, size=(4, 20, 24)).astype("uint16")


def stack_of(path: Path) -> np.ndarray:
    """Planes of the one image of a file; zeros where it has none."""
    (source,) = open_tiff(path)
    planes = [source.read_plane((z,)) for z in range(source.description.shape[0])]
    source.close()
    return np.stack([np.zeros_like(PIXELS[0]) if plane is None else plane for plane in planes])


def ome_xml(pixels: str, content: str, uuid: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{uuid}>'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="20" '
        f"{pixels}>"
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{content}</Pixels></Image></OME>'
    )


SIX_PLANES = 'SizeC="1" SizeZ="6" SizeT="1"'
SIX_PAGES = "".join(f'<TiffData IFD="{z}" FirstZ="{z}"/>' for z in range(6))


@pytest.mark.usefixtures("tifffile_log")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "description",
    [
        '{"shape": [6, 20, 24]}',
        "ImageJ=1.54f\nimages=6\nslices=6\n",
        "ImageJ=1.54f\nimages=6\nchannels=2\nslices=3\nhyperstack=true\n",
        ome_xml(SIX_PLANES, SIX_PAGES),
        ome_xml(SIX_PLANES, '<TiffData IFD="0" PlaneCount="6"/>'),
    ],
)
def test_fewer_pages_than_the_metadata_promise_are_refused(
    tmp_path: Path, description: str, compression: str | None
) -> None:
    path = tmp_path / "short.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(PIXELS):
            text = description if number == 0 else None
            writer.write(page, description=text, metadata=None, compression=compression)
    with pytest.raises(SourceError, match=r"short\.tif .*(damaged or incomplete|truncated)"):
        open_tiff(path)


def write_pages(path: Path, xml: str | None = None) -> None:
    """Write four pages, which an OME-XML describes."""
    tifffile.imwrite(path, PIXELS, description=xml, metadata=None, photometric="minisblack")


def test_planes_for_which_the_ome_xml_names_no_page_are_zeros_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "sparse.ome.tif"
    write_pages(path, ome_xml(SIX_PLANES, '<TiffData IFD="0" PlaneCount="4"/>'))
    (note,) = open_tiff(path)[0].description.notes
    assert note == "2 of its 6 planes are missing and were written as zeros"
    assert_array_equal(stack_of(path), np.concatenate([PIXELS, np.zeros_like(PIXELS[:2])]))


def test_a_page_of_a_negative_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "negative.ome.tif"
    pages = "".join(f'<TiffData IFD="{z if z else -1}" FirstZ="{z}"/>' for z in range(4))
    write_pages(path, ome_xml('SizeC="1" SizeZ="4" SizeT="1"', pages))
    with pytest.raises(SourceError, match=r"negative\.ome\.tif .*names a page IFD=\"-1\""):
        open_tiff(path)


def test_pages_of_planes_outside_of_a_cropped_image_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "cropped.ome.tif"
    write_pages(path, ome_xml('SizeC="1" SizeZ="4" SizeT="1"', SIX_PAGES))
    assert_array_equal(stack_of(path), PIXELS)


def test_a_renamed_ome_tiff_is_not_missed_under_its_old_name(tmp_path: Path) -> None:
    path = tmp_path / "renamed.ome.tif"
    data = '<TiffData IFD="0" PlaneCount="4"><UUID FileName="old.ome.tif">urn:uuid:1</UUID></TiffData>'
    write_pages(path, ome_xml('SizeC="1" SizeZ="4" SizeT="1"', data, ' UUID="urn:uuid:1"'))
    assert_array_equal(stack_of(path), PIXELS)


@pytest.mark.usefixtures("tifffile_log")
@pytest.mark.parametrize("following", [0, 2**31])
def test_a_chain_of_pages_that_does_not_end_is_refused(tmp_path: Path, following: int) -> None:
    path = tmp_path / "chain.tif"
    write_pages(path)
    with tifffile.TiffFile(path) as file:
        last, first = file.pages.next_page_offset, file.pages.first.offset
    with path.open("r+b") as raw:
        raw.seek(last)
        raw.write((following or first).to_bytes(4, "little"))
    with pytest.raises(SourceError, match=r"chain\.tif is damaged or incomplete"):
        open_tiff(path)


def test_ome_xml_with_a_document_type_is_refused_before_an_entity_is_read(tmp_path):
    """Its entities would be expanded, or bring in names of files that nobody checked."""
    path = tmp_path / "a.ome.tif"
    head, body = ome_xml('SizeC="1" SizeZ="1" SizeT="1"', '<TiffData IFD="0"/>').split("?>", 1)
    tifffile.imwrite(
        path, PIXELS[0], description=f'{head}?><!DOCTYPE OME [<!ENTITY a "b">]>{body}', metadata=None
    )
    with pytest.raises(SourceError, match=r"its OME-XML is unsafe: the XML has a document type declaration"):
        open_tiff(path)


def test_an_absurd_number_of_planes_is_refused_before_memory_is_allocated(tmp_path):
    path, sizes = tmp_path / "a.ome.tif", 'SizeC="1" SizeZ="1000000000" SizeT="1"'
    tifffile.imwrite(path, PIXELS[0], description=ome_xml(sizes, '<TiffData IFD="0"/>'), metadata=None)
    with pytest.raises(SourceError, match=r"its OME-XML states 1000000000 planes"):
        open_tiff(path)


def test_ome_xml_that_is_cut_off_is_noted(tmp_path):
    path = tmp_path / "a.ome.tif"
    text = ome_xml(SIX_PLANES, SIX_PAGES)[:-9]
    tifffile.imwrite(path, PIXELS[0], description=text, metadata=None)
    (source,) = open_tiff(path)
    assert "its OME-XML is cut off or damaged, and was not used" in source.description.notes


def test_a_physical_size_that_is_no_number_is_noted(tmp_path):
    path = tmp_path / "a.ome.tif"
    size = 'SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="wide" PhysicalSizeY="2"'
    tifffile.imwrite(path, PIXELS[0], description=ome_xml(size, '<TiffData IFD="0"/>'), metadata=None)
    (source,) = open_tiff(path)
    assert any("PhysicalSizeX is 'wide', which is not a number" in note for note in source.description.notes)
    source.close()
