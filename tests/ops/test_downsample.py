"""Downsampling against a slow reference made of Python integers and fractions, bit for bit."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lamella.errors import InvalidArgumentError
from lamella.ops.pyramids.downsample import downsample, downsampled_shape

from .pyramid_reference import KERNELS, METHODS, assert_same_bits, reference, values_of


@st.composite
def cases(draw, most_axes=5):
    """A shape with odd, prime and single lengths, factors of 1 to 4, and a seed."""
    axes = draw(st.integers(1, most_axes))
    longest = {1: 70, 2: 35, 3: 9, 4: 6}.get(axes, 5)
    shape = tuple(draw(st.lists(st.integers(1, longest), min_size=axes, max_size=axes)))
    factors = tuple(draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes)))
    return shape, factors, draw(st.integers(0, 2**32))


examples = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # of the reference's own casts
@pytest.mark.parametrize(("name", "method"), KERNELS)
@given(case=cases())
@example(case=((70,), (2,), 0))
@example(case=((7, 70), (2, 2), 1))
@example(case=((5, 7, 35), (2, 2, 2), 2))
@example(case=((3, 5, 67), (1, 2, 2), 3))
@example(case=((1, 2, 4, 6, 18), (1, 1, 2, 2, 2), 4))
@example(case=((30, 40), (30, 40), 5))
@example(case=((2, 3, 2, 3, 2, 5), (2, 2, 1, 2, 2, 2), 6))
@settings(examples, max_examples=4)  # and the seven above, for each kernel
def test_every_voxel_is_what_the_definition_says(name, method, case):
    shape, factors, seed = case
    dtype = np.dtype(name)
    block = values_of(dtype, np.random.default_rng(seed), shape)
    assert_same_bits(downsample(block, factors, method), reference(block, factors, method))


def test_every_kernel_is_kept_as_machine_code():
    # After the test above, which compiles them all; another interpreter needs no compiler then.
    work = f"""
import sys
import numpy as np
from lamella.ops.pyramids.downsample import downsample
for dtype, method in {KERNELS}:
    found = downsample(np.full((3, 3), 1, dtype), (2, 2), method)
    assert found.tolist() == [[1, 1], [1, 1]], (method, dtype)
