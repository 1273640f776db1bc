"""Each rule that one document can break: one document that keeps it, and edits of it that break it.

The documents of `data/rules/sound.json` break no rule at all; each row of `BROKEN` edits one of them and names the
rule it breaks.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from lamella.spec.rules import RULES, acquisition_ids, check_attributes

ALL, PLAIN, V4, V5, V6, WRAPPED = (
    ("0.4", "0.5", "0.6"),
    ("0.4", "0.5"),
    ("0.4",),
    ("0.5",),
    ("0.6",),
    ("0.5", "0.6"),
)
REMOVE = object()
SOUND_DOCUMENTS = json.loads((Path(__file__).parents[2] / "data" / "rules" / "sound.json").read_text())


def axes(names: str):
    kinds = {"t": ("time", "second"), "c": ("channel", None)}
    made = []
    for name in names:
        kind, unit = kinds.get(name, ("space", "micrometer"))
        made.append({"name": name, "type": kind} | ({"unit": unit} if unit else {}))
    return made


def base(kind: str, version: str):
    """Give attributes that keep every rule."""
    return copy.deepcopy(SOUND_DOCUMENTS[version][kind])


class Broken(NamedTuple):
    """A rule, the document, versions, the edit (dotted path and new value), and what to expect of the finding."""

    rule: str
    kind: str
    versions: tuple[str, ...]
    path: str
    value: object
    level: str | None = None
    at: str | None = None


MS = "multiscales.0"
AXES = "@axes"
FIRST = f"{MS}.datasets.0.coordinateTransformations"
LIST = f"{MS}.datasets.1.coordinateTransformations"
SCALE = {"type": "scale", "scale": [1, 1, 1, 1, 1]}
MOVE = {"type": "translation", "translation": [0, 0, 0, 0, 0]}
FURTHER = f"{MS}.coordinateTransformations"
CHANNEL = "omero.channels.0"
LABEL = "image-label"
STEP = "scene.coordinateTransformations"

STORAGE = [
    Broken("ST-01", "image", V4, "", [], at=""),
    Broken("ST-03", "image", WRAPPED, "", [], at=""),
    Broken("ST-07", "plate", WRAPPED, "version", REMOVE),
    Broken("ST-07", "plate", V5, "version", "0.5-dev"),
    Broken("ST-07", "scene", V6, "version", "0.6.dev4"),
    Broken("ST-09", "scene", V6, f"{STEP}.11.path", "matrix"),
    Broken("VE-01", "image", V4, f"{MS}.version", REMOVE),
    Broken("VE-01", "image", V4, f"{MS}.version", "0.3", "MUST"),
    Broken("VE-02", "plate", V4, "plate.version", REMOVE),
    Broken("VE-02", "well", V4, "well.version", 0.4, "MUST"),
    Broken("VE-02", "label", V4, f"{LABEL}.version", "0.5", "MUST"),
    Broken("VE-04", "image", V6, f"{MS}.version", "0.6"),
    Broken("VE-04", "plate", V6, "plate.version", "0.6"),
]
AXIS_RULES = [
    Broken("AX-01", "image", ALL, f"{AXES}.2", "z"),
    Broken("AX-01", "image", ALL, f"{AXES}.2.name", REMOVE),
    Broken("AX-01", "image", ALL, f"{AXES}.2.name", 2),
    Broken("AX-01", "image", ALL, f"{AXES}.2.name", ""),
    Broken("AX-02", "image", ALL, f"{AXES}.2.name", "t"),
    Broken("AX-03", "image", ALL, f"{AXES}.1.type", REMOVE),
    Broken("AX-03", "image", ALL, f"{AXES}.1.type", None, "MUST"),
    Broken("AX-04", "image", ALL, f"{AXES}.2.unit", REMOVE),
    Broken("AX-04", "image", ALL, f"{AXES}.2.unit", "µm"),
    Broken("AX-04", "image", ALL, f"{AXES}.0.unit", "micrometer"),
    Broken("AX-04", "image", ALL, f"{AXES}.0.unit", 5, "MUST"),
    Broken("AX-06", "image", ALL, AXES, axes("x")),
    Broken("AX-06", "image", ALL, AXES, axes("tcazyx")),
    Broken("AX-07", "image", ALL, AXES, axes("tcx")),
    Broken("AX-07", "image", ALL, AXES, axes("wzyx")),
    Broken("AX-07", "image", V6, AXES, [{"name": n, "type": "array"} for n in "yx"], "SHOULD"),
    Broken("AX-08", "image", ALL, f"{AXES}.1.type", "time", at=f"{AXES}.1"),
    Broken("AX-09", "image", ALL, f"{AXES}.0.type", "channel", at=f"{AXES}.1"),
    Broken("AX-09", "image", ALL, f"{AXES}.0.type", "angle", at=f"{AXES}.1"),
    Broken("AX-09", "image", ALL, f"{AXES}.0.type", REMOVE, at=f"{AXES}.1"),
    Broken("AX-10", "image", ALL, AXES, axes("yxc"), at=f"{AXES}.2"),
    Broken("AX-10", "image", ALL, AXES, axes("ctyx"), at=f"{AXES}.1"),
    Broken("AX-11", "image", PLAIN, AXES, axes("tcxyz")),
    Broken("AX-11", "image", V6, AXES, axes("tcxyz"), at=f"{MS}.coordinateSystems"),
    Broken("AX-13", "image", V6, f"{AXES}.0.discrete", "yes"),
    Broken("AX-13", "image", V6, f"{AXES}.0.longName", 1),
    Broken("CS-01", "image", V6, f"{MS}.coordinateSystems", REMOVE),
    Broken("CS-01", "image", V6, f"{MS}.coordinateSystems", []),
    Broken("CS-01", "image", V6, f"{MS}.coordinateSystems.0", "physical"),
    Broken("CS-02", "image", V6, f"{MS}.coordinateSystems.0.name", REMOVE),
    Broken("CS-02", "image", V6, f"{MS}.coordinateSystems.1.name", "physical"),
    Broken("CS-02", "scene", V6, "scene.coordinateSystems.1.name", ""),
    Broken("CS-03", "image", V6, f"{MS}.coordinateSystems.0.axes", REMOVE),
    Broken("CS-03", "scene", V6, "scene.coordinateSystems.0.axes", []),
    Broken("CS-04", "image", V6, FURTHER, REMOVE, at=f"{MS}.coordinateSystems"),
    Broken("CS-04", "scene", V6, f"{STEP}.4.input", {"name": "stage"}, at="scene.coordinateSystems"),
]
PLAIN_TRANSFORMS = [
    Broken("CT-01", "image", ALL, LIST, REMOVE),
    Broken("CT-01", "image", ALL, LIST, []),
    Broken("CT-01", "image", PLAIN, f"{LIST}.0.type", REMOVE),
    Broken("CT-01", "image", ALL, f"{LIST}.0", "scale"),
    Broken("CT-02", "image", PLAIN, f"{LIST}.0.type", "identity"),
    Broken("CT-02", "image", V6, f"{LIST}.0.type", "rotation"),
    Broken("CT-03", "image", PLAIN, LIST, [MOVE]),
    Broken("CT-03", "image", PLAIN, LIST, [SCALE, SCALE]),
    Broken("CT-03", "image", V6, f"{LIST}.0.type", "translation", at=LIST),
    Broken("CT-04", "image", PLAIN, LIST, [MOVE, SCALE], at=f"{LIST}.0"),
    Broken("CT-04", "image", PLAIN, LIST, [SCALE, MOVE, MOVE], at=f"{LIST}.2"),
    Broken("CT-05", "image", PLAIN, f"{LIST}.0.scale", [1, 1]),
    Broken("CT-05", "image", PLAIN, f"{LIST}.0.scale", [1, 1, "1", 1, 1]),
    Broken("CT-05", "image", PLAIN, f"{LIST}.1.translation", [0, 0, 0, 0, 0, 0]),
    Broken("CT-06", "image", PLAIN, f"{FIRST}.0.scale.1", 3, at=f"{MS}.datasets.0"),
    Broken("CT-06", "image", V6, f"{FIRST}.0.transformations.0.scale.1", 3, at=f"{MS}.datasets.0"),
    Broken("CT-07", "image", ALL, FURTHER, []),
    Broken("CT-07", "image", ALL, f"{FURTHER}.0.scale", ["a"]),
    Broken("CT-07", "image", PLAIN, f"{FURTHER}.0.scale", [1]),
    Broken("CT-07", "image", PLAIN, FURTHER, [MOVE, SCALE], at=f"{FURTHER}.0"),
]
ENDS = {"input": {"name": "physical"}, "output": {"name": "physical", "path": "labels/nuclei"}}
TRANSFORMS = [
    Broken("CT-20", "scene", V6, f"{STEP}.0.type", "shear"),
    Broken("CT-20", "scene", V6, f"{STEP}.0.input", "stage"),
    Broken("CT-20", "scene", V6, f"{STEP}.0.output", REMOVE),
    Broken("CT-20", "image", V6, f"{LIST}.0.input", REMOVE),
    Broken("CT-20", "image", V6, f"{LIST}.0.output.name", 3),
    Broken("CT-21", "image", V6, f"{LIST}.0.transformations", [MOVE, SCALE]),
    Broken("CT-21", "image", V6, f"{LIST}.0.transformations", [SCALE]),
    Broken("CT-21", "image", V6, LIST, [SCALE, MOVE]),
    Broken("CT-22", "image", V6, f"{LIST}.0.input", {"name": "1"}),
    Broken("CT-22", "image", V6, f"{LIST}.0.input.path", "0"),
    Broken("CT-22", "image", V6, f"{LIST}.0.input.name", "1", "SHOULD"),
    Broken("CT-23", "image", V6, f"{LIST}.0.output", {"path": "1"}),
    Broken("CT-23", "image", V6, f"{LIST}.0.output.name", "nowhere"),
    Broken("CT-23", "image", V6, f"{LIST}.0.output.name", "world"),
    Broken("CT-23", "image", V6, f"{LIST}.0.output.path", "1", "SHOULD"),
    Broken("CT-24", "image", V6, f"{FURTHER}.0.input.name", "nowhere"),
    Broken("CT-24", "image", V6, f"{FURTHER}.0.input.name", "world", at=f"{FURTHER}.0"),
    Broken(
        "CT-24",
        "image",
        V6,
        f"{FURTHER}.0.output",
        {"name": "physical", "path": "elsewhere"},
        at=f"{FURTHER}.0.output.path",
    ),
    Broken(
        "CT-25",
        "image",
        V6,
        f"{FURTHER}.0",
        {"type": "affine", "path": "coordinateTransformations/a"} | ENDS,
        at=f"{FURTHER}.0.type",
    ),
    Broken("CT-26", "scene", V6, f"{STEP}.0.input", {"path": "tile"}),
    Broken("CT-26", "scene", V6, f"{STEP}.0.input.name", "nowhere"),
    Broken("CT-27", "scene", V6, f"{STEP}.0.input.name", "volume", at=f"{STEP}.0"),
    Broken("CT-28", "scene", V6, f"{STEP}.1.scale", REMOVE),
    Broken("CT-28", "scene", V6, f"{STEP}.1.scale", [2, 2, 2]),
    Broken("CT-28", "scene", V6, f"{STEP}.1.scale", [2, 0], "SHOULD"),
    Broken(
        "CT-28",
        "image",
        V6,
        f"{LIST}.0.transformations.0.scale",
        [1, 1],
        at=f"{LIST}.0.transformations.0.scale",
    ),
    Broken("CT-29", "scene", V6, f"{STEP}.2.translation", [1]),
    Broken(
        "CT-29",
        "scene",
        V6,
        f"{STEP}.2",
        {"type": "translation", "path": "p", "input": {"name": "stage"}, "output": {"name": "world"}},
    ),
    Broken("CT-30", "scene", V6, f"{STEP}.3.mapAxis", REMOVE),
    Broken("CT-30", "scene", V6, f"{STEP}.3.mapAxis", [0, 0]),
    Broken("CT-30", "scene", V6, f"{STEP}.3.mapAxis", [2, 1, 0]),
    Broken("CT-31", "scene", V6, f"{STEP}.4.droppedInputs", REMOVE),
    Broken("CT-31", "scene", V6, f"{STEP}.4.droppedInputs", [0, 0]),
    Broken("CT-31", "scene", V6, f"{STEP}.4.droppedInputs", [3]),
    Broken("CT-31", "scene", V6, f"{STEP}.4.droppedInputs", [0, 1], at=f"{STEP}.4"),
    Broken("CT-32", "scene", V6, f"{STEP}.5.affine", REMOVE),
    Broken("CT-32", "scene", V6, f"{STEP}.5.path", "both", at=f"{STEP}.5"),
    Broken("CT-32", "scene", V6, f"{STEP}.5.affine", [[1, 0], [0, 1]]),
    Broken("CT-32", "scene", V6, f"{STEP}.5.affine", [[1, 0, 0], [0, 1]]),
    Broken("CT-33", "scene", V6, f"{STEP}.6.rotation", [[0, 1], [1, 0]]),
    Broken("CT-33", "scene", V6, f"{STEP}.6.rotation", [[2, 0], [0, 0.5]]),
    Broken("CT-33", "scene", V6, f"{STEP}.6.rotation", [0, 1]),
    Broken("CT-33", "scene", V6, f"{STEP}.6.rotation", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    Broken("CT-34", "scene", V6, f"{STEP}.7.transformations", []),
    Broken("CT-34", "scene", V6, f"{STEP}.7.transformations", REMOVE),
    Broken("CT-35", "scene", V6, f"{STEP}.8.path", REMOVE),
    Broken("CT-35", "scene", V6, f"{STEP}.8.interpolation", "sinc"),
    Broken("CT-35", "vector", V6, f"{AXES}.0.discrete", False, at=f"{AXES}.0"),
    Broken("CT-35", "vector", V6, f"{AXES}.1", {"name": "c", "type": "channel"}),
    Broken("CT-36", "scene", V6, f"{STEP}.9.transformations", []),
    Broken(
        "CT-36", "scene", V6, f"{STEP}.9.transformations.0.outputAxes", [0], at=f"{STEP}.9.transformations"
    ),
    Broken("CT-36", "scene", V6, f"{STEP}.9.transformations.0.inputAxes", ["y"]),
    Broken("CT-36", "scene", V6, f"{STEP}.9.transformations.0.inputAxes", [2]),
    Broken("CT-36", "scene", V6, f"{STEP}.9.transformations.0.transformation", REMOVE),
    Broken("CT-37", "scene", V6, f"{STEP}.10.inverse", REMOVE),
    Broken("CT-37", "scene", V6, f"{STEP}.10.forward", {"type": "identity"}, "SHOULD"),
    Broken("CT-37", "scene", V6, f"{STEP}.10.input.name", "volume", at=f"{STEP}.10"),
    Broken("CT-38", "scene", V6, f"{STEP}.5.affine", [[2, 0, 1], [0, 2, 1]]),
    Broken("CT-38", "scene", V6, f"{STEP}.5.affine", [[0, 1, 0], [-1, 0, 0]]),
    Broken("SC-01", "scene", V6, "scene", REMOVE),
    Broken("SC-01", "scene", V6, STEP, []),
    Broken("SC-01", "scene", V6, f"{STEP}.0.input.group", "tile"),
    Broken("SC-02", "scene", V6, "scene.coordinateSystems", {}),
]
IMAGES = [
    Broken("MS-01", "image", ALL, "multiscales", REMOVE),
    Broken("MS-01", "image", ALL, "multiscales", {}),
    Broken("MS-01", "image", ALL, f"{MS}", "image"),
    Broken("MS-02", "image", PLAIN, f"{MS}.axes", REMOVE),
    Broken("MS-02", "image", PLAIN, f"{MS}.axes", []),
    Broken("MS-03", "image", ALL, f"{MS}.datasets", REMOVE),
    Broken("MS-03", "image", ALL, f"{MS}.datasets", []),
    Broken("MS-04", "image", ALL, f"{MS}.datasets.0.path", REMOVE),
    Broken("MS-04", "image", ALL, f"{MS}.datasets.0.path", 0),
    Broken("MS-04", "image", ALL, f"{MS}.datasets.0.path", "../0"),
    Broken("MS-05", "image", PLAIN, f"{LIST}.0.scale", [2, 1, 1, 0.1, 0.1], at=f"{MS}.datasets.1"),
    Broken("MS-08", "image", ALL, f"{MS}.name", REMOVE),
    Broken("MS-08", "image", ALL, f"{MS}.name", 1, "MUST"),
    Broken("MS-09", "image", ALL, f"{MS}.type", REMOVE),
    Broken("MS-10", "image", ALL, f"{MS}.metadata", REMOVE),
    Broken("MS-10", "image", ALL, f"{MS}.metadata", "mean"),
    Broken("OM-01", "image", ALL, "omero", []),
    Broken("OM-01", "image", ALL, "omero.channels", REMOVE),
    Broken("OM-01", "image", ALL, f"{CHANNEL}.label", 1),
    Broken("OM-01", "image", ALL, f"{CHANNEL}.active", 1),
    Broken("OM-02", "image", ALL, f"{CHANNEL}.color", REMOVE),
    Broken("OM-02", "image", ALL, f"{CHANNEL}.color", "#00FF00", "MUST"),
    Broken("OM-02", "image", ALL, f"{CHANNEL}.color", "green", "MUST"),
    Broken("OM-03", "image", ALL, f"{CHANNEL}.window", REMOVE),
    Broken("OM-03", "image", ALL, f"{CHANNEL}.window.max", REMOVE, "MUST"),
    Broken("OM-03", "image", ALL, f"{CHANNEL}.window.max", float("nan"), "MUST"),
]
LABELS = [
    Broken("LB-01", "labels", ALL, "labels", REMOVE),
    Broken("LB-01", "labels", ALL, "labels", {"nuclei": {}}),
    Broken("LB-01", "labels", ALL, "labels.1", "../nuclei"),
    Broken("LB-01", "labels", ALL, "labels.1", "nuclei", "SHOULD"),
    Broken("LB-07", "label", ALL, LABEL, REMOVE),
    Broken("LB-07", "label", ALL, LABEL, [], "MUST"),
    Broken("LB-08", "label", ALL, f"{LABEL}.colors", REMOVE),
    Broken("LB-08", "label", ALL, f"{LABEL}.colors", [], "MUST"),
    Broken("LB-09", "label", ALL, f"{LABEL}.colors.0.label-value", REMOVE),
    Broken("LB-09", "label", ALL, f"{LABEL}.colors.0.label-value", 1.5),
    Broken("LB-10", "label", ALL, f"{LABEL}.colors.0.rgba", [1, 2, 3]),
    Broken("LB-10", "label", ALL, f"{LABEL}.colors.0.rgba.2", 256),
    Broken("LB-10", "label", ALL, f"{LABEL}.colors.0.rgba.2", True),
    Broken("LB-11", "label", ALL, f"{LABEL}.colors.1.label-value", 1),
    Broken("LB-12", "label", ALL, f"{LABEL}.properties", {}),
    Broken("LB-12", "label", ALL, f"{LABEL}.properties.0.label-value", "1"),
    Broken("LB-13", "label", ALL, f"{LABEL}.source", "../../"),
    Broken("LB-13", "label", ALL, f"{LABEL}.source.image", None),
    Broken("LB-13", "label", ALL, f"{LABEL}.source.image", "/data/image"),
]
PLATES = [
    Broken("PL-01", "plate", ALL, "plate.columns", REMOVE),
    Broken("PL-01", "plate", ALL, "plate.columns.0.name", 1),
    Broken("PL-02", "plate", ALL, "plate.rows", []),
    Broken("PL-02", "plate", ALL, "plate.rows.0", "A"),
    Broken("PL-03", "plate", ALL, "plate.rows.0.name", "A-"),
    Broken("PL-03", "plate", ALL, "plate.rows.0.name", "Ä"),
    Broken("PL-03", "plate", ALL, "plate.rows.1.name", "A"),
    Broken("PL-03", "plate", ALL, "plate.rows.1.name", "a", "SHOULD"),
    Broken("PL-05", "plate", ALL, "plate", REMOVE),
    Broken("PL-05", "plate", ALL, "plate.wells", []),
    Broken("PL-05", "plate", ALL, "plate.wells.0.rowIndex", REMOVE),
    Broken("PL-06", "plate", ALL, "plate.wells.0.path", "2/A"),
    Broken("PL-06", "plate", ALL, "plate.wells.0.path", "A/2/0"),
    Broken("PL-07", "plate", ALL, "plate.wells.0.rowIndex", -1),
    Broken("PL-07", "plate", ALL, "plate.wells.0.rowIndex", True),
    Broken("PL-07", "plate", ALL, "plate.wells.0.columnIndex", 2),
    Broken("PL-08", "plate", ALL, "plate.acquisitions", {}),
    Broken("PL-08", "plate", ALL, "plate.acquisitions.0.id", REMOVE),
    Broken("PL-08", "plate", ALL, "plate.acquisitions", [{"id": 1}, {"id": 1}], at="plate.acquisitions.1.id"),
    Broken("PL-09", "plate", ALL, "plate.acquisitions.0.name", REMOVE),
    Broken("PL-09", "plate", ALL, "plate.acquisitions.0.maximumfieldcount", REMOVE),
    Broken("PL-09", "plate", ALL, "plate.acquisitions.0.description", 1, "MUST"),
    Broken("PL-09", "plate", ALL, "plate.acquisitions.0.starttime", "2026-11-22", "MUST"),
    Broken("PL-10", "plate", ALL, "plate.field_count", REMOVE),
    Broken("PL-10", "plate", ALL, "plate.field_count", 0, "MUST"),
    Broken("PL-10", "plate", ALL, "plate.name", REMOVE),
    Broken("PL-13", "plate", ALL, "plate.wells.1.path", "A/2"),
    Broken("WL-01", "well", ALL, "well", REMOVE),
    Broken("WL-01", "well", ALL, "well.images", []),
    Broken("WL-01", "well", ALL, "well.images.0.path", REMOVE),
    Broken("WL-02", "well", PLAIN, "well.images.0.path", "f_0"),
    Broken("WL-02", "well", V6, "well.images.0.path", "..."),
    Broken("WL-02", "well", V6, "well.images.0.path", "__f"),
    Broken("WL-02", "well", ALL, "well.images.0.path", "a/0"),
    Broken("WL-03", "well", ALL, "well.images.1.path", "0"),
    Broken("WL-04", "well", ALL, "well.images.0.acquisition", "0"),
    Broken("WL-04", "well", ALL, "well.images.0.acquisition", 1),
    Broken("WL-04", "well", ALL, "well.images.0.acquisition", REMOVE),
    Broken("BF-01", "bioformats2raw", ALL, "bioformats2raw@layout", REMOVE),
    Broken("BF-01", "bioformats2raw", ALL, "bioformats2raw@layout", 2),
    Broken("BF-05", "ome", ALL, "series", "0"),
    Broken("BF-05", "ome", ALL, "series.1", 1),
    Broken("BF-05", "ome", ALL, "series.1", "0"),
]
BROKEN = STORAGE + AXIS_RULES + PLAIN_TRANSFORMS + TRANSFORMS + IMAGES + LABELS + PLATES
ROWS = [(row, version) for row in BROKEN for version in row.versions]


def route(path: str, version: str):
    """Turn a dotted path into keys and places from the root of the attributes."""
    where = "multiscales.0.coordinateSystems.0.axes" if version == "0.6" else "multiscales.0.axes"
    keys = [
        int(key) if key.isdigit() else key.replace("@", ".")
        for key in path.replace("@axes", where).split(".")
        if key
    ]
    return tuple(keys) if version == "0.4" or not keys else ("ome", *keys)


def edited(attributes, keys, value):
    if not keys:
        return value
    attributes = copy.deepcopy(attributes)
    owner = attributes
    for key in keys[:-1]:
        owner = owner[key]
    if value is REMOVE:
        del owner[keys[-1]]
    else:
        owner[keys[-1]] = value
    return attributes


def judge(kind, attributes, version):
    return check_attributes("image" if kind == "vector" else kind, attributes, version, acquisitions=(0, 2))


@pytest.mark.parametrize("version", ALL)
def test_an_edit_breaks_the_rule_where_it_was_made(version):
    for row in (row for row, other in ROWS if other == version):
        keys = route(row.path, version)
        findings = judge(row.kind, edited(base(row.kind, version), keys, row.value), version)
        expected = keys[:-1] if row.value is REMOVE else keys
        if row.at is not None:
            expected = route(row.at, version)
        level = row.level or RULES[row.rule].level_in(version)
        places = {(found.rule, found.level, found.location) for found in findings}
        assert (row.rule, level, expected) in places, row


KINDS = ("image", "label", "labels", "plate", "well", "bioformats2raw", "ome")
SOUND = [(kind, version) for kind in KINDS for version in ALL] + [("scene", "0.6"), ("vector", "0.6")]


@pytest.mark.parametrize(("kind", "version"), SOUND)
def test_a_sound_document_has_no_finding(kind, version):
    assert [str(finding) for finding in judge(kind, base(kind, version), version)] == []


LEGAL = [
    ("image", ALL, f"{AXES}.1.name", "C", "names are free and case-sensitive"),
    ("image", ALL, f"{AXES}.2.name", "X", "X beside x is legal"),
    ("image", ALL, f"{AXES}.1.type", "angle", "a custom axis in the place of the channel"),
    ("image", ALL, f"{AXES}.1.unit", "nanometer", "a unit on a channel axis"),
    ("image", ALL, f"{CHANNEL}.color", "00ff00", "lower-case hex digits"),
    ("image", V5, f"{MS}.version", "0.5", "an inner version in 0.5 is neither asked for nor forbidden"),
    ("plate", V5, "plate.version", "0.5", "an inner version in 0.5 is neither asked for nor forbidden"),
    ("image", V6, "version", "0.6rc0", "the string of the release candidate"),
    ("image", V6, f"{LIST}.0.input", {"path": "1", "name": None}, "null is not given"),
    (
        "scene",
        V6,
        f"{STEP}.8.interpolation",
        "bspline-cubic",
        "the text says bspline-cubic, the schema cubic",
    ),
    ("scene", V6, f"{STEP}.8.interpolation", "cubic", "the text says bspline-cubic, the schema cubic"),
    ("scene", V6, f"{STEP}.6.rotation", [[0.7071, -0.7071], [0.7071, 0.7071]], "few decimals"),
    ("image", V6, f"{FURTHER}.0", {"type": "identity"} | ENDS | {"output": {"name": "world"}}, "identity"),
    ("label", ALL, f"{LABEL}.colors.0.label-value", 7.0, "JSON has one kind of number"),
    ("plate", ALL, "plate.acquisitions.0.starttime", 1343731272000, "milliseconds"),
    ("plate", ALL, "plate.acquisitions", [], "no acquisitions"),
    ("well", V6, "well.images.0.path", "f_0-a.zarr", "more characters in 0.6"),
    ("ome", ALL, "series", [], "an empty series"),
]


@pytest.mark.parametrize("version", ALL)
def test_what_the_text_leaves_open_is_no_finding(version):
    for kind, versions, path, value, reason in LEGAL:
        if version in versions:
            attributes = edited(base(kind, version), route(path, version), value)
            assert [str(found) for found in judge(kind, attributes, version)] == [], reason


def test_every_rule_that_a_document_can_break_is_broken_here_in_every_version():
    shown = {(row.rule, version) for row, version in ROWS}
    wanted = {
        (rule.id, version)
        for rule in RULES.values()
        for version in set(rule.versions) & set(ALL)
        if rule.needs == "document"
    }
    # Axes that lie where 0.5 had them take an edit of two places: see the next test.
    assert wanted - shown == {("MS-02", "0.6")}


def test_axes_outside_a_coordinate_system_are_named_in_06():
    attributes = base("image", "0.6")
    multiscale = attributes["ome"]["multiscales"][0]
    multiscale["axes"] = multiscale.pop("coordinateSystems")[0]["axes"]
    assert {"MS-02", "CS-01"} <= {finding.rule for finding in judge("image", attributes, "0.6")}


def test_a_misplaced_wrapper_does_not_hide_other_faults():
    bare = {"well": {"images": []}}
    assert {found.rule for found in judge("well", bare, "0.5")} == {"ST-03", "WL-01"}
    assert {found.rule for found in judge("well", {"ome": bare}, "0.4")} >= {"ST-01", "WL-01"}


def test_a_well_of_an_unknown_plate_is_not_asked_for_its_acquisition():
    attributes = edited(base("well", "0.5"), ("ome", "well", "images", 0, "acquisition"), REMOVE)
    assert check_attributes("well", attributes, "0.5") == []
    assert check_attributes("well", attributes, "0.5", acquisitions=[2]) == []
    assert [found.rule for found in check_attributes("well", attributes, "0.5", acquisitions=[1, 2])] == [
        "WL-04"
    ]


def test_acquisition_ids_come_from_the_plate():
    assert acquisition_ids(base("plate", "0.5")["ome"]["plate"]) == (0,)


def test_an_ome_group_without_metadata_is_usual_in_05():
    assert check_attributes("ome", {}, "0.5") == []


def test_an_untyped_fourth_axis_is_advice_in_05():
    attributes = base("image", "0.5")
    del attributes["ome"]["multiscales"][0]["axes"][1]["type"]
    (finding,) = judge("image", attributes, "0.5")
    assert (finding.rule, finding.level) == ("AX-03", "SHOULD")


def test_a_channel_without_a_name_is_found_after_one_that_is_not_an_object() -> None:
    attributes = {"omero": {"channels": [3, {"color": "00FF00"}]}, "multiscales": []}
    findings = check_attributes("image", attributes, "0.4")
    (unnamed,) = [finding for finding in findings if finding.rule == "LM-11"]
    assert unnamed.location == ("omero", "channels", 1)
