"""The table of rules names every rule once, and says of each what it takes to check it."""

from __future__ import annotations

import json
from pathlib import Path

from lamella.spec.axes import SPACE_UNITS, TIME_UNITS
from lamella.spec.rules import RULES, VERSION_TRAITS, Finding, location_text
from lamella.spec.rules.version_traits import LABEL_DTYPES

NUMBERS = {
    "ST": range(1, 11),
    "VE": range(1, 5),
    "AX": range(1, 16),
    "CS": range(1, 7),
    "CT": (*range(1, 9), *range(20, 39)),
    "MS": range(1, 11),
    "OM": range(1, 5),
    "LB": range(1, 16),
    "PL": (*range(1, 11), 12, 13),
    "WL": range(1, 5),
    "BF": range(1, 8),
    "SC": range(1, 3),
    "RD": range(1, 7),
}


def test_every_rule_is_listed_once_and_in_order():
    expected = [f"{group}-{number:02}" for group, numbers in NUMBERS.items() for number in numbers]
    assert sorted(RULES) == sorted(expected)
    assert all(rule.id == key for key, rule in RULES.items())


def test_a_rule_holds_in_a_version_and_says_what_it_asks():
    for rule in RULES.values():
        assert rule.text, rule.id
        assert set(rule.advice_in) <= set(rule.versions) <= {*VERSION_TRAITS, "0.9.dev1"}, rule.id
        assert rule.level not in ("MAY", "fact") or rule.needs == "unverifiable", rule.id


def test_the_word_lists_are_those_of_the_specification():
    vocabulary = json.loads((Path(__file__).parents[2] / "data" / "ngff" / "vocabulary.json").read_text())
    assert sorted(SPACE_UNITS) == vocabulary["space_units"]
    assert sorted(TIME_UNITS) == vocabulary["time_units"]
    assert set(vocabulary["label_dtypes"]) == LABEL_DTYPES
    for version, traits in VERSION_TRAITS.items():
        assert set(traits.axis_types) == set(vocabulary["axis_types"][version])
        assert set(traits.transformation_types) == set(vocabulary["transformation_types"][version])


def test_a_finding_says_level_rule_place_fault_and_remedy_on_one_line():
    finding = Finding("PL-06", "MUST", "", ("plate", "wells", 3, "path"), 'the path is "2/A"', "correct it")
    assert str(finding) == 'MUST PL-06 / plate.wells[3].path: the path is "2/A"; correct it'
    assert str(Finding("ST-03", "MUST", "A/1", (), "no ome", "add it")) == "MUST ST-03 A/1: no ome; add it"


def test_a_key_that_is_no_word_is_quoted():
    assert location_text(("ome", "image-label", "my key", 0)) == 'ome.image-label["my key"][0]'
