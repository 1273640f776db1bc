"""``reindex``: a plate made of the images that are there."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, MetadataError, ReadOnlyError
from lamella.models import AcquisitionMeta, axes


def write_image(path, version, value=1):
    """What one job does: an image of its own, without the plate."""
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI"], axes=axes("cyx"), version=version
    ) as image:
        image.create_image("0", np.full((1, 8, 8), value, "uint16"))


@pytest.fixture
def empty(tmp_path, version):
    """A plate without wells, with two acquisitions and keys nobody knows."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["DAPI"],
        axes=axes("cyx"),
        version=version,
        plate_name="screen",
        acquisitions=[AcquisitionMeta(id=2, name="day 1")],
    ) as plate:
        plate.zattrs["lab"] = "ours"
    return path


def paths(path):
    with lamella.open_ome_zarr(path) as plate:
        return [name for name, _ in plate.positions()]


def test_jobs_write_their_wells_and_one_call_makes_the_plate(empty, version):
    fields = [f"{row}/{column}/{field}" for row in ("B", "AA", "A") for column in (10, 9) for field in (1, 0)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda field: write_image(empty / field, version), fields))
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        plate.reindex()
        assert [row.name for row in plate.metadata.rows] == ["A", "B", "AA"]
        assert [column.name for column in plate.metadata.columns] == ["9", "10"]
        assert plate.metadata.name == "screen"
        assert plate.metadata.field_count == 2
        assert [
            (entry.id, entry.name, entry.maximum_field_count) for entry in plate.metadata.acquisitions
        ] == [(2, "day 1", 2)]
        assert plate.zattrs["lab"] == "ours"
        assert {image.acquisition for _, well in plate.wells() for image in well.metadata.images} == {2}
    assert paths(empty) == [
        f"{row}/{column}/{field}" for row in ("A", "B", "AA") for column in (9, 10) for field in (0, 1)
    ]
    report = lamella.validate(empty)
    assert set(report.rules) <= {"MS-09", "MS-10"}


def test_reindex_again_changes_nothing(empty, version, files):
    write_image(empty / "A/1/0", version)
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        plate.reindex()
        before = files(empty)
        plate.reindex()
    assert files(empty) == before


def test_what_is_known_is_kept_and_what_is_gone_is_not(empty, version):
    with lamella.open_ome_zarr(empty, mode="r+", axes=axes("cyx"), channel_names=["DAPI"]) as plate:
        for field in (("A", "1", "0"), ("A", "1", "1"), ("C", "5", "0")):
            plate.create_position(*field, acq_index=2).create_image("0", np.ones((1, 8, 8), "uint16"))
        plate.metadata.wells[0].note = "kept"
        plate.metadata.rows[1].note = "kept, too"
        plate.dump_meta()
        well = plate["A/1"]
        well.metadata.images[0].note = "in focus"
        well.dump_meta()
    shutil.rmtree(empty / "A/1/1")
    shutil.rmtree(empty / "C/5")
    write_image(empty / "A/2/f1", version)
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        for never_written in ("A/3", "A/3/0", "D", "D/1"):  # groups, and no image in them
            plate.documents.put_group(never_written, {})
        plate.reindex()
    with lamella.open_ome_zarr(empty) as plate:
        rows, wells = plate.metadata.rows, plate.metadata.wells
        assert [(row.name, getattr(row, "note", "")) for row in rows] == [("A", ""), ("C", "kept, too")]
        assert [(well.path, getattr(well, "note", "")) for well in wells] == [("A/1", "kept"), ("A/2", "")]
        assert [image.note for image in plate["A/1"].metadata.images] == ["in focus"]
        assert plate.metadata.field_count == 1


