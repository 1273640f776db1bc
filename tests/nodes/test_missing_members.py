"""Who asks for a member that is not there reads which there are, at the place where the path ends, and the nearest."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella import errors


@pytest.fixture
def plate(tmp_path, version):
    with lamella.open_ome_zarr(
        tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["GFP"], version=version
    ) as made:
        for position in made.create_positions(
            [("A", "1", "0"), ("A", "1", "1"), ("A", "12", "0"), ("C", "1", "fova")]
        ):
            position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
            position.compute_pyramid(levels=2)
        made["A/1/0"].labels.create("nuclei", np.ones((1, 16, 16), "uint8"))
    return lamella.open_ome_zarr(tmp_path / "p.zarr", mode="r+")


ASKED = {
    "A/1/7": ("'A/1' has the members: 0, 1", "'A/1/1'"),
    "A/01/0": ("'A' has the members: 1, 12", "'A/1/0'"),
    "A/13": ("'A' has the members: 1, 12", "'A/12'"),
    "a/1/0": ("Its members are: A, C", "'A/1/0'"),
    "C/1/fovb": ("'C/1' has the members: fova", "'C/1/fova'"),
    "A/1/0/2": ("/A/1/0. Its members are: 0, 1", "'1'"),
    "A/1/0/labels/nucleus": ("'labels' has the members: nuclei", "'labels/nuclei'"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_members_where_a_path_ends_are_listed_and_the_nearest_is_suggested(plate, asked):
    listed, near = ASKED[asked]
    with pytest.raises(errors.NodeNotFoundError) as caught:
        plate[asked]
    text = str(caught.value)
    assert f"{asked.rpartition('/')[2]}'" in text
    assert str(plate.zgroup.store.root) in text
    assert listed in text
    assert f"Did you mean {near}?" in text


@pytest.mark.parametrize("asked", ["A/1/7", "A/1/0/5", "A/2"])
def test_deletion_says_the_same(plate, asked):
    with pytest.raises(errors.NodeNotFoundError, match="Did you mean"):
        del plate[asked]


def test_every_kind_of_node_suggests(plate, tmp_path):
    asked = [
        (plate["A"], "2", "'1'"),
        (plate["A/1"], "9", "'1'"),
        (plate["A/1"], "0/9", "'1'"),
        (plate["A/1/0"], "9", "'1'"),
        (plate["A/1/0"].labels, "nuclear", "'nuclei'"),
        (plate["A/1/0"].labels["nuclei"], "3", "'1'"),
    ]
    for node, name, near in asked:
        with pytest.raises(errors.NodeNotFoundError, match=f"Did you mean {near}"):
            node[name]


def test_nothing_is_suggested_that_is_not_near(plate):
    with pytest.raises(errors.NodeNotFoundError) as caught:
        plate["A/1/0/quite_something_else"]
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(errors.NodeNotFoundError, match="below the array"):
        plate["A/1/0/0/7"]


def test_long_lists_are_cut_around_the_nearest(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_positions([("A", "1", str(n)) for n in range(90)])
        with pytest.raises(errors.NodeNotFoundError, match=r"and 70 more. Did you mean 'A/1/89'\?"):
            plate["A/1/90"]
