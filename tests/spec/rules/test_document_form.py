"""Law: what is found through the form of an image document is what all rules find in the document itself."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.models import axes
from lamella.spec import edits
from lamella.spec.rules.check import document_findings
from lamella.spec.rules.document_form import image_form
from lamella.spec.versions import by_name

NUMBERS = st.sampled_from([0, 1, 1.0, 2, 0.5, -1, True, None, "1", math.nan, math.inf, 10**400, 1e308])


def document(version: str) -> dict[str, Any]:
    meta = edits.new_images(axes("cyx"), ["DAPI", "GFP"], name="cells")
    for level in range(3):
        meta = edits.add_dataset(meta, str(level), None, {"start": 0, "end": 9, "min": 0, "max": 9})
        if level:
            meta = edits.set_scale(meta, str(level), "y", 2.0**level)
    return by_name(version).dump(meta, {})


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document that holds a value without members."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    inner = [place for key, item in items for place in places(item, (*path, key))]
    return inner or [path]


@settings(max_examples=100)
@given(st.data())
@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_the_frame_finds_what_all_rules_find(version: str, data: st.DataObject) -> None:
    changed = copy.deepcopy(document(version))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(places(changed)))
        parent = changed
        for key in above:
            parent = parent[key]
        if data.draw(st.booleans()) and isinstance(parent, dict):
            del parent[last]
            if not places(changed)[0]:
                return
        else:
            parent[last] = data.draw(NUMBERS | st.sampled_from(["x", "c", "0", "scale", "banana", "GFP"]))
    form = image_form(changed, version)
    if form is not None:
        assert form.findings == document_findings(["image"], changed, version)


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_documents_that_differ_in_numbers_and_names_have_one_frame(version: str) -> None:
    first, second = document(version), document(version)
    ome = second.get("ome", second)
    image = ome["multiscales"][0]
    image["name"] = "other"
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    scale[-1] = scale[-1] * 0.25
    ome["omero"]["channels"][0]["window"]["end"] = 7.5
    form = image_form(first, version)
    assert form is not None
    assert image_form(second, version) is form
