"""What a pyramid needs of memory: blocks of some workers, whatever the size of the array and of its shards."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lamella import open_ome_zarr

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

SHAPE = (1, 1, 32, 4096, 4096)
BUDGET = 400 << 20
"""For two workers, above what the libraries need; measured are 230 to 330 MiB. The array has 1024."""

SCRIPT = """
import sys, numba, numpy, tensorstore
from lamella import open_ome_zarr
from lamella.ops.pyramids.pyramid import compute_pyramid

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10

position = open_ome_zarr(sys.argv[1], mode="r+")
before = peak()
compute_pyramid(position, 4, jobs=2)
print(peak() - before)
"""


@pytest.mark.parametrize("ratio", [(1, 1, 1, 1, 1), (1, 1, 4, 8, 8)], ids=["1", "256"])
def test_peak_memory_does_not_grow_with_the_array_or_its_shards(tmp_path, ratio):
    """Shards of 1 and of 256 MiB; at level 1 all of the image is one shard of the last."""
    block = np.random.default_rng(0).integers(0, 4096, (16, 1024, 2048)).astype("u2")
    with open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as image:
        image.create_zeros("0", SHAPE, "u2", chunks=(1, 1, 8, 256, 256), shards_ratio=ratio)
        image["0"][0, 0, :16, :1024, :2048] = block
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < BUDGET < np.prod(SHAPE) * 2
    with open_ome_zarr(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(
            image["1"][0, 0, 0, 0, :2], [round(float(block[:2, :2, x : x + 2].mean())) for x in (0, 2)]
        )
        assert not image["3"][0, 0, 2:].any()
