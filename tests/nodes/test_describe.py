"""What a description says of images, plates, rows, wells and collections, damaged ones included."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import lamella
from lamella.errors import InvalidArgumentError
from lamella.models import AcquisitionMeta, axes
from lamella.nodes.describe import (
    CollectionDescription,
    FieldDescription,
    PlateDescription,
    RowDescription,
    UnreadableNode,
    WellDescription,
    describe,
    to_json,
)


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.fixture
def image(tmp_path, version):
    """A two-channel image of two levels with labels; its path."""
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP", "DAPI"], axes=axes("czyx"), version=version
    ) as position:
        ratio = (1, 1, 2, 2) if version == "0.5" else None
        position.create_image("0", np.ones((2, 3, 8, 8), "uint16"), chunks=(1, 3, 4, 4), shards_ratio=ratio)
        position.set_scale("0", "x", 0.25)
        position.compute_pyramid(2)
        position.set_contrast_limits("DAPI", {"start": 10, "end": 90, "min": 0, "max": 100})
        position.labels.create("cells", np.ones((3, 8, 8), "uint8"))
    return path


@pytest.fixture
def plate(tmp_path, version):
    """A plate of three wells with 2, 1 and 0 fields; its path."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["GFP"],
        axes=axes("cyx"),
        version=version,
        plate_name="drugs",
        acquisitions=[AcquisitionMeta(id=0, name="day 1"), AcquisitionMeta(id=3, name="day 2")],
    ) as node:
        for row, column, field, acquisition in (("A", "1", "0", 0), ("A", "1", "1", 3), ("B", "2", "0", 0)):
            node.create_position(row, column, field, acq_index=acquisition)["0"] = np.zeros(
                (1, 8, 6), "uint8"
            )
        node.create_well("B", "3")
    return path


def damage(path):
    """Make the document of a group unreadable."""
    file = path / "zarr.json" if (path / "zarr.json").exists() else path / ".zattrs"
    file.write_text("{")


def test_an_image_with_everything(image, version):
    summary = describe(lamella.open_ome_zarr(image))
    assert (summary.kind, summary.version, summary.name) == ("image", version, "image")
    assert [(axis.name, axis.type, axis.unit) for axis in summary.axes][::3] == [
        ("c", "channel", None),
        ("x", "space", "micrometer"),
    ]
    finest, coarse = summary.levels
    assert (finest.path, finest.shape, finest.dtype) == ("0", (2, 3, 8, 8), "uint16")
    assert (finest.chunks, finest.shards) == ((1, 3, 4, 4), (1, 3, 8, 8) if version == "0.5" else None)
    assert finest.compressor == "blosc zstd 1 bitshuffle"
    assert finest.scale == (1, 1, 1, 0.25)
    assert (coarse.shape, coarse.scale[3]) == ((2, 2, 4, 4), 0.5)
    assert coarse.translation[3] == 0.125
    assert [(channel.name, channel.color) for channel in summary.channels] == [
        ("GFP", "00FF00"),
        ("DAPI", "0000FF"),
    ]
    assert summary.channels[1].window == (10, 90)
    assert summary.labels == ("cells",)
    assert finest.files is None


def test_details_count_the_files_and_bytes_of_each_level(image):
    summary = describe(lamella.open_ome_zarr(image), details=True)
    for level in summary.levels:
        files = [file for file in (image / level.path).rglob("*") if file.is_file()]
        assert level.files == len(files)
        assert level.stored_bytes == sum(file.stat().st_size for file in files)


def test_an_image_without_pixels_yet(tmp_path, version):
    node = lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["GFP"], version=version
    )
    summary = describe(node)
    assert summary.levels == ()
    assert [channel.name for channel in summary.channels] == ["GFP"]


def test_a_level_that_is_gone_is_damage_and_the_others_are_told(image, version):
    document = image / "1" / ("zarr.json" if version == "0.5" else ".zarray")
    document.unlink()
    finest, coarse = describe(lamella.open_ome_zarr(image)).levels
    assert finest.shape == (2, 3, 8, 8)
    assert coarse == UnreadableNode("1", coarse.error)
    assert f"{document.name} is missing: restore" in coarse.error


def test_a_plate_from_its_documents(plate, version):
    summary = describe(lamella.open_ome_zarr(plate))
    assert isinstance(summary, PlateDescription)
    assert (summary.name, summary.version) == ("drugs", version)
    assert (summary.rows, summary.columns) == (("A", "B"), ("1", "2", "3"))
    assert summary.wells == ("A/1", "B/2", "B/3")
    assert [(item.id, item.name) for item in summary.acquisitions] == [(0, "day 1"), (3, "day 2")]
    assert summary.first_path == "A/1/0"
    assert summary.first.levels[0].shape == (1, 8, 6)
    assert summary.positions is None
    assert not summary.damaged


def test_a_plate_without_a_field_count_says_so(plate):
    node = lamella.open_ome_zarr(plate, mode="r+")
    node.metadata.field_count = None
    node.dump_meta()
    assert describe(node).field_count is None


