"""Law: a plate or image gets its name from the last part of where it is, at a URL as in a folder, or a plain one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.reliability.test_services_that_fail import reach
from zarr.storage import FsspecStore, MemoryStore

import lamella


@pytest.fixture(params=["folder", "memory URL", "memory URL/", "fsspec store", "s3 URL", "obstore s3"])
def screen(request, tmp_path, service):
    """A new store called ``screen 1.ome.zarr`` in places of each kind."""
    return {
        "folder": str(tmp_path / "screen 1.ome.zarr"),
        "memory URL": f"memory://{tmp_path.name}/screen 1.ome.zarr",
        "memory URL/": f"memory://{tmp_path.name}/screen 1.ome.zarr/",
        "fsspec store": FsspecStore.from_url(f"memory://{tmp_path.name}/screen 1.ome.zarr"),
        "s3 URL": "s3://bucket/plates/screen 1.ome.zarr",
        "obstore s3": reach(service, "obstore", "bucket/plates/screen 1.ome.zarr"),
    }[request.param]


def test_a_new_plate_is_named_after_its_place(screen, version):
    plate = lamella.open_ome_zarr(screen, layout="hcs", mode="w-", channel_names=["a"], version=version)
    plate.create_position("A", "1", "0").create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    assert lamella.open_ome_zarr(screen).metadata.name == "screen 1"
    plate.reindex()
    assert lamella.open_ome_zarr(screen).metadata.name == "screen 1"


def test_a_new_image_is_named_after_its_place(screen, version):
    position = lamella.open_ome_zarr(screen, layout="fov", mode="w-", channel_names=["a"], version=version)
    position.create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    assert lamella.open_ome_zarr(screen).metadata.multiscales[0].name == "screen 1"


def test_what_has_no_place_has_a_plain_name():
    for layout, name in (("hcs", "plate"), ("fov", "image")):
        store = MemoryStore()
        node = lamella.open_ome_zarr(store, layout=layout, mode="w-", channel_names=["a"], version="0.5")
        image = node if layout == "fov" else node.create_position("A", "1", "0")
        image.create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
        meta = lamella.open_ome_zarr(store).metadata
        assert (meta.name if layout == "hcs" else meta.multiscales[0].name) == name


def test_a_store_at_a_url_shows_its_url_without_secrets(service, tmp_path):
    url = f"{service.endpoint.replace('//', '//me:secret@')}/none.zarr"
    with pytest.raises(lamella.errors.LamellaError) as caught:
        lamella.open_ome_zarr(url)
    assert "/none.zarr" in str(caught.value)
    assert "secret" not in str(caught.value)
