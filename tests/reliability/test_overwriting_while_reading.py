"""Law: data that read from the array they are written to arrive whole, or are refused; never zeros or half of each."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import lamella
from lamella.adapters import dask as lamella_dask
from lamella.errors import InvalidArgumentError, LamellaError, StoreExistsError

PIXELS = (np.arange(2 * 2 * 4 * 32 * 32) % 60000 + 1).astype("uint16").reshape(2, 2, 4, 32, 32)
FLIPPED = PIXELS[..., ::-1, ::-1]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Have dask read a chunk at a time, as it does with images that are larger than a block."""
    monkeypatch.setattr(lamella_dask, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(lamella_dask, "SMALL_BLOCK_BYTES", 1024)


@pytest.fixture(params=[None, (1, 1, 2, 2, 2)], ids=["chunks", "shards"])
def store(request, tmp_path):
    """An image of many files."""
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["A", "B"], version="0.5"
    ) as position:
        position.create_image("0", PIXELS, (1, 1, 2, 8, 8), request.param)
    return path


def writable(path, overwriting=False):
    position = lamella.open_ome_zarr(path, mode="r+")
    return lamella.Position(position.zgroup, overwriting_creation=True) if overwriting else position


def flipped(array):
    return array[..., ::-1, ::-1]


@pytest.mark.parametrize("lazy", ["dask", "xarray", "image", "zarr"])
def test_an_image_is_replaced_by_what_is_made_of_it(store, lazy):
    position = writable(store, overwriting=True)
    old = lamella.open_ome_zarr(store)
    source = {
        "dask": lambda: flipped(old["0"].dask_array()),
        "xarray": lambda: flipped(old.to_xarray()),
        "image": lambda: old["0"],
        "zarr": old["0"].zarr,
    }[lazy]()
    position.create_image("0", source, chunks=(1, 1, 2, 8, 8))
    np.testing.assert_array_equal(
        lamella.open_ome_zarr(store)["0"][:], FLIPPED if lazy in ("dask", "xarray") else PIXELS
    )


def test_an_array_is_assigned_what_is_made_of_it(store):
    position = writable(store)
    position["0"][...] = flipped(position["0"].dask_array())
    np.testing.assert_array_equal(position["0"][:], FLIPPED)


def test_an_array_is_assigned_its_own_reversed_view(store):
    position = writable(store)
    position["0"][...] = flipped(position["0"].zarr()[...])
    np.testing.assert_array_equal(position["0"][:], FLIPPED)


def test_a_labelled_array_is_written_over_the_image_that_it_reads(store):
    position = writable(store)
    labelled = position.to_xarray()
    position.write_xarray(labelled.copy(data=flipped(labelled.data)))
    np.testing.assert_array_equal(position["0"][:], FLIPPED)
    assert list(position) == ["0"]
    assert not [file for file in store.rglob(".lamella*") if file.is_dir()]


def test_some_channels_of_a_labelled_array_are_written_over_others(store):
    position = writable(store)
    labelled = position.to_xarray()
    position.write_xarray(labelled.sel(c=["A"]).assign_coords(c=["B"]) * 2)
    np.testing.assert_array_equal(position["0"][:, 0], PIXELS[:, 0])
    np.testing.assert_array_equal(position["0"][:, 1], PIXELS[:, 0] * 2)


def test_a_channel_is_replaced_by_what_is_made_of_another(store):
    position = writable(store)
    position.update_channel("B", "0", flipped(position["0"].dask_array())[:, 0])
    np.testing.assert_array_equal(position["0"][:, 1], FLIPPED[:, 0])


def test_an_array_grows_by_itself(store):
    position = writable(store)
    position["0"].append(flipped(position["0"].dask_array()))
    np.testing.assert_array_equal(position["0"][:], np.concatenate([PIXELS, FLIPPED]))


@pytest.mark.parametrize("write", ["create_image", "write_xarray"])
def test_what_was_deleted_cannot_be_its_own_source(store, write):
    labelled = lamella.open_ome_zarr(store).to_xarray()
    position = lamella.open_ome_zarr(store, layout="fov", mode="w", channel_names=["A", "B"], version="0.5")
    with pytest.raises(InvalidArgumentError, match=r"to be read from there|data that read from it"):
        position.create_image("0", labelled.data) if write == "create_image" else position.write_xarray(
            labelled
        )
    assert list(position) == []


def test_a_pyramid_is_made_again_over_itself(store):
    position = writable(store)
    position.compute_pyramid(levels=3)
    first = position["2"][:]
    position.compute_pyramid(levels=3)
    np.testing.assert_array_equal(position["2"][:], first)
    np.testing.assert_array_equal(position["0"][:], PIXELS)


def test_labels_are_made_of_the_image_they_belong_to(store):
    position = writable(store)
    position.labels.create("cells", position["0"].dask_array()[:, 0])
    np.testing.assert_array_equal(position.labels["cells"].data[:], PIXELS[:, 0])


@pytest.mark.parametrize("where", [".", "inner.zarr", "..", "./../a.zarr", "link"])
@pytest.mark.parametrize("work", ["rechunk", "upgrade", "from_positions"])
def test_a_store_is_not_written_onto_or_into_itself(store, files, where, work):
    target = store / where
    if where == "link":
        target = store.parent / "link.zarr"
        target.symlink_to(store, target_is_directory=True)
    before = files(store)
    write = {
        "rechunk": lambda: lamella.rechunk(store, target, chunks=(4, 4)),
        "upgrade": lambda: lamella.upgrade(store, "0.4", target),
        "from_positions": lambda: lamella.Plate.from_positions(
            target, {"A/1/0": lamella.open_ome_zarr(store)}
        ),
    }[work]
    with pytest.raises((InvalidArgumentError, StoreExistsError)):
        write()
    assert files(store) == before


@pytest.mark.parametrize("where", [".", "a.zarr"])
def test_files_are_not_harmed_by_a_conversion_onto_or_beside_them(tmp_path, files, where):
    import tifffile

    from lamella.ops.conversion.convert import convert

    folder = tmp_path / "scan.zarr"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", PIXELS[0, 0], photometric="minisblack")
    before = files(folder)
    with contextlib.suppress(LamellaError):
        convert(folder, folder / where, overwrite=True)
    assert {name: data for name, data in files(folder).items() if name in before} == before
