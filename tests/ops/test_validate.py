"""``validate``: what is walked from which root, what damage becomes, and what a report says."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError, StoreNotFoundError
from lamella.models import axes
from lamella.spec.rules.catalogue import OWN_RULES
from lamella.store.files.local import LocalStorage

STORES = Path(__file__).parent.parent / "data" / "stores"


@pytest.fixture
def plate(tmp_path, version):
    """A sound plate of two wells and three images, one with labels."""
    path = tmp_path / "plate.zarr"
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w",
        channel_names=["DAPI"],
        axes=axes("cyx"),
        version=version,
        plate_name="p",
    ) as node:
        for well in (("A", "1", "0"), ("A", "1", "1"), ("B", "3", "0")):
            node.create_position(*well).create_image("0", np.ones((1, 8, 8), "uint16"))
        image = node["A/1/0"]
        image.labels.create("cells", np.ones((8, 8), "uint8"), colors={1: (255, 0, 0, 255)})
        node.dump_meta(field_count=True)
    return path


def document(path):
    """The file with the attributes of a group."""
    return path / "zarr.json" if (path / "zarr.json").exists() else path / ".zattrs"


def change(path, edit):
    """Edit the OME part of a group's attributes."""
    file = document(path)
    content = json.loads(file.read_text())
    edit(content["attributes"]["ome"] if file.name == "zarr.json" else content)
    file.write_text(json.dumps(content))


def musts(report):
    return {(finding.rule, finding.node) for finding in report.findings if finding.level == "MUST"}


def found(report):
    return {(finding.rule, finding.node) for finding in report.findings}


# -- roots -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "nodes"),
    [("", 8), ("A", 5), ("A/1", 5), ("A/1/0", 3), ("A/1/0/labels", 2), ("A/1/0/labels/cells", 1)],
)
def test_any_group_can_be_the_root(plate, root, nodes):
    report = lamella.validate(plate / root)
    assert musts(report) == set()
    assert report.nodes == nodes
    assert report.valid


def test_a_node_is_judged_under_its_path_in_the_store(plate):
    change(plate / "A/1/0", lambda ome: ome.pop("multiscales"))
    with lamella.open_ome_zarr(plate) as node:
        assert {finding.node for finding in lamella.validate(node["A/1"]).findings} >= {"A/1/0"}
        assert lamella.validate(node["B/3"]).valid


def test_a_row_folder_without_a_document_is_walked(plate):
    for file in (plate / "A").iterdir():
        if file.is_file():
            file.unlink()
    assert lamella.validate(plate / "A").nodes == 5
    rule = "ST-02" if (plate / "zarr.json").exists() else "ST-01"
    assert (rule, "A") in musts(lamella.validate(plate))


def test_a_group_of_images_without_metadata_is_walked(tmp_path, plate, version):
    for name in ("one", "two"):
        shutil.copytree(plate / "B/3/0", tmp_path / "folder.zarr" / name)
    (tmp_path / "folder.zarr" / ("zarr.json" if version == "0.5" else ".zgroup")).write_text(
        json.dumps({"zarr_format": 3, "node_type": "group"} if version == "0.5" else {"zarr_format": 2})
    )
    report = lamella.validate(tmp_path / "folder.zarr")
    assert report.nodes == 2
    assert report.valid


def test_a_label_image_is_compared_with_its_image(plate):
    change(plate / "A/1/0/labels/cells", lambda ome: ome["multiscales"][0]["datasets"].append({"path": "1"}))
    assert ("LB-04", "A/1/0/labels/cells") in musts(lamella.validate(plate))


# -- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", ["", "A/1", "A/1/0", "A/1/0/labels", "A/1/0/labels/cells"])
@pytest.mark.parametrize(
    "content", [b"", b'{"multiscales": [', b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}']
)
def test_a_damaged_document_is_a_finding_and_the_rest_is_judged(plate, node, content):
    file = document(plate / node)
    file.write_bytes(content)
    report = lamella.validate(plate)
    codes = {rule for rule, where in musts(report) if where == node}
    if content == b'{"a": NaN}':
        assert codes >= {"LM-03"} if file.name == ".zattrs" else codes
    else:
        assert codes == {"LM-01"}
        others = {"A/1/1", "B/3/0"} - {node}
        assert report.nodes >= len(others)
        assert not {where for _, where in musts(report)} & others


@pytest.mark.parametrize("node", ["", "A", "A/1", "A/1/0", "A/1/0/labels", "A/1/0/labels/cells"])
@pytest.mark.parametrize("edit", [{"zarr_format": 1}, {"zarr_format": None}, {"node_type": "grou"}])
def test_a_document_that_states_no_group_is_a_finding(plate, node, edit):
    file = next(file for file in (plate / node).iterdir() if file.name in ("zarr.json", ".zgroup"))
    if file.name == ".zgroup" and "node_type" in edit:
        pytest.skip("Zarr v2 has no node_type")
    file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    assert musts(lamella.validate(plate)) == {("LM-01", node)}


