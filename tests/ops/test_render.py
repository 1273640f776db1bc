"""Pixels to colours: against numpy written the long way, for every dtype and for awkward values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lamella.errors import InvalidArgumentError
from lamella.ops.display.render import (
    auto_window,
    block_mean,
    composite,
    intensity,
    nearest,
    overlay,
    rgb,
)
from lamella.spec.channels import standard_colors
from lamella.spec.colors import label_color

DTYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
)


def oracle(planes, colors, windows):
    """The composite one pixel at a time, in Python's own numbers."""
    height, width = planes[0].shape
    picture = np.zeros((height, width, 3), "uint8")
    for y in range(height):
        for x in range(width):
            for part in range(3):
                total = 0.0
                for plane, color, (start, end) in zip(planes, colors, windows, strict=True):
                    level = (float(plane[y, x]) - start) / (end - start)
                    level = 0.0 if math.isnan(level) else min(max(level, 0.0), 1.0)
                    total += level * int(color[2 * part : 2 * part + 2], 16)
                picture[y, x, part] = int(min(total, 255) + 0.5)
    return picture


@pytest.mark.parametrize("dtype", DTYPES)
def test_composite_is_the_sum_of_colours_weighted_by_the_window(dtype):
    rng = np.random.default_rng(1)
    planes = rng.integers(0, 100, (3, 5, 7)).astype(dtype)
    colors, windows = ["FF8000", "00FFFF", "123456"], [(0, 90), (20, 30), (-10, 200)]
    found = composite(planes, colors, windows).astype(int)
    assert np.abs(found - oracle(planes, colors, windows)).max() <= (1 if dtype.startswith("float") else 0)


@settings(max_examples=25)
@given(
    planes=npst.arrays(
        "float32",
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        elements=st.floats(width=32),
    ),
    start=st.floats(-1e6, 1e6),
    end=st.floats(-1e6, 1e6),
)
def test_any_float_and_any_window_give_a_picture(planes, start, end):
    colors = ["FFFFFF"] * len(planes)
    picture = composite(planes, colors, [(start, end)] * len(planes))
    assert picture.dtype == np.uint8
    assert picture.shape == (*planes.shape[1:], 3)
    assert not picture[np.isnan(planes).all(axis=0)].any()


def test_values_outside_the_window_are_black_and_full():
    picture = composite(np.array([[[-5, 10, 20, 99]]], "int16"), ["FFFFFF"], [(10, 20)])
    assert picture[0, :, 0].tolist() == [0, 0, 255, 255]


def test_nan_is_black_and_infinity_is_full():
    plane = np.array([[np.nan, np.inf, -np.inf]], "float32")
    assert intensity(plane, (0, 1)).tolist() == [[0, 1, 0]]


def test_a_window_without_width_is_a_threshold():
    assert intensity(np.array([4, 5, 6], "uint8"), (5, 5)).tolist() == [0, 0, 1]
    assert intensity(np.zeros(3, "uint8"), (0, 0)).tolist() == [0, 0, 0]


def test_a_reversed_window_inverts():
    assert intensity(np.array([0, 50, 100], "uint8"), (100, 0)).tolist() == [1, 0.5, 0]


def test_negative_values_of_signed_dtypes_keep_their_order():
    levels = intensity(np.array([-128, 0, 127], "int8"), (-128, 127))
    assert levels[0] == 0
    assert levels[2] == 1
    assert levels[1] == pytest.approx(128 / 255)


def test_complex_values_are_shown_by_magnitude():
    assert intensity(np.array([3 + 4j]), (0, 10)).tolist() == [0.5]


def test_the_planes_are_left_as_they_are():
    plane = np.array([[1.0, np.nan]])
    composite([plane], ["FFFFFF"], [(0, 2)])
    assert plane[0, 0] == 1
    assert np.isnan(plane[0, 1])


@pytest.mark.parametrize(
    ("planes", "colors", "windows"),
    [
        ([], [], []),
        ([np.zeros((2, 2))], ["FFFFFF", "000000"], [(0, 1)]),
        ([np.zeros((2, 2))], ["FFFFFF"], []),
        ([np.zeros((2, 2)), np.zeros((2, 3))], ["FFFFFF"] * 2, [(0, 1)] * 2),
        ([np.zeros((2, 2, 2))], ["FFFFFF"], [(0, 1)]),
    ],
    ids=["nothing", "colours", "windows", "shapes", "3-D"],
)
def test_composite_refuses_what_does_not_fit(planes, colors, windows):
    with pytest.raises(InvalidArgumentError, match="composite"):
        composite(planes, colors, windows)


