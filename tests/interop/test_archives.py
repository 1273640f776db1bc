"""Law: other libraries read the archives that we pack, and we read theirs."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import lamella

ngff_zarr = pytest.importorskip("ngff_zarr")
iohub = pytest.importorskip("iohub")

PIXELS = np.arange(2 * 64 * 64, dtype="u2").reshape(1, 2, 1, 64, 64)


def test_others_read_an_archive_that_we_packed(tmp_path):
    with lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["a", "b"], version="0.5") as image:
        image["0"] = PIXELS
    path = str(tmp_path / "a.ozx")
    lamella.pack(tmp_path / "a.zarr", path)
    assert np.array_equal(np.asarray(ngff_zarr.from_ngff_zarr(path).images[0].data), PIXELS)
    with iohub.open_ome_zarr(path, mode="r") as position:
        assert np.array_equal(position["0"][...], PIXELS)
    with zarr.storage.ZipStore(path, mode="r") as store:
        assert np.array_equal(zarr.open_group(store, mode="r")["0"][...], PIXELS)


@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
def test_we_read_an_archive_of_ngff_zarr(tmp_path):
    image = ngff_zarr.to_ngff_image(PIXELS[0, :, 0], dims=["c", "y", "x"])
    scales = ngff_zarr.to_multiscales(image, scale_factors=[2], chunks=32)
    ngff_zarr.to_ngff_zarr(str(tmp_path / "b.ozx"), scales, version="0.5")
    found = lamella.open_ome_zarr(tmp_path / "b.ozx")
    assert np.array_equal(found[found.dataset_paths[0]][...], PIXELS[0, :, 0])
