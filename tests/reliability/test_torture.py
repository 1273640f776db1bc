"""Laws of the torture itself: a trial that ends its process is named, and the others are made."""

from __future__ import annotations

import sys

import pytest
from torture import attributes, creators, guided, kills_at_stores, service_faults, stores
from torture.children import spread


def test_a_trial_that_ends_its_process_is_named_and_the_others_are_made(monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    counts = spread("dying", seed=3, seconds=120, processes=2, most=40)
    assert counts["ended the process with -6 (seed 3, number 7)"] == 1
    # The odd ones before the seventh were made, but not reported any more.
    assert {f"trial {number}" for number in (*range(0, 40, 2), *range(9, 40, 2))} <= set(counts)
    assert counts["trials"] == 36


def test_the_guided_scenario_says_that_it_is_left_out_where_atheris_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "atheris", None)
    assert guided.scenario(1, 1) == {"left out, for atheris is not installed": 1}


@pytest.mark.parametrize("module", [attributes, creators, kills_at_stores, service_faults, stores])
def test_the_scenario_finds_nothing_in_a_few_rounds(module):
    counts = module.scenario(1, 0)
    assert counts.get("rounds", counts.get("works")) == 1
    assert {
        name: n for name, n in counts.items() if name in module.FAULTS or "(seed" in name
    } == dict.fromkeys(module.FAULTS, 0)
