"""Law: an array more never makes a valid image invalid: what cannot be a level of it is stored beside the levels."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.models import TransformationMeta, axes


@pytest.fixture(params=["0.4", "0.6"])
def version(request):
    return request.param


@pytest.fixture
def plate(tmp_path, version):
    """A plate of one image with a level and a label image."""
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], axes=axes("cyx"), version=version
    ) as opened:
        position = opened.create_position("A", "1", "0")
        position["0"] = np.full((1, 16, 16), 3, "uint8")
        yield opened


def broken(plate):
    return {one.rule for one in lamella.validate(plate).findings if one.level == "MUST"}


def check_beside(plate, name, pixels, rule):
    position = plate["A/1/0"]
    levels = position.dataset_paths
    with pytest.warns(UserWarning, match=f"{rule}.*beside the levels"):
        position.create_image(name, pixels)
    with pytest.raises(ValueError, match=f"{rule}.*beside the levels"):
        position.create_image(
            f"{name}2", pixels, transform=[TransformationMeta(type="scale", scale=[1.0] * 3)]
        )
    again = lamella.open_ome_zarr(plate.zgroup.store.root)["A/1/0"]
    assert again.dataset_paths == levels
    assert (again[name][:] == pixels).all()
    assert f"{name}2" not in again
    assert broken(plate) == set()


def test_an_array_that_cannot_be_a_level_is_stored_beside_the_levels(plate, version):
    check_beside(plate, "larger", np.ones((1, 32, 32), "uint8"), "MS-05")
    if version == "0.6":
        check_beside(plate, "other", np.ones((1, 16, 16), "float32"), "MS-07")
    plate["A/1/0"].create_image("same", np.ones((1, 16, 16), "uint8"))
    assert plate["A/1/0"].dataset_paths == ["0", "same"]
    assert broken(plate) == set()


def test_labels_have_as_many_levels_as_their_image(plate):
    position = plate["A/1/0"]
    cells = position.labels.create("cells", np.full((16, 16), 7, "uint8"))
    half = [TransformationMeta(type="scale", scale=[1.0, 2.0, 2.0])]
    position.create_zeros("1", (1, 8, 8), "uint8", transform=half)
    assert [(path, cells[path].shape) for path in cells.dataset_paths] == [("0", (16, 16)), ("1", (8, 8))]
    assert (cells["1"][:] == 7).all()
    assert broken(plate) == set()
    with pytest.raises(ValueError, match="LB-04"):
        cells.create_zeros(
            "2", (4, 4), "uint8", transform=[TransformationMeta(type="scale", scale=[4.0, 4.0])]
        )
    with pytest.warns(UserWarning, match="LB-05|MS-07"):
        cells.create_zeros("soft", (16, 16), "float32")
    assert broken(plate) == set()
    del position["1"]
    assert plate["A/1/0"].labels["cells"].dataset_paths == ["0"]
    assert broken(plate) == set()


def halved(given):
    pixels = given if isinstance(given, np.ndarray) else given["0"][:]
    return pixels.astype("float32") / 2


def test_results_of_map_never_make_an_image_invalid(plate):
    plate["A/1/0"].labels["cells"] = np.ones((16, 16), "uint8")
    for over, dtype in (("positions", None), ("regions", "float32")):
        name = f"half {over}"
        for done in (1, 0):
            assert plate.map(halved, over=over, name=name, dtype=dtype, jobs=1).done == done
        assert (plate["A/1/0"][name][:] == 1.5).all()
    assert plate["A/1/0"].dataset_paths == ["0"]
    assert broken(plate) == set()
