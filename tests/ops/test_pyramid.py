"""Pyramids through the whole path, against a slow reference: values, shapes, transforms, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella import open_ome_zarr, validate
from lamella.errors import InvalidArgumentError
from lamella.models import TransformationMeta, axes
from lamella.ops.pyramids.pyramid import compute_pyramid, initialize_pyramid
from lamella.spec.geometry import level_factors

from .pyramids import METHODS, image, noise, sensible, slow

LAYOUTS = {
    "whole": {},
    "even chunks": {"chunks": (1, 1, 4, 8, 8)},
    "odd chunks": {"chunks": (1, 1, 3, 7, 5)},
    "shards": {"chunks": (1, 1, 2, 4, 4), "shards_ratio": (1, 1, 2, 2, 3)},
    "one shard beyond the edge": {"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 2, 8, 8, 8)},
}


CASES = [
    (version, name)
    for version in ("0.4", "0.5")
    for name in LAYOUTS
    if version == "0.5" or "shard" not in name
]


@pytest.mark.parametrize(("version", "layout"), CASES)
@pytest.mark.parametrize("method", METHODS)
def test_every_level_is_the_reference_of_the_one_before(tmp_path, version, method, layout):
    data = noise((1, 2, 5, 17, 23), high=6 if method == "mode" else 1000)
    position = image(tmp_path / "a.zarr", data, version, **LAYOUTS[layout])
    position.compute_pyramid(4, method)
    expected = data
    for level, factors in (("1", (1, 1, 2, 2, 2)), ("2", (1, 1, 2, 2, 2)), ("3", (1, 1, 2, 2, 2))):
        expected = slow(expected, factors, method)
        np.testing.assert_array_equal(position[level][...], expected)
    assert (position["0"][...] == data).all()
    assert len(position.dataset_paths) == 4


@settings(max_examples=15)
@given(data=st.data())
def test_any_legal_axes_sizes_chunks_and_jobs_give_the_same_bits(tmp_path_factory, data):
    names = data.draw(
        st.sampled_from(["yx", "zyx", "cyx", "tyx", "tzyx", "czyx", "tczyx"])  # SHOULD be t, c, z, y, x
    )
    shape = tuple(
        data.draw(st.sampled_from([1, 2, 3, 5, 11, 13]) if n in "zyx" else st.sampled_from([1, 2]))
        for n in names
    )
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    ratio = tuple(data.draw(st.integers(1, 3)) for _ in shape)
    method = data.draw(st.sampled_from(METHODS))
    pixels = noise(shape, data.draw(st.sampled_from(["uint8", "int16", "uint32"])), 9)
    folder = tmp_path_factory.mktemp("axes")
    results = []
    for jobs, layout in ((1, {}), (3, {"chunks": chunks, "shards_ratio": ratio})):
        position = image(folder / f"{jobs}.zarr", pixels, names=names, **layout)
        compute_pyramid(position, sensible(shape, names), method, jobs=jobs)
        results.append([array[...] for _, array in position.images()])
    expected = pixels
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, expected)
        np.testing.assert_array_equal(other, expected)
        factors = tuple(2 if n in "zyx" and k > 1 else 1 for n, k in zip(names, expected.shape, strict=True))
        expected = slow(expected, factors, method)


@pytest.mark.filterwarnings("ignore:The metadata of .* break:lamella.errors.MetadataWarning")
@pytest.mark.parametrize("order", ["xyz", "yxc", "zct", "cxyzt"])
def test_foreign_orders_of_axes_are_reduced_along_space_only(tmp_path, order):
    kinds = {axis.name: axis for axis in axes("tczyx")}
    pixels = noise((3, 4, 5, 6, 2)[: len(order)])
    channels = pixels.shape[order.index("c")] if "c" in order else 1
    position = open_ome_zarr(
        tmp_path / "a.zarr",
        layout="fov",
        mode="w",
        axes=None,
        channel_names=[str(i) for i in range(channels)],
    )
    # No writer of ours makes such an image: its axes are put into the document by hand.
    position.create_zeros("0", pixels.shape, "u2", check_shape=False)
    position["0"][...] = pixels
    attributes = position.zattrs.asdict()
    attributes["multiscales"][0]["axes"] = [kinds[name].to_json() for name in order]
    attributes["multiscales"][0]["datasets"] = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * len(order)}]}
    ]
    position.zattrs.put(attributes)
    position.compute_pyramid(2, "max")
    factors = tuple(2 if name in "xyz" else 1 for name in order)
    np.testing.assert_array_equal(position["1"][...], slow(pixels, factors, "max"))


def test_half_way_means_round_to_even_and_edges_use_the_voxels_they_have(tmp_path, version):
    row = np.array([[1, 2, 3, 4, 5], [2, 3, 4, 5, 9]], "uint16")
    position = image(tmp_path / "a.zarr", row, version, "yx")
    position.compute_pyramid(2)
    assert position["1"][...].tolist() == [[2, 4, 7]]


# -- transforms -------------------------------------------------------------------------------------------------


def scaled(tmp_path, version="0.5", shape=(1, 1, 5, 16, 17)):
    position = image(tmp_path / "scaled.zarr", noise(shape), version)
    position.set_transform(
        "0",
        [
            TransformationMeta(type="scale", scale=[1, 1, 2, 0.5, 0.25]),
            TransformationMeta(type="translation", translation=[0, 0, 10, 20, 30]),
        ],
    )
    return position


def test_scale_is_the_factor_and_binned_voxels_lie_half_a_pixel_further(tmp_path, version):
    position = scaled(tmp_path, version)
    position.compute_pyramid(3)
    assert position.get_effective_scale("2") == [1, 1, 8, 2, 1]
    assert position.get_effective_translation("2") == [0, 0, 10 + 3, 20 + 0.75, 30 + 0.375]


def test_stride_leaves_the_first_voxel_in_its_place(tmp_path, version):
    position = scaled(tmp_path, version)
    position.compute_pyramid(3, "stride")
    assert position.get_effective_scale("1") == [1, 1, 4, 1, 0.5]
    assert position.get_effective_translation("2") == [0, 0, 10, 20, 30]


def test_recomputing_with_another_method_moves_the_levels_to_where_their_voxels_are(tmp_path):
    position = scaled(tmp_path)
    position.initialize_pyramid(3)
    position.compute_pyramid(method="stride")
    assert position.get_effective_translation("1") == [0, 0, 10, 20, 30]
    position.compute_pyramid(method="mean")
    assert position.get_effective_translation("1") == [0, 0, 11, 20.25, 30.125]


def test_an_axis_that_ends_at_length_1_keeps_its_scale(tmp_path):
    position = scaled(tmp_path, shape=(1, 1, 1, 16, 16))
    position.compute_pyramid(2)
    assert position.get_effective_scale("1") == [1, 1, 2, 1, 0.5]


def test_recomputing_after_level_0_changed_changes_all_levels(tmp_path, version):
    data = noise((1, 1, 4, 16, 16))
    position = image(tmp_path / "a.zarr", data, version)
    position.compute_pyramid(3)
    position["0"][0, 0, :2] = 0
    position.set_scale("0", "x", 3)
    position.compute_pyramid()
    data[0, 0, :2] = 0
    first = slow(data, (1, 1, 2, 2, 2), "mean")
    np.testing.assert_array_equal(position["1"][...], first)
    np.testing.assert_array_equal(position["2"][...], slow(first, (1, 1, 2, 2, 2), "mean"))
    assert position.get_effective_scale("2")[-1] == 12


def test_foreign_pyramids_keep_their_own_whole_factors(tmp_path):
    data = noise((1, 1, 5, 30, 31))
    position = image(tmp_path / "a.zarr", data)
    factors = (1, 1, 4, 3, 5)
    # 5 planes become 2 by a factor of 3 or of 4: the scale that is stored says which.
    position.create_zeros(
        "low", (1, 1, 2, 10, 7), "uint16", transform=[TransformationMeta(type="scale", scale=factors)]
    )
    position.compute_pyramid()
    np.testing.assert_array_equal(position["low"][...], slow(data, factors, "mean"))
    assert position.get_effective_scale("low") == list(factors)
    assert position.get_effective_translation("low") == [0, 0, 1.5, 1, 2]


@given(st.integers(1, 60), st.integers(1, 8))
def test_factors_are_found_again_from_the_shapes_and_the_scale(length, factor):
    coarse = -(-length // factor)
    found = level_factors((length,), (coarse,), (float(factor),))
    assert found is not None
    assert -(-length // found[0]) == coarse
    assert found[0] == factor or coarse == length


# -- which levels there are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "levels"), [(256, 1), (257, 2), (1025, 4)])
def test_auto_stops_when_the_largest_side_is_at_most_256(tmp_path, side, levels):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 3, side), "uint8", 255))
    position.compute_pyramid("auto")
    assert len(position.dataset_paths) == levels
    assert position[str(levels - 1)].shape[-1] <= 256


def test_levels_beyond_sense_are_said_and_not_made(tmp_path):
    position = image(tmp_path / "a.zarr", noise((1, 1, 2, 3, 4)))
    with pytest.warns(UserWarning, match=r"cannot be halved beyond 3 levels: more"):
        position.compute_pyramid(9)
    assert [array.shape for _, array in position.images()] == [
        (1, 1, 2, 3, 4),
        (1, 1, 1, 2, 2),
        (1, 1, 1, 1, 1),
    ]


@pytest.mark.parametrize("dims", [["Y", "x"], "yx"])
def test_dims_choose_the_axes(tmp_path, dims):
    data = noise((1, 1, 4, 8, 8))
    position = image(tmp_path / "a.zarr", data)
    position.compute_pyramid(2, dims=dims)
    np.testing.assert_array_equal(position["1"][...], slow(data, (1, 1, 1, 2, 2), "mean"))
    assert position.get_effective_scale("1") == [1, 1, 1, 2, 2]


def test_initialize_makes_arrays_and_metadata_alone(tmp_path, version):
    position = image(tmp_path / "a.zarr", noise((1, 1, 5, 16, 17)), version)
    position.initialize_pyramid(3)
    assert [array.shape for _, array in position.images()] == [
        (1, 1, 5, 16, 17),
        (1, 1, 3, 8, 9),
        (1, 1, 2, 4, 5),
    ]
    assert not position["1"][...].any()
    assert position.get_effective_scale("2") == [1, 1, 4, 4, 4]
    position.initialize_pyramid(3)
    assert position.dataset_paths == ["0", "1", "2"]


def test_initialize_with_one_level_changes_nothing(tmp_path, files, version):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 8, 8)), version)
    before = files(tmp_path)
    position.initialize_pyramid(1)
    assert files(tmp_path) == before


def test_delete_leaves_the_bytes_of_before(tmp_path, files, version):
    position = image(tmp_path / "a.zarr", noise((1, 1, 2, 16, 16)), version)
    before = files(tmp_path)
    position.compute_pyramid(3)
    assert files(tmp_path).keys() > before.keys()
    position.delete_pyramid()
    assert files(tmp_path) == before
    position.compute_pyramid(2)
    assert position.dataset_paths == ["0", "1"]


def test_delete_forgives_a_level_that_is_listed_but_gone(tmp_path):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 16, 16)))
    position.compute_pyramid(3)
    position.documents.delete("1")
    position.delete_pyramid()
    assert position.dataset_paths == position.array_keys() == ["0"]


def test_only_listed_arrays_are_levels(tmp_path):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 16, 16)))
    position.zgroup.create_array("other", shape=(3,), dtype="u1")
    position.compute_pyramid(2)
    position.delete_pyramid()
    assert position.array_keys() == ["0", "other"]


def test_level_names_follow_the_first_one(tmp_path):
    position = open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"])
    position.create_image("s0", noise((1, 1, 1, 16, 16)))
    position.compute_pyramid(2)
    assert position.dataset_paths == ["s0", "s1"]


@pytest.mark.parametrize(
    ("first", "lower"), [("1", ["2", "3"]), ("scale2/image", ["scale3/image", "scale4/image"])]
)
def test_level_names_count_on_from_that_of_the_first_one(tmp_path, first, lower):
    position = open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"])
    position.create_image(first, noise((1, 1, 1, 16, 16)))
    position.compute_pyramid(np.int64(3))
    assert position.dataset_paths == [first, *lower]


def test_levels_keep_compression_chunks_and_fill_value(tmp_path):
    data = noise((1, 1, 8, 32, 32))
    position = image(
        tmp_path / "a.zarr", data, chunks=(1, 1, 4, 16, 16), shards_ratio=(1, 1, 2, 2, 2), compressor="gzip"
    )
    position.compute_pyramid(3)
    assert position["1"].chunks == (1, 1, 4, 16, 16)
    assert position["1"].shards == (1, 1, 4, 16, 16)
    assert position["2"].chunks == (1, 1, 2, 8, 8)
    assert position["2"].meta.compressor == position["0"].meta.compressor


# -- wrong calls ------------------------------------------------------------------------------------------------


def one_level(position):
    return position


def three_levels(position):
    position.compute_pyramid(3)
    return position


WRONG = {
    "unknown method": (one_level, lambda p: p.compute_pyramid(2, "median_filter"), "method is one of"),
    "no level": (one_level, lambda p: p.compute_pyramid(0), "is neither a number from 1 nor 'auto'"),
    "levels as text": (
        one_level,
        lambda p: p.compute_pyramid("many"),
        "is neither a number from 1 nor 'auto'",
    ),
    "levels as bool": (one_level, lambda p: p.compute_pyramid(True), "is neither a number from 1 nor 'auto'"),
    "unknown dims": (one_level, lambda p: p.compute_pyramid(2, dims=["q"]), "q"),
    "other number": (three_levels, lambda p: p.compute_pyramid(2), "delete_pyramid"),
    "other dims": (three_levels, lambda p: p.compute_pyramid(3, dims=["y", "x"]), "delete_pyramid"),
    "initialize other number": (three_levels, lambda p: p.initialize_pyramid(2), "delete_pyramid"),
    "initialize none": (
        one_level,
        lambda p: p.initialize_pyramid(0),
        "is neither a number from 1 nor 'auto'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_a_clear_ValueError_and_changes_no_byte(tmp_path, files, version, wrong):
    prepare, call, text = WRONG[wrong]
    position = prepare(image(tmp_path / "a.zarr", noise((1, 1, 4, 16, 16)), version))
    before = files(tmp_path)
    with pytest.raises(ValueError, match=text):
        call(position)
    assert files(tmp_path) == before


def test_without_level_0_there_is_nothing_to_compute(tmp_path, files, version):
    position = open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], version=version
    )
    before = files(tmp_path)
    with pytest.raises(ValueError, match="no image yet"):
        position.compute_pyramid(2)
    assert files(tmp_path) == before


def test_a_pyramid_without_whole_factors_is_not_recomputed(tmp_path, files):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 10, 10)))
    position.create_zeros(
        "1",
        (1, 1, 1, 7, 7),
        "uint16",
        transform=[TransformationMeta(type="scale", scale=[1, 1, 1, 1.4, 1.4])],
    )
    before = files(tmp_path)
    with pytest.raises(ValueError, match="no whole factor"):
        position.compute_pyramid()
    assert files(tmp_path) == before


def test_complex_voxels_are_refused_before_anything_is_written(tmp_path, files):
    position = open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"])
    position.create_zeros("0", (1, 1, 1, 8, 8), "complex64")
    before = files(tmp_path)
    with pytest.raises(ValueError, match="complex64"):
        position.compute_pyramid(2)
    assert files(tmp_path) == before


def test_an_unlisted_array_in_the_way_is_not_overwritten(tmp_path, files):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 16, 16)))
    position.zgroup.create_array("1", shape=(3,), dtype="u1")
    before = files(tmp_path)
    with pytest.raises(ValueError, match="do not list them"):
        position.compute_pyramid(2)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["compute_pyramid", "initialize_pyramid", "delete_pyramid"])
def test_a_read_only_or_closed_image_is_left_alone(tmp_path, files, name):
    position = image(tmp_path / "a.zarr", noise((1, 1, 1, 16, 16)))
    position.close()
    arguments = [] if name == "delete_pyramid" else [2]
    before = files(tmp_path)
    with pytest.raises(ValueError, match="was closed"):
        getattr(position, name)(*arguments)
    with pytest.raises(PermissionError, match="open for reading"):
        getattr(open_ome_zarr(tmp_path / "a.zarr"), name)(*arguments)
    assert files(tmp_path) == before


# -- how often bytes move ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "block"),
    [
        ({"chunks": (1, 1, 4, 16, 16)}, 2**22),
        ({"chunks": (1, 1, 4, 16, 16)}, 2**11),
        ({"chunks": (1, 1, 5, 15, 7)}, 2**22),
        ({"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 1, 2, 4, 4)}, 2**22),
        ({"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 1, 2, 4, 4)}, 2**11),
    ],
    ids=["chunks", "chunks, small blocks", "odd chunks", "shards", "shards, small blocks"],
)
def test_one_pass_reads_chunks_of_level_0_once_and_writes_files_of_all_others_once(
    counting_store, monkeypatch, layout, block
):
    monkeypatch.setattr("lamella.ops.pyramids.passes.BLOCK_BYTES", block)
    data = noise((1, 2, 9, 64, 61))
    position = image(counting_store, data, **layout)
    read, written = traffic(counting_store, position)
    assert {key[0].split("/")[0] for key in read} == {"0"}
    assert set(read.values()) == {1}
    assert {key.split("/")[0] for key in written} == {"1", "2"}
    assert set(written.values()) == {1}
    first = slow(data, (1, 1, 2, 2, 2), "mean")
    np.testing.assert_array_equal(position["1"][...], first)
    np.testing.assert_array_equal(position["2"][...], slow(first, (1, 1, 2, 2, 2), "mean"))


def traffic(store, position):
    """How often chunks are read and files written by making two more levels."""
    initialize_pyramid(position, 3)
    store.gets.clear()
    store.sets.clear()
    position.compute_pyramid(3)
    read = {key: n for key, n in store.gets.items() if "/c/" in key[0] and "Suffix" not in key[1]}
    return read, {key: n for key, n in store.sets.items() if "/c/" in key}


def test_where_too_much_would_wait_levels_are_made_one_after_the_other(counting_store, monkeypatch):
    monkeypatch.setattr("lamella.ops.pyramids.passes.PENDING_BYTES", 2**12)
    monkeypatch.setattr("lamella.ops.pyramids.passes.BLOCK_BYTES", 2**12)
    data = noise((1, 2, 9, 64, 61))
    position = image(counting_store, data, chunks=(1, 1, 2, 8, 8), shards_ratio=(1, 1, 2, 4, 4))
    read, written = traffic(counting_store, position)
    assert {key[0].split("/")[0] for key in read} == {"0", "1"}
    assert set(read.values()) == {1}
    assert set(written.values()) == {1}
    first = slow(data, (1, 1, 2, 2, 2), "mean")
    np.testing.assert_array_equal(position["1"][...], first)
    np.testing.assert_array_equal(position["2"][...], slow(first, (1, 1, 2, 2, 2), "mean"))


def test_grids_that_do_not_fit_read_some_chunks_twice_rather_than_hold_many(counting_store, monkeypatch):
    monkeypatch.setattr("lamella.ops.pyramids.passes.PENDING_BYTES", 2**10)
    for name in ("BLOCK_BYTES", "REQUESTED_BYTES"):
        monkeypatch.setattr(f"lamella.ops.pyramids.passes.{name}", 2**10)
    data = noise((1, 1, 9, 64, 61))
    position = image(counting_store, data, chunks=(1, 1, 5, 15, 7))
    read, written = traffic(counting_store, position)
    assert max(read.values()) > 1
    assert set(written.values()) == {1}
    first = slow(data, (1, 1, 2, 2, 2), "mean")
    np.testing.assert_array_equal(position["1"][...], first)


@pytest.mark.parametrize(
    ("factors", "shapes"),
    [
        ({"y": 4}, [(2, 1, 6, 64, 80), (2, 1, 6, 16, 80), (2, 1, 6, 4, 80)]),
        ({"Y": 4, "x": 4, "z": 1}, [(2, 1, 6, 64, 80), (2, 1, 6, 16, 20), (2, 1, 6, 4, 5)]),
        ({"z": 3, "y": 2, "x": 5}, [(2, 1, 6, 64, 80), (2, 1, 2, 32, 16), (2, 1, 1, 16, 4)]),
        ({"t": 2}, [(2, 1, 6, 64, 80), (1, 1, 6, 64, 80)]),
    ],
)
def test_factors_are_those_that_were_asked_for(tmp_path, version, factors, shapes):
    pixels = np.random.default_rng(1).integers(0, 999, (2, 1, 6, 64, 80), "uint16")
    with open_ome_zarr(
        tmp_path / "p.zarr", layout="fov", mode="w", channel_names=["a"], version=version
    ) as position:
        position.create_image("0", pixels)
        position.set_scale("0", "y", 0.5)
        position.compute_pyramid(len(shapes), factors=factors)
        assert [image.shape for _, image in position.images()] == shapes
        position.compute_pyramid(len(shapes), factors=factors)  # the same again
        position.update_pyramid(method="mean")
    coarse = position["1"]
    steps = [-(-a // b) for a, b in zip(pixels.shape, coarse.shape, strict=True)]
    blocks = pixels.reshape([n for b, f in zip(coarse.shape, steps, strict=True) for n in (b, f)])
    mean = blocks.mean(axis=tuple(range(1, 10, 2)))
    assert np.abs(coarse[:] - mean).max() <= 0.5
    asked = [{k.lower(): v for k, v in factors.items()}.get(name.lower(), 1) for name in position.axis_names]
    own = [0.5 if name.lower() == "y" else 1.0 for name in position.axis_names]
    assert position.get_effective_scale("1") == [a * b for a, b in zip(own, asked, strict=True)]
    assert validate(tmp_path / "p.zarr")


def test_automatic_levels_follow_the_factors(tmp_path):
    with open_ome_zarr(tmp_path / "p.zarr", layout="fov", mode="w", channel_names=["a"]) as position:
        position.create_image("0", np.zeros((1, 1, 1, 1030, 40), "uint8"))
        position.compute_pyramid("auto", factors={"y": 4})
        assert [image.shape[-2:] for _, image in position.images()] == [(1030, 40), (258, 40), (65, 40)]


@pytest.mark.parametrize(
    "options",
    [
        {"dims": {"y": 4}},
        {"dims": "yq"},
        {"dims": [1, 2]},
        {"factors": {"q": 2}},
        {"factors": {"y": 0}},
        {"factors": {"y": 1.5}},
        {"factors": {"y": True}},
        {"factors": {"y": 2, "Y": 2}},
        {"factors": {}},
        {"factors": ["y"]},
        {"factors": 2},
        {"factors": {"y": 4}, "dims": ["y"]},
    ],
)
def test_factors_and_dims_that_mean_nothing_are_refused(tmp_path, files, options):
    with open_ome_zarr(tmp_path / "p.zarr", layout="fov", mode="w", channel_names=["a"]) as position:
        position.create_image("0", np.zeros((1, 1, 1, 64, 64), "uint8"))
        before = files(tmp_path)
        with pytest.raises(InvalidArgumentError):
            position.compute_pyramid(2, **options)
        with pytest.raises(InvalidArgumentError, match=r"factors="):
            position.compute_pyramid(2, dims={"y": 4})
    assert files(tmp_path) == before
