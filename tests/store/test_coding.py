"""Law: a chunk is decoded to what was encoded, or refused; never to the bytes of something else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from lamella.errors import DamagedDataError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.pixels import chunk_files, coding
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.coding import ChunkError, blosc_compressor, coding_of

BLOSCS = [(cname, shuffle) for cname in ("zstd", "lz4", "zlib", "blosclz", "lz4hc") for shuffle in (0, 1, 2)]
V2 = {
    "none": None,
    "zstd": numcodecs.Zstd(3),
    "zlib": numcodecs.Zlib(2),
    "gzip": numcodecs.GZip(2),
    **{f"blosc {c} {s}": numcodecs.Blosc(c, 5, s) for c, s in BLOSCS},
}
V3 = {
    "none": [],
    "crc32c": [Crc32cCodec()],
    "zstd": [ZstdCodec(level=2, checksum=True)],
    "gzip": [GzipCodec(level=3)],
    "blosc": [BloscCodec(cname="lz4", clevel=4, shuffle="shuffle", typesize=4)],
    "blosc crc32c": [BloscCodec(cname="zstd", typesize=4), Crc32cCodec()],
}


@pytest.fixture
def opened(tmp_path):
    """Open an array that zarr-python made, and say that it is read from its files."""

    def open_array(data, **options) -> StoredArray:
        root = zarr.create_group(tmp_path / "s.zarr", zarr_format=options.pop("zarr_format"))
        stored = root.create_array("0", shape=data.shape, dtype=data.dtype, **options)
        stored[...] = data
        return StoredArray(Documents.open(LocalStorage(tmp_path / "s.zarr")), "0", engine="files")

    return open_array


@pytest.fixture(params=["u2", "f4", "bool", "complex64"])
def data(request):
    drawn = np.random.default_rng(0).integers(0, 2 if request.param == "bool" else 200, (9, 14))
    return drawn.astype(request.param)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressor", V2)
def test_what_zarr_python_encodes_in_v2_is_decoded(opened, data, compressor, order):
    array = opened(data, zarr_format=2, chunks=(4, 8), compressors=V2[compressor], order=order)
    assert array.engine.name == "files"
    np.testing.assert_array_equal(array.read(), data)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("shards", [None, (8, 16)])
@pytest.mark.parametrize("codecs", V3)
def test_what_zarr_python_encodes_in_v3_is_decoded(opened, data, codecs, shards, endian):
    array = opened(
        data,
        zarr_format=3,
        chunks=(4, 8),
        shards=shards,
        serializer=BytesCodec(endian=endian),
        compressors=V3[codecs] or None,
    )
    assert array.engine.name == "files"
    np.testing.assert_array_equal(array.read(), data)


@pytest.mark.parametrize("shards", [None, (4, 8, 8)])
def test_chunks_whose_axes_are_stored_in_another_order_are_read_and_written(opened, shards):
    data = np.random.default_rng(0).integers(0, 99, (5, 6, 9)).astype("u2")
    filters = [TransposeCodec(order=(2, 0, 1))]
    array = opened(data, zarr_format=3, chunks=(2, 4, 4), shards=shards, filters=filters)
    assert array.engine.name == "files"
    np.testing.assert_array_equal(array.read(), data)
    data[1:4, 2:, 3:8] = 7
    array.write(np.s_[1:4, 2:, 3:8], 7)
    np.testing.assert_array_equal(array.read(np.s_[:, ::2]), data[:, ::2])
    np.testing.assert_array_equal(StoredArray(array.documents, "0", engine="zarr").read(), data)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">u2", "<f4", "|u1", ">c8"])
def test_parts_of_chunks_of_zarr_v2_are_written_in_their_order_and_byte_order(opened, order, dtype):
    data = np.random.default_rng(0).integers(0, 99, (9, 14)).astype(dtype)
    array = opened(data, zarr_format=2, chunks=(4, 8), compressors=numcodecs.BZ2(1), order=order)
    assert array.engine.name == "files"
    np.testing.assert_array_equal(array.read(), data)
    for index in (np.s_[1:6, 3:11], np.s_[::3], np.s_[[8, 0], 2:5]):
        data[index] = 5
        array.write(index, 5)
    np.testing.assert_array_equal(array.read(), data)
    np.testing.assert_array_equal(StoredArray(array.documents, "0", engine="zarr").read(), data)


def test_other_codecs_are_left_to_zarr_python(opened):
    data = np.arange(12, dtype="u2").reshape(3, 4)
    array = opened(data, zarr_format=2, chunks=(2, 2), filters=[numcodecs.Delta("<u2")])
    assert array.engine.name == "zarr"
    np.testing.assert_array_equal(array.read(), data)


COMPRESSORS = ["blosc", "lz4", "zstd", "gzip", "none"]


def decode(decoder, data):
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(decoder.decode, data, decoder.scratch()).result().values


@pytest.fixture(params=COMPRESSORS)
def chunk(request, tmp_path):
    """An encoded chunk, its decoder, and its values."""
    meta = new_array((16, 16), "u2", zarr_format=3, compressor=request.param)
    documents = Documents.create(LocalStorage(tmp_path), 3)
    documents.put_array("0", meta)
    values = np.random.default_rng(0).integers(0, 50, (16, 16)).astype("u2")
    StoredArray(documents, "0").write(..., values)
    return (tmp_path / "0/c/0/0").read_bytes(), coding_of(documents.array("0")), values


def test_a_chunk_that_is_cut_off_or_too_long_is_refused(chunk):
    data, decoder, values = chunk
    np.testing.assert_array_equal(decode(decoder, data), values)
    for wrong in [b"", data[:3], data[:-1], data[: len(data) // 2], data + b"\x00", data + data]:
        with pytest.raises(ChunkError):
            decode(decoder, wrong)


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_chunk_of_another_size_is_refused(compressor, tmp_path):
    # A smaller one would leave the rest of the memory as it was.
    documents = Documents.create(LocalStorage(tmp_path), 2)
    for path, shape in (("small", (8, 8)), ("large", (16, 16))):
        documents.put_array(path, new_array(shape, "u2", zarr_format=2, compressor=compressor))
        StoredArray(documents, path).write(..., 3)
    for path, other in (("small", "large"), ("large", "small")):
        foreign = (tmp_path / other / "0/0").read_bytes()
        with pytest.raises(ChunkError):
            decode(coding_of(documents.array(path)), foreign)


@pytest.mark.parametrize("at", range(0, 68, 7))
def test_a_flipped_byte_under_a_checksum_is_noticed(opened, at):
    data = np.arange(32, dtype="u2").reshape(4, 8)
    array = opened(data, zarr_format=3, chunks=(4, 8), compressors=[Crc32cCodec()])
    file = Path(array.documents.storage.root) / "0/c/0/0"
    content = bytearray(file.read_bytes())
    assert len(content) == 68
    content[at] ^= 4
    file.write_bytes(content)
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        array.read()


@pytest.mark.parametrize("typesize", [1, 2, 4, 8])
@pytest.mark.parametrize("cname", ["zstd", "lz4", "lz4hc", "zlib", "blosclz"])
def test_blocks_are_compressed_to_the_bytes_of_numcodecs(cname, typesize):
    values = np.random.default_rng(0).poisson(50, 9_001).astype(f"u{typesize}")
    for level, shuffle, blocksize in [(1, 2, 0), (5, -1, 0), (9, 0, 1 << 12), (0, 1, 0)]:
        compress = blosc_compressor(cname, level, shuffle, blocksize, typesize)
        if compress is None:  # numcodecs is built in another way: it compresses
            pytest.skip("the c-blosc of numcodecs cannot be called")
        with ThreadPoolExecutor(1) as thread:  # on the main thread numcodecs uses threads of its own
            codec = numcodecs.Blosc(cname, level, shuffle, blocksize)
            assert compress(values) == thread.submit(codec.encode, values).result(), (level, shuffle)


@pytest.mark.parametrize("wrong", [{"clevel": 10}, {"clevel": "5"}, {"cname": "snappy"}, {"blocksize": -1}])
def test_settings_that_c_blosc_would_refuse_are_left_to_numcodecs(wrong):
    settings = {"name": "zstd", "level": 1, "shuffle": 2, "blocksize": 0, "typesize": 2}
    names = {"clevel": "level", "cname": "name"}
    assert blosc_compressor(**settings | {names.get(k, k): v for k, v in wrong.items()}) is None


def test_without_the_library_numcodecs_compresses(monkeypatch):
    values = np.arange(1000, dtype="u2").reshape(10, 100)
    meta = new_array((10, 100), "u2", zarr_format=3, compressor="blosc")
    encoded = coding_of(meta).encode(values)
    monkeypatch.setattr(coding, "_blosc_library", lambda: None)
    meta = new_array((10, 100), "u2", zarr_format=3, compressor="blosc", dimension_names=["y", "x"])
    assert coding_of(meta).encode(values) == encoded


BLOCKS = [
    {"blocksize": 0},
    {"blocksize": 1 << 12, "typesize": 1},
    {"blocksize": 3000, "typesize": 4, "cname": "lz4"},
    {"blocksize": 1 << 16, "shuffle": "noshuffle"},
    {"clevel": 0},
]


@pytest.mark.parametrize("shards", [None, (8, 128, 256)])
@pytest.mark.parametrize("settings", BLOCKS)
def test_parts_of_a_chunk_are_those_of_the_image(opened, monkeypatch, settings, shards):
    # Each is read twice, with the cache and without: nothing is cached of files that changed just now.
    data = np.random.default_rng(0).integers(0, 300, (8, 120, 256)).astype("u2")
    codec = BloscCodec(**{"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "typesize": 2, **settings})
    array = opened(data, zarr_format=3, chunks=(8, 64, 128), shards=shards, compressors=[codec])
    for settled in (chunk_files._SETTLED_NS, -(10**18)):
        monkeypatch.setattr(chunk_files, "_SETTLED_NS", settled)
        for z in (3, slice(6, 8), slice(0, 8, 7), [1, 2], slice(None)):
            for y, x in ((slice(None), slice(None)), (slice(60, 70), slice(100, 140)), (5, [3, 200])):
                np.testing.assert_array_equal(array.read((z, y, x)), data[z, y, x])


def test_a_plane_is_read_from_a_chunk_that_is_damaged_elsewhere(opened, tmp_path):
    """A plane is decoded by itself, where blosc has compressed the chunk in blocks."""
    data = np.random.default_rng(0).integers(0, 300, (8, 128, 256)).astype("u2")
    codec = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2, blocksize=1 << 16)
    array = opened(data, zarr_format=3, chunks=data.shape, compressors=[codec])
    chunk = tmp_path / "s.zarr/0/c/0/0/0"
    stored = bytearray(chunk.read_bytes())
    last_block = int.from_bytes(stored[16 + 4 * 7 : 16 + 4 * 8], "little")
    stored[last_block : last_block + 40] = b"\xff" * 40
    chunk.write_bytes(stored)
    np.testing.assert_array_equal(array.read((0, ...)), data[0])
    with pytest.raises(DamagedDataError, match="0/c/0/0/0"):
        array.read((7, ...))
    with pytest.raises(DamagedDataError, match="0/c/0/0/0"):
        array.read()
