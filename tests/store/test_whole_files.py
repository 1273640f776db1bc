"""Law: files that are covered whole are written with the same bytes each time, in memory for a few chunks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from lamella.store.files.temporary_files import AtomicFile
from lamella.store.pixels.coding import Coding
from lamella.store.process_limits import cpus


@pytest.fixture
def make_whole(make_array_with):
    """Make an array that our own engine writes."""
    from functools import partial

    return partial(make_array_with, "files")


def test_the_same_pixels_are_the_same_bytes_each_time(make_whole, layout, values, files_of):
    shape, options = layout
    data = values(shape, "u2")
    one, other = make_whole(shape, path="one", **options), make_whole(shape, path="other", **options)
    one.write(..., data)
    for place in reversed(list(np.ndindex(other.meta.grid))):  # one write per file
        box = other.meta.file_region(place)
        other.write(box, data[box])
    assert files_of(one) == files_of(other)


@pytest.mark.parametrize("zarr_format", [3])
def test_chunks_of_a_shard_that_lie_beyond_the_array_are_not_stored(make_whole, files_of):
    array = make_whole((4, 4), chunks=(2, 4), shards=(8, 4), compressor="gzip")
    array.write(..., 1)
    from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, decode_index

    content = files_of(array)["c/0/0"]
    form = IndexLayout((4, 1))
    entries = decode_index(content[-form.size :], form, "")
    assert (entries[:, 0] != NO_CHUNK).tolist() == [True, True, False, False]


@pytest.mark.parametrize("zarr_format", [3])
@pytest.mark.parametrize("shards", [None, (64, 4)])
def test_no_more_chunks_wait_than_the_threads_need(make_whole, shards, monkeypatch):
    counting = threading.Lock()
    waiting, most = 0, 0
    encode, write = Coding.encode_parts, AtomicFile.write

    def encoding(self, block):
        nonlocal waiting, most
        with counting:
            waiting += 1
            most = max(most, waiting)
        return encode(self, block)

    def written():
        nonlocal waiting
        with counting:
            waiting -= 1

    def writing(self, offset, data):
        written()
        write(self, offset, data)

    array = make_whole((256, 4), chunks=(1, 4), shards=shards)
    monkeypatch.setattr(Coding, "encode_parts", encoding)
    monkeypatch.setattr(AtomicFile, "write", writing)
    keep = array.documents.storage.write
    monkeypatch.setattr(array.documents.storage, "write", lambda key, data: (written(), keep(key, data)))
    array.write(..., 1)
    assert 0 < most <= 2 * cpus() + 2