@pytest.mark.parametrize("dtype", [name for name in DTYPES if name != "bool"])
def test_auto_window_spans_the_percentiles(dtype):
    values = np.arange(101).astype(dtype)
    start, end = np.percentile(values.astype(float), (0.1, 99.9), method="nearest")
    assert auto_window(values) == pytest.approx((start, end))


def test_auto_window_ignores_what_is_not_finite():
    values = np.array([np.nan, np.inf, -np.inf, *range(101)], "float32")
    assert auto_window(values) == (0, 100)


def test_auto_window_of_few_bright_pixels_reaches_them():
    values = np.zeros(10_000, "uint16")
    values[17] = 900
    assert auto_window(values) == (0, 900)


def test_auto_window_of_a_constant_makes_it_black():
    plane = np.full((4, 4), 7, "uint8")
    assert not composite([plane], ["FFFFFF"], [auto_window(plane)]).any()


@pytest.mark.parametrize("values", [np.array([True, False]), np.array([]), np.full(3, np.nan)])
def test_auto_window_without_numbers_is_zero_to_one(values):
    assert auto_window(values) == (0, 1)


@settings(max_examples=30)
@given(
    plane=npst.arrays(
        st.sampled_from(["uint8", "int16", "bool"]), st.tuples(st.integers(1, 9), st.integers(1, 9))
    ),
    factor=st.integers(2, 5),
)
def test_block_mean_is_the_mean_of_the_pixels_there_are(plane, factor):
    found = block_mean(plane, factor)
    height, width = plane.shape
    assert found.shape == (-(-height // factor), -(-width // factor))
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            block = plane[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            assert found[y, x] == pytest.approx(block.astype(float).mean())


def test_block_mean_leaves_nan_out():
    plane = np.array([[1, np.nan], [3, np.inf], [np.nan, np.nan], [np.nan, np.nan]])
    found = block_mean(plane, 2)
    assert found[0, 0] == 2
    assert np.isnan(found[1, 0])


def test_block_mean_with_factor_one_is_the_plane():
    plane = np.eye(3, dtype="uint8")
    assert block_mean(plane, 1) is plane


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (7, 3), (20, 20)])
def test_nearest_invents_no_id(shape):
    ids = np.array([[0, 3, 3], [9, 9, 0]], "uint16")
    found = nearest(ids, shape)
    assert found.shape == shape
    assert found.dtype == ids.dtype
    assert set(np.unique(found)) <= set(np.unique(ids))
    assert (nearest(ids, (4, 6)) == np.kron(ids, np.ones((2, 2), "uint16"))).all()


def test_overlay_tints_inside_and_draws_the_outline_in_full():
    labels = np.zeros((7, 7), "int32")
    labels[1:6, 1:6] = 4
    grey = np.full((7, 7, 3), 100, "uint8")
    found = overlay(grey, labels, {4: (200, 0, 0)}, opacity=0.5)
    assert found[0, 0].tolist() == [100, 100, 100]
    assert found[1, 3].tolist() == [200, 0, 0]
    assert found[3, 3].tolist() == [150, 50, 50]
    assert (grey == 100).all()


def test_touching_labels_are_told_apart():
    labels = np.repeat([[1, 1, 1, 2, 2, 2]], 3, axis=0)
    found = overlay(np.zeros((3, 6, 3), "uint8"), labels)
    assert found[1, 0].tolist() != found[1, 5].tolist()
    assert found[1, 2].tolist() == list(label_color(1))
    assert found[1, 3].tolist() == list(label_color(2))


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.zeros((2, 3), "uint8")])
def test_overlay_refuses_what_are_no_labels_of_the_picture(labels):
    with pytest.raises(InvalidArgumentError):
        overlay(np.zeros((2, 2, 3), "uint8"), labels)


def test_colours_of_channels_without_metadata_differ():
    for count in range(8):
        colors = standard_colors(count)
        assert len(colors) == len(set(colors)) == count


@pytest.mark.parametrize("color", ["", "green", "12345", "#12", "GG0000"])
def test_a_colour_that_is_none_is_white(color):
    assert rgb(color) == (255, 255, 255)
