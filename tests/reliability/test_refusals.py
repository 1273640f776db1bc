"""Law: a full disk, a quota, a read-only file system, a mount that went away: one clear error, and all is as it was.

Each work meets the fault at steps of each kind; what was there stays old or new, and when the fault is over the same
call finishes the work. Real ones where the system lets us: a limit of file sizes, a small file system in memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.warm import run

import lamella
from lamella.errors import LamellaError, StorageError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray

from .faults import Faults, fail, firsts, spread
from .states import State, digest, files, litter
from .test_kills import check_killed, finish
from .works import WORKS, pixels

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = {
    "full disk": (errno.ENOSPC, True),
    "quota": (errno.EDQUOT, True),
    "read-only": (errno.EROFS, True),
    "broken disk": (errno.EIO, False),
    "stale mount": (errno.ESTALE, True),
    "slow mount": (errno.ETIMEDOUT, False),
}

#: Steps of each work that are refused in the suite.
MOST = 5

#: Each work meets one fault at some steps, in one version; all works together meet all faults in both.
CASES = [
    (name, list(FAULTS)[i % len(FAULTS)], ("0.4", "0.5")[(i + i // len(FAULTS)) % 2])
    for i, name in enumerate(name for name in WORKS if not name.startswith("levels"))
]


def system_error(error: BaseException) -> int | None:
    """Return the number of the system's fault that an error of ours was caused by."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        seen = seen.__cause__ or seen.__context__
    return None


def but_what_was_to_go(folder: Path, error: LamellaError | None, copy: Path) -> Path:
    """Return the folder, or a copy without what the error says a deletion could not remove and has put back."""
    _, found, where = str(error).partition("The rest is in ")
    if not found:
        return folder
    where = where.removesuffix(".")
    assert os.path.isdir(where), error
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / os.path.relpath(where, folder))
    return copy


# What is half done may be read with an assumption.
@pytest.mark.filterwarnings("ignore::lamella.errors.MetadataWarning")
@pytest.mark.parametrize(("name", "fault", "version"), CASES)
def test_a_refused_step_is_one_clear_error_and_the_work_can_be_repeated(name, fault, version, tmp_path):
    number, lasting = FAULTS[fault]
    work, template = WORKS[name], tmp_path / "template"
    template.mkdir()
    work.prepare(template, version)
    whole = tmp_path / "whole"
    shutil.copytree(template, whole)
    documents: set[str] = set()
    with Faults(whole, on_replace=lambda path, data: documents.add(digest(path, data))) as faults:
        work.run(whole, version, lambda _: None)
    old, new, wanted = State.of(template), State.of(whole), files(whole)
    allowed = {*old.documents.values(), *new.documents.values(), *documents}
    met = 0
    for n in spread(firsts(faults.steps), MOST):
        folder = tmp_path / str(n)
        shutil.copytree(template, folder)
        acknowledged: list[str] = []
        error = None
        with Faults(folder, n, fail(number), lasting=lasting):
            try:
                work.run(folder, version, acknowledged.append)
            except LamellaError as raised:
                error = raised
            except OSError as raised:
                raise AssertionError(
                    f"an error of the system reached the user at {faults.steps[n - 1]}"
                ) from raised
        if error is not None:
            met += 1
            assert system_error(error) == number or isinstance(error, LamellaError)
            assert str(tmp_path) in str(error), f"{error} does not say where"
            assert os.strerror(number) in str(error), f"{error} does not say what"
        else:  # what failed did not matter: a note, or a lock file that could not be removed
            assert State.of(folder).documents == new.documents
        checked = but_what_was_to_go(folder, error, tmp_path / f"{n} checked")
        check_killed(checked, {"work": name, "acknowledged": acknowledged}, old, new, allowed)
        finish(work, folder, version)
        # What could not be removed either goes when this process is no more.
        found = {
            key: data
            for key, data in files(folder).items()
            if not any(part.endswith((".tmp", ".lock")) for part in key.split("/"))
        }
        assert sorted(found.keys() ^ wanted.keys()) == []
        assert [key for key in wanted if found[key] != wanted[key]] == []
    assert met > 0


LIMITED = """
import resource, sys
import lamella, numpy as np
from lamella.errors import StorageError
from lamella.store.pixels.arrays import StoredArray
from lamella.store.metadata.documents import Documents
from lamella.store.files.local import LocalStorage
array = StoredArray(Documents.open(LocalStorage(sys.argv[1])), "0", engine=sys.argv[2])
block = np.random.default_rng(0).integers(0, 60000, array.meta.shape).astype("uint16")
array.write(0, block[0])
print("acknowledged", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
if sys.argv[3] == "killed":
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
try:
    array.write(1, block[1])
except StorageError as error:
    print(error.errno, error)
"""


