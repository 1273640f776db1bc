"""Law: who reads a store on a service, through fsspec, asks it for nothing but to give, to look at and to list."""

from __future__ import annotations

from collections import Counter

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from torture.specimens import names, specimen

import lamella
from lamella.errors import LamellaError
from lamella.nodes.html import node_html

#: What a service is asked for as GET, HEAD or LIST.
READING = {
    "cat_file",
    "info",
    "ls",
    "find",
    "exists",
    "isfile",
    "isdir",
    "size",
    "modified",
    "checksum",
    "ukey",
}

#: What changes something there.
CHANGING = {
    "pipe_file", "put_file", "cp_file", "mkdir", "makedirs", "rmdir", "rm", "rm_file", "_rm", "touch", "pipe", "put",
    "mv", "mv_file", "copy", "cp", "delete", "move", "rename", "write_bytes", "write_text", "upload",
}  # fmt: skip


@pytest.fixture
def service(monkeypatch):
    """A service in memory, and a log of what it is asked for."""
    log = Counter()
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])

    def logged(name):
        call = getattr(MemoryFileSystem, name)

        def ask(self, *arguments, **options):
            log[name] += 1
            return call(self, *arguments, **options)

        return ask

    for name in (READING | CHANGING) & set(dir(MemoryFileSystem)):
        monkeypatch.setattr(MemoryFileSystem, name, logged(name))
    opened = MemoryFileSystem._open

    def opening(self, path, mode="rb", **options):
        log["open to read" if mode == "rb" else f"open with {mode}"] += 1
        return opened(self, path, mode, **options)

    monkeypatch.setattr(MemoryFileSystem, "_open", opening)
    return log


def put(name):
    """Put a specimen into the service."""
    files = MemoryFileSystem()
    for key, data in specimen(name).items():
        files.pipe_file(f"/{name.replace(' ', '-')}.zarr/{key}", data)
    return f"memory://{name.replace(' ', '-')}.zarr"


def used(url):
    """Read a store in every way that there is for one that is no folder."""
    node = lamella.open_ome_zarr(url)
    _ = repr(node), node_html(node), list(node), str(lamella.validate(url, pixels=True, jobs=1))
    node.print_tree()
    positions = [position for _, position in node.positions()] if hasattr(node, "positions") else [node]
    for position in positions:
        for _, array in position.images() if hasattr(position, "images") else ():
            _ = array[(0,) * array.ndim], array[...], array.dask_array().compute(), array.read_many([0])
            _ = array.zarr()[...], str(position.status()), position.to_xarray()
    for call in (lamella.status, lamella.verify, lamella.checksum):
        _ = str(call(url))
    return node


@pytest.mark.parametrize("name", names())
def test_reading_asks_a_service_for_nothing_that_changes_it(service, name):
    url = put(name)
    before = {key: file.getvalue() for key, file in MemoryFileSystem.store.items()}
    service.clear()
    try:
        node = used(url)
    except LamellaError:
        node = lamella.open_ome_zarr(url)  # what a specimen does not have
    with pytest.raises(LamellaError):
        node.zattrs["key"] = 1
    node.close()
    assert service
    assert {ask for ask in service if ask not in READING and ask != "open to read"} == set()
    assert {key: file.getvalue() for key, file in MemoryFileSystem.store.items()} == before


@pytest.mark.parametrize("name", names())
def test_stores_of_obstore_are_read_as_all_others(name):
    from obstore.store import MemoryStore
    from zarr.storage import ObjectStore

    objects = MemoryStore()
    for key, data in specimen(name).items():
        objects.put(key, data)
    by_obstore, by_fsspec = ObjectStore(objects), put(name)
    try:
        used(by_obstore)
    except LamellaError as error:
        with pytest.raises(type(error)):
            used(by_fsspec)
    assert [one.keys() for one in (lamella.checksum(by_obstore), lamella.checksum(by_fsspec))] == [
        specimen(name).keys()
    ] * 2


def test_a_service_is_no_place_for_the_files_of_engines(service):
    # TensorStore would ask with credentials and settings of its own, and is not given the store.
    storage = lamella.open_ome_zarr(put("image 0.5")).documents.storage
    assert storage.kvstore("0") is None
    with pytest.raises(LamellaError):
        lamella.open_ome_zarr(put("image 0.5"))["0"].tensorstore()
