"""Stores to write anew, and a look at what is in one that does not go through lamella."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import zarr

import lamella

FIELDS = ("A/1/0", "A/1/1", "B/2/0")


def noise(shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def build_image(path, version="0.4", *, shards_ratio=None, labels=True, shape=(1, 2, 4, 20, 30)):
    """An image of two levels with a label image and attributes of a user."""
    with lamella.open_ome_zarr(
        path,
        layout="fov",
        mode="w-",
        channel_names=["DAPI", "GFP"],
        version=version,
        axes=lamella.models.axes("tczyx"),
    ) as position:
        fill(position, shards_ratio=shards_ratio, labels=labels, shape=shape)
    return Path(path)


def build_plate(path, version="0.4", *, shards_ratio=None):
    """A plate of three fields, with a foreign group, files of other programs, and attributes of users everywhere."""
    return shutil.copytree(plate_once(version, shards_ratio), path)


@cache
def plate_once(version, shards_ratio):
    """Such a plate, made once and copied for each test."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "plate.zarr")
    with lamella.open_ome_zarr(
        path,
        layout="hcs",
        mode="w-",
        channel_names=["DAPI", "GFP"],
        version=version,
        axes=lamella.models.axes("tczyx"),
    ) as plate:
        for seed, name in enumerate(FIELDS):
            fill(plate.create_position(*name.split("/")), seed=seed, shards_ratio=shards_ratio)
        plate.zattrs["lab"] = {"room": 12, "deep": {"er": [1, None]}}
        plate["A/1"].zattrs["lab"] = "well"
    table = zarr.open_group(str(path), mode="a").create_group("A/1/0/tables/cells", attributes={"kind": "x"})
    table["area"] = np.arange(5.0)
    root = Path(path)
    (root / "OME").mkdir()
    (root / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    (root / "A" / "1" / "0" / "notes.txt").write_text("kept")
    return root


def fill(position, *, seed=0, shards_ratio=None, labels=True, shape=(1, 2, 4, 20, 30)):
    image = position.create_image(
        "0", noise(shape, seed=seed), chunks=(1, 1, 2, 8, 16), shards_ratio=shards_ratio
    )
    image.attrs["mine"] = seed
    position.compute_pyramid(levels=2)
    position.set_scale("0", "x", 0.25)
    position.zattrs["lab"] = f"field {seed}"
    if labels:
        position.labels.create("nuclei", noise(shape[2:], "uint32", seed + 9) % 5)


def arrays(path):
    """All arrays of a store by path, opened by zarr-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that are no nodes
        members = zarr.open_group(str(path), mode="r").members(max_depth=None)
        return {name: node for name, node in members if isinstance(node, zarr.Array)}


def pixels(path):
    """The pixels of all arrays of a store by path, as zarr-python reads them."""
    return {name: array[...] for name, array in arrays(path).items()}


def check_same_pixels(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == array.dtype.newbyteorder("="), name


def attributes(path, node=""):
    """Attributes of a group or array as its file has them, without the wrapper of 0.5."""
    folder = Path(path) / node
    if (folder / "zarr.json").exists():
        found = json.loads((folder / "zarr.json").read_text())["attributes"]
        return {**{key: value for key, value in found.items() if key != "ome"}, **found.get("ome", {})}
    return json.loads((folder / ".zattrs").read_text())


def chunk_files(path):
    """Inode, time of change and bytes of all files that are no documents."""
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            if name not in ("zarr.json", ".zattrs", ".zgroup", ".zarray"):
                file = os.path.join(folder, name)
                stat = os.stat(file)
                found[os.path.relpath(file, path)] = (stat.st_ino, stat.st_mtime_ns, Path(file).read_bytes())
    return found


def check_valid(path, version):
    """Valid by our rules, and where they know the version by two other libraries."""
    report = lamella.validate(path)
    assert report.valid, str(report)
    assert report.version == version
    if version != "0.6":
        import ome_zarr_models
        import yaozarrs

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            yaozarrs.validate_zarr_store(str(path))
            ome_zarr_models.open_ome_zarr(zarr.open_group(str(path), mode="r"))
