"""Law: a crop is the pixels at its place; the place depends on seed, epoch and number alone; every place can come."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore, WrapperStore

import lamella
from lamella.errors import InvalidArgumentError, NodeNotFoundError
from lamella.models import axes
from lamella.ops.sampling.crops import CropSource

SHAPES = {"t": 3, "c": 2, "z": 5, "y": 24, "x": 30}


def image_of(path, names, version="0.5"):
    channels = ["DAPI", "GFP"] if "c" in names else ["DAPI"]
    position = lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels, axes=axes(names), version=version
    )
    shape = tuple(SHAPES[name] for name in names)
    pixels = np.random.default_rng(0).integers(0, 9999, shape, dtype="uint16")
    position.create_image("0", pixels, chunks=tuple(max(1, n // 2) for n in shape))
    return position


@settings(max_examples=18, deadline=None)
@given(st.data())
def test_a_crop_is_the_pixels_at_its_place(tmp_path_factory, data):
    names = data.draw(st.sampled_from(["yx", "cyx", "zyx", "tcyx", "czyx", "tczyx", "tzyx"]))
    position = image_of(tmp_path_factory.mktemp("a") / "a.zarr", names)
    most = 3 if "z" in names else 2
    size = tuple(
        data.draw(st.integers(1, SHAPES[name])) for name in "zyx"[-data.draw(st.integers(1, most)) :]
    )
    source = CropSource([position], size, seed=data.draw(st.integers(0, 9)))
    pixels = position["0"][:]
    crops = [source.draw(0, number) for number in range(4)]
    for crop, sample in zip(crops, source.read(crops), strict=True):
        assert sample.crop == crop
        here = pixels
        for axis, name in reversed(list(enumerate(names))):
            span = dict(zip("zyx"[-len(size) :], size, strict=True)).get(name)
            if name != "c":
                place = slice(crop.corner[axis], crop.corner[axis] + span) if span else crop.corner[axis]
                here = here[(slice(None),) * axis + (place,)]
        expected = here if "c" in names else here[None]
        assert np.array_equal(sample.image, expected)
        assert sample.labels is None


@pytest.fixture
def plate(tmp_path):
    plate = lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    )
    for n, position in enumerate(plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])):
        rng = np.random.default_rng(n)
        pixels = rng.integers(0, 999, (1, 2, 4, 64, 48), dtype="uint16")
        ids = np.zeros((1, 4, 64, 48), "uint16")
        y, x = rng.integers(56), rng.integers(40)
        ids[0, rng.integers(4), y : y + 6, x : x + 6] = 5 + n
        position.create_image("0", pixels, chunks=(1, 1, 2, 16, 16), shards_ratio=(1, 1, 2, 2, 3))
        position.compute_pyramid(levels=3, dims=("y", "x"))
        position.labels.create("cells", ids)
    return plate


def test_the_place_depends_on_seed_epoch_and_number_alone(plate):
    one, same, other = (CropSource(plate, (8, 8), seed=seed) for seed in (1, 1, 2))
    backwards = {n: same.draw(0, n) for n in reversed(range(50))}
    assert [one.draw(0, n) for n in range(50)] == [backwards[n] for n in range(50)]
    assert [one.draw(0, n) for n in range(50)] != [other.draw(0, n) for n in range(50)]
    assert [one.draw(0, n) for n in range(50)] != [one.draw(1, n) for n in range(50)]
    assert pickle.loads(pickle.dumps(one)).draw(3, 4) == one.draw(3, 4)


def test_every_place_of_every_image_can_come(tmp_path):
    position = image_of(tmp_path / "a.zarr", "yx")
    source = CropSource([position], (23, 28))
    seen = Counter(source.draw(0, n).corner for n in range(400))
    assert set(seen) == {(y, x) for y in range(2) for x in range(3)}
    assert min(seen.values()) > 30


def test_labels_lie_where_the_pixels_lie(plate):
    source = CropSource(plate, (2, 16, 16), labels="cells", level="1")
    crops = [source.draw(0, n) for n in range(20)]
    for sample in source.read(crops):
        position = source.images[sample.crop.image]
        _, _, z, y, x = sample.crop.corner
        assert np.array_equal(
            sample.labels, position.labels["cells"]["1"][0, z : z + 2, y : y + 16, x : x + 16]
        )
        assert np.array_equal(sample.image, position["1"][0, :, z : z + 2, y : y + 16, x : x + 16])


@pytest.mark.parametrize(("size", "level"), [((8, 8), "0"), ((2, 16, 16), "0"), ((5, 7), "1"), ((1, 3), "0")])
def test_foreground_crops_hold_a_labelled_voxel(plate, size, level):
    source = CropSource(plate, size, labels="cells", foreground=1.0, level=level)
    samples = source.read([source.draw(0, n) for n in range(60)])
    assert all(sample.labels.any() for sample in samples)
    assert {sample.crop.image for sample in samples} == {0, 1, 2}


def test_foreground_crops_of_odd_sizes_hold_a_labelled_voxel(tmp_path):
    """65 voxels of level 4 cover 1025: each of them 16, not 1025 / 65."""
    with lamella.write_image(tmp_path / "a.zarr", np.zeros((1025, 1025), "uint8"), levels=5) as position:
        ids = np.zeros((1025, 1025), "uint8")
        ids[960:976, 960:976] = 1
        ids[960:968, 960:968] = 0
        position.labels["cells"] = ids
        source = CropSource([position], (16, 16), labels="cells", foreground=1.0)
        assert all(sample.labels.any() for sample in source.read([source.draw(0, n) for n in range(8)]))


def test_foreground_is_looked_for_in_labels_that_are_not_stale(tmp_path):
    with lamella.write_image(tmp_path / "a.zarr", np.zeros((256, 256), "uint8"), levels=2) as position:
        position.labels["cells"] = np.zeros((256, 256), "uint8")
        position.labels["cells"]["0"][4, 200] = 1
        source = CropSource([position], (2, 2), labels="cells", foreground=1.0)
        assert all(sample.labels.any() for sample in source.read([source.draw(0, n) for n in range(4)]))


def test_labels_that_are_too_small_for_coarse_levels_are_found(tmp_path):
    with lamella.write_image(tmp_path / "a.zarr", np.zeros((256, 256), "uint8"), levels=3) as position:
        ids = np.zeros((256, 256), "uint8")
        ids[4, 200] = 1
        position.labels["cells"] = ids
        assert not position.labels["cells"]["1"][:].any()
        source = CropSource([position], (4, 4), labels="cells", foreground=1.0)
        assert all(sample.labels.any() for sample in source.read([source.draw(0, n) for n in range(4)]))


def test_labels_of_another_shape_than_the_image_are_refused(tmp_path, version):
    position = image_of(tmp_path / "a.zarr", "cyx", version)
    label = position.labels.create("cells", np.zeros((24, 30), "uint8"))
    label["0"].resize(12, 15)
    source = CropSource([position], (4, 4), labels="cells")
    with pytest.raises(InvalidArgumentError, match=r"labels/cells have 12 voxels along 'y' .* has 24"):
        source.read([source.draw(0, 0)])


def test_the_share_of_foreground_is_what_was_asked_for(plate):
    def share(foreground):
        source = CropSource(plate, (6, 6), labels="cells", foreground=foreground)
        found = source.read([source.draw(0, n) for n in range(200)])
        return sum(bool(sample.labels.any()) for sample in found) / len(found)

    assert share(0.0) < 0.35
    assert 0.4 < share(0.5) < 0.75


def test_an_image_without_labelled_voxels_gives_any_place(tmp_path):
    position = image_of(tmp_path / "a.zarr", "yx")
    position.labels.create("none", np.zeros((24, 30), "uint8"))
    source = CropSource([position], (4, 4), labels="none", foreground=1.0)
    assert len({source.draw(0, n) for n in range(40)}) > 20


def test_channels_by_name_or_number_in_the_order_asked_for(plate):
    both = CropSource(plate, (8, 8))
    crop = both.draw(0, 7)
    whole = both.read([crop])[0].image
    assert np.array_equal(CropSource(plate, (8, 8), channels=["GFP"]).read([crop])[0].image, whole[1:])
    assert np.array_equal(CropSource(plate, (8, 8), channels=[1, "DAPI"]).read([crop])[0].image, whole[::-1])
    assert np.array_equal(CropSource(plate, (8, 8), channels=[-1]).read([crop])[0].image, whole[1:])


def test_samples_come_in_the_order_of_the_crops(plate):
    source = CropSource(plate, (8, 8))
    crops = [source.draw(0, n) for n in range(30)]
    assert [sample.crop for sample in source.read(crops)] == crops
    assert source.read([]) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"size": (65, 8)}, InvalidArgumentError),
        ({"size": (1, 1, 8, 8)}, InvalidArgumentError),
        ({"size": (0, 8)}, InvalidArgumentError),
        ({"size": ()}, InvalidArgumentError),
        ({"size": (4.5, 8)}, InvalidArgumentError),
        ({"size": "88"}, InvalidArgumentError),
        ({"size": (8, 8), "seed": 1.5}, InvalidArgumentError),
        ({"size": (8, 8), "channels": [0.5]}, InvalidArgumentError),
        ({"size": (8, 8), "foreground": 0.5}, InvalidArgumentError),
        ({"size": (8, 8), "foreground": 1.5, "labels": "cells"}, InvalidArgumentError),
        ({"size": (8, 8), "level": "9"}, NodeNotFoundError),
        ({"size": (8, 8), "images": []}, InvalidArgumentError),
        ({"size": (8, 8), "images": ["A/1/0"]}, InvalidArgumentError),
    ],
)
def test_wrong_arguments_are_refused_at_once(plate, options, error):
    images = options.pop("images", plate)
    with pytest.raises(error):
        CropSource(images, options.pop("size"), **options)


class Waiting(WrapperStore):
    """A store whose chunks come when chunks of a number of arrays have been asked for."""

    arrays = 0

    async def get(self, key, prototype, byte_range=None):
        if self.arrays and "/c/" in key:
            self.asked.add(key.partition("/c/")[0])
            if len(self.asked) == self.arrays:
                self.came.set()
            await asyncio.wait_for(self.came.wait(), 30)
        return await self._store.get(key, prototype, byte_range)


def test_crops_of_many_images_are_asked_for_at_once_where_requests_wait():
    store = Waiting(MemoryStore())
    plate = lamella.open_ome_zarr(store, layout="hcs", mode="w-", channel_names=["a"], version="0.5")
    pixels = np.arange(6 * 256, dtype="u2").reshape(6, 1, 1, 1, 16, 16)
    for number, image in enumerate(pixels):
        position = plate.create_position("A", str(number), "0")
        position.create_image("0", image, chunks=(1, 1, 1, 8, 8))
        position.labels.create("cells", image[0, 0])
    source = CropSource(plate, (4, 4), labels="cells")
    crops = [source.draw(0, n) for n in range(60)]
    assert {crop.image for crop in crops} == set(range(6))
    store.came, store.asked, store.arrays = asyncio.Event(), set(), 12
    for crop, sample in zip(crops, source.read(crops), strict=True):
        *_, y, x = crop.corner
        expected = pixels[crop.image, 0, 0, 0, y : y + 4, x : x + 4]
        assert np.array_equal(sample.image.reshape(4, 4), expected)
        assert np.array_equal(sample.labels.reshape(4, 4), expected)
