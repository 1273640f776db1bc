"""Law: the first frame of a camera waits for no library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lamella

CODE = """
import sys
import numpy as np
from lamella import open_ome_zarr
with open_ome_zarr(sys.argv[1], layout="fov", mode="w", channel_names=["DAPI"], version=sys.argv[2]) as position:
    image = position.create_zeros("0", (3, 1, 1, 512, 512), "uint16", chunks=(1, 1, 1, 512, 512))
    there = set(sys.modules)
    image[0, 0, 0] = np.ones((512, 512), "uint16")
    print(*sorted({name.partition(".")[0] for name in set(sys.modules) - there}))
"""


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_first_frame_loads_no_library(tmp_path: Path, version: str) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path / "film.zarr"), version]
    source = str(Path(lamella.__file__).parents[1])
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": source})
    assert not {"numcodecs", "tensorstore", "zarr", "google_crc32c", "lamella"} & set(done.stdout.split())
