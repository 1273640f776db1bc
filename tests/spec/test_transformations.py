"""Transformations of 0.6: the cases of the conformance suite, laws of the algebra, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.models import (
    Affine,
    Bijection,
    ByDimension,
    CoordinateGraph,
    Coordinates,
    DimensionItem,
    Displacements,
    Identity,
    MapAxis,
    MultiScaleMeta,
    OtherTransformation,
    ProjectAxis,
    Rotation,
    Scale,
    SceneMeta,
    Sequence,
    SystemReference,
    Transformation,
    Translation,
    as_affine,
    axes,
    compose,
    parse_transformation,
)
from lamella.spec.rules.transformation_types import check_parameters
from lamella.spec.rules.value import Ends, Value
from lamella.spec.rules.version_traits import VERSION_TRAITS
from lamella.spec.transformations import TRANSFORMATIONS
from lamella.spec.versions import by_name

NGFF = Path(__file__).parents[1] / "data" / "ngff"
CASES = json.loads((NGFF / "transformations" / "cases.json").read_text())["cases"]


# -- the conformance suite ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["attributes_upstream", "attributes_0_6"])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_points_go_where_the_suite_says(case: dict[str, Any], spelling: str) -> None:
    scene = by_name("0.6").load(SceneMeta, case[spelling])
    assert scene is not None
    graph = CoordinateGraph.of_scene(scene)
    source, target = case["source"], case["target"]
    if case["should_error"]:
        with pytest.raises(
            InvalidArgumentError, match=r"There is no coordinate system '(source|potato)': there are"
        ):
            graph.between(source["name"], target["name"])
        return
    points = graph.between(source["name"], target["name"]).apply(source["coordinates"])
    np.testing.assert_allclose(
        points, target["coordinates"], rtol=case["relative_tolerance"], atol=case["absolute_tolerance"]
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_both_spellings_are_written_as_06(case: dict[str, Any]) -> None:
    v06 = by_name("0.6")
    for spelling in ("attributes_upstream", "attributes_0_6"):
        scene = v06.load(SceneMeta, case[spelling])
        assert scene is not None
        assert v06.dump(scene, {}) == case["attributes_0_6"]


# -- laws ---------------------------------------------------------------------------------------------------

steps = st.floats(-100, 100).map(lambda number: round(number, 3))
factors = st.floats(0.1, 10).map(lambda number: round(number, 3)) | st.floats(-10, -0.1)


def vectors(size: int, numbers: st.SearchStrategy[float] = steps) -> st.SearchStrategy[list[float]]:
    return st.lists(numbers, min_size=size, max_size=size)


@st.composite
def rotations(draw: st.DrawFn, size: int) -> Rotation:
    """Turns in planes of two axes, one after the other."""
    matrix = np.eye(size)
    for _ in range(draw(st.integers(0, 3)) if size > 1 else 0):
        one, other = draw(st.permutations(range(size)))[:2]
        angle = draw(st.floats(-math.pi, math.pi))
        turn = np.eye(size)
        turn[[one, other], [one, other]] = math.cos(angle)
        turn[one, other], turn[other, one] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return Rotation(rotation=matrix.tolist())


@st.composite
def affines(draw: st.DrawFn, size: int) -> Affine:
    """Well-conditioned ones: a rotation, factors, and a shift."""
    turn = np.array(draw(rotations(size)).rotation)
    linear = turn @ np.diag(draw(vectors(size, factors)))
    return Affine(affine=np.column_stack([linear, draw(vectors(size))]).tolist())


@st.composite
def by_dimensions(draw: st.DrawFn, size: int, depth: int) -> ByDimension:
    sources, targets = draw(st.permutations(range(size))), draw(st.permutations(range(size)))
    cut = draw(st.integers(1, size - 1)) if size > 1 else size
    parts = [slice(0, cut), slice(cut, size)][: 1 + (cut < size)]
    return ByDimension(
        transformations=[
            DimensionItem(
                transformation=draw(invertible(len(sources[part]), depth)),
                input_axes=sources[part],
                output_axes=targets[part],
            )
            for part in parts
        ]
    )


def invertible(size: int, depth: int = 2) -> st.SearchStrategy[Transformation]:
    """Transformations of so many axes with a closed-form inverse."""
    simple: st.SearchStrategy[Transformation] = st.one_of(
        st.just(Identity()),
        vectors(size, factors).map(lambda numbers: Scale(scale=numbers)),
        vectors(size).map(lambda numbers: Translation(translation=numbers)),
        st.permutations(range(size)).map(lambda order: MapAxis(map_axis=order)),
        rotations(size),
        affines(size),
    )
    if not depth:
        return simple
    inner = st.deferred(lambda: invertible(size, depth - 1))
    return st.one_of(
        simple,
        st.lists(inner, min_size=1, max_size=3).map(lambda listed: Sequence(transformations=listed)),
        by_dimensions(size, depth - 1),
        inner.map(lambda forward: Bijection(forward=forward, backward=forward.inverse())),
    )


sized = st.integers(1, 4).flatmap(
    lambda size: st.tuples(invertible(size), invertible(size), st.lists(vectors(size), max_size=3))
)


def close(one: Any, other: Any) -> None:
    assert np.shape(one) == np.shape(other)
    scale = 1 + np.abs(np.asarray(other, float)).max(initial=0)
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6 * scale)


@settings(max_examples=50)
@given(drawn=sized)
def test_the_inverse_leads_back(drawn: Any) -> None:
    first, _, points = drawn
    moved = first.apply(points)
    limit = max((abs(number) for point in moved for number in point), default=0)
    if limit < 1e5:
        close(first.inverse().apply(moved), points)


@settings(max_examples=50)
@given(drawn=sized)
def test_composing_is_applying_one_after_the_other(drawn: Any) -> None:
    first, second, points = drawn
    close(compose(first, second).apply(points), second.apply(first.apply(points)))


@settings(max_examples=50)
@given(drawn=sized)
def test_the_matrix_does_what_the_transformation_does(drawn: Any) -> None:
    first, _, points = drawn
    size = len(points[0]) if points else first.ndim
    if size is None:
        return
    affine = as_affine(first, size).affine
    oracle = [np.asarray(affine)[:, :-1] @ point + np.asarray(affine)[:, -1] for point in np.array(points)]
    close(first.apply(points), np.array(oracle).tolist())


@settings(max_examples=50)
@given(drawn=sized)
def test_a_transformation_survives_its_document(drawn: Any) -> None:
    first, _, _ = drawn
    document = first.to_json()
    assert json.loads(json.dumps(document)) == document
    assert parse_transformation(document) == first
    assert parse_transformation(document).to_json() == document


def test_composing_leaves_its_parts_and_joins_their_ends() -> None:
    first = Scale(scale=[2], input=SystemReference(name="a"), output=SystemReference(name="b"))
    second = Translation(translation=[1], input=SystemReference(name="b"), output=SystemReference(name="c"))
    both = compose(first, Identity(), second)
    assert both.to_json() == {
        "type": "sequence",
        "input": {"name": "a"},
        "output": {"name": "c"},
        "transformations": [{"type": "scale", "scale": [2.0]}, {"type": "translation", "translation": [1.0]}],
    }
    assert first.output == second.input == SystemReference(name="b")
    assert compose() == Identity()
    assert compose(first).to_json() == first.to_json()
    assert both.inverse().input == SystemReference(name="c")


def test_numpy_points_are_taken() -> None:
    assert Scale(scale=np.array([2, 3])).apply(np.array([[1, 1], [2, 2]], "uint8")) == [[2, 3], [4, 6]]
    assert Scale(scale=[2, 3]).apply(np.empty((0, 2))) == []


def test_projecting_axes() -> None:
    up = ProjectAxis(created_outputs=[0, 1])
    assert up.apply([[7, 8]]) == [[0, 0, 7, 8]]
    both = ProjectAxis(created_outputs=[0], dropped_inputs=[0])
    assert both.apply([[7, 8, 9]]) == [[0, 8, 9]]
    assert as_affine(both, 3).affine == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert compose(up, ProjectAxis(dropped_inputs=[0, 1])).apply([[7, 8]]) == [[7, 8]]


def test_all_12_types_are_there() -> None:
    vocabulary = json.loads((NGFF / "vocabulary.json").read_text())
    words = vocabulary["transformation_types"]["0.6"]
    assert sorted(TRANSFORMATIONS) == sorted(words)
    assert [kind.model_fields["type"].default for kind in TRANSFORMATIONS.values()] == list(TRANSFORMATIONS)


# -- what is refused ----------------------------------------------------------------------------------------


REFUSED: list[tuple[Any, str]] = [
    (3, "a transformation is an object with a type, not 3"),
    ({"scale": [1]}, "an object with a type"),
    ({"type": "warp"}, "the type 'warp' is none of .*CT-20"),
    ({"type": ["scale"]}, "none of"),
    ({"type": "scale"}, "scale: is missing"),
    ({"type": "scale", "scale": []}, "scale: .*at least 1"),
    ({"type": "scale", "scale": [1, None]}, r"scale\[1\]: expected a valid number"),
    ({"type": "translation", "translation": [math.nan]}, r"translation\[0\]: expected a finite number"),
    ({"type": "translation", "path": "t"}, "translation: is missing"),
    ({"type": "mapAxis", "mapAxis": [0, 0]}, r"\[0, 0\] is not a permutation of 0 ... 1 \(CT-30\)"),
    ({"type": "mapAxis", "mapAxis": [1, 2]}, "CT-30"),
    ({"type": "mapAxis", "mapAxis": [-1, 0]}, r"mapAxis\[0\]: expected.*0"),
    ({"type": "projectAxis"}, "CT-31"),
    ({"type": "projectAxis", "droppedInputs": [0, 0]}, r"\[0, 0\].*not unique \(CT-31\)"),
    ({"type": "affine"}, "CT-32"),
    ({"type": "affine", "affine": [[1, 0]], "path": "a"}, "not both.*CT-32"),
    ({"type": "affine", "affine": [[1, 0], [1]]}, "all of one length.*CT-32"),
    ({"type": "affine", "affine": [[1]]}, "CT-32"),
    ({"type": "rotation", "rotation": [[1, 0]]}, "CT-33"),
    ({"type": "rotation", "rotation": [[2, 0], [0, 0.5]]}, "CT-33"),
    ({"type": "rotation", "rotation": [[0, 1], [1, 0]]}, "determinant 1.*CT-33"),
    ({"type": "sequence", "transformations": []}, "transformations: .*at least 1"),
    (
        {"type": "sequence", "transformations": [{"type": "warp"}]},
        r"transformations\[0\]: the type 'warp'",
    ),
    (
        {
            "type": "sequence",
            "transformations": [{"type": "scale", "scale": [1, 1]}, {"type": "scale", "scale": [1]}],
        },
        "the scale is for 1 axes, not for 2",
    ),
    ({"type": "displacements"}, "path: is missing"),
    (
        {"type": "coordinates", "path": "c", "interpolation": "fractal"},
        "interpolation: expected 'nearest'",
    ),
    ({"type": "bijection", "forward": {"type": "identity"}}, "inverse: is missing"),
    (
        {
            "type": "bijection",
            "forward": {"type": "scale", "scale": [1]},
            "inverse": {"type": "scale", "scale": [1, 1]},
        },
        "the scale is for 2 axes",
    ),
    (
        {
            "type": "bijection",
            "forward": {"type": "affine", "affine": [[1, 1, 0]]},
            "inverse": {"type": "affine", "affine": [[1, 1, 0]]},
        },
        "changes the number of axes.*CT-37",
    ),
    (
        {"type": "byDimension", "transformations": [{}]},
        r"transformations\[0\].transformation: is missing",
    ),
    (
        {
            "type": "byDimension",
            "transformations": [{"type": "identity", "inputAxes": [0], "outputAxes": [1]}],
        },
        r"makes \[1\] \(CT-36\)",
    ),
    (
        {
            "type": "byDimension",
            "transformations": [{"type": "scale", "scale": [1], "inputAxes": [0, 1], "outputAxes": [0]}],
        },
        "the scale is for 1 axes, not for 2",
    ),
    (
        {
            "type": "byDimension",
            "transformations": [{"type": "identity", "inputAxes": [0, 1], "outputAxes": [0]}],
        },
        r"makes 2 axes, and outputAxes lists \[0\] \(CT-36\)",
    ),
    (
        {
            "type": "byDimension",
            "transformations": [{"type": "identity", "inputAxes": [0, 1], "outputAxes": [0, 0]}],
        },
        r"makes \[0, 0\] \(CT-36\)",
    ),
    ({"type": "identity", "input": 3}, "input: expected"),
]


@pytest.mark.parametrize(("document", "message"), REFUSED)
def test_parameters_that_do_not_fit_are_refused(document: Any, message: str) -> None:
    with pytest.raises(MetadataError, match=message) as caught:
        parse_transformation(document, "scene.coordinateTransformations[0]")
    assert str(caught.value).startswith("scene.coordinateTransformations[0]")


def test_what_the_models_refuse_breaks_a_rule_too() -> None:
    for document, _ in REFUSED:
        if isinstance(document, dict) and "input" not in document:
            found = list(check_parameters(Value(document, (), VERSION_TRAITS["0.6"]), Ends(None, None)))
            assert "MUST" in [finding.level for finding in found], document


def test_an_axis_may_be_read_twice_by_a_by_dimension() -> None:
    item = {"transformation": {"type": "identity"}, "inputAxes": [0, 0], "outputAxes": [0, 1]}
    twice = parse_transformation({"type": "byDimension", "transformations": [item]})
    assert twice.apply([[3]]) == [[3.0, 3.0]]
    assert twice.matrix(1) == [[1.0, 0.0], [1.0, 0.0]]
    with pytest.raises(InvalidArgumentError, match="cannot be inverted"):
        twice.inverse()


@pytest.mark.parametrize(
    ("transformation", "points", "message"),
    [
        (Scale(scale=[1, 1]), [[1, 2, 3]], "The scale is for 2 axes, not for 3"),
        (Scale(scale=[1, 1], name="half"), [[1]], "The scale 'half' is for 2 axes"),
        (ProjectAxis(dropped_inputs=[2]), [[1, 2]], "drops the input axes"),
        (ByDimension.from_json(CASES[4]["attributes_0_6"]["ome"]["scene"]["coordinateTransformations"][0]), [[1]],
         "reads input axis 1, and the points have 1 axes"),
        (Identity(), [1, 2], "Points are a list of points"),
        (Identity(), [["a"]], "Points are a list of points"),
        (Affine(path="matrix"), [[1]], "its numbers are in the array 'matrix'"),
        (Displacements(path="field"), [[1]], "field of vectors at 'field'"),
        (Coordinates(path="field"), [[1]], "field of vectors at 'field'"),
        (OtherTransformation(type="warp"), [[1]], "'warp' is none of"),
    ],
)  # fmt: skip
def test_points_that_do_not_fit_are_refused(
    transformation: Transformation, points: Any, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        transformation.apply(points)


@pytest.mark.parametrize(
    ("transformation", "message"),
    [
        (Scale(scale=[1, 0]), r"\[1.0, 0.0\] cannot be inverted: a factor is 0"),
        (Affine(affine=[[1, 1, 0], [1, 1, 0]]), "flattens space"),
        (Affine(affine=[[1, 1, 0]]), "another number of axes"),
        (
            Affine(affine=[[1e-200, 0, 1e200], [0, 1e-200, 0]]),
            "cannot be inverted: .* expected a finite number",
        ),
        (Scale(scale=[1e-320]), "cannot be inverted: .* expected a finite number"),
        (Rotation(path="matrix"), "in the array 'matrix'"),
        (ProjectAxis(created_outputs=[0]), "what it drops is lost"),
        (Displacements(path="field"), "cannot be inverted"),
        (
            Sequence(transformations=[Identity(), Coordinates(path="field")]),
            "The coordinates cannot be inverted",
        ),
        (
            ByDimension(
                transformations=[DimensionItem(transformation=Identity(), input_axes=[1], output_axes=[0])]
            ),
            r"must use each input axis once, and it uses \[1\]",
        ),
    ],
)
def test_what_has_no_inverse_says_so(transformation: Transformation, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        transformation.inverse()


def test_a_matrix_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="any number of axes: pass axes_in"):
        as_affine(Identity())
    with pytest.raises(InvalidArgumentError, match="The scale is for 1 axes, not for 2"):
        as_affine(Scale(scale=[1]), 2)
    with pytest.raises(InvalidArgumentError, match="cannot be written as an affine matrix"):
        as_affine(Displacements(path="field"), 2)


def test_parts_that_do_not_fit_are_not_composed() -> None:
    with pytest.raises(InvalidArgumentError, match="Cannot apply scale, translation one after the other"):
        compose(Scale(scale=[1, 1]), Translation(translation=[1]))


# -- the graph ----------------------------------------------------------------------------------------------


def scene(*edges: tuple[str, str, dict[str, Any]]) -> CoordinateGraph:
    names = sorted({name for edge in edges for name in edge[:2]})
    return CoordinateGraph.of_scene(
        SceneMeta.from_json(
            {
                "coordinateSystems": [
                    {"name": name, "axes": [{"name": "y"}, {"name": "x"}]} for name in names
                ],
                "coordinateTransformations": [
                    transform | {"input": {"name": source}, "output": {"name": target}}
                    for source, target, transform in edges
                ],
            }
        )
    )


def moved(step: float) -> dict[str, Any]:
    return {"type": "translation", "translation": [step, step]}


def test_the_shortest_way_is_taken_forwards_and_backwards() -> None:
    graph = scene(("a", "b", moved(1)), ("c", "b", moved(10)), ("c", "d", moved(100)), ("a", "d", moved(5)))
    assert graph.between("a", "d").apply([[0, 0]]) == [[5, 5]]
    assert graph.between("b", "d").apply([[0, 0]]) in ([[4, 4]], [[90, 90]])
    way = graph.between("b", "c")
    assert way.apply([[0, 0]]) == [[-10, -10]]
    assert (way.input, way.output) == (SystemReference(name="b"), SystemReference(name="c"))
    assert graph.between("a", "a").apply([[3, 4]]) == [[3, 4]]


def test_a_way_that_cannot_be_gone_back_says_why() -> None:
    graph = scene(("a", "b", {"type": "displacements", "path": "field"}), ("c", "d", moved(1)))
    assert graph.between("a", "b").to_json()["path"] == "field"
    with pytest.raises(InvalidArgumentError, match=r"Nothing leads .* 'b' to 'a': .*field of vectors"):
        graph.between("b", "a")
    with pytest.raises(InvalidArgumentError, match="Nothing leads from the coordinate system 'a' to 'c'"):
        graph.between("a", "c")


def test_a_transformation_that_does_not_fit_its_systems_is_not_used() -> None:
    with pytest.raises(InvalidArgumentError, match="the scale is for 3 axes, not for 2"):
        scene(("a", "b", {"type": "scale", "scale": [1, 1, 1]})).between("a", "b")
    with pytest.raises(InvalidArgumentError, match=r"makes 1 axes, and the system 'b' has 2 \(CT-27\)"):
        scene(("a", "b", {"type": "projectAxis", "droppedInputs": [0]})).between("a", "b")
    unread = {"transformation": {"type": "identity"}, "inputAxes": [0], "outputAxes": [0]}
    graph = CoordinateGraph.of_scene(
        SceneMeta.from_json(
            {
                "coordinateSystems": [
                    {"name": "a", "axes": [{"name": "y"}, {"name": "x"}]},
                    {"name": "b", "axes": [{"name": "y"}]},
                ],
                "coordinateTransformations": [
                    {"type": "byDimension", "transformations": [unread]}
                    | {"input": {"name": "a"}, "output": {"name": "b"}}
                ],
            }
        )
    )
    assert graph.between("a", "b").apply([[1, 2]]) == [[1.0]]
    with pytest.raises(InvalidArgumentError, match=r"makes 1 axes, and the system 'a' has 2 \(CT-27\)"):
        graph.between("b", "a")
    adrift = CoordinateGraph.of_scene(SceneMeta.from_json({"coordinateTransformations": [moved(1)]}))
    with pytest.raises(InvalidArgumentError, match="There is no coordinate system 'a': there are none"):
        adrift.between("a", "a")


def test_systems_and_their_axes_are_listed() -> None:
    graph = CoordinateGraph.of_image(MultiScaleMeta(axes=axes("yx"), datasets=[]))
    assert graph.systems == [SystemReference(name="intrinsic")]
    assert graph.axes("intrinsic") == axes("yx")
    with pytest.raises(InvalidArgumentError, match="no coordinate system 'intrinsic' of 'tile'"):
        graph.axes(SystemReference(name="intrinsic", path="tile"))
