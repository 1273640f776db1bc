"""Laws of chunk keys that other libraries have broken: what is new is nested, what is there is read as declared."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import lamella
from lamella.models import axes

PIXELS = np.arange(2 * 9 * 10, dtype="uint16").reshape(2, 9, 10) + 1
KEYS = {
    "default with dots": {"name": "default", "separator": "."},
    "default with slashes": {"name": "default", "separator": "/"},
    "v2 with dots": {"name": "v2", "separator": "."},
    "v2 with slashes": {"name": "v2", "separator": "/"},
}


@pytest.mark.parametrize("store", ["folder", "memory"])
def test_chunks_are_nested_whatever_writes_them(tmp_path, version, store):
    # iohub's backends disagree: "0.0.0" by one, "0/0/0" by the other.
    kept = {}
    target = zarr.storage.MemoryStore(kept) if store == "memory" else tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        target, layout="fov", mode="w", channel_names=["DAPI", "GFP"], axes=axes("cyx"), version=version
    ) as position:
        position.create_image("0", PIXELS, chunks=(1, 4, 10))
    names = kept or {
        file.relative_to(tmp_path / "a.zarr").as_posix() for file in tmp_path.rglob("*") if file.is_file()
    }
    chunks = {name[2:] for name in names if name.startswith("0/")}
    start = "" if version == "0.4" else "c/"
    expected = {f"{start}{channel}/{row}/0" for channel in range(2) for row in range(3)}
    assert chunks - {".zarray", ".zattrs", "zarr.json"} == expected


def test_an_array_that_names_no_separator_has_dots(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    stored = root.create_array(
        "0",
        shape=PIXELS.shape,
        chunks=(1, 4, 10),
        dtype="<u2",
        chunk_key_encoding={"name": "v2", "separator": "."},
    )
    stored[...] = PIXELS
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    document = json.loads(file.read_text())
    del document["dimension_separator"]  # as before Zarr 2.8
    file.write_text(json.dumps(document))
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}
    image = {"version": "0.4", "axes": [axis.to_json() for axis in axes("cyx")], "datasets": [level]}
    root.attrs["multiscales"] = [image]
    with pytest.warns(lamella.errors.MetadataWarning, match="ST-04"):
        assert lamella.status(tmp_path / "a.zarr").images[0].levels[0].stored == 6
    with lamella.open_ome_zarr(tmp_path / "a.zarr", mode="r+") as position:
        with pytest.warns(lamella.errors.MetadataWarning, match="ST-04"):
            image = position["0"]
        np.testing.assert_array_equal(image[...], PIXELS)
        image[1] = 7
    assert (zarr.open_array(tmp_path / "a.zarr" / "0")[1] == 7).all()
    assert not (file.parent / "1").exists()


@pytest.fixture(params=[*KEYS, "index without a checksum"])
def sharded(request, tmp_path):
    """An image of 0.5 with shards under keys of one kind, by zarr-python."""
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    codecs = {}
    if request.param not in KEYS:
        inner = zarr.codecs.ShardingCodec(chunk_shape=(1, 2, 5), index_codecs=[zarr.codecs.BytesCodec()])
        codecs = {"serializer": inner, "compressors": None, "chunks": (1, 4, 10), "shards": None}
    root.create_array(
        "0",
        shape=PIXELS.shape,
        dtype="uint16",
        chunk_key_encoding=KEYS.get(request.param),
        dimension_names=list("cyx"),
        **({"chunks": (1, 2, 5), "shards": (1, 4, 10)} | codecs),
    )[...] = PIXELS
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}
    image = {"axes": [axis.to_json() for axis in axes("cyx")], "datasets": [level], "name": "cells"}
    root.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return tmp_path / "a.zarr"


def test_shards_are_read_and_written_under_the_keys_that_are_declared(sharded, files):
    names = set(files(sharded))
    expected = PIXELS.copy()
    expected[1, 3:8, 2:] = 9
    with lamella.open_ome_zarr(sharded, mode="r+") as image:
        np.testing.assert_array_equal(image["0"][...], PIXELS)
        np.testing.assert_array_equal(
            image["0"].read_many([(0, slice(3, 6)), (1, slice(4, 7))])[1], PIXELS[1, 4:7]
        )
        image["0"][1, 3:8, 2:] = 9
        np.testing.assert_array_equal(image["0"][...], expected)
    assert set(files(sharded)) == names
    np.testing.assert_array_equal(zarr.open_array(sharded / "0")[...], expected)


def test_shards_under_any_keys_are_counted_and_decoded(sharded):
    (level,) = lamella.status(sharded).images[0].levels
    assert (level.stored, level.expected) == (20, 20)
    assert lamella.verify(sharded).files == 6
    assert not [f for f in lamella.validate(sharded, pixels=True).findings if f.level == "MUST"]


def test_shards_under_any_keys_shrink_with_the_array(sharded):
    with lamella.open_ome_zarr(sharded, mode="r+") as image:
        image["0"].resize((2, 5, 10))
    stored = zarr.open_array(sharded / "0")
    np.testing.assert_array_equal(stored[...], PIXELS[:, :5])
    stored.resize((2, 9, 10))
    assert (stored[:, 8:] == 0).all()


@pytest.mark.parametrize("way", ["to 0.4", "to 0.6", "rechunk", "from_positions", "pyramid"])
def test_shards_under_any_keys_go_along(sharded, tmp_path, way):
    new = tmp_path / "new.zarr"
    if way.startswith("to"):
        lamella.upgrade(sharded, way[3:], new)
    elif way == "rechunk":
        lamella.rechunk(sharded, new, chunks=(2, 3, 10), shards=None)
    elif way == "from_positions":
        with lamella.open_ome_zarr(sharded) as image:
            lamella.Plate.from_positions(new, {"A/1/0": image}).close()
        new = new / "A" / "1" / "0"
    else:
        with lamella.open_ome_zarr(sharded, mode="r+") as image:
            image.compute_pyramid(2, "stride")
            np.testing.assert_array_equal(image["1"][...], PIXELS[:, ::2, ::2])
        new = sharded
    np.testing.assert_array_equal(zarr.open_array(new / "0", mode="r")[...], PIXELS)
    np.testing.assert_array_equal(lamella.open_ome_zarr(new)["0"][...], PIXELS)
