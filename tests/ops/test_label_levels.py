"""Label images follow every pyramid: also one that shrinks by no whole factors."""

from __future__ import annotations

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError
from lamella.models import TransformationMeta, axes


def image(path, shapes, ratios, version="0.5"):
    """An image ZYX with levels of these shapes, whose voxels are so many times larger."""
    position = open_ome_zarr(
        path, layout="fov", mode="w", channel_names=[], axes=axes("zyx"), version=version
    )
    for level, (shape, ratio) in enumerate(zip(shapes, ratios, strict=True)):
        scale = TransformationMeta(type="scale", scale=ratio)
        position.create_zeros(str(level), shape, "uint16", chunks=(1, 16, 16), transform=[scale])
    return position


def centres(labels, shape, steps):
    picks = [
        np.minimum(((np.arange(m) + 0.5) * s).astype(int), n - 1)
        for m, s, n in zip(shape, steps, labels.shape, strict=True)
    ]
    return labels[np.ix_(*picks)]


CASES = {
    "odd sizes cut off, as bioformats2raw does": (
        [(3, 51, 33), (3, 25, 16), (3, 12, 8)],
        [(1, 2**n, 2**n) for n in range(3)],
    ),
    "any size, as scanners write": (
        [(3, 50, 40), (3, 20, 16), (3, 15, 12)],
        [(1, 1, 1), (1, 2.5, 2.5), (1, 10 / 3, 10 / 3)],
    ),
    "sizes that the metadata do not tell": ([(3, 50, 40), (3, 20, 16)], [(1, 1, 1), (1, 1, 1)]),
}


@pytest.mark.parametrize(("shapes", "ratios"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("first", ["labels", "pyramid"])
def test_a_label_image_has_the_levels_of_its_image(tmp_path, version, shapes, ratios, first):
    labels = np.random.default_rng(0).integers(0, 300, shapes[0]).astype("uint16")
    position = image(
        tmp_path / "a.zarr",
        shapes[:1] if first == "labels" else shapes,
        ratios[: 1 if first == "labels" else None],
        version,
    )
    made = position.labels.create("cells", labels)
    if first == "labels":
        from lamella.ops.labels import match_levels

        for level in range(1, len(shapes)):
            scale = TransformationMeta(type="scale", scale=ratios[level])
            position.create_zeros(str(level), shapes[level], "uint16", transform=[scale])
        match_levels(position)
        made = position.labels["cells"]
    assert [made[path].shape for path in made.dataset_paths] == shapes
    expected = labels
    for level in range(1, len(shapes)):
        steps = [b / a for a, b in zip(ratios[level - 1], ratios[level], strict=True)]
        if len(set(map(tuple, ratios))) == 1:
            steps = [n / m for n, m in zip(shapes[level - 1], shapes[level], strict=True)]
        expected = centres(expected, shapes[level], steps)
        np.testing.assert_array_equal(made[str(level)][:], expected)
        assert set(np.unique(expected)) <= set(np.unique(labels))
    assert made.metadata.multiscales[0].type == "nearest"
    if first == "pyramid":
        assert made.get_effective_scale("1") == position.get_effective_scale("1")


@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")  # AX-05, MS-06
def test_an_image_whose_levels_differ_in_axes_gets_no_labels(tmp_path):
    position = image(tmp_path / "a.zarr", [(3, 8, 8)], [(1, 1, 1)])
    position.create_image("1", np.zeros((4, 4), "uint16"), check_shape=False)
    with pytest.raises(InvalidArgumentError, match=r"levels of their image: .*/1' .* has 2 axes"):
        position.labels.create("cells", np.ones((3, 8, 8), "uint8"))
    assert list(position.labels) == []
