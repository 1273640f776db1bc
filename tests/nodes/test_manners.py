"""Manners of nodes at a prompt and in an editor: completion of names, types of members, the nearest name."""

from __future__ import annotations

import inspect
import typing

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidNameError, LamellaError


@pytest.fixture
def plate(tmp_path):
    with lamella.open(
        tmp_path / "screen.zarr", "w-", layout="hcs", channel_names=["DAPI", "GFP"], axes="cyx"
    ) as node:
        for position in node.create_positions([("A", "1", "0"), ("A", "12", "0"), ("B", "2", "site3")]):
            position["0"] = np.ones((2, 16, 16), "uint8")
        node["A/1/0"].labels["nuclei"] = np.ones((16, 16), "uint8")
        yield node


def test_names_are_completed_after_a_bracket(plate):
    assert plate._ipython_key_completions_() == ["A", "B", "A/1", "A/12", "B/2"]
    assert plate["A"]._ipython_key_completions_() == ["1", "12"]
    assert plate["B/2"]._ipython_key_completions_() == ["site3"]
    assert plate["A/1/0"]._ipython_key_completions_() == ["0", "labels/nuclei"]
    assert plate["A/1/0"].labels._ipython_key_completions_() == ["nuclei"]


def test_every_unknown_name_is_answered_with_the_nearest(plate, tmp_path):
    position = plate["A/1/0"]
    for ask, near in (
        (lambda: plate["A/11"], "A/12"),
        (lambda: plate["B/2/site4"], "B/2/site3"),
        (lambda: plate["a"], "A"),
        (lambda: position["1"], "0"),
        (lambda: position.labels["nucleus"], "nuclei"),
        (lambda: position.get_channel_index("dapi"), "DAPI"),
        (lambda: position.rename_channel("Gfp", "x"), "GFP"),
        (lambda: position.set_scale({"X1": 1}), "x"),
        (lambda: plate.rename_position("B/2/site4", "7"), "site3"),
        (lambda: plate.rename_well("B/22", "C/1"), "B/2"),
        (lambda: lamella.open(tmp_path / "scren.zarr"), "screen.zarr"),
        (lambda: lamella.open(tmp_path / "screen.zarr", stric=True), "strict"),
    ):
        with pytest.raises(LamellaError, match=f"Did you mean '{near}'"):
            ask()


def test_members_have_a_type_that_checkers_know(plate):
    assert plate.position("B/2/site3") == plate["B/2/site3"]
    assert plate.well("A/1") == plate["A/1"]
    for wrong in (lambda: plate.position("A/1"), lambda: plate.well("A"), lambda: plate.position("A/1/0/0")):
        with pytest.raises(InvalidNameError, match="is not the path of a"):
            wrong()
    # What a type checker reads; `plate[path]` is one of several nodes for it.
    assert inspect.signature(lamella.Plate.position).return_annotation == "Position"
    assert inspect.signature(lamella.Plate.well).return_annotation == "Well"
    returned = {str(inspect.signature(one).return_annotation) for one in typing.get_overloads(lamella.open)}
    assert returned == {"Position", "Plate", "Any"}
