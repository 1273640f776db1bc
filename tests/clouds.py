"""What must hold on the stores of every cloud."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamella
from lamella.errors import StoreExistsError

PIXELS = np.arange(64 * 64, dtype="u2").reshape(1, 1, 1, 64, 64)


def create_edit_rename_check_and_delete(url: str, options: dict[str, Any]) -> None:
    """Make a plate at a URL where nothing is, change all that can be changed, check it, and delete its well."""
    pixels = PIXELS.copy()
    shards = {"chunks": (1, 1, 1, 16, 16), "shards_ratio": (1, 1, 1, 4, 4)}
    with lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options) as plate:
        position = plate.create_position("A", "1", "0")
        position.create_image("0", pixels, **shards)
        position["0"][0, 0, 0, 3:9, 3:9] = pixels[0, 0, 0, 3:9, 3:9] = 7
        position.compute_pyramid(levels=2)
        position.rename_channel("a", "b")
        plate.rename_well("A/1", "B/2")
    with pytest.raises(StoreExistsError):
        lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5", storage_options=options)
    plate = lamella.open_ome_zarr(url, storage_options=options)
    assert np.array_equal(plate["B/2/0"]["0"][...], pixels)
    assert np.array_equal(plate["B/2/0"]["0"][0, 0, 0, 5:20, 30:40], pixels[0, 0, 0, 5:20, 30:40])
    assert plate["B/2/0"].channel_names == ["b"]
    assert lamella.validate(url, pixels=True, storage_options=options)
    assert lamella.verify(url, storage_options=options)
    with lamella.open_ome_zarr(url, mode="r+", storage_options=options) as plate:
        del plate["B/2"]
        assert plate.documents.storage.list("") == ["zarr.json"]
