"""Law: a storage keeps bytes under keys, whole, inside its root, and refuses before it touches anything."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import threading
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from obstore.store import LocalStore as ObstoreFolder
from obstore.store import MemoryStore as ObstoreMemory
from tests.remote import object_storage
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore

import lamella
from lamella.errors import (
    AccessError,
    DamagedDataError,
    InvalidArgumentError,
    InvalidNameError,
    MetadataError,
    MissingDependencyError,
    NodeExistsError,
    NodeNotFoundError,
    ReadOnlyError,
    StorageError,
)
from lamella.store.files.local import LocalStorage
from lamella.store.objects.object_storage import ObjectStorage
from lamella.store.objects.zarr_storage import ZarrStorage
from lamella.store.storage import ChangedError, RangeRequest, open_storage

BAD_KEYS = {
    "parent": "..",
    "parent inside": "A/../../B",
    "dot": "A/./B",
    "absolute": "/etc/passwd",
    "empty part": "A//B",
    "trailing slash": "A/",
    "NUL": "A\x00",
    "backslash": "A\\B",
    "over-long": "x" * 256,
    "over-long in bytes": "é" * 128,
    "not Unicode": "\ud800",
}


@pytest.fixture(scope="module")
def objects(s3_server):
    """A bucket of S3."""
    from tests.remote import Bucket

    return Bucket(s3_server, f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["local", "memory", "fsspec", "obstore", "s3"])
def storage(request, tmp_path):
    """A writable, empty storage of each implementation."""
    if request.param == "local":
        return LocalStorage(tmp_path / "store.zarr")
    if request.param == "memory":
        return ZarrStorage(MemoryStore())
    if request.param == "fsspec":
        return ZarrStorage(FsspecStore.from_url(f"memory://{uuid.uuid4().hex}/store 1.zarr"))
    if request.param == "obstore":
        return ZarrStorage(ObjectStore(ObstoreMemory()))
    bucket = request.getfixturevalue("objects")
    return object_storage(bucket.endpoint, bucket.url(f"{uuid.uuid4().hex[:8]}/store 1.zarr"))


def reader_of(storage):
    """Return the same storage, read only."""
    if isinstance(storage, LocalStorage):
        return LocalStorage(storage.root, read_only=True)
    if isinstance(storage, ObjectStorage):
        return ObjectStorage(storage.access, read_only=True)
    return ZarrStorage(storage.store, read_only=True)


def tree(root) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in Path(root).rglob("*") if f.is_file()}


def test_bytes_come_back(storage):
    assert storage.read("A/1/zarr.json") is None
    storage.write("A/1/zarr.json", b"old")
    storage.write("A/1/zarr.json", b"new and longer")
    assert storage.read("A/1/zarr.json") == b"new and longer"
    assert storage.size("A/1/zarr.json") == 14
    assert storage.size("A/1") is None
    assert storage.read("A/1") is None
    assert storage.read("") is None


@pytest.mark.parametrize(
    ("start", "length"), [(0, 4), (3, 4), (-4, 4), (-4, 2), (-99, 3), (8, 99), (10, 1), (99, 1), (0, 0)]
)
def test_part_of_a_key_is_that_part_of_its_bytes(storage, start, length):
    data = b"0123456789"
    storage.write("A/c/0", data)
    first = max(0, len(data) + start) if start < 0 else start
    assert storage.read_range("A/c/0", start, length) == data[first : first + length]
    assert storage.read_range("A/c/1", start, length) is None
    assert storage.read_range("A", start, length) is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="lists the open files by Linux's /proc")
def test_a_range_of_a_folder_leaves_no_file_open(local):
    local.write("A/c/0", b"0")
    assert local.read_range("A/c", 0, 1) is None
    folder = os.stat(local.where("A/c"))
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the list itself was open, and other tests' files may be closed meanwhile
            assert not os.path.samestat(os.stat(int(name)), folder)


def test_many_are_written_in_one_call(storage):
    storage.write_many((f"{n}/zarr.json", b"%d" % n) for n in range(70))
    assert [storage.read(f"{n}/zarr.json") for n in (0, 69)] == [b"0", b"69"]
    assert len(storage.list("")) == 70


def test_many_are_read_in_one_call(storage):
    storage.write_many((f"{n}/zarr.json", b"%d" % n) for n in range(50))
    found = storage.read_many([*(f"{n}/zarr.json" for n in range(50)), "50/zarr.json", "1", ""])
    assert [one and one[0] for one in found.values()] == [*(b"%d" % n for n in range(50)), None, None, None]
    stamped = reader_of(storage).read_stamped("7/zarr.json")
    assert stamped == found["7/zarr.json"] == (b"7", storage.stamp("7/zarr.json"))


def test_ranges_of_many_keys_are_parts_of_their_bytes(storage):
    data = bytes(range(256)) * 2048  # further apart than what one request reads
    storage.write_many([("A/c/0", data), ("A/c/1", b"0123456789"), ("A/c/2", b"")])
    asked = ((0, 10), (5, 10), (400_000, 7), (-3, 3), (-4, 2), (len(data) - 2, 9), (len(data) + 5, 2), (3, 0))
    whole, other, empty, none = storage.read_ranges(
        [
            RangeRequest("A/c/0", asked),
            RangeRequest("A/c/1", ((2, 3),), storage.stamp("A/c/1")),
            RangeRequest("A/c/2", ((0, 4), (-4, 4))),
            RangeRequest("A/c/3", ((0, 4),)),
        ]
    )
    expected = [data[max(0, len(data) + first) if first < 0 else first :][:length] for first, length in asked]
    assert whole.parts == expected
    assert (other.parts, empty.parts, none) == ([b"234"], [b"", b""], None)
    assert whole.stamp == storage.stamp("A/c/0")


def test_ranges_of_a_content_that_changed_are_refused(storage):
    storage.write("A/c/0", b"old")
    stamp = storage.stamp("A/c/0")
    if stamp is None:
        return  # a store that cannot tell
    storage.write("A/c/0", b"new")
    with pytest.raises(ChangedError):
        storage.read_ranges([RangeRequest("A/c/0", ((0, 2),), stamp)])
    assert storage.read_ranges([RangeRequest("A/c/0", ((0, 2),), storage.stamp("A/c/0"))])[0].parts == [b"ne"]


def test_a_key_is_written_only_while_it_is_what_is_expected(storage):
    storage.write_if("A/x", b"first", None)
    with pytest.raises(ChangedError):
        storage.write_if("A/x", b"second", None)
    stamp = storage.stamp("A/x")
    if stamp is not None:
        written = storage.write_if("A/x", b"third", stamp)
        assert written == storage.stamp("A/x")
        for stale in (stamp, None):
            with pytest.raises(ChangedError):
                storage.write_if("A/x", b"fourth", stale)
        with pytest.raises(ChangedError):
            storage.write_if("A/y", b"new", stamp)
    assert storage.read("A/x") == (b"first" if stamp is None else b"third")
    assert storage.read("A/y") is None


def test_changes_of_many_threads_and_storages_are_all_there(storage):
    others = [pickle.loads(pickle.dumps(storage)) if stamped(storage) else storage for _ in range(3)]
    workers = [
        threading.Thread(target=other.update, args=("A/x", lambda data, n=n: (data or b"") + b"%d" % n))
        for n, other in enumerate([storage, *others])
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(storage.read("A/x").decode()) == ["0", "1", "2", "3"]
    assert storage.update("A/x", lambda data: None) is None


def stamped(storage):
    """Whether a storage has stamps, as those have that can be opened again by location."""
    return not isinstance(storage, ZarrStorage)


def test_members_are_listed_in_natural_order(storage):
    for name in ("10", "9", "B/x", "A2/x", "A10/x"):
        storage.write(name, b"")
    assert storage.list("") == ["9", "10", "A2", "A10", "B"]
    assert storage.list("B") == ["x"]
    assert storage.list("none") == []


def test_temporary_and_lock_files_are_not_members(local):
    local.write("a", b"")
    for name in (".lamella-0-1-2.tmp", "0_5a5a.__lock", f"c.{5:032x}.partial"):
        (Path(local.root) / name).write_bytes(b"")
    assert local.list("") == ["a"]


def test_files_and_folders_exist(storage):
    storage.write("A/1/x", b"")
    assert [storage.exists(k) for k in ("A", "A/1", "A/1/x", "A/2", "A/1/x/y")] == [True] * 3 + [False] * 2


def test_delete_takes_a_file_or_a_folder_and_nothing_beside(storage):
    for key in ("A/1/x", "A/10/x", "A/2"):
        storage.write(key, b"")
    storage.delete("A/1")
    storage.delete("A/2")
    storage.delete("A/absent")
    assert storage.list("A") == ["10"]


def test_move_takes_a_folder_with_all_below(storage):
    storage.write("A/1/0/x", b"1")
    storage.write("A/1/y", b"2")
    storage.write("A/10/y", b"3")
    storage.move("A/1", "B/7")
    assert (storage.read("B/7/0/x"), storage.read("B/7/y"), storage.list("A")) == (b"1", b"2", ["10"])


def test_move_refuses_a_missing_source(storage):
    with pytest.raises(NodeNotFoundError, match="no 'A'"):
        storage.move("A", "B")


def test_move_refuses_an_existing_target(storage):
    storage.write("A/x", b"1")
    storage.write("B/x", b"2")
    with pytest.raises(NodeExistsError, match="'B' exists"):
        storage.move("A", "B")
    assert (storage.read("A/x"), storage.read("B/x")) == (b"1", b"2")


@pytest.mark.parametrize(("old", "new"), [("A", "A/B"), ("A", "A"), ("", "A"), ("A", "")])
def test_move_refuses_the_root_and_itself(storage, old, new):
    storage.write("A/x", b"1")
    with pytest.raises(InvalidNameError):
        storage.move(old, new)
    assert storage.read("A/x") == b"1"


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_what_is_no_key_is_refused_before_anything_is_touched(storage, tmp_path, key):
    (tmp_path / "secret").write_bytes(b"secret")
    before = tree(tmp_path)
    for call in (
        lambda: storage.read(key),
        lambda: storage.write(key, b"x"),
        lambda: storage.list(key),
        lambda: storage.exists(key),
        lambda: storage.size(key),
        lambda: storage.delete(key),
        lambda: storage.move(key, "x"),
        lambda: storage.move("x", key),
        lambda: storage.lock(key).__enter__(),
    ):
        with pytest.raises((InvalidNameError, NodeNotFoundError)) as caught:
            call()
        assert caught.type is InvalidNameError or "x" in str(caught.value)
    assert tree(tmp_path) == before


def test_a_refused_deletion_names_its_reason():
    class WithoutBucket(MemoryStore):
        async def delete(self, key: str) -> None:
            raise FileNotFoundError("NoSuchBucket")

    with pytest.raises(StorageError, match=r"delete .*/a: NoSuchBucket"):
        open_storage(WithoutBucket()).delete_files(["a"])


def test_a_read_that_is_refused_does_not_wait_for_others():
    class OneRefused(MemoryStore):
        async def get(self, key, *_, **__):
            if key == "a":
                raise PermissionError("HTTP 403")
            if key == "b":
                await asyncio.Event().wait()  # no answer ever comes

    with pytest.raises(AccessError, match="403"):
        open_storage(OneRefused()).read_many(["a", "b"])


def test_the_root_is_no_key_to_write(storage):
    with pytest.raises(InvalidNameError, match="root"):
        storage.write("", b"x")


def test_a_read_only_storage_refuses_every_change(tmp_path, storage):
    storage.write("A/x", b"1")
    reader = reader_of(storage)
    before = tree(tmp_path)
    for change in (
        lambda: reader.write("A/x", b"2"),
        lambda: reader.write_many([("A/y", b"2")]),
        lambda: reader.delete("A"),
        lambda: reader.move("A", "B"),
        lambda: reader.lock("A/x").__enter__(),
        lambda: reader.check_writable_folder("A"),
    ):
        with pytest.raises(ReadOnlyError, match="open for reading"):
            change()
    assert reader.read("A/x") == b"1"
    assert reader.zarr_store().read_only
    assert tree(tmp_path) == before


def test_links_that_leave_the_store_are_not_written_through(local, tmp_path):
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "x").write_bytes(b"theirs")
    local.write("A/x", b"ours")
    (Path(local.root) / "link").symlink_to(outside)
    for change in (
        lambda: local.write("link/x", b"1"),
        lambda: local.write("link/sub/x", b"1"),
        lambda: local.write("link/new/x", b"1"),
        lambda: local.delete("link/x"),
        lambda: local.move("link/x", "B"),
        lambda: local.move("A", "link/A"),
        lambda: local.lock("link/x").__enter__(),
        lambda: local.check_writable_folder("link/sub"),
    ):
        with pytest.raises(InvalidNameError, match="leaves the store"):
            change()
    assert tree(outside) == {"x": b"theirs"}
    local.delete("link")
    assert tree(outside) == {"x": b"theirs"}
    assert local.list("") == ["A"]


def test_links_inside_the_store_are_followed(local):
    local.write("A/x", b"1")
    (Path(local.root) / "B").symlink_to("A")
    local.write("B/y", b"2")
    assert local.read("A/y") == b"2"


def test_a_root_that_is_a_link_is_a_store_but_is_not_deleted(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage = LocalStorage(tmp_path / "link")
    storage.write("A/x", b"1")
    with pytest.raises(InvalidNameError, match="symbolic link"):
        storage.delete("")
    assert tree(tmp_path / "real") == {"A/x": b"1"}


def test_deleting_the_root_leaves_the_folder_above(local, tmp_path):
    local.write("A/x", b"1")
    (tmp_path / "other").write_bytes(b"")
    local.delete("")
    assert os.listdir(tmp_path) == ["other"]
    local.write("A/x", b"2")
    assert local.read("A/x") == b"2"


def test_a_folder_that_somebody_removed_is_made_again(local):
    local.write("A/1/x", b"1")
    LocalStorage(local.root).delete("A")
    local.write("A/1/x", b"2")
    LocalStorage(local.root).delete("")
    local.write("A/2/x", b"3")
    assert local.read("A/2/x") == b"3"


@pytest.mark.parametrize("step", ["write", "replace", "fsync"])
def test_a_failed_write_leaves_the_old_bytes_and_no_litter(local, monkeypatch, step):
    local.write("A/x", b"old")
    storage = LocalStorage(local.root, fsync=True)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    # With fsync, the folders above are flushed before anything is written below them.
    what = f"flush the folder {local.root}" if step == "fsync" else f"write {local.root}/A/x"
    with pytest.raises(StorageError, match="No space left") as caught:
        storage.write("A/x", b"new")
    monkeypatch.undo()
    assert f"Cannot {what}:" in str(caught.value)
    assert caught.value.errno == 28
    assert tree(local.root) == {"A/x": b"old"}
    storage.write("A/x", b"new")
    assert tree(local.root) == {"A/x": b"new"}


def test_a_write_in_pieces_is_finished(local, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    local.write("x", b"0123456789")
    monkeypatch.undo()
    assert local.read("x") == b"0123456789"


def test_a_file_where_a_folder_should_be_is_a_clear_error(local):
    local.write("A", b"1")
    with pytest.raises(StorageError, match="a file of that name is there"):
        local.write("A/x", b"2")
    assert local.read("A/x") is None
    assert not local.exists("A/x")
    assert local.list("A") == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that hold")
def test_a_folder_without_permission_is_a_clear_error(local):
    local.write("A/x", b"1")
    os.chmod(Path(local.root) / "A", 0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        local.write("A/y", b"2")


def test_a_stamp_changes_with_every_write(local):
    local.write("x", b"1")
    before = local.stamp("x")
    assert local.stamp("x") == before
    local.write("x", b"1")
    assert local.stamp("x") != before
    assert local.stamp("absent") is None


def test_litter_of_dead_processes_is_swept_and_nothing_else(local):
    local.write("A/x", b"1")
    template = next(iter(_names_while_writing(local)))
    alive = template.replace(str(os.getpid()), str(os.getppid()))
    dead = template.replace(str(os.getpid()), "99999999")
    for name in (alive, dead, "0_5a.__lock", ".lamella-zarr.json.lock"):
        (Path(local.root) / "A" / name).write_bytes(b"")
    old = Path(local.root) / "A" / "1_5a.__lock"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    aside = Path(local.root) / "A" / dead.replace(".tmp", ".deleted")
    aside.mkdir()
    (aside / "y").write_bytes(b"")
    assert local.sweep("A") == 3
    assert sorted(os.listdir(Path(local.root) / "A")) == sorted(
        [alive, "0_5a.__lock", ".lamella-zarr.json.lock", "x"]
    )
    (Path(local.root) / "A" / dead).write_bytes(b"")
    assert (local.sweep(), local.sweep(deep=True)) == (0, 1)


def _names_while_writing(storage) -> list[str]:
    """The names of temporary files, seen at the moment of the rename."""
    seen: list[str] = []
    real = os.replace
    os.replace = lambda old, new: (seen.append(os.path.basename(old)), real(old, new))[1]
    try:
        storage.write("A/probe", b"")
    finally:
        os.replace = real
    storage.delete("A/probe")
    return seen


def test_storages_pickle_by_location(local):
    local.write("x", b"1")
    again = pickle.loads(pickle.dumps(LocalStorage(local.root, read_only=True, fsync=True)))
    assert again == LocalStorage(local.root, read_only=True)
    assert (again.read_only, again.fsync, again.read("x")) == (True, True, b"1")


def test_kvstore_addresses_a_folder(local):
    assert local.kvstore("A/0") == {"driver": "file", "path": f"{local.root}/A/0/"}
    assert ZarrStorage(MemoryStore()).kvstore("A/0") is None


def test_paths_urls_and_stores_open(tmp_path):
    folder = str(tmp_path / "s.zarr")
    for target in (folder, tmp_path / "s.zarr", LocalStore(folder), f"file://{folder}"):
        opened = open_storage(target)
        assert isinstance(opened, LocalStorage)
        assert opened.root == folder
    assert open_storage(LocalStore(folder, read_only=True)).read_only
    assert open_storage(LocalStore(folder), read_only=True).zarr_store().read_only
    assert str(open_storage(folder).zarr_store().root) == folder


@pytest.mark.parametrize("target", [3, None, b"bytes", object()])
def test_what_is_no_store_is_refused(target):
    with pytest.raises(InvalidArgumentError):
        open_storage(target)


def test_a_url_that_fsspec_cannot_open_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"Cannot open reference:.*'fo'"):
        open_storage("reference://a")


def test_an_unknown_url_says_what_is_missing():
    with pytest.raises((MissingDependencyError, InvalidArgumentError), match="nosuch://x"):
        open_storage("nosuch://x")


def test_memory_urls_open_by_fsspec():
    storage = open_storage("memory://lamella-test/s.zarr")
    assert isinstance(storage.zarr_store(), FsspecStore)
    storage.write("A/x", b"1")
    again = open_storage("memory://lamella-test/s.zarr", read_only=True)
    assert (again.read("A/x"), again.list("A"), again.exists("A"), again.read_only) == (
        b"1",
        ["x"],
        True,
        True,
    )
    storage.delete("A")
    assert not again.exists("A")


def test_zip_stores_are_written_and_read(tmp_path):
    with ZipStore(tmp_path / "s.zip", mode="w") as store:
        storage = open_storage(store)
        storage.write("A/x", b"1")
        assert storage.read("A/x") == b"1"
        with pytest.raises(StorageError, match="Cannot delete"):
            storage.delete("A")
    with ZipStore(tmp_path / "s.zip", mode="r") as store:
        reader = open_storage(store)
        assert (reader.read("A/x"), reader.list(""), reader.read_only) == (b"1", ["A"], True)


def test_a_swap_replaces_what_it_was_made_for_and_nothing_else(storage):
    storage.write("A/x", b"old")
    said = []
    assert storage.swap("A/x", b"old", b"new", lambda: said.append(storage.read("A/x")))
    assert (storage.read("A/x"), said) == (b"new", [b"old"])
    for stale in (b"old", b"newer", b"ne", b""):
        assert not storage.swap("A/x", stale, b"other", lambda: said.append("never"))
    assert not storage.swap("A/y", b"old", b"new", lambda: said.append("never"))
    assert (storage.read("A/x"), storage.read("A/y"), said) == (b"new", None, [b"old"])


def test_a_swap_that_fails_before_it_writes_changes_nothing(storage):
    storage.write("A/x", b"old")
    with pytest.raises(KeyError):
        storage.swap("A/x", b"old", b"new", lambda: {}["fails"])
    assert storage.swap("A/x", b"old", b"new", lambda: None)  # and no lock is held


def test_what_is_read_with_its_stamp_is_what_the_stamp_is_of(local):
    local.write("A/x", b"old")
    data, stamp = local.read_stamped("A/x")
    assert (data, stamp) == (b"old", local.stamp("A/x"))
    local.write("A/x", b"new")
    assert local.read_stamped("A/x") == (b"new", local.stamp("A/x"))
    assert local.stamp("A/x") != stamp
    assert local.read_stamped("A/y") is None


def _zipped(service, folder):
    """Return an archive of the objects in a folder."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for key, data in service.objects.items():
            if key.startswith(folder):
                archive.writestr(key.removeprefix(folder), data)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:.*asynchronous=True")  # zarr-python's
