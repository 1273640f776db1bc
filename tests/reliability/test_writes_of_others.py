"""Law: writes that lose pixels in other libraries (blocks across shards, shards beyond the edge) lose none here."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest

import lamella
from lamella.errors import DamagedDataError

if TYPE_CHECKING:
    from pathlib import Path


def sharded(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], ratio: tuple[int, ...]):
    position = lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a"] * shape[1], version="0.5"
    )
    position.create_zeros("0", shape, "uint16", chunks=chunks, shards_ratio=ratio)
    return position["0"]


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 60000, shape, dtype="uint16")


@pytest.mark.parametrize("blocks", [(1, 1, 2, 7, 9), (2, 1, 1, 33, 64), (1, 1, 4, 16, 17)])
def test_dask_stores_blocks_that_cross_chunks_and_shards_without_a_lock(tmp_path, blocks):
    # zarr-python #3682 #3514, dask #12583 #12109, xarray #10831, ome-zarr-py #502, iohub #368, ngff-zarr #592
    shape = (2, 1, 4, 64, 64)
    image = sharded(tmp_path / "a.zarr", shape, (1, 1, 1, 16, 16), (1, 1, 2, 2, 2))
    pixels = numbers(shape)
    da.store(da.from_array(pixels, chunks=blocks), image, lock=False, scheduler="threads")
    np.testing.assert_array_equal(image[...], pixels)


def test_dask_stores_blocks_that_cross_shards_from_processes_without_a_lock(tmp_path):
    # Among threads TensorStore would keep the blocks of a shard apart by itself.
    shape = (1, 1, 1, 64, 64)
    image = sharded(tmp_path / "a.zarr", shape, (1, 1, 1, 16, 16), (1, 1, 1, 4, 4))
    pixels = numbers(shape)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as workers:
        da.store(
            da.from_array(pixels, chunks=(1, 1, 1, 4, 4)),
            image,
            lock=False,
            scheduler="processes",
            pool=workers,
            num_workers=2,
            chunksize=1,
        )
    np.testing.assert_array_equal(image[...], pixels)


def test_a_shard_beyond_the_edge_is_written_without_reading_and_a_torn_one_is_mended(tmp_path):
    # iohub #442: 1068 x 1664 pixels in a shard of 1072 x 1792
    image = sharded(tmp_path / "a.zarr", (2, 1, 1, 1068, 1664), (1, 1, 1, 134, 224), (1, 1, 1, 8, 8))
    pixels = numbers((2, 1, 1, 1068, 1664))
    image[...] = pixels
    (torn,) = (tmp_path / "a.zarr" / "0" / "c" / "1").rglob("0/0/0/0")
    torn.write_bytes(torn.read_bytes()[:1000])
    with pytest.raises(DamagedDataError, match=r"is damaged\. Write that region again"):
        image[1]
    np.testing.assert_array_equal(image[0], pixels[0])
    image[1] = pixels[1]
    np.testing.assert_array_equal(image[...], pixels)


def test_the_last_shard_of_a_film_is_read_though_it_is_not_full(tmp_path):
    # acquire-zarr #158
    image = sharded(tmp_path / "a.zarr", (7, 1, 1, 8, 8), (1, 1, 1, 8, 8), (3, 1, 1, 1, 1))
    pixels = numbers((7, 1, 1, 8, 8))
    for t, frame in enumerate(pixels):
        image[t] = frame
    np.testing.assert_array_equal(lamella.open_ome_zarr(tmp_path / "a.zarr")["0"][...], pixels)


def test_a_pickled_handle_reads_all_chunks_of_a_shard(tmp_path):
    # zarr-python #3221
    image = sharded(tmp_path / "a.zarr", (2, 1, 1, 8, 24), (1, 1, 1, 8, 6), (1, 1, 1, 1, 4))
    pixels = numbers((2, 1, 1, 8, 24))
    image[...] = pixels
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image))[...], pixels)


def test_a_handle_follows_an_array_that_another_makes_anew(tmp_path):
    # iohub keeps a cache of arrays
    image = sharded(tmp_path / "a.zarr", (2, 1, 1, 8, 24), (1, 1, 1, 8, 6), (1, 1, 1, 1, 4))
    image[...] = 3
    assert int(image[0, 0, 0, 0, 0]) == 3
    with lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+") as other:
        del other["0"]
        other["0"] = np.full((1, 1, 1, 4, 4), 0.5, "float32")
    assert (image.shape, image.dtype) == ((1, 1, 1, 4, 4), np.dtype("float32"))
    assert (image[...] == 0.5).all()
