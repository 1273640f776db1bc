"""Law: a new array is described as asked, or refused with all facts; chosen layouts fit the array."""

from __future__ import annotations

import math

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.errors import InvalidArgumentError
from lamella.store.metadata.array_creation import LARGEST_CHUNK, auto_layout, default_chunks, new_array
from lamella.store.metadata.array_meta import Compressor

DEFAULT = Compressor("blosc", "zstd", 1, "bitshuffle")


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        ({"chunks": (2, 2)}, ["shape (4, 6, 8)", "chunks (2, 2)"]),
        ({"chunks": (2, 0, 2)}, ["chunks=(2, 0, 2)"]),
        ({"chunks": (2, 2, 2), "shards": (4, 4)}, ["chunks (2, 2, 2)", "shards (4, 4)"]),
        ({"chunks": (2, 2, 2), "shards": (4, 3, 4)}, ["multiples", "chunks (2, 2, 2)", "shards (4, 3, 4)"]),
        ({"shape": (4, -1, 8)}, ["shape=(4, -1, 8)"]),
        ({"shape": (4, 1.5, 8)}, ["shape=(4, 1.5, 8)", "whole numbers"]),
        ({"shape": 4}, ["shape=4"]),
        ({"shape": (2**62, 1, 1)}, ["shape"]),
        ({"chunks": "auto"}, ["chunks='auto'"]),
        ({"dtype": "U4"}, ["dtype=str", "uint16"]),
        ({"dtype": "M8[s]"}, ["datetime64", "uint16"]),
        ({"dtype": "nonsense"}, ["dtype='nonsense'"]),
        ({"dtype": ",uf"}, ["dtype=',uf'"]),
        ({"fill_value": -1}, ["fill_value=-1", "uint16"]),
        ({"fill_value": 1.5}, ["fill_value=1.5", "uint16"]),
        ({"fill_value": float("nan")}, ["fill_value=nan"]),
        ({"fill_value": "a"}, ["fill_value='a'"]),
        ({"dimension_names": ("y", "x")}, ["dimension_names=('y', 'x')", "(4, 6, 8)"]),
        ({"compressor": "zip"}, ["'zip'", "blosc, zstd"]),
        ({"compressor": Compressor("blosc", clevel=12)}, ["12", "0 to 9"]),
        ({"compressor": Compressor("blosc", "fast")}, ["cname='fast'"]),
        ({"compressor": Compressor("blosc", blocksize=-1)}, ["blocksize -1", "2**31"]),
        ({"compressor": {"clevel": 1}}, ["no codec name"]),
        ({"compressor": {"id": "lzma"}}, ["'lzma'"]),
        ({"compressor": 3}, ["compressor=3"]),
        ({"compressor": "bz2"}, ["'bz2'", "Zarr v3"]),
    ],
)
def test_what_does_not_fit_is_refused_with_all_facts(asked, facts):
    arguments = {"shape": (4, 6, 8), "dtype": "uint16", "zarr_format": 3, **asked}
    with pytest.raises(InvalidArgumentError) as caught:
        new_array(arguments.pop("shape"), arguments.pop("dtype"), **arguments)
    assert [fact for fact in facts if fact not in str(caught.value)] == []


def test_shards_need_version_0_5():
    with pytest.raises(InvalidArgumentError, match=r"has no shards, but .* were requested: use version 0\.5"):
        new_array((4, 4), "u1", zarr_format=2, chunks=(2, 2), shards=(4, 4))


