"""The geometry of a plate's page: every pixel belongs to at most one field, and the fields to their wells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.ops.display.montage import MAX_FIELDS, Box, Montage, field_grid, fit

MONTAGES = st.builds(
    Montage,
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    field_rows=st.integers(1, 3),
    field_columns=st.integers(1, 3),
    field_height=st.integers(1, 9),
    field_width=st.integers(1, 9),
    left=st.integers(0, 20),
    top=st.integers(0, 20),
    margin=st.integers(0, 9),
    gap=st.integers(0, 5),
    seam=st.integers(0, 2),
)


@settings(max_examples=30)
@given(MONTAGES)
def test_fields_do_not_overlap_and_lie_in_their_well_and_on_the_page(montage):
    page = np.zeros((montage.height, montage.width), int)
    for row in range(montage.rows):
        for column in range(montage.columns):
            well = montage.well(row, column)
            assert (well.height, well.width) == (montage.well_height, montage.well_width)
            for slot in range(montage.field_rows * montage.field_columns):
                box = montage.field(row, column, slot)
                assert (box.height, box.width) == (montage.field_height, montage.field_width)
                assert well.left <= box.left <= box.right <= well.right
                assert well.top <= box.top <= box.bottom <= well.bottom
                page[box.top : box.bottom, box.left : box.right] += 1
    assert page.max() == 1
    fields = montage.rows * montage.columns * montage.field_rows * montage.field_columns
    assert page.sum() == fields * montage.field_height * montage.field_width
    assert not page[: montage.top].any()
    assert not page[:, : montage.left].any()
    assert not page[montage.height - montage.margin :].any()
    assert not page[:, montage.width - montage.margin :].any()


@given(MONTAGES)
def test_wells_are_a_regular_grid_with_gaps(montage):
    last = montage.well(montage.rows - 1, montage.columns - 1)
    assert last.right == montage.width - montage.margin
    assert last.bottom == montage.height - montage.margin
    first = montage.well(0, 0)
    assert (first.left, first.top) == (montage.left, montage.top)
    if montage.columns > 1:
        assert montage.well(0, 1).left - first.right == montage.gap


@given(fields=st.integers(0, 40), aspect=st.floats(0.2, 5))
def test_a_grid_of_fields_holds_them_without_a_spare_row(fields, aspect):
    rows, columns = field_grid(fields, aspect)
    drawn = min(max(fields, 1), MAX_FIELDS)
    assert rows * columns >= drawn
    assert (rows - 1) * columns < drawn
    assert rows * columns - drawn <= math.ceil(math.sqrt(drawn)) - 1


@pytest.mark.parametrize(
    ("fields", "grid"), [(1, (1, 1)), (4, (2, 2)), (6, (2, 3)), (9, (3, 3)), (400, (3, 3))]
)
def test_square_fields_make_near_square_wells(fields, grid):
    assert field_grid(fields) == grid


def test_tall_fields_stand_side_by_side_and_wide_ones_above_each_other():
    assert field_grid(3, aspect=3) == (1, 3)
    assert field_grid(3, aspect=1 / 3) == (3, 1)


@given(height=st.floats(1, 1e5), width=st.floats(1, 1e5), side=st.integers(1, 4096))
def test_fit_makes_the_larger_side_as_asked(height, width, side):
    found = fit(height, width, side)
    assert max(found) == side
    assert min(found) >= 1


def test_a_box_inside_another_is_in_its_middle():
    assert Box(10, 20, 30, 30).inside(4, 10) == Box(15, 23, 25, 27)