def test_a_plate_that_has_no_metadata_yet(tmp_path, version, files):
    path = tmp_path / "new.zarr"
    for field in ("A/1/0", "B/2/0"):
        write_image(path / field, version)
    before = files(path)
    plan = lamella.repair(path, reindex=True, dry_run=True)
    assert files(path) == before
    assert plan.after.valid
    done = lamella.repair(path, reindex=True)
    assert done.backup is None
    assert done.written
    assert paths(path) == ["A/1/0", "B/2/0"]
    with lamella.open_ome_zarr(path) as plate:
        assert plate.metadata.name == "new"
        assert plate.version == version
    assert lamella.validate(path).valid


def test_images_that_nobody_listed_are_found_then(empty, version):
    write_image(empty / "A/1/0", version)
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        plate.reindex()
    write_image(empty / "A/1/1", version)
    write_image(empty / "B/1/0", version)
    assert [finding.node for finding in lamella.validate(empty).findings if finding.rule == "LM-05"] == [
        "",
        "A/1",
    ]
    assert "LM-05" in lamella.repair(empty, reindex=True).rules
    assert "LM-05" not in lamella.validate(empty).rules
    assert paths(empty) == ["A/1/0", "A/1/1", "B/1/0"]


def test_a_damaged_plate_document_is_rebuilt_and_kept(empty, version):
    write_image(empty / "A/1/0", version)
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        plate.reindex()
    for node in ("", "A/1"):
        file = empty / node / ("zarr.json" if version == "0.5" else ".zattrs")
        file.write_text('{"damaged')
    assert lamella.validate(empty).rules[0] == "LM-01"
    done = lamella.repair(empty, reindex=True)
    assert done.after.valid
    assert paths(empty) == ["A/1/0"]


def test_a_damaged_well_is_not_rebuilt_without_a_backup(empty, version, files):
    write_image(empty / "A/1/0", version)
    with lamella.open_ome_zarr(empty, mode="r+") as plate:
        plate.reindex()
        (empty / "A/1" / ("zarr.json" if version == "0.5" else ".zattrs")).write_text("{")
        before = files(empty)
        with pytest.raises(MetadataError, match="lamella repair --reindex"):
            plate.reindex()
    assert files(empty) == before


@pytest.mark.parametrize("how", ["plate", "repair"])
def test_a_damaged_image_is_not_left_out_in_silence(empty, version, how):
    write_image(empty / "A/1/0", version)
    write_image(empty / "A/1/1", version)
    (empty / "A/1/1" / ("zarr.json" if version == "0.5" else ".zattrs")).write_text("{")
    call = {
        "repair": lambda: lamella.repair(empty, reindex=True),
        "plate": lambda: lamella.open_ome_zarr(empty, mode="r+").reindex(),
    }[how]
    with pytest.raises(MetadataError, match=r"/plate\.zarr/A/1/1 "):
        call()


def test_images_of_several_versions_are_refused(empty):
    write_image(empty / "A/1/0", "0.4")
    write_image(empty / "A/2/0", "0.5")
    with pytest.raises(MetadataError, match=r"0\.4 \(/.*/A/1/0\), 0\.5 \(/.*/A/2/0\)"):
        lamella.repair(empty, reindex=True)


def test_no_images_are_an_error(empty, files):
    before = files(empty)
    with pytest.raises(InvalidArgumentError, match="row/column/image"):
        lamella.open_ome_zarr(empty, mode="r+").reindex()
    assert files(empty) == before


def test_a_plate_that_is_open_for_reading_is_refused(empty):
    with pytest.raises(ReadOnlyError):
        lamella.open_ome_zarr(empty).reindex()


def test_stale_copies_go_with_the_new_lists(empty, version):
    write_image(empty / "A/1/0", version)
    if version == "0.5":
        document = json.loads((empty / "zarr.json").read_text())
        document["consolidated_metadata"] = {"kind": "inline", "metadata": {}}
        (empty / "zarr.json").write_text(json.dumps(document))
    else:
        (empty / ".zmetadata").write_text('{"metadata": {}}')
    lamella.repair(empty, reindex=True)
    assert "LM-08" not in lamella.validate(empty).rules
