"""What the official suites and schemas refuse has a finding; what they accept breaks no MUST beyond the known ones."""

from __future__ import annotations

import copy
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from lamella.spec.rules import RULES, check_attributes

DATA = Path(__file__).parents[2] / "data" / "ngff"
VERSIONS = ("0.4", "0.5", "0.6")

# What upstream calls valid, though the text of the specification forbids it and no schema can express that.
TEXT_ONLY = {
    "0.4/image_suite/mismatch_axes_units": {"CT-05"},
    "0.4/plate_suite/minimal_acquisitions": {"PL-06"},
    "0.4/plate_suite/minimal_no_acquisitions": {"PL-06"},
    "0.4/plate_suite/non_alphanumeric_row": {"PL-06"},
    "0.4/strict_plate_suite/strict_acquisitions": {"PL-06"},
    "0.4/strict_plate_suite/strict_no_acquisitions": {"PL-06"},
    "0.6/spec/valid/image/mismatch_axes_units": {"CT-28"},
    "0.6/spec/valid/image/multiscales_transform_additional_transforms": {"CT-36"},
    "0.6/spec/valid/plate/minimal_acquisitions": {"PL-06"},
    "0.6/spec/valid/plate/minimal_no_acquisitions": {"PL-06"},
    "0.6/spec/valid/plate/non_alphanumeric_row": {"PL-06"},
    "0.6/strict/valid/image/image_omero": {"CT-24"},
    "0.6/strict/valid/image/multiscales_example": {"CT-22"},
    "0.6/strict/valid/plate/strict_acquisitions": {"PL-06"},
    "0.6/strict/valid/plate/strict_no_acquisitions": {"PL-06"},
}


def read(path: str):
    return json.loads((DATA / path).read_text())


def document(case):
    stored = read(case["file"])
    if "index" in case:
        stored = stored["tests"][case["index"]]["data"]
    return {key: value for key, value in stored.items() if key != "_conformance"}


CASES = read("tests/index.json")["cases"]


@cache
def findings_of_cases():
    """The findings of each case, by its id."""
    return {
        case["id"]: check_attributes(case["kind"], document(case), case["version"], node="A/1")
        for case in CASES
    }


def rules(case, level=None):
    """Rules of the findings of a case, of one level or of all."""
    return {finding.rule for finding in findings_of_cases()[case["id"]] if level in (None, finding.level)}


def test_the_suites_are_complete():
    counts = {version: sum(case["version"] == version for case in CASES) for version in VERSIONS}
    assert counts == {"0.4": 92, "0.5": 86, "0.6": 143}


def test_what_upstream_refuses_has_a_finding():
    assert [case["id"] for case in CASES if not case["valid"] and not rules(case)] == []


def test_the_finding_carries_the_rule_of_the_case():
    ruled = [case for case in CASES if "rule" in case and case["masked"] is None]
    assert len(ruled) > 200
    assert [case["id"] for case in ruled if case["rule"] not in rules(case)] == []


def test_a_valid_case_breaks_no_must_beyond_the_known_ones():
    broken = {case["id"]: rules(case, "MUST") for case in CASES if case["valid"]}
    assert {name: found for name, found in broken.items() if found} == TEXT_ONLY
    refused = [case for case in CASES if not case["valid"] and not case["strict"]]
    assert [case["id"] for case in refused if not rules(case, "MUST")] == []


def test_every_finding_points_into_the_document():
    for case in CASES:
        attributes = document(case)
        for finding in findings_of_cases()[case["id"]]:
            value = attributes
            for part in finding.location:
                value = value[part]
            assert case["version"] in RULES[finding.rule].versions, case["id"]
            assert "\n" not in str(finding), case["id"]
            assert finding.node == "A/1", case["id"]


KINDS = {
    "multiscales_strict": "image",
    "label_strict": "label",
    "plate_strict": "plate",
    "well_strict": "well",
}
KINDS |= {
    "bf2raw": "bioformats2raw",
    "ome": "ome",
    "scene": "scene",
    "subspace": "image",
    "displacements": "image",
}

