"""Law: what cannot be decoded is an error that names it, and a write that covers it whole repairs it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import (
    DamagedDataError,
    StorageError,
)
from lamella.store.pixels.arrays import StoredArray


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\x00" * 400])
def test_a_file_covered_whole_is_replaced_without_being_read(make_array, layout, damage, values, files_of):
    shape, options = layout
    array = make_array(shape, **options)
    data = values(shape, "u2")
    array.write(..., data)
    root = Path(array.documents.storage.root) / "0"
    for name in files_of(array):
        (root / name).write_bytes(damage)
    files = array.meta.files
    for place in np.ndindex(array.meta.grid):  # one write per file, edge files too
        region = tuple(slice(k * f, (k + 1) * f) for k, f in zip(place, files, strict=True))
        array.write(region, data[region])
    np.testing.assert_array_equal(array.read(), data)


def test_one_write_over_damaged_files_repairs_those_that_it_covers(make_array, layout, values, files_of):
    shape, options = layout
    array = make_array(shape, **options)
    data = values(shape, "u2")
    array.write(..., data)
    root = Path(array.documents.storage.root) / "0"
    for name in files_of(array):
        (root / name).write_bytes(b"garbage")
    array.write(..., data)
    np.testing.assert_array_equal(array.read(), data)


def damage(array: StoredArray, name: str, how: str) -> None:
    root = Path(array.documents.storage.root) / array.path
    content = (root / name).read_bytes()
    changed = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "bad index": content[:-3] + bytes(b ^ 255 for b in content[-3:]),
        "bad header": bytes(b ^ 255 for b in content[:16]) + content[16:],
    }[how]
    (root / name).write_bytes(changed)


@pytest.mark.parametrize("how", ["truncated", "empty"])
def test_a_damaged_file_is_named(make_array, layout, how, files_of):
    shape, options = layout
    array = make_array(shape, "f8", **options)
    array.write(..., np.random.default_rng(0).random(shape))
    name = sorted(files_of(array))[-1]
    damage(array, name, how)
    with pytest.raises(DamagedDataError, match=f"array .*/0: .*chunk in '.*/0/{name}'"):
        array.read()


@pytest.mark.parametrize("zarr_format", [3])
def test_an_inner_chunk_that_states_another_length_is_noticed(make_array):
    # numcodecs alone would decode it from whatever lies behind it in memory.
    array = make_array((8, 8), chunks=(4, 4), shards=(8, 8))
    array.write(..., np.arange(64).reshape(8, 8))
    path = Path(array.documents.storage.root) / "0/c/0/0"
    good = path.read_bytes()
    path.write_bytes(good[:12] + (10**6).to_bytes(4, "little") + good[16:])
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        array.read((slice(0, 4), slice(0, 4)))
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        array.read()


def test_a_chunk_with_a_damaged_header_is_named(make_array, unsharded_layout, files_of):
    shape, options = unsharded_layout
    array = make_array(shape, "f8", **options)
    array.write(..., np.random.default_rng(0).random(shape))
    name = sorted(files_of(array))[-1]
    damage(array, name, "bad header")
    with pytest.raises(DamagedDataError, match=f"array .*/0: .*chunk in '.*/0/{name}'"):
        array.read()


@pytest.mark.parametrize("zarr_format", [3])
def test_a_shard_with_a_damaged_index_is_named(make_array, values):
    array = make_array((8, 8), chunks=(4, 4), shards=(8, 8))
    array.write(..., values((8, 8), "u2"))
    damage(array, "c/0/0", "bad index")
    with pytest.raises(DamagedDataError, match="0/c/0/0"):
        array.read((0, 0))
    with pytest.raises(DamagedDataError, match=r"Cannot write the pixels of array .*/0: "):
        array.write((0, 0), 1)


@pytest.mark.parametrize("zarr_format", [3])
def test_every_flipped_byte_of_a_shard_index_is_noticed(make_array):
    array = make_array((8, 8), chunks=(4, 4), shards=(8, 8))
    array.write(..., np.arange(64).reshape(8, 8))
    path = Path(array.documents.storage.root) / "0/c/0/0"
    good = path.read_bytes()
    for place in range(len(good) - 68, len(good), 5):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with pytest.raises(DamagedDataError, match="0/c/0/0"):
            array.read()
    path.write_bytes(good)
    assert array.read().sum() == 64 * 63 // 2


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
@pytest.mark.parametrize("index", [..., (slice(None), slice(1, None)), ([0, 4, 8], slice(None))])
def test_a_disk_that_refuses_leaves_every_file_as_it_was(make_array, index, files_of):
    import resource

    array = make_array((12, 64, 64), "f8", chunks=(4, 64, 64))
    array.write(..., 1)
    before = files_of(array)
    noise = np.random.default_rng(0).random((12, 64, 64))[index]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match=r"Cannot write .*File too large") as caught:
            array.write(index, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert files_of(array) == before  # no litter, and nothing lands after the error
    array.write(index, noise)
    np.testing.assert_array_equal(array.read(index), noise)


def test_a_missing_chunk_reads_as_the_fill_value(make_array, layout, values, files_of):
    shape, options = layout
    array = make_array(shape, fill_value=3, **options)
    array.write(..., values(shape, "u2"))
    for name in files_of(array):
        (Path(array.documents.storage.root) / "0" / name).unlink()
    np.testing.assert_array_equal(array.read(), np.full(shape, 3, "u2"))


def test_an_unknown_codec_leaves_the_metadata_readable(make_array, zarr_format, engine):
    array = make_array((4, 4))
    path = Path(array.documents.storage.root) / "0" / ("zarr.json" if zarr_format == 3 else ".zarray")
    document = json.loads(path.read_text())
    if zarr_format == 3:
        document["codecs"][1] = {"name": "from_the_future", "configuration": {}}
    else:
        document["compressor"] = {"id": "from_the_future"}
    path.write_text(json.dumps(document))
    again = StoredArray(array.documents, "0", engine=engine)
    assert again.meta.shape == (4, 4)
    with pytest.raises(DamagedDataError, match=r"from_the_future.*metadata can be read"):
        again.read()


def test_every_reader_of_a_damaged_shard_is_told_of_the_damage(tmp_path):
    from lamella.store.files.local import LocalStorage
    from lamella.store.pixels.chunk_files import ChunkFile
    from lamella.store.pixels.shard_file import IndexLayout

    (tmp_path / "shard").write_bytes(b"too short for an index")
    file = ChunkFile(LocalStorage(tmp_path), "shard", IndexLayout((4,)), chunk_count=2)
    for number in (0, 1):
        with pytest.raises(DamagedDataError, match="shard"):
            file.chunk(number)
