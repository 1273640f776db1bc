"""A document may be damaged anywhere: reading it gives a model or a MetadataError, in every version."""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.errors import LamellaError, MetadataError
from lamella.models import CoordinateGraph, ImagesMeta, PlateMeta, SceneMeta
from lamella.spec.versions import VERSIONS, detect

EXAMPLES = Path(__file__).parents[1] / "data" / "ngff" / "examples"


def example(path: str) -> dict[str, Any]:
    document = json.loads((EXAMPLES / path).read_text())
    return document.get("attributes", document)


LEVELS = [{"path": "0"}, {"path": "1"}]
LINES = {"rows": [{"name": "A"}], "columns": [{"name": "1"}], "wells": [{"path": "A/1"}]}
DOCUMENTS = [
    (2, {"multiscales": [{"version": "0.3", "axes": ["y", "x"], "datasets": LEVELS}]}),
    (2, {"plate": {"version": "0.1"} | LINES}),
    (2, example("0.4/multiscales_strict/multiscales_transformations.json")),
    (3, example("0.5/multiscales_strict/multiscales_example.json")),
    (3, example("0.6/multiscales_strict/multiscales_transformations.json")),
    (3, example("0.6/multiscales_strict/multiscales_example.json")),
    (3, example("0.6/subspace/subspacePermute.json")),
    (3, example("0.6/scene/scene_registration.json")),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, dict[str, Any]]:
    """A document in which one value, at any depth, is replaced or missing."""
    zarr_format, document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    at: Any = document
    while True:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 5)):
            at = at[key]
        elif draw(st.booleans()):
            at[key] = draw(values)
            return zarr_format, document
        else:
            del at[key]
            return zarr_format, document


@settings(max_examples=133)
@given(damage=damaged())
def test_a_damaged_document_is_read_or_refused(damage: tuple[int, dict[str, Any]]) -> None:
    zarr_format, document = damage
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(MetadataError):
            detect(zarr_format, document)
        for version in VERSIONS:
            for kind in (ImagesMeta, PlateMeta, *(SceneMeta for _ in range(SceneMeta in version.parts))):
                with contextlib.suppress(MetadataError):
                    meta = version.load(kind, document)
                    if isinstance(meta, SceneMeta):
                        CoordinateGraph.of_scene(meta)
                    if isinstance(meta, ImagesMeta) and meta.multiscales:
                        CoordinateGraph.of_image(meta.multiscales[0])
                    if meta is not None:
                        with contextlib.suppress(LamellaError):
                            version.dump(meta, document)