def test_shards_may_reach_beyond_the_shape():
    assert new_array((4, 4), "u1", zarr_format=3, chunks=(2, 2), shards=(8, 8)).grid == (1, 1)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, DEFAULT),
        ("blosc", DEFAULT),
        ("BLOSC", DEFAULT),
        ("none", None),
        (False, None),
        ("lz4", Compressor("blosc", "lz4", 1, "bitshuffle")),
        ("zstd", Compressor("zstd", clevel=1)),
        ("gzip", Compressor("gzip", clevel=6)),
        (Compressor("gzip", clevel=9), Compressor("gzip", clevel=9)),
        (
            {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
            Compressor("blosc", "lz4", 5, "shuffle"),
        ),
        ({"name": "zstd", "configuration": {"level": 3, "checksum": False}}, Compressor("zstd", clevel=3)),
        (numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE), Compressor("blosc", "lz4", 5, "shuffle")),
        (numcodecs.Blosc(blocksize=4096), Compressor("blosc", "lz4", 5, "shuffle", 4096)),
        (numcodecs.GZip(4), Compressor("gzip", clevel=4)),
        (
            zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
            Compressor("blosc", "lz4", 5, "shuffle"),
        ),
        (zarr.codecs.ZstdCodec(level=7), Compressor("zstd", clevel=7)),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_compressor_is_chosen_in_many_ways(choice, expected, zarr_format):
    assert new_array((4,), "u2", zarr_format=zarr_format, compressor=choice).compressor == expected


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("cname", "block"), [("zstd", 1 << 20), ("lz4", 0)])
def test_blosc_hands_zstd_a_mebibyte_at_a_time(cname, block, zarr_format):
    # Left to itself it takes 32 KiB at level 1, which halves the speed of reads and writes.
    meta = new_array((4,), "u2", zarr_format=zarr_format, compressor=Compressor("blosc", cname))
    codec = meta.document["compressor"] if zarr_format == 2 else meta.document["codecs"][-1]["configuration"]
    assert codec["blocksize"] == block


def test_chunk_keys_are_those_of_zarr_python(tmp_path):
    for zarr_format, expected in ((2, "1/0"), (3, "c/1/0")):
        assert new_array((4, 4), "u1", zarr_format=zarr_format, chunks=(2, 2)).chunk_key((1, 0)) == expected
    assert [new_array((), "u1", zarr_format=f).chunk_key(()) for f in (2, 3)] == ["0", "c"]


shapes = st.lists(st.integers(0, 5000), min_size=1, max_size=5).map(tuple)
itemsizes = st.sampled_from([1, 2, 4, 8, 16])


@settings(max_examples=100, deadline=None)
@given(shapes, itemsizes)
def test_default_chunks_are_the_last_three_axes_up_to_512_mib(shape, itemsize):
    chunks = default_chunks(shape, itemsize)
    assert chunks[:-3] == (1,) * len(shape[:-3])
    assert math.prod(chunks) * itemsize <= LARGEST_CHUNK
    whole = tuple(max(1, n) for n in shape[-3:])
    if math.prod(whole) * itemsize <= LARGEST_CHUNK:
        assert chunks[-3:] == whole
    else:
        assert chunks[-1] == whole[-1]  # Z is split first, then Y
        assert len(shape) < 3 or chunks[-2] == whole[-2] or chunks[-3] == 1


@settings(max_examples=100, deadline=None)
@given(shapes, itemsizes)
def test_chosen_layouts_fit_the_array(shape, itemsize):
    chunks, shards = auto_layout(shape, itemsize, True)
    assert auto_layout(shape, itemsize, False) == (chunks, None)
    assert chunks[:-3] == (1,) * len(shape[:-3])
    assert math.prod(chunks) * itemsize <= 1 << 20
    assert all(c <= max(1, n) for c, n in zip(chunks, shape, strict=True))
    if shards is None:
        return
    assert math.prod(shards) * itemsize <= 256 << 20
    for n, c, s in zip(shape, chunks, shards, strict=True):
        assert s % c == 0
        assert s - c < max(1, n), "a shard has a chunk that lies beyond the array whole"
    new_array(shape, f"u{min(itemsize, 8)}", zarr_format=3, chunks=chunks, shards=shards)


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.integers(16, 300), st.integers(300, 3000), st.integers(300, 3000)))
def test_chosen_chunks_of_large_images_are_near_one_mebibyte(shape):
    chunks, shards = auto_layout(shape, 2, True)
    assert 1 << 18 <= math.prod(chunks) * 2 <= 1 << 20
    assert shards is not None
    assert np.prod(shards) >= np.prod(chunks)
