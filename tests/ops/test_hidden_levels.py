"""Law: a level that a service does not return is an error where lamella chooses the level, and never skipped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lamella
from lamella.adapters.png import write_preview
from lamella.errors import StorageError
from lamella.ops.view.level_arrays import drawable_levels
from lamella.ops.view.scene import view_scene
from lamella.ops.view.tiles import Tiles, View
from lamella.ops.view.volumes import read_volume

URL = "s3://bucket/image.zarr"


def tile_of(image):
    """Return a tile of the viewer; raise what it says of its only field."""
    with ThreadPoolExecutor(2) as threads:
        tile = Tiles(view_scene(image), threads).tile(1, 0, 0, View(0, 0), channels=[0])
    for _, reason in tile.damaged:
        raise StorageError(reason)
    return tile.planes


CALLS = {
    "preview": lambda image, folder: write_preview(image, folder / "a.png", size=100),
    "contrast": lambda image, _: image.compute_contrast(),
    "tile": lambda image, _: tile_of(image),
    "volume": lambda image, _: read_volume(view_scene(image), 0, 0, [0], None),
    "levels of other viewers": lambda image, _: drawable_levels(image),
}
"""What chooses the level by itself."""


@pytest.mark.parametrize("name", CALLS)
def test_a_level_that_a_service_hides_is_named_and_one_that_is_gone_is_left_out(
    service, version, tmp_path, name
):
    with lamella.open_ome_zarr(
        tmp_path / "image.zarr", layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as image:
        pixels = np.arange(700 * 700, dtype="uint32").reshape(1, 1, 1, 700, 700) // 10
        image.create_image("0", pixels, chunks=(1, 1, 1, 700, 700))
        image.compute_pyramid(3)
        image.compute_contrast()
    service.put_folder(tmp_path / "image.zarr", "/bucket/image.zarr")
    service.fail(403, path=r"/[12]/(zarr\.json|\.zarray|\.zattrs)$")
    with pytest.raises(StorageError, match=f"{URL}/[12]/"):
        CALLS[name](lamella.open_ome_zarr(URL, mode="r+"), tmp_path)
    service.heal()
    CALLS[name](lamella.open_ome_zarr(URL, mode="r+"), tmp_path)
    for key in [key for key in service.objects if "zarr/1/" in key or "zarr/2/" in key]:
        del service.objects[key]
    CALLS[name](lamella.open_ome_zarr(URL, mode="r+"), tmp_path)
