"""Law: where chunks have a checksum, a flipped bit is an error that names the file; everybody else still reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamella
from lamella.errors import DamagedDataError, InvalidArgumentError
from lamella.store.pixels.arrays import StoredArray

PIXELS = np.random.default_rng(3).poisson(70, (1, 1, 4, 16, 16)).astype("uint16") + 1

LAYOUTS = {
    "shards": {"chunks": (1, 1, 2, 8, 8), "shards_ratio": (1, 1, 2, 2, 2)},
    "chunks": {"chunks": (1, 1, 4, 8, 8), "checksum": True},
}


def made(tmp_path, version="0.5", **options):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version=version
    ) as position:
        position.create_image("0", PIXELS, **options)
    return path


def files_of(path):
    return [file for file in sorted(Path(path, "0", "c").rglob("*")) if file.is_file()]


@pytest.mark.parametrize("engine", ["files", "zarr", None])
@pytest.mark.parametrize("compressor", ["blosc", "zstd", "gzip", "none"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, layout, compressor, engine):
    path = made(tmp_path, compressor=compressor, **LAYOUTS[layout])
    image = lamella.open_ome_zarr(path)["0"]
    file = files_of(path)[0]
    data = file.read_bytes()
    for at in range(0, len(data), max(1, len(data) // 23)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises(DamagedDataError, match=r"0/c/0/0/0/0/0"):
            StoredArray(image.node_path.store_handle.documents, "0", engine=engine).read()
    file.write_bytes(data)
    np.testing.assert_array_equal(image[:], PIXELS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_libraries_read_arrays_with_checksums(tmp_path, layout):
    import tensorstore
    import zarr

    path = made(tmp_path, **LAYOUTS[layout])
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/0/"}}
    np.testing.assert_array_equal(tensorstore.open(spec).result().read().result(), PIXELS)
    np.testing.assert_array_equal(zarr.open_array(path / "0", mode="r")[:], PIXELS)


def codecs(path, level="0"):
    return lamella.open_ome_zarr(path)[level].meta.codecs


def test_new_shards_have_checksums_and_other_arrays_where_asked(tmp_path):
    assert codecs(made(tmp_path / "a", **LAYOUTS["shards"]))[-1] == "crc32c"
    assert "crc32c" not in codecs(made(tmp_path / "b", **LAYOUTS["shards"], checksum=False))
    assert "crc32c" not in codecs(made(tmp_path / "c", chunks=(1, 1, 4, 8, 8)))
    assert codecs(made(tmp_path / "d", **LAYOUTS["chunks"]))[-1] == "crc32c"


def test_levels_copies_and_rechunked_arrays_keep_checksums(tmp_path):
    path = made(tmp_path, **LAYOUTS["chunks"])
    lamella.open_ome_zarr(path, mode="r+").compute_pyramid(levels=2)
    lamella.Plate.from_positions(tmp_path / "p.zarr", {"A/1/0": lamella.open_ome_zarr(path)}).close()
    lamella.rechunk(path, tmp_path / "r.zarr", chunks=(4, 4))
    assert {codecs(path, "1"), codecs(tmp_path / "p.zarr" / "A/1/0"), codecs(tmp_path / "r.zarr")} == {
        codecs(path)
    }


def test_what_goes_to_zarr_v2_leaves_its_checksums_and_keeps_its_pixels(tmp_path):
    path = made(tmp_path, **LAYOUTS["shards"])
    lamella.upgrade(path, "0.4", tmp_path / "old.zarr")
    np.testing.assert_array_equal(lamella.open_ome_zarr(tmp_path / "old.zarr")["0"][:], PIXELS)


def test_zarr_v2_has_no_checksums_to_ask_for(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"checksum=True needs version 0\.5"):
        made(tmp_path, version="0.4", chunks=(1, 1, 4, 8, 8), checksum=True)
