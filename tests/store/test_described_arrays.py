"""Descriptions of arrays and documents: the small rules that all stores share."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lamella.errors import MetadataError
from lamella.store.files.local import LocalStorage
from lamella.store.metadata import json_document
from lamella.store.metadata.array_creation import (
    array_like,
    auto_layout,
    chunks_and_shards,
    default_chunks,
    fit_chunks,
    new_array,
)
from lamella.store.metadata.array_meta import ArrayMeta, Compressor, nearest_choice
from lamella.store.metadata.documents import Documents
from lamella.store.metadata.json_document import (
    document_name,
    is_cut,
    is_too_deep,
    parse_object,
    reject_duplicate_keys,
)
from lamella.store.metadata.missing_document import documents_of
from lamella.store.metadata.parents import path_below
from lamella.store.metadata.text_arrays import text_array, translated


def test_the_grid_of_a_new_array():
    assert default_chunks((10, 3, 40, 2048, 2048), 2) == (1, 1, 40, 2048, 2048)
    assert default_chunks((1, 1, 400, 2048, 2048), 2) == (1, 1, 58, 2048, 2048)
    assert auto_layout((4, 2, 32, 1024, 1024), 2, True) == ((1, 1, 8, 256, 256), (1, 1, 32, 1024, 1024))
    assert auto_layout((512, 512), 2, True) == ((512, 512), None)
    layout = chunks_and_shards((2, 64, 2048, 2048), 2, 1, chunks="auto", shards="auto")
    assert layout == ((1, 8, 256, 256), (1, 8, 512, 2048))
    assert chunks_and_shards((2, 3, 40), 2, 0, chunks=(64,), shards="none") == ((1, 1, 40), None)
    assert fit_chunks((1, 256, 256), (512, 300)) == (1, 256, 150)
    assert new_array((2, 9, 9), "u2", zarr_format=3, chunks=(1, 3, 3), shards=(1, 9, 9)).files == (1, 9, 9)


def test_an_array_like_another_has_its_settings_in_a_smaller_grid():
    old = new_array((2, 8, 8), "u1", zarr_format=3, chunks=(1, 4, 4), shards=(2, 8, 8), compressor=False)
    small = array_like(old, zarr_format=3, shape=(1, 8, 3))
    assert (small.chunks, small.shards, small.compressor) == ((1, 4, 3), (1, 8, 3), None)
    assert (nearest_choice(None, 3, 2), nearest_choice(Compressor("lzma"), 3, 2)) == (False, None)
    assert nearest_choice(Compressor("zlib", clevel=3), 3, 2) == Compressor("gzip", clevel=3)


def test_the_files_of_an_array():
    meta = ArrayMeta((5, 4), np.dtype("u1"), (2, 2))
    assert meta.file_region((2, 1)) == (slice(4, 5, 1), slice(2, 4, 1))
    assert meta.chunk_key((1, 0)) == "c/1/0"
    assert ArrayMeta((5, 4), np.dtype("u1"), (2, 2), (4, 4)).chunks_in((1, 0)) == 2


def test_a_document_is_an_object_without_contradictions():
    with pytest.raises(
        MetadataError, match=r"A/1/0/zarr\.json is damaged: it contains a list, not an object"
    ):
        parse_object(b"[1, 2]", "A/1/0", "zarr.json")
    assert reject_duplicate_keys([("a", 1), ("a", 1)]) == {"a": 1}
    assert (is_cut(b'{"a": {"b": 1}}'), is_cut(b'{"a": {"b"')) == (False, True)
    nested: Any = []
    for _ in range(99):
        nested = [nested]
    assert (is_too_deep(nested), is_too_deep({"a": nested})) == (False, True)


def test_names_of_documents_in_messages():
    names = [documents_of(3, "array"), documents_of(2, "array"), documents_of(2, "group")]
    assert names == ["zarr.json", ".zarray", ".zgroup and .zattrs"]
    assert document_name("/data/plate.zarr/A/1", "zarr.json") == "/data/plate.zarr/A/1/zarr.json"
    assert document_name("", "zarr.json") == "zarr.json"
    assert path_below(LocalStorage("/data/plate.zarr/A/1"), 2) == "A/1"
    assert path_below(LocalStorage("/data"), 2) == ""


def test_arrays_of_texts_have_equal_chunks_in_both_formats():
    document = {
        "zarr_format": 2,
        "shape": [3],
        "chunks": [2],
        "dtype": "|O",
        "compressor": None,
        "fill_value": "",
    }
    described = translated({**document, "filters": [{"id": "vlen-utf8"}]}, {}, "obs/_index")
    assert described is not None
    old, new = described
    assert (old.chunk_key((1,)), new.chunk_key((1,))) == ("1", "c/1")
    assert (new.document["data_type"], new.document["codecs"]) == ("string", [{"name": "vlen-utf8"}])
    meta, chunks = text_array(["a", "bc"], 3, {})
    assert (meta.document["data_type"], list(chunks)) == ("string", ["c/0"])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_that_this_process_wrote_is_described_as_when_it_is_parsed(tmp_path, zarr_format):
    # What was just written is not parsed again: other processes must not see another array.
    documents = Documents.create(LocalStorage(tmp_path), zarr_format)
    compressors: list[Any] = [False, None, "zstd", "gzip", {"name": "blosc", "cname": "lz4", "clevel": 3}]
    settings = itertools.product(["u1", "u2", "f4", "c8", "?"], compressors, [None, (4, 8)], [0, 1])
    for number, (dtype, compressor, shards, fill_value) in enumerate(settings):
        if shards is not None and zarr_format == 2:
            continue
        options = {"compressor": compressor, "shards": shards, "fill_value": fill_value}
        documents.put_array(
            f"{number}", new_array((9, 8), dtype, zarr_format=zarr_format, chunks=(2, 4), **options)
        )
    names = sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir())
    written = [documents.array(name) for name in names]
    json_document._parsed.clear()
    parsed = Documents(LocalStorage(tmp_path), zarr_format)
    assert len(written) >= 50
    assert written == [parsed.array(name) for name in names]
