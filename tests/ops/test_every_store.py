"""Law: what works on a folder works on every store that is given: at URLs, in memory, of obstore, fsspec and icechunk.

`make test` looks at a few kinds of stores, and `make test-emulators` at all of them. Sessions of icechunk, which need
Python 3.12, are looked at in ``tests/store/test_icechunk.py`` too.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from tests.store.remote_stores import ALL_KINDS, empty_store

import lamella
from lamella.adapters.png import write_preview
from lamella.errors import StoreExistsError
from lamella.ops.tables.measure import measure_store

PIXELS = np.random.default_rng(0).integers(1, 999, (2, 2, 2, 32, 32)).astype("u2")
SHARDS = {"chunks": (1, 1, 1, 16, 16), "shards_ratio": (1, 1, 1, 2, 2)}


@pytest.fixture(params=ALL_KINDS if os.environ.get("LAMELLA_EMULATORS") else ["s3 URL", "obstore folder"])
def new(request, tmp_path):
    """What returns an empty store of a kind; each call another one."""
    return lambda: empty_store(request.param, tmp_path, request)


@pytest.fixture
def store(new):
    return plate_in(new())


def plate_in(store):
    """Write a plate whose fields lie side by side, and return its store."""
    with lamella.open_ome_zarr(store, "hcs", "w-", ["a", "b"], version="0.5") as plate:
        for field, x in (("A/1/0", 0), ("A/1/1", 32), ("A/2/0", 0)):
            plate.create_position(*field.split("/")).create_image("0", PIXELS, **SHARDS)
            plate.set_positions([{"path": field, "y": 0.0, "x": float(x)}])
    return store


def doubled(block):
    return block * 2


def bright(block):
    return (block[:, 0] > 500).astype("u2")


def test_what_changes_a_plate(store, tmp_path):
    with pytest.raises(StoreExistsError):
        lamella.open_ome_zarr(store, "hcs", "w-", ["a"], version="0.5")
    plate = lamella.open_ome_zarr(store, mode="r+")
    image = plate["A/1/0"]
    image["0"][0, 0, 0, 3:9, 5:20] = 7
    image.compute_pyramid(levels=2)
    image["0"][0, 0, 0, :2, :2] = 9
    image.write_xarray(image.to_xarray())
    image.update_pyramid()
    assert not image.stale_levels
    image.labels.create("c", bright(PIXELS))  # the name of the chunk of an array without axes
    image.labels["c"].set_colors({1: (255, 0, 0)})
    image.tables["areas"] = {"area": [1.0, 2.0]}
    image.tables.write_rois("parts", {"left": {"x": (0, 8)}})
    plate.tables["wells"] = {"well": ["A/1"]}
    image.append_channel("c")
    image.delete_channel("c")
    plate.rename_channel("b", "d")
    plate.set_channel("d", color="00FF00")
    with pytest.warns(UserWarning, match="parts contains regions"):
        plate.set_scale({"y": 0.5, "x": 0.5})
    plate.compute_contrast()
    plate["A/2/0"]["0"].append(PIXELS[:1])
    plate["A/2/0"]["0"].resize((1, *PIXELS.shape[1:]))
    plate["A/2/0"]["0"].resize(PIXELS.shape)
    with plate.create_position("B", "1", "0").stream(
        "0", (32, 32), "uint16", order="cz", lengths={"c": 2, "z": 1}
    ) as frames:
        for plane in PIXELS[0, :, 0]:
            frames.append(plane)
    plate.map(bright, over="regions", name="labels/bright", halo=4, positions=["A/1/1"])
    plate.rename_well("A/2", "C/3")
    plate.rename_position("C/3/0", "C/3/5")
    plate.rename_well("C/3", "A/2")  # where it was before
    plate.add({"D/1/0": lamella.open_ome_zarr(store)["A/1/1"]})
    del plate["A/2/5"]
    del plate["D/1"]
    plate.reindex()
    assert measure_store(store, "c", ["area"]) == {"A/1/0": 2}
    lamella.open_ome_zarr(store, mode="r+").zattrs["ome"] = {**plate.zattrs["ome"], "version": "0.5.2"}
    assert lamella.repair(store, backup=tmp_path / "backup").after
    found = lamella.open_ome_zarr(store)
    assert sorted(path for path, _ in found.positions()) == ["A/1/0", "A/1/1", "B/1/0"]
    expected = PIXELS.copy()
    expected[0, 0, 0, 3:9, 5:20], expected[0, 0, 0, :2, :2] = 7, 9
    assert np.array_equal(found["A/1/0"]["0"][...], expected)
    assert list(found["A/1/0"].tables) == ["areas", "parts", "c"]
    assert found["A/1/1"].labels["bright"]["0"][...].any()
    assert found["B/1/0"]["0"][0, :, 0].tolist() == PIXELS[0, :, 0].tolist()
    assert lamella.validate(store, pixels=True)


def test_what_reads_a_plate(store, tmp_path):
    plate = lamella.open_ome_zarr(store)
    assert len(plate.table()) == 3
    image = plate["A/1/0"]
    assert repr(plate)
    assert plate._repr_html_()
    assert np.array_equal(image["0"].dask_array()[0].compute(), PIXELS[0])
    assert np.array_equal(image.to_xarray().values, PIXELS)
    assert plate.to_datatree() is not None
    assert plate.mosaic("A/1")[...].shape == (2, 2, 2, 32, 64)
    assert (
        plate.map(lambda position: int(position["0"][0, 0, 0, 0, 0])).values["A/2/0"] == PIXELS[0, 0, 0, 0, 0]
    )
    write_preview(plate, tmp_path / "plate.png")
    assert len(lamella.export(store, tmp_path / "files")) == 6
    assert lamella.status(store).counts["written"] == 3
    assert lamella.verify(store)
    assert lamella.verify(store, manifest=_manifest(store, tmp_path))
    assert lamella.validate(store, pixels=True)
    assert lamella.copy_store(store, tmp_path / "copy.zarr")
    lamella.pack(store, tmp_path / "plate.ozx")
    for copy in ("copy.zarr", "plate.ozx"):
        assert np.array_equal(lamella.open_ome_zarr(tmp_path / copy)["A/2/0"]["0"][...], PIXELS)
    with lamella.view(store, browser=False) as viewer:
        assert viewer.url


def _manifest(store, tmp_path):
    lamella.checksum(store, tmp_path / "sums")
    return tmp_path / "sums"


def test_what_makes_a_new_store(new, tmp_path):
    source = tmp_path / "source.zarr"
    with lamella.open_ome_zarr(source, "hcs", "w-", ["a", "b"], version="0.5") as plate:
        for field, x in (("A/1/0", 0), ("A/1/1", 32)):
            plate.create_position(*field.split("/")).create_image("0", PIXELS, **SHARDS)
            plate.set_positions([{"path": field, "y": 0.0, "x": float(x)}])
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0], photometric="minisblack", metadata={"axes": "ZYX"})
    lamella.pack(source, tmp_path / "a.ozx")
    for makes in (
        lambda store: lamella.copy_store(source, store),
        lambda store: lamella.copy_store(source, store, fields=["A/1/0"], levels=[0]),
        lambda store: lamella.unpack(tmp_path / "a.ozx", store),
        lambda store: lamella.upgrade(source, "0.6", store),
        lambda store: lamella.rechunk(source, store, chunks=(8, 8)),
        lambda store: lamella.merge([source], store),
        lambda store: lamella.open_ome_zarr(source).subset(store, wells=["A/1"]),
        lambda store: lamella.Plate.from_positions(store, {"A/1/0": lamella.open_ome_zarr(source)["A/1/0"]}),
        lambda store: lamella.concatenate_channels([source, _renamed(source, tmp_path)], store),
        lambda store: lamella.open_ome_zarr(source).map(lambda block: block, over="regions", output=store),
    ):
        store = new()
        makes(store)
        assert np.array_equal(lamella.open_ome_zarr(store)["A/1/0"]["0"][:, :2], PIXELS)
        assert lamella.validate(store, pixels=True)
    store = new()
    lamella.merge([source], store)
    lamella.merge([store], again := new())  # as a source
    lamella.copy_store(source, again, overwrite=True)
    assert len(lamella.open_ome_zarr(again).table()) == 2
    for makes, shape in (
        (lambda store: lamella.convert(tmp_path / "a.tif", store), (1, 2, 32, 32)),
        (lambda store: lamella.write_image(store, PIXELS[0], "czyx"), (2, 2, 32, 32)),
        (lambda store: lamella.open_ome_zarr(source).mosaic("A/1").write(store), (2, 2, 2, 32, 64)),
    ):
        store = new()
        makes(store)
        assert lamella.open_ome_zarr(store)["0"].shape == shape
        with pytest.raises(StoreExistsError):
            makes(store)


def _renamed(source, tmp_path):
    """The same plate, with other names of channels."""
    path = tmp_path / "renamed.zarr"
    if not path.exists():
        lamella.copy_store(source, path)
        with lamella.open_ome_zarr(path, mode="r+") as plate:
            plate.rename_channel("a", "c")
            plate.rename_channel("b", "d")
    return path


def test_two_handles_of_a_store_exclude_each_other_and_see_each_others_changes(store):
    handles = [lamella.open_ome_zarr(store, mode="r+") for _ in range(2)]
    together = threading.Barrier(2)

    def change(number):
        together.wait(60)
        for n in range(4):
            handles[number].zattrs[f"{number} {n}"] = n
            handles[number]["A/1/0"]["0"][n // 2, n % 2, number] = 100 * number + n  # of one shard
        handles[number].create_position("E", str(number), "0")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change, range(2)))
    for handle in (*handles, lamella.open_ome_zarr(store)):
        assert len([key for key in handle.zattrs if key[0] in "01"]) == 8
        assert {"E/0", "E/1"} <= {path for path, _ in handle.wells()}
        assert handle["A/1/0"]["0"][..., 0, 0].ravel().tolist() == [0, 100, 1, 101, 2, 102, 3, 103]
