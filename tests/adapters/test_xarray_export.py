"""Positions and plates as labelled arrays, and through xarray's own door."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
import tomllib
import warnings
from importlib import import_module

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

import lamella
from lamella.adapters.xarray_backend import LamellaBackend
from lamella.models import TransformationMeta, axes

AXIS_SETS = ("yx", "zyx", "cyx", "tyx", "tczyx", "tcyx")
LENGTHS = {"t": 3, "c": 2, "z": 4, "y": 16, "x": 12}


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.fixture
def position(version):
    return new_position(version)


def new_position(version, names="tczyx"):
    position = lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/image.zarr",
        layout="fov",
        mode="w",
        channel_names=["DAPI", "GFP"] if "c" in names else None,
        axes=axes(names),
        version=version,
    )
    scale = [{"c": 1.0}.get(name, 0.5) for name in names]
    shift = [{"c": 0.0, "x": -3.0}.get(name, 2.0) for name in names]
    moves = [
        TransformationMeta(type="scale", scale=scale),
        TransformationMeta(type="translation", translation=shift),
    ]
    shape = tuple(LENGTHS[name] for name in names)
    position.create_image("0", np.arange(np.prod(shape), dtype="uint32").reshape(shape), transform=moves)
    return position


def edit_document(position, change):
    root = pathlib.Path(position.zgroup.store.root)
    file = root / (".zattrs" if position.version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    change(document if position.version == "0.4" else document["attributes"])
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("names", AXIS_SETS)
def test_dims_coordinates_and_units(version, names):
    position = new_position(version, names)
    found = position.to_xarray()
    assert found.dims == tuple(names)
    np.testing.assert_array_equal(found.values, position.data.numpy())
    for name in names:
        coordinate = found.coords[name]
        if name == "c":
            assert coordinate.values.tolist() == ["DAPI", "GFP"]
            assert coordinate.attrs == {}
            continue
        start = -3 if name == "x" else 2
        np.testing.assert_array_equal(coordinate.values, start + 0.5 * np.arange(LENGTHS[name]))
        assert coordinate.attrs == {"units": "second" if name == "t" else "micrometer"}
    assert found.attrs == {}


def test_pixels_are_read_when_computed(position):
    found = position.to_xarray()
    assert dask.is_dask_collection(found)
    position.data[0, 0, 0, 0, 0] = 7
    assert int(found[0, 0, 0, 0, 0]) == 7


def test_fov_and_level_transforms_are_composed(position):
    position.set_transform("*", [TransformationMeta(type="scale", scale=[1, 1, 2, 2, 2])])
    assert position.to_xarray().coords["z"].values.tolist() == [4, 5, 6, 7]


def test_the_finest_level_whatever_its_name(version):
    position = lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/a.zarr", layout="fov", mode="w", channel_names=["a"], version=version
    )
    position["full"] = np.ones((1, 1, 1, 4, 4), "uint8")
    assert position.to_xarray().shape == (1, 1, 1, 4, 4)


def test_attrs_that_iohub_stored_are_read(position):
    # As iohub 0.3.11 writes them, seen by running it.
    edit_document(
        position, lambda attributes: attributes.update(iohub={"xarray_attrs": {"units": "nm", "n": [1]}})
    )
    again = lamella.open_ome_zarr(position.zgroup.store.root, mode="r+")
    assert again.to_xarray().attrs == {"units": "nm", "n": [1]}
    again.write_xarray(again.to_xarray().assign_attrs(n=[2]))
    assert again.to_xarray().attrs == {"units": "nm", "n": [2]}
    assert again.zattrs["iohub"] == {"xarray_attrs": {"units": "nm", "n": [1]}}


def test_images_without_channel_names_get_numbered_ones(position):
    edit_document(position, lambda attributes: attributes.get("ome", attributes).pop("omero"))
    again = lamella.open_ome_zarr(position.zgroup.store.root)
    assert again.to_xarray().coords["c"].values.tolist() == ["channel_0", "channel_1"]


def test_an_array_of_fewer_axes_than_the_metadata_is_matched_from_the_last(position):
    root = pathlib.Path(position.zgroup.store.root)
    shutil.rmtree(root / "0")
    position.zgroup.create_array("0", data=np.ones((4, 16, 12), "uint8"), chunks=(4, 16, 12))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = lamella.open_ome_zarr(root).to_xarray()
    assert any("AX-05" in str(warning.message) for warning in caught)
    assert found.dims == ("z", "y", "x")
    assert found.coords["x"].values[0] == -3


def test_a_labelled_array_goes_to_a_zarr_store_of_xarray(position):
    found, store = position.to_xarray().rename("cells"), zarr.storage.MemoryStore()
    found.to_dataset().to_zarr(store, zarr_format=2, consolidated=False)
    again = xr.open_zarr(store, zarr_format=2, consolidated=False)["cells"]
    xr.testing.assert_identical(again, found)


# -- plates -----------------------------------------------------------------------------------------------------


@pytest.fixture
def plate(version):
    plate = lamella.open_ome_zarr(
        tempfile.mkdtemp() + "/plate.zarr", layout="hcs", mode="w", channel_names=["DAPI"], version=version
    )
    plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])
    plate["A/1/0"]["0"] = np.full((1, 1, 1, 8, 8), 1, "uint8")
    plate["A/1/1"]["0"] = np.full((3, 1, 2, 4, 4), 2, "uint16")
    return plate


def test_a_plate_is_a_tree_of_rows_wells_and_fields(plate):
    tree = plate.to_datatree()
    assert sorted(node.path for node in tree.subtree if node.level == 2) == ["/A/1", "/B/2"]
    assert tree["A/1/1"]["image"].shape == (3, 1, 2, 4, 4)
    assert tree["A/1/1"]["image"].chunks is not None
    assert int(tree["A/1/0"]["image"].sum()) == 64
    assert not tree["B/2/0"].data_vars


def test_a_damaged_field_raises_or_is_reported(plate):
    root = pathlib.Path(plate.zgroup.store.root)
    shutil.rmtree(root / "A/1/0")
    plate = lamella.open_ome_zarr(root)
    with pytest.raises(lamella.errors.MetadataError, match="A/1"):
        plate.to_datatree()
    tree = plate.to_datatree(on_error="report")
    assert "nothing is stored at" in tree["A/1/0"].attrs["error"]
    assert int(tree["A/1/1"]["image"].sum()) == 192
    with pytest.raises(ValueError, match="on_error"):
        plate.to_datatree(on_error="ignore")


def test_a_plate_opens_through_xarray(plate):
    tree = xr.open_datatree(plate.zgroup.store.root, engine=LamellaBackend)
    assert int(tree["A/1/1"]["image"].sum()) == 192
    with pytest.raises(ValueError, match="not an image"):
        xr.open_dataset(plate.zgroup.store.root, engine=LamellaBackend)
    with pytest.raises(ValueError, match="not a plate"):
        xr.open_datatree(f"{plate.zgroup.store.root}/A/1/0", engine=LamellaBackend)


# -- xr.open_dataset --------------------------------------------------------------------------------------------


def test_the_engine_is_declared_to_xarray():
    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["xarray.backends"]["lamella"].partition(":")
    assert getattr(import_module(module), name) is LamellaBackend


def test_an_image_opens_through_xarray(position):
    found = xr.open_dataset(position.zgroup.store.root, engine=LamellaBackend)
    assert list(found.data_vars) == ["image"]
    xr.testing.assert_equal(found["image"], position.to_xarray())
    assert found["image"].chunks is None


@pytest.mark.parametrize(
    "index",
    [{"t": 1}, {"z": [0, 3], "y": slice(None, None, -2)}, {"x": slice(2, 9, 3), "c": [1]}, {"t": [2, 0, 2]}],
)
def test_lazy_indexing_is_that_of_numpy(position, index):
    found = xr.open_dataset(position.zgroup.store.root, engine=LamellaBackend)["image"]
    xr.testing.assert_equal(found.isel(index), position.to_xarray().compute().isel(index))


def test_only_what_is_indexed_is_read(position):
    found = xr.open_dataset(position.zgroup.store.root, engine=LamellaBackend, cache=False)["image"]
    last = "2/1/0/0/0" if position.version == "0.4" else "c/2/1/0/0/0"
    pathlib.Path(position.zgroup.store.root, "0", last).write_bytes(b"damaged")
    assert found.isel(t=0, c=0).values.size
    with pytest.raises(lamella.errors.DamagedDataError):
        found.isel(t=2, c=1).values


def test_chunks_make_it_dask_in_whole_blocks(position):
    found = xr.open_dataset(position.zgroup.store.root, engine=LamellaBackend, chunks={})["image"]
    assert found.data.chunksize == position.data.dask_array().chunksize
    expected = position.to_xarray().compute()
    scheduler = "processes" if position.version == "0.5" else "threads"
    xr.testing.assert_equal(found.compute(scheduler=scheduler), expected)


def test_levels_by_number_and_name(position):
    position.compute_pyramid(levels=2)
    root = position.zgroup.store.root
    for level in (1, "1"):
        found = xr.open_dataset(root, engine=LamellaBackend, level=level)
        np.testing.assert_array_equal(found["image"].values, position["1"].numpy())
        assert found["x"].values[:2].tolist() == [-2.75, -1.75]


@pytest.mark.parametrize("level", [2, -1, "7", True, 0.0])
def test_a_level_that_is_not_there(position, level):
    with pytest.raises(ValueError, match="has no level"):
        xr.open_dataset(position.zgroup.store.root, engine=LamellaBackend, level=level)


def test_label_images_of_the_same_pixels_come_along(position):
    position.compute_pyramid(levels=2)
    labels = np.zeros((3, 4, 16, 12), "uint16")
    labels[:, :, 4:8] = 5
    position.labels["cells"] = labels
    root = position.zgroup.store.root
    found = xr.open_dataset(root, engine=LamellaBackend)
    assert found["cells"].dims == ("t", "z", "y", "x")
    np.testing.assert_array_equal(found["cells"].values, labels)
    assert "cells" not in xr.open_dataset(root, engine=LamellaBackend, labels=False)
    assert "cells" not in xr.open_dataset(root, engine=LamellaBackend, drop_variables="cells")
    assert int(found["image"].where(found["cells"] == 5).count()) == 2 * (labels == 5).sum()


def test_an_image_inside_a_plate_and_in_memory(plate):
    found = xr.open_dataset(f"{plate.zgroup.store.root}/A/1/0", engine=LamellaBackend)
    assert int(found["image"].sum()) == 64
    store = zarr.storage.MemoryStore()
    with lamella.open_ome_zarr(store, layout="fov", mode="w", channel_names=["a"]) as position:
        position["0"] = np.ones((1, 1, 1, 4, 4), "uint8")
    assert int(xr.open_dataset(store, engine=LamellaBackend)["image"].sum()) == 16


def test_a_position_without_image_does_not_open(plate):
    with pytest.raises(KeyError, match="no image yet"):
        xr.open_dataset(f"{plate.zgroup.store.root}/B/2/0", engine=LamellaBackend)


def test_the_engine_is_never_guessed(position):
    assert not LamellaBackend().guess_can_open(str(position.zgroup.store.root))
