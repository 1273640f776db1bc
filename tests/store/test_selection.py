"""Law: an index selects what numpy selects, or both refuse it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamella.errors import InvalidArgumentError, OutOfBoundsError
from lamella.store.pixels.selection import Selection, basic_or_fancy, orthogonal, points


def take(selection: Selection, array: np.ndarray) -> np.ndarray:
    """What an engine does: slices and 1-D arrays per axis, or paired points."""
    if selection.is_paired:
        return selection.finish(array[selection.axes])
    block = array
    for axis, item in enumerate(selection.axes):
        block = block[(slice(None),) * axis + (item,)]
    assert block.shape == selection.shape
    return selection.finish(block)


def put(selection: Selection, array: np.ndarray, data: np.ndarray) -> None:
    block = selection.prepare(data)
    axes = selection.axes if selection.is_paired else np.ix_(*[_positions(a) for a in selection.axes])
    array[axes] = block


def _positions(item):
    return np.arange(item.start, item.stop, item.step) if isinstance(item, slice) else item


shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@st.composite
def indices(draw, shape):
    """Items that fit or miss the shape by a little: integers, slices, arrays, masks, ellipsis."""
    items = []
    axis = 0
    while axis < len(shape):
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "slice", "array", "mask", "stop"]))
        if kind == "int":
            items.append(draw(st.integers(-n - 1, n)))
        elif kind == "slice":
            bound = st.none() | st.integers(-n - 2, n + 2)
            step = draw(st.none() | st.integers(-3, 3).filter(bool))
            items.append(slice(draw(bound), draw(bound), step))
        elif kind == "array":
            array_shape = draw(st.sampled_from([(1,), (2,), (3,), (0,), (2, 1), (1, 3)]))
            low, high = (-n, n - 1) if n and draw(st.booleans()) else (-n - 1, n)
            items.append(draw(hnp.arrays(np.int64, array_shape, elements=st.integers(low, high))))
        elif kind == "mask":
            width = draw(st.integers(1, min(2, len(shape) - axis)))
            items.append(draw(hnp.arrays(bool, shape[axis : axis + width])))
            axis += width - 1
        else:
            break
        axis += 1
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
    return tuple(items)


@st.composite
def shaped_indices(draw):
    shape = draw(shapes)
    return shape, draw(indices(shape))


def has_empty_mask(index) -> bool:
    """numpy takes an empty mask for an axis of any length; we want masks to match their axes."""
    return any(isinstance(i, np.ndarray) and i.dtype == bool and i.size == 0 for i in index)


@settings(max_examples=233, deadline=None)
@given(shaped_indices())
def test_index_selects_what_numpy_selects(case):
    shape, index = case
    assume(not has_empty_mask(index))
    array = np.arange(np.prod(shape)).reshape(shape)
    try:
        expected = array[index]
    except (IndexError, ValueError) as error:
        with pytest.raises(type(error)):
            basic_or_fancy(index, shape)
        return
    got = take(basic_or_fancy(index, shape), array)
    assert got.shape == np.shape(expected)
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=100, deadline=None)
@given(shaped_indices())
def test_prepared_data_lands_where_numpy_puts_it(case):
    shape, index = case
    assume(not has_empty_mask(index))
    places = np.arange(np.prod(shape)).reshape(shape)
    try:
        selected = places[index]
    except (IndexError, ValueError):
        return
    if len(np.unique(selected)) != np.size(selected):
        return  # one place given several values: which one wins is StoredArray's law
    data = -1 - np.arange(np.size(selected)).reshape(np.shape(selected))
    expected, got = places.copy(), places.copy()
    expected[index] = data
    put(basic_or_fancy(index, shape), got, data)
    np.testing.assert_array_equal(got, expected)


@settings(max_examples=100, deadline=None)
@given(shaped_indices())
def test_orthogonal_index_picks_along_each_axis(case):
    shape, index = case
    array = np.arange(np.prod(shape)).reshape(shape)
    items = [i for i in index if i is not Ellipsis]
    if any(isinstance(i, np.ndarray) and i.ndim != 1 for i in items) or Ellipsis in [type(i) for i in items]:
        return
    items += [slice(None)] * (len(shape) - len(items))
    expected = array
    try:
        for axis, item in enumerate(items):
            one = (
                slice(item, item + 1 or None)
                if isinstance(item, int) and array[(slice(None),) * axis + (item,)] is not None
                else item
            )
            expected = expected[(slice(None),) * axis + (one,)]
        expected = expected.reshape(
            [n for n, i in zip(expected.shape, items, strict=True) if not isinstance(i, int)]
        )
    except (IndexError, ValueError) as error:
        with pytest.raises(type(error)):
            orthogonal(tuple(items), shape)
        return
    np.testing.assert_array_equal(take(orthogonal(tuple(items), shape), array), expected)


def test_points_pair_up():
    array = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(take(points(([2, 0], [1, -1]), (3, 4)), array), array[[2, 0], [1, -1]])
    mask = array % 5 == 0
    np.testing.assert_array_equal(take(points(mask, (3, 4)), array), array[mask])


def test_points_need_an_array_for_every_axis():
    with pytest.raises(OutOfBoundsError, match="one array per axis"):
        points(([0, 1],), (3, 4))


@pytest.mark.parametrize(
    ("index", "error"),
    [
        ((None, 0), InvalidArgumentError),
        (1.5, OutOfBoundsError),
        ("a", OutOfBoundsError),
        ((0, 0, 0), OutOfBoundsError),
        ((..., ...), OutOfBoundsError),
        (True, OutOfBoundsError),
        (np.zeros((3, 3), bool), OutOfBoundsError),
        ([[0, 1], [2]], OutOfBoundsError),
        (slice(0, 1.5), OutOfBoundsError),
        (slice(None, None, 0), InvalidArgumentError),
        (3, OutOfBoundsError),
        (-4, OutOfBoundsError),
    ],
)
def test_what_is_no_index_is_refused(index, error):
    with pytest.raises(error):
        basic_or_fancy(index, (3, 4))


def test_orthogonal_index_refuses_arrays_of_two_axes():
    with pytest.raises(InvalidArgumentError, match="1-D"):
        orthogonal((np.zeros((2, 2), int), 0), (3, 4))
