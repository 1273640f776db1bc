"""Law: whatever JSON stands in a document of a store, looking at it gives values or one clear error.

`test_bad_stores` draws changes of real documents at random; here hypothesis makes the values, and shrinks what fails.
"""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture import mutations, uses
from torture.specimens import is_document, specimen, write_files

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, -1, 2**60]))
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(mutations.TEXTS))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
KEYS = st.one_of(st.sampled_from(mutations.KEYS), st.text(max_size=4))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)

DOCUMENTS = [
    (name, key)
    for name in ("image 0.4", "image 0.5", "image 0.6", "plate 0.4", "plate 0.5", "sharded 0.5")
    for key in specimen(name)
    if is_document(key) and key not in (".zgroup", "labels/.zgroup")
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One store of each specimen; a document is changed for a moment and put back."""
    folder = tmp_path_factory.mktemp("stores")
    for name in {name for name, _ in DOCUMENTS}:
        write_files(folder / f"{name}.zarr", specimen(name))
    return folder


@st.composite
def documents(draw):
    """Draw a document of a specimen with up to three values replaced, added or left out."""
    name, key = draw(st.sampled_from(DOCUMENTS))
    document = json.loads(specimen(name)[key])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(mutations.value_paths(document) or [()]))
        if not place:
            document = draw(VALUES)
            break
        holder = document
        for part in place[:-1]:
            holder = holder[part]
        kind = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if kind == "drop":
            del holder[place[-1]]
        elif kind == "add" and isinstance(holder, dict):
            holder[draw(KEYS)] = copy.deepcopy(draw(VALUES))
        else:
            holder[place[-1]] = copy.deepcopy(draw(VALUES))
    return name, key, document


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents())
def test_any_document_is_read_or_refused_in_clear_words(stores, drawn):
    name, key, document = drawn
    store = stores / f"{name}.zarr"
    place = store / key
    place.write_bytes(json.dumps(document).encode("utf-8", "surrogatepass"))
    try:
        for use in (uses.opening, uses.validating, uses.summarizing):
            assert uses.unclear_outcome(use, store) is None
        assert uses.unclear_outcome(uses.opening, place.parent) is None
    finally:
        place.write_bytes(specimen(name)[key])
