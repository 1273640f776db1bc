"""Law: other handles, threads and processes lose nothing and see everything."""

from __future__ import annotations

import functools
import json
import multiprocessing as mp
import operator
import os
import pickle
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr

from lamella.errors import OutOfBoundsError, StorageError, TooLargeError
from lamella.store import process_limits
from lamella.store.files import locks
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray

spawn = mp.get_context("spawn")


def private_files(root) -> list[str]:
    return [f.name for f in Path(root).rglob("*") if "lamella" in f.name or f.name.endswith(".__lock")]


def add_members(documents: Documents, names: list[str]) -> None:
    for name in names:
        documents.edit_group("", lambda old, name=name: {**old, "members": [*old.get("members", []), name]})


def write_rows(array: StoredArray, rows: list[int]) -> None:
    for row in rows:
        array.write(row, row + 1)


def read_sum(array: StoredArray) -> tuple[str, int]:
    return array.engine.name, int(array.read().sum())


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_edits_at_once_lose_nothing(local_documents, kind):
    local_documents.put_group("", {})
    batches = [[f"{worker}-{n}" for n in range(20)] for worker in range(4)]
    pool = ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2, mp_context=spawn)
    with pool:
        list(pool.map(add_members, [local_documents] * 4, batches))
    assert sorted(local_documents.group("")["members"]) == sorted(
        functools.reduce(operator.iadd, batches, [])
    )
    assert private_files(local_documents.storage.root) == []


@pytest.mark.parametrize(
    ("kind", "engine", "zarr_format"),
    [("threads", "files", 2), ("threads", "zarr", 3), ("processes", "files", 3), ("processes", "zarr", 2)],
)
def test_writers_of_different_parts_of_one_file_lose_nothing(make_array, kind, zarr_format):
    shards = (32, 8) if zarr_format == 3 else None
    array = make_array((32, 8), chunks=(4, 4) if shards else (32, 8), shards=shards)
    batches = [list(range(start, 32, 4)) for start in range(4)]
    pool = ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2, mp_context=spawn)
    handles = [StoredArray(array.documents, "0", engine=array.engine.name) for _ in batches]
    with pool:
        list(pool.map(write_rows, handles, batches))
    np.testing.assert_array_equal(array.read(), np.repeat(np.arange(1, 33), 8).reshape(32, 8))
    assert private_files(array.documents.storage.root) == []


@pytest.mark.parametrize("edge", [slice(8, 10), slice(9, 10)])
def test_a_write_to_the_edge_keeps_what_another_appends_meanwhile(make_array, monkeypatch, edge):
    array = make_array((10, 3), chunks=(4, 3))
    array.write(..., 1)
    other = StoredArray(Documents(LocalStorage(array.documents.storage.root), array.documents.format), "0")
    real, calls = LocalStorage.lock, []

    def lock_after_an_append(self, key):
        if not calls:
            calls.append(key)
            other.append(np.full((2, 3), 7))
        return real(self, key)

    monkeypatch.setattr(LocalStorage, "lock", lock_after_an_append)
    array.write(edge, 5)
    monkeypatch.undo()
    expected = np.repeat([1] * 8 + [1, 1, 7, 7], 3).reshape(12, 3)
    expected[edge] = 5
    np.testing.assert_array_equal(array.read(), expected)


def test_a_write_to_what_another_cut_off_meanwhile_is_refused(make_array, monkeypatch):
    array = make_array((10, 3), chunks=(4, 3))
    other = StoredArray(Documents(LocalStorage(array.documents.storage.root), array.documents.format), "0")
    real, calls = LocalStorage.lock, []

    def lock_after_a_cut(self, key):
        if not calls:
            calls.append(key)
            other.resize((4, 3))
        return real(self, key)

    monkeypatch.setattr(LocalStorage, "lock", lock_after_a_cut)
    with pytest.raises(OutOfBoundsError, match=r"from \(10, 3\) to \(4, 3\)"):
        array.write(9, 5)


@pytest.mark.parametrize("writer", ["plain zarr", "plain tensorstore"])
def test_a_cached_shard_index_never_hides_another_writer(make_array, writer, zarr_format):
    shards = (8, 8) if zarr_format == 3 else None
    array = make_array((16, 16), chunks=(4, 4), shards=shards)
    path = f"{array.documents.storage.root}/0"
    for value in range(1, 6):
        if writer == "plain zarr":
            zarr.open_array(path, mode="r+", zarr_format=zarr_format)[...] = value
        else:
            spec = {
                "driver": "zarr3" if zarr_format == 3 else "zarr",
                "kvstore": {"driver": "file", "path": path},
            }
            ts.open(spec, context=ts.Context()).result().write(np.uint16(value)).result()
        assert array.read((5, 5)) == value
        assert array.read().sum() == 256 * value


