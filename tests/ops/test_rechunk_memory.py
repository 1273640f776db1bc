"""What a rewrite needs of memory: units of some workers, whatever the size of the array."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import zarr

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")

SHAPE = (192, 1024, 1024)
BUDGET = 320 << 20
"""For two workers, above what the libraries need; measured are 120 to 270 MiB. The array has 384."""

SCRIPT = """
import sys, warnings
import numpy as np, zarr, tensorstore, lamella, tempfile
from lamella.ops.rewriting import rechunk, upgrade

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10

operation, path, destination = sys.argv[1:4]
small = tempfile.mkdtemp() + "/small.zarr"
with lamella.open_ome_zarr(small, layout="fov", mode="w", channel_names=["a"], version=sys.argv[4]) as position:
    position["0"] = np.ones((1, 1, 4, 64, 64), "u2")
options = eval(sys.argv[5])
getattr(lamella, operation)(small, destination=small + "2.zarr", **options)
before = peak()
report = getattr(lamella, operation)(path, destination=destination, jobs=2, **options)
print(report.nbytes, report.carried, peak() - before)
"""


def build(path, version, chunks, **options):
    scale = [{"type": "scale", "scale": [1.0] * 3}]
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    image = {"name": "a", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    old = version == "0.4"
    attributes = (
        {"multiscales": [image | {"version": "0.4"}]}
        if old
        else {"ome": {"version": version, "multiscales": [image]}}
    )
    group = zarr.create_group(path, zarr_format=2 if old else 3, attributes=attributes)
    names = {} if old else {"dimension_names": list("zyx")}
    array = group.create_array("0", shape=SHAPE, chunks=chunks, dtype="u2", **names, **options)
    noise = np.random.default_rng(0).integers(0, 4096, (16, 64, 64)).astype("u2")
    tiles = (
        np.arange(256, dtype="u2").reshape(16, 16) << 12 // 16
    )  # each tile differs, and all are compressed fast
    block = np.tile(noise, (1, 16, 16)) + np.kron(tiles, np.ones((64, 64), "u2"))
    for z in range(0, SHAPE[0], 16):
        block[0, 0, 0] = z
        array[z : z + 16] = block
    return block


@pytest.mark.parametrize(
    ("operation", "version", "chunks", "more", "options"),
    [
        ("upgrade", "0.5", (4, 256, 256), {"shards": (16, 512, 512)}, {"to": "0.4"}),
        ("rechunk", "0.4", (40, 128, 128), {}, {"chunks": (1, 1024, 1024), "compressor": "zstd"}),
    ],
    ids=["shards", "across"],
)
def test_peak_memory_does_not_grow_with_the_array(tmp_path, operation, version, chunks, more, options):
    block = build(tmp_path / "in.zarr", version, chunks, **more)
    command = [sys.executable, "-c", SCRIPT, operation, str(tmp_path / "in.zarr"), str(tmp_path / "out.zarr")]
    done = subprocess.run([*command, version, repr(options)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nbytes, carried, used = map(int, done.stdout.split())
    assert (nbytes, carried) == (np.prod(SHAPE) * 2, 0)
    assert used < BUDGET < nbytes
    found = zarr.open_array(str(tmp_path / "out.zarr" / "0"), mode="r")
    for z in range(0, SHAPE[0], 16):
        block[0, 0, 0] = z
        np.testing.assert_array_equal(found[z : z + 16], block)
