"""The OME-XML of bioformats2raw: what is read from it, when it fills a gap, and that it never replaces metadata."""

from __future__ import annotations

import sys
import warnings
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

import lamella
from lamella import errors, open_ome_zarr
from lamella.nodes import ome_xml

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def image_xml(number: int, name: str, sizes: str = "", channels: tuple[str, ...] = ("DAPI", "GFP")) -> str:
    listed = "".join(
        f'<Channel ID="Channel:{number}:{index}" SamplesPerPixel="1"{f" Name={channel!r}" if channel else ""}/>'
        for index, channel in enumerate(channels)
    )
    return (
        f'<Image ID="Image:{number}" Name="{name}"><AcquisitionDate>2026-03-0{number + 1}T09:30:00</AcquisitionDate>'
        f'<Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="1" '
        f'Type="uint8" {sizes}>{listed}<MetadataOnly/></Pixels></Image>'
    )


SIZES = (
    'PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="0.65" PhysicalSizeZ="2" PhysicalSizeZUnit="µm" '
    'TimeIncrement="30" TimeIncrementUnit="s"'
)
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + f']><OME xmlns="{SCHEMA}"><Image ID="Image:0" Name="&i;"/></OME>'
)
OUTSIDE = f'<!DOCTYPE OME [<!ENTITY f SYSTEM "file:///etc/passwd">]><OME xmlns="{SCHEMA}">&f;</OME>'


def ome(*images: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SCHEMA}">{"".join(images)}</OME>'


def scan(
    path: Path, xml: str | None, *, omero: bool = False, unit: str | None = None, scale: float = 1
) -> Path:
    """A collection of two images of two levels, whose metadata say as little as asked."""
    top = zarr.create_group(path, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    top.create_group("OME", attributes={"series": ["0", "1"]})
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space"} | ({"unit": unit} if unit else {}) for name in "zyx"]
    datasets = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1, scale, scale]}]},
        {
            "path": "1",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1, 1, 2 * scale, 2 * scale]},
                {"type": "translation", "translation": [0, 0, 0, 0.5 * scale, 0.5 * scale]},
            ],
        },
    ]
    attributes: dict[str, object] = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    if omero:
        window = {"start": 0, "end": 255, "min": 0, "max": 255}
        channels = [{"label": label, "color": "FF0000", "window": window} for label in ("red", "blue")]
        attributes["omero"] = {"channels": channels}
    for name in ("0", "1"):
        image = top.create_group(name, attributes=attributes)
        keys = {"name": "v2", "separator": "/"}
        image.create_array("0", data=np.zeros((1, 2, 1, 8, 8), "uint8"), chunk_key_encoding=keys)
        image.create_array("1", data=np.zeros((1, 2, 1, 4, 4), "uint8"), chunk_key_encoding=keys)
    if xml is not None:
        (path / ome_xml.XML).write_text(xml, encoding="utf-8")
    return path


FULL = ome(image_xml(0, "nuclei", SIZES), image_xml(1, "cells", SIZES))


def test_names_dates_channels_and_sizes_of_each_image_are_read(path):
    with open_ome_zarr(scan(path, FULL)) as collection:
        images = collection.ome_images()
        assert list(images) == ["0", "1"]
        cells = images["1"]
        assert (cells.name, cells.acquired) == ("cells", datetime(2026, 3, 2, 9, 30))
        assert cells.channel_names == ("DAPI", "GFP")
        assert cells.scale == {"x": 650, "y": 0.65, "z": 2, "t": 30}
        assert cells.units == {"x": "nanometer", "y": "micrometer", "z": "micrometer", "t": "second"}
        with pytest.warns(UserWarning, match="were used"):
            assert collection["1"].ome_image == cells
        assert [image.name for image in collection.ome_metadata().images] == ["nuclei", "cells"]


@pytest.mark.parametrize("mu", ["\u00b5", "\u03bc", "&#956;", "&#x3BC;", "&#181;"])
def test_every_micro_sign_is_one_unit(path, mu):
    sizes = f'PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeZ="2" PhysicalSizeZUnit="{mu}m"'
    with open_ome_zarr(
        scan(path, ome(image_xml(0, "nuclei", sizes), image_xml(1, "cells", sizes)))
    ) as collection:
        assert collection.ome_images()["0"].units == {"x": "nanometer", "z": "micrometer"}


def test_a_plate_of_bioformats2raw_has_the_dates_of_its_well_samples(foreign):
    plate = open_ome_zarr(foreign("v04_bioformats2raw_plate"))
    images = plate.ome_images()
    assert list(images) == [path for path, _ in plate.positions()]
    assert {image.acquired for image in images.values()} == {datetime(2006, 5, 4, 18, 13, 51)}
    assert plate["B/2/1"].ome_image.name == "hcs 8"
    assert open_ome_zarr(f"{plate.zgroup.store.root}/B/2/1").ome_image.name == "hcs 8"