def test_handles_work_in_spawned_processes(make_array):
    array = make_array((4, 4))
    array.write(..., 2)
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(read_sum, array).result() == (array.engine.name, 32)
    assert read_sum(pickle.loads(pickle.dumps(array))) == (array.engine.name, 32)


FORKED = """
import os, signal, sys, threading
from lamella.store.pixels.arrays import StoredArray
from lamella.store.metadata.documents import Documents
from lamella.store.files.local import LocalStorage

documents = Documents.open(LocalStorage(sys.argv[1]))
array = StoredArray(documents, "0")
print(array.engine.name, array.read().sum(), array.read_many([...] * 2).sum(), flush=True)
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    first = array.engine.name, int(array.read().sum())
    array.write((0, 0), 9)
    second = int(StoredArray(documents, "0").read_many([...]).sum())
    os.write(writer, f"{first} {second}".encode())
    os._exit(0)
os.close(writer)
watchdog = threading.Timer(60, os.kill, (pid, signal.SIGKILL))  # a child that hangs says nothing
watchdog.start()
print(os.fdopen(reader).read(), array.engine.name, array.read().sum())
watchdog.cancel()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_reads_and_writes_after_its_parent_has(tmp_path, zarr_format):
    # In a process of its own, because the threads of a test runner forbid forking it safely.
    import subprocess

    documents = Documents.create(LocalStorage(tmp_path / "s.zarr"), zarr_format)
    documents.put_group("", {})
    documents.put_array("0", new_array((8, 8), "u2", zarr_format=zarr_format, chunks=(2, 8)))
    StoredArray(documents, "0").write(..., 1)
    (tmp_path / "tests_store_fork.py").write_text(Path(__file__).read_text())
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        "PYTHONWARNINGS": "ignore",
    }
    ran = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path / "s.zarr")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.stdout.split("\n")[:2] == ["files 64 128", "('files', 64) 72 files 72"], ran.stderr


def test_what_a_killed_tensorstore_left_behind_does_not_reach_new_files(make_array, zarr_format):
    # TensorStore 0.1.86 with its own locks writes into this file without cutting it off, and renames it.
    shards = (8, 8) if zarr_format == 3 else None
    array = make_array((8, 8), chunks=(4, 4) if shards else (8, 8), shards=shards)
    key = Path(array.documents.storage.root) / "0" / array.meta.chunk_key((0, 0))
    key.parent.mkdir(parents=True, exist_ok=True)
    (key.parent / f"{key.name}.__lock").write_bytes(b"x" * 5000)
    array.write(..., 3)
    assert key.stat().st_size < 5000
    assert array.read().sum() == 3 * 64


def test_a_lock_is_held_alone(local):
    order: list[str] = []
    entered = threading.Event()

    def second():
        entered.set()
        with LocalStorage(local.root).lock("A/zarr.json"):
            order.append("second")

    with local.lock("A/zarr.json"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert private_files(local.root) == []


def test_a_lock_of_a_file_that_was_unlinked_meanwhile_is_taken_again(local, monkeypatch):
    # The holder before us unlinks the file between our open and our lock.
    path = Path(local.root) / ".lamella-x.lock"
    real, calls = locks._acquire, []

    def unlink_first(fd):
        if not calls:
            path.unlink()
        calls.append(fd)
        real(fd)

    monkeypatch.setattr(locks, "_acquire", unlink_first)
    with local.lock("x"):
        assert path.exists()
    assert len(calls) == 2
    assert not path.exists()


def test_a_lock_is_released_when_its_holder_fails(local):
    with pytest.raises(RuntimeError), local.lock("x"):
        raise RuntimeError
    with local.lock("x"):
        assert private_files(local.root) == [".lamella-x.lock"]


def test_a_file_system_without_locks_is_an_error_not_a_race(local, monkeypatch):
    def refuse(_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks, "_acquire", refuse)
    with pytest.raises(StorageError, match="no file locks"), local.lock("x"):
        raise AssertionError("never entered")


def test_readers_make_no_lock_files(make_array):
    array = make_array((4, 4), chunks=(2, 2))
    array.write(..., 1)
    before = sorted(str(f) for f in Path(array.documents.storage.root).rglob("*"))
    root = Path(array.documents.storage.root)
    os.chmod(root, 0o555)
    reader = StoredArray(Documents(LocalStorage(root, read_only=True), array.documents.format), "0")
    assert reader.read().sum() == 16
    os.chmod(root, 0o755)
    assert sorted(str(f) for f in root.rglob("*")) == before


def test_fsync_flushes_every_document_and_its_folder(tmp_path, monkeypatch):
    flushed: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (flushed.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1]
    )
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    storage = LocalStorage(tmp_path, fsync=True)
    storage.write("A/x", b"1")
    assert [os.path.basename(f) for f in flushed][-1] == "A"
    assert any(".lamella-" in f for f in flushed)
    assert str(tmp_path) in flushed
    plain: list[str] = flushed.copy()
    LocalStorage(tmp_path).write("A/y", b"1")
    assert flushed == plain


def test_metadata_documents_are_never_written_by_engines(make_array):
    array = make_array((4, 4), chunks=(2, 2))
    root = Path(array.documents.storage.root) / "0"
    document = root / ("zarr.json" if array.documents.format == 3 else ".zarray")
    stored = json.loads(document.read_text())
    document.write_text(json.dumps({**stored, "vendor": {"must_understand": False}}, indent=3))
    before = document.read_bytes()
    array.write(..., 1)
    array.read()
    assert document.read_bytes() == before
    array.resize((6, 6))
    assert json.loads(document.read_text()) == {**json.loads(before), "shape": [6, 6]}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_documents_that_were_sent_elsewhere_look_anew_for_copies_that_others_made(tmp_path, zarr_format):
    # What a handle has seen, it has seen once; who gets it may come much later.
    documents = Documents.create(LocalStorage(tmp_path / "s.zarr"), zarr_format)
    for path in ("", "A", "A/1"):
        documents.put_group(path, {"n": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        zarr.consolidate_metadata(tmp_path / "s.zarr", path="A", zarr_format=zarr_format)
    sent = pickle.loads(pickle.dumps(documents))
    assert (sent.format, sent.storage) == (documents.format, documents.storage)
    sent.put_group("A/1", {"n": 2})
    with pytest.raises(ValueError, match=r"onsolidated|zmetadata"):
        zarr.open_group(
            tmp_path / "s.zarr", path="A", mode="r", zarr_format=zarr_format, use_consolidated=True
        )


def test_the_threads_are_as_many_as_affinity_batch_system_and_container_allow(tmp_path, monkeypatch):
    monkeypatch.setattr(process_limits.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(process_limits, "_quota", lambda *_: None)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert process_limits.cpus() == 16
    for given, found in (("3", 3), ("0", 16), ("", 16), ("many", 16), ("64", 16)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert process_limits.cpus() == found
    monkeypatch.setattr(process_limits, "_quota", lambda *_: 2)
    assert process_limits.cpus() == 2


@pytest.mark.parametrize(
    ("lines", "files", "found"),
    [
        ("0::/a/b", {"a/b/cpu.max": "150000 100000", "cpu.max": "max 100000"}, 2),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {}, None),
        ("5:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 3),
        ("5:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("damaged", {}, None),
    ],
)  # fmt: skip
def test_the_quota_of_a_container_is_read_from_its_control_groups(tmp_path, lines, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(lines + "\n")
    assert process_limits._quota(str(tmp_path), str(tmp_path / "membership")) == found


@pytest.mark.parametrize(
    ("lines", "files", "found"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": str(2 << 30), "memory.max": str(4 << 30)}, 2 << 30),
        ("0::/", {"memory.max": str(2 << 30)}, 2 << 30),
        ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": str(3 << 30)}, 3 << 30),
        ("4:memory:/of-the-host", {"memory/memory.limit_in_bytes": str(3 << 30)}, 3 << 30),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("4:cpuset:/", {"memory/memory.limit_in_bytes": "1", "cpuset/memory.limit_in_bytes": "1"}, None),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {}, None),
    ],
)  # fmt: skip
def test_an_array_must_fit_into_the_memory_of_the_container(tmp_path, monkeypatch, lines, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "membership").write_text(lines + "\n")
    monkeypatch.setattr(process_limits, "_CGROUP_FOLDER", str(tmp_path))
    monkeypatch.setattr(process_limits, "_MEMBERSHIP", str(tmp_path / "membership"))
    monkeypatch.setattr(process_limits.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 1 << 27))
    monkeypatch.setattr(process_limits, "memory_bytes", process_limits.memory_bytes.__wrapped__)
    limit = found or 512 << 30
    process_limits.check_memory((limit,), 1, lambda: "The array")
    with pytest.raises(TooLargeError, match=rf"may use {limit >> 30} GiB"):
        process_limits.check_memory((limit + 1,), 1, lambda: "The array")