def test_a_store_behind_a_cache_of_fsspec_is_read_only(service, monkeypatch):
    """What is written there would not be seen by later reads."""
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w-", ["a"], version="0.5") as image:
        image.create_image(
            "0", np.ones((1, 1, 1, 8, 8), "u2"), chunks=(1, 1, 1, 4, 4), shards_ratio=(1, 1, 1, 2, 2)
        )
    service.objects["/bucket/a.zip"] = _zipped(service, "/bucket/a.zarr/")
    options = {"key": "testing", "secret": "testing", "endpoint_url": service.endpoint}
    url = "simplecache::s3://bucket/a.zarr"
    for chain in ("zip::s3://bucket/a.zip", url, "zip::s3://bucket/a.zip", "blockcache::s3://bucket/a.zarr"):
        with monkeypatch.context() as patch:
            patch.delenv("AWS_ENDPOINT_URL")
            assert lamella.open_ome_zarr(chain, storage_options=options)["0"][...].all()
    options = {"s3": options, "simplecache": {"compression": None}}
    assert lamella.open_ome_zarr(url, storage_options=options)["0"][...].all()
    assert options["simplecache"] == {"compression": None}  # fsspec writes into the options that it gets
    before = dict(service.objects)
    with pytest.raises(ReadOnlyError, match="can only be read"):
        lamella.open_ome_zarr(url, mode="r+", storage_options=options)
    with pytest.raises(ReadOnlyError):
        lamella.write_image("simplecache::s3://bucket/b.zarr", np.ones((8, 8), "u1"), "yx")
    assert service.objects == before


