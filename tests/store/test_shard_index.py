"""Law: an index that is read is the one that was written, by whatever writer, or the damage is said."""

from __future__ import annotations

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from lamella.errors import DamagedDataError
from lamella.store.metadata import array_creation
from lamella.store.metadata.array_meta import ArrayMeta
from lamella.store.metadata.format_v3 import with_document
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.shard_file import NO_CHUNK, IndexLayout, decode_index, encode_index
from lamella.store.pixels.stored_files import ChunkLookup, inspect_stored_file

ENTRIES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), min_size=1, max_size=40)


@given(ENTRIES, st.booleans())
def test_what_is_encoded_is_decoded(entries, checksum):
    form = IndexLayout((len(entries),), checksum)
    data = encode_index(np.array(entries, "u8"), form)
    assert len(data) == form.size
    assert decode_index(data, form, "c/0").tolist() == [list(entry) for entry in entries]


@settings(max_examples=25)
@given(ENTRIES, st.data())
def test_any_flipped_bit_is_noticed(entries, data):
    form = IndexLayout((len(entries),))
    stored = bytearray(encode_index(np.array(entries, "u8"), form))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedDataError, match="c/0 is damaged"):
        decode_index(bytes(stored), form, "c/0")


def test_an_index_that_is_cut_off_is_noticed():
    form = IndexLayout((3,))
    with pytest.raises(DamagedDataError, match="cut off"):
        decode_index(encode_index(np.zeros((3, 2), "u8"), form)[1:], form, "c/0")


def test_a_chunk_with_half_an_entry_is_damaged_and_not_missing(local_documents):
    if local_documents.format == 2:
        return
    form = IndexLayout((2,), checksum=False)
    for entry in ((NO_CHUNK, 4), (0, NO_CHUNK)):
        array = StoredArray(local_documents, "0")
        options = {"chunks": (2,), "shards": (4,), "compressor": "none", "checksum": False}
        meta = array_creation.new_array((4,), "u2", zarr_format=3, **options)
        index = meta.document["codecs"][0]["configuration"]
        index["index_codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        local_documents.put_array("0", meta)
        body = encode_index(np.array([entry, (0, 4)], "u8"), form)
        local_documents.storage.write("0/c/0", bytes([1, 0, 2, 0]) + body)
        file = inspect_stored_file(local_documents.storage, "0", array.meta, (0,))
        assert file is not None
        assert (file.present.tolist(), file.damaged.tolist()) == ([True, True], [True, False])
        assert ChunkLookup(array).is_stored((0,))
        with pytest.raises(DamagedDataError):
            array.read()


@pytest.mark.parametrize("location", ["end", "start"])
def test_the_index_of_another_writer_is_read(tmp_path, location):
    meta = with_document(ArrayMeta((4, 6), np.dtype("u2"), (2, 2), (4, 6)))
    meta.document["codecs"][0]["configuration"]["index_location"] = location
    array = ts.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
            "metadata": meta.document | {"attributes": {}},
        },
        create=True,
    ).result()
    array[0:2, 2:4].write(7).result()
    data = (tmp_path / "c" / "0" / "0").read_bytes()
    form = IndexLayout.of(meta)
    assert form == IndexLayout((2, 3), True, location == "end")
    entries = decode_index(data[-form.size :] if form.at_end else data[: form.size], form, "c/0/0")
    stored = [n for n, (offset, _) in enumerate(entries.tolist()) if offset != NO_CHUNK]
    assert stored == [1]
    offset, length = entries[1].tolist()
    assert length == len(data) - form.size
    assert offset == (0 if form.at_end else form.size)
