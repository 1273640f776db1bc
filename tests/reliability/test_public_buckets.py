"""Law: what reads works in a public bucket, without credentials and without the permission to list."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.adapters.png import write_preview

URL = "s3://bucket/plate.zarr"
PUBLIC = {"anon": True}


@pytest.mark.filterwarnings("ignore:.*403 is read as absent:UserWarning")
def test_what_reads_works_without_credentials_and_without_lists(service, version, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(1, 999, (2, 1, 1, 32, 32)).astype("u2")
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["a"], version=version
    ) as plate:
        for name, image in (("A/1/0", pixels), ("B/2/0", pixels[:1])):
            position = plate.create_position(*name.split("/"))
            array = position.create_zeros("0", pixels.shape, "u2", chunks=(1, 1, 1, 16, 16))
            array[: len(image)] = image
    service.put_folder(tmp_path / "plate.zarr", "/bucket/plate.zarr")
    service.absent, service.lists = 403, False
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    plate = lamella.open_ome_zarr(URL, storage_options=PUBLIC)
    assert [path for path, _ in plate.positions()] == ["A/1/0", "B/2/0"]
    assert len(plate.table()) == 2
    assert np.array_equal(plate["A/1/0"]["0"][...], pixels)
    assert not plate["B/2/0"]["0"][1].any()
    assert np.array_equal(plate["A/1/0"].to_xarray().values, pixels)
    write_preview(plate, tmp_path / "plate.png")
    counts = lamella.status(URL, storage_options=PUBLIC).counts
    assert (counts["written"], counts["partly"], counts["damaged"], counts["unread"]) == (1, 1, 0, 0)
    assert lamella.validate(URL, storage_options=PUBLIC)
    assert lamella.verify(URL, storage_options=PUBLIC)
    assert lamella.checksum(URL, storage_options=PUBLIC)
    lamella.copy_store(URL, tmp_path / "copy.zarr", storage_options=PUBLIC)
    assert np.array_equal(lamella.open_ome_zarr(tmp_path / "copy.zarr")["A/1/0"]["0"][...], pixels)
    assert {method for method, _ in service.requests} <= {"GET", "HEAD", "LIST"}
