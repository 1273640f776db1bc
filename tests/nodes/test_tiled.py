"""Laws of tiled images: one chunk per tile, any tile by row and column, a selection along the axes before."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lamella import open_ome_zarr
from lamella.models import axes

from .validity import check_valid


@pytest.fixture
def tiled(path, version):
    """An empty tiled image of two channels."""
    with open_ome_zarr(path, layout="tiled", mode="w", channel_names=["a", "b"], version=version) as position:
        yield position


@pytest.fixture
def tiles(tiled):
    """A grid of 2 x 3 tiles, each filled with a number of its own."""
    array = tiled.make_tiles("0", grid_shape=(2, 3), tile_shape=(4, 2, 3, 8, 16), dtype="int16")
    for row, column in itertools.product(range(2), range(3)):
        array.write_tile(np.full((4, 2, 3, 8, 16), 10 * row + column, "int16"), row, column)
    return array


def test_the_grid_is_the_array(tiles):
    assert tiles.shape == (4, 2, 3, 16, 48)
    assert (tiles.rows, tiles.columns, tiles.tiles) == (2, 3, (2, 3))
    assert tiles.tile_shape == tiles.chunks == (1, 1, 1, 8, 16)
    whole = tiles[...]
    for row, column in itertools.product(range(2), range(3)):
        box = whole[..., 8 * row : 8 * row + 8, 16 * column : 16 * column + 16]
        assert (box == 10 * row + column).all()
        np.testing.assert_array_equal(tiles.get_tile(row, column), box)


@pytest.mark.parametrize(
    ("chunk_dims", "chunks"),
    [(2, (1, 1, 1, 8, 16)), (3, (1, 1, 3, 8, 16)), (4, (4, 1, 3, 8, 16)), (9, (4, 1, 3, 8, 16))],
)
def test_a_chunk_spans_the_last_axes_longer_than_1(path, version, chunk_dims, chunks):
    position = open_ome_zarr(path, layout="tiled", mode="w", channel_names=["a"], version=version)
    array = position.make_tiles("0", (2, 2), (4, 1, 3, 8, 16), "u1", chunk_dims=chunk_dims)
    assert array.chunks == chunks


@pytest.mark.parametrize(
    ("pre_dims", "index"),
    [
        ((1, 0, 2), (1, 0, 2)),
        ((-1, 1, slice(0, 2)), (-1, 1, slice(0, 2))),
        ((slice(None), 0, None), (slice(None), 0, slice(None))),
        ([None, None, 1], (slice(None), slice(None), 1)),
    ],
)
def test_an_integer_in_pre_dims_selects_that_index(tiles, pre_dims, index):
    tiles[...] = np.arange(tiles.size).reshape(tiles.shape) % 30000
    whole = tiles[...]
    expected = whole[(*index, slice(8, 16), slice(16, 32))]
    np.testing.assert_array_equal(tiles.get_tile(1, 1, pre_dims), expected)
    tiles.write_tile(np.zeros(expected.shape), 1, 1, pre_dims)
    whole[(*index, slice(8, 16), slice(16, 32))] = 0
    np.testing.assert_array_equal(tiles[...], whole)
    assert tiles.get_tile_slice(1, 1, pre_dims)[-2:] == (slice(8, 16), slice(16, 32))


def test_an_image_whose_edge_cuts_the_tiles(tiled):
    tiled.create_zeros("0", (1, 2, 1, 20, 30), "u1", chunks=(1, 1, 1, 8, 16))
    array = tiled["0"]
    assert array.tiles == (3, 2)
    assert array.get_tile(2, 1).shape == (1, 2, 1, 4, 14)


@pytest.mark.parametrize("pair", [(0.0, 1), (0, "1"), (None, 0), (True, 0)])
def test_rows_and_columns_are_integers(tiles, pair):
    for call in (tiles.get_tile, tiles.get_tile_slice, lambda *p: tiles.write_tile(0, *p)):
        with pytest.raises(TypeError, match="integer"):
            call(*pair)


@pytest.mark.parametrize("pair", [(2, 0), (0, 3), (-1, 0)])
def test_a_tile_beyond_the_grid_is_an_IndexError(tiles, refused, pair):
    with refused(IndexError, "2 x 3 tiles"):
        tiles.write_tile(0, *pair)
    with refused(IndexError):
        tiles.get_tile(*pair)


@pytest.mark.parametrize(
    ("pre_dims", "family"),
    [(3, TypeError), ("abc", TypeError), ((0, 0), IndexError), ((9, 0, 0), IndexError)],
)
def test_pre_dims_that_do_not_fit(tiles, pre_dims, family):
    with pytest.raises(family):
        tiles.get_tile(0, 0, pre_dims)


WRONG = {
    "grid of one": {"grid_shape": (2,)},
    "grid of none": {"grid_shape": (0, 2)},
    "tile of six axes": {"tile_shape": (1, 1, 1, 1, 8, 8)},
    "tile of one axis": {"tile_shape": (8,)},
    "tile of length 0": {"tile_shape": (0, 8)},
    "chunk_dims": {"chunk_dims": 1},
    "dtype": {"dtype": "U3"},
    "too many channels": {"tile_shape": (3, 1, 8, 8)},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_grid_is_a_ValueError_and_changes_no_byte(tiled, refused, wrong):
    arguments = {"grid_shape": (2, 2), "tile_shape": (2, 1, 8, 8), "dtype": "u1"} | WRONG[wrong]
    with refused(ValueError):
        tiled.make_tiles("0", **arguments)


def test_tiles_are_an_ordinary_image(tiles, tiled, path, version):
    tiled.close()
    check_valid(path, version)
    again = open_ome_zarr(path, layout="tiled")
    assert type(again).__name__ == "TiledPosition"
    assert again["0"].get_tile(1, 2, (0, 0, 0)).max() == 12
    with pytest.raises(PermissionError, match="open for reading"):
        again["0"].write_tile(0, 0, 0)


def test_fewer_axes_have_tiles_too(path, version):
    position = open_ome_zarr(path, layout="tiled", mode="w", axes=axes("yx"), version=version)
    array = position.make_tiles("0", (3, 2), (4, 5), "f4")
    array.write_tile(np.ones((4, 5)), 2, 1)
    assert array.shape == (12, 10)
    assert array[...].sum() == array.get_tile(2, 1).sum() == 20
