"""What the tests of pyramids share: images to make, and a slow reference."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np

from lamella import open_ome_zarr
from lamella.models import axes

METHODS = ("mean", "median", "mode", "min", "max", "stride")


def reduced(voxels, method):
    ranked = sorted(voxels)
    if method == "mode":
        return Counter(ranked).most_common(1)[0][0]
    middle = (ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2])
    return {
        "mean": lambda: round(Fraction(sum(ranked), len(ranked))),
        "median": lambda: round(Fraction(sum(middle), 2)),
        "min": lambda: ranked[0],
        "max": lambda: ranked[-1],
        "stride": lambda: voxels[0],
    }[method]()


def slow(fine, factors, method):
    """One level, voxel by voxel: whole blocks and those cut by the edge."""
    out = np.empty([-(-n // f) for n, f in zip(fine.shape, factors, strict=True)], fine.dtype)
    for index in np.ndindex(out.shape):
        box = tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))
        out[index] = reduced([int(v) for v in fine[box].ravel()], method)
    return out


def image(path, data, version="0.5", names="tczyx", **layout):
    """Return a new image of one level with these pixels."""
    kinds = axes(names)
    channels = [f"channel {i}" for i in range(data.shape[names.index("c")])] if "c" in names else None
    position = open_ome_zarr(
        path, layout="fov", mode="w", channel_names=channels, axes=kinds, version=version
    )
    position.create_image("0", data, **layout)
    return position


def noise(shape, dtype="uint16", high=1000):
    return np.random.default_rng(7).integers(0, high, shape).astype(dtype)


def sensible(shape, names):
    return 1 + max((n - 1).bit_length() for n, name in zip(shape, names, strict=True) if name in "zyx")
