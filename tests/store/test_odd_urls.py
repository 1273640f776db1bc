"""Law: a path or URL that names no store is refused in words of lamella, by each call alike, before any request."""

from __future__ import annotations

import warnings
import zipfile

import fsspec
import numpy as np
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.cached import SimpleCacheFileSystem
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import FsspecStore

import lamella
from lamella import errors
from lamella.store.objects.addresses import clean_url, identity_of
from lamella.store.objects.credentials import resolve
from lamella.store.storage import open_storage

REFUSED = {
    "s3://": "Give the whole URL",
    "gs:///": "Give the whole URL",
    "ftp://": "Give the whole URL",
    "simplecache::": "Give the whole URL",
    "http://": "Give the whole URL",
    "http:///a.zarr": "is not a server",
    "http://127.0.0.1:99999/a.zarr": "is not a server",
    "http://[::1/a.zarr": "is not a server",
    "s3://bucket/x//a.zarr": "two slashes in a row",
    "s3://bucket/x//a.zip": "two slashes in a row",
    "s3://bucket/a.zip/../b": "a '..' part",
    "s3://bucket/./a.zarr": "a '.' part",
    "gs://bucket/b.zarr/../a.zarr": "a '..' part",
    "s3://bucket/a\n.zarr": "a control character",
    "s3://bucket/\udcff.zarr": "not Unicode",
    "s3://me:secret@bucket/a.zarr": "Pass credentials as",
    "dir::file:///a.zarr": "'dir' of fsspec",
    "dir::s3://bucket/a.zarr": "'dir' of fsspec",
    "s3n://bucket/a.zarr": "begin with 's3n' are unknown",
    "jupyter://a.zarr": "pass what it needs",
    "file://": "names no file or folder",
    "file://a.zarr": "names no file or folder",
}
CALLS = {
    "open": lamella.open_ome_zarr,
    "create": lambda url: lamella.open_ome_zarr(url, "fov", "w", ["GFP"]),
    "validate": lamella.validate,
    "verify": lamella.verify,
    "copy": lambda url: lamella.copy_store(url, "made.zarr"),
    "unpack": lambda url: lamella.copy_store("a.zarr", url),
    "upgrade": lambda url: lamella.upgrade(url, "0.4"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_url_that_names_no_store_is_refused(call, service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lamella.open_ome_zarr("a.zarr", "fov", "w", ["GFP"]).close()
    for url, words in REFUSED.items():
        with pytest.raises(errors.InvalidArgumentError) as caught:
            CALLS[call](url)
        assert words in str(caught.value), url
        shown = url.replace("me:secret@", "").rstrip("/") + ("//" if url.endswith("//") else "")
        assert not url.isprintable() or shown in str(caught.value)
        assert "secret" not in str(caught.value)
    assert not service.requests
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_store_of_fsspec_with_a_cache_before_a_web_server_is_refused_as_its_url_is(service):
    with pytest.warns(UserWarning, match="asynchronous"):
        store = FsspecStore(SimpleCacheFileSystem(fs=HTTPFileSystem()), path=f"{service.endpoint}/a.zarr")
    with pytest.raises(errors.InvalidArgumentError, match=r"do not work for web servers"):
        lamella.open_ome_zarr(store)


def test_a_wrapped_cache_before_a_web_server_reads_and_verifies_all(service, tmp_path):
    """It was refused; before, its pixels were read, and `verify` found no group."""
    lamella.write_image(tmp_path / "a.zarr", np.ones((8, 8), "u1"), "yx")
    service.put_folder(tmp_path / "a.zarr", "/web/a.zarr")
    cache = SimpleCacheFileSystem(target_protocol="http", cache_storage=str(tmp_path / "cache"))
    wrapped = AsyncFileSystemWrapper(cache, asynchronous=True)
    store = FsspecStore(wrapped, path=f"{service.endpoint}/web/a.zarr", read_only=True)
    assert lamella.open_ome_zarr(store).data[:].all()
    assert lamella.verify(store).files == 1


def test_a_url_may_leave_all_to_its_options(tmp_path):
    """It was refused for ending too early."""
    lamella.open_ome_zarr(tmp_path / "a.zarr", "fov", "w", ["GFP"], version="0.5").close()
    references = {"zarr.json": (tmp_path / "a.zarr" / "zarr.json").read_text()}
    assert lamella.open_ome_zarr("reference://", storage_options={"fo": references}).channel_names == ["GFP"]


def test_a_chain_with_a_cache_opens_without_a_warning_of_others(s3):
    lamella.open_ome_zarr(f"s3://{s3.name}/a.zarr", "fov", "w", ["GFP"]).close()
    assert lamella.open_ome_zarr(f"simplecache::s3://{s3.name}/a.zarr").channel_names == ["GFP"]


def test_other_threads_keep_their_filters_of_warnings_while_a_url_is_opened():
    """They were replaced, and stayed replaced where two threads opened URLs at once."""
    seen = []

    class Watching(MemoryFileSystem):
        protocol = "watching"

        def __init__(self, **options):
            seen.append(warnings.filters)
            super().__init__(**options)

    fsspec.register_implementation("watching", Watching, clobber=True)
    with pytest.raises(lamella.errors.StoreNotFoundError):
        lamella.open_ome_zarr("watching://a.zarr")
    assert seen == [warnings.filters]
    assert seen[0] is warnings.filters


def test_a_chain_reads_keys_with_two_slashes_as_its_file_system_does(service):
    lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w", ["GFP"]).close()
    service.objects.update(
        {key.replace("/a.zarr", "/x//a.zarr"): data for key, data in service.objects.items()}
    )
    assert lamella.open_ome_zarr("simplecache::s3://bucket/x//a.zarr").channel_names == ["GFP"]


def test_a_local_name_with_two_colons_is_no_chain(tmp_path, monkeypatch):
    """Of ``my_plate::a.zarr``, ``a.zarr`` was written, by fsspec."""
    monkeypatch.chdir(tmp_path)
    lamella.open_ome_zarr("my_plate::a.zarr", "fov", "w", ["GFP"]).close()
    assert [path.name for path in tmp_path.iterdir()] == ["my_plate::a.zarr"]


def test_a_server_of_ipv6_is_no_chain_and_its_query_no_part_of_a_message():
    resolved = resolve("http://[::1]:8000/a.zarr?sig=secret")
    assert (resolved.kind, resolved.url) == ("http", "http://[::1]:8000/a.zarr?sig=secret")
    assert clean_url(resolved.url) == "http://[::1]:8000/a.zarr"
    assert identity_of(resolved.url) == "web://[::1]:8000/a.zarr"


def test_a_place_that_is_no_folder_is_named_for_what_it_is(tmp_path):
    (tmp_path / "a.zarr").symlink_to(tmp_path / "missing.zarr")
    with pytest.raises(errors.StoreNotFoundError, match=r"symbolic link to .*missing\.zarr, which"):
        lamella.open_ome_zarr(tmp_path / "a.zarr")
    zipfile.ZipFile(tmp_path / "none.zip", "w").close()
    for call in (lamella.open_ome_zarr, lamella.status):
        with pytest.raises(errors.MetadataError, match=r"none\.zip.* has no Zarr metadata"):
            call(tmp_path / "none.zip")
    assert not lamella.validate(tmp_path / "none.zip")


def test_a_destination_that_cannot_be_made_is_named_itself(tmp_path):
    """The name was that of a temporary file, and the reason "File exists" of a folder."""
    source = tmp_path / "a.zarr"
    lamella.open_ome_zarr(source, "fov", "w", ["GFP"]).close()
    (tmp_path / "file").touch()
    for call in (
        lambda place: lamella.copy_store(source, place),
        lambda place: lamella.rechunk(source, place, chunks=(8, 8)),
    ):
        for name in ("C:\\x.zarr", "\udcff.zarr"):
            with pytest.raises(
                errors.InvalidNameError, match=r"^Cannot write '/.*x.zarr'|^Cannot write '/.*udcff.zarr'"
            ):
                call(tmp_path / name)
        with pytest.raises(
            errors.StorageError, match=r"file cannot be created: there is a file in its place"
        ):
            call(tmp_path / "file" / "x.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "file"]


def test_a_failed_request_is_named_without_the_words_of_the_library(service):
    service.fail(503)
    with pytest.raises(errors.StorageError) as caught:
        lamella.open_ome_zarr("s3://bucket/a.zarr", storage_options={"retries": 0})
    assert f"(GET {service.endpoint}/bucket/a.zarr/" in str(caught.value)
    assert "Generic" not in str(caught.value)
    assert "performing" not in str(caught.value)


@pytest.mark.parametrize("chain", ["zip::", "zip://::"])
def test_a_store_at_the_root_of_a_chained_archive_is_listed(tmp_path, chain):
    """Its lists were empty: upgrades and copies of it had no pixels, and `status` missed all chunks."""
    with lamella.open_ome_zarr(tmp_path / "p.zarr", "hcs", "w", ["GFP"], version="0.5") as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    lamella.pack(tmp_path / "p.zarr", tmp_path / "p.zip")
    url = f"{chain}file://{tmp_path}/p.zip"
    assert open_storage(url).list("A") == ["1", "zarr.json"]
    assert lamella.checksum(url) == lamella.checksum(tmp_path / "p.zarr")
    assert lamella.verify(url).files == 1
    assert lamella.upgrade(url, "0.6", tmp_path / "new.zarr").arrays == 1
    assert lamella.copy_store(url, tmp_path / "copy.zarr").files == 1
    assert str(lamella.status(url).images[0].state) == "written"
