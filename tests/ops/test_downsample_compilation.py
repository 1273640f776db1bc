"""How the kernels come to life: lazily, from several threads at once, and with no room for a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lamella

PACKAGE = Path(lamella.__file__).parent

WORK = """
import sys, threading
import numpy as np
from lamella.ops.pyramids.downsample import downsample
assert "numba" not in sys.modules
block = np.arange(2 * 5 * 7, dtype="u2").reshape(2, 5, 7)
expected = [[[22, 24, 26, 27], [36, 38, 40, 41], [46, 48, 50, 52]]]
gate = threading.Barrier(3)
found = []
def work():
    gate.wait()
    found.append(downsample(block, (2, 2, 2)).tolist())
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*found, sep="\\n")
assert found == [expected] * 3
"""


def run(code, package_root, **environment):
    """Run `code` in a fresh interpreter with warnings as errors."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    clean |= {"PYTHONPATH": str(package_root), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_may_make_the_first_call_together(tmp_path):
    run(WORK, PACKAGE.parent, NUMBA_CACHE_DIR=str(tmp_path))
    assert list(tmp_path.rglob("*.nbc")), "nothing was cached: the next process would compile again"


def test_no_folder_for_a_cache_is_no_error(tmp_path):
    copy = tmp_path / "lamella"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "ops" / "pyramids" / "__pycache__").write_text(
        "a file where the folder would be: not even root can write here"
    )
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    run(WORK, tmp_path, HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere), LOCALAPPDATA=str(nowhere))
    assert not list(tmp_path.rglob("*.nbc"))


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE, which stands in for a full disk, is POSIX")
def test_a_full_disk_is_no_error(tmp_path):
    full = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    run(full + WORK.replace('print(*found, sep="\\n")', ""), PACKAGE.parent, NUMBA_CACHE_DIR=str(tmp_path))
