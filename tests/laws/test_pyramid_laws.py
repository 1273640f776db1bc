"""Laws of pyramids that other libraries have broken: values, shapes, and where the voxels of a level lie."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.models import TransformationMeta, axes

SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def image(target, pixels, version, names="tczyx", **options):
    """An image of one level, open for writing; its voxels are 3 s, 2 um and 0.5 um."""
    sizes = {"t": 3.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
    channels = [str(i) for i in range(pixels.shape[names.index("c")])] if "c" in names else []
    position = lamella.open_ome_zarr(
        target, layout="fov", mode="w", channel_names=channels, axes=axes(names), version=version
    )
    scale = TransformationMeta(type="scale", scale=[sizes[name] for name in names])
    position.create_image("0", pixels, transform=[scale], **options)
    return position


def halves(blocks, dtype):
    """2 rows that hold a block of 2 x 2 for each four numbers."""
    return np.concatenate([np.reshape(block, (2, 2)) for block in blocks], axis=1).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_an_integer_mean_is_rounded_half_to_even_and_never_truncated(tmp_path, version, dtype):
    # 1.5 and 3.5 go up, 2.5 goes down, 2.75 and 9.75 are nearer to the next; all these a truncation gets wrong.
    blocks = [(1, 2, 1, 2), (3, 4, 3, 4), (2, 3, 2, 3), (2, 3, 3, 3), (9, 10, 10, 10), (7, 7, 7, 7)]
    if dtype == "int16":
        blocks += [tuple(-value for value in block) for block in blocks]
    import zarr

    expected = [round(Fraction(sum(block), 4)) for block in blocks]
    for target in (tmp_path / "a.zarr", zarr.storage.MemoryStore()):  # TensorStore and zarr-python
        position = image(target, halves(blocks, dtype), version, "yx")
        position.compute_pyramid(2, "mean")
        assert position["1"][...].tolist() == [expected]


def test_dim_images_do_not_fade_from_level_to_level(tmp_path, version):
    counts = np.random.default_rng(5).poisson(12, (256, 256)).astype("uint16")
    position = image(tmp_path / "a.zarr", counts, version, "yx")
    position.compute_pyramid(4, "mean")
    for level in ("1", "2", "3"):
        # A truncating mean loses some 0.4 at each level, and ends with black images.
        assert abs(position[level][...].mean() - counts.mean()) < 0.1
    flat = image(tmp_path / "b.zarr", np.ones((33, 35), "uint16"), version, "yx")
    flat.compute_pyramid(5, "mean")
    assert all((array[...] == 1).all() for _, array in flat.images())


def test_level_0_is_never_touched(tmp_path, version, files):
    pixels = np.random.default_rng(1).integers(0, 1000, (1, 2, 5, 19, 23)).astype("uint16")
    position = image(tmp_path / "a.zarr", pixels, version)
    before = files(tmp_path / "a.zarr" / "0")
    position.compute_pyramid(3)
    assert files(tmp_path / "a.zarr" / "0") == before


@pytest.mark.parametrize("method", ["mean", "median", "mode", "min", "max", "stride"])
def test_time_and_channels_keep_their_scale_and_nothing_is_moved_along_them(tmp_path, version, method):
    position = image(tmp_path / "a.zarr", np.ones((2, 3, 4, 9, 8), "uint16"), version)
    position.compute_pyramid(3, method)
    for level, factor in (("1", 2), ("2", 4)):
        assert position[level].shape[:2] == (2, 3)
        assert position.get_effective_scale(level) == [3, 1, 2 * factor, 0.5 * factor, 0.5 * factor]
        shift = 0 if method == "stride" else (factor - 1) / 2
        expected = [0, 0, 2 * shift, 0.5 * shift, 0.5 * shift]
        assert position.get_effective_translation(level) == expected


@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 1, 2, 4, 4)}, {"chunks": (2, 2, 5, 7, 7)}], ids=str)
def test_the_last_plane_of_an_odd_stack_is_never_mixed_with_the_next_stack(tmp_path, version, layout):
    times, channels = np.arange(3)[:, None], np.arange(2)[None]
    values = (100 * times + 10 * channels + 1).astype("uint16")
    pixels = np.broadcast_to(values[..., None, None, None], (3, 2, 5, 7, 7))
    position = image(tmp_path / "a.zarr", pixels, version, **layout)
    position.compute_pyramid(3)
    for level in ("1", "2"):
        found = position[level][...]
        np.testing.assert_array_equal(found, np.broadcast_to(values[..., None, None, None], found.shape))


@pytest.mark.parametrize("factor", [3, 4, 5])
def test_voxels_at_the_edge_are_the_mean_of_those_that_are_there(tmp_path, version, factor):
    # One voxel more than whole blocks: repeating the edge would give the last one the weight of many.
    length = 2 * factor + 2
    row = np.arange(length * 2, dtype="float64").reshape(2, length) ** 2
    position = image(tmp_path / "a.zarr", row, version, "yx")
    scale = TransformationMeta(type="scale", scale=[0.5, 0.5 * factor])
    position.create_zeros("1", (2, 3), "float64", transform=[scale])
    position.compute_pyramid()
    expected = [[line[i : i + factor].mean() for i in range(0, length, factor)] for line in row]
    np.testing.assert_allclose(position["1"][...], expected, rtol=1e-12)


@pytest.mark.parametrize("chunk", [64, 100, 256, 512, 1024, 1000, None])
def test_the_number_of_levels_does_not_depend_on_the_chunks(tmp_path, version, chunk):
    layout = {} if chunk is None else {"chunks": (chunk, chunk)}
    position = image(tmp_path / "a.zarr", np.zeros((1024, 700), "uint8"), version, "yx", **layout)
    position.compute_pyramid("auto")
    assert [array.shape for _, array in position.images()] == [(1024, 700), (512, 350), (256, 175)]


def test_a_pyramid_along_y_and_x_alone_leaves_the_planes_of_an_anisotropic_stack(tmp_path, version):
    pixels = np.random.default_rng(3).integers(0, 1000, (1, 1, 5, 16, 12)).astype("uint16")
    position = image(tmp_path / "a.zarr", pixels, version)
    position.compute_pyramid(3, dims=["y", "x"])
    assert [array.shape[2:] for _, array in position.images()] == [(5, 16, 12), (5, 8, 6), (5, 4, 3)]
    assert position.get_effective_scale("2")[2:] == [2, 2, 2]
    assert position.get_effective_translation("2")[2] == 0
    for z in range(5):
        alone = image(tmp_path / f"{z}.zarr", pixels[0, 0, z], version, "yx")
        alone.compute_pyramid(3)
        np.testing.assert_array_equal(position["2"][0, 0, z], alone["2"][...])


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_levels_follow_a_new_pixel_size(tmp_path, version, level):
    position = image(tmp_path / "a.zarr", np.zeros((1, 1, 4, 16, 16), "uint8"), version)
    position.compute_pyramid(3)
    position.set_scale(level, "x", 0.8)
    size = 0.8 / 2 ** int(level)
    scales = [position.get_effective_scale(name)[-1] for name in position.dataset_paths]
    starts = [position.get_effective_translation(name)[-1] for name in position.dataset_paths]
    assert scales == pytest.approx([size, 2 * size, 4 * size])
    assert starts == pytest.approx([0, size / 2, 3 * size / 2])


@pytest.mark.parametrize("maker", ["unknown", "lamella"])
@pytest.mark.parametrize("method", ["mean", "stride"])
def test_transforms_of_level_0_at_all_levels_are_put_right_by_recomputing(tmp_path, version, method, maker):
    position = image(tmp_path / "a.zarr", np.zeros((1, 1, 4, 16, 16), "uint8"), version)
    position.compute_pyramid(3, method)
    expected = [(position.get_effective_scale(n), position.get_effective_translation(n)) for n in "012"]
    for level in "12":  # as iohub leaves them, which says nothing of how the levels were made
        position.set_transform(level, [TransformationMeta(type="scale", scale=expected[0][0])])
    if maker == "unknown":
        position.metadata.multiscales[0].metadata = None
        position.dump_meta()
    assert position.get_effective_scale("2") == expected[0][0]
    position.compute_pyramid(method=method)
    with lamella.open_ome_zarr(tmp_path / "a.zarr") as again:
        assert [array.shape[-1] for _, array in again.images()] == [16, 8, 4]
        assert [(again.get_effective_scale(n), again.get_effective_translation(n)) for n in "012"] == expected


def test_converting_states_the_pixel_size_once(tmp_path, version):
    from lamella.ops.conversion.convert import convert

    store = tmp_path / "a.zarr"
    convert(SAMPLES / "idr0062_nuclei.ome.tif", store, version=version, levels=2)
    position = lamella.open_ome_zarr(store)
    multiscale = position.metadata.multiscales[0]
    whole = np.ones(4)
    for transform in multiscale.coordinate_transformations or []:
        whole = whole * transform.scale
    of_levels = np.array([level.coordinate_transformations[0].scale for level in multiscale.datasets])
    size = [1.0, 0.5002025531914894, 1.4415926138560835, 1.4415926138560835]
    np.testing.assert_allclose(whole * of_levels[0], size)
    np.testing.assert_allclose(whole * of_levels[1], np.multiply(size, [1, 2, 2, 2]))
