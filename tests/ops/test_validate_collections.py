"""``validate`` of bioformats2raw collections, consolidated metadata, older versions and scenes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

import lamella
from lamella.errors import MetadataError, MetadataWarning
from lamella.models import axes

STORES = Path(__file__).parent.parent / "data" / "stores"


@pytest.fixture
def series(tmp_path):
    """A copy of a collection of two images, which lists them in OME."""
    return shutil.copytree(STORES / "v04_bioformats2raw_series" / "bf2raw.zarr", tmp_path / "series.zarr")


@pytest.fixture
def screen(tmp_path):
    """A copy of a collection that is a plate."""
    return shutil.copytree(STORES / "v04_bioformats2raw_plate" / "hcs.zarr", tmp_path / "screen.zarr")


def change(file, edit):
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def rules(path):
    return {
        finding.rule for finding in lamella.validate(path).findings if finding.rule[:2] in ("BF", "LM", "PL")
    }


def test_images_are_numbered_where_nothing_lists_them(series):
    change(series / "OME" / ".zattrs", lambda ome: ome.pop("series"))
    assert rules(series) == set()
    (series / "1").rename(series / "2")
    assert rules(series) == {"BF-06"}
    shutil.rmtree(series / "0")
    shutil.rmtree(series / "2")
    assert rules(series) == {"BF-06", "BF-07"}


def test_a_listed_image_that_is_missing(series):
    shutil.rmtree(series / "1")
    assert rules(series) == {"BF-05"}


def test_images_of_the_xml_in_another_order_than_the_series(series):
    file = series / "OME" / "METADATA.ome.xml"
    text = file.read_text()
    assert text.count('SizeX="8"') == 2
    file.write_text(
        text.replace('SizeX="8"', 'SizeX="9"', 1)
    )  # the first image of the XML is not the first one
    assert rules(series) == {"BF-07"}


def test_more_images_in_the_xml_than_in_the_collection(series):
    change(series / "OME" / ".zattrs", lambda ome: ome.update(series=["0"]))
    assert rules(series) == {"BF-07"}


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (None, {("BF-03", "SHOULD")}),
        ("<OME", {("BF-03", "MUST")}),
        ("<TIFF><Image/><Image/></TIFF>", {("BF-03", "MUST")}),
        ("<OME><Image><Pixels><TiffData/></Pixels></Image><Image/></OME>", {("BF-03", "MUST")}),
        ("<OME><BinaryOnly/><Image/><Image/></OME>", {("BF-03", "MUST")}),
        ('<!DOCTYPE OME [<!ENTITY a "b">]><OME><Image/><Image/></OME>', {("BF-03", "MUST")}),
        ("<OME><Image/><Image/></OME>", set()),
    ],
)
def test_the_xml_is_there_and_without_pixels(series, xml, expected):
    file = series / "OME" / "METADATA.ome.xml"
    file.unlink()
    if xml is not None:
        file.write_text(xml)
    found = {(finding.rule, finding.level) for finding in lamella.validate(series).findings}
    assert {pair for pair in found if pair[0].startswith("BF")} == expected


def test_wells_without_a_plate(screen):
    change(screen / ".zattrs", lambda attributes: attributes.pop("plate"))
    assert "BF-02" in rules(screen)
    (screen / "OME" / ".zattrs").unlink()
    assert "BF-02" in rules(screen)


def test_a_series_that_is_not_that_of_the_plate(screen):
    change(screen / "OME" / ".zattrs", lambda ome: ome["series"].pop())
    assert rules(screen) == {"BF-04", "BF-07", "PL-09"}
    (screen / "OME" / ".zattrs").unlink()
    assert rules(screen) == {"BF-04", "PL-09"}


def test_an_ome_folder_without_a_document_is_usual(series):
    (series / "OME" / ".zgroup").unlink()
    (series / "OME" / ".zattrs").unlink()
    assert rules(series) == set()


# -- consolidated metadata -------------------------------------------------------------------------------------------


@pytest.fixture
def consolidated(tmp_path, version):
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["G"], axes=axes("cyx"), version=version
    ) as image:
        image.create_image("0", np.ones((1, 4, 4), "uint8"))
    with pytest.warns() if version == "0.5" else _nothing():
        zarr.consolidate_metadata(str(path))
    assert (path / ".zmetadata").exists() or "consolidated_metadata" in (path / "zarr.json").read_text()
    return path


class _nothing:  # noqa: N801
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_fresh_copies_are_no_finding(consolidated):
    assert rules(consolidated) == set()


def test_copies_that_miss_a_change_are_stale(consolidated):
    file = next(file for file in (consolidated / "0").iterdir() if file.name in ("zarr.json", ".zarray"))
    change(file, lambda array: array.update(shape=[1, 4, 3]))
    assert rules(consolidated) == {"LM-08"}


def test_copies_of_an_array_that_is_gone_are_stale(consolidated):
    shutil.rmtree(consolidated / "0")
    assert "LM-08" in rules(consolidated)


def test_copies_that_lack_an_array_are_stale(consolidated):
    shutil.copytree(consolidated / "0", consolidated / "1")
    document = next(file for file in consolidated.iterdir() if file.name in ("zarr.json", ".zattrs"))

    def add(content):
        ome = content["attributes"]["ome"] if "attributes" in content else content
        ome["multiscales"][0]["datasets"].append({**ome["multiscales"][0]["datasets"][0], "path": "1"})

    change(document, add)
    assert rules(consolidated) == {"LM-08"}


# -- other versions --------------------------------------------------------------------------------------------------


def test_older_versions_are_said_not_to_be_judged(tmp_path):
    path = tmp_path / "old.zarr"
    group = zarr.create_group(path, zarr_format=2)
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]
    group.create_array("0", shape=(1, 1, 1, 4, 4), dtype="u1")
    report = lamella.validate(path)
    assert report.version == "0.1"
    assert [(finding.rule, finding.level) for finding in report.findings] == [
        ("LM-04", "SHOULD"),
        ("MS-04", "MUST"),
    ]


def test_a_draft_is_judged_as_its_version(tmp_path):
    path = tmp_path / "draft.zarr"
    zarr.create_group(path, attributes={"ome": {"version": "0.5-dev-x", "labels": []}})
    report = lamella.validate(path)
    assert report.version == "0.5"
    assert report.rules == ("ST-07",)


@pytest.mark.parametrize("stated", ["7", "banana", "0.7", True, 7])
def test_an_unknown_version_breaks_a_must_and_all_other_rules_are_checked(tmp_path, stated):
    path = tmp_path / "new.zarr"
    plate = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": []}
    zarr.create_group(path, attributes={"ome": {"version": stated, "plate": plate}})
    report = lamella.validate(path)
    assert not report
    assert report.readable
    assert {"ST-07", "PL-05"} <= {finding.rule for finding in report.findings if finding.level == "MUST"}
    found = next(finding for finding in report.findings if finding.rule == "ST-07")
    assert (found.node, found.location) == ("", ("ome", "version"))
    with pytest.raises(MetadataError, match=r"ome\.version"):
        lamella.open_ome_zarr(path)
    lamella.repair(path)
    assert json.loads((path / "zarr.json").read_bytes())["attributes"]["ome"]["version"] == stated


def test_an_unknown_version_below_the_root_is_found_at_its_node(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version="0.5") as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 4, 4), "uint8")
    file = path / "A" / "1" / "0" / "zarr.json"
    document = json.loads(file.read_text())
    document["attributes"]["ome"] |= {"version": "banana", "omero": {"channels": [{"color": "#FF0000"}]}}
    file.write_text(json.dumps(document))
    report = lamella.validate(path)
    must = {(finding.node, finding.rule) for finding in report.findings if finding.level == "MUST"}
    assert must >= {("A/1/0", "ST-07"), ("A/1/0", "OM-02")}
    assert report.version == "0.5"


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_a_version_that_is_a_number_is_read_reported_and_repaired(tmp_path, version):
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as image:
        image["0"] = np.ones((1, 1, 1, 4, 4), "uint8")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["ome"]["version"] = float(version)
    (path / "zarr.json").write_text(json.dumps(document))
    report = lamella.validate(path)
    assert (report.version, "ST-07" in report.rules, bool(report)) == (version, True, False)
    with pytest.warns(MetadataWarning, match=f"ST-07.*read as {version}"):
        assert lamella.open_ome_zarr(path).version == version
    lamella.repair(path)
    assert lamella.validate(path)
    assert json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["version"] == version


def test_a_scene_leads_to_its_images(tmp_path):
    path = tmp_path / "scene.zarr"
    link = {"type": "identity", "input": {"name": "physical", "path": "one"}, "output": {"name": "world"}}
    system = {"name": "world", "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]}
    scene = {"coordinateSystems": [system], "coordinateTransformations": [link]}
    zarr.create_group(path, attributes={"ome": {"version": "0.6", "scene": scene}})
    assert "CT-26" in lamella.validate(path).rules
    with lamella.open_ome_zarr(
        path / "one", layout="fov", mode="w-", channel_names=[], axes=axes("yx"), version="0.6"
    ) as image:
        image.create_image("0", np.ones((4, 4), "uint8"))
    report = lamella.validate(path)
    assert "CT-26" not in report.rules
    assert report.nodes == 2
