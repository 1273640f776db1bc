"""Laws of coordinate transformations, with a point carried through every step as the oracle."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import InvalidArgumentError, MetadataError, NodeNotFoundError
from lamella.models import DatasetMeta, ImagesMeta, MultiScaleMeta, TransformationMeta, axes
from lamella.spec.geometry import (
    effective_scale,
    effective_translation,
    level_transforms,
    normalize_transforms,
    pyramid_shapes,
)

NDIM = 3
vectors = st.lists(st.integers(-64, 64).map(lambda n: n / 4), min_size=NDIM, max_size=NDIM)
transforms = st.lists(
    st.one_of(
        st.just(TransformationMeta(type="identity")),
        vectors.map(lambda v: TransformationMeta(type="scale", scale=v)),
        vectors.map(lambda v: TransformationMeta(type="translation", translation=v)),
    ),
    max_size=5,
)


def carried(point: list[float], steps: list[TransformationMeta]) -> list[float]:
    """The point after each step in turn, in exact quarters."""
    for step in steps:
        if step.scale is not None:
            point = [a * b for a, b in zip(point, step.scale, strict=True)]
        if step.translation is not None:
            point = [a + b for a, b in zip(point, step.translation, strict=True)]
    return point


def image(level: list[TransformationMeta], whole: list[TransformationMeta] | None = None) -> ImagesMeta:
    dataset = DatasetMeta(path="0", coordinate_transformations=level)
    scales = MultiScaleMeta(axes=axes("zyx"), datasets=[dataset], coordinate_transformations=whole)
    return ImagesMeta(multiscales=[scales])


@given(level=transforms, whole=st.none() | transforms, point=vectors)
def test_effective_numbers_carry_points_as_the_steps_do(
    level: list[TransformationMeta], whole: list[TransformationMeta] | None, point: list[float]
) -> None:
    meta = image(level, whole)
    for name, steps in (("0", level + (whole or [])), ("*", whole or [])):
        scale, translation = effective_scale(meta, name), effective_translation(meta, name)
        moved = [p * s + t for p, s, t in zip(point, scale, translation, strict=True)]
        np.testing.assert_allclose(moved, carried(point, steps), rtol=1e-12, atol=1e-9)


def test_missing_transformations_count_as_nothing() -> None:
    meta = image([])
    assert (effective_scale(meta, "0"), effective_translation(meta, "0")) == ([1.0] * 3, [0.0] * 3)
    assert (effective_scale(meta, "*"), effective_translation(meta, "*")) == ([1.0] * 3, [0.0] * 3)


def test_an_unknown_image_is_named_with_those_there_are() -> None:
    with pytest.raises(NodeNotFoundError, match="no level '7': its levels are '0'") as caught:
        effective_scale(image([]), "7")
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    "stored",
    [TransformationMeta(type="scale", scale=[1, 1]), TransformationMeta(type="scale", path="numbers")],
)
def test_stored_numbers_that_do_not_fit_are_reported(stored: TransformationMeta) -> None:
    with pytest.raises(MetadataError, match="transformations of image '0' cannot be used"):
        effective_scale(image([stored]), "0")


# -- the valid equivalent -----------------------------------------------------------------------------------


@given(steps=transforms, point=vectors)
def test_the_valid_equivalent_carries_points_alike(
    steps: list[TransformationMeta], point: list[float]
) -> None:
    valid = normalize_transforms(steps, NDIM)
    np.testing.assert_allclose(carried(point, valid), carried(point, steps), rtol=1e-12, atol=1e-9)


@given(steps=transforms)
def test_the_valid_equivalent_is_one_scale_and_maybe_one_translation(steps: list[TransformationMeta]) -> None:
    types = [step.type for step in normalize_transforms(steps, NDIM)]
    given_one = any(step.type == "translation" for step in steps)
    assert types == (["scale", "translation"] if given_one else ["scale"])


@given(steps=transforms)
def test_the_valid_equivalent_is_its_own(steps: list[TransformationMeta]) -> None:
    valid = normalize_transforms(steps, NDIM)
    assert normalize_transforms(valid, NDIM) == valid


def test_unknown_keys_of_transformations_survive() -> None:
    scale = TransformationMeta(type="scale", scale=[1, 2, 3], source="calibration")
    (valid,) = normalize_transforms([TransformationMeta(type="identity"), scale], 3)
    assert valid.to_json() == {"source": "calibration", "type": "scale", "scale": [1, 2, 3]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([TransformationMeta(type="scale", scale=[1, 1])], "2 numbers"),
        ([TransformationMeta(type="translation", translation=[0] * 4)], "4 numbers"),
        ([TransformationMeta(type="scale", scale=[1, math.inf, 1])], "not finite"),
        ([TransformationMeta(type="scale", scale=[1, 1, math.nan])], "not finite"),
        ([TransformationMeta(type="translation", translation=[0, 0, -math.inf])], "not finite"),
        ([TransformationMeta(type="scale", scale=[1e200] * 3)] * 2, "not finite"),
        ([TransformationMeta(type="scale", path="numbers")], "not supported"),
        (TransformationMeta(type="identity"), "are a list of TransformationMeta"),
        (["scale"], "are a list of TransformationMeta"),
        ("scale", "are a list of TransformationMeta"),
        (3, "are a list of TransformationMeta"),
    ],
)
def test_transformations_that_do_not_fit_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        normalize_transforms(wrong, 3)


# -- pyramids -----------------------------------------------------------------------------------------------


@given(
    shape=st.lists(st.integers(1, 5000), min_size=2, max_size=5).map(tuple),
    levels=st.integers(1, 8),
    data=st.data(),
)
def test_levels_are_ceil_halves_and_factors_are_their_product(
    shape: tuple[int, ...], levels: int, data: st.DataObject
) -> None:
    dims = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True))
    plan = pyramid_shapes(shape, dims, levels)
    assert len(plan) == levels
    assert plan[0] == (shape, (1,) * len(shape))
    for lengths, factors in plan:
        for dim, (length, factor) in enumerate(zip(lengths, factors, strict=True)):
            assert length == -(-shape[dim] // factor)
            assert factor == 1 or dim in dims
    for (fine, before), (coarse, after) in itertools.pairwise(plan):
        steps = [b // a for a, b in zip(before, after, strict=True)]
        assert steps == [2 if dim in dims and fine[dim] > 1 else 1 for dim in range(len(shape))]
        assert coarse == tuple(-(-n // step) for n, step in zip(fine, steps, strict=True))


@pytest.mark.parametrize(("dims", "levels"), [((0,), 0), ((2,), 2), ((-1,), 2)])
def test_an_impossible_pyramid_is_refused(dims: tuple[int, ...], levels: int) -> None:
    with pytest.raises(InvalidArgumentError):
        pyramid_shapes((4, 4), dims, levels)


@given(
    scale=st.lists(st.integers(1, 64).map(lambda n: n / 8), min_size=2, max_size=2),
    start=st.lists(st.integers(-64, 64).map(lambda n: n / 8), min_size=2, max_size=2),
    factors=st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8])),
)
def test_a_binned_pixel_lies_in_the_middle_of_its_block(
    scale: list[float], start: list[float], factors: tuple[int, int]
) -> None:
    base = [
        TransformationMeta(type="scale", scale=scale),
        TransformationMeta(type="translation", translation=start),
    ]
    level = level_transforms(base, factors, "mean")
    for dim, factor in enumerate(factors):
        block = [carried([float(n), float(n)], base)[dim] for n in range(factor, 2 * factor)]
        assert carried([1.0, 1.0], level)[dim] == pytest.approx(sum(block) / factor)


def test_a_picked_pixel_stays_where_it_was() -> None:
    base = [
        TransformationMeta(type="scale", scale=[0.5, 0.25]),
        TransformationMeta(type="translation", translation=[7, 0]),
    ]
    assert [step.to_json() for step in level_transforms(base, (2, 4), "stride")] == [
        {"type": "scale", "scale": [1.0, 1.0]},
        {"type": "translation", "translation": [7.0, 0.0]},
    ]


def test_a_translation_by_zero_is_left_out() -> None:
    base = [TransformationMeta(type="scale", scale=[1, 1])]
    assert [step.type for step in level_transforms(base, (1, 1), "mean")] == ["scale"]
    assert [step.type for step in level_transforms(base, (2, 2), "stride")] == ["scale"]


def test_level_transforms_refuse_another_number_of_axes() -> None:
    with pytest.raises(InvalidArgumentError, match="2 numbers"):
        level_transforms([TransformationMeta(type="scale", scale=[1, 1])], (1, 2, 2), "mean")
