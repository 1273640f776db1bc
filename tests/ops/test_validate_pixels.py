"""``validate(pixels=True)``: chunks that cannot be decoded, and pyramids that are not what they say."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.models import axes


@pytest.fixture(params=["0.4", "0.5", "0.5 sharded"])
def image(request, tmp_path):
    version, _, sharded = request.param.partition(" ")
    path = tmp_path / "image.zarr"
    pixels = np.random.default_rng(0).integers(0, 60_000, (2, 37, 42), dtype="uint16")
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["A", "B"], axes=axes("cyx"), version=version
    ) as node:
        node.create_image("0", pixels, chunks=(1, 16, 16), shards_ratio=(1, 2, 2) if sharded else None)
        node.compute_pyramid(3, method="median")
    return path


def pixel_findings(path, jobs=None):
    report = lamella.validate(path, pixels=True, jobs=jobs)
    return [(finding.rule, finding.node) for finding in report.findings if finding.rule in ("LM-09", "LM-10")]


def a_chunk(path, level):
    """One stored chunk or shard of a level, its last one."""
    return sorted(file for file in (path / level).rglob("*") if file.is_file() and file.name.isdecimal())[-1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_sound_image_has_no_finding(image, jobs):
    assert pixel_findings(image, jobs) == []


def test_without_pixels_nothing_is_decoded(image):
    a_chunk(image, "0").write_bytes(b"junk")
    assert lamella.validate(image).valid


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_chunk_is_named_and_what_hangs_on_it_is_not_compared(image, jobs):
    chunk = a_chunk(image, "1")
    chunk.write_bytes(chunk.read_bytes()[:-9])
    report = lamella.validate(image, pixels=True, jobs=jobs)
    found = [finding for finding in report.findings if finding.rule.startswith("LM")]
    assert [(finding.rule, finding.node) for finding in found] == [("LM-09", "1")]
    assert chunk.relative_to(image / "1").as_posix() in found[0].found
    assert [node for node, _ in report.notes] == ["", ""]


def test_each_damaged_chunk_is_told(image):
    chunks = sorted(file for file in (image / "0").rglob("*") if file.is_file() and file.name.isdecimal())[:2]
    for chunk in chunks:
        chunk.write_bytes(b"")
    assert pixel_findings(image) == [("LM-09", "0")] * 2


def test_a_chunk_that_is_missing_is_empty_and_no_fault(image):
    a_chunk(image, "2").unlink()
    assert ("LM-09", "2") not in pixel_findings(image)


def test_a_level_that_was_not_computed_again_is_found_with_its_place(image):
    with lamella.open_ome_zarr(image, mode="r+") as node:
        node["0"][1, 36, 41] = 5
        node["1"][1, 18, 20] = 61_111
    report = lamella.validate(image, pixels=True)
    found = [finding for finding in report.findings if finding.rule == "LM-10"]
    assert [finding.node for finding in found] == ["1", "2"]
    assert found[0].found == "the voxel at [1, 18, 20] differs from level '0' downsampled by median"


def test_a_pyramid_of_another_maker_is_noted_and_not_compared(image):
    with lamella.open_ome_zarr(image, mode="r+") as node:
        node.metadata.multiscales[0].metadata["method"] = "skimage.transform.pyramid_gaussian"
        node.dump_meta()
        node["1"][0, 0, 0] = 61_111
    report = lamella.validate(image, pixels=True)
    assert report.findings == ()
    assert len(report.notes) == 1
    assert "pyramid_gaussian" in report.notes[0][1]
    assert "Not checked" in str(report)


def test_a_level_of_an_impossible_shape_is_found(image):
    with lamella.open_ome_zarr(image, mode="r+") as node:
        node["1"].resize((2, 19, 40))
    assert ("LM-10", "1") in pixel_findings(image)


def test_nan_is_equal_to_nan(tmp_path):
    pixels = np.full((8, 8), np.nan, "float32")
    with lamella.open_ome_zarr(
        tmp_path / "n.zarr", layout="fov", mode="w", channel_names=[], axes=axes("yx"), version="0.5"
    ) as node:
        node.create_image("0", pixels)
        node.compute_pyramid(2)
    assert pixel_findings(tmp_path / "n.zarr") == []


def test_a_level_whose_finer_one_was_deleted_is_not_compared(image):
    with lamella.open_ome_zarr(image, mode="r+") as node:
        del node["1"]
    assert pixel_findings(image) == []
    notes = [note for _, note in lamella.validate(image, pixels=True).notes]
    assert any("level 2 was computed from a level that was removed" in note for note in notes)
    with lamella.open_ome_zarr(image, mode="r+") as node:
        node.delete_pyramid()
        node.compute_pyramid(3, method="median")
    assert not lamella.validate(image, pixels=True).notes
