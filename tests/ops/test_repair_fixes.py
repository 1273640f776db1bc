"""The fixes of ``repair`` as pure functions: their results, and that no value stops them."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lamella.ops.repair.repair  # noqa: F401 (with all fixes)
from lamella.ops.repair.fixes import FIXES, Facts, apply_fixes
from lamella.ops.repair.images import as_scale_and_translation, dtype_range
from lamella.spec.rules import RULES, VERSION_TRAITS, check_attributes

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False)
    | st.sampled_from(["A/1", "0", "A", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "name", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = {
    "image": ["version", "multiscales", "omero"],
    "label": ["version", "image-label"],
    "labels": ["labels"],
    "plate": ["plate"],
    "well": ["well"],
}
INNER = st.sampled_from(
    [
        "axes",
        "datasets",
        "coordinateTransformations",
        "channels",
        "color",
        "window",
        "colors",
        "rgba",
        "label-value",
        "wells",
        "rows",
        "columns",
        "images",
        "acquisitions",
        "field_count",
        "rowIndex",
        "columnIndex",
        "path",
        "name",
        "id",
        "version",
    ]
)
OBJECTS = st.dictionaries(
    INNER, JSON | st.lists(st.dictionaries(INNER, JSON, max_size=4), max_size=3), max_size=5
)


def facts(version, **known):
    return Facts(version, **known)


@settings(max_examples=75)
@given(
    kind=st.sampled_from(sorted(KEYS)),
    version=st.sampled_from(sorted(VERSION_TRAITS)),
    data=st.data(),
    lost=st.frozensets(st.sampled_from(["A/1", "0"])),
)
def test_any_json_is_mended_without_raising_and_without_changing_it(kind, version, data, lost):
    ome = {key: data.draw(OBJECTS | st.lists(OBJECTS, max_size=2) | JSON) for key in KEYS[kind]}
    before = copy.deepcopy(ome)
    known = facts(version, lost=lost, unlisted=("a",), fields={"A/1": [("0", 0), ("1", None)]}, dtype="uint8")
    new, rules = apply_fixes(kind, ome, known)
    assert ome == before
    assert (new != ome) == bool(rules)
    assert apply_fixes(kind, new, known) == (new, ())


def test_mends_are_registered_under_rules_that_exist():
    for fix in FIXES:
        assert fix.rules
        assert fix.kinds
        assert set(fix.rules) <= set(RULES)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([0.5, 0.25, 0, 1], [128, 64, 0, 255]),
        ([0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]),  # integers for JSON: nothing is wrong with them
        ([300, -1, 2, 3], [255, 0, 2, 3]),
        ([1, 2, 3], [1, 2, 3, 255]),
        ([127.6, 2, 3, 4], [128, 2, 3, 4]),
        ([1, 2], [1, 2]),
        (["ff", 0, 0, 0], ["ff", 0, 0, 0]),
    ],
)
def test_label_colors(stored, expected):
    ome = {"image-label": {"colors": [{"label-value": 1, "rgba": stored}]}}
    assert apply_fixes("label", ome, facts("0.5"))[0]["image-label"]["colors"][0]["rgba"] == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("0.5.2", "0.5"), ("0.5-dev", "0.5"), (0.5, "0.5"), ("0.55", "0.55"), ("0.51.2", "0.51.2")],
)
def test_versions(stored, expected):
    assert apply_fixes("well", {"version": stored}, facts("0.5"))[0]["version"] == expected


def test_whether_colors_are_fractions_is_told_by_all_of_a_label_image():
    colors = [{"label-value": 1, "rgba": [1, 0, 0, 1]}, {"label-value": 2, "rgba": [0.5, 0, 0, 1]}]
    new, _ = apply_fixes("label", {"image-label": {"colors": colors}}, facts("0.5"))
    assert [color["rgba"] for color in new["image-label"]["colors"]] == [[255, 0, 0, 255], [128, 0, 0, 255]]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("#00FF00", "00FF00"), ("0x00ff00", "00ff00"), ("abc", "AABBCC".lower()), (" FF00FF ", "FF00FF")]
    + [(color, color) for color in ("00FF00", "red", "#00FF00FF", 255, None, "")],
)
def test_channel_colors(stored, expected):
    ome = {"omero": {"channels": [{"color": stored, "window": {"start": 0, "end": 1, "min": 0, "max": 1}}]}}
    assert apply_fixes("image", ome, facts("0.4"))[0]["omero"]["channels"][0]["color"] == expected


@pytest.mark.parametrize(
    ("stored", "dtype", "expected"),
    [
        (None, "uint16", {"start": 0, "end": 65535, "min": 0, "max": 65535}),
        ({"start": 5, "end": 9}, "uint8", {"start": 5, "end": 9, "min": 0, "max": 255}),
        ({"min": 5, "max": 9}, "int8", {"start": 5, "end": 9, "min": 5, "max": 9}),
        ({"start": 5, "end": 9}, "float32", {"start": 5, "end": 9, "min": 5, "max": 9}),
        (
            {"start": 5, "end": 9, "gamma": 2},
            "uint8",
            {"start": 5, "end": 9, "min": 0, "max": 255, "gamma": 2},
        ),
        ({}, "float32", {}),
        (None, "float32", None),
    ],
)
def test_windows(stored, dtype, expected):
    channel = {"color": "FFFFFF"} | ({} if stored is None else {"window": stored})
    new, _ = apply_fixes("image", {"omero": {"channels": [channel]}}, facts("0.4", dtype=dtype))
    assert new["omero"]["channels"][0].get("window") == expected


def test_the_range_of_the_largest_types():
    assert dtype_range("uint64") == (0, 2**64 - 1)
    assert dtype_range("bool") is None


NUMBERS = st.lists(st.integers(-8, 8).map(float), min_size=2, max_size=2)
STEPS = st.one_of(
    NUMBERS.map(lambda values: {"type": "scale", "scale": values}),
    NUMBERS.map(lambda values: {"type": "translation", "translation": values}),
    st.just({"type": "identity"}),
)


def applied(transformations, point):
    for step in transformations:
        if step["type"] == "scale":
            point = [a * b for a, b in zip(point, step["scale"], strict=True)]
        elif step["type"] == "translation":
            point = [a + b for a, b in zip(point, step["translation"], strict=True)]
    return point


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=1, max_size=5), NUMBERS)
def test_ordered_transformations_do_what_the_list_did(steps, point):
    new = as_scale_and_translation(steps, 2)
    if new is None:
        assert [step["type"] for step in steps] in (["scale"], ["scale", "translation"])
        return
    assert [step["type"] for step in new] in (["scale"], ["scale", "translation"])
    assert applied(new, point) == applied(steps, point)


@pytest.mark.parametrize(
    "stored",
    [
        [],
        None,
        [{"type": "affine"}],
        [{"type": "translation", "translation": [1]}],
        [3],
        [{"type": "scale"}] * 2,
    ],
)
def test_transformations_that_cannot_be_read_are_left(stored):
    assert as_scale_and_translation(stored, 2) is None


def test_a_mended_plate_is_sound():
    plate = {
        "rows": [{"name": "A"}],
        "columns": [{"name": "1"}],
        "wells": [
            {"path": "B/2", "rowIndex": 0, "columnIndex": 0, "note": "kept"},
            {"path": "B/2", "rowIndex": 1, "columnIndex": 1},
            {"path": "A/1"},
            {"path": "A/2", "rowIndex": 0, "columnIndex": 1},
        ],
        "acquisitions": [{"id": 0, "name": "day 1"}],
        "name": "screen",
    }
    fields = {"B/2": [("0", 0), ("1", 3)], "A/1": [("0", None)]}
    new, rules = apply_fixes("plate", {"plate": plate}, facts("0.4", lost=frozenset(["A/2"]), fields=fields))
    assert check_attributes("plate", new, "0.4") == []
    assert {"PL-13", "PL-12", "PL-07", "PL-10", "VE-02", "WL-04"} <= set(rules)
    assert new["plate"]["wells"][0] == {"path": "B/2", "rowIndex": 1, "columnIndex": 1, "note": "kept"}
    assert new["plate"]["acquisitions"] == [
        {"id": 0, "name": "day 1", "maximumfieldcount": 1},
        {"id": 3, "name": "Acquisition 3", "maximumfieldcount": 1},
    ]
    assert new["plate"]["field_count"] == 2
    json.dumps(new)


@pytest.mark.parametrize(
    ("names", "types", "expected"),
    [
        ("tczyx", [None] * 5, ["time", "channel", "space", "space", "space"]),
        ("CYX", [None, "space", None], ["channel", "space", "space"]),
        ("cqyx", [None, None, "space", None], [None, None, "space", None]),  # q may be of any type
        ("yxc", [None] * 3, [None] * 3),  # with types, the order would be invalid
        ("tcyx", [None, "time", None, None], [None, "time", None, None]),
    ],
)
def test_axes_get_the_type_that_their_name_leaves(names, types, expected):
    axes = [
        {"name": name} if kind is None else {"name": name, "type": kind}
        for name, kind in zip(names, types, strict=True)
    ]
    ome, rules = apply_fixes("image", {"version": "0.4", "multiscales": [{"axes": axes}]}, facts("0.4"))
    assert [axis.get("type") for axis in ome["multiscales"][0]["axes"]] == expected
    assert ("AX-03" in rules) == (expected != types)
