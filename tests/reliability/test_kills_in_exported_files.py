"""Law: an export that ends within the bytes of a file, by a kill or a full disk, leaves no part of it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from tests.warm import run

import lamella

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

SCRIPT = """
import resource, signal, sys
import lamella
if sys.argv[4] == "kill":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel ends the process at that byte
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    lamella.export(sys.argv[1], sys.argv[2], jobs=1, overwrite=True)
except OSError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print(type(error).__name__, error, file=sys.stderr)
    sys.exit(1)
"""


def exported(destination: Path) -> dict[str, bytes]:
    """The files of an export by name, without those for other programs to ignore."""
    files = [destination] if destination.is_file() else list(destination.glob("*"))
    return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.png", "a.gif", "tiffs"])
def test_an_export_that_ends_within_a_file_leaves_none_of_it(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 2, 3, 90, 120), "uint16")
    store, target = tmp_path / "a.zarr", tmp_path / "out" / name
    (tmp_path / "out").mkdir()
    if name == "tiffs":
        plate = lamella.open(store, "w", layout="hcs", channel_names=["DAPI", "GFP"])
        plate.create_position("A", "1", "0").create_image("0", pixels)
    else:
        lamella.write_image(store, pixels, "tczyx")
    lamella.export(store, tmp_path / name)
    whole = exported(tmp_path / name)
    size = max(map(len, whole.values()))
    for ends in ("kill", "full"):
        for part in (size // 3, size - 1):
            ended = run(SCRIPT, str(store), str(target), str(part), ends)
            assert ended.returncode == (-signal.SIGXFSZ if ends == "kill" else 1), ended.stderr
            if ends == "full":
                assert "Cannot write" in ended.stderr
                assert "File too large" in ended.stderr or "the disk may be full" in ended.stderr
            assert exported(target).items() <= whole.items() if target.exists() else True
        lamella.export(store, target, overwrite=True)
        assert exported(target) == whole
        assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
        assert not target.is_dir() or sorted(os.listdir(target)) == sorted(whole)
    if name.endswith("tif"):
        assert tifffile.imread(target).size == pixels.size