def test_a_damaged_archive_behind_a_chain_is_one_clear_error(service):
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w-", ["a"], version="0.5") as image:
        image.create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    good = _zipped(service, "/bucket/a.zarr/")
    directory, content = bytearray(good), bytearray(good)
    directory[good.find(b"PK\1\2")] = 0
    content[good.find(b"{") + 5] ^= 255
    for data in (b"", b"hello" * 30, good[:-9], bytes(directory)):
        service.objects["/bucket/a.zip"] = data
        for url in ("zip://::s3://bucket/a.zip", "zip::s3://bucket/a.zip"):
            with pytest.raises(MetadataError, match=r"^Cannot read the archive zip.*\. Copy it again\.$"):
                lamella.open_ome_zarr(url)
    service.objects["/bucket/a.zip"] = bytes(content)
    with pytest.raises(DamagedDataError, match="Copy the archive again"):
        lamella.open_ome_zarr("zip://::s3://bucket/a.zip")


@pytest.mark.parametrize("document", ["zarr.json", "A/1/0/0/zarr.json"])
def test_a_damaged_document_of_an_archive_behind_a_chain_hides_no_other(service, document):
    with lamella.open_ome_zarr("s3://bucket/p.zarr", "hcs", "w-", ["a"], version="0.5") as plate:
        for column in ("1", "2"):
            plate.create_position("A", column, "0").create_image("0", np.ones((1, 1, 1, 8, 8), "u2"))
    data = bytearray(_zipped(service, "/bucket/p.zarr/"))
    data[data.find(b"{", data.find(document.encode())) + 5] ^= 255
    service.objects["/bucket/p.zip"] = bytes(data)
    assert f"{document}: Bad CRC-32" in str(lamella.validate("zip://::s3://bucket/p.zip"))
    if document != "zarr.json":
        plate = lamella.open_ome_zarr("zip://::s3://bucket/p.zip")
        assert [path for path, _ in plate.positions()] == ["A/1/0", "A/2/0"]