def test_a_plate_reads_as_many_documents_as_a_plate_of_one_position(tmp_path, monkeypatch):
    def documents_read(fields):
        path = tmp_path / f"{fields}.zarr"
        with lamella.open_ome_zarr(
            path, layout="hcs", mode="w", channel_names=["GFP"], version="0.5"
        ) as node:
            node.create_positions([("A", str(1 + field // 4), str(field % 4)) for field in range(fields)])
        read = []
        node = lamella.open_ome_zarr(path)
        storage = type(node.documents.storage)
        original = storage.read
        with monkeypatch.context() as patch:
            patch.setattr(storage, "read", lambda self, key: read.append(key) or original(self, key))
            describe(node)
        return len(read)

    assert documents_read(40) == documents_read(1)


def test_no_pixel_is_read(image, monkeypatch):
    monkeypatch.setattr(lamella.ImageArray, "__getitem__", lambda *_: pytest.fail("pixels were read"))
    assert describe(lamella.open_ome_zarr(image), details=True).levels


def test_details_list_every_position_with_its_acquisition(plate):
    summary = describe(lamella.open_ome_zarr(plate), details=True)
    assert summary.positions == tuple(
        FieldDescription(path, (1, 8, 6), "uint8", 1, (1.0, 1.0, 1.0), acquisition)
        for path, acquisition in (("A/1/0", 0), ("A/1/1", 3), ("B/2/0", 0))
    )


def test_damaged_wells_and_positions_are_listed_in_their_places(plate, version):
    damage(plate / "A" / "1" / "0")
    damage(plate / "B" / "2")
    (plate / "A" / "1" / "1" / "0" / ("zarr.json" if version == "0.5" else ".zarray")).unlink()
    summary = describe(lamella.open_ome_zarr(plate), details=True)
    assert [line.path for line in summary.positions] == ["A/1/0", "A/1/1", "B/2"]
    assert all(isinstance(line, UnreadableNode) for line in summary.positions)
    assert summary.damaged == summary.positions
    assert summary.is_unreadable


def test_the_first_position_that_opens_is_shown(plate):
    damage(plate / "A" / "1" / "0")
    summary = describe(lamella.open_ome_zarr(plate))
    assert summary.first_path == "A/1/1"
    assert [line.path for line in summary.damaged] == ["A/1/0"]
    assert not summary.is_unreadable


def test_an_empty_plate_is_no_damage(tmp_path, version):
    node = lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version=version
    )
    summary = describe(node, details=True)
    assert (summary.wells, summary.first, summary.positions) == ((), None, ())
    assert not summary.is_unreadable


def test_a_row_and_a_well(plate):
    row = describe(lamella.open_ome_zarr(plate / "B"), details=True)
    assert isinstance(row, RowDescription)
    assert (row.name, row.wells) == ("B", ("2", "3"))
    assert [line.path for line in row.positions] == ["2/0"]
    well = describe(lamella.open_ome_zarr(plate / "A" / "1"))
    assert isinstance(well, WellDescription)
    assert (well.fields, well.first_path, well.wells) == (("0", "1"), "0", ())


def test_a_collection_of_images(tmp_path):
    path = tmp_path / "scan.zarr"
    zarr.create_group(path, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for name in ("0", "1"):
        with lamella.open_ome_zarr(path / name, layout="fov", mode="w", channel_names=["GFP"]) as position:
            position["0"] = np.zeros((1, 1, 1, 4, 4), "uint8")
    damage(path / "0")
    summary = describe(lamella.open_ome_zarr(path))
    assert isinstance(summary, CollectionDescription)
    assert (summary.images, summary.first_path) == (("0", "1"), "1")
    assert [line.path for line in summary.damaged] == ["0"]


def test_label_images_that_cannot_be_listed_have_a_reason(image, version):
    document = image / "labels" / (".zattrs" if version == "0.4" else "zarr.json")
    document.write_text("{")
    described = to_json(describe(lamella.open_ome_zarr(image)))
    assert described["labels"] == []
    assert str(document) in described["labels_fault"]
    assert f"labels: damaged: {document}" in lamella.open_ome_zarr(image)._repr_html_()


def test_a_node_without_a_summary_is_refused(image):
    with pytest.raises(InvalidArgumentError, match="nothing to describe"):
        describe(lamella.open_ome_zarr(image).labels)


@pytest.mark.parametrize("details", [False, True])
def test_json_is_json_and_says_its_kind_first(image, plate, details):
    for path, kind in ((image, "image"), (plate, "plate"), (plate / "A", "row"), (plate / "A" / "1", "well")):
        document = to_json(describe(lamella.open_ome_zarr(path), details=details))
        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert next(iter(document.items())) == ("kind", kind)


def test_numbers_that_json_lacks_are_null(image):
    node = lamella.open_ome_zarr(image, mode="r+")
    node.metadata.omero.channels[0].window = {"start": 0, "end": float("nan"), "min": 0, "max": 1}
    summary = describe(node)
    assert summary.channels[0].window is None
    json.dumps(to_json(summary), allow_nan=False)
