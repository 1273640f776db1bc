"""A keyword that a call does not know is named, with the call and the keywords that it knows."""

from __future__ import annotations

import numpy as np
import pytest

import lamella


@pytest.fixture
def position(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "image.zarr", layout="fov", mode="w", channel_names=["GFP"]
    ) as opened:
        opened["0"] = np.zeros((1, 1, 1, 4, 4), "uint8")
        yield opened


CALLS = {
    "open_ome_zarr": lambda position, path: lamella.open_ome_zarr(position.zgroup.store.root, plate_nam="x"),
    "open_ome_zarr(fov)": lambda position, path: lamella.open_ome_zarr(
        path / "new.zarr", layout="fov", mode="w", plate_nam="x"
    ),
    "open_ome_zarr(hcs)": lambda position, path: lamella.open_ome_zarr(
        path / "new.zarr", layout="hcs", mode="a", channel_names=["a"], plate_nam="x"
    ),
    "Position": lambda position, path: lamella.Position(position.zgroup, plate_nam="x"),
    "Plate": lambda position, path: lamella.Plate(position.zgroup, plate_nam="x"),
    "Well": lambda position, path: lamella.Well(position.zgroup, plate_nam="x"),
    "TiledPosition": lambda position, path: lamella.TiledPosition(position.zgroup, plate_nam="x"),
    "tensorstore": lambda position, path: position["0"].tensorstore(plate_nam="x"),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_option_names_the_option_the_call_and_those_it_knows(call, position, tmp_path):
    with pytest.raises(TypeError, match=r"has no option 'plate_nam'.*It knows ") as caught:
        CALLS[call](position, tmp_path)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(call.partition("(")[0])
    assert "__init__" not in str(caught.value)
    assert not (tmp_path / "new.zarr").exists()


def test_the_nearest_option_is_suggested(tmp_path):
    with pytest.raises(lamella.errors.UnknownOptionError, match="Did you mean 'plate_name'"):
        lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], plate_nam="x")


def test_an_option_of_another_kind_of_node_is_not_known(position):
    with pytest.raises(TypeError, match=r"open_ome_zarr\(\) of a Position has no option 'plate_name'"):
        lamella.open_ome_zarr(position.zgroup.store.root, plate_name="x")


def test_a_refused_option_deletes_nothing(position):
    with pytest.raises(TypeError):
        lamella.open_ome_zarr(
            position.zgroup.store.root, layout="fov", mode="w", channel_names=["a"], nothing=1
        )
    assert position["0"].shape == (1, 1, 1, 4, 4)