def test_keys_with_two_slashes_are_named_where_they_prevent_a_list(service):
    lamella.open_ome_zarr("s3://bucket/p.zarr", "hcs", "w-", ["a"], version="0.5").create_position(
        "A", "1", "0"
    )
    service.objects["/bucket/p.zarr/A//x"] = b""
    with pytest.raises(
        StorageError, match=r"two slashes in a row, below 'p\.zarr/A//.*Delete or rename them"
    ):
        open_storage("s3://bucket/p.zarr").sizes_below("")


@pytest.mark.parametrize("kind", ["memory", "s3", "fsspec s3", "fsspec memory"])
@pytest.mark.parametrize("name", ["p*", "p[ab]", "p?", "p&<\"'>"])
def test_a_name_that_is_a_pattern_deletes_nothing_that_the_pattern_matches(name, kind, service):
    folder = f"{uuid.uuid4().hex[:8]}.zarr"
    base = f"memory://{folder}" if "memory" in kind else f"s3://bucket/{folder}"

    def named(name):
        if "fsspec" not in kind:
            return open_storage(f"{base}/{name}")
        options = {"endpoint_url": service.endpoint} if kind == "fsspec s3" else {}
        return open_storage(FsspecStore.from_url(f"{base}/{name}", storage_options=options))

    files = {"0/zarr.json": b"0", "0*/zarr.json": b"*", "0/c/0": b"1"}
    other, own = named("pa"), named(name)
    for storage in (other, own):
        storage.write_many(files.items())
    own.delete("0*")
    assert sorted(own.keys_below("")) == ["0/c/0", "0/zarr.json"]
    own.move("0", "1*")
    own.delete("")
    assert own.keys_below("") == []
    group = zarr.open_group(own.zarr_store(), mode="a")
    group.require_group("00")
    group.require_group("0*")
    del group["0*"]
    assert [*zarr.open_group(own.zarr_store(), mode="r")] == ["00"]
    assert {key: other.read(key) for key in other.keys_below("")} == files


