"""Law: with ``durability="fsync"`` all that a call wrote is flushed before it returns: files, and folders above."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from zarr.storage import MemoryStore

import lamella
from lamella.errors import InvalidArgumentError, StorageError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="needs /proc to name what is flushed"
)

CALLS = "fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat"

SCRIPT = """
import os, sys
import numpy as np, tensorstore
import lamella
from lamella.store.pixels.arrays import StoredArray
from lamella.store.metadata.documents import Documents
from lamella.store.storage import open_storage
path, engine, ratio, durability = sys.argv[1], sys.argv[2], eval(sys.argv[3]), sys.argv[4]
node = lamella.open_ome_zarr(path, mode="r+", durability=durability)
image = node["0"]
documents = Documents.open(open_storage(path, fsync=durability == "fsync"))
array = StoredArray(documents, "0", engine=engine) if engine != "own" else image
os.mkdir(path + "-begin")
if engine == "own":
    image[...] = np.full(image.shape, 7, image.dtype)
else:
    array.write(..., 7)
os.mkdir(path + "-end")
"""


def flushed_by_a_write(path: Path, engine: str, ratio: object, durability: str) -> tuple[set[str], set[str]]:
    """Return what a write renamed into place and which paths it flushed, as the kernel saw it."""
    log = path.with_name("trace")
    subprocess.run(
        ["strace", "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(log),
         sys.executable, "-W", "ignore", "-c", SCRIPT, str(path), engine, repr(ratio), durability],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    text = log.read_text()
    text = text[text.index("-begin") : text.index("-end")]
    flushed = set(re.findall(r"f(?:data)?sync\(\d+<([^>]*)>", text))
    placed = set(re.findall(r'rename\w*\(.*?"[^"]*".*?"([^"]*)"', text))
    sources = {b: a for a, b in re.findall(r'rename\w*\(.*?"([^"]*)".*?"([^"]*)"', text)}
    return {target for target in placed if sources[target] not in flushed}, flushed


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("ratio", [None, (1, 1, 1, 1, 2)], ids=["chunks", "shards"])
@pytest.mark.parametrize("engine", ["files", "zarr"])
def test_pixels_and_the_folders_above_them_are_flushed_before_a_write_returns(tmp_path, engine, ratio):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
    ) as made:
        made.create_zeros("0", (2, 2, 1, 8, 12), "uint16", chunks=(1, 1, 1, 8, 6), shards_ratio=ratio)
    unflushed, flushed = flushed_by_a_write(path, engine, ratio, "fsync")
    assert unflushed == set()
    folders = {str(folder) for folder in (path / "0").rglob("*") if folder.is_dir()} | {str(path / "0")}
    assert len(folders) > 5
    assert folders <= flushed  # the folder of each file, and those that name these folders


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_without_it_nothing_waits_for_the_disk(tmp_path):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a", "b"], version="0.5"
    ) as made:
        made.create_zeros("0", (2, 2, 1, 8, 12), "uint16", chunks=(1, 1, 1, 8, 6))
    assert flushed_by_a_write(path, "own", None, "process")[1] == set()


@pytest.fixture
def flushed(monkeypatch):
    """Paths that Python flushed, in order; a temporary file or folder counts as the name that it takes later."""
    paths: list[str] = []
    real_fsync = os.fsync

    def fsync(fd):
        paths.append(os.readlink(f"/proc/self/fd/{fd}"))
        real_fsync(fd)

    def moving(move):
        def moved(source, target):
            source, target = os.path.normpath(source), os.path.normpath(target)
            below = [path for path in paths if path == source or path.startswith(f"{source}{os.sep}")]
            paths.extend(target + path.removeprefix(source) for path in below)
            move(source, target)

        return moved

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", moving(os.replace))
    monkeypatch.setattr(os, "rename", moving(os.rename))
    return paths


def written(root: Path) -> set[str]:
    """Documents below a folder, and every folder from theirs up to the one that names the root."""
    files = [path for path in root.rglob("*") if path.suffix == ".json" or path.name.startswith(".z")]
    return {str(path) for path in files} | {
        str(above)
        for path in files
        for above in path.parents
        if root in above.parents or above in (root, root.parent)
    }


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_documents_and_the_folders_above_them_are_flushed(tmp_path, flushed, version):
    root = tmp_path / "new" / "plate.zarr"
    with lamella.open_ome_zarr(
        root, layout="hcs", mode="w-", channel_names=["a"], version=version, durability="fsync"
    ) as plate:
        plate.create_position("A", "1", "0").create_zeros("0", (1, 1, 1, 4, 4), "uint8")
        assert written(root) <= set(flushed)
        assert str(tmp_path) in flushed  # it names the folder that was made for the store
        flushed.clear()
        plate.rename_well("A/1", "B/2")
        assert {str(root), str(root / "B")} <= set(flushed)
        flushed.clear()
        del plate["B/2"]
        assert str(root) in flushed


def test_folders_that_somebody_else_made_are_flushed_too(tmp_path, flushed):
    # They may have been made by a process that did not flush, or was killed before it did.
    with lamella.open_ome_zarr(
        tmp_path / "a.zarr", layout="fov", mode="w-", channel_names=["a"], version="0.5"
    ) as made:
        made.create_zeros("0", (1, 1, 1, 4, 4), "uint8")
    (tmp_path / "a.zarr" / "0" / "c" / "0").mkdir(parents=True)
    documents = Documents.open(LocalStorage(tmp_path / "a.zarr", fsync=True))
    StoredArray(documents, "0", engine="zarr").write(..., 3)
    assert {str(tmp_path / "a.zarr" / "0"), str(tmp_path / "a.zarr" / "0" / "c")} <= set(flushed)


def test_it_reaches_the_workers_that_a_handle_is_sent_to(tmp_path):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a"], version="0.5", durability="fsync"
    ) as position:
        sent = pickle.loads(pickle.dumps(position))
    assert sent.documents.storage.fsync
    assert not lamella.open_ome_zarr(path, mode="r+").documents.storage.fsync


def test_a_failing_flush_is_an_error_and_leaves_the_old_document(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w-", channel_names=["a"], version="0.5", durability="fsync"
    ) as position:
        before = (path / "zarr.json").read_bytes()

        def refuse(_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(StorageError, match=r"Cannot write .*a\.zarr/zarr\.json: Input/output error"):
            position.zattrs["x"] = 1
        monkeypatch.undo()
        assert (path / "zarr.json").read_bytes() == before
        position.zattrs["x"] = 1
    assert lamella.open_ome_zarr(path).zattrs["x"] == 1


def test_a_store_that_is_no_folder_refuses_to_promise_it():
    with pytest.raises(InvalidArgumentError, match="only folders can be flushed"):
        lamella.open_ome_zarr(MemoryStore(), layout="fov", mode="w", channel_names=["a"], durability="fsync")


def test_another_word_for_it_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="durability is one of process, fsync"):
        lamella.open_ome_zarr(
            tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["a"], durability="always"
        )
    assert not (tmp_path / "a.zarr").exists()


def test_pixels_are_the_same_whichever_is_asked_for(tmp_path):
    block = np.arange(96, dtype="uint16").reshape(1, 1, 1, 8, 12)
    for durability in ("process", "fsync"):
        with lamella.open_ome_zarr(
            tmp_path / f"{durability}.zarr",
            layout="fov",
            mode="w-",
            channel_names=["a"],
            durability=durability,
        ) as position:
            position["0"] = block
    first, second = (sorted((tmp_path / f"{name}.zarr" / "0").rglob("*")) for name in ("process", "fsync"))
    assert [path.read_bytes() for path in first if path.is_file()] == [
        path.read_bytes() for path in second if path.is_file()
    ]
