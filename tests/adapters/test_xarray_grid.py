"""Coordinates on regular grids: laws of placing timepoints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lamella.adapters.xarray_fit import first_grid, place
from lamella.adapters.xarray_grid import checked_values, regular_step
from lamella.errors import InvalidArgumentError

STEPS = st.sampled_from([0.1, 0.3, 1.0, 1 / 3, 2.5, 30.0, 1e-3, 7200.0])
STARTS = st.sampled_from([0.0, -5.0, 0.7, 12345.6])


def written(pieces):
    """Write pieces one after the other; the grid, and which coordinate each index then holds."""
    placement = first_grid(pieces[0], "t", None)
    held = dict(zip(placement.indices, pieces[0], strict=True))
    for piece in pieces[1:]:
        placement = place(placement.grid, piece, "t")
        held = {placement.moved(i): value for i, value in held.items()}
        held |= dict(zip(placement.indices, piece, strict=True))
    return placement.grid, held


@given(
    points=st.lists(st.integers(0, 30), min_size=2, max_size=8, unique=True),
    step=STEPS,
    start=STARTS,
    data=st.data(),
)
def test_the_order_of_timepoints_makes_no_difference(points, step, start, data):
    # What lies within a twentieth of a step of those that are there is one of them, written again.
    assume(np.diff(sorted(points)).min() * 20 > max(points) - min(points))
    values = start + step * np.array(points)
    shuffled = data.draw(st.permutations(values.tolist()))
    try:
        one, _ = written([np.array([value]) for value in values])
        other, held = written([np.array([value]) for value in shuffled])
    except InvalidArgumentError:
        assume(False)  # a refinement below a tenth of the smallest gap that was seen then
    assert other.length == one.length
    assert (other.times or {}) == pytest.approx(one.times or {})
    gaps = np.diff(sorted(points))
    assume(np.gcd.reduce(gaps) * 10 >= gaps.min())  # others take the nearest of steps that nearly fit
    assert other.length == (max(points) - min(points)) // np.gcd.reduce(gaps) + 1
    assert other.start == one.start == values.min()
    assert other.step == pytest.approx(one.step, rel=1e-9)
    for index, value in held.items():
        assert other.start + other.step * index == pytest.approx(value, abs=1e-6 * step)


@given(step=STEPS, start=STARTS, length=st.integers(2, 12), data=st.data())
def test_parts_and_the_whole_give_the_same_grid(step, start, length, data):
    values = start + step * np.arange(length)
    cut = data.draw(st.integers(1, length - 1))
    parts = [values[:cut], values[cut:]]
    whole = first_grid(values, "t", None).grid
    for pieces in (parts, parts[::-1], [values[::2], values[1::2]]):
        found, held = written(pieces)
        assert (found.start, found.length) == (whole.start, whole.length)
        assert found.step == pytest.approx(whole.step, rel=1e-9)
        assert sorted(held) == list(range(length))


@given(step=STEPS, start=STARTS, length=st.integers(2, 50))
def test_the_step_of_regular_coordinates_is_found(step, start, length):
    assert regular_step(start + step * np.arange(length), "x") == pytest.approx(step, rel=1e-9, abs=1e-11)


@given(length=st.integers(3, 50), data=st.data())
def test_coordinates_off_by_more_than_a_hundredth_are_refused(length, data):
    values = np.arange(length, dtype=float)
    values[data.draw(st.integers(1, length - 2))] += data.draw(st.sampled_from([0.05, -0.3, 0.4]))
    with pytest.raises(InvalidArgumentError, match="'x' is not evenly spaced"):
        regular_step(values, "x")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_coordinates_of_any_number_type_are_regular(dtype):
    values = (np.arange(2000) * (0.1 if dtype != "int16" else 2)).astype(dtype)
    assert regular_step(checked_values(values, "x"), "x") == pytest.approx(
        0.1 if dtype != "int16" else 2, rel=1e-5
    )


def test_timepoints_off_by_less_than_a_hundredth_take_the_nearest_index():
    grid = first_grid(np.array([0.0, 10.0]), "t", None).grid
    assert place(grid, np.array([20.05, 0.02]), "t").indices == (2, 0)


def test_a_timepoint_on_no_common_grid_is_refused():
    grid = first_grid(np.array([0.0, 10.0]), "t", None).grid
    with pytest.raises(InvalidArgumentError, match="does not lie on the timepoints"):
        place(grid, np.array([18.05]), "t")