# Faults of upstream's own examples, each against the text of 0.6.
EXAMPLE_FAULTS = {
    "0.6/multiscales_strict/multiscales_example_relative.json": {"ST-03", "VE-04"},
    "0.6/transformations/displacements/displacement_field.json": {"CT-28"},
    "0.6/transformations/displacements/multiscales.json": {"ST-03"},
}


def examples():
    for path in sorted((DATA / "examples").rglob("*.json")):
        kind = KINDS.get(path.parent.name)
        inside = json.loads(path.read_text())
        image = path.parent.name != "bf2raw" or path.name == "plate.json"
        if kind and image and path.name != "config.json":
            yield path.relative_to(DATA / "examples").as_posix(), kind, inside.get("attributes", inside)


EXAMPLES = list(examples())


@pytest.mark.parametrize(("name", "kind", "attributes"), EXAMPLES, ids=[name for name, *_ in EXAMPLES])
def test_an_official_example_breaks_no_must_beyond_the_known_ones(name, kind, attributes):
    findings = check_attributes(kind, attributes, name.split("/", maxsplit=1)[0])
    assert {finding.rule for finding in findings if finding.level == "MUST"} == EXAMPLE_FAULTS.get(
        name, set()
    )


TRANSFORMATION_CASES = read("transformations/cases.json")["cases"]


@pytest.mark.parametrize("case", TRANSFORMATION_CASES, ids=lambda case: case["name"])
def test_conformance_scenes_break_no_must(case):
    findings = check_attributes("scene", case["attributes_0_6"], "0.6")
    assert [str(finding) for finding in findings if finding.level == "MUST"] == []


# --- the official schemas as an oracle for documents that nobody wrote -------------------------------------------


def registry(version: str) -> Registry:
    loaded = Registry()
    for path in (DATA / "schemas" / version).glob("*.schema"):
        schema = json.loads(path.read_text())
        loaded = loaded.with_resource(schema["$id"], Resource(contents=schema, specification=DRAFT202012))
    return loaded


REGISTRIES = {version: registry(version) for version in VERSIONS}
VALIDATORS = {
    (case["version"], case["schema"]): Draft202012Validator(
        read(case["schema"]), registry=REGISTRIES[case["version"]]
    )
    for case in CASES
}
REPLACEMENTS = [
    None,
    True,
    0,
    1,
    -1,
    2,
    1.5,
    "",
    "A",
    "x",
    "space",
    "0",
    [],
    {},
    [1],
    [1, 2],
    ["a"],
    {"name": "x"},
]


def found(case, attributes):
    """Count the findings of a document by what they say, wherever they lie."""
    findings = check_attributes(case["kind"], attributes, case["version"])
    return Counter((finding.rule, finding.found) for finding in findings)


def places(value, at=()):
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


@settings(max_examples=133, deadline=None)
@given(st.data())
def test_a_mutated_field_that_the_official_schema_refuses_has_a_finding_of_its_own(data):
    case = data.draw(st.sampled_from(CASES))
    attributes = copy.deepcopy(document(case))
    place = data.draw(st.sampled_from(list(places(attributes))))
    owner = attributes
    for key in place[:-1]:
        owner = owner[key]
    action = data.draw(st.sampled_from(["remove", "replace", "repeat"]))
    if action == "remove":
        del owner[place[-1]]
    elif action == "replace":
        owner[place[-1]] = data.draw(st.sampled_from(REPLACEMENTS))
    elif isinstance(owner, list):
        owner.append(copy.deepcopy(owner[place[-1]]))
    if not VALIDATORS[case["version"], case["schema"]].is_valid(attributes):
        # In a valid document the mutation adds a finding to those that the document had.
        earlier = found(case, document(case)) if case["valid"] and not case["strict"] else Counter()
        assert found(case, attributes) - earlier