def test_a_gap_is_filled_with_a_warning_that_names_the_file_once(path):
    collection = open_ome_zarr(scan(path, FULL))
    with pytest.warns(UserWarning, match=r"without physical sizes.*METADATA\.ome\.xml were used"):
        image = collection["0"]
    with pytest.warns(UserWarning, match="without channel names"):
        assert image.channel_names == ["DAPI", "GFP"]
    assert collection["1"].channel_names == ["DAPI", "GFP"]  # a warning would be an error here
    assert image.scale == [30, 1, 2, 0.65, 650]
    assert image.get_effective_scale("1") == [30, 1, 2, 1.3, 1300]
    assert image.get_effective_translation("1") == [0, 0, 0, 0.325, 325]
    assert [axis.unit for axis in image.axes] == ["second", None, "micrometer", "micrometer", "nanometer"]
    assert image.to_xarray().coords["x"][1] == 650


def test_an_image_that_is_opened_by_itself_says_the_same(path):
    scan(path, FULL)
    with pytest.warns(UserWarning, match="were used"):
        image = open_ome_zarr(path / "1")
    assert image.scale == [30, 1, 2, 0.65, 650]
    assert image.ome_image.name == "cells"


@pytest.mark.parametrize(("unit", "scale"), [("micrometer", 1), (None, 0.25), ("micrometer", 0.25)])
def test_what_the_metadata_say_is_never_replaced(path, unit, scale):
    xml = FULL.replace('TimeIncrement="30"', "")
    image = open_ome_zarr(scan(path, xml, omero=True, unit=unit, scale=scale))["0"]
    assert image.channel_names == ["red", "blue"]
    assert image.scale[3:] == [scale, scale]
    if unit:
        assert image.scale == [1, 1, 1, scale, scale]
        assert [axis.unit for axis in image.axes] == [None, None, unit, unit, unit]


