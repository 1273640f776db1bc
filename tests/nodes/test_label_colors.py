"""Laws of the colours of labels: none are stored unless asked for, and a table that is stored hides no label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lamella
from lamella import open_ome_zarr
from lamella.spec.colors import label_color

from .conftest import edit_attributes, ome

IDS = np.arange(2 * 3 * 8 * 10).reshape(2, 3, 8, 10)


@pytest.fixture
def cells():
    return (IDS % 5 * 7).astype("uint16")


def stored(path, version, name="cells"):
    return ome(path / "labels" / name, version)["image-label"]


@pytest.mark.parametrize("colors", [None, {}])
def test_labels_that_were_given_no_colours_store_none_and_viewers_show_all(
    image, path, version, cells, colors
):
    image.labels.create("cells", cells, colors=colors)
    image.labels["others"] = cells
    assert "colors" not in stored(path, version)
    assert "colors" not in stored(path, version, "others")
    assert image.labels["cells"].colors == {}


def test_set_colors_gives_every_id_that_is_there_one(image, path, cells):
    image.labels["cells"] = cells
    image.labels["cells"].set_colors()
    label = open_ome_zarr(path).labels["cells"]
    assert set(label.colors) == set(np.unique(cells).tolist())
    assert label.colors[0] == (0, 0, 0, 0)
    shown = [rgba for value, rgba in label.colors.items() if value]
    assert all(rgba[3] == 255 for rgba in shown)
    assert len(set(shown)) == len(shown)


def test_set_colors_keeps_the_colours_that_are_stored(image, cells):
    label = image.labels.create("cells", cells, colors={7: (1, 2, 3)})
    label.set_colors()
    assert label.colors[7] == (1, 2, 3, 255)
    assert set(label.colors) == {0, 7, 14, 21, 28}
    before = label.colors
    label.set_colors()
    assert label.colors == before
    label.set_colors(None)
    assert label.colors == {}
    with pytest.raises(ValueError, match="'some'"):
        label.set_colors("some")


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64", "uint64"])
def test_ids_of_every_integer_type_are_found(image, path, dtype):
    del image["1"]  # labels of one level are found without a kernel for each type
    ids = np.zeros((2, 3, 8, 10), dtype)
    info = np.iinfo(dtype)
    ids[0, 0, 0, :4] = [info.min, info.max, info.max - 1, 1]
    label = image.labels.create("cells", ids)
    label.set_colors()
    assert set(label.colors) == {0, 1, info.min, info.max, info.max - 1}


def test_labels_without_an_id_get_no_table(image, path, version):
    label = image.labels.create("cells", np.zeros((2, 3, 8, 10), "uint8"))
    label.set_colors()
    assert label.colors == {0: (0, 0, 0, 0)}


def test_a_table_is_extended_by_what_is_written(image, path, cells):
    label = image.labels.create("cells", cells, colors={7: (1, 2, 3)})
    assert set(label.colors) == {7}  # as chosen
    label.data[...] = cells + 100
    assert set(label.colors) == {7, 100, 107, 114, 121, 128}
    assert label.colors[107] == (*label_color(107), 255)
    label.data[0, 0, 0, 0] = 500
    label.data.oindex[0, 0, [1], [2]] = 501
    assert {500, 501} <= set(open_ome_zarr(path).labels["cells"].colors)
    label.data.append(np.full((1, 3, 8, 10), 502, "uint16"))
    assert 502 in label.colors
    label["1"][...] = 900  # a lower level has no ids of its own
    assert 900 not in label.colors


def test_the_table_of_an_older_store_is_completed_by_set_colors(image, path, version, cells):
    image.labels["cells"] = cells
    table = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]

    def hide(found):
        (found if version == "0.4" else found["ome"])["image-label"]["colors"] = table

    edit_attributes(path / "labels" / "cells", version, hide)
    label = open_ome_zarr(path, mode="r+").labels["cells"]
    label.set_colors()
    assert set(label.colors) == {0, 7, 14, 21, 28}
    assert label.colors[0] == (0, 0, 0, 0)


def test_without_a_table_a_write_stores_none(image, path, version, cells):
    image.labels["cells"] = cells
    image.labels["cells"].data[...] = cells + 1
    assert "colors" not in stored(path, version)


def test_a_table_for_more_ids_than_a_document_should_name_is_dropped_with_a_note(tmp_path, version):
    with open_ome_zarr(
        tmp_path / "a.zarr",
        layout="fov",
        mode="w",
        axes=lamella.models.axes("yx"),
        version=version,
    ) as position:
        position.create_zeros("0", (1000, 1000), "uint8", chunks=(100, 1000))
        label = position.labels.create("cells", np.zeros((1000, 1000), "uint32"), colors={1: (1, 2, 3)})
        many = np.arange(10**6, dtype="uint32").reshape(1000, 1000)
        with pytest.warns(UserWarning, match="more than 65536 labels"):
            label.data[...] = many
        assert label.colors == {}
        with pytest.warns(UserWarning, match="more than 65536 labels"):
            label.set_colors()
        assert label.colors == {}
        assert (tmp_path / "a.zarr" / "labels" / "cells").is_dir()
        names = ("zarr.json", ".zattrs")
        sizes = [(tmp_path / "a.zarr" / "labels" / "cells" / name) for name in names]
        assert sum(file.stat().st_size for file in sizes if file.exists()) < 10_000
        label.data[...] = many % 20_000
        label.set_colors()
        assert len(label.colors) == 20_000


# ---- the palette ------------------------------------------------------------------------------------


def lab(rgb):
    """CIE L*a*b* of sRGB, in which distances are what people see."""
    values = np.array(rgb) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
    x, y, z = np.moveaxis(linear @ np.array(matrix).T / [0.95047, 1, 1.08883], -1, 0)
    x, y, z = (np.where(one > 0.008856, np.cbrt(one), 7.787 * one + 16 / 116) for one in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@given(st.integers(-(2**63), 2**64 - 10))
def test_ids_near_each_other_have_clearly_different_colours(first):
    colors = lab([label_color(first + n) for n in range(5)])
    for n in range(1, 5):
        assert np.linalg.norm(colors[n:] - colors[:-n], axis=1).min() > 20
    assert colors[:, 0].min() > 20  # seen on black


def test_many_ids_have_many_colours():
    assert len({label_color(value) for value in range(1, 257)}) == 256
