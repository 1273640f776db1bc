"""Scenario: damaged pixels. A flipped, cut or exchanged chunk, shard or shard index is an error that names the file.

Also counts how many flipped bits are noticed: with checksums all, without checksums some.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

import lamella
from lamella.errors import LamellaError
from torture.children import spread
from torture.uses import Unclear, unclear_outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Name of the count of trials.
UNIT = "files"

FAULTS = ("unclear", "silent")

_SHAPE = (2, 1, 4, 16, 32)

#: Version, chunks, chunks per shard, compressor, checksum.
LAYOUTS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...] | None, str, bool | None]] = {
    "0.4 blosc": ("0.4", (1, 1, 4, 16, 16), None, "blosc", None),
    "0.4 zlib": ("0.4", (1, 1, 4, 16, 16), None, "zlib", None),
    "0.4 none": ("0.4", (1, 1, 4, 16, 16), None, "none", None),
    "0.5 blosc": ("0.5", (1, 1, 4, 16, 16), None, "blosc", None),
    "0.5 blosc, checked": ("0.5", (1, 1, 4, 16, 16), None, "blosc", True),
    "0.5 zstd": ("0.5", (1, 1, 4, 16, 16), None, "zstd", None),
    "0.5 none, checked": ("0.5", (1, 1, 4, 16, 16), None, "none", True),
    "0.5 shards, checked": ("0.5", (1, 1, 2, 8, 16), (1, 1, 2, 2, 2), "blosc", None),
    "0.5 shards, no compressor, checked": ("0.5", (1, 1, 2, 8, 16), (1, 1, 2, 2, 2), "none", None),
    "0.5 shards, index checked": ("0.5", (1, 1, 2, 8, 16), (1, 1, 2, 2, 2), "blosc", False),
}


@cache
def pixels() -> np.ndarray:
    """Return noise on a background, as of a camera; no pixel equals the fill value."""
    return np.random.default_rng(7).poisson(90, _SHAPE).astype("uint16") + 1


class Bench:
    """A folder with one store of each layout; each trial changes one file and restores it."""

    def __init__(self, folder: Path) -> None:
        self.stores: dict[str, tuple[Path, list[Path]]] = {}
        for number, (name, (version, chunks, ratio, compressor, checksum)) in enumerate(LAYOUTS.items()):
            path = folder / f"store-{number}.zarr"
            with lamella.open_ome_zarr(
                path, layout="fov", mode="w", channel_names=["GFP"], version=version
            ) as position:
                position.create_image("0", pixels(), chunks, ratio, compressor=compressor, checksum=checksum)
            files = [
                file for file in sorted((path / "0").rglob("*")) if file.is_file() and file.name.isdecimal()
            ]
            self.stores[name] = path, files


def damage(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Return a kind of damage, and bytes that differ from the old ones."""
    kind = chance.choice(
        ("flip", "flip", "flip", "flip", "flips", "cut", "longer", "zeros", "exchange", "empty", "hole")
    )
    position = chance.randrange(len(data))
    if kind == "flip":
        damaged = (
            data[:position] + bytes([data[position] ^ (1 << chance.randrange(8))]) + data[position + 1 :]
        )
    elif kind == "flips":
        damaged = bytes(byte ^ chance.randrange(256) if chance.random() < 0.02 else byte for byte in data)
    elif kind == "cut":
        damaged = data[:position]
    elif kind == "longer":
        damaged = data + bytes(chance.randrange(256) for _ in range(chance.choice((1, 4, 100))))
    elif kind == "zeros":
        damaged = bytes(len(data))
    elif kind == "exchange":
        damaged = data[:position] + other[position:]
    elif kind == "hole":
        damaged = data[:position] + bytes(min(64, len(data) - position)) + data[position + 64 :]
    else:
        damaged = b""
    # Nothing in a file shows that it was replaced by another whole chunk.
    return (kind, damaged) if damaged not in (data, other) else damage(data, other, chance)


def is_checked(layout: str) -> bool:
    """Return whether the chunks of a layout have checksums."""
    return layout.endswith(", checked")


def read(path: Path, engine: int) -> np.ndarray:
    """Read the whole image in one of several ways."""
    image = lamella.open_ome_zarr(path)["0"]
    if engine == 0:
        return np.asarray(image[:])
    if engine == 1:
        return np.stack([image[t] for t in range(image.shape[0])])
    if engine == 2:
        return np.asarray(image.dask_array().compute(scheduler="synchronous"))
    from lamella.store.pixels.arrays import StoredArray

    return StoredArray(image.node_path.store_handle.documents, image.path, engine="zarr").read()


begin = Bench


def trial(bench: Bench, seed: int, number: int, counts: Counter[str] | None = None) -> Iterator[Unclear]:
    """Damage one file, read the image, and restore the file."""
    counts = Counter() if counts is None else counts
    chance = random.Random(f"{seed}-{number}")
    layout = chance.choice(list(LAYOUTS))
    path, files = bench.stores[layout]
    file, other = chance.choice(files), chance.choice(files)
    data = file.read_bytes()
    kind, damaged = damage(data, other.read_bytes(), chance)
    file.write_bytes(damaged)
    images = []

    def reading(path: Path) -> None:
        try:
            images.append(read(path, chance.randrange(4)))
        except LamellaError as error:
            if "0/" not in str(error):
                raise AssertionError(f"names no file: {error}") from error

    try:
        unclear = unclear_outcome(reading, path)
    finally:
        file.write_bytes(data)
    if unclear is not None:
        yield unclear
    kind_of_damage = "flipped bits" if kind == "flip" else "other damage"
    checked = "with checksums" if is_checked(layout) else "without checksums"
    outcome = (
        "noticed" if not images else "harmless" if np.array_equal(images[0], pixels()) else "other pixels"
    )
    counts[f"{kind_of_damage} {checked}, {outcome}"] += 1
    if outcome == "other pixels" and is_checked(layout):
        yield Unclear("reading", f"silent change: {layout}, {kind}", "-")


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Damage chunks and shards for some time on all processors; return counts of files and outcomes."""
    return spread(__name__, seed, seconds)
