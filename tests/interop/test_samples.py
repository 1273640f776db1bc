"""Stores by other programs: lamella reads what zarr-python reads, and the sizes that the documents state."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import zarr

import lamella

STORES = Path(__file__).parent.parent / "data" / "stores"

# The rules that each breaks, as looked up in its files.
BREAKS = {
    "v04_bioformats2raw_plate": {"AX-04", "MS-09", "PL-09", "VE-02"},
    "v04_bioformats2raw_series": {"AX-04", "MS-09"},
    "v05_idr0062_labels_sharded": {"LB-04", "LB-14", "MS-08", "MS-09", "MS-10", "ST-07"},
    "v05_ngff_zarr_simple": {"MS-09", "MS-10"},
}

pytestmark = pytest.mark.filterwarnings("ignore")


def root_of(name):
    """Find the store in its folder, beside the text that says where it is from."""
    (root,) = (STORES / name).glob("*.zarr")
    return root


def images_of(store):
    """Path and multiscales of every group that has some, read from the files."""
    for name in (".zattrs", "zarr.json"):
        for file in sorted(store.rglob(name)):
            document = json.loads(file.read_text())
            attributes = document.get("attributes", {}) if name == "zarr.json" else document
            for multiscale in attributes.get("ome", attributes).get("multiscales", [])[:1]:
                yield file.parent.relative_to(store).as_posix(), multiscale


def scale_of(transforms):
    scales = [transform["scale"] for transform in transforms or [] if transform["type"] == "scale"]
    return [prod(axis) for axis in zip(*scales, strict=True)] if scales else None


def test_every_store_is_looked_at():
    assert {store.name for store in STORES.iterdir() if store.is_dir()} == set(BREAKS)


@pytest.mark.parametrize("name", BREAKS)
def test_pixels_and_physical_sizes_are_those_of_the_files(name):
    store, seen = root_of(name), 0
    for path, multiscale in images_of(store):
        with lamella.open_ome_zarr(store / path) as position:
            for dataset in multiscale["datasets"]:
                array = position[dataset["path"]]
                stored = zarr.open_array(str(store / path / dataset["path"]), mode="r")
                np.testing.assert_array_equal(array.numpy(), stored[...])
                assert array.dtype == stored.dtype.newbyteorder("=")
                whole = scale_of(multiscale.get("coordinateTransformations")) or [1.0] * array.ndim
                level = scale_of(dataset["coordinateTransformations"])
                expected = np.multiply(whole, level)
                assert position.get_effective_scale(dataset["path"]) == pytest.approx(list(expected))
                seen += 1
    assert seen >= 2


@pytest.mark.parametrize("name", BREAKS)
def test_only_rules_that_are_broken_are_told(name):
    report = lamella.validate(root_of(name), pixels=True)
    assert {finding.rule for finding in report.findings} == BREAKS[name]
