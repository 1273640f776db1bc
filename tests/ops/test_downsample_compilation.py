"""How the kernels come to life: lazily, from several threads at once, kept as machine code, and with no room for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lamella
from lamella.ops.pyramids.kernels.machine_code import _checked_code

PACKAGE = Path(lamella.__file__).parent

WORK = """
import sys
import numpy as np
from lamella.ops.pyramids.downsample import downsample
assert "numba" not in sys.modules
block = np.arange(2 * 5 * 7, dtype="i8").reshape(2, 5, 7)  # of the kernel that compiles fastest
expected = [[[22, 24, 26, 27], [36, 38, 40, 41], [46, 48, 50, 52]]]
found = downsample(block, (2, 2, 2)).tolist()
assert found == expected, found
"""

TOGETHER = """
import threading
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
assert found == [expected] * 3
"""


KEPT_ONLY = (
    WORK
    + """
assert "numba" not in sys.modules, "the kernels were compiled again"
"""
)


@pytest.fixture
def package(tmp_path):
    """The package in a folder of its own, without anything that was compiled before."""
    shutil.copytree(PACKAGE, tmp_path / "lamella", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """The package after the first call, which three threads made together."""
    root = tmp_path_factory.mktemp("compiled")
    shutil.copytree(PACKAGE, root / "lamella", ignore=shutil.ignore_patterns("__pycache__"))
    first, call = WORK.split("found = ")
    assert call
    run(first + TOGETHER, root)
    assert kept(root)
    return root


@pytest.fixture
def compiled(compiled_once, tmp_path):
    """Such a package, to be changed: machine code is known by what it was made of, not by where it is."""
    return shutil.copytree(compiled_once, tmp_path / "compiled")


def run(code, package_root, **environment):
    """Run `code` in a fresh interpreter with warnings as errors; how fast its kernels are does not matter here."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    clean |= {"PYTHONPATH": str(package_root), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_OPT": "1"}
    clean |= environment
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def kept(root):
    """Files of machine code."""
    return sorted(root.rglob("*.machine-code"))


def without_cache_beside(package):
    """Put a file where the folder for bytecode would be: not even root can write there."""
    (package / "lamella" / "ops" / "pyramids" / "kernels" / "__pycache__").write_text("")


def test_threads_may_make_the_first_call_together_and_later_processes_need_no_numba(compiled_once):
    run(KEPT_ONLY, compiled_once)


def test_the_cache_of_the_user_serves_where_the_package_cannot_be_written(package):
    without_cache_beside(package)
    home = package / "home"
    home.mkdir()
    place = {"XDG_CACHE_HOME": "", "HOME": str(home)}
    run(WORK, package, **place)
    run(KEPT_ONLY, package, **place)
    assert kept(home / ".cache")
    (home / ".cache").rename(home / "caches")
    run(KEPT_ONLY, package, XDG_CACHE_HOME=str(home / "caches"))


def test_damaged_machine_code_is_compiled_again(compiled):
    for path in kept(compiled):
        code = path.read_bytes()
        assert _checked_code(code)
        for damaged in (code[:-1], b"", code[:100] + b"?" + code[101:]):
            assert _checked_code(damaged) is None
            path.write_bytes(damaged)
    run(WORK + 'assert "numba" in sys.modules', compiled)
    run(KEPT_ONLY, compiled)


def test_another_kernel_is_another_machine_code(compiled):
    source = compiled / "lamella" / "ops" / "pyramids" / "kernels" / "mean.py"
    exact = "out[out_row, x] = whole ^ sign_bit"
    assert exact in source.read_text()
    source.write_text(source.read_text().replace(exact, "out[out_row, x] = 9"))
    run(
        "import sys\n"
        + KEPT_ONLY.replace(
            "[[[22, 24, 26, 27], [36, 38, 40, 41], [46, 48, 50, 52]]]", "[[[9] * 4] * 3]"
        ).replace('assert "numba" not in sys.modules, ', 'assert "numba" in sys.modules, '),
        compiled,
    )


def test_no_folder_for_a_cache_is_no_error(package):
    without_cache_beside(package)
    nowhere = package / "file"
    nowhere.write_text("")
    run(WORK, package, HOME=str(nowhere), XDG_CACHE_HOME=str(nowhere))
    assert not kept(package)


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE, which stands in for a full disk, is POSIX")
def test_a_full_disk_is_no_error(package):
    full = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    full += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    run(full + WORK, package)
    assert not list(package.rglob("*.tmp"))


def test_numba_calls_the_kernels_where_it_gives_no_machine_code(package):
    strange = """
from lamella.ops.pyramids.kernels import jit
assert callable(jit._standalone_code)
jit._standalone_code = lambda *_: None
"""
    run(strange + WORK.replace('assert "numba" not in sys.modules', ""), package)
    assert not kept(package)
