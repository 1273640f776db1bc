"""Stored pyramids against the definition: every dtype, method, axis set and odd size, whatever is between them.

The definition is in ``pyramid_reference``: a level is the reduction of the stored level before it.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella.models import TransformationMeta, axes
from lamella.ops.pyramids.pyramid import compute_pyramid

from .pyramid_reference import DTYPES, KERNELS, METHODS, assert_same_bits, reference, values_of

AXIS_SETS = ("yx", "zyx", "cyx", "tyx", "tzyx", "czyx", "tcyx", "tczyx")
SWAPPED = (">i2", ">u2", ">i4", ">u4", ">i8", ">u8", ">f2", ">f4", ">f8")

# Odd, prime, even and single lengths of z, y, x; powers of two, and one more than these.
SIZES = ((5, 7, 13), (1, 11, 8), (3, 1, 9), (2, 5, 1), (4, 3, 17))

# What may be between level 0 and the reference: version, chunks and chunks per shard of z, y, x, store, workers.
WAYS = (
    ("0.4", (2, 4, 4), None, "folder", 1),
    ("0.5", (3, 5, 7), None, "memory", 3),
    ("0.5", (1, 2, 2), (3, 2, 3), "folder", 4),
    ("0.6", (2, 3, 2), (1, 1, 5), "memory", 2),
    ("0.4", (1, 3, 5), None, "memory", None),
    ("0.6", (7, 7, 7), (1, 2, 2), "folder", None),
    ("0.5", None, None, "folder", 2),
)

# IEEE says so, and the reference meets it in numpy.
quiet = pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")


def stored(folder, pixels, names, way, dtype=None):
    """Make an image of one level, in one of the ways."""
    version, chunks, ratio, store, _ = way
    fit = {"z": 0, "y": 1, "x": 2}
    layout = {}
    if chunks is not None:
        layout["chunks"] = tuple(
            min(chunks[fit[n]], k) if n in fit else 1 for n, k in zip(names, pixels.shape, strict=True)
        )
    if ratio is not None:
        layout["shards_ratio"] = tuple(ratio[fit[n]] if n in fit else 2 for n in names)
    position = lamella.open_ome_zarr(
        folder / "image.zarr" if store == "folder" else MemoryStore(),
        layout="fov",
        mode="w",
        channel_names=[str(i) for i in range(pixels.shape[names.index("c")])] if "c" in names else [],
        axes=axes(names),
        version=version,
    )
    scale = TransformationMeta(type="scale", scale=[1.0 + names.index(name) for name in names])
    array = position.create_zeros("0", pixels.shape, dtype or pixels.dtype, transform=[scale], **layout)
    array[...] = pixels
    return position


def shape_of(names, size):
    lengths = dict(zip("zyx", size, strict=True)) | {"t": 2, "c": 3}
    return tuple(lengths[name] for name in names)


def halving(shape, names, binned="zyx"):
    return tuple(2 if n in binned and k > 1 else 1 for n, k in zip(names, shape, strict=True))


def most_levels(shape, names):
    return 1 + max((k - 1).bit_length() for n, k in zip(names, shape, strict=True) if n in "zyx")


def check(position, pixels, names, method, levels):
    """Compare pixels, scale and translation of every level."""
    expected, total = pixels, np.ones(len(names))
    base = np.arange(1.0, len(names) + 1)
    for level in range(levels):
        if level:
            factors = halving(expected.shape, names)
            expected, total = reference(expected, factors, method), total * factors
        assert_same_bits(position[str(level)][...], expected)
        assert position.get_effective_scale(str(level)) == (base * total).tolist()
        shift = 0 if method == "stride" else (base * total - base) / 2
        assert position.get_effective_translation(str(level)) == (base * 0 + shift).tolist()


# Scales along channels too, which the law is about, and which opening reports.
@pytest.mark.filterwarnings("ignore:The metadata of .* break CT-06:lamella.errors.MetadataWarning")
@quiet
@pytest.mark.parametrize(("name", "method"), KERNELS)
def test_every_axis_set_holds_the_definition_at_every_level(tmp_path, name, method):
    # A quarter of the axis sets for one dtype and method, another for the next: each method meets all.
    dtype = np.dtype(name)
    turn = DTYPES.index(name) + METHODS.index(method)
    for number, names in enumerate(AXIS_SETS[turn % 4 :: 4]):
        size, way = SIZES[(turn + number) % len(SIZES)], WAYS[(turn + number) % len(WAYS)]
        shape = shape_of(names, size)
        pixels = values_of(dtype, np.random.default_rng(turn * 8 + number), shape)
        levels = most_levels(shape, names)
        position = stored(tmp_path / names, pixels, names, way)
        compute_pyramid(position, levels, method, jobs=way[-1])
        assert len(position.dataset_paths) == levels
        check(position, pixels, names, method, levels)


@quiet
@pytest.mark.parametrize("name", SWAPPED)
def test_the_byte_order_of_the_store_does_not_matter(tmp_path, name):
    native = np.dtype(name).newbyteorder("=")
    turn = SWAPPED.index(name)
    for number, method in enumerate(METHODS[turn % 2 :: 2]):
        way = WAYS[(turn + number) % len(WAYS)]
        pixels = values_of(native, np.random.default_rng(number), (5, 7, 9))
        position = stored(tmp_path / method, pixels, "zyx", way, dtype=name)
        compute_pyramid(position, 3, method, jobs=way[-1])
        check(position, pixels, "zyx", method, 3)


@quiet
@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 19])
def test_lengths_of_every_kind_are_halved_to_their_last_voxel(tmp_path, length):
    # Lengths along x, in chunks that divide it and that do not.
    for number, (method, dtype) in enumerate(zip(METHODS, ("u2", "f4", "u1", "i8", "f8", "?"), strict=True)):
        pixels = values_of(np.dtype(dtype), np.random.default_rng(length), (3, length))
        way = ("0.5", (1, 2, 1 + number), (1, 2, 2), "folder", 2)
        position = stored(tmp_path / method, pixels, "yx", way)
        levels = most_levels((3, length), "yx")
        compute_pyramid(position, levels, method, jobs=2)
        check(position, pixels, "yx", method, levels)


@quiet
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["u2", "f4"])
def test_no_store_chunk_shard_or_number_of_workers_changes_a_bit(tmp_path, name, method):
    pixels = values_of(np.dtype(name), np.random.default_rng(3), (2, 7, 19, 17))
    ways = [
        ("0.4", (4, 8, 8), None),
        ("0.5", (3, 7, 5), None),
        ("0.5", (7, 19, 3), None),
        ("0.5", (2, 4, 4), (2, 3, 2)),
        ("0.5", (5, 6, 7), (3, 7, 5)),
    ]
    first = None
    for number, way in enumerate(ways):  # each in both stores, in turn
        store = ("folder", "memory")[(number + METHODS.index(method) + (name == "f4")) % 2]
        position = stored(tmp_path / str(number), pixels, "czyx", (*way, store, None))
        compute_pyramid(position, 4, method, jobs=(1, 2, 5)[number % 3])
        found = [array[...].tobytes() for _, array in position.images()]
        first = first or found
        assert found == first, (way, store)


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (16, 64, 64)},
        {"chunks": (37, 211, 97)},
        {"chunks": (8, 64, 64), "shards_ratio": (4, 4, 4)},
        {"chunks": (8, 64, 64), "shards_ratio": (16, 16, 16)},
    ],
    ids=["chunks", "odd chunks", "shards", "one shard"],
)
@pytest.mark.parametrize("method", ["mean", "max"])
def test_an_image_of_many_pieces_is_the_same_as_one_of_a_few(tmp_path, layout, method):
    """12 MB, several times what a worker takes at once: numpy, level by level, is the reference."""
    pixels = np.random.default_rng(0).integers(0, 60_000, (37, 401, 413), dtype="uint16")
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=[], axes=axes("zyx"), version="0.5"
    ) as position:
        position.create_image("0", pixels, **layout)
        position.compute_pyramid(5, method)
        expected = pixels
        for level in range(1, 5):
            expected = with_numpy(expected, method)
            np.testing.assert_array_equal(position[str(level)][...], expected)


def with_numpy(fine, method):
    """Halve every axis: views of every other voxel, and how many of them there are at the edge."""
    shape = [-(-n // 2) for n in fine.shape]
    total, count = np.zeros(shape, "int64"), np.zeros(shape, "int64")
    for corner in itertools.product((0, 1), repeat=fine.ndim):
        part = fine[tuple(slice(c, None, 2) for c in corner)]
        where = tuple(slice(0, n) for n in part.shape)
        total[where] = np.maximum(total[where], part) if method == "max" else total[where] + part
        count[where] += 1
    if method == "max":
        return total.astype(fine.dtype)
    whole, rest = np.divmod(total, count)
    up = (2 * rest > count) | ((2 * rest == count) & (whole % 2 == 1))
    return (whole + up).astype(fine.dtype)


@quiet
@pytest.mark.parametrize("factors", [(1, 3, 2), (4, 2, 5)], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_levels_of_other_whole_factors_hold_the_definition_too(tmp_path, factors, method):
    # As other writers make them: two steps of the same factors, computed anew.
    pixels = values_of(np.dtype("u2"), np.random.default_rng(1), (13, 19, 23))
    store = ("folder", "memory")[
        (METHODS.index(method) + factors[0]) % 2
    ]  # (1, ...) and (4, ...) by the other one
    position = stored(tmp_path, pixels, "zyx", ("0.5", (2, 5, 4), (2, 2, 2), store, None))
    expected, total = pixels, np.ones(3)
    for level in ("1", "2"):
        expected, total = reference(expected, factors, method), total * factors
        scale = TransformationMeta(type="scale", scale=(np.array([1.0, 2.0, 3.0]) * total).tolist())
        position.create_zeros(level, expected.shape, "u2", chunks=(3, 4, 5), transform=[scale])
    position.compute_pyramid(method=method)
    expected = pixels
    for level in ("1", "2"):
        expected = reference(expected, factors, method)
        assert_same_bits(position[level][...], expected)


@pytest.mark.filterwarnings("ignore:The metadata of .* break CT-06:lamella.errors.MetadataWarning")
@pytest.mark.parametrize("method", ["mode", "stride"])
@pytest.mark.parametrize("name", ["u1", "u4", "i8"])
def test_label_levels_hold_ids_of_level_0_alone_and_as_many_levels_as_the_image(tmp_path, name, method):
    ids = np.array([0, 1, 7, np.iinfo(name).max], name)
    turn = ("u1", "u4", "i8").index(name) + (method == "mode")
    for number, way in enumerate(WAYS[:4]):
        names = ("yx", "tczyx")[(number + turn) % 2]
        shape = shape_of(names, SIZES[number % len(SIZES)])
        of_labels = "".join(n for n in names if n != "c")
        labels = np.random.default_rng(number).choice(ids, shape_of(of_labels, SIZES[number % len(SIZES)]))
        position = stored(tmp_path / str(number), np.zeros(shape, "u1"), names, way)
        levels = most_levels(shape, names)
        position.compute_pyramid(levels)
        image = position.labels.create("cells", labels)
        image.compute_pyramid(method=method)
        assert len(image.dataset_paths) == levels
        expected = labels
        for _, array in itertools.islice(image.images(), 1, None):
            expected = reference(expected, halving(expected.shape, of_labels), method)
            assert_same_bits(array[...], expected)
            assert set(np.unique(expected)) <= set(ids)


def test_a_pyramid_that_is_computed_is_one_for_the_validator(tmp_path):
    for number, (way, method) in enumerate(itertools.product(WAYS, METHODS)):
        if way[3] == "memory":
            continue  # the validator opens folders
        pixels = values_of(np.dtype("u2"), np.random.default_rng(number), (5, 7, 13))
        with stored(tmp_path / str(number), pixels, "zyx", way) as position:
            compute_pyramid(position, 3, method)
        report = lamella.validate(tmp_path / str(number) / "image.zarr", pixels=True)
        assert report.findings == ()
