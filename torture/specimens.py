"""Small stores to damage: one for every kind of document.

Each is a dict from key to bytes, created once per process with lamella, or copied from stores of other programs in
``tests/data/stores``.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import lamella
from lamella.models import TransformationMeta, axes

Files = dict[str, bytes]

STORES = Path(__file__).parents[1] / "tests" / "data" / "stores"

_FOREIGN = {
    "bioformats2raw plate 0.4": "v04_bioformats2raw_plate/hcs.zarr",
    "bioformats2raw series 0.4": "v04_bioformats2raw_series/bf2raw.zarr",
    "ngff-zarr image 0.5": "v05_ngff_zarr_simple/simple_0.5.zarr",
}

VERSIONS = ("0.4", "0.5", "0.6")


def names() -> list[str]:
    """Return the names of all specimens."""
    own = [f"{kind} {version}" for kind in ("image", "plate", "tiled") for version in VERSIONS]
    return [*own, "sharded 0.5", "plain 0.4", "plain 0.5", *_FOREIGN]


@cache
def specimen(name: str) -> Files:
    """Return the files of a specimen."""
    if name in _FOREIGN:
        return read_files(STORES / _FOREIGN[name])
    kind, version = name.split()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "specimen.zarr")
        {"image": _image, "plate": _plate, "tiled": _tiled, "sharded": _sharded, "plain": _plain}[kind](
            path, version
        )
        return read_files(path)


def read_files(root: Path) -> Files:
    """Return the bytes of all files below a folder."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def write_files(root: Path, files: Files) -> None:
    """Create a folder with these files."""
    for key, data in files.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def is_document(key: str) -> bool:
    """Return whether a key is that of a metadata document."""
    return key.rpartition("/")[2] in ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).poisson(40, shape).astype("uint16") + 1


def _image(path: Path, version: str) -> None:
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as position:
        voxel = TransformationMeta(type="scale", scale=[1, 1, 0.5, 0.25, 0.25])
        shift = TransformationMeta(type="translation", translation=[0, 0, 0, 3, 4])
        position.create_image(
            "0", _pixels(2, 2, 3, 16, 16), transform=[voxel, shift], chunks=(1, 1, 3, 8, 16)
        )
        position.compute_pyramid(levels=2)
        label = position.labels.create("cells", (_pixels(2, 3, 16, 16) // 20).astype("uint16"))
        label.set_colors({1: (255, 0, 0, 255), 2: (0, 255, 0, 255)})
        label.set_properties({1: {"area": 4.5}})
        position.tables.write(
            "cells", {"label": [1, 2], "area": [4.5, 2.0]}, label="cells", backend="anndata"
        )
        position.tables.write("drugs", {"drug": ["a", "b"], "dose": [0.5, 1.0]}, backend="json")
        position.tables.write_rois("fields", {"left": {"x": (0, 2), "y": (1, 3)}}, backend="csv")


def _plate(path: Path, version: str) -> None:
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI"], version=version, axes=axes("czyx")
    ) as plate:
        for position in plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")]):
            position.create_image("0", _pixels(1, 1, 8, 8))
            position.tables.write("cells", {"area": [1.0]}, backend="csv")
        plate.tables.write("layout", {"well": ["A/1", "B/2"], "drug": ["none", "X"]}, backend="json")


def _tiled(path: Path, version: str) -> None:
    with lamella.open_ome_zarr(
        path, layout="tiled", mode="w", channel_names=["DAPI"], version=version
    ) as tiled:
        tiles = tiled.make_tiles("0", (2, 2), (1, 1, 1, 8, 8), "uint16")
        for row in range(2):
            tiles.write_tile(_pixels(1, 1, 1, 8, 8), row, 1 - row)


def _sharded(path: Path, version: str) -> None:
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI"], version=version
    ) as position:
        position.create_image(
            "0", _pixels(1, 1, 8, 16, 16), chunks=(1, 1, 4, 8, 8), shards_ratio=(1, 1, 2, 2, 2)
        )


def _plain(path: Path, version: str) -> None:
    with lamella.open_ome_zarr(path, layout="fov", mode="w", axes=axes("yx"), version=version) as position:
        position.create_image("0", _pixels(12, 12), chunks=(6, 6), compressor="none")