def test_reading_writes_nothing_and_an_edit_writes_what_was_taken(path, files):
    scan(path, FULL)
    before = files(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with open_ome_zarr(path, mode="r+") as collection:
            image = collection["0"]
            assert image.scale[2] == 2
            assert files(path) == before
            image.rename_channel("GFP", "Actin")
    (path / ome_xml.XML).unlink()
    again = open_ome_zarr(path)["0"]
    assert again.channel_names == ["DAPI", "Actin"]
    assert again.scale == [30, 1, 2, 0.65, 650]


def test_names_for_another_number_of_channels_are_not_taken(path):
    xml = ome(*(image_xml(number, "scan", channels=("DAPI",)) for number in (0, 1)))
    assert open_ome_zarr(scan(path, xml))["0"].channel_names == ["channel_0", "channel_1"]


def test_images_are_not_matched_by_order_when_their_numbers_differ(path):
    """After a deletion, the first description would name the wrong image (BF-07)."""
    scan(path, FULL, omero=True, unit="micrometer")
    with open_ome_zarr(path, mode="r+") as collection:
        del collection["0"]
    with pytest.raises(errors.MetadataError, match="describes 2 images, but the collection has 1"):
        open_ome_zarr(path).ome_images()


DAMAGED = {
    "empty": "",
    "cut off": FULL[: len(FULL) // 2],
    "no XML": "{}",
    "another root": "<html/>",
    "a size that is no number": FULL.replace('"650"', '"wide"'),
    "a date that is none": FULL.replace("2026-03-01T", "yesterday "),
    "an image without pixels": ome('<Image ID="Image:0"/>'),
    "an entity bomb": BOMB,
    "an entity of a file": OUTSIDE,
    "endless nesting": ome("<a>" * 100_000 + "</a>" * 100_000),
}


@pytest.mark.parametrize("xml", DAMAGED.values(), ids=DAMAGED)
def test_damaged_xml_is_one_clear_error_and_the_images_still_open(path, xml):
    collection = open_ome_zarr(scan(path, xml))
    for ask in (collection.ome_metadata, collection.ome_images):
        with pytest.raises(errors.MetadataError, match=r"OME/METADATA\.ome\.xml cannot be read: ") as caught:
            ask()
        assert len(str(caught.value)) < 600
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert collection["0"].scale == [1] * 5
        assert collection["1"].channel_names == ["channel_0", "channel_1"]
    assert len(said) <= 1


def test_other_threads_keep_their_filters_of_warnings_while_xml_is_parsed(path, monkeypatch):
    ome_types = pytest.importorskip("ome_types")
    seen, from_xml = [], ome_types.from_xml

    def watching(*args, **options):
        seen.append(warnings.filters)
        return from_xml(*args, **options)

    monkeypatch.setattr(ome_types, "from_xml", watching)
    open_ome_zarr(scan(path, FULL)).ome_metadata()
    assert [filters is warnings.filters for filters in seen] == [True]


def test_values_that_other_programs_write_in_their_own_way_are_read(path):
    pytest.importorskip("ome_types")
    xml = FULL.replace("DimensionOrder=", 'BigEndian="True" SignificantBits="8.0" DimensionOrder=')
    pixels = open_ome_zarr(scan(path, xml)).ome_metadata().images[0].pixels
    assert (pixels.big_endian, pixels.significant_bits) == (True, 8)


@pytest.mark.parametrize("number", ["a b", "nuclei", "Pixels:7"])
def test_ids_that_the_schema_does_not_allow_are_one_warning_with_the_path(path, number):
    pytest.importorskip("ome_types")
    collection = open_ome_zarr(scan(path, FULL.replace('"Image:1"', f'"{number}"')))
    with pytest.warns(
        errors.MetadataWarning, match=rf"METADATA.ome.xml has 1 id that .* such as '{number}'"
    ) as said:
        assert len(collection.ome_metadata().images) == 2
    assert len(said) == 1


def test_ids_of_filters_leaders_and_annotations_cause_no_warning(path):
    pytest.importorskip("ome_types")
    others = """<Experimenter ID="Experimenter:0"/>
    <ExperimenterGroup ID="ExperimenterGroup:0"><Leader ID="Experimenter:0"/></ExperimenterGroup>
    <Instrument ID="Instrument:9"><FilterSet ID="FilterSet:0"><ExcitationFilterRef ID="Filter:0"/>
    <EmissionFilterRef ID="Filter:0"/></FilterSet><Filter ID="Filter:0"/></Instrument>
    <StructuredAnnotations><XMLAnnotation ID="Annotation:0"><Value><Note xmlns="urn:mine" ID="a b"/></Value>
    </XMLAnnotation></StructuredAnnotations></OME>"""
    collection = open_ome_zarr(scan(path, FULL.replace("</OME>", others)))
    assert len(collection.ome_metadata().images) == 2


def test_xml_beyond_all_sense_is_not_read(path, monkeypatch):
    monkeypatch.setattr(ome_xml, "MAX_XML_BYTES", 100)
    collection = open_ome_zarr(scan(path, FULL, omero=True, unit="micrometer"))
    with pytest.raises(errors.MetadataError, match=f"it has {len(FULL.encode())} bytes"):
        collection.ome_metadata()


def test_xml_that_is_added_after_a_look_is_read(path):
    with open_ome_zarr(scan(path, None)) as collection:
        with pytest.raises(errors.NodeNotFoundError):
            collection.ome_images()
        image = collection["0"]
        assert image.ome_image is None
        (path / ome_xml.XML).write_text(FULL, encoding="utf-8")
        assert collection.ome_images()["0"] == image.ome_image


def test_missing_xml_is_said(path):
    collection = open_ome_zarr(scan(path, None))
    for ask in (collection.ome_metadata, collection.ome_images):
        with pytest.raises(errors.NodeNotFoundError, match=r"no OME/METADATA\.ome\.xml"):
            ask()
    assert collection["0"].ome_image is None
    assert collection["0"].channel_names == ["channel_0", "channel_1"]


def test_only_the_whole_model_needs_the_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ome_types", None)
    collection = open_ome_zarr(scan(path, FULL))
    with pytest.raises(errors.MissingDependencyError, match=r'pip install "lamella\[ome\]"'):
        collection.ome_metadata()
    with pytest.warns(UserWarning, match="were used"):
        image = collection["0"]
    with pytest.warns(UserWarning, match="were used"):
        assert image.channel_names == ["DAPI", "GFP"]
    assert image.scale == [30, 1, 2, 0.65, 650]
    assert (image.ome_image.name, collection.ome_images()["1"].name) == ("nuclei", "cells")


def test_files_without_what_is_missing_are_not_parsed(path, monkeypatch):
    """Large files take long."""
    monkeypatch.setattr(ome_xml, "parse_ome_xml", None)
    bare = ome(image_xml(0, "a"), image_xml(1, "b"))
    assert open_ome_zarr(scan(path, bare, omero=True))["0"].scale == [1] * 5


@pytest.mark.parametrize("name", ["v04_bioformats2raw_plate", "v04_bioformats2raw_series"])
def test_the_xml_outlives_every_operation_on_its_store(foreign, name, tmp_path):
    store = foreign(name)
    xml = (store / ome_xml.XML).read_bytes()
    series = list(open_ome_zarr(store).ome_images())
    lamella.repair(store)
    lamella.upgrade(store, "0.5", tmp_path / "newer.zarr")
    lamella.rechunk(tmp_path / "newer.zarr", chunks=(1, 1, 1, 4, 4))
    lamella.upgrade(tmp_path / "newer.zarr", "0.6")
    for root in (store, tmp_path / "newer.zarr"):
        assert (root / ome_xml.XML).read_bytes() == xml
        assert list(open_ome_zarr(root).ome_images()) == series


def test_a_renamed_well_keeps_what_the_xml_says_of_its_images(foreign):
    path = foreign("v04_bioformats2raw_plate")
    with open_ome_zarr(path, mode="r+") as plate:
        plate.rename_well("B/2", "C/7")
    with open_ome_zarr(path) as plate:
        assert plate["C/7/1"].ome_image.name == "hcs 8"
        assert list(plate.ome_images())[-2:] == ["C/7/0", "C/7/1"]
