"""URLs, errors of services and plans of requests: the small rules that all remote stores share."""

from __future__ import annotations

import asyncio

import pytest
from obstore.store import MemoryStore as ObstoreMemory
from zarr.storage import FsspecStore, MemoryStore, ObjectStore

from lamella.errors import InvalidArgumentError, StorageError
from lamella.store.objects.addresses import (
    address_of,
    clean_url,
    identity_of,
    is_web,
    lock_name,
    lock_root,
    may_have_query,
    split_chain,
    split_url,
    survives_fork,
    title_in,
    without_secrets,
)
from lamella.store.objects.credentials import (
    StaticCredentials,
    accepts_options,
    refuse_options,
    refuse_signed_file,
    resolve,
)
from lamella.store.objects.document_memory import ReadUnderLocks, RecentDocuments
from lamella.store.objects.event_loop import PerLoop, run
from lamella.store.objects.merging_store import count_changes, merged
from lamella.store.objects.object_client import FIRST_WAIT, retry_waits
from lamella.store.objects.range_plan import Span, extract_ranges, spans_of
from lamella.store.objects.service_errors import (
    conceal_secrets,
    explained,
    is_temporary,
    may_exist_error,
    ranges_ignored_error,
    request_error,
    status_of,
)
from lamella.store.objects.url_checks import check_url
from lamella.store.objects.versions import split_address
from lamella.store.objects.web_answers import is_without_length, uncompressed
from lamella.store.objects.zarr_storage import chain_options


@pytest.mark.parametrize(
    ("urls", "identity"),
    [
        (
            ["s3a://bucket/plates/a.zarr/", "https://bucket.s3.eu-west-1.amazonaws.com/plates/a.zarr"],
            "web://s3.amazonaws.com/bucket/plates/a.zarr",
        ),
        (
            ["gcs://bucket/a%20b.zarr", "https://storage.googleapis.com/bucket/a%2520b.zarr?sig=1"],
            "web://storage.googleapis.com/bucket/a%20b.zarr",
        ),
        (
            ["abfss://box@me.dfs.core.windows.net/a.zarr", ("az://box/a.zarr", "", "me")],
            "web://me.blob.core.windows.net/box/a.zarr",
        ),
        (
            [("s3://bucket/a.zarr", "http://127.0.0.1:9000"), "http://127.0.0.1:9000/bucket//a.zarr"],
            "web://127.0.0.1:9000/bucket/a.zarr",
        ),
    ],
)
def test_all_urls_of_a_store_have_one_identity(urls, identity):
    assert {identity_of(*((url,) if isinstance(url, str) else url)) for url in urls} == {identity}


def test_urls_have_kinds_and_parts():
    assert (is_web("HTTPS://host/a%20b.zarr"), is_web("s3://bucket/a b.zarr")) == (True, False)
    assert may_have_query("az://plates/a.zarr?sig=1")
    assert not may_have_query("s3://bucket/which?.zarr")
    assert split_chain("zip://a.zarr::s3://bucket/a.zip") == ["zip://a.zarr", "s3://bucket/a.zip"]
    assert split_chain("http://[::1]:8000/a.zarr") == ["http://[::1]:8000/a.zarr"]
    assert split_url("s3://bucket/plates/a b.zarr/") == ("bucket", "plates/a b.zarr")
    assert split_url("abfss://box@me.dfs.core.windows.net/a.zarr") == ("box", "a.zarr")
    titles = ["s3://bucket/screen 1.ome.zarr", "https://host/a%20b.zarr", "memory://140230"]
    assert [title_in(url) for url in titles] == ["screen 1", "a b", ""]
    assert split_address("icechunk+s3://bucket/plate@v1") == ("s3://bucket/plate", "v1")
    assert split_address("icechunk+file:///data/plate") == ("file:///data/plate", "main")


def test_locks_are_those_of_the_location():
    assert lock_name("s3a://bucket//plates/a.zarr/") == "s3://bucket/plates/a.zarr"
    assert lock_name("abfss://box@me.dfs.core.windows.net/a.zarr") == "az://box/a.zarr"
    for url in ("memory://plates/a.zarr", "icechunk+s3://bucket/a"):
        assert lock_name(url) == url
    first, second = MemoryStore(), MemoryStore()
    assert lock_root(first) == lock_root(first) != lock_root(second)
    assert address_of(FsspecStore.from_url("memory://plates/a.zarr")) == "memory://plates/a.zarr"
    assert (survives_fork(MemoryStore()), survives_fork(ObjectStore(ObstoreMemory()))) == (True, False)


def test_no_message_has_a_password_or_a_signature():
    urls = ["https://me:secret@host/plates/a%20b.zarr/?signature=1", "az://plates/a.zarr?sig=1"]
    assert [clean_url(url) for url in urls] == ["https://host/plates/a%20b.zarr", "az://plates/a.zarr"]
    assert clean_url("zip://a.zarr::ftp://me:secret@host/a.zip") == "zip://a.zarr::ftp://host/a.zip"
    text = "403, url='https://me:secret@host/a.zarr?sig=1' (Forbidden)"
    assert without_secrets(text) == "403, url='https://host/a.zarr' (Forbidden)"
    error = OSError("403 of https://me:secret@host/a.zarr?sig=1")
    conceal_secrets(error)
    assert str(error) == "403 of https://host/a.zarr"
    keys = StaticCredentials((("access_key_id", "me"), ("secret_access_key", "secret")))
    assert repr(keys) == "StaticCredentials(...)"


