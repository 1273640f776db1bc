"""Laws of cutting arrays: boxes on a grid cover every voxel once, and pieces are whole grains of bounded size."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lamella.ops.regions import bounded_shape, enlarge, region_shape, regions, shrink, split_region

boxes = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.tuples(*[st.integers(0, 9)] * n),
        st.tuples(*[st.integers(1, 5)] * n),
        st.tuples(*[st.integers(1, 4)] * n),
    )
)


@given(boxes)
def test_regions_cover_every_voxel_once_on_the_grid(case):
    shape, unit, _ = case
    seen = np.zeros(shape, int)
    for region in regions(shape, unit):
        assert all(s.start % u == 0 for s, u in zip(region, unit, strict=True))
        assert seen[region].shape == region_shape(region)
        seen[region] += 1
    assert (seen == 1).all()


@given(boxes, st.data())
def test_nested_boxes_cover_a_region_once_and_finish_each_outer_box_before_the_next(case, data):
    shape, unit, factors = case
    outer = tuple(u * f for u, f in zip(unit, factors, strict=True))
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    seen, left, now = np.zeros(shape, int), set(), None
    for box in split_region(tuple(slice(*end) for end in ends), [outer, unit]):
        assert all(
            s.start // u == (s.stop - 1) // u for s, u in zip(box, unit, strict=True)
        )  # inside one cell of the grid
        seen[box] += 1
        cell = tuple(s.start // u for s, u in zip(box, outer, strict=True))
        assert cell not in left
        if cell != now:
            left.add(now)
            now = cell
    expected = np.zeros(shape, int)
    expected[tuple(slice(*end) for end in ends)] = 1
    assert (seen == expected).all()


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 9))
def test_what_depends_on_a_box_is_made_of_a_box_around_it(start, length, factor):
    box = (slice(start, start + length),)
    (around,) = enlarge(shrink(box, (factor,)), (factor,), (start + length,))
    assert around.start <= start < around.start + factor
    assert around.stop == start + length


@given(boxes)
def test_enlarged_regions_of_a_level_cover_the_finer_one_once(case):
    shape, unit, factors = case
    coarse = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    seen = np.zeros(shape, int)
    for region in regions(coarse, unit):
        seen[enlarge(region, factors, shape)] += 1
    assert (seen == 1).all()


@given(boxes, st.integers(1, 3000))
def test_pieces_are_grains_or_whole_and_no_larger_than_asked_unless_one_grain_is(case, most):
    shape, grain, _ = case
    shape = tuple(max(1, n) for n in shape)
    piece = bounded_shape(shape, grain, 2, most)
    assert all(p == n or p % g == 0 for p, n, g in zip(piece, shape, grain, strict=True))
    assert prod(piece) * 2 <= most or all(
        p <= max(g, 1) or p == min(g, n) for p, g, n in zip(piece, grain, shape, strict=True)
    )