"""
    exec(work, {})
    work += "assert 'numba' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["u2", "f4", "f8"])
@given(case=cases(), data=st.data())
@examples
def test_cutting_into_aligned_blocks_changes_no_bit(name, method, case, data):
    shape, factors, seed = case
    block = values_of(np.dtype(name), np.random.default_rng(seed), shape)
    whole = downsample(block, factors, method)
    pieces = np.empty_like(whole)
    steps = [data.draw(st.integers(1, n)) for n in whole.shape]
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(whole.shape, steps, strict=True))):
        target = tuple(slice(c, c + s) for c, s in zip(corner, steps, strict=True))
        source = tuple(slice(t.start * f, t.stop * f) for t, f in zip(target, factors, strict=True))
        pieces[target] = downsample(block[source], factors, method)
    assert whole.tobytes() == pieces.tobytes()


@pytest.mark.parametrize("method", ["mode", "stride", "min", "max"])
@given(case=cases())
@examples
def test_label_ids_are_a_subset_of_those_below(method, case):
    shape, factors, seed = case
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 7, 2**31 + 5, 2**32 - 1], "u4"), shape)
    assert set(downsample(labels, factors, method).ravel()) <= set(labels.ravel())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "value",
    [
        np.uint64(2**64 - 1),
        np.int64(-(2**63)),
        np.uint32(2**32 - 1),
        np.float64(0.1),
        np.float64(1.7e308),
        np.float32(0.3),
    ],
    ids=repr,
)
@given(case=cases(most_axes=3))
@examples
def test_a_constant_stays_that_constant(method, value, case):
    shape, factors, _ = case
    assert (downsample(np.full(shape, value), factors, method) == value).all()


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (np.array([2, 3], "u1"), 2),
        (np.array([3, 4], "u1"), 4),
        (np.array([-3, -4], "i2"), -4),
        (np.array([-2, -3], "i2"), -2),
        (np.array([2**64 - 1, 2**64 - 2], "u8"), 2**64 - 2),
        (np.array([2**64 - 2, 2**64 - 3], "u8"), 2**64 - 2),
        (np.array([-(2**63), 2**63 - 1], "i8"), 0),
        (np.array([True, False]), False),
    ],
    ids=repr,
)
def test_halves_go_to_the_even_neighbour(voxels, expected):
    assert downsample(voxels, (2,), "mean").tolist() == [expected]
    assert downsample(voxels, (2,), "median").tolist() == [expected]


def test_a_tie_of_bool_is_false_and_a_majority_wins():
    voxels = np.array([[True, False, True, True], [True, False, True, False]])
    assert downsample(voxels, (2, 2), "mean").tolist() == [[False, True]]


@pytest.mark.parametrize("factors", [(2, 2), (2, 2, 2), (4, 4), (3, 2), (1, 2)], ids=str)
@pytest.mark.parametrize("name", ["u1", "u2", "i2", "u4", "i8"])
def test_the_mean_of_many_voxels_has_no_bias(name, factors):
    # iohub's integer mean truncates: -0.375 per 2x2 level, on every level of a pyramid. Halves rounded up: +0.125.
    shape = (48,) * (len(factors) - 2) + (240, 240)
    noise = np.random.default_rng(0).integers(0, 100, shape).astype(name)
    assert abs(downsample(noise, factors).mean() - noise.mean()) < 0.02


def test_of_equally_frequent_values_the_mode_is_the_smallest():
    assert downsample(np.array([9, 4, 9, 4, 7, 7, 1], "u2"), (7,), "mode").tolist() == [4]
    assert downsample(np.array([[9, 4], [9, 4]], "u2"), (2, 2), "mode").tolist() == [[4]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["u2", "f4", "f2", "?"])
def test_memory_order_and_byte_order_do_not_matter(name, method):
    block = values_of(np.dtype(name), np.random.default_rng(1), (7, 12, 11))
    expected = downsample(block, (2, 3, 2), method)
    wide = np.zeros((14, 12, 22), name)
    wide[::2, :, ::2] = block
    frozen = np.frombuffer(b"\0" + block.tobytes(), np.uint8)[1:].view(name).reshape(block.shape)
    for other in (
        np.asfortranarray(block),
        wide[::2, :, ::2],
        block[:, ::-1][:, ::-1],
        block.astype(block.dtype.newbyteorder(">")),
        frozen,
    ):
        assert_same_bits(downsample(other, (2, 3, 2), method), expected)


def test_the_block_itself_is_left_alone():
    block = np.arange(24, dtype="f4").reshape(4, 6) - 12
    before = block.copy()
    for method in METHODS:
        downsample(block, (2, 2), method)[...] = 99
        downsample(block, (1, 1), method)[...] = 99
    np.testing.assert_array_equal(block, before)
    assert block.flags.writeable


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_array_stays_empty(method):
    assert downsample(np.empty((0, 5), "u2"), (2, 2), method).shape == (0, 3)


@pytest.mark.parametrize("method", METHODS)
def test_factors_beyond_the_array_bin_all_of_it(method):
    block = np.arange(15, dtype="i4").reshape(3, 5)
    assert_same_bits(downsample(block, (2**40, 2**40), method), reference(block, (3, 5), method))


def test_the_shape_keeps_the_last_odd_voxel():
    assert downsampled_shape((1, 2, 3, 4, 5), (2, 2, 2, 3, 1)) == (1, 1, 2, 2, 5)


@pytest.mark.parametrize(
    ("block", "factors", "method", "words"),
    [
        (np.zeros((4, 4)), (2,), "mean", "one of at least 1 for each axis"),
        (np.zeros((4, 4)), (2, 0), "mean", "one of at least 1 for each axis"),
        (np.zeros((4, 4)), (2, 1.5), "mean", "not whole numbers"),
        (np.zeros((4, 4)), 2, "mean", "not whole numbers"),
        (np.zeros((4, 4)), (2, 2), "gaussian", "use one of mean, median"),
        (np.zeros((4, 4)), (2, 2), ["mean"], "use one of mean, median"),
        (np.zeros((4, 4), "c8"), (2, 2), "mean", "complex64"),
        (np.zeros((4, 4), "M8[s]"), (2, 2), "mean", "datetime64"),
        (np.zeros(()), (), "mean", "0 axes"),
        (np.zeros((1,) * 7), (1,) * 7, "mean", "7 axes"),
    ],
)
def test_what_cannot_be_downsampled_is_refused(block, factors, method, words):
    with pytest.raises(InvalidArgumentError, match=words):
        downsample(block, factors, method)