def test_options_are_resolved_and_refused_by_url():
    options = {"key": "me", "secret": "s", "endpoint_url": "http://localhost:9000"}
    resolved = resolve("s3://bucket/a.zarr", options, {})
    assert repr(resolved) == "ResolvedUrl(kind='s3', origin='the key and secret of storage_options')"
    assert resolve("s3://bucket/a.zarr", {"anon": True}, {}).origin == "no credentials (anon=True)"
    urls = ["s3://bucket/a.zarr", "https://host/a.zarr"]
    assert [accepts_options(url, {"key": "me"}) for url in urls] == [True, False]
    assert not accepts_options("memory://a.zarr", {"anon": True})
    refuse_options(None, "/data/a.zarr")
    with pytest.raises(InvalidArgumentError, match="leave out anon"):
        refuse_options({"anon": True}, "/data/a.zarr")
    refuse_signed_file("https://host/a.zarr?sig=1")
    with pytest.raises(InvalidArgumentError, match="the URL is signed for"):
        refuse_signed_file("https://host/a.zarr/zarr.json?X-Amz-Signature=1")
    for url, passed in (
        ("simplecache::s3://bucket/a.zarr", {"s3": {"anon": True}}),
        ("zip::s3://b/a.zip", {"anon": True}),
    ):
        assert chain_options(url, passed)["s3"]["anon"] is True
    check_url("s3://bucket/plates/a.zarr")
    with pytest.raises(InvalidArgumentError, match="its path has two slashes in a row"):
        check_url("s3://bucket/plates//a.zarr")


def test_errors_of_requests_are_recognised_and_explained():
    assert (status_of(PermissionError("Forbidden")), status_of(ValueError("no"))) == (403, None)
    assert (is_temporary(ConnectionResetError()), is_temporary(PermissionError("Access Denied"))) == (
        True,
        False,
    )
    text = str(request_error("read", "zarr.json", "s3://bucket/a.zarr", PermissionError("Access Denied")))
    assert text.startswith(
        "Cannot read s3://bucket/a.zarr/zarr.json: the service refuses it (403 Forbidden: Access Denied)."
    )
    with (
        pytest.raises(
            StorageError, match=r"Cannot write s3://bucket/a\.zarr/zarr\.json: no answer came in time"
        ),
        explained("write", "zarr.json", "s3://bucket/a.zarr"),
    ):
        raise TimeoutError
    text = str(may_exist_error("0/c/0", "s3://bucket/a.zarr"))
    assert text.startswith("Cannot write a part of s3://bucket/a.zarr/0/c/0: the service answers 403 for it,")
    assert "the server ignores the Range header" in str(ranges_ignored_error("https://host/a.zarr/0/c/0"))
    assert is_without_length(ValueError("Generic HTTP error: Content-Length Header missing from response"))
    assert uncompressed(b"{}", "", "https://host/a.zarr/zarr.json", is_part=False) == b"{}"
    assert next(retry_waits()) <= FIRST_WAIT


def test_near_ranges_share_a_request():
    spans = spans_of([(0, 100), (5000, 100), (-20, 20), (1 << 30, 100)])
    assert spans == [Span(0, 5100), Span(1 << 30, (1 << 30) + 100), Span(-20, 0)]
    answers = {Span(2, 17): memoryview(b"cdefghij"), Span(-2, 0): memoryview(b"ij")}
    assert extract_ranges([(2, 3), (-2, 2), (8, 9)], answers) == [b"cde", b"ij", b"ij"]


def test_documents_are_remembered_for_some_seconds_and_popped_once():
    recent = RecentDocuments[bytes](10)
    recent.add({"A/zarr.json": b"{}", "B/zarr.json": None})
    assert [recent.peek("A/zarr.json"), recent.pop("A/zarr.json"), recent.pop("A/zarr.json")] == [
        (b"{}",),
        (b"{}",),
        None,
    ]
    assert (recent.peek("B/zarr.json"), recent.peek("C/zarr.json")) == ((None,), None)
    recent = RecentDocuments[bytes](0)
    recent.add({"zarr.json": b"{}"})
    assert recent.peek("zarr.json") is None


def test_a_second_lock_reads_documents_below_its_folder_again():
    read = ReadUnderLocks[bytes]()
    with read.under(""):
        read.add({"zarr.json": b"{}", "A/1/zarr.json": b"{}"})
        with read.under("A/1"):
            assert (read.get("zarr.json"), read.get("A/1/zarr.json")) == ((b"{}",), None)
            assert read.latest("A/1/zarr.json") == (b"{}",)
    assert read.latest("zarr.json") is None


def test_changes_of_two_writers_are_merged():
    assert count_changes({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2, "d": 4}, "e": 5}) == 3
    result = merged({"a": 1, "b": {"c": 2}}, {"a": 9, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    assert result == {"b": {"c": 4, "d": 3}}


def test_coroutines_run_on_a_loop_with_its_own_locks():
    lock = PerLoop(asyncio.Lock)

    async def is_free() -> bool:
        return not lock().locked()

    assert run(is_free())