@pytest.mark.parametrize("node", ["A", "A/1", "A/1/0"])
def test_an_array_where_a_group_belongs_is_a_finding(plate, node):
    for file in (plate / "A/1/0/0").iterdir():
        if file.name in ("zarr.json", ".zarray"):
            shutil.copy(file, plate / node)
    rule = "ST-02" if (plate / "zarr.json").exists() else "ST-01"
    assert (rule, node) in musts(lamella.validate(plate))


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [([], "ST-03"), ({"ome": 5}, "ST-03"), ({"ome": []}, "ST-03"), ({"ome": {}}, "ST-07")],
)
@pytest.mark.parametrize("node", ["", "A/1/0"])
def test_attributes_without_metadata_of_the_version_are_a_finding_at_any_root(plate, node, attributes, rule):
    file = document(plate / node)
    if file.name == ".zattrs":
        pytest.skip("0.4 has no key ome")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"attributes": attributes}))
    assert musts(lamella.validate(plate / node)) == {(rule, "")}


@pytest.mark.parametrize(
    "value",
    [3, "text", [], [3], [{}], [[]], {"name": []}, {"path": {}}, [{"path": 3}], [{"path": "../.."}], None],
)
@pytest.mark.parametrize(
    "place", ["plate", "wells", "rows", "images", "multiscales", "datasets", "labels", "omero"]
)
def test_any_json_in_any_place_is_judged_without_raising(plate, place, value):
    nodes = {"images": "A/1", "labels": "A/1/0/labels"}
    node = nodes.get(place, "" if place in ("plate", "wells", "rows") else "A/1/0")

    def edit(ome):
        owner = {"wells": ome.get("plate"), "rows": ome.get("plate"), "images": ome.get("well")}.get(
            place, ome
        )
        owner = ome["multiscales"][0] if place == "datasets" else owner
        owner[place] = value

    change(plate / node, edit)
    assert isinstance(str(lamella.validate(plate)), str)


def test_a_listed_array_that_is_missing_is_ms_04(plate):
    shutil.rmtree(plate / "B/3/0/0")
    assert musts(lamella.validate(plate)) == {("MS-04", "B/3/0")}


def test_a_damaged_array_document_is_told_once(plate):
    file = next(file for file in (plate / "B/3/0/0").iterdir() if file.name in ("zarr.json", ".zarray"))
    file.write_text("{")
    assert musts(lamella.validate(plate)) == {("LM-01", "B/3/0/0")}


def test_missing_wells_images_and_labels_are_findings_of_their_parents(plate):
    shutil.rmtree(plate / "B/3")
    shutil.rmtree(plate / "A/1/1")
    shutil.rmtree(plate / "A/1/0/labels/cells")
    assert musts(lamella.validate(plate)) == {("PL-12", ""), ("PL-12", "A/1"), ("LB-01", "A/1/0/labels")}


def test_counts_that_are_wrong_are_advice(plate):
    change(plate, lambda ome: ome["plate"].update(field_count=7))
    change(plate, lambda ome: ome["plate"]["acquisitions"][0].update(maximumfieldcount=7))
    report = lamella.validate(plate)
    assert report.valid
    assert found(report) >= {("PL-09", ""), ("PL-10", "")}


def test_an_image_of_another_zarr_format_in_a_plate(plate, version, tmp_path):
    other = "0.4" if version == "0.5" else "0.5"
    with lamella.open_ome_zarr(
        tmp_path / "x.zarr", layout="fov", mode="w", channel_names=["G"], axes=axes("cyx"), version=other
    ) as image:
        image.create_image("0", np.ones((1, 4, 4), "uint8"))
    shutil.rmtree(plate / "B/3/0")
    shutil.copytree(tmp_path / "x.zarr", plate / "B/3/0")
    assert musts(lamella.validate(plate)) == {("ST-02" if version == "0.5" else "ST-01", "B/3/0")}


# -- nothing to judge ------------------------------------------------------------------------------------------------


def test_nothing_at_the_path_is_an_error(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"none\.zarr"):
        lamella.validate(tmp_path / "none.zarr")


def test_an_array_is_no_image(plate):
    with lamella.open_ome_zarr(plate) as node, pytest.raises(InvalidArgumentError, match="array"):
        lamella.validate(node["A/1/0"]["0"])


