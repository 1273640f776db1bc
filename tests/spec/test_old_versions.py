"""0.1, 0.2 and 0.3 are read with what they leave open guessed and said, and never written."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.models import ImageLabelMeta, ImagesMeta, LabelsMeta, PlateMeta, WellGroupMeta
from lamella.spec.geometry import effective_scale
from lamella.spec.rules import check_attributes
from lamella.spec.versions import VERSIONS, SpecVersion, by_name, convert_attributes, detect
from lamella.spec.versions.older_documents import guesses_of

OLD = [version for version in VERSIONS if not version.writable]


@pytest.fixture(params=OLD, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> SpecVersion:
    return request.param


def image(version: str | None, **more: Any) -> dict[str, Any]:
    scales = {"name": "cells", "datasets": [{"path": "0"}, {"path": "1"}, {"path": "2"}], "own": 1} | more
    return {"multiscales": [scales | ({"version": version} if version else {})], "omero": {"channels": []}}


def plate(version: str | None, **well: Any) -> dict[str, Any]:
    listed = {
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "2"}],
        "wells": [{"path": "B/1"} | well],
    }
    return {"plate": listed | ({"version": version} if version else {})}


LEVEL = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        (image("0.1"), "0.1"),
        (image("0.2"), "0.2"),
        ({"multiscales": [{"version": 0.1, "datasets": [{"path": "0"}]}]}, "0.1"),
        ({"well": {"version": 0.1, "images": []}}, "0.1"),
        ({"plate": {"version": 0.2, "rows": [], "columns": [], "wells": []}}, "0.2"),
        (image(None), "0.2"),
        (image("0.3", axes=["y", "x"]), "0.3"),
        (image(None, axes=["y", "x"]), "0.3"),
        (image("0.4", axes=["y", "x"]), "0.3"),
        (image("0.1", axes=[{"name": "y"}, {"name": "x"}]), "0.4"),
        (image("0.1", datasets=[LEVEL]), "0.4"),
        (image(None, axes=[{"name": "y"}, {"name": "x"}]), "0.4"),
        (image("0.4"), "0.4"),
        (image("0.4", axes=[]), "0.4"),
        (plate("0.1"), "0.1"),
        (plate(None), "0.3"),
        (plate("0.2", rowIndex=1, columnIndex=0), "0.4"),
        (plate("0.4"), "0.4"),
        ({"plate": {"version": "0.2", "rows": [], "columns": [], "wells": []}}, "0.2"),
        ({"plate": {"rows": [], "columns": [], "wells": []}}, "0.4"),
        ({"well": {"version": "0.1", "images": []}}, "0.1"),
        ({"well": {"images": []}}, "0.4"),
        ({"image-label": {"version": "0.3"}}, "0.3"),
        ({"labels": ["nuclei"]}, "0.4"),
        ({"multiscales": "0.1"}, "0.4"),
        ({"multiscales": [{"version": ["0.1"], "datasets": 3}]}, "0.4"),
    ],
)
def test_the_version_is_found(attributes: dict[str, Any], name: str) -> None:
    assert detect(2, attributes) is by_name(name)


@pytest.mark.parametrize("name", ["0.1", "0.2"])
def test_axes_and_pixel_sizes_are_guessed_and_said_once(name: str) -> None:
    document, before = image(name), image(name)
    assert re.match(
        rf"OME-NGFF {name} states no axes: .*t, c, z, y, x.*2\*\*n", guesses_of(document, name) or ""
    )
    meta = by_name(name).load(ImagesMeta, document)
    assert meta is not None
    listed = [(axis.name, axis.type, axis.unit) for axis in meta.multiscales[0].axes]
    kinds = ["time", "channel", "space", "space", "space"]
    assert listed == [(letter, kind, None) for letter, kind in zip("tczyx", kinds, strict=True)]
    assert effective_scale(meta, "2") == [1, 1, 1, 4, 4]
    assert document == before


def test_named_axes_get_their_types() -> None:
    document = image("0.3", axes=["c", "z", "y", "x"])
    assert re.search("states no pixel sizes: .* along y and x", guesses_of(document, "0.3") or "")
    meta = by_name("0.3").load(ImagesMeta, document)
    assert meta is not None
    assert [axis.type for axis in meta.multiscales[0].axes] == ["channel", "space", "space", "space"]
    assert effective_scale(meta, "1") == [1, 1, 2, 2]
    assert meta.multiscales[0].model_extra == {"own": 1}


def test_wells_are_numbered_by_their_paths(version: SpecVersion) -> None:
    meta = version.load(PlateMeta, plate(version.name))
    assert meta is not None
    assert (meta.wells[0].row_index, meta.wells[0].column_index) == (1, 0)


def test_a_well_outside_its_plate_is_refused(version: SpecVersion) -> None:
    document = plate(version.name)
    document["plate"]["rows"].pop()
    with pytest.raises(MetadataError, match=r"plate\.wells\[0\]\.path: 'B/1' is not in the rows"):
        version.load(PlateMeta, document)


def test_the_other_parts_are_read_as_in_04(version: SpecVersion) -> None:
    for kind, document in (
        (WellGroupMeta, {"well": {"version": version.name, "images": [{"path": "0", "acquisition": 1}]}}),
        (LabelsMeta, {"labels": ["nuclei"]}),
        (ImageLabelMeta, {"image-label": {"version": version.name, "colors": [{"label-value": 1}]}}),
    ):
        assert version.load(kind, document) == by_name("0.4").load(kind, document)


@pytest.mark.parametrize(
    "damaged", [{"axes": 3}, {"axes": ["y", 1]}, {"datasets": 3}, {"datasets": ["0"]}, {"axes": [{}]}]
)
def test_a_damaged_image_is_refused(version: SpecVersion, damaged: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match=r"multiscales\[0\]"):
        version.load(ImagesMeta, image(version.name, **damaged))


def test_nothing_is_written(version: SpecVersion) -> None:
    assert version.written_as == "0.4"
    said = rf"OME-NGFF {version.name} is read, not written: upgrade"
    with pytest.raises(InvalidArgumentError, match=said):
        version.dump(LabelsMeta(labels=[]), {})
    with pytest.raises(InvalidArgumentError, match=said):
        version.with_ome({}, {})
    with pytest.raises(InvalidArgumentError, match=said):
        convert_attributes({"labels": []}, by_name("0.4"), version)


@pytest.mark.parametrize("target", ["0.4", "0.5", "0.6"])
def test_a_document_becomes_a_valid_one_of_a_newer_version(version: SpecVersion, target: str) -> None:
    source = image(version.name) if version.name < "0.3" else image("0.3", axes=list("tczyx"))
    written = convert_attributes(source, version, by_name(target))
    assert not [finding for finding in check_attributes("image", written, target) if finding.level == "MUST"]
    wells = convert_attributes(plate(version.name), version, by_name(target))
    assert not [finding for finding in check_attributes("plate", wells, target) if finding.level == "MUST"]


def test_an_older_image_in_a_collection_of_04_is_read_but_not_written() -> None:
    v04, document = by_name("0.4"), image("0.2")
    meta = v04.load(ImagesMeta, document)
    assert meta is not None
    before = copy.deepcopy(document)
    with pytest.raises(InvalidArgumentError, match=r"0\.2 is read, not written"):
        v04.dump(meta, document)
    assert document == before
