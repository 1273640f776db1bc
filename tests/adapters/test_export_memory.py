"""What an export needs of memory: some rows of tiles or a frame, whatever the size of the image."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile

import lamella

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

BUDGET = 96 << 20
"""Above what the libraries need, without the cache of decoded chunks; measured are 18 to 76 MB, for any length."""

SCRIPT = """
import sys
import lamella
from lamella.store.pixels import chunk_cache

chunk_cache.decoded.limit = 0

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10

store, folder = sys.argv[1:]
part = {"region": {"y": (0, 64), "x": (0, 64)}, "t": 0}
for name in ("a.ome.tif", "b.tif", "c.gif"):
    lamella.export(store, f"{folder}/{name}", overwrite=True, **part)
before = peak()
for name in ("a.ome.tif", "b.tif", "c.gif"):
    options = {"channels": ["b"]} if name == "c.gif" else {}
    lamella.export(store, f"{folder}/{name}", overwrite=True, **options)
    print(name, peak() - before)
"""


def test_peak_memory_does_not_grow_with_the_image(tmp_path):
    shape = (40, 2, 1024, 1024)
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr",
        layout="fov",
        mode="w",
        channel_names=["a", "b"],
        axes=lamella.models.axes("tcyx"),
    ) as image:
        image.create_zeros("0", shape, "u2", chunks=(1, 1, 512, 512))
        block = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype("u2")
        for t in range(shape[0]):
            image["0"][t, 1, t : t + 64, :64] = block
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "a.zarr"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peaks = {name: int(size) for name, size in map(str.split, done.stdout.splitlines())}
    assert max(peaks.values()) < BUDGET < np.prod(shape) * 2, peaks
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif", key=79)[39:103, :64], block)