@pytest.fixture
def image(tmp_path):
    """A position of two frames, each in files of more than 3000 bytes."""

    def make(ratio):
        path = tmp_path / "a.zarr"
        with lamella.open_ome_zarr(
            path, layout="fov", mode="w-", channel_names=["a"], version="0.5"
        ) as position:
            position.create_zeros(
                "0", (2, 1, 1, 64, 64), "uint16", chunks=(1, 1, 1, 32, 64), shards_ratio=ratio
            )
            position["0"][...] = 7
        return path

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
@pytest.mark.parametrize("ratio", [None, (1, 1, 1, 2, 1)], ids=["chunks", "shards"])
@pytest.mark.parametrize("engine", ["files", "zarr"])
@pytest.mark.parametrize("end", ["refused", "killed"])
def test_a_file_that_the_system_cuts_short_is_never_seen(image, engine, ratio, end):
    path = image(ratio)
    ran = run(LIMITED, path, engine, end)
    assert ran.stdout.startswith("acknowledged"), ran.stderr
    if end == "killed":
        assert ran.returncode == -25, ran.stderr  # SIGXFSZ
    else:
        assert f"{errno.EFBIG} Cannot write" in ran.stdout, ran.stdout + ran.stderr
        assert "File too large" in ran.stdout
        assert "a.zarr" in ran.stdout
    expected = np.random.default_rng(0).integers(0, 60000, (2, 1, 1, 64, 64)).astype("uint16")
    with lamella.open_ome_zarr(path, mode="r+") as position:
        np.testing.assert_array_equal(position["0"][0], expected[0])
        for rows in (slice(0, 32), slice(32, 64)):
            assert (position["0"][1, ..., rows, :] == 7).all() or (
                position["0"][1, ..., rows, :] == expected[1, ..., rows, :]
            ).all()
        position["0"][1] = expected[1]
        np.testing.assert_array_equal(position["0"][...], expected)


@contextlib.contextmanager
def small_disk(folder: Path, options: str):
    """A file system in memory; skipped where we may not mount."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, check=False
    ) if shutil.which("mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("may not mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("engine", ["files", "zarr"])
@pytest.mark.parametrize("ratio", [None, (1, 1, 1, 2, 1)], ids=["chunks", "shards"])
def test_a_disk_that_is_really_full_keeps_what_it_has(tmp_path, engine, ratio):
    with small_disk(tmp_path / "disk", "size=512k"):
        path = tmp_path / "disk" / "a.zarr"
        with lamella.open_ome_zarr(
            path, layout="fov", mode="w-", channel_names=["a"], version="0.5"
        ) as position:
            position.create_zeros(
                "0", (40, 1, 1, 64, 128), "uint16", chunks=(1, 1, 1, 32, 128), shards_ratio=ratio
            )
        array = StoredArray(Documents.open(LocalStorage(path)), "0", engine=engine)
        block = np.random.default_rng(1).integers(0, 60000, array.meta.shape).astype("uint16")
        done = 0

        def write_all():
            nonlocal done
            for done in range(40):
                array.write(done, block[done])

        with pytest.raises(StorageError, match=r"Cannot write .*a\.zarr.*No space left on device") as caught:
            write_all()
        assert caught.value.errno == errno.ENOSPC
        assert done > 5
        np.testing.assert_array_equal(array.read(slice(0, done)), block[:done])
        assert litter(path) == []
        with pytest.raises(StorageError, match="No space left"):
            lamella.open_ome_zarr(path, mode="r+").zattrs["long"] = "x" * 500_000
        assert lamella.open_ome_zarr(path).channel_names == ["a"]
        subprocess.run(["mount", "-o", "remount,size=2m", str(tmp_path / "disk")], check=True)
        array.write(slice(done, 40), block[done:])
        np.testing.assert_array_equal(array.read(), block)


def test_a_file_system_that_is_read_only_is_one_error(tmp_path):
    with small_disk(tmp_path / "disk", "size=1m"):
        path = tmp_path / "disk" / "a.zarr"
        with lamella.open_ome_zarr(
            path, layout="fov", mode="w-", channel_names=["a"], version="0.5"
        ) as position:
            position["0"] = pixels(0, (1, 1, 1, 8, 8))
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        before = files(path)
        with lamella.open_ome_zarr(path, mode="r+") as position:
            with pytest.raises(StorageError, match="Read-only file system"):
                position["0"][...] = 1
            with pytest.raises(StorageError, match="Read-only file system"):
                position.zattrs["a"] = 1
            np.testing.assert_array_equal(position["0"][...], pixels(0, (1, 1, 1, 8, 8)))
        assert files(path) == before