class Own(FsspecStore):
    """A store of a user's own."""


@pytest.mark.parametrize("kind", ["memory URL", "fsspec", "own fsspec", "fsspec s3", "obstore folder"])
def test_all_handles_of_one_place_exclude_each_other(kind, service, tmp_path):
    url = f"memory://{uuid.uuid4().hex}/a.zarr"

    def opened(mode="r+", **options):
        if kind == "obstore folder":
            target = ObjectStore(ObstoreFolder(tmp_path / "a.zarr", mkdir=True))
        elif kind == "fsspec s3":
            target = FsspecStore.from_url(
                "s3://bucket/a.zarr", storage_options={"endpoint_url": service.endpoint}
            )
        else:
            kinds = {"fsspec": FsspecStore, "own fsspec": Own}
            target = kinds[kind].from_url(url) if kind in kinds else url
        return lamella.open(target, mode, **options)

    opened("w-", layout="fov", channel_names=["a"])["0"] = np.zeros((1, 1, 1, 16, 16), "u1")
    handles = [opened() for _ in range(4)]

    def write(row):
        handles[row % 4]["0"][..., row, :] = row
        handles[row % 4].set_attributes({str(row): row})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    assert opened()["0"][0, 0, 0, :, 0].tolist() == list(range(16))
    assert {str(row) for row in range(16)} <= set(opened().zattrs)
