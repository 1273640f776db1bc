"""No JSON value whatever makes a rule raise."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamella.spec.rules import VERSION_TRAITS, ArrayFacts, ParentImage, check_arrays, check_attributes

DATA = Path(__file__).parents[2] / "data" / "ngff" / "examples"
KINDS = ("image", "label", "labels", "plate", "well", "bioformats2raw", "ome", "scene")
# Words of the format, so that random values get past the first check.
WORDS = (
    "ome version multiscales axes name type unit datasets path coordinateTransformations scale "
    "translation omero channels window color image-label colors label-value rgba properties source image "
    "labels plate rows columns wells rowIndex columnIndex acquisitions id well images acquisition series "
    "scene coordinateSystems input output transformations mapAxis projectAxis droppedInputs "
    "createdOutputs affine rotation sequence bijection forward inverse byDimension transformation "
    "inputAxes outputAxes displacements space time channel array displacement discrete identity "
)
words = st.sampled_from(WORDS.split())
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 6)
    | st.integers()
    | st.integers(300, 400).map(lambda digits: 10**digits)
    | st.floats()
    | words
    | st.text(st.characters(), max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6),
    max_leaves=20,
)
wrapped = (
    values
    | st.fixed_dictionaries({"ome": values})
    | st.fixed_dictionaries({"ome": st.dictionaries(words, values)})
)
FACTS = {path: ArrayFacts((2, 8, 8), "uint16", ("c", "y", "x")) for path in ("0", "1", "s0", "path/to/0")}


def judge_all(attributes):
    for version in VERSION_TRAITS:
        for kind in KINDS:
            for finding in check_attributes(kind, attributes, version, acquisitions=(0, 1)):
                assert "\n" not in str(finding)
            check_arrays(kind, attributes, version, FACTS, parent=ParentImage(attributes, FACTS))


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wrapped)
def test_any_json_value_is_judged(attributes):
    judge_all(attributes)


EXAMPLES = [
    json.loads(path.read_text()) for path in sorted(DATA.rglob("*.json")) if path.name != "config.json"
]
EXAMPLES = [example.get("attributes", example) for example in EXAMPLES]


def places(value, at=()):
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_an_example_with_any_value_anywhere_is_judged(data):
    attributes = copy.deepcopy(data.draw(st.sampled_from(EXAMPLES)))
    place = data.draw(st.sampled_from(list(places(attributes))))
    owner = attributes
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = data.draw(values)
    judge_all(attributes)


# An integer that Python refuses to print, and numbers whose products overflow.
HUGE = [10**5000, -(10**5000), 1e308, -1e308, float("nan"), float("inf")]
SCENE_NUMBERS = [
    {"type": "scale", "scale": HUGE},
    {"type": "mapAxis", "mapAxis": HUGE[:2]},
    {"type": "rotation", "rotation": [[1e308, 1e308], [1e308, -1e308]]},
    {"type": "rotation", "rotation": [[1, 0, 0], [0, 1e308, 1e308], [0, -1e308, 1e308]]},
    {"type": "affine", "affine": [[1e308, 1e308, 0], [-1e308, 1e308, 0]]},
    {"type": "byDimension", "transformations": [{"inputAxes": HUGE[:2], "outputAxes": [10**5000]}] * 2},
]


@pytest.mark.parametrize("entry", SCENE_NUMBERS, ids=lambda entry: entry["type"])
def test_numbers_beyond_arithmetic_are_judged(entry):
    ends = {"input": {"name": "a", "path": "p"}, "output": {"name": "b", "path": "q"}}
    findings = check_attributes(
        "scene", {"ome": {"version": "0.6", "scene": {"coordinateTransformations": [entry | ends]}}}, "0.6"
    )
    assert all("\n" not in str(finding) for finding in findings)


@pytest.mark.parametrize("value", HUGE, ids=["int", "negative", "float", "minus", "nan", "inf"])
def test_huge_numbers_are_judged_wherever_they_stand(value):
    for example in EXAMPLES:
        for place in places(example):
            attributes = copy.deepcopy(example)
            owner = attributes
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = value
            for kind in KINDS:
                check_attributes(kind, attributes, "0.6", acquisitions=(0, 1))


def nested(depth, wrap):
    value = {"type": "identity"}
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = {
    "sequence": lambda value: {"type": "sequence", "transformations": [value]},
    "bijection": lambda value: {"type": "bijection", "forward": value, "inverse": value},
    "list": lambda value: [value],
}


@pytest.mark.parametrize("name", WRAPS)
def test_values_nested_beyond_the_stack_are_judged(name):
    deep = nested(5000, WRAPS[name])
    entry = {
        "type": "sequence",
        "transformations": [deep],
        "input": {"name": "a", "path": "p"},
        "output": {"name": "b"},
    }
    judge_all({"ome": {"version": "0.6", "scene": {"coordinateTransformations": [entry]}}})
    judge_all(
        {"multiscales": [deep, deep], "image-label": {"properties": [{"label-value": 1, "x": deep}] * 2}}
    )


def test_the_document_is_not_changed():
    for example in EXAMPLES:
        before = copy.deepcopy(example)
        judge_all(example)
        assert example == before