@pytest.mark.parametrize(
    "what", ["empty folder", "other files", "file", "array", "bare group", "truncated root"]
)
def test_what_cannot_be_judged_is_reported_so(tmp_path, what):
    path = tmp_path / "x.zarr"
    expected = "LM-06"
    if what == "file":
        path.write_text("text")
    else:
        path.mkdir()
    if what == "other files":
        (path / "sub").mkdir()
        (path / "sub" / "notes.txt").write_text("text")
    elif what == "array":
        (path / ".zarray").write_text("{}")
    elif what == "bare group":
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    elif what == "truncated root":
        (path / "zarr.json").write_text('{"zarr_format": 3, "no')
        expected = "LM-01"
    report = lamella.validate(path)
    assert report.rules == (expected,)
    assert not report.readable
    assert not report.valid
    assert not report
    assert "nothing here is OME-NGFF" in str(report)


# -- reports ---------------------------------------------------------------------------------------------------------


def test_strict_counts_advice(plate):
    change(plate, lambda ome: ome["plate"].pop("name"))
    assert lamella.validate(plate)
    assert lamella.validate(plate).valid
    strict = lamella.validate(plate, strict=True)
    assert strict.valid
    assert not strict


def test_the_text_names_node_rule_level_place_and_remedy(plate):
    change(plate / "A/1/1", lambda ome: ome["omero"]["channels"][0].update(color="red"))
    text = str(lamella.validate(plate))
    assert "1 MUST" in text.splitlines()[0]
    block = text[text.index("\nA/1/1\n") :].splitlines()
    line = next(number for number, line in enumerate(block) if "OM-02" in line)
    assert block[line].split()[:2] == ["MUST", "OM-02"]
    assert 'omero.channels[0].color: the color is "red"' in block[line]
    assert "six hex digits" in block[line + 1]


def test_the_json_has_all_that_the_report_has(plate):
    change(plate / "A/1/1", lambda ome: ome["omero"]["channels"][0].update(color="red"))
    report = lamella.validate(plate)
    content = json.loads(json.dumps(report.to_dict()))
    assert (content["readable"], content["valid"]) == (True, False)
    assert content["counts"] == {"MUST": 1, "SHOULD": report.counts["SHOULD"]}
    assert [item["rule"] for item in content["findings"]] == [finding.rule for finding in report.findings]
    assert set(content["findings"][0]) == {"rule", "level", "node", "location", "found", "remedy"}


def test_every_rule_of_lamella_says_what_it_asks():
    assert list(OWN_RULES) == [f"LM-{number:02}" for number in range(1, len(OWN_RULES) + 1)]
    assert all(rule.text and rule.level in ("MUST", "SHOULD") for rule in OWN_RULES.values())


def test_judging_writes_nothing(plate, files):
    before = files(plate)
    lamella.validate(plate, pixels=True)
    assert files(plate) == before


def test_a_store_that_cannot_list_is_judged_by_what_it_lists_itself(plate, monkeypatch):
    def refuse(self, prefix):
        raise AssertionError(f"{prefix!r} was listed")

    nodes = lamella.validate(plate).nodes
    chunk = next(file for file in (plate / "B/3/0/0").rglob("*") if file.is_file() and file.name.isdecimal())
    monkeypatch.setattr(LocalStorage, "can_list", False)
    monkeypatch.setattr(LocalStorage, "list", refuse)
    report = lamella.validate(plate, pixels=True)
    assert report.valid
    assert report.nodes == nodes
    chunk.write_bytes(b"junk")
    assert musts(lamella.validate(plate, pixels=True)) == {("LM-09", "B/3/0/0")}


def test_each_document_is_read_once(plate, monkeypatch):
    reads = Counter()
    read = LocalStorage.read

    def counted(self, key):
        reads[key] += 1
        return read(self, key)

    monkeypatch.setattr(LocalStorage, "read", counted)
    lamella.validate(plate)
    assert {count for key, count in reads.items() if (plate / key).exists()} == {1}


# -- stores of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("store", "nodes", "expected"),
    [
        ("v04_bioformats2raw_plate/hcs.zarr", 13, {"PL-09": 2, "VE-02": 4, "MS-09": 8, "AX-04": 8}),
        ("v04_bioformats2raw_series/bf2raw.zarr", 3, {"MS-09": 2, "AX-04": 8}),
        (
            "v05_idr0062_labels_sharded/6001240.zarr",
            3,
            {"MS-08": 1, "MS-09": 2, "MS-10": 2, "ST-07": 1, "LB-04": 1, "LB-14": 2},
        ),
        ("v05_ngff_zarr_simple/simple_0.5.zarr", 1, {"MS-09": 1, "MS-10": 1}),
    ],
)
def test_stores_of_other_writers_have_the_findings_that_are_known(store, nodes, expected):
    report = lamella.validate(STORES / store, pixels=True)
    counts = {rule: sum(finding.rule == rule for finding in report.findings) for rule in report.rules}
    assert counts == expected
    assert report.valid == (not {"LB-04", "ST-07"} & expected.keys())
    assert report.nodes == nodes
