"""Laws of planning: how many readings make the levels, in which blocks, and what may go on side by side."""

from __future__ import annotations

from math import prod

import pytest
from zarr.storage import MemoryStore

from lamella import open_ome_zarr
from lamella.ops.pyramids.passes import passes, reading_order

STACK = (4, 1, 40, 2048, 2048)


def planned(store, shape, *, spread=False, **layout):
    position = open_ome_zarr(store, layout="fov", mode="w", channel_names=["a"], version="0.5")
    position.create_zeros("0", shape, "u2", **layout)
    position.initialize_pyramid(4)
    arrays = [position[path].stored for path in position.dataset_paths]
    return passes(arrays[0], [(array, (1, 1, 2, 2, 2)) for array in arrays[1:]], "mean", on_executor=spread)


@pytest.mark.parametrize(
    ("layout", "block"),
    [
        ({}, (1, 1, 40, 2048, 2048)),
        ({"chunks": "auto"}, (1, 1, 8, 256, 256)),
        ({"chunks": (1, 1, 8, 256, 256), "shards_ratio": (1, 1, 5, 8, 8)}, (1, 1, 8, 256, 256)),
        ({"chunks": (1, 1, 1, 64, 64)}, (1, 1, 8, 256, 256)),
    ],
    ids=["whole stacks", "auto", "large shards", "small chunks"],
)
def test_one_reading_of_whole_chunks_makes_all_levels_side_by_side(tmp_path, layout, block):
    (one,) = planned(tmp_path / "a.zarr", STACK, **layout)
    assert [target.factors[-1] for target in one.targets] == [2, 4, 8]
    assert reading_order(one).block == block
    assert not reading_order(one).one_by_one


def test_large_shards_that_do_not_take_chunks_are_made_one_at_a_time():
    found = planned(MemoryStore(), STACK, chunks=(1, 1, 8, 256, 256), shards_ratio=(1, 1, 5, 8, 8))
    assert len(found) > 1
    assert reading_order(found[0]).one_by_one
    assert sum(len(one.targets) for one in found) == 3


def test_blocks_begin_at_multiples_of_the_factors_and_outer_boxes_are_multiples_of_inner(tmp_path):
    for number, chunks in enumerate([(1, 1, 5, 100, 96), (2, 1, 3, 250, 250), (1, 1, 7, 64, 2048)]):
        for one in planned(tmp_path / f"{number}.zarr", STACK, chunks=chunks):
            shape, way = one.source.meta.shape, reading_order(one)
            assert prod(way.block) * 2 <= 2**26
            for axis, n in enumerate(shape):
                assert way.block[axis] % one.factors[axis] == 0 or way.block[axis] == n


def test_spread_passes_have_units_of_bounded_size(tmp_path):
    whole = planned(tmp_path / "a.zarr", (1, 1, 512, 4096, 4096), chunks="auto")
    spread = planned(tmp_path / "b.zarr", (1, 1, 512, 4096, 4096), spread=True, chunks="auto")
    assert len(whole) == 1
    assert len(spread) > 1
