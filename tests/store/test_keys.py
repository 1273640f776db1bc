"""Keys, names and path arguments: the small rules that all stores share."""

from __future__ import annotations

from pathlib import Path

import pytest
from zarr.storage import MemoryStore

from lamella.errors import InvalidArgumentError, InvalidNameError, TooLargeError
from lamella.store.files.archives import is_archive_name, open_archive, split_archive_url
from lamella.store.files.temporary_files import abandon, is_abandoned, shown_as, shown_name, temporary_name
from lamella.store.keys import (
    V2,
    ancestors,
    check_key,
    check_new_name,
    is_document,
    is_key,
    is_metadata_file,
    is_private,
    is_tensorstore_lock,
    join,
    join_names,
    name_order,
    natural_order,
    private_name,
    problem_of_key,
    shortened,
)
from lamella.store.paths import is_url, local_path, location
from lamella.store.process_limits import binary_size, check_memory
from lamella.store.storage import is_store, share_options, with_options


def test_a_key_names_something_inside_a_store():
    assert check_key("A/1/0/zarr.json") == "A/1/0/zarr.json"
    with pytest.raises(
        InvalidNameError, match=r"'\.\./secret' is not a path inside a store: it has a '\.\.' part"
    ):
        check_key("../secret")
    assert (is_key("A/1"), is_key("A//1")) == (True, False)
    assert (problem_of_key("A/1"), problem_of_key("A//1")) == (None, "it has an empty part")
    assert check_new_name("cells") == "cells"
    with pytest.raises(InvalidNameError, match="cannot be the name of a node"):
        check_new_name(".zattrs")


def test_keys_are_joined_and_sorted():
    assert [join("A/1", "zarr.json"), join("", "zarr.json"), join("A", "")] == [
        "A/1/zarr.json",
        "zarr.json",
        "A",
    ]
    assert [join_names("", "A/", "1"), join_names("A/1", "/0"), join_names("", "")] == ["A/1", "A/1/0", ""]
    assert ancestors("A/1/0") == ["", "A", "A/1"]
    assert sorted(["10", "B", "2", "A10", "A9"], key=natural_order) == ["2", "10", "A9", "A10", "B"]
    names = ["1", "1b", "2", "10", *"ABYZ", "AA", "AB", "AF", "A9", "A10", "left"]
    assert sorted(sorted(names), key=name_order) == names


def test_names_of_documents_and_of_temporary_files_are_recognised():
    names = ["zarr.json", ".zattrs", ".zmetadata", "0"]
    assert [is_metadata_file(name) for name in names] == [True, True, True, False]
    assert [is_document(f"A/{name}") for name in names] == [True, True, False, False]
    assert V2.document_names == (".zgroup", ".zattrs", ".zarray")
    names = ["c_15f1a44d038bbe61.__lock", "notes.__lock", "download.partial"]
    assert [is_private(name) for name in names] == [True, False, False]
    assert is_tensorstore_lock("0.0_25e487a525d4d6b3.__lock")
    assert is_tensorstore_lock("zarr.json.__lock")


def test_long_names_of_temporary_files_are_shortened_and_differ():
    assert private_name("zarr.json", ".lock") == ".lamella-zarr.json.lock"
    assert private_name("a" * 250) != private_name("a" * 251)
    assert len(private_name("a" * 250, ".lock")) == 253
    assert shortened("cells", 60) == "cells"
    assert shortened("cells of " + "many " * 20, 30) == "cells of many-9d13ef8a85c97533"


def test_a_temporary_name_is_abandoned_once_its_call_failed():
    name = temporary_name(".tmp")
    assert not is_abandoned(name)
    abandon(name)
    assert is_abandoned(name)


def test_messages_name_the_destination_in_place_of_a_temporary_folder():
    with shown_as("/data/new", "s3://bucket/new.zarr"):
        names = [shown_name(name) for name in ("/data/new", "/data/new/A", "/data/newer")]
    assert names == ["s3://bucket/new.zarr", "s3://bucket/new.zarr/A", "/data/newer"]


def test_urls_and_paths_are_told_apart():
    texts = ["s3://bucket/a.zarr", "file:///data/a.zarr", "C:/a.zarr", "my_plate::1.zarr"]
    assert [is_url(text) for text in texts] == [True, False, False, False]
    assert location("s3://bucket/a.zarr") == "s3://bucket/a.zarr"
    assert location("file:///data/a%20b.zarr") == "/data/a b.zarr"
    with pytest.raises(InvalidArgumentError, match="a URL that lost a slash"):
        location(Path("s3://bucket/a.zarr"))
    with pytest.raises(InvalidArgumentError, match="is a URL, and the manifest can only be"):
        local_path("s3://bucket/sums", "the manifest")
    assert (is_store(MemoryStore()), is_store("s3://bucket/a.zarr")) == (True, False)


def test_options_go_with_the_urls_of_a_call_that_accept_them():
    assert type(with_options("/data/a.zarr", None)) is str
    url = with_options("s3://bucket/a.zarr", {"anon": True})
    assert (url, url.storage_options) == ("s3://bucket/a.zarr", {"anon": True})
    paths = share_options(["s3://bucket/a.zarr", "memory://a.zarr", "/data/a.zarr"], {"anon": True})
    assert [type(path).__name__ for path in paths] == ["OptionedURL", "str", "str"]


def test_archives_are_recognised_by_their_endings():
    names = ["plate.ozx", "plate.zarr.ZIP", "plate.zarr"]
    assert [is_archive_name(name) for name in names] == [True, True, False]
    assert repr(open_archive("/data/plate.ozx")) == "ZipStorage('/data/plate.ozx')"
    assert open_archive("/data/plate.zarr") is None
    parts = split_archive_url("s3://bucket/screens/plate.ozx/A/1")
    assert parts == ("s3://bucket/screens", "plate.ozx", "A/1")
    assert split_archive_url("s3://bucket/plate.zarr") is None


def test_sizes_beyond_the_memory_are_refused():
    assert [binary_size(1536), binary_size(3 << 60)] == ["1.5 KiB", "3 EiB"]
    check_memory((2, 2), 2, lambda: "reading '0'")
    with pytest.raises(TooLargeError, match=r"reading '0' needs 2 EiB .*\(1099511627776, 1048576\)"):
        check_memory((2**40, 2**20), 2, lambda: "reading '0'")
